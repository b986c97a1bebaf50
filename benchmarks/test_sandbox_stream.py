"""How fast 1 GiB goes through a guest: file → guest → pipe, drained by a process of its own, against `/bin/cat`.

Measured from the start to the moment at which the one who drains has seen the end, so starting is part of it on both
sides and of no weight. The file is in the page cache. Whether the bytes are right is looked at beforehand, by a SHA-256
on the whole way, which would be the slowest part of what is measured; then only their number and the last are.

Where the scheduler puts the two processes decides more than what they do: with each on a processor of its own, waking
the other one up costs more than the copying (in a virtual machine: four times as much), and left alone it does now this
and now that. So both are measured: all on one processor, where a ratio is one of work done, and each on its own.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks.drain import Drain, Drained, draining
from benchmarks.interleave import Aim, Interleave, Turn
from benchmarks.programs import cat
from insitu.sandbox.channels import make_pollable, source_from_fd
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import GIB, KIB, MIB, Limits, format_size

SIZE: Final = GIB
PAIRS: Final = 4
LIMITS: Final = Limits(wall=120, output=2 * SIZE)


@pytest.fixture(scope="module")
def drain() -> Iterator[Drain]:
    with draining() as made:
        yield made


@pytest.fixture(scope="module")
def gibibyte(place: Path) -> Iterator[tuple[int, str]]:
    """An open file, and its SHA-256. No two of its pages are the same page of memory."""
    path, digest = place / "gibibyte", hashlib.sha256()
    block = os.urandom(MIB)
    with open(path, "wb") as file:
        for number in range(SIZE // MIB):
            piece = number.to_bytes(8, "little") + block[8:]
            digest.update(piece)
            file.write(piece)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    yield fd, digest.hexdigest()
    os.close(fd)
    path.unlink()


def _native(file: int, write_end: int) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    actions = [(os.POSIX_SPAWN_DUP2, file, 0), (os.POSIX_SPAWN_DUP2, write_end, 1)]
    pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions)
    os.close(write_end)
    _, status = os.waitpid(pid, 0)
    assert status == 0


def _through(copy: Callable[[int, int], None], file: int, drain: Drain, *, digest: bool) -> Drained:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    drain.begin(read_end, digest=digest)
    copy(file, write_end)
    return drain.end()


@pytest.mark.parametrize("where", ["one processor", "two"])
@pytest.mark.parametrize(("buffer", "aim"), [(MIB, 0.9), (64 * KIB, 0.65)], ids=["1 MiB", "64 KiB"])
def test_stream(
    interleave: Interleave, gibibyte: tuple[int, str], drain: Drain, buffer: int, aim: float, where: str
) -> None:
    runner = Runner()
    program = runner.compile(cat(buffer))
    file, sha256 = gibibyte

    def ours(file: int, write_end: int) -> None:
        make_pollable(write_end)
        outcome = runner.run(program, Launch(["cat"], source_from_fd(file), write_end, LIMITS))
        os.close(write_end)
        assert outcome.ok, outcome.sentence()

    last = os.pread(file, 64, SIZE - 64)
    if where == "one processor":
        assert _through(ours, file, drain, digest=True) == Drained(SIZE, last, sha256)

    def turns(copy: Callable[[int, int], None]) -> Callable[[], Turn]:
        def turn() -> Turn:
            yield None
            drained = _through(copy, file, drain, digest=False)
            yield None
            assert (drained.count, drained.tail) == (SIZE, last)

        return turn

    processors = sorted(os.sched_getaffinity(0))
    with drain.placed(processors[0], processors[0] if where == "one processor" else processors[-1]):
        # A throughput of at least 0.9 of the other's is a time of at most 1 / 0.9 of its.
        name = f"1 GiB by {format_size(buffer)}, {where}: time / cat's"
        interleave(name, turns(ours), turns(_native), pairs=PAIRS, warm_up=0, aim=Aim(round(1 / aim, 2)))
