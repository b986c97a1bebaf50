"""`insitu replay`: a recorded run once more, and whether it comes to the same."""

import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import click

from insitu.cli import printable, say
from insitu.cli.channels import NamedFile, check_apart, opened_to_write
from insitu.cli.guests import Command, Ours, aside, compiled, end_on_signals, find_program
from insitu.cli.record import engine_now
from insitu.cli.types import Duration
from insitu.runtime.bundles.bundle import Bundle as ProgramBundle
from insitu.runtime.errors import NodeError
from insitu.sandbox.bundle import compare
from insitu.sandbox.bundle.directory import BundleReader, input_name, program_name
from insitu.sandbox.bundle.format import Bundle, InputPart
from insitu.sandbox.bundle.tree import differences, digest_of, made, part_name, taken
from insitu.sandbox.bundle.witness import StoppedSource, Witness
from insitu.sandbox.channels import FileInput, FileSource, make_pollable
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import EngineError, SandboxError
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import format_size
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import to_wasm

SAME: Final = 0
DIFFERS: Final = 1
_DIR: Final = click.Path(path_type=Path)
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class _Given:
    """What the user gives instead of what the bundle holds, or because it holds none."""

    program: str | None
    files: Path | None
    inputs: Mapping[str, str]
    args: Sequence[str]
    made: Path | None = None
    """Where its files are while it runs."""
    told: list[str] = field(default_factory=list)
    """In which way it is not what was recorded, a line each."""
    stopped: list[str] = field(default_factory=list)
    """Inputs at whose recorded end it was stopped."""


@click.command(cls=Command)
@click.option("-i", "--input", "input_", metavar="FILE", help="Its stdin, where the bundle has not got it.")
@click.option("--in", "inputs", type=NamedFile(), multiple=True, metavar="NAME=FILE", help="So a named input.")
@click.option("--program", metavar="PROGRAM", help="The program, where the bundle has not got it.")
@click.option("--files", type=_DIR, metavar="DIR", help="Its files, where the bundle has not got them.")
@click.option("-o", "--output", metavar="FILE|-", help="Keep what it writes to stdout.  [default: nowhere]")
@click.option("--stderr", is_flag=True, help="Show what it writes to stderr.")
@click.option("--wall", type=Duration(), metavar="TIME", help="Time, blocked or not.  [default: as recorded]")
@click.option("--json", "json_", type=click.Path(dir_okay=False), metavar="FILE", help="Write the finding there.")
@click.argument("bundle", type=_DIR)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def replay(
    ctx: click.Context,
    input_: str | None,
    inputs: tuple[tuple[str, str], ...],
    program: str | None,
    files: Path | None,
    output: str | None,
    stderr: bool,
    wall: float | None,
    json_: str | None,
    bundle: Path,
    args: tuple[str, ...],
) -> None:
    """Run what `insitu run --record BUNDLE` ran, frozen and with the same everything, and compare.

    Exits 0 when it came to the same: exit code, trap with its backtrace, stderr, fuel, and the bytes of every channel.
    Exits 1 when it did not, with a line for each thing that differs; 125 when it cannot be run.

    What a node kept of a failed launch is compared by how it ended, unless that launch was frozen.

    What is given beside BUNDLE takes the place of what is in it, ARGS (behind a --, if they look like options) that of
    its arguments; each that is not what was recorded is told as a difference.
    """
    end_on_signals()
    given = _Given(program, files, {f"in/{name}": path for name, path in inputs}, args)
    if input_ is not None:
        given.inputs = {**given.inputs, "stdin": input_}
    names = [("-i", input_ or ""), *((f"--in {name}", path) for name, path in inputs)]
    check_apart("-o", None if output == "-" else output, names)
    check_apart("--json", json_, [("-o", output or ""), *names])
    for option, path in (("-o", output), ("--json", json_)):
        if path is not None and Path(os.path.realpath(bundle)) in Path(os.path.realpath(path)).parents:
            raise Ours(f"{path}: {option} would write into the bundle")
    try:
        with ExitStack() as stack:
            reader = stack.enter_context(BundleReader(bundle))
            recorded = reader.bundle
            if wall is not None:
                recorded = replace(recorded, limits=replace(recorded.limits, wall=wall))
            outcome = _run(stack, reader, recorded, given, output)
    except (SandboxError, NodeError) as why:
        broke = "insitu itself failed: " if isinstance(why, EngineError) else ""
        raise Ours(printable(f"{broke}{_of_its_own(str(why), given.made)}")) from None
    if stderr:
        say(outcome.stderr.decode("utf-8", "replace").removesuffix("\n"))
    engine = list(compare.engines(recorded.engine, engine_now()))
    found = [*given.told, *compare.outcomes(recorded, outcome)]
    if json_ is not None:
        _write_json(json_, recorded, engine, found, outcome)
    _tell(recorded, engine, found, outcome, given.stopped, to_stderr=output == "-")
    ctx.exit(DIFFERS if found else SAME)


def _run(stack: ExitStack, reader: BundleReader, bundle: Bundle, given: _Given, output: str | None) -> Outcome:
    _check_given(reader, bundle, given)
    frozen = bundle.frozen or Frozen()
    wasm, brought = _program(reader, bundle, given)
    inputs = {name: _input(stack, reader, name, part, given) for name, part in bundle.inputs.items()}
    tree = _files(stack, reader, bundle, given, frozen, brought)
    runner = Runner(canonical_nans=True)
    program = aside(lambda: compiled(runner, wasm, bundle.program.name))
    argv = list(bundle.argv)
    if given.args:
        argv[1:] = given.args
        if argv != list(bundle.argv):
            given.told.append(f"arguments: {list(bundle.argv[1:])} recorded, {argv[1:]} now")
    stops: dict[str, StoppedSource] = {}
    given_in: dict[str, FileSource | StoppedSource] = {}
    for name, fd in inputs.items():
        source = FileSource(fd)
        given_in[name] = source
        if (size := _stopped_at(bundle, name, given)) is not None and bundle.outcome.limit is not None:
            given_in[name] = stops[name] = StoppedSource(source, size, bundle.outcome.limit.name)
    stdin = Witness(given_in["stdin"])
    try:
        launch = Launch(
            argv,
            stdin,
            _stdout(stack, output, bundle.limits.wall),
            bundle.limits,
            env=bundle.env,
            channels=Channels(
                inputs={
                    name.removeprefix("in/"): stops.get(name) or FileInput(fd)
                    for name, fd in inputs.items()
                    if name != "stdin"
                },
                outputs={name.removeprefix("out/"): _nowhere(stack, kind) for name, kind in bundle.outputs.items()},
                quotas=bundle.quotas,
                digests=True,
            ),
            files=tree,
            frozen=frozen,
        )
    except UnicodeEncodeError:
        raise Ours("an argument is not UTF-8") from None
    outcome = aside(lambda: runner.run(program, launch))
    given.stopped = [name for name, source in stops.items() if source.stopped]
    if given.stopped and outcome.end == "limit":
        outcome = replace(outcome, limit=bundle.outcome.limit)  # it is that one's figures that are meant
    part = bundle.inputs["stdin"]
    if stdin.ended and part.kept and not part.whole and "stdin" not in given.inputs:
        given.told.append(f"stdin: read beyond the {part.size} bytes that the recorded run read, and no more are known")
    if outcome.limit is not None and outcome.limit.name == "wall" and bundle.outcome.end != "limit":
        given.told.append("it was stopped by the clock now: give it more time with --wall")
    return outcome


def _stopped_at(bundle: Bundle, channel: str, given: _Given) -> int | None:
    """How many bytes the guest had read of an input when the clock stopped it, perhaps as it waited for more."""
    part, was = bundle.inputs[channel], bundle.outcome
    clocked = was.end == "limit" and was.limit is not None and was.limit.name in compare.CLOCKED
    if not clocked or part.whole or (part.kept and channel in given.inputs):
        return None
    # What was not frozen read a named input as it came: it was not waited for before the guest began.
    return part.size if channel == "stdin" or bundle.frozen is not None else None


def _check_given(reader: BundleReader, bundle: Bundle, given: _Given) -> None:
    """That all is there: what is not in the bundle, and must be given, is named at once."""
    for channel in given.inputs:
        if channel not in bundle.inputs:
            raise Ours(f"there is no input {channel!r} in it; there are {', '.join(bundle.inputs)}")
    if given.files is not None and bundle.files is None:
        of_it = "those of its program, which --program gives another" if bundle.program.bundle else "none"
        raise Ours(f"--files: the recorded run had {of_it}")
    missing = []
    if not bundle.program.kept and given.program is None:
        missing.append(f"the program {bundle.program.name} ({bundle.program.digest}) with --program PROGRAM")
    if bundle.files is not None and not bundle.files.kept and given.files is None:
        missing.append(f"its {len(bundle.files.entries)} files with --files DIR")
    for channel, part in bundle.inputs.items():
        if not part.kept and channel not in given.inputs:
            option = "-i FILE" if channel == "stdin" else f"--in {channel.removeprefix('in/')}=FILE"
            what = "of which nothing is known" if part.size is None else f"{format_size(part.size)}, {part.digest}"
            what += f", from {part.hint}" if part.hint not in ("", "-") else ""
            missing.append(f"{channel} ({what}) with {option}")
    if missing:
        raise Ours(printable(f"{reader.place}: not all is in it; give {'; '.join(missing)}"))


def _program(reader: BundleReader, bundle: Bundle, given: _Given) -> tuple[bytes, Mapping[str, bytes]]:
    """Its module, and the files that it brings."""
    part = bundle.program
    if given.program is not None:
        found = find_program(given.program)
        # Of a bundle all is meant, of a module that alone: another bundle may have it too.
        if (digest := found.digest if part.bundle else program_digest(found.wasm)) != part.digest:
            given.told.append(f"program: {part.digest} recorded, {digest} now")
        return found.wasm, found.files
    name = program_name(bundle=part.bundle)
    with open(reader.part(name, part.digest, part.size), "rb") as file:
        data = file.read()
    if not part.bundle:
        return to_wasm(data, part.name), {}
    packed = ProgramBundle(data, f"{reader.place}/{name}")
    return to_wasm(packed.wasm(), part.name), packed.files()


def _input(stack: ExitStack, reader: BundleReader, channel: str, part: InputPart, given: _Given) -> int:
    """Its descriptor, a regular file's."""
    path = given.inputs.get(channel)
    if path is None:
        assert part.size is not None  # it is kept, so they are known
        assert part.digest is not None
        fd = reader.part(input_name(channel), part.digest, part.size)
        stack.callback(os.close, fd)
        return fd
    try:
        if path == "-":
            raise Ours(f"{channel}: - is our own stdin, and a regular file is needed, by its name: it is read twice")
        fd = os.open(path, _OPEN)
    except OSError as why:
        raise Ours(f"{path}: {why.strerror}") from None
    stack.callback(os.close, fd)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Ours(f"{path}: is no regular file, and what is to be compared must be one")
    if part.size is not None:
        try:
            digest, _ = digest_of(fd, most=part.size)
        except OSError as why:
            raise Ours(f"{path}: {why.strerror}") from None
        longer = part.whole and status.st_size > part.size
        if digest != part.digest or longer:
            of = "" if part.whole else f"the first {part.size} bytes are "
            now = f"{status.st_size} bytes, " if status.st_size < part.size or longer else ""
            given.told.append(f"input {channel}: {of}{part.digest} recorded, {now}{digest} now")
    return fd


def _files(
    stack: ExitStack,
    reader: BundleReader,
    bundle: Bundle,
    given: _Given,
    frozen: Frozen,
    brought: Mapping[str, bytes],
) -> Files:
    part = bundle.files
    if part is None:
        return Files.held(brought) if brought else NO_FILES
    directory = given.files
    if directory is not None:
        given.told += [f"files: {line}" for line in differences(part.entries, taken(directory, lambda _: None))]
    else:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="insitu-replay-")))
        try:
            made(part.entries, directory, lambda digest, size: reader.part(part_name(digest), digest, size))
        except OSError as why:
            raise Ours(f"its files cannot be made: {why.strerror}") from None
        given.made = directory
    return Files.private_copy(directory) if part.mode == "root" else Files.read_only(directory, time=frozen.clock)


def _of_its_own(words: str, made: Path | None) -> str:
    """What is said of its files, without the directory that they were made in, which is gone by now."""
    if made is None:
        return words
    for place in (os.path.realpath(made), str(made)):
        words = words.replace(f"{place}/", "its files: ").replace(place, "its files")
    return words


def _stdout(stack: ExitStack, name: str | None, wall: float) -> int:
    if name == "-":
        fd = os.dup(1)
    else:
        try:
            flags = os.O_WRONLY | (0 if name is None else os.O_CREAT | os.O_TRUNC)
            fd = opened_to_write(name or os.devnull, flags, time.monotonic() + wall)
        except OSError as why:
            raise Ours(f"{name}: {why.strerror}") from None
    stack.callback(os.close, fd)
    make_pollable(fd)
    return fd


def _nowhere(stack: ExitStack, kind: str) -> int:
    """What is no regular file cannot be written at any place: the guest would see the difference."""
    if kind == "file":
        return stack.enter_context(tempfile.TemporaryFile()).fileno()
    fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    make_pollable(fd)
    return fd


def _tell(
    bundle: Bundle, engine: list[str], found: list[str], outcome: Outcome, stopped: list[str], *, to_stderr: bool
) -> None:
    lines = []
    if found:
        lines += [f"{line} (likely the reason)" for line in engine]
    lines += found
    if not found:
        verdict = "the same as far as it goes" if bundle.inexact else "the same"
        lines += [f"{verdict}: {_in_short(bundle, outcome)}", *(f"although {line}" for line in engine)]
    for name in stopped:
        size = bundle.inputs[name].size or 0
        lines.append(f"{name} stood open: stopped where the recorded run was, behind the {size:,} B that it had read")
    if left := compare.not_compared(bundle):
        lines.append(left)
    try:
        for line in lines:
            click.echo(printable(line), err=to_stderr)
    except BrokenPipeError:
        raise
    except OSError as why:  # whose exit code would read as a difference
        raise Ours(f"cannot write the finding: {why.strerror}") from None


def _in_short(bundle: Bundle, outcome: Outcome) -> str:
    if bundle.inexact:
        return outcome.sentence()
    words = [outcome.sentence(), f"{outcome.usage.fuel:,} fuel"]
    for name, figures in outcome.channels.items():
        count = figures.bytes_read + figures.bytes_written
        if count:
            words.append(f"{name} {count:,} B {(figures.digest or '')[:19]}")
    return ", ".join(words)


def _write_json(path: str, bundle: Bundle, engine: list[str], found: list[str], outcome: Outcome) -> None:
    report = {
        "same": not found,
        "exact": not bundle.inexact,
        "not_compared": compare.not_compared(bundle),
        "engine": engine,
        "differences": found,
        "outcome": {**outcome.to_wire(), "stderr": outcome.stderr.decode("utf-8", "replace")},
    }
    try:
        Path(path).write_text(json.dumps(report, indent=2) + "\n")
    except OSError as why:
        raise Ours(f"{path}: {why.strerror}") from None
