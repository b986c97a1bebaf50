"""Guests in wasm's text format, made for a test."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from insitu.sandbox.outcome import Outcome
from tests.sandbox.specification import FUNCTIONS, wat_type


def module(body: str, *, memory: str | None = "1", more: str = "") -> str:
    """A command whose `_start` is `body`, importing every WASI function that it names as `$name`."""
    text = body + more
    names = [name for name in FUNCTIONS if re.search(rf"\${name}\b", text)]
    imports = "".join(f'(import "wasi_snapshot_preview1" "{n}" (func ${n} {wat_type(n)}))\n' for n in names)
    room = f'(memory (export "memory") {memory})' if memory is not None else ""
    return f'(module {imports} {room} {more} (func (export "_start") {body}))'


COPY: Final = module(
    """
    (loop $again
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 65536))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 1))))
      (if (i32.load (i32.const 8)) (then
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (loop $rest
          (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
            (then (call $proc_exit (i32.const 2))))
          (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 12))))
          (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 12))))
          (br_if $rest (i32.load (i32.const 4))))
        (br $again))))
    """,
    memory="2",
)
"""stdin to stdout; 1 when a read fails, 2 when a write does."""

LOOP: Final = module("(loop $again (br $again))")

FLOOD: Final = module(
    """
    (i32.store (i32.const 4) (i32.const 1000))
    (loop $again (br_if $again (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
    (call $proc_exit (i32.const 7))
    """
)
"""Writes 1,000 bytes again and again; 7 once a write fails."""

NAN: Final = module(
    """
    (i64.store (i32.const 64) (i64.reinterpret_f64
      (f64.add (f64.reinterpret_i64 (i64.const 0xfff8dead00beef01)) (f64.const 1))))
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """
)
"""Writes a NaN that arithmetic made: that of the frozen, or its own."""
FROZEN_NAN: Final = 0x7FF8000000000000
OWN_NAN: Final = 0xFFF8DEAD00BEEF01

# How a test makes one guest call any host functions with any arguments, on memory it lays out itself.
IMAGE: Final = 16 << 10  # bytes of memory that the test lays out, from address 0
_CALLS: Final = 16
_RECORD: Final = 8 + 9 * 8
_NUMBERS = list(FUNCTIONS)
_AT: Final = 32 << 10  # of the records
_RESULTS: Final = 48 << 10
_VECTORS: Final = 60 << 10
NO_CALL: Final = 0xFFFFFFFE
"""What the puppet has in place of an error number for a call that a call before it wrote over."""


@cache
def puppet() -> str:
    """Reads up to 16 calls and an image of its memory from stdin, makes the calls, then writes the image as it is by
    then to stdout, the error numbers to stderr, and exits with the last of them."""
    cases = ""
    for number, name in enumerate(_NUMBERS):
        arguments = " ".join(
            f"({'i32' if letter == 'i' else 'i64'}.load offset={8 + 8 * at} (local.get $call))"
            for at, letter in enumerate(FUNCTIONS[name])
        )
        call = f"(call ${name} {arguments})"
        call = f"{call} (return (i32.const -1))" if name == "proc_exit" else f"(return {call})"
        cases += f"(if (i32.eq (i32.load (local.get $call)) (i32.const {number})) (then {call}))\n"
    body = f"""
      (local $left i32) (local $call i32) (local $result i32)
      (i32.store (i32.const {_VECTORS}) (i32.const {_AT}))
      (i32.store (i32.const {_VECTORS + 4}) (i32.const {4 + _CALLS * _RECORD}))
      (i32.store (i32.const {_VECTORS + 8}) (i32.const 0))
      (i32.store (i32.const {_VECTORS + 12}) (i32.const {IMAGE}))
      (drop (call $fd_read (i32.const 0) (i32.const {_VECTORS}) (i32.const 2) (i32.const {_VECTORS + 32})))
      (local.set $left (i32.load (i32.const {_AT})))
      (local.set $call (i32.const {_AT + 4}))
      (local.set $result (i32.const {_RESULTS}))
      (loop $next
        (i32.store (local.get $result) (call $dispatch (local.get $call)))
        (local.set $result (i32.add (local.get $result) (i32.const 4)))
        (local.set $call (i32.add (local.get $call) (i32.const {_RECORD})))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $next (local.get $left)))
      (i32.store (i32.const {_VECTORS}) (i32.const 0))
      (i32.store (i32.const {_VECTORS + 4}) (i32.const {IMAGE}))
      (i32.store (i32.const {_VECTORS + 8}) (i32.const {_RESULTS}))
      (i32.store (i32.const {_VECTORS + 12}) (i32.sub (local.get $result) (i32.const {_RESULTS})))
      (drop (call $fd_write (i32.const 1) (i32.const {_VECTORS}) (i32.const 1) (i32.const {_VECTORS + 32})))
      (drop (call $fd_write (i32.const 2) (i32.const {_VECTORS + 8}) (i32.const 1) (i32.const {_VECTORS + 32})))
      (call $proc_exit (i32.load (i32.sub (local.get $result) (i32.const 4))))
    """
    more = f"(func $dispatch (param $call i32) (result i32) {cases} (i32.const {NO_CALL}))"
    return module(body, more=more)


def script(calls: Sequence[tuple[str | int, ...]], image: bytes = b"") -> bytes:
    """The puppet's stdin for these calls, each a name and its arguments. What follows it is for the calls to read."""
    assert 0 < len(calls) <= _CALLS
    assert len(image) <= IMAGE
    packed = struct.pack("<I", len(calls))
    for name, *arguments in calls:
        words = [int(argument) & (1 << 64) - 1 for argument in arguments]
        packed += struct.pack("<Q9Q", _NUMBERS.index(str(name)), *words, *[0] * (9 - len(words)))
    return packed.ljust(4 + _CALLS * _RECORD, b"\0") + image.ljust(IMAGE, b"\0")


def vectors(*pairs: tuple[int, int]) -> bytes:
    """An iovec array: (pointer, length) each."""
    return b"".join(struct.pack("<II", *pair) for pair in pairs)


@dataclass(frozen=True)
class Calls:
    """What became of a puppet's calls."""

    errnos: list[int]
    memory: bytes
    """The image as it was at the end; empty when stdout could not be written by then."""
    output: bytes
    """What the calls themselves wrote to stdout."""
    outcome: Outcome

    def u32(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.memory, at)[0])

    def u64(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self.memory, at)[0])
