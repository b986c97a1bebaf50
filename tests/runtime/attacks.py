"""What a guest that broke out of the engine would do next, each as the raw system call, in a process confined as
workers are. As a program it tries every one, in a worker of its own, and prints what became of each as JSON."""

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

from insitu.runtime import process
from insitu.runtime.confine import calls, identity
from insitu.runtime.confine.guard import Guard
from insitu.runtime.confine.measure import Setup

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def raw(name: str, *args: int | bytes) -> int:
    """The call, whatever Python or the C library would have made of it. -1 and `ctypes.get_errno()` if it fails."""
    number = calls.number(name)
    assert number is not None
    given = [ctypes.c_char_p(arg) if isinstance(arg, bytes) else ctypes.c_long(arg) for arg in args]
    return int(_libc.syscall(ctypes.c_long(number), *given))


AT_FDCWD: Final = -100
SPAWNER: Final = os.getpid()  # of the process that forks the workers: asking later would be forbidden
FORBIDDEN: Final[dict[str, Callable[[], object]]] = {
    "open": lambda: raw("openat", AT_FDCWD, b"/etc/passwd", os.O_RDONLY, 0),
    "stat": lambda: raw("newfstatat", AT_FDCWD, b"/etc/passwd", bytes(256), 0),
    "unlink": lambda: raw("unlinkat", AT_FDCWD, b"/nothing-there", 0),
    "socket": lambda: raw("socket", socket.AF_INET, socket.SOCK_STREAM, 0),
    "connect": lambda: raw("connect", process.NODE_FD, bytes(16), 16),
    "send to an address": lambda: raw("sendto", process.NODE_FD, b"x", 1, 0, bytes(16), 16),
    "receive from another socket": lambda: raw("recvmsg", 0, bytes(64), 0),
    "fork": lambda: raw("clone", signal.SIGCHLD, 0, 0, 0, 0),
    "thread": lambda: raw("clone", 0x3D0F00, 0, 0, 0, 0),
    "clone3": lambda: raw("clone3", bytes(88), 88),
    "execve": lambda: raw("execve", b"/bin/true", 0, 0),
    "execveat": lambda: raw("execveat", AT_FDCWD, b"/bin/true", 0, 0, 0),
    "ptrace": lambda: raw("ptrace", 16, SPAWNER, 0, 0),
    "read another's memory": lambda: raw("process_vm_readv", SPAWNER, 0, 0, 0, 0, 0),
    "kill": lambda: raw("kill", 1, 0),
    "kill a thread of another": lambda: raw("tgkill", 1, 1, signal.SIGABRT),
    "kill itself otherwise": lambda: raw("tgkill", os.getpid(), os.getpid(), signal.SIGKILL),
    "executable memory": lambda: raw("mmap", 0, 4096, 7, 0x22, -1, 0),
    "memory made executable": lambda: raw("mprotect", 0, 4096, 5),
    "prctl": lambda: raw("prctl", 4, 1, 0, 0, 0),
    "namespaces": lambda: raw("unshare", 0x10000000),
    "bpf": lambda: raw("bpf", 0, 0, 0),
    "io_uring": lambda: raw("io_uring_setup", 8, bytes(256)),
    "userfaultfd": lambda: raw("userfaultfd", 0),
    "mount": lambda: raw("mount", b"none", b"/", b"tmpfs", 0, 0),
    "chroot": lambda: raw("chroot", b"."),
    "copies of descriptors": lambda: raw("fcntl", 0, 0, 0),
    "signals from a descriptor": lambda: raw("fcntl", 0, 8, 1),
    "types into a terminal": lambda: raw("ioctl", 0, 0x5412, b"x"),
    "priority inheritance": lambda: raw("futex", bytes(8), 6, 0, 0, 0, 0),
    "cuts the node's log": lambda: raw("ftruncate", 2, 0),
    "writes over the node's log": lambda: raw("pwrite64", 2, b"x", 1, 0),
    "limits": lambda: raw("prlimit64", 0, 7, 0, bytes(16)),
    "another filter": lambda: raw("seccomp", 0, 0, 0),
}
"""Each has to end whoever does it."""


def in_vain() -> int:
    """The one look at a path that the filter lets through: it cannot see that the path is not empty. The errno."""
    assert raw("newfstatat", AT_FDCWD, b"/etc/passwd", bytes(256), 0x1000) == -1
    return ctypes.get_errno()


def in_a_worker(guard: Guard, act: Callable[[], object]) -> tuple[int, object]:
    """Its exit status as `subprocess` has it, and what it said."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(theirs.fileno(), process.NODE_FD)
            guard.enter_worker(lambda: ours)
            said = act()
            os.write(process.NODE_FD, json.dumps(said).encode())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        said = ours.recv(1 << 16)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), json.loads(said) if said else None


def main(cache: str) -> None:
    os.dup2(os.open(os.devnull, os.O_RDWR), process.NODE_FD)  # taken, as in a spawner
    guard = Guard(Setup(user=identity.resolve(""), cache=cache))
    guard.enter_spawner()
    guard.loaded()
    found = {name: in_a_worker(guard, act) for name, act in FORBIDDEN.items()}
    found["in vain"] = in_a_worker(guard, in_vain)
    found["abort"] = in_a_worker(guard, _libc.abort)
    found["nothing"] = in_a_worker(guard, lambda: "done")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
