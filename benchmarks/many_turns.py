"""Turns of many launches: in a row, at once, and what they cost of CPU time."""

import ctypes
import os
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Answers:
    """What became of launches that were asked for at once, in all turns together."""

    took_ms: list[float] = field(default_factory=list)
    """Of each that was answered, from the moment all were asked for to its end."""
    refusals: list[str] = field(default_factory=list)
    """Of each that was not, in the node's words."""


def at_once(
    turns: Turns, count: int, threads: ThreadPoolExecutor, after: Callable[[], None], answers: Answers | None = None
) -> Turns:
    """So many whole turns by all of the threads, until the last is over. One that is refused as busy is over."""
    found = answers or Answers()
    begun = [0.0]

    def one(_: int) -> None:
        try:
            for _section in turns():
                pass
        except Busy as why:
            found.refusals.append(str(why))
        else:
            found.took_ms.append((time.perf_counter() - begun[0]) * 1000)

    def turn() -> Turn:
        list(threads.map(time.sleep, [0.001] * count))  # the threads are there
        begun[0] = time.perf_counter()
        yield None
        list(threads.map(one, range(count)))
        yield None
        after()

    return turn


def spawned_alone(data: bytes, file: int) -> Turns:
    """Native spawn with a description of its own for each: many at once would share the offset."""

    def turn() -> Turn:
        own = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield from spawned(own, data, spawn=by_libc)()
        finally:
            os.close(own)

    return turn


_libc: Final = ctypes.CDLL(None)
_NO_ENVIRONMENT: Final = (ctypes.c_char_p * 1)(None)
_ACTIONS_SIZE: Final = 128  # posix_spawn_file_actions_t: 80 bytes in glibc and musl


def by_libc(path: str, words: Sequence[str], stdin: int, stdout: int) -> int:
    """posix_spawn again, for threads: Python's own holds its lock until the child executes, so that native spawns would
    come one after the other, on however many processors (measured on two: 145 ms for 200, this way 95)."""
    actions = ctypes.create_string_buffer(_ACTIONS_SIZE)
    argv = (ctypes.c_char_p * (len(words) + 1))(*(word.encode() for word in words), None)
    pid = ctypes.c_int()
    _libc.posix_spawn_file_actions_init(actions)
    _libc.posix_spawn_file_actions_adddup2(actions, stdin, 0)
    _libc.posix_spawn_file_actions_adddup2(actions, stdout, 1)
    failed = _libc.posix_spawn(ctypes.byref(pid), path.encode(), actions, None, argv, _NO_ENVIRONMENT)
    _libc.posix_spawn_file_actions_destroy(actions)
    if failed:
        raise OSError(failed, os.strerror(failed))
    return pid.value


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
    """Of a node, its spawner, and all that it has forked, the living and the dead, all their threads included."""
    about = NodeClient(socket).ping()
    alive = sum(map(_own, (about["pid"], about["spawner"], *about["workers"])))
    dead = Path(f"/proc/{about['spawner']}/stat").read_text().rpartition(")")[2].split()[13:15]
    return alive + sum(map(int, dead)) * _TICK


def _own(pid: int) -> float:
    return time.clock_gettime_ns(~pid << 3 | _CPU_CLOCK) / 1000


_CPU_CLOCK: Final = 2
"""As the C library's clock_getcpuclockid makes a clock of a process's: the time that all its threads ran."""
