"""What the commands that run guests share: how they speak, find a program, and stand aside for it."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from insitu.cli import say
from insitu.cli.options import with_values
from insitu.cli.python.interpreter import check_python
from insitu.runtime.bundles.archive import is_archive
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.bundles.manifest import Manifest
from insitu.runtime.cache import CacheError, CompiledCache, user_cache
from insitu.runtime.errors import UnknownProgram
from insitu.runtime.programs import ProgramInfo, ProgramStore
from insitu.sandbox import raw
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import EngineError, ProgramError
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.sandbox.program import Program, compile_program, to_wasm

T = TypeVar("T")
OURS: Final = 125
"""The exit code that says: not the guest's own."""
_SCRIPTS: Final = (".py", ".js", ".mjs")
_SUFFIXES: Final = (".wasm", ".wat", ".zip", *_SCRIPTS)
_LARGE: Final = 4 << 20  # bytes of a module whose compilation takes seconds
_LOOK: Final = 0.5  # seconds
_STACK: Final = 8 << 20  # bytes, of which a guest has one MiB


class Mistake(click.UsageError):
    """In the options. Any other exit code would read as the guest's."""

    exit_code = OURS


class Command(click.Command):
    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as why:
            raise Mistake(why.format_message(), why.ctx) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_values(self, args))


class Ours(click.ClickException):
    """Insitu's own word that nothing ran."""

    exit_code = OURS

    def show(self, file: Any = None) -> None:
        say(f"insitu: {self.message}")


def end_on_signals() -> None:
    """Told to end: what was half written is cleared away, as on Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def is_path(program: str) -> bool:
    return "/" in program or program.endswith(_SUFFIXES) or program in (".", "..")


@dataclass(frozen=True, slots=True)
class Found:
    """A program to run. `path` is where it was read from, `digest` that file's; `files` are those that it brings."""

    wasm: bytes
    digest: str
    path: str
    name: str
    """Its first argument: how it is called."""
    stated: Manifest = field(default_factory=Manifest)
    files: Mapping[str, bytes] = field(default_factory=dict)
    script: str = ""
    """Of a Python script its path in the guest: then the program is the interpreter, and this its first argument."""
    mixes: bool = False
    """It is a script, to whose files others may be added."""


def find_program(name: str) -> Found:
    """A shipped program by name, or a file: a module, its text, a bundle, a script or a directory with one.

    Raises `ProgramError`, `UnknownProgram`, `ProgramRejected`.
    """
    if is_path(name) and (os.path.isdir(name) or name.endswith(_SCRIPTS)):
        return _script(name)
    info = None if is_path(name) else _shipped(name)
    path = name if info is None else info.path
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PROGRAM + 1)  # a device has no end
    except OSError as why:
        raise ProgramError(f"{path}: {why.strerror}") from None
    digest = program_digest(data)
    if is_archive(data):
        bundle = Bundle(data, path)
        stated = bundle.manifest
        wasm = to_wasm(bundle.wasm(), f"{path}: {bundle.entry}")
        return Found(wasm, digest, path, stated.name, stated, bundle.files())
    if info is None:
        return Found(to_wasm(data, path), digest, path, os.path.splitext(os.path.basename(path))[0])
    stated = Manifest(
        arguments=info.arguments, frozen=info.frozen, limits=info.limits, inputs=info.inputs, outputs=info.outputs
    )
    return Found(to_wasm(data, path), digest, path, info.name, stated)


def _script(name: str) -> Found:
    from insitu.cli import javascript  # only whoever has a script pays for these
    from insitu.cli.python.interpreter import interpreter
    from insitu.cli.python.project import is_project, read

    if not os.path.isdir(name) and not os.path.isfile(name):
        raise ProgramError(f"{name}: {os.strerror(errno.ENOENT)}")
    if not is_project(name):
        if not javascript.is_project(name):
            raise ProgramError(
                f"{name}: Is a directory, and no script: that has main.py, __main__.py or main.js, and no module"
            )
        script = javascript.read(Path(name))
        info, wasm = javascript.interpreter()
        return Found(wasm, info.digest, info.path, script.stated.name, script.stated, script.files, mixes=True)
    project = read(Path(name))
    info, base = interpreter(name)
    if project.requirements:
        say(f"insitu: {name}: what it requires is not installed for a run: `insitu program build {name}` does that")
    stated = replace(project.stated, limits={**base.manifest.limits, **project.stated.limits})
    wasm = to_wasm(base.wasm(), info.path)
    return Found(wasm, info.digest, info.path, "python", stated, {**base.files(), **project.files}, project.main, True)


def _shipped(name: str) -> ProgramInfo:
    try:
        return ProgramStore().find(name)
    except UnknownProgram as why:
        if os.path.isdir(name):
            raise ProgramError(f"{why}. A directory {name} is here: ./{name} is what it is called then") from None
        if not os.path.isfile(name):
            check_python(name)
            raise
        raise ProgramError(
            f"{why}. A file {name} is here: a program's file has a name that ends with .wasm, .wat, .zip, .py or .js, "
            f"or has a / in it, as ./{name}"
        ) from None


def compiled(runner: Runner, wasm: bytes, path: str) -> Program:
    """From the user's cache where it is there. A cache that cannot be used only costs time. Raises `ProgramError`."""
    digest = program_digest(wasm)
    try:
        cache = CompiledCache(user_cache(), canonical_nans=runner.canonical_nans)
        found = cache.find(digest)
        if found is not None:
            try:
                return runner.link(raw.load_module(runner.engine, os.fsencode(found)), digest, path)
            except EngineError:
                pass  # made on another kind of processor
        if len(wasm) > _LARGE:
            say(f"insitu: {path}: compiling it takes a while, once: what comes of it is kept in {cache.directory}")
        module = compile_program(runner.engine, wasm, path)
        cache.store(digest, raw.serialize(module))
    except (CacheError, OSError) as why:
        say(f"insitu: compiled programs are not kept: {why}")
        module = compile_program(runner.engine, wasm, path)
    return runner.link(module, digest, path)


def aside(work: Callable[[], T]) -> T:
    """Done by a thread of its own: a guest run, a program compiled. Ctrl-C is heard by the main thread alone, and there
    only between lines of Python: were it done there, it would be interrupted when it has ended."""
    done: list[T] = []
    failed: list[BaseException] = []

    def target() -> None:
        try:
            done.append(work())
        except BaseException as why:  # noqa: BLE001 - it is raised again below
            failed.append(why)

    threading.stack_size(_STACK)
    thread = threading.Thread(target=target, name="insitu-guest", daemon=True)  # left behind on Ctrl-C, with all else
    thread.start()
    # Now and then, not once: a signal between Python's last look and the kernel's wait would be heard only at the end.
    while thread.is_alive():
        thread.join(_LOOK)
    if failed:
        raise failed[0]
    return done[0]
