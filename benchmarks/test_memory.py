"""What a spare worker takes of memory: its proportional set size (PSS), as the kernel sums it up, warmed and not;
against a /bin/cat that waits for its input.

A page that n processes share counts as an n-th in each, so a spare among many is smaller than one of two. Only root may
look at a worker, which is undumpable: for others there are no such figures.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks.daemon import running_node, wait_until_quiet
from benchmarks.interleave import Interleave, Turn, Turns
from benchmarks.turns import CAT, launched
from insitu.runtime.client import NodeClient
from insitu.sandbox.limits import MIB

SPARES: Final = (2, 8)
"""As many as there are at the least, and at the most, unless somebody says otherwise."""
WARMING: Final = 20
SERVED: Final = 100


def pss(pid: int) -> float:
    """Bytes. Raises PermissionError."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no PSS")


def of_workers(socket: str) -> Turns:
    """Of one worker after the other."""
    workers: Iterator[int] = iter(())

    def turn() -> Turn:
        nonlocal workers
        pid = next(workers, None)
        if pid is None:
            workers = iter(NodeClient(socket).ping()["workers"])
            pid = next(workers)
        yield None
        yield pss(pid)

    return turn


def of_cat() -> Turn:
    with subprocess.Popen([CAT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"-")
        process.stdin.flush()
        process.stdout.read(1)  # it is past its own start
        yield None
        yield pss(process.pid)
        process.stdin.close()


@pytest.mark.parametrize("warm", ["not warmed", "warmed"])
@pytest.mark.parametrize("spares", SPARES)
def test_spare(
    interleave: Interleave, place: Path, spares: int, warm: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    if os.geteuid() != 0:
        return interleave.note("memory of a spare: only root may look at a worker")
    options = ("--workers", "16", "--spares-min", str(spares), "--spares-max", str(spares))
    with running_node(place, *options) as socket:
        if warm == "warmed":
            run(socket, WARMING, kilobyte, kilobyte_file)
        figure = interleave(
            f"memory (PSS) of a spare of {spares}, {warm} / waiting /bin/cat",
            of_workers(socket),
            of_cat,
            pairs=40,
            warm_up=0,
            unit="bytes",
        )
        about = NodeClient(socket).ping()
        assert len(about["workers"]) == spares
        others = (
            f"{name} {pss(about[key]) / MIB:.1f} MiB" for name, key in (("the node", "pid"), ("its spawner", "spawner"))
        )
        interleave.note(f"{figure.name}: beside them {', '.join(others)}")
    return None


def test_used(interleave: Interleave, place: Path, kilobyte: bytes, kilobyte_file: int) -> None:
    if os.geteuid() != 0:
        return None
    with running_node(place, "--isolation", "shared") as socket:
        run(socket, SERVED, kilobyte, kilobyte_file)
        (used,) = {record.worker for record in NodeClient(socket).runs(SERVED)}

        def of_used() -> Turn:
            yield None
            yield pss(used)

        interleave(
            f"memory (PSS) of a worker that has served {SERVED} / waiting /bin/cat",
            of_used,
            of_cat,
            pairs=40,
            warm_up=0,
            unit="bytes",
        )
    return None


def run(socket: str, count: int, data: bytes, file: int) -> None:
    """So many launches; then the node is at rest, and all spares are younger than the first of them."""
    turns = launched(socket, file, data, lambda: "cat", lambda: wait_until_quiet(socket))
    for _ in range(count):
        for _section in turns():
            pass
