"""The bytes between a node and whoever talks to it, and between the node and its own processes.

On the node's socket (a Unix stream), both ways, any number of frames:

     0               4
    +---------------+------------------------------+
    | length, u32   | one map in msgpack           |      length counts the map alone, at most 1 MiB
    | big-endian    |                              |
    +---------------+------------------------------+

A launch's frame carries its descriptors (SCM_RIGHTS) with its first byte: stdin, stdout, and behind them those of the
channels that it names (`channels.py`), `MAX_FDS` at most in all.

Between the node and its spawner, workers and compilers: Unix sequential packets, one map a packet, no length.
This is the only file that knows any of this.
"""

import array
import errno
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgpack

from insitu.runtime.errors import ProtocolError

VERSION: Final = 1
MAX_FRAME: Final = 1 << 20
MAX_FDS: Final = 16
"""Descriptors with one message: each that a peer may send is one that the node may have to hold for it."""
_CHUNK: Final = 64 << 10
PASSING: Final = 30.0
"""Seconds that sockets may be full of descriptors until somebody gives up."""
_PACKET: Final = 160 << 10  # below the kernel's default send buffer, 208 KiB
_HEADER: Final = struct.Struct(">I")
_FD_SPACE: Final = socket.CMSG_SPACE(MAX_FDS * 4)
_received: Final = memoryview(bytearray(_PACKET))
"""Where everything is received that may bring descriptors: room of that size made anew would be mapped and unmapped for
each message (measured: 8 µs of 9). One thread of a process receives so."""
Message = dict[str, Any]


class DescriptorsLost(ProtocolError):
    """This process could not take the descriptors of a message: it has none left. `data` is the message."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"no descriptors left: {os.strerror(errno.EMFILE)}")
        self.data = data


class Socket(Protocol):
    """What a client needs of a socket: a plain one has it, and an eventlet one."""

    def sendmsg(self, buffers: Any, ancdata: Any = ..., /) -> int: ...
    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...


def encode(message: Mapping[str, Any]) -> bytes:
    """One frame. Raises ValueError when it would be too long."""
    body: bytes = msgpack.packb(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"a message of {len(body)} bytes, and at most {MAX_FRAME} are allowed")
    return _HEADER.pack(len(body)) + body


def _decode(body: bytes) -> Message:
    try:
        message = msgpack.unpackb(body)
    except Exception as why:  # noqa: BLE001 - msgpack raises half a dozen kinds, all of them the peer's fault
        raise ProtocolError(f"a frame that is no msgpack: {why}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"a frame that is a {type(message).__name__} and no map")
    return message


class Decoder:
    """Bytes in, messages out. A length above the maximum is refused before a byte of it is kept."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def __len__(self) -> int:
        """Bytes that are no message yet, or were not asked for."""
        return len(self._buffer)

    @property
    def missing(self) -> int:
        """Bytes that complete what is under way, the length or the map; after `next()` gave None."""
        whole = _HEADER.size
        if len(self._buffer) >= whole:
            whole += _HEADER.unpack_from(self._buffer)[0]
        return whole - len(self._buffer)

    def next(self) -> Message | None:
        """The next whole message. Raises `ProtocolError`, after which the connection is of no further use."""
        buffer = self._buffer
        if len(buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(buffer)
        if length > MAX_FRAME:
            raise ProtocolError(f"a frame of {length} bytes, and at most {MAX_FRAME} are allowed")
        end = _HEADER.size + length
        if len(buffer) < end:
            return None
        body = bytes(buffer[_HEADER.size : end])
        del buffer[:end]
        return _decode(body)


def send(sock: Socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one frame over a blocking (or green) stream socket. Raises OSError."""
    data = encode(message)
    if not fds:
        sock.sendall(data)
        return
    # A green socket's sendmsg() does not wait: it raises where the socket is full. What comes with descriptors is the
    # first that a socket is given.
    sent = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    if sent < len(data):
        sock.sendall(data[sent:])


def receive(sock: Socket, decoder: Decoder) -> Message | None:
    """The next message from a blocking (or green) stream socket; None at its end. Raises OSError, `ProtocolError`.

    Takes no byte of a later message, so that whoever polls the socket learns of that one.
    """
    while (message := decoder.next()) is None:
        data = sock.recv(min(decoder.missing, _CHUNK))
        if not data:
            return None
        decoder.feed(data)
    return message


def receive_with_fds(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Once from a non-blocking stream or packet socket: bytes (none at its end) and the descriptors they brought.

    Raises OSError, `DescriptorsLost`, and `ProtocolError` when the peer passed more than `MAX_FDS`.
    """
    size, ancillary, flags, _ = sock.recvmsg_into((_received,), _FD_SPACE, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if flags & socket.MSG_CTRUNC:
        close_all(fds)
        if len(fds) < MAX_FDS:  # there was room for more of them
            raise DescriptorsLost(bytes(_received[:size]))
        raise ProtocolError(f"more than {MAX_FDS} descriptors with one message")
    return bytes(_received[:size]), list(fds)


def packet_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_packet(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Raises OSError: EAGAIN when the socket is non-blocking and full, EPIPE when the peer is gone, and see
    `is_passing`."""
    data = msgpack.packb(message)
    if fds:
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))], socket.MSG_NOSIGNAL)
    else:
        sock.send(data, socket.MSG_NOSIGNAL)


def is_passing(why: OSError) -> bool:
    """Whether descriptors could not be sent for the one reason that is no fault of either end: so many of this user's
    are on their way in sockets, whoever sent them, as a process may have open. It is over when they have been received.
    """
    return why.errno == errno.ETOOMANYREFS


def send_packet_in_time(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """The same from a process that has nothing else to do: it waits for what is passing."""
    until = time.monotonic() + PASSING
    while True:
        try:
            return send_packet(sock, message, fds)
        except OSError as why:
            if not is_passing(why) or time.monotonic() > until:
                raise
        time.sleep(0.005)


def receive_packet(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """None at the peer's end. Raises OSError and `ProtocolError`."""
    try:
        data, fds = receive_with_fds(sock)
    except ConnectionResetError:
        return None
    return (_decode(data), fds) if data else None


def receive_packet_or_less(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """The same; where descriptors could not be taken, the packet comes without any."""
    try:
        return receive_packet(sock)
    except DescriptorsLost as lost:
        return _decode(lost.data), []


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
