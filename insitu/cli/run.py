"""`insitu run`: one program in one sandbox on a local file, without any server."""

import json
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from insitu.cli import say
from insitu.cli.guests import OURS, Command, Ours, aside, compiled, end_on_signals, is_path, read_program
from insitu.cli.record import FILES_MOST, INPUTS_MOST, Ran, Recorder
from insitu.cli.types import Duration, Pair, Size
from insitu.runtime.errors import ProgramRejected, UnknownProgram
from insitu.sandbox.channels import (
    Budget,
    EmptySource,
    FdSink,
    FileSource,
    Source,
    StderrSink,
    StreamSource,
    make_pollable,
    source_from_fd,
)
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import FROZEN_START, Frozen
from insitu.sandbox.errno import GuestStop
from insitu.sandbox.errors import BundleError, EngineError, FilesError, LimitsError, ProgramError
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import FUEL_BOUNDS, GIB, MIB, OUTPUT_BOUNDS, Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program

_DIR: Final = click.Path(path_type=Path)


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("-i", "--input", "input_", default="-", metavar="FILE|-", help="The guest's stdin.  [default: -]")
@click.option("-o", "--output", default="-", metavar="FILE|-", help="The guest's stdout.  [default: -]")
@click.option("--memory", type=Size(), default=256 * MIB, metavar="SIZE", help="Linear memory.  [default: 256MiB]")
@click.option("--wall", type=Duration(), default=10.0, metavar="TIME", help="Time, blocked or not.  [default: 10s]")
@click.option("--fuel", type=click.IntRange(*FUEL_BOUNDS), metavar="N", help="Engine units.  [default: no limit]")
@click.option("--max-output", type=Size(), default=GIB, metavar="SIZE", help="Bytes on stdout.  [default: 1GiB]")
@click.option("--env", type=Pair(), multiple=True, metavar="K=V", help="A variable of its environment; repeatable.")
@click.option("--files", type=_DIR, metavar="DIR", help="Files for it, read-only, as /; /tmp stays its own.")
@click.option("--root", type=_DIR, metavar="DIR", help="A copy of DIR in memory, as /, to read and write.")
@click.option(
    "--frozen",
    is_flag=False,
    flag_value=0,
    type=int,
    metavar="[=SEED]",
    help="The same in every run: time, chance, NaNs.",
)
@click.option("--record", type=_DIR, metavar="DIR", help="Keep all of it there, for `insitu replay`; frozen.")
@click.option(
    "--record-inputs", type=Size(), default=INPUTS_MOST, metavar="SIZE", help="Keep inputs up to it.  [16MiB]"
)
@click.option("--record-files", type=Size(), default=FILES_MOST, metavar="SIZE", help="Files that it keeps.  [256MiB]")
@click.option("--json", "json_", type=click.Path(dir_okay=False), metavar="FILE", help="Write the outcome there.")
@click.argument("program")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context,
    input_: str,
    output: str,
    memory: int,
    wall: float,
    fuel: int | None,
    max_output: int,
    env: tuple[tuple[str, str], ...],
    files: Path | None,
    root: Path | None,
    frozen: int | None,
    record: Path | None,
    record_inputs: int,
    record_files: int,
    json_: str | None,
    program: str,
    args: tuple[str, ...],
) -> None:
    """Run PROGRAM, a shipped program's name or a path to a .wasm or .wat file, in a sandbox of its own.

    All that follows PROGRAM is the guest's. The exit code is the guest's own, 0 to 124; it is 125 when a limit, a trap
    or insitu itself ended it, or when the guest's own is above 124: stderr then says what it was.
    Ctrl-C ends it with 130.

    A FILE given to -o is there whole or not at all: the output of a guest that fails is not kept.

    --record is --frozen, with the seed 0 unless one is given.
    """
    if record is not None and frozen is None:
        frozen = 0
    if json_ == "-":
        raise Ours("--json -: stdout is the guest's; name a file")
    end_on_signals()
    try:
        limits = Limits(memory=memory, fuel=fuel, wall=wall, output=max_output)
        runner = Runner(canonical_nans=frozen is not None)
        wasm, path = read_program(program)
        ready = compiled(runner, wasm, path)
        with ExitStack() as stack:
            recorder = None if record is None else Recorder(stack, record, record_inputs, record_files)
            source = _source(stack, input_)
            target = _Target(stack, output)
            stderr = StderrSink(echo=_stderr(stack))
            argv = [Path(program).stem if is_path(program) else program, *args]
            _check_words(argv, env)
            channels: Channels | None = None
            if recorder is not None:
                source = recorder.source("stdin", source, input_)
                channels = Channels(digests=True)
                if (tree := root or files) is not None:
                    recorder.files("files" if root is None else "root", tree)
            launch = Launch(
                argv,
                source,
                target.fd,
                limits,
                env=dict(env),
                stderr=stderr,
                channels=channels,
                files=_files(files, root, frozen),
                frozen=None if frozen is None else Frozen(frozen),
            )
            outcome = aside(lambda: runner.run(ready, launch))
            if recorder is not None:
                asked = channels or Channels()
                recorder.finish(
                    Ran(
                        name=program,
                        wasm=wasm,
                        argv=argv,
                        env=dict(env),
                        frozen=launch.frozen or Frozen(),
                        limits=limits,
                        outcome=outcome,
                        stdout=target.fd,
                        quotas=asked.quotas,
                        outputs=asked.outputs,
                    )
                )
            target.finish(outcome)
    except (BundleError, FilesError, LimitsError, ProgramError, UnknownProgram, ProgramRejected) as why:
        raise Ours(str(why)) from None
    except EngineError as why:
        raise Ours(f"insitu itself failed: {why}") from None
    if json_ is not None:
        _write_json(json_, ready, argv, limits, outcome)
    if outcome.end == "exit" and outcome.exit_code is not None and outcome.exit_code < OURS:
        if outcome.exit_code and outcome.note:
            say(f"insitu: {program}: {outcome.sentence()}")
        ctx.exit(outcome.exit_code)
    say(f"insitu: {program}: {outcome.sentence()}")
    for frame in (outcome.trap or "").splitlines()[1:]:
        say(f"  {frame}")
    ctx.exit(OURS)


def _files(files: Path | None, root: Path | None, frozen: int | None) -> Files:
    if files is not None and root is not None:
        raise Ours("--files and --root: each is the guest's /, so only one of them can be")
    if root is not None:
        return Files.private_copy(root)
    return NO_FILES if files is None else Files.read_only(files, time=None if frozen is None else FROZEN_START)


def _check_words(argv: list[str], env: tuple[tuple[str, str], ...]) -> None:
    for word in [*argv, *(value for _, value in env)]:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ProgramError(f"argument {word!r} is not UTF-8") from None


def _source(stack: ExitStack, name: str) -> Source:
    if name == "-":
        if stat.S_ISREG(os.fstat(0).st_mode):
            # As any command would: from where the shell's descriptor stands.
            return FileSource(0, os.lseek(0, 0, os.SEEK_CUR))
        fd = _reopened(stack, 0, os.O_RDONLY)
        return EmptySource() if fd is None else StreamSource(fd)
    try:
        # Non-blocking, so that a named pipe nobody writes to is the guest's to wait for, within its wall time.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as why:
        raise Ours(f"{name}: {why.strerror}") from None
    stack.callback(os.close, fd)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise Ours(f"{name}: is a directory, not a file")
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        return StreamSource(fd, patient=True)
    return source_from_fd(fd)


def _reopened(stack: ExitStack, fd: int, flags: int) -> int | None:
    """The same pipe or terminal, non-blocking for us alone: the flag is shared with whoever shares the description."""
    try:
        mine = os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        # A socket cannot be opened anew. Its flag is put back at the end.
        if not os.get_blocking(fd):
            return fd
        stack.callback(os.set_blocking, fd, True)
        os.set_blocking(fd, False)
        return fd
    stack.callback(os.close, mine)
    return mine


class _Target:
    """Where stdout goes. A named file is written beside its place and renamed: it is there whole or not at all."""

    def __init__(self, stack: ExitStack, name: str) -> None:
        self._final: Path | None = None
        if name == "-":
            if stat.S_ISREG(os.fstat(1).st_mode):
                self.fd = 1
            else:
                self.fd = _reopened(stack, 1, os.O_WRONLY) or 1
            return
        path = Path(name)
        try:
            if path.exists() and not path.is_file():
                if path.is_dir():
                    raise IsADirectoryError(21, "is a directory, not a file")
                self.fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # a device or named pipe
                make_pollable(self.fd)
            else:
                path = path.resolve()
                self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
                self.fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                stack.callback(self._temporary.unlink, missing_ok=True)
                if path.exists():
                    os.fchmod(self.fd, stat.S_IMODE(path.stat().st_mode))  # who may read it stays as it was
                self._final = path
        except OSError as why:
            raise Ours(f"{name}: {why.strerror}") from None
        stack.callback(os.close, self.fd)

    def finish(self, outcome: Outcome) -> None:
        if self._final is not None and outcome.ok:
            try:
                os.replace(self._temporary, self._final)
            except OSError as why:
                raise Ours(f"{self._final}: {why.strerror}") from None


def _stderr(stack: ExitStack) -> FdSink:
    """Ours, waited for no longer than the guest may run: a pipe that nobody empties must not hold it beyond that."""
    fd = 2 if stat.S_ISREG(os.fstat(2).st_mode) else _reopened(stack, 2, os.O_WRONLY) or 2
    return FdSink(fd, Budget(OUTPUT_BOUNDS[1], lambda hit: GuestStop()))


def _write_json(path: str, program: Program, argv: list[str], limits: Limits, outcome: Outcome) -> None:
    report = {"program": program.digest, "argv": argv, "limits": limits.to_wire(), **outcome.to_wire()}
    report["stderr"] = outcome.stderr.decode("utf-8", "replace")
    report["ok"], report["sentence"] = outcome.ok, outcome.sentence()
    try:
        Path(path).write_text(json.dumps(report, indent=2) + "\n")
    except OSError as why:
        raise Ours(f"{path}: {why.strerror}") from None
