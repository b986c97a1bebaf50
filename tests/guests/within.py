"""Shipped programs run within this process, hundreds in a second: for property tests. As `insitu run` would: frozen."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from insitu.sandbox.channels import StderrSink, input_from_fd, source_from_fd
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program

PROGRAMS: Final = Path(__file__).resolve().parents[2] / "insitu" / "programs"
PLAIN: Final = Limits()


@cache
def _runner() -> Runner:
    return Runner(canonical_nans=True)


@cache
def _program(name: str) -> Program:
    return _runner().compile((PROGRAMS / f"{name}.wasm").read_bytes())


@contextmanager
def _file(data: bytes = b"") -> Iterator[int]:
    fd = os.memfd_create("channel", os.MFD_CLOEXEC)
    try:
        os.truncate(fd, len(data))
        for at in range(0, len(data), 1 << 30):
            os.pwrite(fd, data[at : at + (1 << 30)], at)
        yield fd
    finally:
        os.close(fd)


def _all_of(fd: int) -> bytes:
    size, data = os.fstat(fd).st_size, b""
    while len(data) < size:
        data += os.pread(fd, size - len(data), len(data))
    return data


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    out: bytes
    outputs: Mapping[str, bytes] = field(default_factory=dict)

    def expect(self) -> bytes:
        """What came of a run that went well and had nothing to say."""
        assert self.outcome.ok, (self.outcome.sentence(), self.outcome.stderr)
        assert not self.outcome.stderr, self.outcome.stderr
        return self.out

    def refusal(self, program: str, *, begun: bool = False) -> str:
        """The one line of a run that refused: exit code 2, nothing on stdout unless it had `begun`."""
        assert self.outcome.exit_code == 2, (self.outcome.sentence(), self.outcome.stderr)
        assert begun or not self.out
        text = bytes(self.outcome.stderr).decode()
        assert text.startswith(f"{program}: "), text
        assert text.count("\n") == 1, text
        assert text.endswith("\n"), text
        return text[len(program) + 2 : -1]


def within(
    name: str,
    *arguments: str,
    stdin: bytes = b"",
    inputs: Mapping[str, bytes] | None = None,
    outputs: Sequence[str] = (),
    limits: Limits = PLAIN,
) -> Result:
    with ExitStack() as stack:

        def opened(data: bytes = b"") -> int:
            return stack.enter_context(_file(data))

        named = {channel: input_from_fd(opened(data)) for channel, data in (inputs or {}).items()}
        targets = {channel: opened() for channel in outputs}
        stdout = opened()
        launch = Launch(
            [name, *arguments],
            source_from_fd(opened(stdin)),
            stdout,
            limits,
            stderr=StderrSink(),
            channels=Channels(inputs=named, outputs=targets),
            frozen=Frozen(),
        )
        outcome = _runner().run(_program(name), launch)
        return Result(outcome, _all_of(stdout), {channel: _all_of(fd) for channel, fd in targets.items()})
