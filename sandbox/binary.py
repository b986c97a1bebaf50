"""wasm's binary format, read and written byte by byte: numbers, names, sections.

    module   = "\\0asm" 1 0 0 0  section…
    section  = kind (1 byte)  length (u32)  body
    name     = length (u32)  UTF-8
    u32      = LEB128: seven bits a byte, the lowest first, the top bit set in all but the last

What is read may come from anybody: every length is held against what is there before it is used.
"""

from collections.abc import Iterator
from typing import Final

CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT, TAG = range(14)
HEAD: Final = b"\0asm\x01\0\0\0"
_NUMBER: Final = 5  # bytes that a 32-bit number takes at most


class Malformed(ValueError):
    """The bytes are not what the format says; the message says what was looked for."""


class Cursor:
    """A place in bytes, and the way on from it. What is beyond `end` is not there."""

    __slots__ = ("_data", "at", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self._data, self.at = data, at
        self.end = len(data) if end is None else end

    def byte(self) -> int:
        if self.at >= self.end:
            raise Malformed("it ends too early")
        self.at += 1
        return self._data[self.at - 1]

    def take(self, count: int) -> bytes:
        if count > self.end - self.at:
            raise Malformed("it ends too early")
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self) -> int:
        """A u32."""
        value = 0
        for index in range(_NUMBER):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value
        raise Malformed("a number of more than 32 bits")

    def skip_number(self, bits: int) -> None:
        """One of either sign."""
        for _ in range(-(-bits // 7)):
            if self.byte() < 0x80:
                return
        raise Malformed(f"a number of more than {bits} bits")

    def name(self) -> bytes:
        return self.take(self.number())

    def since(self, start: int) -> bytes:
        """The bytes from there to here."""
        return self._data[start : self.at]


def sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each. Raises `Malformed`."""
    cursor = Cursor(wasm, len(HEAD))
    while cursor.at < cursor.end:
        kind = cursor.byte()
        yield kind, cursor.take(cursor.number())


def unsigned(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def section(kind: int, body: bytes) -> bytes:
    return b"".join([bytes([kind]), unsigned(len(body)), body])


def name(text: bytes) -> bytes:
    return unsigned(len(text)) + text
