"""Builds a jail out of Linux namespaces and runs one program in it. A script of its own; nothing imports it.

    python -I -S jail.py '{"program": [...], "binds": {...}, "inside": "...", "env": {...}, "tmpfs_bytes": N}'

The program sees: its own user, mount, process, network, IPC and host-name namespaces; a root that is an empty file
system in memory with the interpreter and the system's libraries mounted read-only; no /proc, no /dev, no network
interface that is up; an unprivileged user without capabilities, who may not make namespaces of its own. When this
script is killed, the kernel kills all of it. Any step that fails ends it with status 97 before the program starts.
"""

# Calls are kept as close to the system's as they can be.
# ruff: noqa: PTH101, PTH102, PTH103, PTH106, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback

NOBODY = 65534
NEW_SPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # user mnt pid net ipc uts
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
KEPT_FLAGS = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}  # statvfs flag → mount flag that stays locked
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
NEW_ROOT = "/tmp"  # exists everywhere; what is mounted over it is seen by this process only

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    texts = [text.encode() for text in (source, target, kind)]
    check(libc.mount(*texts, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def enter_namespaces() -> None:
    """Leaves every namespace of the host. The maps know nobody (and root, to build the jail, if root runs it)."""
    uid, gid, me = os.geteuid(), os.getegid(), os.getpid()
    if uid != 0:
        check(libc.unshare(NEW_SPACES), "unshare")
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{NOBODY} {uid} 1")
        write("/proc/self/gid_map", f"{NOBODY} {gid} 1")
        return
    # Root's limits on processes don't hold, so the program has to be another user; only a process outside may map two.
    ready, done = os.pipe(), os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(ready[1])
        if os.read(ready[0], 1):
            for kind in ("uid", "gid"):
                write(f"/proc/{me}/{kind}_map", f"0 0 1\n{NOBODY} {NOBODY} 1")
            os.write(done[1], b".")
        os._exit(0)
    os.close(done[1])
    check(libc.unshare(NEW_SPACES), "unshare")
    os.write(ready[1], b".")
    if not os.read(done[0], 1):
        raise OSError(1, "the user map could not be written")
    os.waitpid(helper, 0)


def build_root(binds: dict[str, str], inside: str, tmpfs_bytes: int) -> None:
    """An empty root in memory with `binds` read-only and the file `inside` as /inside.py."""
    write("/proc/sys/user/max_user_namespaces", "0")
    with open(inside, "rb") as handle:
        script = handle.read()
    # The system's links (/lib → usr/lib) stay links; all else is opened before a mount hides it.
    links = {path: os.readlink(path) for path, source in binds.items() if path == source and os.path.islink(source)}
    sources = {path: os.open(source, os.O_PATH) for path, source in binds.items() if path not in links}
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, f"size={tmpfs_bytes},nr_inodes=2000,mode=0755")
    for path, text in links.items():
        os.symlink(text, NEW_ROOT + path)
    for path, fd in sources.items():
        target = NEW_ROOT + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            os.makedirs(target, exist_ok=True)
        else:
            open(target, "wb").close()
        mount(f"/proc/self/fd/{fd}", target, "none", MS_BIND)
        flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV
        have = os.statvfs(target).f_flag
        for seen, kept in KEPT_FLAGS.items():
            flags |= kept if have & seen else 0
        mount("none", target, "none", flags)
        os.close(fd)
    with open(f"{NEW_ROOT}/inside.py", "wb") as handle:
        handle.write(script)
    os.mkdir(f"{NEW_ROOT}/.old")
    os.makedirs(f"{NEW_ROOT}/tmp", exist_ok=True)
    os.chmod(f"{NEW_ROOT}/tmp", 0o777)
    number = PIVOT_ROOT[os.uname().machine]
    check(libc.syscall(number, NEW_ROOT.encode(), f"{NEW_ROOT}/.old".encode()), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/.old", 2), "umount")
    os.rmdir("/.old")


def become_nobody() -> None:
    """No capability left, none to gain."""
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def first_process(program: list[str], environment: dict[str, str]) -> None:
    """Process 1 of the jail: out of the program's reach, and all of the jail ends with it."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    child = os.fork()
    if child == 0:
        become_nobody()
        os.chdir("/tmp")
        os.execve(program[0], program, environment)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def main() -> None:
    about = json.loads(sys.argv[1])
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    enter_namespaces()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # forgotten when the user changed
    build_root(about["binds"], about["inside"], about["tmpfs_bytes"])
    check(libc.sethostname(b"jail", 4), "sethostname")
    child = os.fork()
    if child == 0:
        first_process(about["program"], about["env"])
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(97)
