"""The words of a run request."""

import shlex
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.runtime.grammar import MAX_BYTES, GrammarError, RunRequest, check_name, format_run, parse_run

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("value", "args"),
    [
        ("cat", []),
        ("  cat  ", []),
        ("cat a b", ["a", "b"]),
        ("cat\ta \t b", ["a", "b"]),
        ("cat 'a b' \"c d\" e\\ f", ["a b", "c d", "e f"]),
        ("cat '' \"\"", ["", ""]),
        ("cat a'b'\"c\"", ["abc"]),
        ('cat \'\\\' "\\"" \\\\', ["\\", '"', "\\"]),
        ("cat $HOME `id` *.jpg ; | & > #x", ["$HOME", "`id`", "*.jpg", ";", "|", "&", ">", "#x"]),
        ("cat %22hi%22", ['"hi"']),
        ("cat a%20b 'c%20d'", ["a b", "c d"]),
        ("cat %E2%82%AC%2050 100%25", ["€ 50", "100%"]),
        ("cat %0A%09", ["\n\t"]),
        ("cat %2527", ["%27"]),
        ("cat a+b", ["a+b"]),
        ("cat €", ["€"]),
        ("cat --text=x -n 5 --", ["--text=x", "-n", "5", "--"]),
    ],
)
def test_words(value: str, args: list[str]) -> None:
    assert parse_run(value) == RunRequest("cat", tuple(args))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("cat 'a", "quotation"),
        ('cat "a', "quotation"),
        ("cat a\\", "escape"),
        ("cat %", "word 2 has a '%' at position 0"),
        ("cat a b%4", "word 3 has a '%' at position 1"),
        ("cat %zz", "two hexadecimal digits"),
        ("cat %ff", "word 2 is not UTF-8"),
        ("cat %C3", "not UTF-8"),
        ("cat %ED%A0%80", "not UTF-8"),  # a lone surrogate
        ("cat %C0%80", "not UTF-8"),  # an overlong NUL
        ("cat \udcff", "not UTF-8"),  # a byte of the header that is none
        ("cat \ud800", "no character"),
        ("cat a%00b", "NUL"),
        ("cat a\0b", "control character '\\x00'"),
        ("cat a\nb", "control character '\\n'"),
        ("cat a\rb", "control character '\\r'"),
        ("cat \x1b[31m", "control character"),
        ("cat \x7f", "control character"),
        ("../cat", "no program's name"),
        ("a/b", "no program's name"),
        (".cat", "no program's name"),
        ("''", "no program's name"),
        ("%00", "NUL"),
        ("cat%0A", "no program's name"),
        ("c%C3%A4t", "no program's name"),
        ("-cat", "no program's name"),
        ("x" * 129, "no program's name"),
        ("sha256:" + "0" * 63, "no program's name"),
        ("md5:" + "0" * 64, "digest other than sha256"),
        (DIGEST.upper(), "no program's name"),
        ("cat@", "no program's name"),
        ("@1", "no program's name"),
        ("cat@1@2", "no program's name"),
        ("cat@../1", "no program's name"),
        ("cat@" + "1" * 65, "no program's name"),
        (DIGEST + "@1", "no program's name"),
        ("cat@1:" + "0" * 64, "no program's name"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_no_run_request(value: str, reason: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse_run(value)
    text = str(caught.value)
    assert reason in text
    assert text.startswith("run request: ")
    assert "\n" not in text
    text.encode()  # it can be shown


@pytest.mark.parametrize(
    "name", ["a", "A9", "x" * 128, "my-prog_1.2", DIGEST, "cat@1", "cat@1.2-rc.1+b_7", "x" * 128 + "@" + "1" * 64]
)
def test_names(name: str) -> None:
    check_name(name)
    assert parse_run(name).program == name


def test_4096_bytes_are_taken_and_4097_are_not() -> None:
    assert len(parse_run("cat " + "x" * (MAX_BYTES - 4)).args[0]) == 4092
    assert len(parse_run("cat " + "€" * ((MAX_BYTES - 4) // 3)).args[0]) == 1364  # bytes, not characters
    for value in ("cat " + "x" * (MAX_BYTES - 3), "cat " + "€" * 1365):
        with pytest.raises(GrammarError, match=r"4097 bytes|4099 bytes"):
            parse_run(value)


_plain = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="%"), max_size=60)


@given(_plain)
def test_words_are_split_as_posix_shells_do(text: str) -> None:
    try:
        expected = shlex.split(text, posix=True)
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(GrammarError):
            parse_run("cat " + text)
    else:
        assert list(parse_run("cat " + text).args) == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), max_size=8))
def test_whatever_is_formatted_parses_to_the_same(args: list[str]) -> None:
    value = format_run("cat", args)
    assert value.isascii()
    assert value.isprintable()
    assert parse_run(value) == RunRequest("cat", tuple(args))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50))
def test_percent_encoding_everything_needs_no_quotes(word: str) -> None:
    assert parse_run("cat " + quote(word, safe="")).args == (word,)


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused_by_its_own_error(text: str) -> None:
    try:
        request = parse_run(text)
    except GrammarError as why:
        str(why).encode()
    else:
        check_name(request.program)
        assert all("\0" not in word for word in request.args)


@pytest.mark.parametrize(
    ("program", "args"), [("a b", []), ("", []), ("cat", ["\0"]), ("cat", ["\udcff"]), ("cat", ["x" * 5000])]
)
def test_what_cannot_be_formatted(program: str, args: list[str]) -> None:
    with pytest.raises(GrammarError):
        format_run(program, args)
