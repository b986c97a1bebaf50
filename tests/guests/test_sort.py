"""sort, against GNU sort in the C locale: byte for byte."""

import random

import pytest
from hypothesis import example, given, settings

from insitu.sandbox.limits import MIB, Limits
from tests.guests.orders import TEXTS, gnu_sort, orders
from tests.guests.within import within


@settings(max_examples=400, deadline=None)
@given(orders(), TEXTS)
@example(["-n"], b"10\n9\n-1\n-0\n0\n.5\n-.5\n1e3\n+1\n--1\n0x1\n00012\n- 1\n")
@example(["-n", "-r", "-s"], b"1.0 a\n1 b\n01.00 c\n1.000000000000000000000000000001\n")
@example(["-k2", "-t", "\\0"], b"a\0b\nb\0a\n")
@example(["-u", "-f"], b"b\nA\na\nB\n")
def test_as_gnu_sort(order: list[str], text: bytes) -> None:
    assert within("sort", *order, stdin=text).expect() == gnu_sort(order, text)


def tables(count: int) -> bytes:
    """Lines of three fields, many of whose keys are equal or begin alike."""
    chance = random.Random(5)
    name = [b"shared/beginning/%x" % chance.getrandbits(chance.choice([4, 12, 30])) for _ in range(count // 20)]
    return b"".join(
        b"%d.%d\t%s\t%s\n" % (chance.randint(-999, 999), chance.randint(0, 9), chance.choice(name), chance.randbytes(4))
        for _ in range(count)
    ).replace(b"\0", b"0")


@pytest.mark.parametrize("order", [[], ["-n"], ["-t\t", "-k2,2", "-s"], ["-t\t", "-k2,2r", "-k1,1n"], ["-u", "-k1,1"]])
def test_many_lines(order: list[str]) -> None:
    text = tables(60_000)
    assert within("sort", *order, stdin=text).expect() == gnu_sort(order, text)


@pytest.mark.parametrize(
    "lines",
    [
        [b"%07d" % (number * 7919 % 100_003) for number in range(100_003)],
        [b"%07d" % number for number in range(60_000)],
        [b"%07d" % -number for number in range(60_000)],
        [b"%d" % (min(number, 60_000 - number)) for number in range(60_000)],
        [b"same"] * 60_000,
        [b"x" * size for size in range(2_000)],
        [bytes([number % 2]) * 40_000 + b"%d" % number for number in range(60)],
        [b"1" * size + b".%d" % size for size in range(1_500)],
    ],
    ids=["shuffled", "sorted", "downwards", "up and down", "equal", "ever longer", "long and alike", "long numbers"],
)
@pytest.mark.parametrize("order", [["-s"], ["-n"]])
def test_orders_that_are_hard_on_quicksort(lines: list[bytes], order: list[str]) -> None:
    """Within a fuel that a sort of quadratic cost would need a hundredfold."""
    text = b"\n".join(lines) + b"\n"
    result = within("sort", *order, stdin=text, limits=Limits(fuel=400 * len(text) + 3_000 * len(lines)))
    assert result.expect() == gnu_sort(order, text)


def test_a_long_key_costs_no_more_than_its_bytes() -> None:
    """Each chunk of it is found where the last one ended, not by looking for its field again."""
    lines = [b"f\t" + b"x" * MIB + b"%d\n" % number for number in (2, 1, 3)]
    result = within("sort", "-t\t", "-k2,2", stdin=b"".join(lines), limits=Limits(fuel=100 * 3 * MIB))
    assert result.expect() == lines[1] + lines[0] + lines[2]


def test_what_memory_does_not_hold_is_refused_by_name() -> None:
    text = b"some line\n" * (2 * MIB)
    for size in (17 * MIB, 24 * MIB):  # the lines alone do not fit; the lines do, and what is kept of each does not
        told = within("sort", stdin=text, limits=Limits(memory=size)).refusal("sort")
        assert f"more than the memory limit of {size // MIB} MiB: allow more memory, or partition" in told
    assert within("sort", stdin=text, limits=Limits(memory=56 * MIB)).expect() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k0"], "key 0: fields are counted from 1"),
        (["-k1,0"], "fields are counted from 1"),
        (["-k1.0"], "the bytes of a key's beginning are counted from 1"),
        (["-k", "1x"], "b, f, n and r, and nothing else"),
        (["-k", "1,2,3"], "two positions at most"),
        (["-k", "1."], "in digits"),
        (["-k", ""], "in digits"),
        (["-k1,"], "in digits"),
        (["-k"], "needs a value"),
        (["-t", "ab"], "must be one byte"),
        (["-t", ""], "must be one byte"),
        (["-t,", "-t;"], "two field separators"),
        (["-k1"] * 65, "more than 64 keys"),
        (["-M"], "-M: no such option"),
        (["file"], "file: takes no file"),
    ],
)
def test_mistakes_in_arguments(arguments: list[str], message: str) -> None:
    assert message in within("sort", *arguments, stdin=b"a\n").refusal("sort")


def test_positions_beyond_every_number() -> None:
    order = ["-k", "1,99999999999999999999", "-k99999999999999999999.99999999999999999999,2.4294967296"]
    assert within("sort", *order, stdin=b"b\na\n").expect() == b"a\nb\n"


def test_help() -> None:
    assert within("sort", "--help").expect().startswith(b"usage: sort ")
