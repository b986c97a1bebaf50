"""What a module may be made of, looked at before it is compiled: the counts that stand at the head of its sections.

A compiler is given a stranger's module, and pays for each part of it: a function that does nothing costs it 6 KiB of
memory and 30 µs (measured: 300,000 of them, a module of 1.2 MB, took 1.8 GiB and 13 s of CPU time). So a module that
asks for too many of anything is refused by name, after reading a few bytes of each section. This says nothing of
whether it is valid: that is the engine's to say, and what a function's code costs is for the compiler process's limits.
"""

from typing import Final

from insitu.sandbox.errors import ProgramError
from insitu.sandbox.limits import MIB, format_size

MAX_SECTIONS: Final = 1000
"""Most of them custom ones: names, notes of producers."""
MAX_CODE: Final = 64 * MIB
"""Bytes of all functions."""
COUNTS: Final[dict[int, tuple[str, int]]] = {
    # Section → what it counts and how many may be. CPython, the largest program in the tests, has 12,000 functions.
    1: ("types", 100_000),
    2: ("imports", 1_000),
    3: ("functions", 100_000),
    4: ("tables", 100),  # of which a launch allows fewer
    6: ("globals", 100_000),
    7: ("exports", 100_000),
    9: ("element segments", 100_000),
    11: ("data segments", 100_000),
    13: ("tags", 10_000),
}
_CODE: Final = 10
_NUMBER: Final = 5  # bytes that a 32-bit number takes at most


def check_structure(wasm: bytes, source: str) -> None:
    """Of a core module's bytes. Raises `ProgramError` naming the limit; what is malformed is left to the engine."""
    at, sections, seen = 8, 0, dict[int, int]()
    while at < len(wasm):
        sections += 1
        if sections > MAX_SECTIONS:
            raise ProgramError(f"{source}: over {MAX_SECTIONS} sections, and no more are allowed")
        kind = wasm[at]
        size, at = _number(wasm, at + 1)
        if kind == _CODE and size > MAX_CODE:
            raise ProgramError(
                f"{source}: {format_size(size)} of code, and at most {format_size(MAX_CODE)} are allowed"
            )
        if kind in COUNTS:
            what, most = COUNTS[kind]
            count = seen[kind] = seen.get(kind, 0) + _number(wasm, at)[0]
            if count > most:
                raise ProgramError(f"{source}: {count} {what}, and at most {most} are allowed")
        at += size


def _number(wasm: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 and where it ends; what is none ends the module."""
    value = 0
    for index in range(_NUMBER):
        if at + index >= len(wasm):
            break
        byte = wasm[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    return 0, len(wasm)
