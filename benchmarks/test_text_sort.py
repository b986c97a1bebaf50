"""The CPU of the programs that sort, count and pack, on 100 MB of text, against what Unix has for the same.

Ours is the guest's CPU time as its outcome states it (compiled already), theirs that of the commands, as the kernel
states it; both read a file that is in the page cache, and write one in memory. The commands run with LC_ALL=C, GNU sort
on one processor and with all of its input in memory. The bytes of both are the same, and compared.
"""

import itertools
import os
import random
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from benchmarks.interleave import Interleave
from benchmarks.texts import Guests, compare, contents, memory_file, native
from insitu.sandbox.limits import MIB

SIZE: Final = 100_000_000
SORT: Final = "sort --parallel=1 -S 1G"


def by_gnu_sort(data: bytes, *options: str) -> bytes:
    """What is merged."""
    with memory_file(data) as stdin, memory_file() as stdout:
        native(f"{SORT} {' '.join(options)}", stdin, stdout)
        return contents(stdout)


def words_of(chance: random.Random, count: int, shortest: int, longest: int) -> list[str]:
    return [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(shortest, longest))) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def table() -> Iterator[int]:
    """Lines of a number, a word and four more, fields ending with TAB; no two of 2.4 million are likely to be equal."""
    chance = random.Random(3)
    words = words_of(chance, 50_000, 2, 9)
    lines, size = [], 0
    while size < SIZE:
        a, b, c, d, e = chance.choices(words, k=5)
        line = f"{chance.getrandbits(30)}\t{a}\t{b} {c} {d} {e}\n"
        lines.append(line)
        size += len(line)
    with memory_file("".join(lines).encode()) as fd:
        yield fd


@pytest.fixture(scope="module")
def prose() -> Iterator[int]:
    """Twelve words a line, the n-th of 60,000 as often as 1/n."""
    chance = random.Random(4)
    words = words_of(chance, 60_000, 1, 11)
    often = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(words))))
    lines, size = [], 0
    while size < SIZE:
        line = " ".join(chance.choices(words, cum_weights=often, k=12)) + "\n"
        lines.append(line)
        size += len(line)
    with memory_file("".join(lines).encode()) as fd:
        yield fd


@pytest.mark.parametrize("options", [[], ["-n"], ["-t\t", "-k2,2"]], ids=["lines", "-n", "-t TAB -k2,2"])
def test_sort(interleave: Interleave, guests: Guests, table: int, options: list[str]) -> None:
    quoted = " ".join(f"'{option}'" for option in options)

    def ours(stdout: int) -> float:
        return guests.run(["sort", *options], table, stdout)

    def theirs(stdout: int) -> float:
        return native(f"{SORT} {quoted}", table, stdout)

    compare(interleave, " ".join(["sort", *options]).replace("\t", "TAB") + " / GNU sort", ours, theirs, 2)


def test_merge(interleave: Interleave, guests: Guests, table: int) -> None:
    lines = contents(table).splitlines(keepends=True)
    with ExitStack() as stack:
        inputs = [stack.enter_context(memory_file(by_gnu_sort(b"".join(lines[part::8])))) for part in range(8)]
        files = " ".join(f"/proc/{os.getpid()}/fd/{fd}" for fd in inputs)

        def ours(stdout: int) -> float:
            return guests.run(["merge"], inputs[0], stdout, inputs[1:])

        def theirs(stdout: int) -> float:
            return native(f"sort --parallel=1 -m {files}", inputs[0], stdout)

        compare(interleave, "merge of 8 / GNU sort -m", ours, theirs, 2)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tr | sort | uniq -c", rf"tr -s '[:space:]' '\n' | {SORT} | uniq -c | sed -E 's/ *([0-9]+) (.*)/\2\t\1/'"),
        ("awk | sort", f"awk '{{for(i=1;i<=NF;i++)n[$i]++}} END{{for(w in n)print w \"\t\" n[w]}}' | {SORT}"),
    ],
    ids=["uniq", "awk"],
)
def test_words_and_sum(interleave: Interleave, guests: Guests, prose: int, name: str, command: str) -> None:
    def ours(stdout: int) -> float:
        with memory_file() as between:
            return guests.run(["words"], prose, between) + guests.run(["sum"], between, stdout)

    def theirs(stdout: int) -> float:
        return native(command, prose, stdout)

    compare(interleave, f"words, then sum / {name}", ours, theirs, 2)


def by_zlib(codec: "zlib._Compress | zlib._Decompress", stdin: int, stdout: int) -> float:
    """This thread's CPU time for reading, packing or unpacking, and writing."""
    begun = time.thread_time_ns()
    os.lseek(stdin, 0, os.SEEK_SET)
    work = codec.compress if hasattr(codec, "compress") else codec.decompress
    while chunk := os.read(stdin, MIB // 4):
        os.write(stdout, work(chunk))
    os.write(stdout, codec.flush())
    return (time.thread_time_ns() - begun) / 1000


@pytest.mark.parametrize("level", [1, 6, 9])
def test_gzip(interleave: Interleave, guests: Guests, prose: int, level: int) -> None:
    with memory_file(contents(prose)[: SIZE // 4]) as part:

        def ours(stdout: int) -> float:
            return guests.run(["gzip", f"-{level}"], part, stdout)

        def theirs(stdout: int) -> float:
            return by_zlib(zlib.compressobj(level, zlib.DEFLATED, 31), part, stdout)

        compare(interleave, f"gzip -{level} of 25 MB / native zlib", ours, theirs, 2)


def test_gunzip(interleave: Interleave, guests: Guests, prose: int) -> None:
    with memory_file(zlib.compress(contents(prose), wbits=31)) as packed:

        def ours(stdout: int) -> float:
            return guests.run(["gunzip"], packed, stdout)

        def theirs(stdout: int) -> float:
            return by_zlib(zlib.decompressobj(31), packed, stdout)

        compare(interleave, "gunzip / native zlib", ours, theirs, 2)
