"""Frames, packets and descriptors."""

import os
import socket
import struct
from collections.abc import Iterator

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.runtime import wire
from insitu.runtime.errors import ProtocolError

_messages = st.lists(
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(-(1 << 63), 1 << 63), st.binary(max_size=50), st.none())
    ),
    max_size=5,
)


@given(_messages, st.lists(st.integers(1, 40), min_size=1))
def test_messages_arrive_however_they_are_cut(messages: list[wire.Message], cuts: list[int]) -> None:
    stream = b"".join(wire.encode(message) for message in messages)
    decoder, found, at = wire.Decoder(), [], 0
    while at < len(stream):
        size = cuts[at % len(cuts)]
        decoder.feed(stream[at : at + size])
        at += size
        while (message := decoder.next()) is not None:
            found.append(message)
    assert found == messages
    assert decoder.missing == 4


@given(st.binary(max_size=200))
def test_garbage_is_a_message_or_a_protocol_error(data: bytes) -> None:
    decoder = wire.Decoder()
    decoder.feed(data)
    try:
        while (message := decoder.next()) is not None:
            assert isinstance(message, dict)
    except ProtocolError:
        pass


@pytest.mark.parametrize("length", [wire.MAX_FRAME + 1, 1 << 31, (1 << 32) - 1])
def test_a_length_beyond_the_maximum_is_refused_at_once(length: int) -> None:
    decoder = wire.Decoder()
    decoder.feed(struct.pack(">I", length))
    with pytest.raises(ProtocolError, match=f"{length} bytes, and at most {wire.MAX_FRAME}"):
        decoder.next()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x81\xa1a",
        b"\x91" * 5000,
        msgpack.packb([1]),
        msgpack.packb("x"),
        msgpack.packb(None),
        msgpack.packb({"a": 1}) + b"\0",
        b"\x81\x01\x02",
        b"\x81\xa1\xff\x01",
    ],
    ids=lambda body: repr(body)[:20],
)
def test_a_frame_that_is_no_map(body: bytes) -> None:
    decoder = wire.Decoder()
    decoder.feed(struct.pack(">I", len(body)) + body)
    with pytest.raises(ProtocolError):
        decoder.next()


def test_a_message_that_is_too_long_is_not_sent() -> None:
    assert len(wire.encode({"x": b"x" * (wire.MAX_FRAME - 10)})) <= wire.MAX_FRAME + 4
    with pytest.raises(ValueError, match="at most"):
        wire.encode({"x": b"x" * wire.MAX_FRAME})


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_receive_takes_no_byte_of_the_next_message(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    wire.send(one, {"n": 1})
    wire.send(one, {"n": 2})
    decoder = wire.Decoder()
    assert wire.receive(other, decoder) == {"n": 1}
    assert other.recv(1 << 16, socket.MSG_PEEK) == wire.encode({"n": 2})
    assert wire.receive(other, decoder) == {"n": 2}
    one.close()
    assert wire.receive(other, decoder) is None


def test_half_a_message_and_the_end_is_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    one.sendall(wire.encode({"n": 1})[:-1])
    one.close()
    assert wire.receive(other, wire.Decoder()) is None


@pytest.mark.parametrize("count", [1, wire.MAX_FDS])
def test_descriptors_arrive_and_are_close_on_exec(pair: tuple[socket.socket, socket.socket], count: int) -> None:
    read, write = os.pipe()
    wire.send(pair[0], {"n": 1}, [write] * count)
    data, fds = wire.receive_with_fds(pair[1])
    try:
        assert data == wire.encode({"n": 1})
        assert len(fds) == count
        assert not any(os.get_inheritable(fd) for fd in fds)
        os.write(fds[-1], b"through")
        assert os.read(read, 10) == b"through"
    finally:
        wire.close_all([read, write, *fds])


def test_too_many_descriptors_are_refused_and_none_is_kept(pair: tuple[socket.socket, socket.socket]) -> None:
    read, write = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    wire.send(pair[0], {"n": 1}, [write] * (wire.MAX_FDS + 1))
    with pytest.raises(ProtocolError, match="more than 16 descriptors"):
        wire.receive_with_fds(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before
    wire.close_all([read, write])


def test_packets() -> None:
    one, other = wire.packet_pair()
    with other:
        with one:
            wire.send_packet(one, {"n": 1})
            wire.send_packet(one, {"n": 2}, [one.fileno()])
            assert wire.receive_packet(other) == ({"n": 1}, [])
            found = wire.receive_packet(other)
            assert found is not None
            assert found[0] == {"n": 2}
            wire.close_all(found[1])
            one.send(b"\xc1")
            with pytest.raises(ProtocolError):
                wire.receive_packet(other)
        assert wire.receive_packet(other) is None
