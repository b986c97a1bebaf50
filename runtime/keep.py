"""What a node keeps of launches that failed: bundles for `insitu replay`, bounded in number and bytes.

    DIR/<id of the launch>/     a bundle (see sandbox/bundle), whole or not there

A bundle holds what a tenant gave to a program, so DIR must be the node's own user's alone. It is written by a thread of
its own, after the launch has ended and with less right to the processor than launches have; what it costs is a copy of
the input, if that is a file that is not too large. A launch was not frozen (its clocks and its randomness were real),
and the bundle says so. Whatever goes wrong here is logged, and touches no launch.
"""

import logging
import os
import platform
import re
import shutil
import stat
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import insitu
from insitu.runtime.place import NodeFailed
from insitu.runtime.private import is_ours_alone
from insitu.runtime.programs import ProgramInfo
from insitu.sandbox.bundle.directory import PROGRAM, PROGRAM_MOST, BundleWriter, input_name
from insitu.sandbox.bundle.format import Bundle, Engine, InputPart, ProgramPart
from insitu.sandbox.bundle.tree import copied
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import BundleError
from insitu.sandbox.limits import GIB, MIB, Limits
from insitu.sandbox.outcome import Outcome

log = logging.getLogger("insitu.node")

BYTES_MOST: Final = GIB
COUNT_MOST: Final = 100
INPUT_MOST: Final = 16 * MIB
_WAITING: Final = 16
"""Launches that may wait to be kept. Where more fail at once, one is like the other."""
_WORDS: Final = MIB  # of bundle.json, beforehand
_CLOSE: Final = 5.0  # seconds
_NICE: Final = 10
_ID: Final = re.compile(r"[0-9a-f]{32}")
_PART: Final = re.compile(r"\.[0-9a-f]{32}\.\d+\.part")
_UNFROZEN: Final = "the original was not frozen, its clocks and randomness were real"


def failed(outcome: Outcome) -> bool:
    """Whether a launch that came to this is worth another look."""
    return outcome.end in ("trap", "limit") or (outcome.end == "exit" and not outcome.ok)


def input_to_keep(stdin: int) -> int | None:
    """A descriptor of the launch's own for its input, which the keeper or who lets it go closes; None when the input
    is no file, or too large."""
    try:
        status = os.fstat(stdin)
        return os.dup(stdin) if stat.S_ISREG(status.st_mode) and status.st_size <= INPUT_MOST else None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class FailedLaunch:
    """`origin`: its ids and names, for people. `input_fd`: see `input_to_keep`."""

    id: str
    program: ProgramInfo
    args: tuple[str, ...]
    env: Mapping[str, str]
    limits: Limits
    outcome: Outcome
    origin: Mapping[str, str]
    input_fd: int | None


class Keeper:
    def __init__(self, directory: str, most: int) -> None:
        """Makes the directory. Raises `NodeFailed` when it is not this user's alone."""
        self.directory, self._most = Path(os.path.abspath(directory)), most
        try:
            ours = is_ours_alone(self.directory, stat.S_IRWXG | stat.S_IRWXO)
        except OSError as why:
            raise NodeFailed(f"--keep-failed {directory}: {why.strerror}") from None
        if not ours:
            raise NodeFailed(
                f"--keep-failed {directory}: holds what tenants gave to programs, so it must belong to the node's user "
                f"and be open to nobody else; try: chmod 700 {directory}"
            )
        for left in self.directory.iterdir():  # by a node that was killed over it
            if _PART.fullmatch(left.name):
                shutil.rmtree(left, ignore_errors=True)
        self._engine = Engine(insitu.__version__, version("wasmtime"), platform.machine())
        self._queue: SimpleQueue[FailedLaunch | None] = SimpleQueue()
        self._lost = 0
        self._programs: dict[str, Path] = {}
        """By digest: where a bundle has its bytes, so that another need not have them again."""
        self._done: deque[tuple[str, str]] = deque()
        self.done_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when `done` has something."""
        self._thread = threading.Thread(target=self._serve, name="insitu-keep", daemon=True)
        self._thread.start()

    def keep(self, launch: FailedLaunch) -> None:
        """Soon. Takes the launch's descriptor."""
        if self._queue.qsize() >= _WAITING:
            self._lost += 1
            _let_go(launch)
        else:
            self._queue.put(launch)

    def done(self) -> list[tuple[str, str]]:
        """(id, directory) of what has been kept since the last call."""
        try:
            os.eventfd_read(self.done_fd)
        except BlockingIOError:
            pass
        return [self._done.popleft() for _ in range(len(self._done))]

    def close(self) -> None:
        """What waits is kept first, if it does not take long."""
        self._queue.put(None)
        self._thread.join(_CLOSE)
        if not self._thread.is_alive():
            os.close(self.done_fd)

    # In the thread.

    def _serve(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (launch := self._queue.get()) is not None:
            if self._lost:
                lost, self._lost = self._lost, 0
                log.warning("%d failed launches were not kept: too many at once", lost)
            try:
                place = self._write(launch)
                self._done.append((launch.id, str(place)))
                os.eventfd_write(self.done_fd, 1)
            except (BundleError, OSError) as why:
                log.error("launch %s is not kept: %s", launch.id, why)
            except Exception:  # the next is to be kept all the same
                log.exception("internal error: launch %s is not kept", launch.id)
            finally:
                _let_go(launch)

    def _write(self, launch: FailedLaunch) -> Path:
        """Raises OSError, `BundleError`."""
        place = self.directory / launch.id
        wasm = self._wasm(launch.program)
        size = 0 if launch.input_fd is None else os.fstat(launch.input_fd).st_size
        needed = _WORDS + len(wasm or b"") + size
        if needed > self._most:
            raise BundleError(f"it would take about {needed} bytes, and all together may take {self._most}")
        self._make_room(self._most - needed, COUNT_MOST - 1)
        with BundleWriter(place) as writer:
            program = self._program(writer, launch.program, wasm)
            given = InputPart(None, None, whole=True, kept=False, hint=launch.origin.get("object", ""))
            if launch.input_fd is not None:
                given = _input(writer, launch.input_fd, given.hint)
            bundle = Bundle(
                engine=self._engine,
                program=program,
                argv=(launch.program.name, *launch.args),
                env=launch.env,
                frozen=None,
                limits=launch.limits,
                outcome=launch.outcome,
                inexact=_UNFROZEN,
                inputs={"stdin": given},
                origin=launch.origin,
            )
            writer.finish(bundle)
        if program.kept:
            self._programs[program.digest] = place / PROGRAM
        self._make_room(self._most, COUNT_MOST)
        return place

    def _wasm(self, info: ProgramInfo) -> bytes | None:
        """None when there is no need to write it, or it is not to be had: the file may be another by now."""
        known = self._programs.get(info.digest)
        if known is not None and known.is_file():
            return None
        try:
            if info.bundle:
                return None  # its module alone would be half of it: such a run is told of, and not run again
            with open(info.path, "rb") as file:
                data = file.read(PROGRAM_MOST + 1)
        except OSError:
            return None
        return data if len(data) <= PROGRAM_MOST and program_digest(data) == info.digest else None

    def _program(self, writer: BundleWriter, info: ProgramInfo, wasm: bytes | None) -> ProgramPart:
        known = self._programs.get(info.digest)
        if wasm is not None:
            writer.add(PROGRAM, wasm)
            return ProgramPart(info.name, info.digest, len(wasm), kept=True)
        try:
            if known is not None:
                writer.link(PROGRAM, known)
                return ProgramPart(info.name, info.digest, known.stat().st_size, kept=True)
        except FileNotFoundError:
            pass  # it had to make room
        return ProgramPart(info.name, info.digest, 0, kept=False)

    def _make_room(self, most: int, count: int) -> None:
        """The oldest go, until all together are within both."""
        found = sorted((path.stat().st_mtime_ns, path) for path in self.directory.iterdir() if _ID.fullmatch(path.name))
        while found and (len(found) > count or _bytes([path for _, path in found]) > most):
            _, oldest = found.pop(0)
            shutil.rmtree(oldest)


def _input(writer: BundleWriter, fd: int, hint: str) -> InputPart:
    target = writer.create(input_name("stdin"))
    try:
        digest, size = copied(fd, target, most=INPUT_MOST)
    finally:
        os.close(target)
    return InputPart(size, digest, whole=True, kept=True, hint=hint)


def _bytes(bundles: list[Path]) -> int:
    """What they take on disk; a file that several of them have counts once."""
    files: dict[tuple[int, int], int] = {}
    for bundle in bundles:
        for directory, _, names in os.walk(bundle):
            for name in names:
                status = os.lstat(os.path.join(directory, name))
                files[status.st_dev, status.st_ino] = status.st_size
    return sum(files.values())


def _let_go(launch: FailedLaunch) -> None:
    if launch.input_fd is not None:
        os.close(launch.input_fd)
