"""The filter of system calls that every jail gets: a program of classic BPF for seccomp(2), written here byte by byte.

It denies what no grader needs and what has let code out of sandboxes, or past a memory limit, before: shared memory
beside the process's own, keys, tracing, namespaces, mounts, io_uring, bpf, and every socket but AF_UNIX; and what is
counted for all of the machine, such as contexts of asynchronous input and output.
"""

from __future__ import annotations

import errno
import functools
import platform
import struct

# Linux's numbers: x86_64 from arch/x86/entry/syscalls/syscall_64.tbl, aarch64 from include/uapi/asm-generic/unistd.h.
_DENIED = {
    "x86_64": {
        "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64, "semop": 65, "semctl": 66,
        "semtimedop": 220,
        "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "memfd_create": 319,
        "memfd_secret": 447,
        "add_key": 248, "request_key": 249, "keyctl": 250, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312, "pidfd_getfd": 438, "perf_event_open": 298, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
        "io_uring_enter": 426, "io_uring_register": 427, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166,
        "pivot_root": 155, "chroot": 161, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
        "fsmount": 432,
        "fspick": 433, "mount_setattr": 442, "name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300,
        "quotactl": 179, "acct": 163, "swapon": 167, "swapoff": 168, "reboot": 169, "init_module": 175,
        "finit_module": 313,
        "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320, "iopl": 172, "ioperm": 173, "modify_ldt": 154,
        "personality": 135, "syslog": 103, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
        "clock_adjtime": 305,
        "remap_file_pages": 216, "uselib": 134, "lookup_dcookie": 212, "io_setup": 206, "mbind": 237,
        "set_mempolicy": 238, "migrate_pages": 256, "move_pages": 279,
    },
    "aarch64": {
        "shmget": 194, "shmctl": 195, "shmat": 196, "shmdt": 197, "semget": 190, "semctl": 191, "semtimedop": 192,
        "semop": 193,
        "msgget": 186, "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "mq_open": 180, "memfd_create": 279,
        "memfd_secret": 447,
        "add_key": 217, "request_key": 218, "keyctl": 219, "ptrace": 117, "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272, "pidfd_getfd": 438, "perf_event_open": 241, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425,
        "io_uring_enter": 426, "io_uring_register": 427, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39,
        "pivot_root": 41, "chroot": 51, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
        "fsmount": 432,
        "fspick": 433, "mount_setattr": 442, "name_to_handle_at": 264, "open_by_handle_at": 265, "fanotify_init": 262,
        "quotactl": 60, "acct": 89, "swapon": 224, "swapoff": 225, "reboot": 142, "init_module": 105,
        "finit_module": 273,
        "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294, "personality": 92, "syslog": 116,
        "settimeofday": 170, "clock_settime": 112, "adjtimex": 171, "clock_adjtime": 266, "remap_file_pages": 234,
        "lookup_dcookie": 18, "io_setup": 0, "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238,
        "move_pages": 239,
    },
}  # fmt: skip
_CALLS = {
    "x86_64": {"clone": 56, "fork": 57, "vfork": 58, "clone3": 435, "socket": 41, "socketpair": 53},
    "aarch64": {"clone": 220, "clone3": 435, "socket": 198, "socketpair": 199},
}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_…
_NAMESPACES = 0x7E020080  # CLONE_NEW…, NEWTIME among them
_THREAD, _AF_UNIX = 0x00010000, 1
_NEWER = 453  # calls from here on are not there: statmount, which tells the host's paths, whatever comes, and x32's

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _RETURN, _EQUAL, _AT_LEAST, _ANY_BIT = 0x20, 0x06, 0x15, 0x35, 0x45
_NUMBER, _ARCH, _FIRST_ARGUMENT = (
    0,
    4,
    16,
)  # offsets in struct seccomp_data; the lower half, both machines are little-endian


@functools.cache
def program(one_process: bool) -> bytes:
    """The filter for this machine. With `one_process` no process can be started, only threads.

    KeyError on a processor whose numbers aren't known here: no jail is better than one with a hole.
    """
    machine = platform.machine()
    calls = _CALLS[machine]
    code = [
        _step(_LOAD, _ARCH), _step(_EQUAL, _ARCHITECTURE[machine], 1, 0), _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER), _step(_AT_LEAST, _NEWER, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS),
    ]  # fmt: skip
    for number in _DENIED[machine].values():
        code += _if(number, [_step(_RETURN, _ERRNO | errno.EPERM)])
    # clone3 keeps its flags in memory, where a filter can't look; the C library falls back to clone.
    code += _if(calls["clone3"], [_step(_RETURN, _ERRNO | errno.ENOSYS)])
    ends = _ERRNO | errno.EAGAIN if one_process else _ALLOW
    for name in ("fork", "vfork"):
        if name in calls:
            code += _if(calls[name], [_step(_RETURN, ends)])
    code += _if(calls["clone"], [
        _step(_LOAD, _FIRST_ARGUMENT), _step(_ANY_BIT, _NAMESPACES, 0, 1), _step(_RETURN, _ERRNO | errno.EPERM),
        _step(_ANY_BIT, _THREAD, 0, 1), _step(_RETURN, _ALLOW), _step(_RETURN, ends),
    ])  # fmt: skip
    for name in ("socket", "socketpair"):
        code += _if(calls[name], [
            _step(_LOAD, _FIRST_ARGUMENT), _step(_EQUAL, _AF_UNIX, 0, 1), _step(_RETURN, _ALLOW),
            _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT),
        ])  # fmt: skip
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _step(operation: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """One struct sock_filter: jumps count the steps that are left out."""
    return struct.pack("=HBBI", operation, then, otherwise, value)


def _if(number: int, steps: list[bytes]) -> list[bytes]:
    return [_step(_EQUAL, number, 0, len(steps)), *steps]
