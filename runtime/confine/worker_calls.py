"""The system calls of a worker: these, and no others. One that is not here ends it.

Everything that a launch needs is open, mapped and loaded before: a worker opens nothing, starts nothing, maps nothing
that can be executed, and speaks to nobody but the node. Its one other thread runs already.
"""

from typing import Final

from insitu.runtime.confine.bpf import REHEARSAL, SELF, Arg, Rule
from insitu.runtime.process import NODE_FD

_PROT_EXEC: Final = 4
_FIONBIO: Final = 0x5421
_F_GETFL, _F_SETFL, _F_SETPIPE_SZ, _F_GETPIPE_SZ = 3, 4, 1031, 1032
_O_ASYNC: Final = 0o20000
_AT_EMPTY_PATH: Final = 0x1000
_FUTEX_FLAGS: Final = 128 | 256  # private to the process; which clock
_FUTEX_USES: Final = (9, 1, 0, 10)  # wait and wake, with and without bits
_SIGABRT: Final = 6
_SOCKETS: Final = (NODE_FD, REHEARSAL)  # the second is closed before the first launch comes
_OF_A_LAUNCH: Final = Arg(0, least=NODE_FD + 1)  # not /dev/null, the node's log or its socket

RULES: Final[tuple[Rule, ...]] = (
    # Memory.
    Rule("mmap", "a sandbox's memory, and Python's own; nothing executable: machine code is mapped already",
         (Arg(2, (0,), mask=_PROT_EXEC),)),
    Rule("mprotect", "a sandbox's memory grows by it; nothing becomes executable", (Arg(2, (0,), mask=_PROT_EXEC),)),
    Rule("munmap", "a sandbox that ended gives its memory back"),
    Rule("mremap", "large blocks of Python's grow by it"),
    Rule("madvise", "the engine and the allocator give pages back"),
    Rule("brk", "the C library's heap"),
    # The node.
    Rule("recvmsg", "the next launch and its descriptors, from the node's socket alone", (Arg(0, _SOCKETS),)),
    Rule("sendto", "what it came to, to the node's socket alone; no address",
         (Arg(0, _SOCKETS), Arg(4, (0,), mask=(1 << 64) - 1, wide=True))),
    # Channels. All of these act on descriptors that came with the launch.
    Rule("read", "streams"),
    Rule("readv", "streams, straight into the guest's memory"),
    Rule("pread64", "files, at an offset of our own"),
    Rule("preadv", "likewise, into the guest's memory"),
    Rule("preadv2", "how Python does that"),
    Rule("write", "outputs, and a worker's last words on stderr"),
    Rule("writev", "outputs, straight from the guest's memory"),
    Rule("pwrite64", "named outputs with random access", (_OF_A_LAUNCH,)),
    Rule("pwritev", "likewise, from the guest's memory", (_OF_A_LAUNCH,)),
    Rule("pwritev2", "how Python does that", (_OF_A_LAUNCH,)),
    Rule("ftruncate", "their size", (_OF_A_LAUNCH,)),
    Rule("lseek", "where a file stands, and how long it is", (_OF_A_LAUNCH,)),
    Rule("fstat", "whether a channel is a file"),
    Rule("newfstatat", "how the C library asks the same; without a path", (Arg(3, (_AT_EMPTY_PATH,)),)),
    Rule("fcntl", "blocking or not, and how much a pipe holds; no locks, no signals, no copies",
         (Arg(1, (_F_GETFL, _F_GETPIPE_SZ, _F_SETPIPE_SZ)),)),
    Rule("ioctl", "blocking or not: nothing else of the hundreds", (Arg(1, (_FIONBIO,)),)),
    Rule("poll", "where a launch waits for its channels"),
    Rule("ppoll", "the same where there is no poll"),
    Rule("close", "channels that a launch is done with"),
    # Time and chance.
    Rule("clock_gettime", "CPU time; the other clocks need no call"),
    Rule("clock_getres", "how exact they are"),
    Rule("clock_nanosleep", "a guest that sleeps"),
    Rule("gettimeofday", "machines whose clock cannot be read without a call"),
    Rule("time", "likewise"),
    Rule("getrandom", "a guest's randomness, and the allocator's"),
    # Threads: the two that there are.
    Rule("futex", "they wait for each other; no inheriting of priorities: often the kernel's own trouble",
         (Arg(1, _FUTEX_USES, mask=0xFFFFFFFF & ~_FUTEX_FLAGS),)),
    Rule("sched_yield", "a lock that is about to be free"),
    Rule("restart_syscall", "a wait goes on after the process was stopped"),
    # Traps: the engine takes a guest's faults as signals.
    Rule("rt_sigaction", "the engine's handlers, and the default again for a fault that is not a guest's"),
    Rule("rt_sigprocmask", "around them"),
    Rule("rt_sigreturn", "the way back from them"),
    Rule("sigaltstack", "where they run: a guest's stack may be what is used up"),
    # The end.
    Rule("getpid", "abort() asks"),
    Rule("gettid", "abort() asks"),
    Rule("tgkill", "abort() itself: SIGABRT, to this process alone", (Arg(0, (SELF,)), Arg(2, (_SIGABRT,)))),
    Rule("getrusage", "what the process has used"),
    Rule("exit", "a thread's end"),
    Rule("exit_group", "the process's end"),
)  # fmt: skip
