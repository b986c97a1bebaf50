"""Modules that would cost a compiler more than they are worth are refused by name, and at once."""

import pytest

from insitu.sandbox.errors import ProgramError
from insitu.sandbox.limits import MIB
from insitu.sandbox.program import to_wasm
from insitu.sandbox.structure import COUNTS, MAX_CODE, MAX_SECTIONS

HEAD = b"\0asm\1\0\0\0"


def leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def section(kind: int, body: bytes, size: int | None = None) -> bytes:
    return bytes([kind]) + leb(len(body) if size is None else size) + body


@pytest.mark.parametrize("kind", COUNTS)
def test_counts_at_and_above_their_limit(kind: int) -> None:
    what, most = COUNTS[kind]
    to_wasm(HEAD + section(kind, leb(most)))  # whether it is valid is for the engine to say
    with pytest.raises(ProgramError, match=f"mine: {most + 1} {what}, and at most {most} are allowed"):
        to_wasm(HEAD + section(0, b"\1x" + bytes(1000)) + section(kind, leb(most + 1)), "mine")
    with pytest.raises(ProgramError, match=f"{what}, and at most"):  # in two sections, which no valid module has
        to_wasm(HEAD + section(kind, leb(most)) + section(kind, leb(1)), "mine")


def test_a_million_functions_in_a_module_that_is_otherwise_valid() -> None:
    count = 1_000_000
    body = section(1, b"\1\x60\0\0") + section(3, leb(count) + bytes(count))
    with pytest.raises(ProgramError, match="1000000 functions, and at most 100000 are allowed"):
        to_wasm(HEAD + body + section(10, leb(count) + b"\2\0\x0b" * count), "mine")


def test_code_is_bounded_by_what_it_declares() -> None:
    to_wasm(HEAD + section(10, b"\0", MAX_CODE))
    with pytest.raises(ProgramError, match="of code, and at most 64 MiB"):
        to_wasm(HEAD + section(10, b"\0", MAX_CODE + 1))
    with pytest.raises(ProgramError, match="200 MiB of code"):
        to_wasm(HEAD + section(10, b"\0", 200 * MIB))


def test_sections_without_end() -> None:
    to_wasm(HEAD + section(0, b"") * MAX_SECTIONS)
    with pytest.raises(ProgramError, match="over 1000 sections"):
        to_wasm(HEAD + section(0, b"") * 10_000_000)


@pytest.mark.parametrize(
    "rest",
    [b"\3", b"\3\xff", b"\3\xff\xff\xff\xff\xff\xff", b"\3\5", b"\3\x01\xff", b"\x7f\0", b"\3\xff\xff\xff\xff\x0f"],
)
def test_what_is_malformed_is_left_to_the_engine(rest: bytes) -> None:
    assert to_wasm(HEAD + rest) == HEAD + rest
