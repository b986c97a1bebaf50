"""The words of a run request."""

import re
import shlex
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.runtime.grammar import (
    MAX_BYTES,
    MAX_INPUTS,
    GrammarError,
    RunRequest,
    check_name,
    check_path,
    format_run,
    is_path,
    parse_run,
    split_path,
)

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
        ("/", "the program, '/', names no object"),
        ("/c", "names no object"),
        ("/c/", "names no object"),
        ("//o", "names no object"),
        ("/" + "c" * 257 + "/o", "the container's name has 257 bytes, and at most 256"),
        ("/c/" + "o" * 1025, "the object's name has 1025 bytes, and at most 1024"),
        ("/c/o%00", "NUL"),
        ("/%00insitu/o", "NUL"),
        ("cat@sha256:" + "0" * 63, "a pin is @sha256: and 64"),
        ("cat@sha256:" + "A" * 64, "a pin is @sha256: and 64"),
        ("/c/o@sha256:" + "0" * 64 + "0", "a pin is @sha256: and 64"),
        ("/c/o@sha256:", "a pin is @sha256: and 64"),
        (f"{DIGEST}@{DIGEST}", "a digest already"),
        (f"cat@1@2@{DIGEST}", "no program's name"),
        (f"@{DIGEST}", "no program's name"),
        ("cat in.=/c/o", "'' is no name of a channel"),
        ("cat in.a%2Fb=/c/o", "'a/b' is no name of a channel"),
        ("cat in.-=/c/o", "'-' is no name of a channel"),
        ("cat in." + "x" * 65 + "=/c/o", "no name of a channel"),
        ("cat in.x=/c", "input x, '/c', names no object"),
        ("cat in.x=//o", "input x, '//o', names no object"),
        ("cat in.x=/c/%00o", "NUL"),
        ("cat in.x=/c/%ff", "word 2 is not UTF-8"),
        ("cat in.x=/c/o a in.x=/c/p", "input x is given twice"),
        ("cat " + " ".join(f"in.n{i}=/c/o" for i in range(MAX_INPUTS + 1)), "13 inputs, and at most 12"),
        ("in.x=/c/o", "no program's name"),
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


PATHS = ["/c/o", "/c/o/p", "/c//o", "/c/o/", "/./..", "/" + "c" * 256 + "/" + "o" * 1024, "/ç/ø €", "/c/a'b\"c\\ %41"]


@pytest.mark.parametrize("path", PATHS)
def test_paths_of_programs_and_inputs(path: str) -> None:
    word = quote(path)
    container, name = path[1:].split("/", 1)
    assert parse_run(f"{word} a") == RunRequest(path, ("a",))
    assert parse_run(f"{word}@{DIGEST} a") == RunRequest(path, ("a",), (), DIGEST)
    assert parse_run(f"cat in.x={word} a") == RunRequest("cat", ("a",), (("x", path),))
    assert is_path(path)
    assert split_path(path) == (container, name)
    check_path(path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cat in.b=/c/o x in.a=/c/o y", RunRequest("cat", ("x", "y"), (("b", "/c/o"), ("a", "/c/o")))),
        ("cat 'in.logo=/my brand/logo 1.png'", RunRequest("cat", (), (("logo", "/my brand/logo 1.png"),))),
        ("cat in.l%6Fgo=/%62rand/l", RunRequest("cat", (), (("logo", "/brand/l"),))),
        # What is not written so is an argument, whatever it says once decoded.
        ("cat %69n.x=/c/o", RunRequest("cat", ("in.x=/c/o",))),
        ("cat in%2Ex=/c/o in.x%3D/c/o in.x=%2Fc/o", RunRequest("cat", ("in.x=/c/o",) * 3)),
        ("cat in.x=c/o in.x= in.x in=/c/o in./x=/y IN.x=/c/o xin.x=/c/o", None),
        (f"cat@{DIGEST}", RunRequest("cat", digest=DIGEST)),
        (f"cat@1.2@{DIGEST} x", RunRequest("cat@1.2", ("x",), (), DIGEST)),
        (f"/c/o%40{DIGEST}", RunRequest(f"/c/o@{DIGEST}")),
        (f"/c/o%40{DIGEST}@{DIGEST}", RunRequest(f"/c/o@{DIGEST}", digest=DIGEST)),
        (f"cat x@{DIGEST}", RunRequest("cat", (f"x@{DIGEST}",))),
        (f"cat in.x=/c/o@{DIGEST}", RunRequest("cat", (), (("x", f"/c/o@{DIGEST}"),))),
    ],
)
def test_inputs_and_pins_are_seen_in_the_word_as_it_stands(value: str, expected: RunRequest | None) -> None:
    assert parse_run(value) == (expected or RunRequest("cat", tuple(value.split()[1:])))


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


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_deceptive = st.sampled_from(["in.x=/c/o", "in.=/", "in.!=/c", "i", "%69n.x=/c/o", f"x@{DIGEST}", "*", "-"])
_path = st.builds(
    "/{}/{}".format,
    _text.filter(lambda name: name and "/" not in name),
    st.one_of(_text.filter(bool), st.sampled_from([f"o@{DIGEST}", "@sha256:", "in.x=/c/o", "/", "..", "a@b"])),
)
_name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}(@[A-Za-z0-9][A-Za-z0-9._+-]{0,30})?", fullmatch=True)
_digest = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
_requests = st.one_of(
    st.builds(
        RunRequest,
        st.one_of(_name, _path),
        st.lists(st.one_of(_text, _deceptive), max_size=8).map(tuple),
        st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), _path, max_size=3).map(
            lambda named: tuple(named.items())
        ),
        st.one_of(st.just(""), _digest),
    ),
    st.builds(RunRequest, _digest, st.lists(_text, max_size=3).map(tuple)),
)


@given(_requests)
def test_whatever_is_formatted_parses_to_the_same(request: RunRequest) -> None:
    value = format_run(request.program, request.args, request.inputs, request.digest)
    assert value.isascii()
    assert value.isprintable()
    assert parse_run(value) == request


@given(_requests)
def test_whatever_parses_can_be_formatted_and_is_the_same_again(request: RunRequest) -> None:
    value = format_run(request.program, request.args, request.inputs, request.digest)
    again = parse_run(re.sub(" ", "\t  ", value))
    assert format_run(again.program, again.args, again.inputs, again.digest) == value


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
        (check_path if is_path(request.program) else check_name)(request.program)
        assert all("\0" not in word for word in request.args)
        for _channel, path in request.inputs:
            check_path(path)


@given(
    st.lists(st.sampled_from(["in.", "x", "=", "/", "@sha256:", DIGEST, "@", "%40", "%69", "'", " ", "c"]), max_size=30)
)
def test_words_made_of_what_means_something(parts: list[str]) -> None:
    try:
        request = parse_run("".join(parts))
    except GrammarError as why:
        str(why).encode()
    else:
        assert parse_run(format_run(request.program, request.args, request.inputs, request.digest)) == request


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (RunRequest("a b"), "no program's name"),
        (RunRequest("", ("cat",)), "no program's name"),
        (RunRequest("-"), "no program's name"),
        (RunRequest("cat", ("\0",)), "NUL"),
        (RunRequest("cat", ("\udcff",)), "not UTF-8"),
        (RunRequest("cat", ("x" * 5000,)), "at most 4096"),
        (RunRequest("/c"), "names no object"),
        (RunRequest("/c/\udcff"), "not UTF-8"),
        (RunRequest("/c/\0"), "NUL"),
        (RunRequest("cat", (), (("a/b", "/c/o"),)), "no name of a channel"),
        (RunRequest("cat", (), (("x", "c/o"),)), "input x, 'c/o', names no object"),
        (RunRequest("cat", (), (("x", "/c/o"), ("x", "/c/o"))), "twice"),
        (RunRequest("cat", digest="md5:00"), "'md5:00' is no pin"),
        (RunRequest("cat", digest="sha256:00"), "is no pin"),
        (RunRequest(DIGEST, digest=DIGEST), "a digest already"),
        (RunRequest(f"cat@{DIGEST}"), "no program's name"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_what_cannot_be_formatted(request_: RunRequest, reason: str) -> None:
    with pytest.raises(GrammarError, match=reason):
        format_run(request_.program, request_.args, request_.inputs, request_.digest)
