"""Real runs of the shipped programs, through the `insitu` command as a user would start it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.guests.inside import Inside


@dataclass(frozen=True)
class Run:
    """What one run came to."""

    code: int
    out: bytes
    err: str

    def expect(self) -> bytes:
        """The output of a run that went well."""
        assert (self.code, self.err) == (0, "")
        return self.out

    def refusal(self, program: str) -> str:
        """The one line of a run that refused its input: exit code 2 and not a byte of output.

        The command may add a line of its own, about memory that was nearly used up.
        """
        assert self.code == 2, self
        assert self.out == b""
        assert self.err.endswith("\n")
        lines = [line for line in self.err.splitlines() if not line.startswith("insitu: ")]
        assert len(lines) == 1, self
        assert lines[0].startswith(f"{program}: "), self
        return lines[0].removeprefix(f"{program}: ")


Runner = Callable[..., Run]


def run_program(name: str, *arguments: str | bytes, stdin: bytes = b"", options: tuple[str, ...] = ()) -> Run:
    command: list[str | bytes] = [sys.executable, "-m", "insitu", "run", *options, name, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120)
    return Run(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture(scope="session")
def run() -> Runner:
    return run_program


@pytest.fixture(scope="session")
def inside() -> "Inside":
    """Runs shipped programs in this process."""
    from tests.guests.inside import Inside

    return Inside()
