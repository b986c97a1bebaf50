"""What a module may be made of, looked at before it is compiled: the counts that stand at the head of its sections.

A compiler is given a stranger's module, and pays for each part of it: a function that does nothing costs it 6 KiB of
memory and 30 µs (measured: 300,000 of them, a module of 1.2 MB, took 1.8 GiB and 13 s of CPU time). So a module that
asks for too many of anything is refused by name, after reading a few bytes of each section. This says nothing of
whether it is valid: that is the engine's to say, and what a function's code costs is for the compiler process's limits.
"""

from typing import Final

from insitu.sandbox import binary
from insitu.sandbox.binary import Cursor, Malformed
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.limits import MIB, format_size

MAX_SECTIONS: Final = 1000
"""Most of them custom ones: names, notes of producers."""
MAX_CODE: Final = 64 * MIB
"""Bytes of all functions."""
COUNTS: Final[dict[int, tuple[str, int]]] = {
    # Section → what it counts and how many may be. CPython, the largest program in the tests, has 12,000 functions.
    binary.TYPE: ("types", 100_000),
    binary.IMPORT: ("imports", 1_000),
    binary.FUNCTION: ("functions", 100_000),
    binary.TABLE: ("tables", 100),  # of which a launch allows fewer
    binary.GLOBAL: ("globals", 100_000),
    binary.EXPORT: ("exports", 100_000),
    binary.ELEMENT: ("element segments", 100_000),
    binary.DATA: ("data segments", 100_000),
    binary.TAG: ("tags", 10_000),
}


def check_structure(wasm: bytes, source: str) -> None:
    """Of a core module's bytes. Raises `ProgramError` naming the limit; what is malformed is left to the engine."""
    cursor, sections, seen = Cursor(wasm, len(binary.HEAD)), 0, dict[int, int]()
    while cursor.at < cursor.end:
        sections += 1
        if sections > MAX_SECTIONS:
            raise ProgramError(f"{source}: over {MAX_SECTIONS} sections, and no more are allowed")
        try:
            kind, size = cursor.byte(), cursor.number()
            counted = Cursor(wasm, cursor.at).number() if kind in COUNTS else 0
        except Malformed:
            return
        if kind == binary.CODE and size > MAX_CODE:
            raise ProgramError(
                f"{source}: {format_size(size)} of code, and at most {format_size(MAX_CODE)} are allowed"
            )
        if kind in COUNTS:
            what, most = COUNTS[kind]
            count = seen[kind] = seen.get(kind, 0) + counted
            if count > most:
                raise ProgramError(f"{source}: {count} {what}, and at most {most} are allowed")
        cursor.at += size
