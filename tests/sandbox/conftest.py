"""One engine for the session, and the ways tests run guests on it: real compiled code, real descriptors."""

import os
import select
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from insitu.sandbox.channels import EmptySource, FileSource, Source, make_pollable, source_from_fd
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program, to_wasm
from tests.sandbox.guests import COPY, IMAGE, Calls, puppet, script
from tests.sandbox.scene import Scene, plant


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    output: bytes


class Sandbox:
    """Runs guests given as text, all on one runner, as a worker does."""

    def __init__(self) -> None:
        self.runner = Runner()
        self.program = cache(self._program)

    def _program(self, wat: str) -> Program:
        return self.runner.compile(to_wasm(wat.encode()))

    def launch(
        self,
        wat: str,
        source: Source,
        stdout: int,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        channels: Channels | None = None,
    ) -> Outcome:
        launch = Launch(["guest", *args], source, stdout, limits or Limits(), env=env, channels=channels)
        return self.runner.run(self.program(wat), launch)

    def run(
        self,
        wat: str,
        *,
        stdin: bytes | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        channels: Channels | None = None,
    ) -> Result:
        """stdin and stdout are files."""
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
            source.write(stdin or b"")
            source.flush()
            reading = EmptySource() if stdin is None else FileSource(source.fileno())
            outcome = self.launch(wat, reading, target.fileno(), args=args, env=env, limits=limits, channels=channels)
            return Result(outcome, os.pread(target.fileno(), 1 << 30, 0))

    def calls(
        self,
        *calls: tuple[str | int, ...],
        image: bytes = b"",
        stdin: bytes = b"",
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        channels: Channels | None = None,
    ) -> Calls:
        """Have one guest make these host calls; `stdin` is what they find to read."""
        given = script(calls, image) + stdin
        result = self.run(puppet(), stdin=given, args=args, env=env, limits=limits, channels=channels)
        return self._calls(result.output, result.outcome)

    def calls_on_pipe(self, *calls: tuple[str | int, ...], image: bytes = b"", limits: Limits | None = None) -> Calls:
        """The same with a pipe for stdin, that has nothing more and does not end, and one for stdout."""
        with pipe() as (read, write), pipe() as (result, stdout), draining(result) as drained:
            os.write(write, script(calls, image))
            make_pollable(stdout)
            outcome = self.launch(puppet(), source_from_fd(read), stdout, limits=limits)
            output = drained(outcome.usage.bytes_out)
        return self._calls(output, outcome)

    @staticmethod
    def _calls(output: bytes, outcome: Outcome) -> Calls:
        tail = outcome.stderr
        errnos = list(struct.unpack(f"<{len(tail) // 4}I", tail)) if len(tail) % 4 == 0 else []
        split = max(0, len(output) - IMAGE)
        return Calls(errnos, output[split:], output[:split], outcome)

    def still_serves(self) -> None:
        """The same host runs a plain program as if nothing had been."""
        data = os.urandom(100_000)
        result = self.run(COPY, stdin=data)
        assert result.outcome.ok, result.outcome.sentence()
        assert result.output == data


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """(read end, write end), closed at the end."""
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


@contextmanager
def draining(fd: int) -> Iterator["Drain"]:
    """Empties a pipe in a thread of its own."""
    drain = Drain(fd)
    try:
        yield drain
    finally:
        drain.stop()


class Drain:
    def __init__(self, fd: int) -> None:
        self._fd, self._data = fd, bytearray()
        self._grown = threading.Condition()
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            data = os.read(self._fd, 1 << 16)
            if not data:
                return
            with self._grown:
                self._data += data
                self._grown.notify_all()

    def __call__(self, count: int) -> bytes:
        """Everything so far, once it is `count` bytes."""
        with self._grown:
            assert self._grown.wait_for(lambda: len(self._data) >= count, 10)
            return bytes(self._data)

    def stop(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        os.close(self._stop_read)
        os.close(self._stop_write)


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def scene(sandbox: Sandbox, tmp_path: Path) -> Iterator[Scene]:
    plant(tmp_path)
    yield Scene(sandbox, tmp_path)
    assert (tmp_path / "file").read_bytes() == b"0123456789", "a guest reached the directory its tree was copied from"
