"""What an answer is made of: every order of frames that a node may send, and some that it may not."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from insitu.sandbox.outcome import Outcome
from insitu.storage_hooks import inside
from insitu.storage_hooks.framed import RunAborted, frames_of, unframed
from insitu.storage_hooks.frames import BEAT, DATA, MALFORMED, META, WHOLE, encode, encode_end
from insitu.storage_hooks.metadata import Metadata, parse

OK = encode_end(Outcome(end="exit", exit_code=0))
FAILED = encode_end(Outcome(end="exit", exit_code=3))
SAID = Metadata(404, "text/plain", {"colour": "blue"})
META_FRAME = encode(META, SAID.encode().encode())


class App:
    object_chunk_size = 8


class Body:
    """A node's answer in pieces of one size; it must be closed."""

    def __init__(self, stream: bytes, size: int) -> None:
        self.pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def close(self) -> None:
        self.closed = True


def answered(stream: bytes, size: int = 5) -> tuple[dict[str, str], list[bytes]]:
    """The headers, and all of the body. Raises what the body raises."""
    body = Body(stream, size)
    headers, result = unframed([], frames_of(App(), body), body, logging.getLogger("insitu"))
    try:
        return dict(headers), list(result)
    finally:
        close: Any = getattr(result, "close", body.close)
        close()
        assert body.closed


@pytest.mark.parametrize("beats", [b"", encode(BEAT) * 3])
@pytest.mark.parametrize("size", [1, 8, 10_000])
def test_what_the_program_said_is_a_header(beats: bytes, size: int) -> None:
    headers, body = answered(beats + META_FRAME + beats + encode(WHOLE, b"small") + beats + OK, size)
    assert parse(headers[inside.META].encode()) == SAID
    assert (body, headers["Content-Length"]) == ([b"small"], "5")
    headers, body = answered(beats + META_FRAME + encode(DATA, b"lar") + beats + encode(DATA, b"ge") + OK, size)
    assert parse(headers[inside.META].encode()) == SAID
    assert b"".join(body) == b"large"
    assert "Content-Length" not in headers


def test_of_an_empty_result_too() -> None:
    headers, body = answered(META_FRAME + OK)
    assert parse(headers[inside.META].encode()) == SAID
    assert inside.decode_outcome(headers[inside.OUTCOME]).ok
    assert b"".join(body) == b""


def test_who_says_nothing_has_no_such_header() -> None:
    headers, _ = answered(encode(WHOLE, b"small") + OK)
    assert inside.META not in headers


def test_what_was_malformed_is_told_and_nothing_else() -> None:
    headers, body = answered(encode(BEAT) + encode(MALFORMED, "status: ☂".encode()) + OK)
    assert inside.unquote_reason(headers[inside.MALFORMED]) == "status: ☂"
    assert headers[inside.MALFORMED].isascii()
    assert b"".join(body) == b""
    assert inside.META not in headers


@pytest.mark.parametrize(
    "stream",
    [
        encode(META, b'{"status": 500}') + encode(WHOLE, b"small") + OK,
        encode(META, b"\xff") + OK,
        META_FRAME,
        META_FRAME[:-1],
        META_FRAME + META_FRAME + encode(WHOLE, b"small") + OK,
        META_FRAME + encode(DATA, b"")[:3],
        b"",
    ],
)
def test_a_node_that_says_something_else_has_lost_the_run(stream: bytes) -> None:
    """Before the status: an outcome that says so. Never a result."""
    try:
        headers, body = answered(stream)
    except RunAborted:
        return
    assert inside.decode_outcome(headers[inside.OUTCOME]).end == "lost"
    assert b"".join(body) == b""


@pytest.mark.parametrize("rest", [b"", META_FRAME + OK, encode(MALFORMED, b"late") + OK, FAILED])
def test_after_the_first_byte_only_a_good_end_is_one(rest: bytes) -> None:
    with pytest.raises(RunAborted):
        answered(encode(DATA, b"some") + rest)
