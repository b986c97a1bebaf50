"""Shipped programs in this process: a launch costs a millisecond, so that thousands of hostile inputs can be tried.

The sandbox, its host functions and its limits are those of every launch; only the command in front is left out.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import insitu
from insitu.sandbox.channels.sources import FileInput, FileSource
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import MIB, Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program
from tests.guests.conftest import Run

PROGRAMS = Path(insitu.__file__).parent / "programs"


class Inside:
    """Runs shipped programs, one at a time."""

    def __init__(self) -> None:
        self._runner = Runner()
        self._programs: dict[str, Program] = {}
        self.outcome: Outcome | None = None
        """Of the last launch."""

    def program(self, name: str) -> Program:
        if name not in self._programs:
            self._programs[name] = self._runner.compile((PROGRAMS / f"{name}.wasm").read_bytes(), name)
        return self._programs[name]

    def run(
        self,
        name: str,
        *arguments: str,
        stdin: bytes = b"",
        memory: int = 256 * MIB,
        wall: float = 60,
        fuel: int | None = None,
        words: int = MIB,
        inputs: Mapping[str, bytes] | None = None,
        outputs: tuple[str, ...] = (),
    ) -> tuple[Run, dict[str, bytes]]:
        """What the run came to, and what it wrote to the named outputs. A trap or a limit is an AssertionError. `words`
        is how many bytes the arguments may have."""
        files: list[int] = []

        def file(data: bytes = b"") -> int:
            fd = os.memfd_create("data", os.MFD_CLOEXEC)
            files.append(fd)
            with open(fd, "wb", closefd=False) as writer:
                writer.write(data)
            return fd

        try:
            with tempfile.TemporaryFile() as out:
                channels = Channels(
                    inputs={key: FileInput(file(data)) for key, data in (inputs or {}).items()},
                    outputs={key: file() for key in outputs},
                )
                written = dict(channels.outputs)
                launch = Launch(
                    [name, *arguments],
                    FileSource(file(stdin)),
                    out.fileno(),
                    Limits(memory=memory, wall=wall, fuel=fuel, arguments=words),
                    channels=channels,
                )
                outcome = self.outcome = self._runner.run(self.program(name), launch)
                assert outcome.exit_code is not None, outcome
                out.seek(0)
                result = Run(outcome.exit_code, out.read(), outcome.stderr.decode())
                return result, {key: os.pread(fd, 1 << 20, 0) for key, fd in written.items()}
        finally:
            for fd in files:
                os.close(fd)
