"""select, against Python's csv and json modules and its decimal numbers."""

import csv
import io
import json
import operator
import random
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.guests.conftest import Run, Runner
from tests.guests.inside import Inside

inside = Inside()
PROPERTY = settings(max_examples=400, deadline=None)
MIB = 1 << 20


def select(*arguments: str, stdin: bytes | str) -> Run:
    return inside.run("select", *arguments, stdin=stdin.encode() if isinstance(stdin, str) else stdin)[0]


def rows_of(data: bytes, delimiter: str = ",") -> list[list[str]]:
    """The rows that Python reads, without blank ones. A byte is a character. Raises csv.Error."""
    text = io.StringIO(data.decode("latin-1"), newline="")
    return [row for row in csv.reader(text, delimiter=delimiter, strict=True) if row]


def csv_of(rows: list[list[str]], delimiter: str = ",") -> bytes:
    """What Python writes, with LF: its quotes are those for CRLF, as not every version of it quotes a CR otherwise."""
    out = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(row)
        out.append(text.getvalue().removesuffix("\r\n") + "\n")
    return "".join(out).encode("latin-1")


def line_of(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


# --- CSV

MESS = st.lists(
    st.sampled_from(['"', '"', '""', ",", ";", "\n", "\r\n", "\r", "a", "b c", "\0", "\xe9", "\xff", " ", "x" * 20]),
    max_size=30,
).map(lambda parts: "".join(parts).encode("latin-1"))


@PROPERTY
@given(MESS, st.sampled_from(",;"))
def test_any_bytes_are_read_as_python_reads_them_or_refused_as_it_does(data: bytes, delimiter: str) -> None:
    run = select("--csv", "--no-header", "--delimiter", delimiter, stdin=data)
    try:
        rows = rows_of(data, delimiter)
    except csv.Error:
        assert run.code == 2
        assert re.fullmatch(r"select: line \d+: .*\n", run.err)
        return
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        assert "fields, where the first has" in run.err
    else:
        assert run.expect() == csv_of(rows, delimiter)


FIELD = st.one_of(
    st.text("ab ,;\"'\n\r\xe9", max_size=6), st.sampled_from(["", "1", "-2.5", "10", "1e1", "007", "x" * 40, "\0"])
)
NAMES = ["id", "unit price", "a,b", 'say "x"', "2"]


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    return [NAMES, *draw(st.lists(st.lists(FIELD, min_size=5, max_size=5), max_size=8))]


def written(rows: list[list[str]], end: str, every: bool) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL).writerows(rows)
    return text.getvalue().encode()


@PROPERTY
@given(
    tables(),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    # With LF Python does not quote a CR, and reads it as an end then.
    st.sampled_from([("\n", True), ("\r\n", True), ("\r\n", False)]),
)
def test_columns_in_any_order(rows: list[list[str]], chosen: list[int], form: tuple[str, bool]) -> None:
    data = written(rows, *form)
    asked = csv_of([[NAMES[at] for at in chosen]]).decode().strip()
    picked = [[row[at] for at in chosen] for row in rows]
    assert select("--csv", "--columns", asked, stdin=data).expect() == written_plain(picked)
    numbers = ",".join(str(at + 1) for at in chosen)
    assert select("--csv", "--no-header", "--columns", numbers, stdin=data).expect() == written_plain(picked)
    distinct = list(dict.fromkeys(chosen))
    asked = csv_of([[NAMES[at] for at in distinct]]).decode().strip()
    objects = "".join(line_of({NAMES[at]: row[at] for at in distinct}) for row in rows[1:])
    assert select("--csv", "--to", "jsonl", "--columns", asked, stdin=data).expect().decode() == objects


def written_plain(rows: list[list[str]]) -> bytes:
    return csv_of([[field.encode().decode("latin-1") for field in row] for row in rows])


@pytest.mark.parametrize("size", [262_140, 262_144, 262_150, 3 * MIB])
def test_a_field_may_cross_blocks_and_lines(size: int) -> None:
    field = "line\n" * (size // 5) + "x" * (size % 5)
    rows = [["a", "b"], ["1", field], ["2", '"' * 1000], ["3", "end"]]
    assert select("--csv", "--columns", "b,a", stdin=csv_of(rows)).expect() == csv_of([row[::-1] for row in rows])


def test_a_table_of_megabytes() -> None:
    chance = random.Random(2)
    rows = [["id", "name", "price", "note"]]
    for at in range(40_000):
        note = chance.choice(["plain", "with, comma", 'with "quotes"', "two\nlines", "", "x" * chance.randint(0, 200)])
        rows.append([str(at), chance.choice(["tea", "oil", "salt"]), f"{chance.randint(0, 9999) / 100}", note])
    expected = [row[3:] + row[:1] for row in rows[1:] if row[1] == "oil" and Decimal(row[2]) > Decimal("49.5")]
    run = select("--csv", "--columns", "note,id", "--where", "name = oil and price > 49.5", stdin=csv_of(rows))
    assert 3000 < len(expected) < 10_000
    assert run.expect() == csv_of([["note", "id"], *expected])


# --- conditions

NUMBERS = st.one_of(
    st.sampled_from(
        [
            "0",
            "-0.0",
            "0e5",
            "1",
            "01",
            "1.0",
            "10e-1",
            "0.1",
            "1e400",
            "1e401",
            "-1e400",
            "9007199254740993",
            ".5",
            "5.",
        ]
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers(-1000, 1000).map(str),
    st.builds("{}.{}e{}".format, st.integers(-99, 99), st.integers(0, 999), st.integers(-30, 30)),
)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@PROPERTY
@given(
    st.lists(st.one_of(NUMBERS, st.sampled_from(["", "x", "1x", "--1", "1 ", "e5"])), min_size=1, max_size=8), NUMBERS
)
def test_numbers_are_compared_exactly(fields: list[str], literal: str) -> None:
    for sign, holds in OPERATORS.items():
        run = select("--csv", "--where", f"n {sign} {literal}", stdin=csv_of([["n"], *([field] for field in fields)]))
        expected = []
        for field in fields:
            try:
                number = Decimal(field) if field.strip() == field else None
            except ArithmeticError:
                number = None
            if holds(number, Decimal(literal)) if number is not None else sign == "!=":
                expected.append([field])
        assert run.expect() == csv_of([["n"], *expected])


LADDER = [
    ["-1e18446744073709551617", "-10e18446744073709551616"],
    ["-1e18446744073709551616"],
    ["0", "0e99999999999999999999", "-0.0e-99999999999999999999"],
    ["1e-100000000000000000000", "0.1e-99999999999999999999", "0.001e-099999999999999999997"],
    ["1e-99999999999999999999"],
    ["1"],
    ["1e72057594037927946", "100e72057594037927944"],
    ["1e72057594037927947"],
    ["1e9223372036854775807"],
    ["9.9e18446744073709551615", "99e+0018446744073709551614"],
    ["1e18446744073709551616", "0.1e18446744073709551617", "1" + "0" * 1000 + "e18446744073709550616"],
]


def test_numbers_with_exponents_beyond_64_bits_are_compared_exactly() -> None:
    """Each step is above the one before; what stands on the same step is equal. Python's decimals end earlier."""
    places = [(number, step) for step, numbers in enumerate(LADDER) for number in numbers]
    for literal, own in places:
        for sign, holds in OPERATORS.items():
            run = select(
                "--jsonl", "--where", f"n {sign} {literal}", stdin="".join(f'{{"n":{n}}}\n' for n, _ in places)
            )
            assert run.expect().decode() == "".join(f'{{"n":{n}}}\n' for n, step in places if holds(step, own))


@PROPERTY
@given(st.lists(st.text("abA1 '\"\xe9", max_size=4), min_size=1, max_size=8), st.text("abA1 '\"\xe9", max_size=4))
def test_texts_are_compared_by_their_bytes(fields: list[str], literal: str) -> None:
    quoted = "'" + literal.replace("'", "''") + "'"
    for sign, holds in OPERATORS.items():
        run = select(
            "--csv", "--where", f"n{sign}{quoted}", stdin=written([["n"], *([field] for field in fields)], "\n", False)
        )
        assert run.expect() == written_plain(
            [["n"], *([field] for field in fields if holds(field.encode(), literal.encode()))]
        )


ROWS = [["a", "b b", "c"], ["1", "tea", ""], ["2", "oil", "x"], ["3", "salt\nand oil", "y"], ["x", "", "1.50"]]


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["a = 1"], "1"),
        (["a=1"], "1"),
        (["a == 1"], "1"),
        (["a != 1"], "23x"),
        (["a > 1 and a < 3"], "2"),
        (["a = 1 or a = 3"], "13"),
        (["a = 1 or a = 3 and c = y"], "13"),
        (["a = 1 or a = 3 and c = x"], "1"),
        (["a = 1 or a = 2", "c = x or c = y"], "2"),
        (["c is empty"], "1"),
        (["c is not empty and [b b] is not empty"], "23"),
        (["c = 1.5"], "x"),
        (["c = '1.5'"], ""),
        (["[b b] ~ oil"], "23"),
        (["[b b] ~ '^oil'"], "2"),
        (["[b b] !~ '^(oil|tea)$'"], "3x"),
        (["[b b] ~ '^and'"], "3"),
        (["3 = x"], "2"),
        (['[b b] = "tea"'], "1"),
    ],
)
def test_conditions(conditions: list[str], kept: str) -> None:
    arguments = [word for one in conditions for word in ("--where", one)]
    run = select("--csv", "--columns", "a", *arguments, stdin=csv_of(ROWS))
    assert run.expect() == csv_of([["a"], *([letter] for letter in kept)])


# --- JSON lines

KEYS = st.sampled_from(["a", "b", "a.b", "\xe9", 'q"', "", "0", "1"])
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
MISSING = object()


def follow(value: object, path: list[str]) -> object:
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value


PATHS = [["a"], ["b"], ["a", "b"], ["a", "0"], ["a.b"], ["0"], ["a", "b", "1"], ["\xe9"]]
NAMES_OF_PATHS = [".".join(step.replace(".", "\\.") for step in path) for path in PATHS]


@PROPERTY
@given(
    st.lists(VALUES, max_size=5),
    st.booleans(),
    st.lists(st.integers(0, len(PATHS) - 1), min_size=1, max_size=4, unique=True),
)
def test_values_by_their_paths(values: list[object], ascii_only: bool, chosen: list[int]) -> None:
    lines = [json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")) for value in values]
    data = "".join(f" {line}\t\r\n" for line in lines).encode()
    assert select("--jsonl", stdin=data).expect().decode() == "".join(line + "\n" for line in lines)

    objects, rows = [], [[NAMES_OF_PATHS[at] for at in chosen]]
    for value in values:
        found = {NAMES_OF_PATHS[at]: follow(value, PATHS[at]) for at in chosen}
        own = {
            key: "null" if one is MISSING else json.dumps(one, ensure_ascii=ascii_only, separators=(",", ":"))
            for key, one in found.items()
        }
        objects.append("{" + ",".join(line_of(key)[:-1] + ":" + text for key, text in own.items()) + "}\n")
        rows.append(
            ["" if one in (None, MISSING) else one if isinstance(one, str) else own[key] for key, one in found.items()]
        )
    columns = ",".join(NAMES_OF_PATHS[at] for at in chosen)
    assert select("--jsonl", "--columns", columns, stdin=data).expect().decode() == "".join(objects)
    assert select("--jsonl", "--columns", columns, "--to", "csv", stdin=data).expect() == written_plain(rows)


def valid(line: bytes) -> bool:
    """Python's own judgement, without what it lets through beyond the standard."""
    try:
        json.loads(line.decode("utf-8"), parse_constant=pytest.fail)
    except (ValueError, pytest.fail.Exception):
        return False
    return True


@PROPERTY
@given(VALUES, st.data())
def test_what_is_no_json_is_refused_and_what_is_passes(value: object, data: st.DataObject) -> None:
    """A valid line, a little spoilt."""
    line = bytearray(json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(line) - 1)) if line else 0
        line[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from(
                [
                    b"",
                    b'"',
                    b"\\",
                    b"[",
                    b"{",
                    b"}",
                    b",",
                    b":",
                    b"0",
                    b"-",
                    b".",
                    b"e",
                    b"\\u00e9",
                    b"\\ud83d",
                    b"\xc3",
                    b"\xff",
                    b"\t",
                ]
            )
        )
    assume(bytes(line).strip(b" \t\r"))
    run = select("--jsonl", "--columns", "a", "--where", "a != x", stdin=b"1\n" + bytes(line))
    if valid(bytes(line)):
        assert run.code == 0, run
    else:
        assert run.code == 2, run
        assert re.fullmatch(r"select: line 2: .*\n", run.err)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("n = 1", [0, 4]),
        ("n != 1", [1, 2, 3, 5, 6]),
        ("n = '1'", [0, 1]),
        ("n < 5", [0, 4]),
        ("n is empty", [2, 3, 5]),
        ("n is not empty", [0, 1, 4, 6]),
        ("n = true", [6]),
        ("n ~ '^1'", [0, 1, 4]),
        ("n !~ '^1'", [2, 3, 5, 6]),
        ("o.k = \xe9", [3]),
        ("o.l.1 = 7", [4]),
        ("o.l = [6,7]", [4]),
    ],
)
def test_conditions_on_json(condition: str, kept: list[int]) -> None:
    lines = [
        '{"n":1}',
        '{"n":"1"}',
        '{"n":null}',
        '{"o":{"k":"\\u00e9"}}',
        '{"n":1.0,"o":{"l":[6,7]}}',
        '{"n":""}',
        '{"n":true}',
    ]
    run = select("--jsonl", "--where", condition, stdin="\n".join(lines))
    assert run.expect().decode() == "".join(lines[at] + "\n" for at in kept)


def test_half_a_character_is_passed_on_and_compared_by_the_bytes_of_its_number() -> None:
    lines = [r'{"a":"\ud83d"}', r'{"a":"\ude00\ud83d"}', r'{"a":"\ud83d\ude00"}', r'{"a":"x","\ud83d":1}']
    data = "\n".join(lines)
    assert select("--jsonl", stdin=data).expect().decode() == data + "\n"
    for condition, kept in (
        ("a > '\ud7ff' and a < '\uf000'", [0, 1]),
        ("a = '\U0001f600'", [2]),
        ("a ~ '^[^x]{3}$'", [0]),
    ):
        run = select("--jsonl", "--columns", "a", "--where", condition, stdin=data)
        assert run.expect().decode() == "".join(lines[at] + "\n" for at in kept)


def test_of_a_key_that_occurs_twice_the_last_counts() -> None:
    data = '{"a":{"b":1},"a":{"c":2}}\n{"a":1,"a":[]}\n'
    assert (
        select("--jsonl", "--columns", "a,a.b", stdin=data).expect()
        == b'{"a":{"c":2},"a.b":null}\n{"a":[],"a.b":null}\n'
    )


def test_a_byte_order_mark_and_blank_lines_are_passed_over() -> None:
    assert select("--csv", "--columns", "b,a", stdin="\ufeffa,b\n\n1,2\n\r\n").expect() == b"b,a\n2,1\n"
    assert select("--jsonl", stdin="\ufeff1\n \n2").expect() == b"1\n2\n"
    for way in ("--csv", "--jsonl"):
        assert select(way, stdin="").expect() == select(way, stdin="\ufeff").expect() == b""


def test_what_it_is_is_told_to_who_asks() -> None:
    for to, content_type in (("csv", "text/csv"), ("jsonl", "application/x-ndjson")):
        run, outputs = inside.run("select", "--csv", "--to", to, stdin=b"a\n1\n", outputs=("meta",))
        assert run.code == 0
        assert json.loads(outputs["meta"]) == {"content_type": content_type}


DEEP = "[" * 128 + "]" * 128


@pytest.mark.parametrize(
    ("arguments", "data", "message"),
    [
        ([], "", "--csv or --jsonl must say what is read"),
        (["--csv", "--jsonl"], "", "either --csv or --jsonl"),
        (["--csv", "x"], "", "x: takes no operand"),
        (["--csv", "--to", "xml"], "", "--to xml: must be csv or jsonl"),
        (["--csv", "--delimiter", '"'], "", '--delimiter ": must be one byte'),
        (["--csv", "--delimiter", ""], "", "--delimiter : must be one byte"),
        (["--csv", "--columns", "a,,b"], "", "--columns a,,b: a column is missing"),
        (["--csv", "--columns", '"a'], "", '--columns "a: a quote is open'),
        (["--csv", "--columns", '"a""'], "", '--columns "a"": a quote is open'),
        (["--csv", "--columns", '"a"b'], "", '--columns "a"b: a quote is open, or something stands behind it'),
        (["--csv", "--columns", ",".join(map(str, range(70)))], "", "--columns: at most 64"),
        (["--jsonl", "--to", "csv"], "", "CSV from JSON lines needs --columns"),
        (["--jsonl", "--columns", "a,a"], "", "--columns has a twice"),
        (["--csv", "--where", ""], "", "--where, at byte 1: a column must stand here"),
        (["--csv", "--where", "a"], "", "--where, at byte 2: one of = != < <="),
        (["--csv", "--where", "a = "], "", "--where, at byte 5: a value must stand here"),
        (["--csv", "--where", "a = 'b"], "", "--where, at byte 5: what is quoted here has no end"),
        (["--csv", "--where", "a = b c"], "", "--where, at byte 7: `and`, `or` or nothing"),
        (["--csv", "--where", "a is full"], "", "--where, at byte 6: only `is empty`"),
        (["--csv", "--where", "a ~ '('"], "", "pattern, at byte 1: ( without its )"),
        (["--csv", "--where", " and ".join(["a ~ b"] * 9)], "", "--where, at byte 86: at most 8 patterns"),
        (["--csv", "--where", " and ".join(["a = b"] * 65)], "", "--where, at byte 641: at most 64 comparisons"),
        (["--csv", "--columns", "c"], "a,b\n", "no column is c; there are 2 columns"),
        (["--csv", "--columns", "3"], "a,b\n", "no column is 3; there are 2 columns"),
        (["--csv", "--no-header", "--columns", "a"], "a,b\n", "no column is a; without a header they are numbers"),
        (["--csv", "--columns", "a"], "a,a\n", "two columns are named a; a number"),
        (["--csv", "--to", "jsonl"], "a,a\n", "two columns are named a, which JSON"),
        (["--csv"], "a,b\n1,2\n3\n", "line 3: a row of 1 fields, where the first has 2"),
        (["--csv"], 'a,b\n1,"2\n3\n', "line 2: a field in quotes has no end"),
        (["--csv"], 'a,b\n"1"x,2\n', "line 2: a field goes on behind its closing quote"),
        (["--csv"], ("x," * 66_000).encode(), "line 1: a row has more than 65536 fields"),
        (["--csv"], b'"' + b"x\n" * (4 * MIB + 1) + b'"', "line 1: a row is longer than 8388608 bytes"),
        (["--csv"], b"x" * (8 * MIB + 1), "standard input has a line longer than 8388608 bytes"),
        (["--csv", "--to", "jsonl"], b"a\n\xff\n", "line 2: a field is not UTF-8"),
        (["--jsonl"], "1\n2 3\n", "line 2: something stands behind the value"),
        (["--jsonl"], "[" + DEEP + "]", "line 1: values are nested more than 128 deep"),
        (["--jsonl"], "[" * 100_000, "line 1: values are nested more than 128 deep"),
        (["--jsonl", "--columns", "a", "--to", "csv"], '{"a":"\\ud83d"}', "line 1: a string has an escape of half"),
        (["--jsonl", "--delimiter", ";"], "", "--delimiter is of CSV, and neither"),
        (["--jsonl", "--to", "jsonl", "--no-header"], "", "--no-header is of CSV, and neither"),
        (["--csv", "--where", "a <> 1"], "", "--where, at byte 3: one of = != < <= > >= ~ !~ or `is [not] empty` must"),
        (["--csv", "--where", "a =~ x"], "", "--where, at byte 3: one of = != < <= > >= ~ !~"),
        (["--jsonl"], b'"\xed\xa0\x80"', "line 1: a string is not UTF-8"),
    ],
)  # fmt: skip
def test_refused(arguments: list[str], data: str | bytes, message: str) -> None:
    run = select(*arguments, stdin=data)
    assert run.code == 2
    assert run.err.startswith("select: " + message), run.err
    assert run.err.count("\n") == 1


def test_128_deep_is_not_too_deep() -> None:
    assert select("--jsonl", stdin=DEEP).expect().decode() == DEEP + "\n"


def test_through_the_command(run: Runner) -> None:
    assert run("select", "--help").expect().startswith(b"usage: select --csv|--jsonl [option]...\n")
    done = run("select", "--csv", "--columns", "b", "--where", "a > 1", stdin=b"a,b\n1,x\n2,y\n")
    assert done.expect() == b"b\ny\n"
