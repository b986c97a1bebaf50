"""The body between object server and proxy: a run's bytes and its end, in one stream.

HTTP has no room for "it went wrong after all" behind a body's last byte, and a program may be silent for longer than a
proxy waits. So the object hook answers with frames, and the run switch takes them apart again:

     0        1        2        3        4        5        6        7
    +--------+--------------------------+-----------------------------------+---- - - -
    | kind   | zero                     | length of the payload, big endian | payload
    +--------+--------------------------+-----------------------------------+---- - - -

    kind  payload
    b     none: a beat, the guest is silent but its node is well; any number, anywhere
    m     what the program said of its result (metadata.py's JSON); before anything of it
    x     it said something malformed: why, in UTF-8; nothing of a result follows, only the outcome
    d     bytes of the result, more may follow
    w     all bytes of the result of a launch that ended well; nothing of it was sent before
    e     the outcome (msgpack); exactly one, always the last

        beat* ( x | m? beat* ( w | (beat* d)* ) ) beat* e

A stream that stops before its `e` was cut off: what it carried is no result.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import msgpack

from insitu.sandbox.outcome import Outcome

BEAT = b"b"
DATA = b"d"
WHOLE = b"w"
END = b"e"
META = b"m"
MALFORMED = b"x"
_KINDS = frozenset((BEAT, META, MALFORMED, DATA, WHOLE, END))

_HEADER = struct.Struct(">cxxxI")
HEADER_SIZE = _HEADER.size
MAX_PAYLOAD = 1 << 20


class FrameError(Exception):
    """The peer's bytes are no frames, or stop before the end: nothing they carried may be taken for a whole result."""


class Frame(NamedTuple):
    """One frame as it was read."""

    kind: bytes
    payload: bytes


def encode(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    return _HEADER.pack(kind, len(payload)) + payload


def encode_end(outcome: Outcome) -> bytes:
    """The frame that ends every stream."""
    return encode(END, pack_outcome(outcome))


def pack_outcome(outcome: Outcome) -> bytes:
    """An outcome as msgpack."""
    packed: bytes = msgpack.packb(outcome.to_wire())
    return packed


def unpack_outcome(payload: bytes) -> Outcome:
    """The inverse. Raises `FrameError` when the bytes are no outcome."""
    try:
        return Outcome.from_wire(msgpack.unpackb(payload))
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as why:
        raise FrameError(f"the frame that should hold the outcome does not: {why!r}") from None


class Deframer:
    """Takes bytes in pieces of any size, gives back whole frames.

    `wanted` says how many bytes complete what is under way (a header, or a payload): a reader that asks for exactly
    that many is never kept waiting for bytes of a later frame.
    """

    def __init__(self) -> None:
        self.wanted = HEADER_SIZE
        self._kind = b""
        self._parts: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The frames that `piece` completes. Raises `FrameError` for bytes that are no frame."""
        while piece:
            part, piece = piece[: self.wanted], piece[self.wanted :]
            self.wanted -= len(part)
            self._parts.append(part)
            if self.wanted:
                return
            whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            if self._kind:
                frame = Frame(self._kind, whole)
            else:
                kind, length = _HEADER.unpack(whole)
                if kind not in _KINDS or length > MAX_PAYLOAD:
                    raise FrameError(f"no frame begins with {whole!r}")
                if length:
                    self._kind, self.wanted = kind, length
                    continue
                frame = Frame(kind, b"")
            self._kind, self.wanted = b"", HEADER_SIZE
            yield frame

    @property
    def clean(self) -> bool:
        """Nothing is under way: the bytes so far are whole frames."""
        return not self._kind and not self._parts
