"""partition: the hash that jobs have, keys as GNU sort finds them, and every line in exactly one output."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.jobs.shuffle import partition_of
from tests.guests.orders import TEXTS, gnu_sort, keys
from tests.guests.within import within

ROOT = Path(__file__).resolve().parents[2]


def dealt(text: bytes, count: int, *arguments: str) -> list[bytes]:
    names = [str(number) for number in range(count)]
    result = within("partition", *arguments, str(count), stdin=text, outputs=names)
    assert result.expect() == b""
    return [result.outputs[name] for name in names]


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(1, 14))
def test_as_jobs_partition(text: bytes, count: int) -> None:
    expected = [b""] * count
    for line in text.removesuffix(b"\n").split(b"\n") if text else []:
        expected[partition_of(line.partition(b"\t")[0], count)] += line + b"\n"
    assert dealt(text, count) == expected


@settings(max_examples=100, deadline=None)
@given(TEXTS, keys(), st.sampled_from([[], ["-z"], ["-t,"]]), st.integers(2, 5))
def test_lines_with_equal_keys_stay_together(text: bytes, key: str, options: list[str], count: int) -> None:
    """Whatever the key: `sort -u` finds no key in two outputs."""
    key = re.sub("[fnr]", "", key)
    outputs = dealt(text, count, *options, "--by", key)
    separated = options if "-t," in options else [*options, "-t\t"]
    assert gnu_sort(options, b"".join(outputs)) == gnu_sort(options, text)
    unique = [*separated, f"-k{key}", "-u"]
    end = b"\0" if "-z" in options else b"\n"
    assert sum(gnu_sort(unique, part).count(end) for part in outputs) == gnu_sort(unique, text).count(end)


def test_the_documented_vectors() -> None:
    page = (ROOT / "guests" / "README.md").read_text()
    vectors = re.findall(r"^\| `(\w+)` \| `0x([0-9a-f]{8})` \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(vectors) >= 4
    for key, crc, of_7, of_14 in vectors:
        assert (int(crc, 16) % 7, int(crc, 16) % 14) == (int(of_7), int(of_14))
        for count, number in ((7, of_7), (14, of_14)):
            assert dealt(key.encode(), count)[int(number)] == key.encode() + b"\n"


def test_lines_longer_than_its_buffers() -> None:
    lines = [bytes([65 + number]) * size + b"\n" for number, size in enumerate([1, 65_535, 65_536, 70_000, 300_000, 9])]
    outputs = dealt(b"".join(lines) * 3, 2)
    for line in lines:
        assert outputs[partition_of(line[:-1], 2)].count(line) >= 3
    assert sum(map(len, outputs)) == 3 * sum(map(len, lines))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "how many outputs?"),
        (["0"], "N 0: must be a whole number from 1 to 256"),
        (["257"], "must be a whole number from 1 to 256"),
        (["x"], "must be a whole number"),
        (["1", "1"], "one argument"),
        (["3"], "there is no output 2: a launch names all of 0 to 2 (--out 0=FILE); on a node there are 14 named"),
        (["--by", "1n", "1"], "key 1n: of the letters only b"),
        (["--by", "0", "1"], "key 0: fields are counted from 1"),
        (["-t", "ab", "1"], "must be one byte"),
    ],
)
def test_mistakes_in_arguments(arguments: list[str], message: str) -> None:
    assert message in within("partition", *arguments, stdin=b"a\n", outputs=["0", "1"]).refusal("partition")


def test_without_any_output() -> None:
    assert "there is no output 0" in within("partition", "1", stdin=b"a\n").refusal("partition")
