"""seccomp: which system calls a process may make at all. What is on no list ends a worker at once, with SIGSYS.

Holds back: everything that a guest who broke out of the engine would need next: files, sockets, other programs, other
processes, and most of the kernel's own mistakes. A filter can only be added to, never taken off, and children have it.
"""

import ctypes
from collections.abc import Iterable
from typing import Final

from insitu.runtime.confine import bpf, calls, system
from insitu.runtime.confine.measure import Missing
from insitu.runtime.process import NODE_FD

_SET_MODE_FILTER, _TSYNC = 1, 1


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """Assembled once, before the fork; installed by whoever is forked."""

    def __init__(self, rules: Iterable[bpf.Rule], default: int) -> None:
        """Raises `Missing` on a machine whose numbers we do not have."""
        machine = calls.machine()
        if machine not in calls.AUDIT_ARCH:
            raise Missing(f"no system call numbers for {machine} here, only for {' and '.join(calls.AUDIT_ARCH)}")
        code = bpf.assemble(rules, default, machine)
        self._code: Final = (ctypes.c_uint32 * (len(code) // 4)).from_buffer_copy(code)
        # The second word of an instruction is its constant.
        self._blanks = [(at, self._code[at]) for at in range(1, len(self._code), 2) if self._code[at] in bpf.BLANKS]
        self._program: Final = _Program(len(code) // 8, ctypes.addressof(self._code))

    def __len__(self) -> int:
        """Instructions."""
        return int(self._program.len)

    def install(self, pid: int, rehearsal: int = NODE_FD) -> None:
        """For all threads of this process, whose id is `pid`; needs no_new_privs. `rehearsal`: see `warm.Rehearsal`.
        Raises OSError."""
        for at, blank in self._blanks:
            self._code[at] = pid if blank == bpf.SELF else rehearsal
        thread = system.call("seccomp", _SET_MODE_FILTER, _TSYNC, ctypes.byref(self._program))
        if thread:
            raise Missing(f"thread {thread} has a filter of its own")
