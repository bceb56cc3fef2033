"""Builds a jail and runs one program in it. A script of its own; nothing imports it.

    python -I -S jail.py '{"program": [...], "binds": {...}, "empty": [...], "inside": "...", "env": {...},
        "status": FD, "tmpfs_bytes": N, "groups": [...], "filter": "base64", "bubblewrap": [...] or null}'

The program sees: its own user, mount, process, network, IPC and host-name namespaces; a read-only root with the
interpreter and the system's libraries, and a small /tmp in memory; no /proc, no /dev, no network interface that is up;
a session keyring with nothing in it; an unprivileged user without capabilities, who may not make namespaces of its own,
under a filter of system calls. When this script is killed, the kernel kills all of it. Namespaces are made here or,
where the system allows only that, by bubblewrap; the rest is the same for both.

A step that fails is told on the descriptor `status`. The program gets that descriptor too: it says there that it has
begun, and closes it before it runs anything else (inside.py).
"""

# Calls are kept as close to the system's as they can be.
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211

from __future__ import annotations

import base64
import ctypes
import errno
import json
import os
import signal
import sys
from typing import Any

NOBODY = 65534
NEW_SPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # user mnt pid net ipc uts
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
KEPT_FLAGS = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}  # statvfs flag → mount flag that stays locked
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SECCOMP_MODE_FILTER, KEYCTL_JOIN_SESSION_KEYRING = 2, 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
KEYCTL = {"x86_64": 250, "aarch64": 219}
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


def leave_keys() -> None:
    """A session keyring with nothing in it. A kernel or container without keys has none to leave."""
    joined = libc.syscall(KEYCTL[os.uname().machine], KEYCTL_JOIN_SESSION_KEYRING, None)
    if joined < 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
        check(joined, "keyctl")


def enter_groups(files: list[str]) -> None:
    """Under the ceiling of memory and processes that was made for this jail."""
    for path in files:
        write(path, str(os.getpid()))


def build_root(about: dict[str, Any]) -> None:
    """A read-only root in memory: `binds`, with empty folders over `empty`; /inside.py; and /tmp to write in."""
    binds = about["binds"]
    write("/proc/sys/user/max_user_namespaces", "0")
    with open(about["inside"], "rb") as handle:
        script = handle.read()
    # The system's links (/lib → usr/lib) stay links; all else is opened before a mount hides it.
    links = {path: os.readlink(path) for path, source in binds.items() if path == source and os.path.islink(source)}
    sources = {path: os.open(source, os.O_PATH) for path, source in binds.items() if path not in links}
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "size=1048576,nr_inodes=1000,mode=0755")
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
    os.mkdir(f"{NEW_ROOT}/.empty", 0o555)
    for path in about["empty"]:
        mount(f"{NEW_ROOT}/.empty", NEW_ROOT + path, "none", MS_BIND)
        mount("none", NEW_ROOT + path, "none", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    with open(f"{NEW_ROOT}/inside.py", "wb") as handle:
        handle.write(script)
    os.mkdir(f"{NEW_ROOT}/.old")
    os.makedirs(f"{NEW_ROOT}/tmp", exist_ok=True)
    tmp = f"size={about['tmpfs_bytes']},nr_inodes=2000,mode=1777"
    mount("tmpfs", f"{NEW_ROOT}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, tmp)
    number = PIVOT_ROOT[os.uname().machine]
    check(libc.syscall(number, NEW_ROOT.encode(), f"{NEW_ROOT}/.old".encode()), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/.old", 2), "umount")
    os.rmdir("/.old")
    os.rmdir("/.empty")
    mount("none", "/", "none", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def become_nobody() -> None:
    """No capability left, none to gain."""
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if os.getuid() == 0:
        become(NOBODY)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def filter_calls(program: bytes) -> None:
    """No system call but those that the filter (seccomp.py) allows, for this process and all it starts."""

    class Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]

    written = Program(len(program) // 8, program)
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(written), 0, 0), "seccomp")


def first_process(about: dict[str, Any], program: bytes) -> None:
    """Process 1 of the jail: out of the program's reach, and all of the jail ends with it."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    child = os.fork()
    if child == 0:
        become_nobody()
        os.chdir("/tmp")
        filter_calls(program)
        os.execve(about["program"][0], about["program"], about["env"])
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def run_bubblewrap(about: dict[str, Any], program: bytes) -> None:
    """Hands over to bubblewrap: as nobody, unless root started this and nobody can't read the interpreter."""
    if os.geteuid() == 0 and readable_by_nobody([*about["binds"].values(), about["inside"]]):
        become(NOBODY)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # forgotten when the user changed
    read, send = os.pipe()
    os.write(send, program)
    os.close(send)
    os.set_inheritable(read, True)
    words = about["bubblewrap"]
    os.execv(words[0], [words[0], "--seccomp", str(read), *words[1:]])


def become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def readable_by_nobody(paths: list[str]) -> bool:
    child = os.fork()
    if child == 0:
        become(NOBODY)
        os._exit(0 if all(os.access(path, os.R_OK) for path in paths) else 1)
    return os.waitpid(child, 0)[1] == 0


def main(about: dict[str, Any]) -> None:
    program = base64.b64decode(about["filter"])
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    leave_keys()
    enter_groups(about["groups"])
    if about["bubblewrap"]:
        run_bubblewrap(about, program)
    enter_namespaces()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # forgotten when the user changed
    build_root(about)
    check(libc.sethostname(b"jail", 4), "sethostname")
    child = os.fork()
    if child == 0:
        first_process(about, program)
    os.close(about["status"])
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    try:
        main(given)
    except BaseException as error:
        os.write(given["status"], f"{type(error).__name__}: {error}".encode())
        os._exit(1)
