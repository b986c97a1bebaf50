"""The system calls of spawner, compiler and storekeeper, and so the most that anything forked from them can have.

What only an attacker would ask for ends the process; of the rest, what is not listed fails with EPERM: both do much
with Python's and the engine's libraries, and a call that a new version of those makes must not end the service.
"""

import errno
from typing import Final

from insitu.runtime.confine.bpf import ALLOW, KILL, Arg, Rule, failing
from insitu.runtime.confine.worker_calls import RULES as WORKER_RULES

DEFAULT: Final = failing(errno.EPERM)
_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW*
_CLONE_THREAD: Final = 0x10000
_PROCESS_ONLY = "fork: workers and compilers; in no new namespace, which would give rights over it"

FATAL: Final = (
    *("execve", "execveat", "socket", "connect", "bind", "listen", "accept", "accept4"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "process_madvise", "kill", "tkill"),
    *("rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal", "unshare", "setns", "mount", "umount2"),
    *("pivot_root", "fsopen", "fsmount", "move_mount", "open_tree", "mount_setattr", "open_by_handle_at"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl"),
    *("add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"),
    *("reboot", "swapon", "swapoff", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "iopl", "ioperm"),
    *("modify_ldt", "mknod", "mknodat", "shmget", "msgget", "semget", "mq_open", "personality", "acct", "quotactl"),
)
"""Other programs, the network, other processes, and the kernel's own controls: nobody here has any use for them."""

_FILES: Final = (
    *("openat", "open", "stat", "lstat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat"),
    *("getdents64", "getcwd", "ftruncate", "fallocate", "fsync", "fdatasync", "copy_file_range"),
    *("sendfile", "statfs", "fstatfs", "dup", "dup2", "dup3", "flock", "preadv2", "umask"),
    *("memfd_create", "pipe", "pipe2", "close_range", "newfstatat", "ioctl", "fcntl", "msync", "chdir", "fchdir"),
)
"""The cache of compiled programs, programs themselves, and Python's modules."""
_CHANGING: Final = (
    *("unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "chmod", "fchmod", "fchmodat"),
    "utimensat",
)
"""The cache, which a storekeeper changes: a compiler does not."""
_TO_CHANGE: Final = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE's own bit
_PROCESSES: Final = (
    *("wait4", "waitid", "getppid", "pidfd_open", "set_tid_address", "set_robust_list", "rseq", "prctl"),
    *("arch_prctl", "prlimit64", "getrlimit", "setrlimit", "setpriority", "getpriority", "sched_getaffinity"),
    *("sysinfo", "uname", "setitimer", "getitimer", "membarrier", "nanosleep", "rt_sigpending", "rt_sigtimedwait"),
    *("rt_sigsuspend", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait"),
    *("eventfd2", "mmap", "mprotect", "futex", "tgkill", "getpgrp", "getpgid", "getsid", "mlock", "munlock"),
)
"""Children, their ends, their limits, and the engine's threads and machine code."""
_NODE: Final = ("recvmsg", "sendmsg", "sendto", "recvfrom", "getsockopt", "setsockopt", "getsockname", "socketpair")
"""Orders and answers."""
_CONFINING: Final = (
    *("seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "capset", "capget"),
    *("chroot", "setgroups", "setresuid", "setresgid", "setuid", "setgid", "getuid", "geteuid", "getgid", "getegid"),
    *("getresuid", "getresgid", "getgroups"),
)
"""What workers and compilers give up after the fork; with no capability left most of these fail."""


def _base() -> tuple[Rule, ...]:
    groups = (
        (_FILES, "files"),
        (_CHANGING, "the cache"),
        (_PROCESSES, "processes and threads"),
        (_NODE, "the node"),
        (_CONFINING, "giving up more"),
    )
    listed = {name: Rule(name, why) for names, why in groups for name in names}
    # A worker's calls, whatever their arguments: its own filter looks at those.
    own = {rule.name: Rule(rule.name, rule.why) for rule in WORKER_RULES}
    fatal = {name: Rule(name, "fatal", then=KILL) for name in FATAL}
    # The C library falls back to clone, whose flags can be looked at: those of clone3 are in memory.
    return tuple((own | listed | fatal | {"clone3": Rule("clone3", "", then=failing(errno.ENOSYS))}).values())


SPAWNER_RULES: Final[tuple[Rule, ...]] = (
    *_base(),
    Rule("clone", _PROCESS_ONLY, (Arg(0, (0,), mask=_NEW_NAMESPACES),), ALLOW),
    Rule("fork", _PROCESS_ONLY),
    Rule("vfork", _PROCESS_ONLY),
)
_THREADS: Final = Rule("clone", "threads, and no process", (Arg(0, (_CLONE_THREAD,), mask=_CLONE_THREAD),), ALLOW)
STOREKEEPER_RULES: Final[tuple[Rule, ...]] = (*_base(), _THREADS)
COMPILER_RULES: Final[tuple[Rule, ...]] = (
    *(rule for rule in _base() if rule.name not in ("open", "openat", *_CHANGING)),
    Rule("openat", "the program and Python's modules, to read", (Arg(2, (0,), mask=_TO_CHANGE),), otherwise=DEFAULT),
    Rule("open", "likewise", (Arg(1, (0,), mask=_TO_CHANGE),), otherwise=DEFAULT),
    _THREADS,
)
