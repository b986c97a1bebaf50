"""What a node keeps of launches that failed: bundles for `insitu replay`, bounded in number and bytes.

    DIR/<id of the launch>/     a bundle (see sandbox/bundle), whole or not there

A bundle holds what a tenant gave to a program, so DIR must be the node's own user's alone. It is written by a thread of
its own, after the launch has ended and with less right to the processor than launches have; what it costs is a copy of
each input, if that is a file that is not too large. A program that came as a bundle is kept as it came: a zip of some
stranger's is never unpacked in the node. The bundle says whether the launch was frozen, and if it was, what there was
that another run will not have again. Whatever goes wrong here is logged, and touches no launch.
"""

import logging
import os
import platform
import re
import shutil
import stat
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import insitu
from insitu.runtime.channels import Named
from insitu.runtime.place import NodeFailed
from insitu.runtime.private import is_ours_alone
from insitu.runtime.programs import ProgramInfo
from insitu.sandbox.bundle.compare import why_inexact
from insitu.sandbox.bundle.directory import PROGRAM_MOST, BundleWriter, input_name, program_name
from insitu.sandbox.bundle.format import Bundle, Engine, InputPart, Kind, ProgramPart
from insitu.sandbox.bundle.tree import copied
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import BundleError
from insitu.sandbox.limits import GIB, MIB, Limits
from insitu.sandbox.outcome import Outcome

log = logging.getLogger("insitu.node")

BYTES_MOST: Final = GIB
COUNT_MOST: Final = 100
INPUT_MOST: Final = 16 * MIB
WAITING: Final = 16
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


def input_to_keep(given: int) -> int | None:
    """A descriptor of our own for an input; None when that is no file, or too large."""
    try:
        status = os.fstat(given)
        return os.dup(given) if stat.S_ISREG(status.st_mode) and status.st_size <= INPUT_MOST else None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Held:
    """What a launch was given, while it may have to be kept. The keeper closes it, or who lets it go."""

    inputs: Mapping[str, int | None]
    """By channel: see `input_to_keep`."""
    outputs: Mapping[str, Kind]
    looks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By channel: how the inputs looked before anybody was told that the launch has begun."""

    @classmethod
    def of(cls, named: Named, fds: Sequence[int], looks: Mapping[str, tuple[int, int]]) -> "Held":
        """`fds`: the launch's, stdin and stdout first. `looks`: see `looks_of`."""
        channels = named.channels()
        count = len(named.inputs)
        inputs = {"stdin": input_to_keep(fds[0])}
        inputs |= {name: input_to_keep(fd) for name, fd in zip(channels[:count], fds[2:], strict=False)}
        outputs = {name: _kind(fd) for name, fd in zip(channels[count:], fds[2 + count :], strict=True)}
        return cls(inputs, outputs, looks)

    def changed(self) -> str:
        """Which input is not any more what the launch was given, in words; empty when none is known of."""
        for name, fd in self.inputs.items():
            if fd is not None and _look(fd) != self.looks.get(name, _look(fd)):
                return f"{name} has changed since it began"
        return ""

    def close(self) -> None:
        for fd in self.inputs.values():
            if fd is not None:
                os.close(fd)


def looks_of(named: Named, fds: Sequence[int]) -> Mapping[str, tuple[int, int]]:
    """How the inputs of a launch look now."""
    return {name: _look(fd) for name, fd in zip(("stdin", "", *named.channels()), fds, strict=True) if name}


def _look(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns


def _kind(fd: int) -> Kind:
    try:
        return "file" if stat.S_ISREG(os.fstat(fd).st_mode) else "stream"
    except OSError:
        return "stream"


@dataclass(frozen=True, slots=True)
class FailedLaunch:
    """`origin`: its ids and names, for people."""

    id: str
    program: ProgramInfo
    args: tuple[str, ...]
    env: Mapping[str, str]
    limits: Limits
    outcome: Outcome
    origin: Mapping[str, str]
    held: Held
    frozen: bool = False
    unread: bool = False
    """Whoever read what it wrote went away."""


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
        """Soon. Takes what the launch was given."""
        if self._queue.qsize() >= WAITING:
            self._lost += 1
            launch.held.close()
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
                launch.held.close()

    def _write(self, launch: FailedLaunch) -> Path:
        """Raises OSError, `BundleError`."""
        place = self.directory / launch.id
        data = self._data(launch.program)
        sizes = [os.fstat(fd).st_size for fd in launch.held.inputs.values() if fd is not None]
        needed = _WORDS + len(data or b"") + sum(sizes)
        if needed > self._most:
            raise BundleError(f"it would take about {needed} bytes, and all together may take {self._most}")
        self._make_room(self._most - needed, COUNT_MOST - 1)
        with BundleWriter(place) as writer:
            program = self._program(writer, launch.program, data)
            hints = {"stdin": launch.origin.get("object", "")}
            inputs = {
                channel: _input(writer, channel, fd, hints.get(channel, ""))
                for channel, fd in launch.held.inputs.items()
            }
            bundle = Bundle(
                engine=self._engine,
                program=program,
                argv=(launch.program.name, *launch.args),
                env=launch.env,
                frozen=Frozen() if launch.frozen else None,
                limits=launch.limits,
                outcome=launch.outcome,
                inexact=_why_inexact(launch),
                inputs=inputs,
                outputs=launch.held.outputs,
                origin=launch.origin,
            )
            writer.finish(bundle)
        if program.kept:
            self._programs[program.digest] = place / program_name(bundle=program.bundle)
        self._make_room(self._most, COUNT_MOST)
        return place

    def _data(self, info: ProgramInfo) -> bytes | None:
        """None when there is no need to write it, or it is not to be had: the file may be another by now."""
        known = self._programs.get(info.digest)
        if known is not None and known.is_file():
            return None
        try:
            with open(info.path, "rb") as file:
                data = file.read(PROGRAM_MOST + 1)
        except OSError:
            return None
        return data if len(data) <= PROGRAM_MOST and program_digest(data) == info.digest else None

    def _program(self, writer: BundleWriter, info: ProgramInfo, data: bytes | None) -> ProgramPart:
        known, name, size = self._programs.get(info.digest), program_name(bundle=info.bundle), None
        try:
            if data is not None:
                writer.add(name, data)
                size = len(data)
            elif known is not None:
                writer.link(name, known)
                size = known.stat().st_size
        except FileNotFoundError:
            pass  # it had to make room
        return ProgramPart(info.name, info.digest, size or 0, kept=size is not None, bundle=info.bundle)

    def _make_room(self, most: int, count: int) -> None:
        """The oldest go, until all together are within both."""
        found = sorted((path.stat().st_mtime_ns, path) for path in self.directory.iterdir() if _ID.fullmatch(path.name))
        while found and (len(found) > count or _bytes([path for _, path in found]) > most):
            _, oldest = found.pop(0)
            shutil.rmtree(oldest)


def _why_inexact(launch: FailedLaunch) -> str:
    if not launch.frozen:
        return _UNFROZEN
    unread = "whoever read what it wrote went away" if launch.unread else ""
    return why_inexact(launch.outcome) or unread or launch.held.changed()


def _input(writer: BundleWriter, channel: str, fd: int | None, hint: str) -> InputPart:
    if fd is None:
        return InputPart(None, None, whole=True, kept=False, hint=hint)
    target = writer.create(input_name(channel))
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
