"""The state of an instance, taken out of it, and how it is written in a module."""

from dataclasses import dataclass
from typing import Final

from insitu.sandbox import binary, raw
from insitu.sandbox.limits import PAGE
from insitu.sandbox.snapshot.module import ModuleParts

_HOLE: Final = 4096
"""Bytes of zeros, at such a multiple, that end a data segment. That of a page: the engine maps the memory a page at a
time, so that what lies between two segments of one page is there anyway."""
_PIECE: Final = 1 << 20  # bytes looked at together
_SEGMENTS: Final = 10_000
"""At most so many; with more, only larger holes end one."""


@dataclass(frozen=True, slots=True)
class State:
    memory: int
    """Bytes of it."""
    segments: tuple[tuple[int, bytes], ...]
    """What is not zero in it, each with its place."""
    globals: tuple[tuple[int, bytes], ...]
    """Number of each mutable one, and its value's bits, as many bytes as its type has."""


def taken(instance: raw.Instance, parts: ModuleParts) -> State:
    values = tuple((index, instance.global_bits(parts.global_name(index))) for index in parts.mutable)
    memory = instance.refresh()
    return State(len(memory), tuple(_segments(memory)), values)


def written(parts: ModuleParts, state: State) -> bytes:
    """The module that begins with that state."""
    values = dict(state.globals)
    out = [binary.HEAD]
    # Instructions may name segments by their numbers: there are no fewer than there were, the last ones empty, which
    # is what an active segment is once it has been copied.
    segments = [*state.segments, *[(0, b"")] * (parts.data - len(state.segments))]
    data = binary.section(binary.DATA, _data(segments))
    for kind, body in parts.sections:
        if kind == binary.MEMORY:
            pages = binary.unsigned(state.memory // PAGE)
            body = b"".join([b"\1", bytes([parts.memory_flags]), pages, parts.memory_most])
        elif kind == binary.GLOBAL:
            body = binary.unsigned(len(parts.globals)) + b"".join(
                bytes([one.type, one.mutable]) + (_constant(one.type, values[index]) if one.mutable else one.initial)
                for index, one in enumerate(parts.globals)
            )
        elif kind == binary.DATA_COUNT:
            body = binary.unsigned(len(segments))
        if kind not in (binary.START, binary.DATA):
            out.append(binary.section(kind, body))
        if kind == binary.CODE:
            out.append(data)
    return b"".join(out)


def _constant(type_: int, bits: bytes) -> bytes:
    number = int.from_bytes(bits, "little", signed=True)
    if type_ == 0x7F:
        value = b"\x41" + binary.signed(number)
    elif type_ == 0x7E:
        value = b"\x42" + binary.signed(number)
    else:
        value = {0x7D: b"\x43", 0x7C: b"\x44", 0x7B: b"\xfd\x0c"}[type_] + bits
    return value + b"\x0b"


def _data(segments: list[tuple[int, bytes]]) -> bytes:
    out = [binary.unsigned(len(segments))]
    for at, data in segments:
        place = at - (1 << 32) if at >> 31 else at  # an i32 is signed
        out += [b"\0\x41", binary.signed(place), b"\x0b", binary.unsigned(len(data)), data]
    return b"".join(out)


def _segments(memory: memoryview) -> list[tuple[int, bytes]]:
    """What is not zero in it: (where, bytes), without zeros at either end."""
    hole = _HOLE
    while len(found := _runs(memory, hole)) > _SEGMENTS:
        hole *= 2
    segments = []
    for start, end in found:
        data = bytes(memory[start:end])
        tail = data.lstrip(b"\0")
        segments.append((start + len(data) - len(tail), tail.rstrip(b"\0")))
    return segments


def _runs(memory: memoryview, hole: int) -> list[tuple[int, int]]:
    """Pieces at multiples of `hole` that are not all zeros, as many in a row as there are."""
    zeros, none, runs = bytes(hole), bytes(_PIECE), list[tuple[int, int]]()
    for piece in range(0, len(memory), _PIECE):
        data = bytes(memory[piece : piece + _PIECE])
        if data == none:
            continue
        for at in range(0, len(data), hole):
            if data[at : at + hole] == zeros:
                continue
            start = piece + at
            if runs and runs[-1][1] == start:
                runs[-1] = runs[-1][0], start + hole
            else:
                runs.append((start, start + hole))
    return runs
