"""`insitu run`: one program in one sandbox on a local file, without any server."""

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
from click.core import ParameterSource

from insitu.cli import channels, say
from insitu.cli.guests import OURS, Command, Found, Ours, aside, compiled, end_on_signals, find_program
from insitu.cli.options import MayStandAlone, Seed, limit_options, limits_from
from insitu.cli.record import FILES_MOST, INPUTS_MOST, Ran, Recorder
from insitu.cli.types import Pair, Size
from insitu.runtime.bundles.manifest import Manifest
from insitu.runtime.errors import ProgramRejected, UnknownProgram
from insitu.sandbox.channels import StderrSink
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import FROZEN_START, Frozen
from insitu.sandbox.errors import BundleError, ChannelError, EngineError, FilesError, LimitsError, ProgramError
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program

_DIR: Final = click.Path(path_type=Path)


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("-i", "--input", "input_", metavar="FILE|-", help="The guest's stdin.  [default: -]")
@click.option("-o", "--output", default="-", metavar="FILE|-", help="The guest's stdout.  [default: -]")
@click.option(
    "--in",
    "inputs",
    type=channels.NamedFile(),
    multiple=True,
    metavar="NAME=FILE|-",
    help="It reads FILE as /dev/in/NAME; repeatable.",
)
@click.option(
    "--out",
    "outputs",
    type=channels.NamedFile(),
    multiple=True,
    metavar="NAME=FILE",
    help="It writes FILE as /dev/out/NAME; repeatable.",
)
@click.option("--env", type=Pair(), multiple=True, metavar="K=V", help="A variable of its environment; repeatable.")
@click.option("--files", type=_DIR, metavar="DIR", help="Files for it, read-only, as /; /tmp stays its own.")
@click.option("--root", type=_DIR, metavar="DIR", help="A copy of DIR in memory, as /, to read and write.")
@limit_options
@click.option(
    "--quota",
    type=channels.QuotaWords(),
    multiple=True,
    metavar="CHANNEL.calls=N|CHANNEL.bytes=SIZE",
    help="What may cross stdin, stdout, stderr, in/NAME or out/NAME; repeatable.",
)
@click.option("--digest", is_flag=True, help="Tell the SHA-256 of what crossed every channel.")
@click.option(
    "--frozen",
    cls=MayStandAlone,
    alone="0",
    type=Seed(),
    metavar="[=SEED]",
    help="The same in every run: time, chance, NaNs, reads and writes.",
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
    /,
    input_: str | None,
    output: str,
    inputs: tuple[tuple[str, str], ...],
    outputs: tuple[tuple[str, str], ...],
    env: tuple[tuple[str, str], ...],
    files: Path | None,
    root: Path | None,
    quota: tuple[tuple[str, str, int], ...],
    digest: bool,
    frozen: int | None,
    record: Path | None,
    record_inputs: int,
    record_files: int,
    json_: str | None,
    program: str,
    args: tuple[str, ...],
    **limit_keywords: Any,
) -> None:
    """Run PROGRAM in a sandbox of its own: a shipped program's name, or a path to a .wasm, .wat, .zip or script.

    A Python script (.py) brings the modules beside it that it imports, a JavaScript one (.js) nothing; a directory with
    main.py, __main__.py or main.js, all that is in it; --files adds to them. A bundle's files are the guest's /, unless
    --files or --root is given; its arguments and limits hold where none are.
    A program that says that it is frozen is, as with --frozen.

    All that follows PROGRAM is the guest's. The exit code is the guest's own, 0 to 124; it is 125 when a limit, a trap
    or insitu itself ended it, or when the guest's own is above 124: stderr then says what it was.
    Ctrl-C ends it with 130.

    A FILE given to -o or --out is there whole or not at all: what a guest that fails has written is not kept.

    --digest tells a line for each channel on stderr, or, with --json, there.

    --record is --frozen, with the seed 0 unless one is given.
    """
    if record is not None and frozen is None:
        frozen = 0
    if json_ == "-":
        raise Ours("--json -: stdout is the guest's; name a file")
    for option in ("record_inputs", "record_files"):
        if record is None and ctx.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise Ours(f"--{option.replace('_', '-')}: nothing is recorded without --record DIR")
    end_on_signals()
    try:
        limits_from(limit_keywords)  # a mistake in them is told before any in the program
        found = find_program(program)
        limits = limits_from(limit_keywords, found.stated.limits)
        if found.stated.frozen and frozen is None:
            frozen = 0  # as on a node
        runner = Runner(canonical_nans=frozen is not None)
        ready = aside(lambda: compiled(runner, found.wasm, found.path))
        argv = [found.name, *([found.script] if found.script else []), *(args or found.stated.arguments)]
        if found.mixes and (root is not None or (files is not None and record is not None)):
            which = "--root" if root is not None else "--files with --record"
            raise Ours(f"{which}: a script's / has the interpreter's library and the script; give it inputs with --in")
        _check_words(argv, env)
        _check_channels(found.stated, inputs, outputs)
        named_in, named_out = channels.by_name("--in", inputs), channels.by_name("--out", outputs)
        quotas = channels.quotas(quota)
        files_named = [("-o", output), *((f"--out {name}", path) for name, path in outputs)]
        files_named += [("-i", input_ or "-"), *((f"--in {name}", path) for name, path in inputs)]
        channels.check_apart("--json", json_, files_named)
        with ExitStack() as stack:
            recorder = None if record is None else Recorder(stack, record, record_inputs, record_files)
            if recorder is not None and found.files and root is None and files is None:
                files = _unpacked(stack, found.files)  # what is recorded is a directory
                found = replace(found, files={})
            stdin, source, sources = channels.inputs(stack, input_, named_in)
            until = time.monotonic() + limits.wall
            target, targets = channels.Target(stack, output, until), channels.outputs(stack, named_out, until)
            stderr = StderrSink(echo=channels.stderr(stack))
            if recorder is not None:
                source = recorder.source("stdin", source, stdin)
                sources = {name: recorder.named(name, given, named_in[name]) for name, given in sources.items()}
                if (tree := root or files) is not None:
                    recorder.files("files" if root is None else "root", tree)
            asked = Channels(
                inputs=sources,
                outputs={name: out.fd for name, out in targets.items()},
                quotas=quotas,
                digests=digest or recorder is not None,
            )
            plain = asked == Channels() and json_ is None
            launch = Launch(
                argv,
                source,
                target.fd,
                limits,
                env=dict(env),
                stderr=stderr,
                channels=None if plain else asked,
                files=_files(files, root, frozen, found),
                frozen=None if frozen is None else Frozen(frozen),
            )
            outcome = aside(lambda: runner.run(ready, launch))
            if recorder is not None:
                recorder.finish(
                    Ran(
                        name=program,
                        wasm=found.wasm,
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
            for out in (target, *targets.values()):
                out.finish(outcome)
    except (BundleError, ChannelError, FilesError, LimitsError, ProgramError, UnknownProgram, ProgramRejected) as why:
        raise Ours(str(why)) from None
    except EngineError as why:
        raise Ours(f"insitu itself failed: {why}") from None
    if json_ is not None:
        _write_json(json_, ready, argv, limits, outcome)
    elif digest:
        for name, figures in outcome.channels.items():
            say(f"{figures.digest} {figures.bytes_read + figures.bytes_written} {name}")
    if outcome.broken:
        files_of = {"stdout": output, "stdin": input_ or "-"}
        files_of |= {f"out/{name}": path for name, path in outputs} | {f"in/{name}": path for name, path in inputs}
        channel = outcome.broken.split()[0]
        say(f"insitu: {channel if files_of[channel] == '-' else files_of[channel]}: {outcome.broken}")
    if outcome.end == "exit" and outcome.exit_code is not None and outcome.exit_code < OURS:
        if outcome.broken and not outcome.exit_code:
            ctx.exit(OURS)
        if outcome.exit_code and (outcome.note or outcome.limit is not None or outcome.broken):
            say(f"insitu: {program}: {outcome.sentence()}")
        ctx.exit(outcome.exit_code)
    say(f"insitu: {program}: {outcome.sentence()}")
    for frame in (outcome.trap or "").splitlines()[1:]:
        say(f"  {frame}")
    ctx.exit(OURS)


def _files(files: Path | None, root: Path | None, frozen: int | None, found: Found) -> Files:
    if files is not None and root is not None:
        raise Ours("--files and --root: each is the guest's /, so only one of them can be")
    if root is not None:
        return Files.private_copy(root)
    if files is None:
        return Files.held(found.files) if found.files else NO_FILES
    given = Files.read_only(files, time=None if frozen is None else FROZEN_START)
    return Files.joined(Files.held(found.files), given) if found.mixes else given


def _unpacked(stack: ExitStack, files: Mapping[str, bytes]) -> Path:
    """A bundle's files in a directory, until the run is over. Their paths were checked when the bundle was read."""
    place = Path(stack.enter_context(TemporaryDirectory(prefix="insitu-")))
    for path, data in files.items():
        target = place / path
        (target if path.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            target.write_bytes(data)
    return place


def _check_channels(
    stated: Manifest, inputs: tuple[tuple[str, str], ...], outputs: tuple[tuple[str, str], ...]
) -> None:
    for option, needed, given in (("--in", stated.inputs, inputs), ("--out", stated.outputs, outputs)):
        for name in needed:
            if name not in {name for name, _ in given}:
                raise ChannelError(f"program {stated.name} needs {option} {name}=FILE")


def _check_words(argv: list[str], env: tuple[tuple[str, str], ...]) -> None:
    for word in [*argv, *(value for _, value in env)]:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ProgramError(f"argument {word!r} is not UTF-8") from None


def _write_json(path: str, program: Program, argv: list[str], limits: Limits, outcome: Outcome) -> None:
    report = {"program": program.digest, "argv": argv, "limits": limits.to_wire(), **outcome.to_wire()}
    report["stderr"] = outcome.stderr.decode("utf-8", "replace")
    report["ok"], report["sentence"] = outcome.ok, outcome.sentence()
    try:
        Path(path).write_text(json.dumps(report, indent=2) + "\n")
    except OSError as why:
        raise Ours(f"{path}: {why.strerror}") from None
