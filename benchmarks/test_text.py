"""The CPU of the programs that look for lines and columns in 100 MB of text, against GNU grep and Python.

Ours is the guest's CPU time as its outcome states it (compiled already), theirs that of the command as the kernel
states it, or of this thread; both read a file that is in the page cache, and write one in memory. GNU grep runs with
LC_ALL=C, and -a, as ours always does; given /dev/null to write to it would end at the first match. The bytes of both
are the same, and compared.
"""

import csv
import io
import json
import os
import random
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pytest

from benchmarks.interleave import Interleave
from benchmarks.texts import Guests, compare, memory_file, native

SIZE: Final = 100_000_000
COMMON: Final = [
    *(
        "the",
        "of",
        "and",
        "to",
        "in",
        "that",
        "it",
        "is",
        "was",
        "he",
        "for",
        "on",
        "are",
        "as",
        "with",
        "his",
        "they",
        "at",
    ),
    *(
        "be",
        "this",
        "have",
        "from",
        "or",
        "one",
        "had",
        "by",
        "word",
        "but",
        "not",
        "what",
        "all",
        "were",
        "we",
        "when",
    ),
    *(
        "your",
        "can",
        "said",
        "there",
        "use",
        "an",
        "each",
        "which",
        "she",
        "do",
        "how",
        "their",
        "if",
        "will",
        "up",
        "other",
    ),
]


def repeated(lines: Iterable[bytes], size: int) -> bytes:
    """Some megabytes, again and again."""
    block = b"".join(lines)
    return block * (size // len(block) + 1)


@pytest.fixture(scope="module")
def prose() -> Iterator[int]:
    """Words in lines; every tenth line has a number, every third begins with a capital, one in 40,000 has a name."""
    chance = random.Random(5)
    rare = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 10))) for _ in range(20_000)]

    def line(number: int) -> bytes:
        words = [chance.choice(COMMON if chance.random() < 0.7 else rare) for _ in range(chance.randint(4, 16))]
        if number % 10 == 0:
            words.insert(chance.randint(0, len(words)), str(chance.randint(1, 9999)))
        if number % 3 == 0:
            words[0] = words[0].capitalize()
        if number == 12_345:
            words.append("Sherlock Holmes")
        return " ".join(words).encode() + b"\n"

    with memory_file(repeated((line(number) for number in range(40_000)), SIZE)) as fd:
        yield fd


@pytest.mark.parametrize(
    ("what", "arguments"),
    [
        ("rare word", ["Sherlock"]),
        ("frequent word", ["the"]),
        ("-i rare", ["-i", "sherlock"]),
        ("-i frequent", ["-i", "the"]),
        ("classes and alternation", ["-E", "[0-9]+ (of|the) [a-z]+"]),
        ("no word to look for", ["-E", "[a-z]+ [0-9]+$"]),
        ("-w", ["-w", "the"]),
        ("-v rare", ["-v", "Sherlock"]),
        ("-v frequent", ["-v", "the"]),
        ("-c frequent", ["-c", "the"]),
        ("-c of all lines", ["-c", ""]),
        ("-o", ["-oE", "[0-9]+"]),
        ("-F four words", ["-F", "-e", "Sherlock", "-e", "Watson", "-e", "number", "-e", "xyzzy"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_grep(interleave: Interleave, guests: Guests, prose: int, what: str, arguments: list[str]) -> None:
    def ours(stdout: int) -> float:
        return guests.run(["grep", *arguments], prose, stdout)

    def theirs(stdout: int) -> float:
        return native(shlex.join(["exec", "grep", "-a", *arguments]), prose, stdout)

    compare(interleave, f"grep, {what} / GNU grep", ours, theirs, 2)


def test_grep_for_two_thousand_patterns(interleave: Interleave, guests: Guests, prose: int) -> None:
    """Words that GNU grep could look for with -F, as it sees for itself."""
    chance = random.Random(8)
    patterns = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(4, 10))) for _ in range(2000)]
    arguments = ["-G", "\n".join(patterns)]

    def ours(stdout: int) -> float:
        return guests.run(["grep", *arguments], prose, stdout)

    def theirs(stdout: int) -> float:
        return native(shlex.join(["exec", "grep", "-a", *arguments]), prose, stdout)

    compare(interleave, "grep, 2000 patterns / GNU grep", ours, theirs, None)


ROWS: Final = 20_000


def rows() -> list[list[str]]:
    chance = random.Random(3)
    return [
        [
            str(number),
            chance.choice(["tea", "oil", "salt", "pepper"]),
            f"{chance.randint(0, 9999) / 100:.2f}",
            chance.choice(["Vienna", "Rome", "Oslo, Norway"]),
            'they say "hi"' if number % 5 == 0 else f"number {number} is plain",
        ]
        for number in range(ROWS)
    ]


@pytest.fixture(scope="module")
def table() -> Iterator[int]:
    """Half of SIZE of CSV without a header; two rows in five have quotes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows())
    with memory_file(repeated([text.getvalue().encode()], SIZE // 2)) as fd:
        yield fd


@pytest.fixture(scope="module")
def records() -> Iterator[int]:
    """Half of SIZE of JSON lines."""
    lines = (
        json.dumps(
            {"id": number, "name": name, "price": float(price), "user": {"city": city, "tags": [1, 2, 3]}, "note": note}
        )
        for number, name, price, city, note in rows()
    )
    with memory_file(repeated((f"{line}\n".encode() for line in lines), SIZE // 2)) as fd:
        yield fd


def by_python(work: Callable[[io.TextIOWrapper, io.TextIOWrapper], None], stdin: int, stdout: int) -> float:
    """This thread's CPU time."""
    begun = time.thread_time_ns()
    os.lseek(stdin, 0, os.SEEK_SET)
    with (
        open(stdin, encoding="utf-8", newline="", closefd=False) as text,
        open(stdout, "w", encoding="utf-8", newline="", closefd=False) as out,
    ):
        work(text, out)
    return (time.thread_time_ns() - begun) / 1000


def test_select_of_csv(interleave: Interleave, guests: Guests, table: int) -> None:
    def by_csv(text: io.TextIOWrapper, out: io.TextIOWrapper) -> None:
        writer = csv.writer(out, lineterminator="\n")
        for row in csv.reader(text):
            if row[1] == "oil" and float(row[2]) > 50:
                writer.writerow((row[4], row[0]))

    def ours(stdout: int) -> float:
        words = ["select", "--csv", "--no-header", "--columns", "5,1", "--where", "2 = oil and 3 > 50"]
        return guests.run(words, table, stdout)

    compare(interleave, "select of 50 MB of CSV / Python's csv", ours, lambda out: by_python(by_csv, table, out), None)


def test_select_of_json(interleave: Interleave, guests: Guests, records: int) -> None:
    def by_json(text: io.TextIOWrapper, out: io.TextIOWrapper) -> None:
        for line in text:
            value = json.loads(line)
            if value["price"] > 50:
                chosen = {"id": value["id"], "user.city": value["user"]["city"]}
                out.write(json.dumps(chosen, separators=(",", ":")) + "\n")

    def ours(stdout: int) -> float:
        words = ["select", "--jsonl", "--columns", "id,user.city", "--where", "price > 50"]
        return guests.run(words, records, stdout)

    compare(
        interleave, "select of 50 MB of JSON / Python's json", ours, lambda out: by_python(by_json, records, out), None
    )
