"""What a program may say of its result, and what it is told when it says something else."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.storage_hooks.bounds import BOUNDS
from insitu.storage_hooks.metadata import DEFAULT_BOUNDS, MAX_BYTES, NONE, Bounds, Metadata, MetadataError, parse


def said(**members: Any) -> Metadata:
    return parse(json.dumps(members).encode())


def test_nothing_and_an_empty_object_say_nothing() -> None:
    assert parse(b"") == parse(b" {}\n") == NONE == Metadata()


def test_all_of_it() -> None:
    found = said(status=404, content_type='text/plain; charset="utf 8"', user={"Colour": "blue"})
    assert found == Metadata(404, 'text/plain; charset="utf 8"', {"Colour": "blue"})
    assert found.status_line() == "404 Not Found"
    assert Metadata(418).status_line() == "418 I'm a Teapot"
    assert Metadata(477).status_line() == "477 Said By The Program"


@pytest.mark.parametrize("status", [200, 201, 203, 299, 400, 404, 409, 422, 451, 497])
def test_statuses_that_clients_show(status: int) -> None:
    assert said(status=status).status == status


@pytest.mark.parametrize(
    "status",
    [100, 199, 204, 205, 206, 300, 302, 304, 399, 401, 407, 408, 417, 421, 425, 429, 498, 499, 500, 503, 600]
    + [-200, 0, 200.0, "200", True, None, [200], 10**30],
)
def test_statuses_that_they_do_not(status: Any) -> None:
    with pytest.raises(MetadataError, match="status: "):
        said(status=status)


@pytest.mark.parametrize(
    "content_type",
    [
        "text",
        "text/",
        "/plain",
        "text/plain\r\nX-Evil: 1",
        "text/plain;",
        "text/plain; charset",
        "té/xt",
        "",
        7,
        ["a/b"],
    ]
    + ["a/" + "b" * 254, "multipart/byteranges; boundary=x", "Multipart/Byteranges", "a/b;swift_bytes=1"],
)
def test_content_types_that_are_none_or_not_a_program_s_to_give(content_type: Any) -> None:
    with pytest.raises(MetadataError, match="content_type: "):
        said(content_type=content_type)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "not JSON"),
        (b"status: 200", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xff\xfe{\0}\0", "byte 0 is not UTF-8"),
        (b"[" * MAX_BYTES, "too deeply nested"),
        (b'{"status": 2' + b"0" * 5000 + b"}", "too many digits"),
        (b'{"status": NaN}', "NaN"),
        (b"[200]", "an array"),
        (b'"x"', '"x"'),
        (b'{"colour": 1, "size": 2}', 'unknown: "colour", "size"; known are status, content_type and user'),
        (b'{"status": 200, "status": 404}', '"status" is there twice'),
        (b'{"user": {"a": "1", "a": "2"}}', '"a" is there twice'),
        (b'{"user": {"a-b": "1", "A_B": "2"}}', '"A_B" is there twice'),
        (b'{"user": []}', "user: a JSON object"),
        (b'{"user": {"a": 1}}', 'a string is wanted for "a"'),
        (b'{"user": {"a b": "1"}}', '"a b" cannot be a header\'s name'),
        (b'{"user": {"a\\r\\nb": "1"}}', "cannot be a header's name"),
        (b'{"user": {"": "1"}}', "cannot be a header's name"),
        ('{"user": {"ü": "1"}}'.encode(), "cannot be a header's name"),
        (b'{"user": {"a": "\\ud800"}}', "half a character"),
        (b" " * (MAX_BYTES + 1), "more than the 16384 bytes"),
    ],
)
def test_what_is_malformed_is_named(data: bytes, says: str) -> None:
    with pytest.raises(MetadataError) as caught:
        parse(data)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_16_kib_are_taken() -> None:
    assert parse(b"{}".ljust(MAX_BYTES)) == NONE


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ({"k" * 128: ""}, None),
        ({"k" * 129: ""}, "a name of 129 characters, and 128"),
        ({"k": "v" * 256}, None),
        ({"k": "v" * 257}, "257 characters as a header, and 256"),
        ({"k": "ü" * 43}, "258 characters as a header, and 256"),
        ({f"k{n}": "" for n in range(90)}, None),
        ({f"k{n}": "" for n in range(91)}, "91 names, and 90"),
        ({f"k{n:02}": "v" * 253 for n in range(16)}, None),
        ({f"k{n:02}": "v" * 253 for n in range(15)} | {"k": "v" * 256}, "4097 characters in all as headers, and 4096"),
    ],
)
def test_swift_s_limits_are_kept(user: dict[str, str], says: str | None) -> None:
    if says is None:
        assert said(user=user).user == user
    else:
        with pytest.raises(MetadataError, match=says):
            said(user=user)


def test_they_are_those_of_this_swift() -> None:
    assert BOUNDS == DEFAULT_BOUNDS
    with pytest.raises(MetadataError, match="2 names, and 1"):
        parse(b'{"user": {"a": "", "b": ""}}', Bounds(count=1))


@pytest.mark.parametrize(
    ("value", "coded"),
    [
        ('plain, as it is: "x" <y>', 'plain, as it is: "x" <y>'),
        ("50 %", "50 %25"),
        ("☂", "%E2%98%82"),
        ("two\r\nlines\0", "two%0D%0Alines%00"),
        (" between  blanks ", "%20between  blanks%20"),
        ("   ", "%20%20%20"),
        ("", ""),
    ],
)
def test_values_are_percent_encoded_as_swift_has_it(value: str, coded: str) -> None:
    assert said(user={"a_key": value}).user_headers() == [("X-Object-Meta-A-Key", coded)]


@given(
    st.builds(
        Metadata,
        st.sampled_from([200, 201, 404, 422]),
        st.sampled_from([None, "text/plain", "a/b;c=d"]),
        st.dictionaries(st.sampled_from(["a", "Colour", "x-y"]), st.text(max_size=20)),
    )
)
def test_it_survives_the_way_between_servers(metadata: Metadata) -> None:
    line = metadata.encode()
    assert line.isascii()
    assert line.isprintable()
    assert parse(line.encode()) == metadata


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_nothing_else_is_ever_raised(data: bytes) -> None:
    with suppress(MetadataError):
        parse(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_the_members_are(value: Any) -> None:
    for name in ("status", "content_type", "user"):
        with suppress(MetadataError):
            said(**{name: value})
