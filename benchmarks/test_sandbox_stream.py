"""How fast 1 GiB goes through a guest: file → guest → pipe, drained by a process of its own, against `/bin/cat`.

Measured from the start to the moment at which the one who drains has seen the end, so starting is part of it on both
sides and of no weight. The file is in the page cache. Whether the bytes are right is looked at beforehand, by a SHA-256
on the whole way, which would be the slowest part of what is measured; then only their number and the last are.
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
from insitu.sandbox.limits import GIB, KIB, MIB, Limits

SIZE: Final = GIB
PAIRS: Final = 5
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


def _stream(interleave: Interleave, name: str, buffer: int, file: int, sha256: str, drain: Drain, aim: float) -> None:
    runner = Runner()
    program = runner.compile(cat(buffer))

    def ours(file: int, write_end: int) -> None:
        make_pollable(write_end)
        outcome = runner.run(program, Launch(["cat"], source_from_fd(file), write_end, LIMITS))
        os.close(write_end)
        assert outcome.ok, outcome.sentence()

    last = os.pread(file, 64, SIZE - 64)
    for copy in (ours, _native):
        assert _through(copy, file, drain, digest=True) == Drained(SIZE, last, sha256)

    def turns(copy: Callable[[int, int], None]) -> Callable[[], Turn]:
        def turn() -> Turn:
            yield None
            drained = _through(copy, file, drain, digest=False)
            yield None
            assert (drained.count, drained.tail) == (SIZE, last)

        return turn

    # A throughput of at least 0.9 of the other's is a time of at most 1 / 0.9 of its.
    interleave(f"{name}: time / cat's", turns(ours), turns(_native), pairs=PAIRS, warm_up=0, aim=Aim(1 / aim))


def test_with_a_buffer_of_1_mib(interleave: Interleave, gibibyte: tuple[int, str], drain: Drain) -> None:
    _stream(interleave, "1 GiB through cat, 1 MiB buffer", MIB, *gibibyte, drain, 0.9)


def test_with_a_buffer_of_64_kib(interleave: Interleave, gibibyte: tuple[int, str], drain: Drain) -> None:
    _stream(interleave, "1 GiB through cat, 64 KiB buffer", 64 * KIB, *gibibyte, drain, 0.65)
