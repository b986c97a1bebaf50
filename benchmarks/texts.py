"""The CPU of a shipped program against that of a command, on the same file in memory; what they write is the same, and
compared."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.interleave import Aim, Interleave, Turn, Turns
from insitu.sandbox.channels import input_from_fd, source_from_fd
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import MIB, Limits
from insitu.sandbox.program import Program

PROGRAMS: Final = Path(__file__).parent.parent / "insitu" / "programs"
PAIRS: Final = 3
LIMITS: Final = Limits(wall=120)
C_LOCALE: Final = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


@contextmanager
def memory_file(data: bytes = b"") -> Iterator[int]:
    fd = os.memfd_create("text", os.MFD_CLOEXEC)
    try:
        for at in range(0, len(data), MIB):
            os.write(fd, data[at : at + MIB])
        yield fd
    finally:
        os.close(fd)


def contents(fd: int) -> bytes:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        return file.read()


def native(command: str, stdin: int, stdout: int) -> float:
    """A shell's command; its CPU time in µs, that of all its processes."""
    os.lseek(stdin, 0, os.SEEK_SET)
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], C_LOCALE, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, command
    return (usage.ru_utime + usage.ru_stime) * 1e6


class Guests:
    """The shipped programs, each compiled once."""

    def __init__(self) -> None:
        self._runner = Runner(canonical_nans=True)
        self._programs: dict[str, Program] = {}

    def run(self, words: Sequence[str], stdin: int, stdout: int, inputs: Sequence[int] = ()) -> float:
        """Its CPU time in µs."""
        name = words[0]
        if name not in self._programs:
            self._programs[name] = self._runner.compile((PROGRAMS / f"{name}.wasm").read_bytes())
        named = {f"{number:02}": input_from_fd(fd) for number, fd in enumerate(inputs)}
        channels = Channels(inputs=named)
        launch = Launch(words, source_from_fd(stdin), stdout, LIMITS, channels=channels, frozen=Frozen())
        outcome = self._runner.run(self._programs[name], launch)
        assert outcome.ok, outcome.sentence()
        return outcome.usage.cpu_us


Measured = Callable[[int], float]
"""Writes its result to a descriptor; its CPU time in µs."""


def turns(measured: Measured, expected: bytes) -> Turns:
    def turn() -> Turn:
        with memory_file() as stdout:
            yield None
            yield measured(stdout)
            assert contents(stdout) == expected

    return turn


def compare(interleave: Interleave, name: str, ours: Measured, theirs: Measured, aim: float | None) -> None:
    with memory_file() as stdout:
        theirs(stdout)
        expected = contents(stdout)
    limit = None if aim is None else Aim(aim)
    interleave(f"{name}: CPU", turns(ours, expected), turns(theirs, expected), pairs=PAIRS, warm_up=0, aim=limit)
