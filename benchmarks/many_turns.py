"""Turns of many launches: in a row, at once, and what they cost of CPU time."""

import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.interleave import Turn, Turns
from benchmarks.turns import spawned
from insitu.runtime.client import NodeClient
from insitu.runtime.errors import Busy

_TICK: Final = 1_000_000 // os.sysconf("SC_CLK_TCK")  # microseconds


def in_a_row(turns: Turns, count: int) -> Turns:
    """So many whole turns, one after the other; the time of all."""

    def turn() -> Turn:
        yield None
        for _ in range(count):
            for _section in turns():
                pass
        yield None

    return turn


def at_once(turns: Turns, count: int, threads: ThreadPoolExecutor, after: Callable[[], None]) -> Turns:
    """So many whole turns at once, in threads; until the last is over. One that is refused as busy is over."""

    def one(_: int) -> bool:
        try:
            for _section in turns():
                pass
        except Busy:
            return False
        return True

    def turn() -> Turn:
        list(threads.map(time.sleep, [0.001] * count))  # the threads are there
        yield None
        done = list(threads.map(one, range(count)))
        yield None
        after()
        if not all(done):
            print(f"{done.count(False)} of {count} were refused")

    return turn


def spawned_alone(data: bytes, file: int) -> Turns:
    """Native spawn with a description of its own for each: many at once would share the offset."""

    def turn() -> Turn:
        own = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield from spawned(own, data)()
        finally:
            os.close(own)

    return turn


def cpu_of(turns: Turns, measured: Callable[[], float], after: Callable[[], None], count: int) -> Turns:
    """The CPU microseconds that a turn costs by a clock, by `count`; `after`: until all that it causes is done."""

    def turn() -> Turn:
        begun = measured()
        yield None
        for _section in turns():
            pass
        after()
        yield (measured() - begun) / count

    return turn


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def cpu_of_node(socket: str) -> float:
    """Of a node, its spawner, and all that it has forked, the living and the dead."""
    about = NodeClient(socket).ping()
    alive = sum(map(_own, (about["pid"], about["spawner"], *about["workers"])))
    dead = Path(f"/proc/{about['spawner']}/stat").read_text().rpartition(")")[2].split()[13:15]
    return alive + sum(map(int, dead)) * _TICK


def _own(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000
