"""grep, byte for byte against GNU grep in the C locale, which reads its input as text (-a).

Left out of the comparison is where GNU grep's own two engines disagree: it finds a match for -o by another one than a
line, which errs where \\b and its kin are repeated, and with -w where a shorter match would be a whole word.
"""

import os
import random
import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guests.conftest import Run, Runner
from tests.guests.inside import Inside

inside = Inside()


def grep(*arguments: str, stdin: bytes, fuel: int | None = None) -> Run:
    return inside.run("grep", *arguments, stdin=stdin, fuel=fuel)[0]


PROPERTY = settings(max_examples=400, deadline=None)
MIB = 1 << 20

TEXT = st.lists(
    st.one_of(
        st.sampled_from(
            [b"a", b"b", b"ab", b"X", b"A", b"_", b" ", b"-", b".", b"*", b"\n", b"\n", b"word", b"\0", b"\xff"]
        ),
        st.binary(max_size=3),
    ),
    max_size=40,
).map(b"".join)
CLASSES = [
    "[ab]",
    "[^a]",
    "[[:alpha:]]",
    "[^[:space:]_]",
    "[A-X]",
    "[]a]",
    "[^]a-]",
    "[[:upper:]*.]",
    "[[:digit:][:punct:]]",
]
NEEDS = ["^", "$", "\\<", "\\>", "\\b", "\\B"]
ATOMS = ["a", "b", "A", "X", "_", "-", "word", ".", "\\w", "\\W", "\\s", "\\S", "\\.", "\\*", *CLASSES]
INTERVALS = ["{2}", "{1,2}", "{,2}", "{1,}", "{0}", "{,}"]


def regex(extended: bool) -> st.SearchStrategy[str]:
    """Patterns in one syntax; an operator has a backslash in the basic one."""
    mark = "" if extended else "\\"
    operators = ["*", f"{mark}+", f"{mark}?"] + [
        interval.replace("{", f"{mark}{{").replace("}", f"{mark}}}") for interval in INTERVALS
    ]
    # What GNU grep says of a repeated anchor differs from version to version: only what has a byte is repeated.
    atom = st.sampled_from(ATOMS)
    simple = st.one_of(atom, st.sampled_from(NEEDS), st.builds(str.__add__, atom, st.sampled_from(operators)))

    def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        group = inner.map(lambda text: f"{mark}({text}{mark})")
        repeated = st.builds(
            lambda byte, text, operator: f"{mark}({byte}{text}{mark}){operator}",
            atom,
            inner,
            st.sampled_from(operators),
        )
        either = st.builds(lambda one, other: f"{one}{mark}|{other}", inner, inner)
        return st.one_of(st.builds(str.__add__, inner, inner), group, repeated, either)

    return st.recursive(simple, deeper, max_leaves=6)


@st.composite
def commands(draw: st.DrawFn) -> list[str]:
    syntax = draw(st.sampled_from("EFG"))
    if syntax == "F":
        pattern, most = st.text("abAX_ -.\\[*", max_size=4), 20
    else:
        pattern, most = regex(syntax == "E"), 3
    patterns = draw(st.one_of(pattern.map(lambda one: [one]), st.lists(pattern, min_size=1, max_size=most)))
    options = draw(st.lists(st.sampled_from(["-i", "-v", "-n", "-o", "-c"]), unique=True))
    options += draw(st.sampled_from([[], [], ["-w"], ["-x"]]))
    if draw(st.booleans()):
        options.append(f"-m{draw(st.integers(1, 4))}")
    if "-o" in options and (
        ("-w" in options and (syntax != "F" or "" in patterns)) or any(need in "".join(patterns) for need in NEEDS[2:])
    ):
        options.remove("-o")
    if "-c" in options and "" in patterns:
        options.remove("-c")  # with -v GNU grep then does not even say 0
    words = [f"-{syntax}", *options]
    for one in patterns:
        words += ["-e", one]
    return words


def gnu(arguments: list[str], text: bytes) -> bytes:
    done = subprocess.run(
        ["grep", "-a", *arguments], input=text, capture_output=True, env={**os.environ, "LC_ALL": "C"}, timeout=120
    )
    assert done.returncode in (0, 1), (arguments, done.stderr)
    return done.stdout


@PROPERTY
@given(commands(), TEXT)
def test_every_option_as_gnu_grep(arguments: list[str], text: bytes) -> None:
    assert grep(*arguments, stdin=text).expect() == gnu(arguments, text)


PIECES = [
    *(
        "a",
        "b",
        "*",
        "+",
        "?",
        "{",
        "}",
        "{1}",
        "{2,}",
        "{,2}",
        "(",
        ")",
        "()",
        "|",
        "^",
        "$",
        "\\",
        "\\(",
        "\\)",
        "\\|",
        "\\{",
    ),
    *(
        "\\}",
        "\\{1\\}",
        "\\+",
        "\\?",
        "[a]",
        "[^a]",
        "[",
        "]",
        "[]a]",
        "[a-",
        "-]",
        ".",
        "\\.",
        "\\^",
        "\\*",
        "\\$",
        "\\[",
        "\\]",
    ),
    *(",", "1", "\\<", "\\b", "\\w", "[[:alpha:]]", "[:alpha:]", "\\/", "\\-"),
]
SIGNS = (
    b"a\nb\nab\naa\naab\n*\n+\n?\n{\n}\n{1}\na{1}\na{\n(\n)\n()\n|\na|b\n^\n$\n\\\n[\n]\n[a]\n-\n.\n,\n1\n\n"
    b"^a\na$\n^*\na*\n*a\na+b\n(a)\na)b\n"
)


@PROPERTY
@given(st.sampled_from("EG"), st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join))
def test_whatever_is_taken_for_a_pattern_means_what_it_means_to_gnu_grep(syntax: str, pattern: str) -> None:
    done = subprocess.run(
        ["grep", f"-{syntax}", "-e", pattern], input=SIGNS, capture_output=True, env={**os.environ, "LC_ALL": "C"}
    )
    run = grep(f"-{syntax}", "-e", pattern, stdin=SIGNS)
    if run.code == 2:
        odd = re.search(r"\\[a-z0-9]", pattern.replace("\\<", "").replace("\\b", "").replace("\\w", ""))
        assert done.returncode == 2 or odd, (pattern, run)
    elif done.returncode != 2:  # which is so for a few odd braces
        assert run.expect() == done.stdout


SENTENCES = [
    b"the price of oil is 1234",
    b"A Rare Word in here",
    b"cost: 99",
    b"x" * 100,
    b"",
    b"no number",
    b"tab\there",
]
MANY = [
    ["Rare"],
    ["-i", "rare word"],
    ["-c", "the"],
    ["-v", "the"],
    ["-n", "o"],
    ["-E", "(price|cost)[: ].*[0-9]$"],
    ["-E", "[0-9]+ *$"],
    ["-oE", "[0-9]+"],
    ["-o", "Word"],
    ["-wn", "in"],
    ["-x", "no number"],
    ["-F", "-e", "Rare", "-e", "number", "-e", "zzz"],
    ["-iF", "-e", "RARE", "-e", "tab\t", "-e", "1"],
    ["-E", "^A|9$"],
    ["-vc", "x"],
    ["-E", "[^[:alnum:][:space:]]"],
    [""],
]


@pytest.fixture(scope="module")
def blocks() -> bytes:
    """Some blocks of the guest's, and lines of all lengths across their edges; the last one has no end."""
    chance = random.Random(11)
    lines = [chance.choice(SENTENCES) + b" " * chance.choice([0, 1, 7, 30]) for _ in range(30_000)]
    lines[7_000] = b"long" * 100_000 + b"Rare"
    return b"\n".join(lines)


@pytest.mark.parametrize("arguments", MANY, ids=" ".join)
def test_a_text_of_many_blocks(blocks: bytes, arguments: list[str]) -> None:
    assert grep(*arguments, stdin=blocks).expect() == gnu(arguments, blocks)


@pytest.mark.parametrize("size", range(1, 70, 3))
def test_a_word_at_every_place(size: int) -> None:
    """What looks at sixteen bytes at a time finds a word at the first and at the last of them."""
    for pattern in (["needle"], ["-i", "NEEDLE"], ["-F", "-e", "needle", "-e", "pin"], ["-E", "needle$"]):
        text = b"." * size + b"needle\n" + b"." * size + b"needl\n"
        assert grep("-c", *pattern, stdin=text).expect() == b"1\n"
        assert grep("-c", *pattern, stdin=text[7 + size :]).expect() == b"0\n"


def test_ten_thousand_words_at_once() -> None:
    words = [f"{number * 7919 % 99991}x" for number in range(10_000)]
    text = b"".join(b"%d%c\n" % (number, b"xy"[number % 3 == 0]) for number in range(0, 99_991, 7))
    numbers = {int(word[:-1]) for word in words}
    expected = [line for line in text.splitlines(keepends=True) if line.endswith(b"x\n") and int(line[:-2]) in numbers]
    assert 50 < len(expected) < 5000
    arguments = [word for one in words for word in ("-e", one)]
    assert grep("-Fx", *arguments, stdin=text).expect() == b"".join(expected)


def text_of_beginnings(alternatives: list[str], way: str) -> list[str]:
    if way == "several":
        return [word for one in alternatives for word in ("-e", one)]
    either = "|".join(alternatives)
    return [{"one": either, "group": f"({either})b", "nested": f"z|({either}|(b{either}))+[ab]|y"}[way]]


@PROPERTY
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "A", "ab", ".", "[ab]", "b*", "(a|bb)", "a{2}", "[^a]?", " "]), max_size=5),
        min_size=15,
        max_size=40,
    ),
    st.sampled_from(["several", "one", "group", "nested"]),
    st.lists(st.sampled_from(["-i", "-v", "-n", "-c"]), unique=True),
    st.sampled_from([[], ["-w"], ["-x"], ["-o"]]),
    TEXT,
)
def test_many_alternatives_that_begin_alike(
    alternatives: list[list[str]], way: str, options: list[str], whole: list[str], text: bytes
) -> None:
    parts = ["".join(one) or "a" for one in alternatives]
    if "-o" in whole and way in ("group", "nested"):
        whole = []  # of repeated groups GNU grep does not find with -o all that it finds with -x
    arguments = ["-E", *options, *whole, *text_of_beginnings(parts, way)]
    assert grep(*arguments, stdin=text).expect() == gnu(arguments, text)


@pytest.mark.parametrize("way", ["-G", "-F", "-E", "-E|", "-Ei", "-Ew", "classes"])
def test_two_thousand_patterns_cost_little_more_than_one(way: str) -> None:
    """Fuel tells it without a clock: making states for so short a text is most of it. With a step for each pattern in
    each state it takes dozens of times as much."""
    chance = random.Random(9)
    words = ["".join(chance.choices("abcdefgh", k=chance.randint(5, 12))) for _ in range(2000)]
    lines = []
    for at in range(3000):
        texts = ["".join(chance.choices("abcdefgh", k=9)) for _ in range(7)]
        lines.append(" ".join([*texts, chance.choice(words)] if at % 20 == 0 else texts).encode())
    text = b"\n".join(lines) + b"\n"
    if way == "classes":
        words = [f"{word[:-2]}[{word[-2]}x]{word[-1]}" for word in words]
    pattern = ("|" if way == "-E|" else "\n").join(words)
    option = "-G" if way == "classes" else way.rstrip("|")
    run = grep(option, pattern, stdin=text, fuel=3000 * len(text))
    assert run.expect() == gnu([option, pattern], text)
    assert 100 <= run.out.count(b"\n") < 2000


def test_long_words_beside_short_ones() -> None:
    text = b"a\nb\n" + b"x" * 5000 + b"\n"
    assert grep("-F", "-e", "x" * 5000, "-e", "b", "-e", "y" * 5000, stdin=text).expect() == text[2:]


def test_a_pattern_with_more_states_than_there_is_room_for() -> None:
    """Each of 2 ** 17 endings of a text is a state of its own: they are forgotten and made again."""
    chance = random.Random(3)
    sizes = [chance.choice([chance.randint(0, 20), chance.randint(20, 3000)]) for _ in range(400)]
    lines = [bytes(chance.choices(b"ab", k=size)) + chance.choice([b"!", b"?"]) for size in sizes]
    text = b"\n".join(lines)
    arguments = ["-nE", "(a|b)*a(a|b){16}[!-.]"]
    expected = [
        b"%d:%s\n" % (at, line) for at, line in enumerate(lines, 1) if line[-18:-17] == b"a" and line.endswith(b"!")
    ]
    assert 30 < len(expected) < 300
    assert grep(*arguments, stdin=text).expect() == b"".join(expected)


@pytest.mark.parametrize(
    "pattern",
    ["(a*)*b", "(a|a)*(a|aa)*[b-z]", "((a*)*)*[b-z]$", "(a?){60}a{60}[b-z]", "(" * 60 + "a" + ")*" * 60 + "[b-z]"],
)
def test_what_takes_backtracking_for_ever_is_done_at_once(pattern: str) -> None:
    """Fuel tells it without a clock: some units for each byte."""
    text = b"a" * 100_000
    assert grep("-E", pattern, stdin=text, fuel=400 * len(text)).expect() == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a pattern is missing; --help lists the options"),
        (["a", "b"], "b: one pattern is enough"),
        (["-e", "a", "b"], "b: with -e there is no other pattern"),
        (["--frobnicate"], "--frobnicate: no such option; --help lists them"),
        (["-q"], "-q: no such option; --help lists them"),
        (["-m"], "-m needs a value, N"),
        (["-m", "-1", "a"], "-m -1: must be a whole number from 0 to 9223372036854775807"),
        (["--max-count=1x", "a"], "--max-count 1x: must be a whole number from 0 to"),
        (["--count=3", "a"], "--count takes no value"),
        (["-E", "a(b"], "pattern, at byte 2: ( without its )"),
        (["a\\(b"], "pattern, at byte 2: ( without its )"),
        (["ab\\)"], "pattern, at byte 3: \\) without its \\("),
        (["a[b"], "pattern, at byte 2: [ without its ]"),
        (["a[[:alpha:"], "pattern, at byte 3: [ without its ]"),
        (["[[:foo:]]"], "pattern, at byte 2: no such class; there are alnum, alpha"),
        (["[:space:]"], "pattern, at byte 1: a class is written [[:space:]], not [:space:]"),
        (["[b-a]"], "pattern, at byte 2: the range ends before it begins"),
        (["[a-[:alpha:]]"], "pattern, at byte 2: a range cannot end in a class"),
        (["[[.ab.]]"], "pattern, at byte 2: [.x.] and [=x=] take one byte here"),
        (["a\\"], "pattern, at byte 2: a backslash at the end"),
        (["\\(a\\)\\1"], "pattern, at byte 6: back-references such as \\1 are not supported"),
        (["-E", "x\\d"], "pattern, at byte 2: a backslash before this letter or digit means nothing"),
        (["a\\{1"], "pattern, at byte 2: \\{ must be followed by m\\}, m,\\}, ,n\\} or m,n\\}"),
        (["-E", "a{2,1}"], "pattern, at byte 2: the first number is above the second"),
        (["-E", "a{32768}"], "pattern, at byte 2: at most 32767 repetitions can be asked for"),
        (["-E", "(a{1,999}){1,999}"], "the pattern has more than 60000 steps when its repetitions are written out"),
        (["-E", "((((a{9}){99}){99}){99}){99}"], "the pattern has more than 60000 steps"),
        (["-E", "(" * 201], "pattern, at byte 201: too many groups in one another"),
        (["-E", "a" + "*" * 300], "the pattern has more than 200 groups and repetitions in one another"),
        (["-F", "x" * 61_000], "the pattern has more than 60000 steps"),
    ],
)
def test_refused(arguments: list[str], message: str) -> None:
    assert grep(*arguments, stdin=b"a\n").refusal("grep").startswith(message)


def test_a_line_longer_than_the_limit_is_refused() -> None:
    assert "longer than 8388608 bytes" in grep("a", stdin=b"x" * (8 * MIB + 1)).refusal("grep")


@pytest.mark.parametrize(
    ("arguments", "out"), [(["zzz"], b""), (["-c", "zzz"], b"0\n"), (["-v", ""], b""), (["-m0", "a"], b"")]
)
def test_no_match_is_no_failure(arguments: list[str], out: bytes) -> None:
    assert grep(*arguments, stdin=b"a\nb").expect() == out


def test_long_options_and_operands_in_any_order() -> None:
    arguments = ["pi", "--count", "--max-count=2", "--ignore-case", "--fixed-strings", "--text"]
    assert grep(*arguments, stdin=b"PI\npie\npi\n").expect() == b"2\n"
    assert grep("--", "-v", stdin=b"a\n-v\n").expect() == b"-v\n"


def test_through_the_command(run: Runner) -> None:
    """As a user starts it; an argument of any bytes included."""
    assert run("grep", "--help").expect().startswith(b"usage: grep [option]... PATTERN\n")
    assert run("grep", "-n", "caf\u00e9", stdin="tea\ncaf\u00e9".encode()).expect() == "2:caf\u00e9\n".encode()
    assert run("grep", "[", stdin=b"").refusal("grep") == "pattern, at byte 1: [ without its ]"
