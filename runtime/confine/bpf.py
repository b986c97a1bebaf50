"""Filters of system calls, assembled: rules in, the kernel's classic BPF out.

A program looks at one call: its number, the machine, its arguments. It begins by ending who calls in another machine's
way (a 32-bit call, or x86-64's x32), then tries one rule after the other, and ends with what becomes of all others.
Calls that are allowed whatever their arguments are looked up by the kernel in a bitmap and never come here (since
Linux 5.11), so rules with conditions come first.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from insitu.runtime.confine import calls

KILL: Final = 0x80000000  # SECCOMP_RET_KILL_PROCESS: SIGSYS, for all threads
ALLOW: Final = 0x7FFF0000
MOST: Final = 4096
"""Instructions of one filter (the kernel's BPF_MAXINSNS)."""


def failing(error: int) -> int:
    """The call does nothing and gives `error`."""
    return 0x00050000 | error


SELF: Final = 0x5E1F5E1F
REHEARSAL: Final = 0x5E1F5E1E
BLANKS: Final = (SELF, REHEARSAL)
"""Stand for the caller's own process id, and for the socket that it rehearses with, until a filter is installed."""

_LOAD, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _ARGS = 0, 4, 16
_X32: Final = 0x40000000
_INSTRUCTION: Final = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument, counted from 0, whose bits in `mask` have to be one of `values`. The kernel reads an `int` from the
    low 32 bits; `wide` compares all 64. `least`: instead, it has to be that or more."""

    at: int
    values: tuple[int, ...] = ()
    mask: int = 0xFFFFFFFF
    wide: bool = False
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A call by name, why it is allowed, and the conditions on its arguments, all of which have to hold. `otherwise`:
    what becomes of a call for which they do not."""

    name: str
    why: str
    when: tuple[Arg, ...] = ()
    then: int = ALLOW
    otherwise: int = KILL


_Line = tuple[int, int, int, int]


@dataclass(slots=True)
class _Block:
    """Straight code in which a condition that fails jumps to the last line."""

    lines: list[_Line] = field(default_factory=list)
    fails: list[int] = field(default_factory=list)

    def load(self, offset: int) -> None:
        self.lines.append((_LOAD, 0, 0, offset))

    def one_of(self, values: Sequence[int]) -> None:
        for left, value in zip(range(len(values) - 1, -1, -1), values, strict=True):
            if not left:
                self.fails.append(len(self.lines))
            self.lines.append((_JUMP_EQUAL, left, 0, value))

    def check(self, arg: Arg) -> None:
        low, high = _ARGS + 8 * arg.at, _ARGS + 8 * arg.at + 4  # both machines are little-endian
        if arg.wide:
            assert len(arg.values) == 1
            self.load(high)
            if arg.mask >> 32 != 0:
                self.lines.append((_AND, 0, 0, arg.mask >> 32))
            self.one_of([arg.values[0] >> 32])
        self.load(low)
        if arg.mask & 0xFFFFFFFF != 0xFFFFFFFF:
            self.lines.append((_AND, 0, 0, arg.mask & 0xFFFFFFFF))
        if arg.least is not None:
            self.fails.append(len(self.lines))
            self.lines.append((_JUMP_AT_LEAST, 0, 0, arg.least))
        else:
            self.one_of([value & 0xFFFFFFFF for value in arg.values])

    def end(self, then: int, otherwise: int) -> list[_Line]:
        self.lines += [(_RETURN, 0, 0, then), (_RETURN, 0, 0, otherwise)]
        last = len(self.lines) - 1
        for at in self.fails:
            code, yes, _, value = self.lines[at]
            self.lines[at] = (code, yes, last - at - 1, value)
        return self.lines


def _rule(number: int, rule: Rule) -> list[_Line]:
    if not rule.when:
        return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, rule.then)]
    block = _Block()
    for arg in rule.when:
        block.check(arg)
    body = block.end(rule.then, rule.otherwise)
    # The accumulator holds an argument afterwards, but whoever came in does not come out.
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def assemble(rules: Iterable[Rule], default: int, machine: str) -> bytes:
    """A program for `machine`. Raises KeyError when the tables do not know it, ValueError when it is too long."""
    lines: list[_Line] = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, calls.AUDIT_ARCH[machine]), (_RETURN, 0, 0, KILL)]
    lines.append((_LOAD, 0, 0, _NUMBER))
    if machine == "x86_64":
        lines += [(_JUMP_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, KILL)]
    ordered = sorted(rules, key=lambda rule: not rule.when)
    names = [rule.name for rule in ordered]
    if len(set(names)) < len(names):
        raise ValueError("a call has two rules")
    for rule in ordered:
        number = calls.number(rule.name, machine)
        if number is not None:
            lines += _rule(number, rule)
    lines.append((_RETURN, 0, 0, default))
    if len(lines) > MOST:
        raise ValueError(f"{len(lines)} instructions, and the kernel takes {MOST}")
    return b"".join(_INSTRUCTION.pack(*line) for line in lines)
