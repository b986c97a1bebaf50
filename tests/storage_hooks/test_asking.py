"""Where a run request stands in an HTTP request."""

from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.runtime.grammar import GrammarError, format_run, parse_run
from insitu.storage_hooks.asking import asked


def environ(query: str = "", header: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"QUERY_STRING": query, "PATH_INFO": "/v1/a/c/o"}
    return made if header is None else made | {"HTTP_X_RUN": header}


@pytest.mark.parametrize(
    ("query", "text", "rest"),
    [
        ("", None, ""),
        ("prefix=run&x", None, "prefix=run&x"),
        ("run=cat", "cat", ""),
        ("a=1&run=cat&b=%20+&&c", "cat", "a=1&b=%20+&&c"),
        ("run=words+-n%205", "words -n 5", ""),
        ("run=words%2Ba", "words+a", ""),
        ("run=w+%2525", "w %25", ""),
        ("run=w+%E2%82%AC", "w €", ""),
        ("run=w+\xe2\x82\xac", "w €", ""),  # not encoded at all: the bytes as they are
        ("run=w+%ff", "w \udcff", ""),  # the grammar's to refuse
        ("run=-", "-", ""),
        ("run=", "", ""),
        ("run", "", ""),
        ("run=in.x%3D/c/o=p", "in.x=/c/o=p", ""),
        ("Run=cat&xrun=cat&run.x=cat&rerun", None, "Run=cat&xrun=cat&run.x=cat&rerun"),
        ("multipart-manifest=get&run=cat", "cat", "multipart-manifest=get"),
    ],
)
def test_the_query(query: str, text: str | None, rest: str) -> None:
    request = environ(query)
    assert asked(request) == text
    assert request["QUERY_STRING"] == rest


def test_the_header_is_taken_out() -> None:
    request = environ("a=b", "w \xe2\x82\xac")
    assert asked(request) == "w €"
    assert request == environ("a=b")


@pytest.mark.parametrize(("query", "header"), [("run=w+a", "w a"), ("run=+w+a", "w a "), ("run=-", "-")])
def test_both_may_be_given_when_they_are_the_same(query: str, header: str) -> None:
    request = environ(query, header)
    assert (asked(request) or "").strip() == header.strip()
    assert request == environ("")


@pytest.mark.parametrize(
    ("query", "header", "reason"),
    [
        ("run=w+b", "w a", "differ"),
        ("run=w", "-", "differ"),
        ("run=a&run=b", None, "the query has 2"),
        ("run=a&run=a", None, "the query has 2"),
        ("run&x&run&run=", "a", "the query has 3"),
    ],
)
def test_one_request_is_one_run(query: str, header: str | None, reason: str) -> None:
    request = environ(query, header)
    with pytest.raises(GrammarError, match=reason):
        asked(request)
    assert "HTTP_X_RUN" not in request
    assert "run" not in request["QUERY_STRING"]


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(_text, max_size=5), st.sampled_from([quote, quote_plus]))
def test_any_arguments_come_through_a_link(args: list[str], encode: Any) -> None:
    value = format_run("cat", args)
    text = asked(environ("x=1&run=" + encode(value)))
    assert text is not None
    assert parse_run(text).args == tuple(args)


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_whatever_is_not_the_parameter_stays_byte_for_byte(query: str) -> None:
    request = environ(query)
    try:
        asked(request)
    except GrammarError:
        pass
    kept = [part for part in query.split("&") if part.partition("=")[0] != "run"]
    assert request["QUERY_STRING"] == "&".join(kept)
