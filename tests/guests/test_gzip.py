"""gzip and gunzip, against zlib itself and against GNU gzip."""

import gzip
import random
import struct
import subprocess
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from insitu.sandbox.limits import MIB, Limits
from tests.guests.within import within

PIECES = st.tuples(st.binary(max_size=40), st.integers(1, 40)).map(lambda pair: pair[0] * pair[1])
DATA = st.lists(PIECES, max_size=8).map(b"".join)


def by_zlib(data: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def megabytes() -> bytes:
    """Text, a picture's noise and long runs: matches near, far and none; more than the window and every buffer."""
    chance = random.Random(2)
    words = [chance.randbytes(chance.randint(2, 9)).hex().encode() for _ in range(4_000)]
    text = b" ".join(chance.choice(words) for _ in range(120_000))
    return text + chance.randbytes(400_000) + bytes(300_000) + text[:400_000]


@settings(max_examples=100, deadline=None)
@given(DATA, st.integers(1, 9))
def test_what_zlib_gives(data: bytes, level: int) -> None:
    packed = within("gzip", f"-{level}", stdin=data).expect()
    assert packed == by_zlib(data, level)
    assert within("gunzip", stdin=packed).expect() == data


@pytest.mark.parametrize("level", range(1, 10))
def test_what_zlib_gives_of_megabytes(level: int) -> None:
    data = megabytes()
    packed = within("gzip", f"-{level}", stdin=data).expect()
    assert packed == by_zlib(data, level)
    assert within("gunzip", stdin=packed).expect() == data


def test_the_level_unless_given_and_the_last_one_given() -> None:
    data = megabytes()[: MIB // 2]
    for arguments, level in (([], 6), (["-1", "-9"], 9), (["--best"], 9), (["--fast"], 1)):
        assert within("gzip", *arguments, stdin=data).expect() == by_zlib(data, level)


def test_gnu_gzip_takes_it_and_gives_it() -> None:
    data = megabytes()
    packed = within("gzip", stdin=data).expect()
    assert subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True).stdout == data
    packed = subprocess.run(["gzip", "-c"], input=data, capture_output=True, check=True).stdout
    assert within("gunzip", stdin=packed).expect() == data


def member(data: bytes, flags: int, *fields: bytes) -> bytes:
    """One with the header's optional fields."""
    header = struct.pack("<4BLBB", 31, 139, 8, flags, 0, 0, 255) + b"".join(fields)
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header + zlib.compress(data, wbits=-15) + struct.pack("<LL", zlib.crc32(data), len(data))


@settings(max_examples=40, deadline=None)
@given(st.lists(DATA, min_size=1, max_size=4), st.integers(0, 5))
@example([b""], 700_000)
def test_members_one_after_another_and_zeros(parts: list[bytes], zeros: int) -> None:
    packed = [member(part, 31, b"\3\0abc", b"name\0", b"comment\0") if n else gzip.compress(part)
              for n, part in enumerate(parts)]  # fmt: skip
    assert within("gunzip", stdin=b"".join(packed) + bytes(zeros)).expect() == b"".join(parts)


def test_cut_anywhere() -> None:
    packed = gzip.compress(b"some text, some text\n" * 20) + member(b"more", 31, b"\3\0abc", b"name\0", b"comment\0")
    whole = len(gzip.compress(b"some text, some text\n" * 20))
    for size in range(1, len(packed)):
        result = within("gunzip", stdin=packed[:size])
        if size == whole:
            assert result.expect() == b"some text, some text\n" * 20
        else:
            told = result.refusal("gunzip", begun=True)
            assert (
                told
                == f"member {1 + (size > whole)}, at byte {size} of the input: the input ends before the member does"
            )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_found(data: st.DataObject) -> None:
    """Wherever a bit is turned: the same text, or a refusal; never another text that is taken for whole."""
    text = b"It was the best of times, it was the worst of times. " * 8
    packed = bytearray(gzip.compress(text))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= 1 << data.draw(st.integers(0, 7))
    result = within("gunzip", stdin=bytes(packed))
    if result.outcome.ok:
        assert result.out == text
    else:
        assert result.refusal("gunzip", begun=True).startswith("member 1, at byte ")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_bytes_of_a_stranger(data: bytes, headed: bool) -> None:
    """No trap, and no memory beyond a window's, whatever comes."""
    data = b"\x1f\x8b\x08\0\0\0\0\0\0\3" + data if headed else data
    result = within("gunzip", stdin=data, limits=Limits(memory=2 * MIB))
    if not result.outcome.ok:
        assert result.refusal("gunzip", begun=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the input is empty"),
        (b"plain text", "member 1, at byte 2 of the input: incorrect header check"),
        (gzip.compress(b"a") + b"garbage", "member 2, at byte 23 of the input: incorrect header check"),
        (gzip.compress(b"a") + b"\0\0x", "behind it there are zeros, and then something else"),
        (gzip.compress(b"a")[:-8] + bytes(4) + b"\1\0\0\0", "incorrect data check"),
        (gzip.compress(b"a")[:-4] + b"\2\0\0\0", "incorrect length check"),
        (b"\x1f\x8b\x07" + gzip.compress(b"a")[3:], "unknown compression method"),
        (b"\x1f\x8b\x08\xe0" + gzip.compress(b"a")[4:], "unknown header flags set"),
    ],
)
def test_what_gzip_has_not_packed(data: bytes, message: str) -> None:
    assert message in within("gunzip", stdin=data).refusal("gunzip", begun=True)


def test_a_bomb_goes_no_further_than_the_limit_of_output() -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    assert len(bomb) < 70_000
    result = within("gunzip", stdin=bomb, limits=Limits(output=MIB, memory=2 * MIB))
    assert result.outcome.limit is not None
    assert (result.outcome.limit.name, len(result.out)) == ("output", MIB)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("gzip", ["-0"], "-0: no such option"),
        ("gzip", ["file"], "file: takes no file"),
        ("gunzip", ["file"], "takes no argument: it unpacks standard input"),
    ],
)
def test_mistakes_in_arguments(name: str, arguments: list[str], message: str) -> None:
    assert message in within(name, *arguments, stdin=b"a").refusal(name)
