"""How the hostile guests are written: each is a function that fills a `Script`, which becomes one program.

A guest checks the answers itself, step by step, and exits with 0 when all were as they should be, or with 1000 and the
number of the first that was not.
"""

import gc
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from insitu.sandbox.channels import EmptySource
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.limits import Limits
from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module, vectors
from tests.sandbox.specification import FUNCTIONS

(SUCCESS, BADF, BUSY, EXIST, FAULT, FBIG, ILSEQ, INVAL, ISDIR, LOOP, MFILE, MLINK, NAMETOOLONG, NOENT, NOSPC, NOTDIR,
 NOTEMPTY, NOTSOCK, OVERFLOW, PERM, ROFS, SPIPE, XDEV, NOTCAPABLE) = (
    0, 8, 10, 20, 21, 22, 25, 28, 31, 32, 33, 34, 37, 44, 51, 54, 55, 57, 61, 63, 69, 70, 75, 76
)  # fmt: skip
CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8
READ, WRITE = 1 << 1, 1 << 6
FILE: Final = READ | WRITE | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 21 | 1 << 22 | 1 << 23  # rights
TREE: Final = (1 << 28) - 1 & ~(READ | WRITE | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 22 | 1 << 27)
ALL: Final = (1 << 28) - 1
FAR: Final = 0xFFFFFFFF

Word = int | str
_STRINGS: Final = 40_000
OUT: Final = 64
"""Where results go unless a script says otherwise."""


def load(address: int) -> str:
    return f"(i32.load (i32.const {address}))"


def call(name: str, *words: Word) -> str:
    """A call in wat, without its answer being looked at; words are numbers or wat."""
    flat = [
        word if isinstance(word, str) else f"({'i32' if letter == 'i' else 'i64'}.const {_signed(word, letter)})"
        for word, letter in zip(words, FUNCTIONS[name], strict=True)
    ]
    return f"(call ${name} {' '.join(flat)})"


def _signed(word: int, letter: str) -> int:
    bits = 32 if letter == "i" else 64
    word &= (1 << bits) - 1
    return word - (1 << bits) if word >> (bits - 1) else word


class Script:
    def __init__(self) -> None:
        self.memory: str | None = "2"
        self.more = ""
        self.locals = "(local $n i32) (local $m i32)"
        self._body: list[str] = []
        self._steps = 0
        self._at = _STRINGS

    def text(self, words: bytes | str) -> tuple[int, int]:
        """(pointer, length) of these bytes, which are in the guest's memory when it starts."""
        words = words.encode() if isinstance(words, str) else words
        at = self._at
        self.place(at, words)
        self._at += len(words)
        return at, len(words)

    def place(self, at: int, data: bytes) -> None:
        text = "".join(rf"\{byte:02x}" for byte in data)
        self.more += f'(data (i32.const {at}) "{text}")'

    def vectors(self, at: int, *pairs: tuple[int, int]) -> None:
        self.place(at, vectors(*pairs))

    def store(self, at: int, *words: int) -> None:
        """While it runs: 32-bit words, one behind the other."""
        for place, word in enumerate(words):
            self.raw(f"(i32.store (i32.const {at + 4 * place}) (i32.const {_signed(word, 'i')}))")

    def raw(self, wat: str) -> None:
        self._body.append(wat)

    def do(self, name: str, *words: Word | tuple[int, int], gives: int | Sequence[int] = SUCCESS) -> None:
        """Make a call; any other answer than (one of) these ends the guest."""
        flat: list[Word] = []
        for word in words:
            flat += word if isinstance(word, tuple) else (word,)
        allowed = [gives] if isinstance(gives, int) else list(gives)
        self.raw(f"(local.set $m {call(name, *flat)})")
        self.check(" ".join(["(i32.const 0)"] + [f"(i32.eq (local.get $m) (i32.const {a})) (i32.or)" for a in allowed]))

    def check(self, condition: str) -> None:
        """Wat that leaves an i32: the guest goes on when it is not 0."""
        self._steps += 1
        self.raw(f"(if (i32.eqz (block (result i32) {condition})) (then {call('proc_exit', 1000 + self._steps)}))")

    def holds(self, address: int, value: int) -> None:
        """The 32-bit word at `address` is `value`."""
        self.check(f"(i32.eq {load(address)} (i32.const {_signed(value, 'i')}))")

    def opens(self, path: bytes | str, *, start: Word = 3, flags: int = 0, rights: int = FILE, at: int = OUT,
              gives: int = SUCCESS, follow: int = 0) -> str:  # fmt: skip
        """path_open; its descriptor goes to `at`. Gives the wat that reads it from there."""
        self.do("path_open", start, follow, self.text(path), flags, rights, ALL, 0, at, gives=gives)
        return load(at)

    def opens_directory(self, path: bytes | str, *, start: Word = 3, at: int = OUT) -> str:
        return self.opens(path, start=start, flags=DIRECTORY, rights=TREE, at=at)

    def times(self, count: int, wat: str) -> None:
        """Do it so many times, with $n counting up from 0."""
        self.raw(
            f"(local.set $n (i32.const 0)) (loop $times {wat} "
            f"(br_if $times (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))"
        )

    def for_ever(self, wat: str) -> None:
        self.raw(f"(loop $ever {wat} (br $ever))")

    def wat(self) -> str:
        return module(f"{self.locals} {' '.join(self._body)}", memory=self.memory, more=self.more)


Writer = Callable[[Script], str | None]


@dataclass(frozen=True)
class Attack:
    name: str
    write: Writer
    """Fills the script, or gives a program of its own."""
    ends: str
    """How it must end: "exit N", "limit NAME", "trap WORDS" or "refused WORDS"."""
    limits: Limits

    def __str__(self) -> str:
        return self.name

    def run(self, sandbox: Sandbox) -> None:
        script = Script()
        wat = self.write(script) or script.wat()
        how, _, words = self.ends.partition(" ")
        if how == "refused":
            with pytest.raises(ProgramError, match=re.escape(words)) as why:
                sandbox.program(wat)
            assert len(str(why.value)) < 2000
            assert str(why.value).isprintable()
            sandbox.still_serves()
            return
        gc.collect()  # what earlier tests left open is not closed while this one looks
        before = descriptors()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            outcome = sandbox.launch(wat, EmptySource(), nowhere, limits=self.limits)
        finally:
            os.close(nowhere)
        sentence = outcome.sentence()
        if how == "limit":
            assert outcome.limit is not None, sentence
            assert outcome.limit.name == words, sentence
        elif how == "exit":
            assert outcome.exit_code == int(words), sentence
        else:
            assert outcome.end == how, sentence
            assert words in sentence.splitlines()[0], sentence
            assert all(line.isprintable() for line in (outcome.trap or "").splitlines())
            assert len(outcome.trap or "") < 20_000
        # A busy machine may be late, but not by a second.
        if words == "wall":
            assert outcome.usage.wall_us < 2e6 * self.limits.wall + 1e6
        if words == "cpu" and self.limits.cpu is not None:
            assert outcome.usage.cpu_us < 2e6 * self.limits.cpu + 1e5
        assert not left_open(before)
        sandbox.still_serves()


class Attacks:
    """Of one file. `@attacks("exit 0")` in front of a function takes it in, under its name."""

    def __init__(self) -> None:
        self.all: list[Attack] = []

    def __call__(
        self, ends: str = "exit 0", **limits: float | None
    ) -> Callable[[Callable[[Script], str | None]], None]:
        def keep(write: Callable[[Script], str | None]) -> None:
            self.all.append(Attack(write.__name__, write, ends, self.limits(**limits)))

        return keep

    @staticmethod
    def limits(**limits: float | None) -> Limits:
        return Limits(**limits)  # type: ignore[arg-type]


def descriptors() -> dict[str, str]:
    """What this process has open, by number; but not those of the engine, which keeps a program's data in one."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(Path("/proc/self/fd", name))
        except FileNotFoundError:
            continue  # the one that listed them
    return {name: target for name, target in found.items() if not target.startswith("/memfd:wasm")}


def left_open(before: dict[str, str]) -> dict[str, str]:
    """What has been opened since, and stays open. Threads of earlier tests open and close things of their own: what is
    gone a moment later was one of theirs, and what they close says nothing of a guest."""
    until = time.monotonic() + 10
    while new := {name: target for name, target in descriptors().items() if before.get(name) != target}:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return new
