"""Guests made for a benchmark, as wasm."""

import random
from collections.abc import Iterator
from typing import Final

from insitu.sandbox.program import to_wasm

_PAGE: Final = 64 << 10
_FUNCTION, _CODE, _DATA = 3, 10, 11
_STEPS: Final = 100
"""Of each function of `large_cat`, 10 bytes each."""


def cat(buffer: int, *, more_pages: int = 0) -> bytes:
    """stdin to stdout by reads of at most `buffer` bytes, which must be a whole number of wasm pages.

    Exits with 1 when a read fails, with 2 when a write does. `more_pages` of memory lie above the buffer.
    """
    assert buffer % _PAGE == 0
    return to_wasm(
        f"""
        (module
          (type (func (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") {1 + buffer // _PAGE + more_pages})
          (func (export "_start")
            (loop $again
              (i32.store (i32.const 0) (i32.const {_PAGE}))
              (i32.store (i32.const 4) (i32.const {buffer}))
              (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $exit (i32.const 1))))
              (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (loop $rest
                  (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
                    (then (call $exit (i32.const 2))))
                  (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 12))))
                  (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 12))))
                  (br_if $rest (i32.load (i32.const 4))))
                (br $again))))))
        """.encode()
    )


def large_cat(buffer: int, *, code: int, data: int, gap: int = 0) -> bytes:
    """`cat` that brings so many bytes of code that it does not call, all functions different, and of data that it does
    not look at: half of it begins `gap` bytes after the other half's end. Both are the same for the same figures."""
    chance, at, pages = random.Random(code), _PAGE + buffer, -(-(data + gap) // _PAGE)
    wasm = cat(buffer, more_pages=pages)
    count = code // (_STEPS * 10)
    functions = b"".join(_with_size(_function(chance)) for _ in range(count))
    half = data // 2
    segments = [(at, chance.randbytes(half)), (at + half + gap, chance.randbytes(data - half))] if data else []
    out = bytearray(wasm[:8])
    for kind, body in _sections(wasm):
        if kind == _FUNCTION:
            body = _more(body, count, bytes(count))  # of the first type, all of them
        elif kind == _CODE:
            body = _more(body, count, functions)
        out += bytes([kind]) + _with_size(body)
    if segments:
        body = b"".join(b"\0\x41" + _signed(where) + b"\x0b" + _with_size(what) for where, what in segments)
        out += bytes([_DATA]) + _with_size(_unsigned(len(segments)) + body)
    return bytes(out)


def _function(chance: random.Random) -> bytes:
    """(param i32) (result i32): a hundred times local.get 0, i32.const ?, i32.<operation>, local.set 0 or so."""
    body = bytearray(b"\0")
    for _ in range(_STEPS):
        constant = chance.getrandbits(21) | 1 << 20  # four bytes of LEB128
        operation = chance.choice((0x6A, 0x6B, 0x6C, 0x71, 0x72, 0x73, 0x77, 0x78))
        body += b"\x20\0\x41" + _signed(constant).ljust(4, b"\0") + bytes([operation]) + b"\x21\0"
    return bytes(body + b"\x20\0\x0b")


def _sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    at = 8
    while at < len(wasm):
        kind = wasm[at]
        size, at = _read(wasm, at + 1)
        yield kind, wasm[at : at + size]
        at += size


def _more(body: bytes, count: int, items: bytes) -> bytes:
    """A section with so many items more."""
    before, at = _read(body, 0)
    return _unsigned(before + count) + body[at:] + items


def _with_size(body: bytes) -> bytes:
    return _unsigned(len(body)) + body


def _read(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _signed(value: int) -> bytes:
    """Of a number that is not negative."""
    out = bytearray()
    while value >= 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def toucher() -> bytes:
    """Writes to its memory, as a guest does that has run: once low, where a stack is, and once high."""
    return to_wasm(
        b"""
        (module
          (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 2)
          (func (export "_start")
            (i32.store (i32.const 4096) (i32.const 1))
            (i32.store (i32.const 81920) (i32.const 1))))
        """
    )


def opener(name: str, count: int) -> bytes:
    """Opens, reads (at most a page) and closes the file `name` below its first preopened directory, `count` times.

    Exits with 1, 2 or 3 when one of those fails, with 4 when there is nothing in the file.
    """
    return to_wasm(
        f"""
        (module
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 2)
          (data (i32.const 1024) "{name}")
          (func (export "_start") (local $left i32)
            (local.set $left (i32.const {count}))
            (loop $again
              (if (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {len(name)}) (i32.const 0)
                    (i64.const 0x20_0026) (i64.const 0) (i32.const 0) (i32.const 16))
                (then (call $exit (i32.const 1))))
              (i32.store (i32.const 0) (i32.const {_PAGE}))
              (i32.store (i32.const 4) (i32.const {_PAGE}))
              (if (call $read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $exit (i32.const 2))))
              (if (i32.eqz (i32.load (i32.const 8))) (then (call $exit (i32.const 4))))
              (if (call $close (i32.load (i32.const 16))) (then (call $exit (i32.const 3))))
              (local.set $left (i32.sub (local.get $left) (i32.const 1)))
              (br_if $again (local.get $left)))))
        """.encode()
    )
