"""The turns that several benchmarks share: a launch to its first byte, and the same by native spawn."""

import os
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.interleave import Turn, Turns
from insitu.runtime.client import Launch, LaunchRequest

CAT: Final = "/bin/cat"
WARM_AIM: Final = {"process": 0.8, "shared": 0.3}
"""By isolation: what a warm launch may take of a native spawn."""
_CHUNK: Final = 64 << 10


Spawn = Callable[[str, Sequence[str], int, int], int]
"""(path, words, stdin, stdout) → the child's process id."""


def launched(
    socket: str,
    file: int,
    data: bytes,
    name: Callable[[], str],
    after: Callable[[], None],
    args: Sequence[str] = (),
) -> Turns:
    """connect → first byte of `name()` on `file`, through the node at `socket`. `after`: when all is over."""

    def turn() -> Turn:
        program = name()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        yield None
        launch = Launch.connect(socket)
        accepted = launch.start(LaunchRequest(program, tuple(args), tenant="AUTH_bench"), stdin=file, stdout=writing)
        os.close(writing)
        first = os.read(reading, _CHUNK)
        yield None
        got = first + _rest(reading)
        record = launch.outcome()
        launch.close()
        assert record.id == accepted.id
        assert record.outcome.ok, record.outcome.sentence()
        assert got == data
        after()

    return turn


def by_python(path: str, words: Sequence[str], stdin: int, stdout: int) -> int:
    """Python's own posix_spawn, which shares the memory until the child executes: the quickest that there is, for one
    at a time."""
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
    return os.posix_spawn(path, list(words), {}, file_actions=actions)


def spawned(
    file: int, data: bytes, *, spawn: Spawn = by_python, path: str = CAT, words: Sequence[str] = ("cat",)
) -> Turns:
    """Native spawn: `posix_spawn` of /bin/cat on the same bytes, to the first byte.

    Its environment is empty, which is the quickest that it can be: no locale is loaded.
    """

    def turn() -> Turn:
        os.lseek(file, 0, os.SEEK_SET)  # cat reads from where the shared offset stands
        reading, writing = os.pipe2(os.O_CLOEXEC)
        yield None
        pid = spawn(path, words, file, writing)
        os.close(writing)
        first = os.read(reading, _CHUNK)
        yield None
        got = first + _rest(reading)
        _, status = os.waitpid(pid, 0)
        assert status == 0
        assert got == data

    return turn


def _rest(reading: int) -> bytes:
    """What is left in the pipe, which is closed."""
    parts: list[bytes] = []
    while part := os.read(reading, _CHUNK):
        parts.append(part)
    os.close(reading)
    return b"".join(parts)
