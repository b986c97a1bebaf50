"""words and sum, against a reference in Python and against `tr | sort | uniq -c`."""

import collections
import os
import random
import re
import subprocess
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.guests.within import within

if TYPE_CHECKING:
    from tests.guests.conftest import Runner

SPACES = b" \t\n\v\f\r"
MIB = 1 << 20


def count_words(text: bytes) -> bytes:
    """What `words` should say, the simple way."""
    counts = collections.Counter(word for word in re.split(b"[ \t\n\v\f\r]+", text) if word)
    return b"".join(b"%s\t%d\n" % item for item in sorted(counts.items()))


def parse(lines: bytes) -> list[tuple[bytes, int]]:
    return [(key, int(number)) for key, number in (line.split(b"\t") for line in lines.split(b"\n")[:-1])]


PROPERTY = settings(max_examples=100, deadline=None)
TEXT = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from([bytes([space]) for space in SPACES]), st.just(b"word\0")),
    max_size=60,
).map(b"".join)


@PROPERTY
@given(TEXT)
def test_words_of_any_bytes(text: bytes) -> None:
    assert within("words", stdin=text).expect() == count_words(text)


def test_words_counts_as_tr_sort_and_uniq_do(run: "Runner") -> None:
    """A large text of many words, some of them again and again, with every kind of white space and every byte but NUL
    (with which `uniq` and `sort` deal as well, but not every version of `tr`)."""
    chance = random.Random(7)
    alphabet = bytes(byte for byte in range(1, 256) if byte not in SPACES)
    vocabulary = [bytes(chance.choices(alphabet, k=chance.randint(1, 12))) for _ in range(20_000)]
    text = b"".join(
        chance.choice(vocabulary) + bytes(chance.choices(SPACES, k=chance.randint(1, 3))) for _ in range(200_000)
    )
    pipeline = "tr -s '[:space:]' '\\n' | sort | uniq -c"
    done = subprocess.run(
        ["sh", "-c", pipeline], input=text, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"}
    )
    counted = [line.strip(b" ").split(b" ", 1) for line in done.stdout.split(b"\n")[:-1]]
    expected = [(word, int(number)) for number, word in counted]
    assert parse(run("words", stdin=text).expect()) == expected


@pytest.mark.parametrize("size", [(256 << 10) - 1, 256 << 10, (256 << 10) + 1, MIB])
def test_a_word_may_cross_the_buffer(run: "Runner", size: int) -> None:
    word = b"x" * size
    assert run("words", stdin=b"a " + word + b"\t" + word).expect() == b"a\t1\n%s\t2\n" % word


def test_a_word_longer_than_a_mebibyte_is_refused(run: "Runner") -> None:
    assert "longer than 1048576 bytes" in run("words", stdin=b"x" * (MIB + 1)).refusal("words")


def test_words_takes_no_argument(run: "Runner") -> None:
    assert "takes no argument" in run("words", "-l", stdin=b"a").refusal("words")


@pytest.mark.parametrize("name", ["words", "sum", "merge", "partition", "gzip", "gunzip"])
def test_help(name: str) -> None:
    assert within(name, "--help", stdin=b"a").expect().startswith(b"usage: " + name.encode())


def test_a_full_table_is_written_in_parts_that_sum_adds_up(run: "Runner") -> None:
    """More distinct words than the bounded table holds: memory stays bounded, and words of several parts repeat."""
    count = 1_000_000
    text = b"\n".join(b"%d" % number for number in range(count)) + b"\n0 1 2 999999\n"
    partial = run("words", stdin=text, options=("--memory", "128MiB", "--wall", "60s")).expect()
    lines = parse(partial)
    assert len(lines) > len({key for key, _ in lines}) == count
    total = dict(parse(run("sum", stdin=partial, options=("--wall", "60s")).expect()))
    assert total == {b"%d" % number: 2 if number in (0, 1, 2, 999_999) else 1 for number in range(count)}


KEYS = st.binary(min_size=1, max_size=8).filter(lambda key: not set(key) & set(b"\t\n"))


@PROPERTY
@given(st.lists(st.tuples(KEYS, st.integers(0, 2**50)), max_size=50), st.booleans())
def test_sum_adds_up(pairs: list[tuple[bytes, int]], last_line_ends: bool) -> None:
    total: collections.Counter[bytes] = collections.Counter()
    for key, number in pairs:
        total[key] += number
    text = b"".join(b"%s\t%d\n" % pair for pair in pairs)
    if not last_line_ends:
        text = text.removesuffix(b"\n")
    assert within("sum", stdin=text).expect() == b"".join(b"%s\t%d\n" % item for item in sorted(total.items()))


def test_sum_reaches_all_of_64_bits(run: "Runner") -> None:
    most = 2**64 - 1
    assert run("sum", stdin=b"a\t%d\na\t1\nb\t0\n" % (most - 1)).expect() == b"a\t%d\nb\t0\n" % most


def test_the_order_of_numbers_does_not_matter_to_sum() -> None:
    """Beyond the bounds on the way, by more than 128 bits hold, it comes back."""
    most = "18446744073709551615.999999999999999999"
    numbers = [most] * 20 + [f"-{most}"] * 20 + ["0.5", "-2", str(2**64 - 1)]
    chance = random.Random(5)
    for _ in range(10):
        text = "".join(f"a\t{number}\n" for number in numbers)
        assert within("sum", stdin=text.encode()).expect() == b"a\t18446744073709551613.500000000000000000\n"
        chance.shuffle(numbers)


NUMBERS = st.tuples(st.integers(-(2**60), 2**60), st.integers(0, 18)).map(
    lambda pair: Decimal(pair[0]).scaleb(-pair[1])
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), NUMBERS), max_size=12))
@example([(b"a", Decimal("1.50")), (b"a", Decimal("-1.5"))])
@example([(b"a", Decimal("-0")), (b"b", Decimal("-0.00"))])
@example([(b"a", Decimal("0.000000000000000001")), (b"a", Decimal(2**64 - 1)), (b"a", Decimal(-1))])
@example([(b"a", Decimal(-(2**63))), (b"a", Decimal(-1)), (b"b", Decimal(2**63)), (b"b", Decimal(-1))])
@example([(b"a", Decimal(1 - 2**63)), (b"a", Decimal(-1)), (b"a", Decimal(-1)), (b"a", Decimal(1))])
@example([(b"a", Decimal(1 - 2**64)), (b"a", Decimal("-0.999999999999999999"))])
def test_sum_is_exact(pairs: list[tuple[bytes, Decimal]]) -> None:
    """As Python's decimal has it, given digits enough."""
    with localcontext(prec=60):
        total: dict[bytes, Decimal] = {}
        for key, number in pairs:
            total[key] = total.get(key, Decimal(0)) + number
        text = b"".join(b"%s\t%s\n" % (key, f"{number:f}".encode()) for key, number in pairs)
        expected = b"".join(b"%s\t%s\n" % (key, f"{number:f}".encode()) for key, number in sorted(total.items()))
    assert within("sum", stdin=text).expect() == expected


def test_sum_takes_lines_across_its_buffer(run: "Runner") -> None:
    keys = [bytes([letter]) * MIB for letter in b"abc"]
    text = b"".join(b"%s\t%d\n" % (key, number) for number, key in enumerate(keys * 2))
    assert parse(run("sum", stdin=text).expect()) == [(keys[0], 3), (keys[1], 5), (keys[2], 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\t1\nb", "line 2 has no TAB"),
        (b"\n", "line 1 has no TAB"),
        (b"a\t1\n\t1\n", "line 2 has an empty key"),
        (b"a\t", "line 1 has no number"),
        (b"a\t1\t2", "line 1 has something that is no number"),
        (b"a\t1\n\rb\t1.5\r\n", "line 2 ends with a carriage return (CR): lines must end with LF alone"),
        (b"a\tx\r\n", "line 1 has something that is no number"),
        (b"a\t\r\n", "line 1 has something that is no number"),
        *(
            (b"a\t" + word, "line 1 has something that is no number")
            for word in (b"-", b".5", b"5.", b"+1", b"1e3", b"--1")
        ),
        (b"a\t1." + b"1" * 19, "line 1 has a number with more than 18 digits behind its point"),
        (b"a\t1." + b"9" * 99, "line 1 has a number with more than 18 digits behind its point"),
        (b"a\t18446744073709551616", "line 1 has a number that does not fit 64 bits"),
        (b"a\t18446744073709551615\nb\t1\na\t1\n", "the total is 2^64 or above, or -2^64 or below, of the key a"),
        (b"a\t-18446744073709551615\nb\t1\na\t-1\n", "-2^64 or below, of the key a"),
        (b"a\t0.000000000000000001\na\t18446744073709551615\na\t0.999999999999999999", "of the key a"),
        (
            b"".join(b"%s\t18446744073709551615.999999999999999999\n" % key for key in [b"b", b"aa"] * 20),
            "of the key aa",
        ),
        (b"a\0\t18446744073709551615\nb\t1\na\0\t1\n", "of the key a"),
        ((b"x" * 200 + b"\t18446744073709551615\n") * 2, "of the key " + "x" * 99 + "..."),
        (b"a\t1\n" + b"x" * (MIB + 1) + b"\t1\n", "line 2 has a key longer than 1 MiB"),
        (b"a\t1\n" + b"x" * (2 * MIB), "line 2 is too long"),
    ],
)
def test_sum_refuses_malformed_lines(text: bytes, message: str) -> None:
    assert message in within("sum", stdin=text).refusal("sum")


def test_sum_says_when_memory_is_not_enough(run: "Runner") -> None:
    text = b"".join(b"%d\t1\n" % number for number in range(600_000))
    assert "not enough memory" in run("sum", stdin=text, options=("--memory", "16MiB")).refusal("sum")


@pytest.mark.parametrize("name", ["words", "sum"])
def test_nothing_gives_nothing(run: "Runner", name: str) -> None:
    assert run(name, stdin=b"").expect() == b""
