"""An interpreter that others compiled, and the ways in which the tests run it: on files, pipes and sockets."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

from insitu.sandbox.channels import EmptySource, make_pollable, source_from_fd
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import GIB, Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program
from tests.real.packages import Other, load, obtain

Way = Literal["file", "pipe", "socket"]
PATIENCE = 60.0  # seconds
ROOMY = Limits(wall=PATIENCE, memory=GIB)


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    output: bytes

    @property
    def code(self) -> int | None:
        return self.outcome.exit_code

    @property
    def errors(self) -> str:
        return self.outcome.stderr.decode()

    def expect(self) -> str:
        """The output, as text, of a run that went well."""
        assert self.outcome.ok, f"{self.outcome.sentence()}: {self.errors}"
        assert self.errors == ""
        return self.output.decode()


@dataclass(frozen=True)
class Native:
    """What the same script comes to without any sandbox."""

    code: int
    output: bytes
    errors: str


class Interpreter:
    """Loaded when it is first run, and once more when it is first run frozen: those launches have an engine of their
    own."""

    files: Files = NO_FILES
    """What it has where a launch says nothing of files."""

    def __init__(self, other: Other) -> None:
        self._other, self.name, self.path = other, other.name, obtain(other)
        self.ready = cache(self._ready)

    def _ready(self, frozen: bool) -> tuple[Runner, Program]:
        runner = Runner(canonical_nans=frozen)
        return runner, load(runner, self._other)

    def launch(
        self,
        words: Sequence[str],
        stdin: int | None,
        stdout: int,
        *,
        env: Mapping[str, str] | None = None,
        limits: Limits = ROOMY,
        files: Files = NO_FILES,
        channels: Channels | None = None,
        frozen: Frozen | None = None,
    ) -> Outcome:
        """On open descriptors; stdout must be a file or not block."""
        source = EmptySource() if stdin is None else source_from_fd(stdin)
        files = self.files if files is NO_FILES else files
        launch = Launch(
            [self.name, *words], source, stdout, limits, env=env, files=files, channels=channels, frozen=frozen
        )
        runner, program = self.ready(frozen is not None)
        return runner.run(program, launch)

    def run(
        self,
        *words: str,
        stdin: bytes | None = None,
        way: Way = "file",
        piece: int = 1 << 16,
        env: Mapping[str, str] | None = None,
        limits: Limits = ROOMY,
        files: Files = NO_FILES,
        channels: Channels | None = None,
        frozen: Frozen | None = None,
    ) -> Result:
        """`stdin` comes in by `way`, in pieces of `piece` bytes where it flows; stdout goes to a file."""
        with ExitStack() as stack:
            target = stack.enter_context(tempfile.TemporaryFile())
            source = None if stdin is None else stack.enter_context(_coming(stdin, way, piece))
            outcome = self.launch(
                words, source, target.fileno(), env=env, limits=limits, files=files, channels=channels, frozen=frozen
            )
            return Result(outcome, os.pread(target.fileno(), 1 << 30, 0))

    def command(self, *options: str) -> list[str]:
        """How a user runs it."""
        return [sys.executable, "-m", "insitu", "run", "--memory", "1GiB", "--wall", "60s", *options, str(self.path)]


@contextmanager
def _coming(data: bytes, way: Way, piece: int) -> Iterator[int]:
    """A descriptor from which `data` can be read."""
    if way == "file":
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.fileno()
        return
    if way == "pipe":
        read_end, write_end = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        read_end, write_end = ours.detach(), theirs.detach()

    def feed() -> None:
        try:
            for at in range(0, len(data), piece):
                view = memoryview(data)[at : at + piece]
                while view:
                    view = view[os.write(write_end, view) :]
        except BrokenPipeError:
            pass  # it did not want all of it
        finally:
            os.close(write_end)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield read_end
    finally:
        os.close(read_end)
        feeder.join(PATIENCE)


class Conversation:
    """A run whose stdin and stdout are pipes that the test holds the other ends of."""

    def __init__(self, interpreter: Interpreter, *words: str, limits: Limits = ROOMY) -> None:
        stdin, self._write = os.pipe()
        read, stdout = os.pipe()
        self._reader = os.fdopen(read, "rb")
        make_pollable(stdout)
        self._outcome: list[Outcome] = []

        def work() -> None:
            try:
                self._outcome.append(interpreter.launch(words, stdin, stdout, limits=limits))
            finally:
                os.close(stdin)
                os.close(stdout)

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def say(self, line: str) -> None:
        os.write(self._write, line.encode() + b"\n")

    def hear(self) -> str:
        """The next line that it writes. At its end, which its wall time brings about at the latest, nothing."""
        return self._reader.readline().decode().removesuffix("\n")

    def end(self) -> Outcome:
        """Closes its stdin, and waits for its end."""
        os.close(self._write)
        rest = self._reader.read()
        self._reader.close()
        self._thread.join(PATIENCE)
        assert rest == b""
        return self._outcome[0]


def natively(script: str, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Native:
    """The same Python script by the Python that runs the tests, in an empty directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-I", "-c", script, *words],
            input=stdin,
            capture_output=True,
            cwd=directory,
            env={"TMPDIR": directory, "PYTHONUTF8": "1", **(env or {})},
            timeout=PATIENCE,
        )
    return Native(done.returncode, done.stdout, done.stderr.decode())
