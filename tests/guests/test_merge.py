"""merge, against `sort -m` of GNU sort in the C locale: byte for byte."""

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.sandbox.limits import MIB, Limits
from tests.guests.orders import C_LOCALE, TEXTS, gnu_sort, in_order, orders
from tests.guests.within import within


def gnu_merge(folder: Path, order: list[str], texts: list[bytes]) -> bytes:
    files = [folder / f"{number:04}" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text)
    command = ["sort", "-m", *order, *map(str, files)]
    return subprocess.run(command, capture_output=True, check=True, env=C_LOCALE, timeout=60).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merge")


@settings(max_examples=150, deadline=None)
@given(orders(), st.lists(TEXTS, max_size=4), TEXTS)
def test_as_gnu_sort_merges(folder: Path, order: list[str], texts: list[bytes], first: bytes) -> None:
    ready = [gnu_sort(order, text) for text in [first, *texts]]
    inputs = {f"{number:04}": text for number, text in enumerate(ready[1:])}
    assert within("merge", *order, stdin=ready[0], inputs=inputs).expect() == gnu_merge(folder, order, ready)


@settings(max_examples=150, deadline=None)
@given(orders(), TEXTS)
def test_what_is_not_sorted_is_refused_at_its_line(order: list[str], text: bytes) -> None:
    """As `sort -c` says of all up to that line, and of all before it."""
    order = [word for word in order if word != "-u"]  # with which -c refuses equal lines too
    result = within("merge", *order, "mine", inputs={"mine": text})
    if in_order(order, text):
        assert result.expect() == gnu_sort([*order, "-s"], text)
        return
    head, _, message = result.refusal("merge", begun=True).partition(": ")
    name, _, number = head.partition(", line ")
    line = int(number)
    assert (name, message) == ("mine", "not in order; each input must be sorted with the same options")
    end = b"\0" if "-z" in order else b"\n"
    lines = text.split(end)
    assert in_order(order, end.join(lines[: line - 1]) + end)
    assert not in_order(order, end.join(lines[:line]) + end)


def test_many_inputs_of_many_lines(folder: Path) -> None:
    chance = random.Random(11)
    texts = []
    for number in range(14):
        keys = sorted(chance.randrange(30_000) for _ in range(chance.choice([0, 1, 3_000, 12_000])))
        texts.append(b"".join(b"%d\t%d of %d\n" % (key, place, number) for place, key in enumerate(keys)))
    inputs = {f"{number:04}": text for number, text in enumerate(texts[1:])}
    for order in (["-n", "-s", "-k1,1"], ["-n", "-u", "-k1,1"]):
        merged = within("merge", *order, stdin=texts[0], inputs=inputs, limits=Limits(memory=8 * MIB)).expect()
        assert merged == gnu_merge(folder, order, texts)


def test_of_equal_lines_the_first_input_comes_first() -> None:
    inputs = {"b": b"k 3\n", "a": b"k 2\n", "10": b"k 1\n"}
    assert within("merge", "-s", "-k1,1", stdin=b"k 0\n", inputs=inputs).expect() == b"k 0\nk 1\nk 2\nk 3\n"
    assert within("merge", "-s", "-k1,1", "b", "-", "a", stdin=b"k 0\n", inputs=inputs).expect() == b"k 3\nk 0\nk 2\n"


def test_long_lines_and_a_bound_on_them() -> None:
    long = [letter * MIB for letter in (b"a", b"b", b"c", b"d")]
    merged = within("merge", stdin=long[0] + b"\n" + long[2], inputs={"x": long[1] + b"\n" + long[3] + b"\n"})
    assert merged.expect() == b"\n".join(long) + b"\n"
    assert within("merge", stdin=b"a" * (8 * MIB)).expect() == b"a" * (8 * MIB) + b"\n"
    told = within("merge", stdin=b"a\n", inputs={"x": b"b\n" + b"c" * (8 * MIB + 1) + b"\n"}).refusal(
        "merge", begun=True
    )
    assert told == "x has a line longer than 8388608 bytes, which is the most that is allowed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["there", "gone"], "there is no input gone: launch with --in gone=FILE"),
        (["../there"], "there is no input ../there"),
        (["there", "there"], "the input there is named twice"),
        (["-m"], "-m: no such option"),
    ],
)
def test_mistakes_in_arguments(arguments: list[str], message: str) -> None:
    assert message in within("merge", *arguments, inputs={"there": b"a\n"}).refusal("merge")
