"""Runs a module's initialisation in a sandbox, and writes the module that begins where it ended."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from insitu.sandbox import raw
from insitu.sandbox.channels import EmptySource, StderrSink
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import DEFAULT, MAX_PROGRAM, Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program, to_wasm
from insitu.sandbox.snapshot.module import parts_of
from insitu.sandbox.snapshot.state import State, taken, written
from insitu.sandbox.wasi.guest import Guest

ENTRY: Final = "wizer-initialize"
_DESCRIPTORS: Final = 4  # stdin, stdout, stderr, /


class SnapshotError(ProgramError):
    """The initialisation did not end as it should; `outcome` has how it did, and what it wrote to stderr."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


def snapshot(
    wasm: bytes,
    source: str = "program",
    *,
    runner: Runner | None = None,
    argv: Sequence[str] = ("program",),
    env: Mapping[str, str] | None = None,
    files: Files = NO_FILES,
    limits: Limits = DEFAULT,
    frozen: Frozen | None = None,
    stderr: StderrSink | None = None,
    compile_: Callable[[Runner, bytes, str], Program] = Runner.compile,
) -> bytes:
    """The module as `wizer-initialize` leaves it, called with these words and files, an empty stdin and no stdout.

    `limits` hold for that call. `compile_`: how the module that is run is compiled; whoever keeps machine code says.
    `runner`: one with canonical NaNs. Raises `ProgramError` naming `source`: `SnapshotError` when the initialisation
    itself failed, or left what a module cannot hold.
    """
    wasm = to_wasm(wasm, source)
    parts = parts_of(wasm, source)
    runner = runner or Runner(canonical_nans=True)
    program = compile_(runner, parts.laid_open(), source)
    if (signature := raw.export_signature(program.module, ENTRY)) != (0, 0):
        what = "no function" if signature is None else "with arguments or results a function"
        raise ProgramError(f"{source}: no snapshot of it can be made: it exports {what} {ENTRY}")
    states: list[State] = []
    left: list[str] = []

    def initialise(instance: raw.Instance, guest: Guest) -> raw.Failure | None:
        if not instance.has_memory:
            raise ProgramError(f"{source}: no snapshot of it can be made: it exports no memory called memory")
        tables = [parts.table_name(index) for index in range(parts.tables)]
        before = [instance.table_elements(name) for name in tables]
        failure = instance.call(parts.start_name) if parts.start is not None else None
        failure = failure or instance.call(ENTRY.encode())
        if failure is None:
            left.extend(_left(guest))
            if [instance.table_elements(name) for name in tables] != before:
                left.append("a table that changed")
            states.append(taken(instance, parts))
        return failure

    nothing = os.memfd_create("insitu-nothing")
    try:
        launch = Launch(
            argv,
            EmptySource(),
            nothing,
            replace(limits, output=0),
            env=env,
            files=files,
            frozen=frozen or Frozen(),
            stderr=stderr,
            instead=initialise,
        )
        outcome = runner.run(program, launch)
    finally:
        os.close(nothing)
        program.close()
    if not states:
        how = " (it has to return)" if outcome.end == "exit" else ""
        raise SnapshotError(f"{source}: its initialisation failed: {outcome.sentence()}{how}", outcome)
    if left:
        raise SnapshotError(f"{source}: its initialisation leaves what no module can hold: {', '.join(left)}", outcome)
    made = written(parts, states[0])
    if len(made) > MAX_PROGRAM:
        raise ProgramError(f"{source}: its snapshot has {len(made)} bytes, and at most {MAX_PROGRAM} are allowed")
    return to_wasm(made, f"{source}: its snapshot")


def laid_open(wasm: bytes, source: str = "program") -> bytes:
    """The module that is run to snapshot this one: the same program, with exports for all of its state.

    Raises `ProgramError` naming what no snapshot can hold."""
    return parts_of(to_wasm(wasm, source), source).laid_open()


def _left(guest: Guest) -> list[str]:
    """What is not in the guest's memory."""
    found = []
    standard = sum(number in guest.table for number in range(_DESCRIPTORS))
    if standard < _DESCRIPTORS:
        found.append("a standard descriptor that is closed")
    if len(guest.table) > standard:
        found.append(f"open files ({len(guest.table) - standard})")
    if guest.tmp.count or guest.tmp.bytes:
        found.append(f"files written ({guest.tmp.count})")
    return found
