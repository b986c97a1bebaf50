"""The quantised coefficients of a baseline JPEG, read here: so that "exactly as it was" can be said of them."""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """One component: its sampling, its quantisation table, and its blocks by (row, column)."""

    across: int
    down: int
    quantisation: bytes
    blocks: dict[tuple[int, int], tuple[int, ...]]


class _Bits:
    def __init__(self, data: bytes) -> None:
        # What follows a 0xFF is a stuffed zero: there are no restarts in the files that are read here.
        self._data = data.replace(b"\xff\x00", b"\xff")
        self._at = 0

    def bit(self) -> int:
        value = self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
        self._at += 1
        return value

    def number(self, size: int) -> int:
        """A signed number of so many bits, as JPEG writes them."""
        value = 0
        for _ in range(size):
            value = value << 1 | self.bit()
        return value if not size or value >> (size - 1) else value - (1 << size) + 1

    def symbol(self, codes: dict[tuple[int, int], int]) -> int:
        code = size = 0
        while (size, code) not in codes:
            code = code << 1 | self.bit()
            size += 1
            assert size <= 16
        return codes[size, code]


def _codes(data: bytes) -> dict[tuple[int, int], int]:
    """(size, code) to symbol, of one Huffman table as a segment has it."""
    codes, code, at = {}, 0, 16
    for size in range(1, 17):
        for _ in range(data[size - 1]):
            codes[size, code] = data[at]
            code += 1
            at += 1
        code <<= 1
    return codes


def _block(bits: _Bits, dc: dict[tuple[int, int], int], ac: dict[tuple[int, int], int], before: int) -> tuple[int, ...]:
    block = [0] * 64
    block[0] = before + bits.number(bits.symbol(dc))
    at = 1
    while at < 64:
        symbol = bits.symbol(ac)
        if symbol == 0:
            break
        at += symbol >> 4
        if symbol != 0xF0:
            block[at] = bits.number(symbol & 15)
        at += 1
    return tuple(block)


def coefficients(data: bytes) -> list[Component]:
    """The components of a baseline JPEG of one scan, without restarts. Blocks are in zigzag order."""
    tables: dict[int, bytes] = {}
    codes: dict[int, dict[tuple[int, int], int]] = {}
    frame: list[tuple[int, int, int, int]] = []
    width = height = 0
    at = 2
    while True:
        marker, size = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        segment = data[at + 4 : at + 2 + size]
        at += 2 + size
        if marker == 0xDB:
            while segment:
                tables[segment[0]], segment = segment[1:65], segment[65:]
        elif marker == 0xC4:
            while segment:
                end = 17 + sum(segment[1:17])
                codes[segment[0]], segment = _codes(segment[1:end]), segment[end:]
        elif marker == 0xC0:
            height, width = struct.unpack_from(">HH", segment, 1)
            frame = [(c[0], c[1] >> 4, c[1] & 15, c[2]) for c in (segment[6 + 3 * i :] for i in range(segment[5]))]
        elif marker == 0xDA:
            break
    chosen = {segment[1 + 2 * i]: segment[2 + 2 * i] for i in range(segment[0])}
    bits = _Bits(data[at:-2])
    found = [Component(across, down, tables[table], {}) for _, across, down, table in frame]
    before = [0] * len(frame)
    if len(frame) == 1:
        found[0] = Component(1, 1, found[0].quantisation, {})
    most_across, most_down = max(c.across for c in found), max(c.down for c in found)
    for row in range(-(-height // (8 * most_down))):
        for column in range(-(-width // (8 * most_across))):
            for index, component in enumerate(found):
                pair = chosen[frame[index][0]]
                for v in range(component.down):
                    for u in range(component.across):
                        block = _block(bits, codes[pair >> 4], codes[0x10 | (pair & 15)], before[index])
                        before[index] = block[0]
                        component.blocks[row * component.down + v, column * component.across + u] = block
    return found
