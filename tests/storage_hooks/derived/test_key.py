"""A key names what went in, and nothing else has the same."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.sandbox.abi import ABI
from insitu.sandbox.limits import Limits
from insitu.storage_hooks.derived.key import key_of, told
from insitu.storage_hooks.derived.names import CONTAINER, marker_of, name_of, named, prefix_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["", "a", "1", "\0", "a\0"])
etags = st.text("0123456789abcdef-", max_size=4)
requests = st.tuples(
    etags,
    texts,
    st.lists(texts, max_size=3),
    st.lists(st.tuples(texts, etags), max_size=3),
    st.lists(st.integers(0, 12), max_size=2),
    st.integers(1, 12),
)


@given(requests, requests)
def test_another_request_is_another_key(one: Any, other: Any) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)


@given(requests, st.data())
def test_any_single_difference_is_another_key(request: Any, data: st.DataObject) -> None:
    etag, digest, args, inputs, limits, abi = request
    moved = data.draw(st.sampled_from(["join", "shift", "abi", "etag", "digest", "argument", "input", "limit"]))
    other = {
        "join": (etag, digest, ["".join(args)], inputs, limits, abi),
        "shift": (etag + digest, "", args, inputs, limits, abi),
        "abi": (etag, digest, args, inputs, limits, abi + 1),
        "etag": (etag + "0", digest, args, inputs, limits, abi),
        "digest": (etag, digest + "0", args, inputs, limits, abi),
        "argument": (etag, digest, [*args, ""], inputs, limits, abi),
        "input": (etag, digest, args, [*inputs, ("", "")], limits, abi),
        "limit": (etag, digest, args, inputs, [*limits, 0], abi),
    }[moved]
    assert (key_of(*request) == key_of(*other)) == (list(request) == list(other))


def test_a_key_is_the_same_in_every_process_and_version() -> None:
    """What was kept yesterday is found today: whoever changes the encoding must know that it is not."""
    etag, digest = "d41d8cd98f00b204e9800998ecf8427e", "sha256:" + "0" * 64
    key = key_of(etag, digest, ["--text", "h\udcff"], [("logo", "e")], [64], 1)
    assert key == "5009d6100477fb5c7371d126834a15a9c860f1be6953d8ab907c9b57a5cda504"
    assert key == key_of(f'"{etag}"', digest, ("--text", "h\udcff"), [("logo", '"e"')], (64,), 1)
    assert key_of("e", "d") == key_of("e", "d", abi=ABI)


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_limits_that_a_guest_is_told_of_are_part_of_it(name: str) -> None:
    """Whoever adds a limit has to say here whether a guest may go on after it."""
    ends = {"fuel", "wall", "output", "cpu", "arguments"}
    value: Any = {"fuel": 5, "cpu": 1.0}.get(name) or getattr(Limits(), name) * 2
    other: Any = {name: value}
    assert (told(replace(Limits(), **other)) == told(Limits())) == (name in ends)


def test_names_say_what_a_result_was_made_of() -> None:
    key = "0" * 64
    name = name_of("photos", "2026/cät.jpg", key)
    assert name is not None
    assert name.startswith(prefix_of("photos/2026/"))
    assert named(name) == ("photos/2026/cät.jpg", key)
    assert marker_of("photos/2026/cät.jpg/" + key) == name
    assert CONTAINER.startswith("\0")


def test_a_name_that_swift_would_not_take_is_none() -> None:
    key = "0" * 64
    assert name_of("c", "o" * (1024 - 64 - 4), key) is not None
    assert name_of("c", "o" * (1024 - 64 - 3), key) is None
    assert name_of("c", "ö" * 500, key) is None
    assert name_of("\0versions", "\0o", key) is None


def test_other_names_are_nobodys() -> None:
    for name in ("plain", "\0a/b", "\0a/b\0short", "\0a/b\0" + "0" * 64 + "\0more"):
        assert named(name) is None
    assert marker_of("a/b") is None
    assert marker_of("a\0b/" + "0" * 64) is None
