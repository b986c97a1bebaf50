"""`insitu program`: the programs at hand, and the making and checking of bundles."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from insitu.cli import printable
from insitu.cli.python.interpreter import check_python
from insitu.cli.types import Duration
from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.archive import is_archive
from insitu.runtime.bundles.build import build as build_bundle
from insitu.runtime.bundles.build import names_of
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.channels import check_count
from insitu.runtime.errors import NodeError, UnknownProgram
from insitu.runtime.programs import SHIPPED, ProgramInfo, ProgramStore, described
from insitu.runtime.reading import read_file
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.limits import MAX_PROGRAM, SIZES, TIMES, Limits, format_duration, format_size

_FROZEN: Final = "(frozen)"
"""Said of a program whose launches are."""
_SCRIPTS: Final = (".py", ".js", ".mjs")
_CONTENTS: Final = 20  # names that people are shown; as JSON they are all there
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _programs(function: _Function) -> _Function:
    return click.option(
        "--programs", multiple=True, metavar="DIR", help="A directory of programs, before the shipped; repeatable."
    )(function)


@click.group()
def program() -> None:
    """The programs at hand, and bundles: a program with its manifest and files in one file."""


@program.command("list")
@_programs
@click.option("--json", "as_json", is_flag=True, help="As JSON, one program a line.")
def list_(programs: tuple[str, ...], as_json: bool) -> None:
    """The programs, one line each: the shipped ones and those of --programs."""
    found = ProgramStore(_directories(programs)).all()
    if not found:
        raise click.ClickException(f"no programs in {SHIPPED}; in a checkout, `make guests` builds them")
    if as_json:
        for info in found:
            click.echo(json.dumps(info.to_wire()))
        return
    names, versions = max(len(info.name) for info in found), max(len(info.version) for info in found)
    for info in found:
        words = f"{info.summary} {_FROZEN}".lstrip() if info.frozen else info.summary
        click.echo(f"{info.name:{names}}  {info.version:{versions}}  {printable(words)}")


@program.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[default: NAME@VERSION.zip here]"
)
@click.option("--wall", type=Duration(), metavar="TIME", help="For the imports of a Python script.  [60s]")
@click.argument("path", type=click.Path(path_type=Path, exists=True), metavar="DIR|SCRIPT")
def build(output: Path | None, wall: float | None, path: Path) -> None:
    """Make a bundle of DIR: its program.toml, its module, the files below files/, and its licence.

    Of a JavaScript script, or of a DIR with main.js and without a module: the program `javascript` with the files, of
    which it runs main.js.

    Of a Python script, or of a DIR with main.py or __main__.py and without a module: the interpreter with the script
    compiled and its imports done, its files, and what its requirements.txt asks for.

    The same directory gives the same bytes. What is made has been checked as by `insitu program check`.
    """
    try:
        data, bundle = _build(path, wall)
        _verify(bundle, str(path))
    except (NodeError, ProgramError) as why:
        raise click.ClickException(str(why)) from None
    if output == Path("-"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        click.echo(_figures(data, bundle), err=True)
        return
    target = output or Path(names_of(bundle)[0])
    _write(target, data)
    click.echo(f"{target}  {_figures(data, bundle)}")


@program.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), metavar="FILE|DIR")
def check(path: Path) -> None:
    """Whether a node would take it: unpack it, compile it, look what it imports. FILE is a bundle or a .wasm."""
    try:
        if path.is_dir() or path.suffix in _SCRIPTS:
            data, bundle = _build(path)
        else:
            data = _read(path)
            if not is_archive(data):
                info = _info(path) if path.suffix == ".wasm" else None
                if info is not None:
                    check_count(info)
                _compiles(data, str(path), info.limits if info is not None else {})
                is_so = f" {_FROZEN}" if info is not None and info.frozen else ""
                click.echo(f"{path}: a program{is_so}, {program_digest(data)}, {format_size(len(data))}")
                return
            bundle = Bundle(data, str(path))
            if path.name not in names_of(bundle):
                click.echo(
                    f"note: in a directory of programs it must be called {' or '.join(names_of(bundle))}", err=True
                )
        _verify(bundle, str(path))
    except (NodeError, ProgramError) as why:
        raise click.ClickException(str(why)) from None
    click.echo(f"{path}: a bundle, {_figures(data, bundle)}")


@program.command()
@_programs
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("name", metavar="NAME|FILE")
def show(programs: tuple[str, ...], as_json: bool, name: str) -> None:
    """What a program says of itself. NAME may have a version, NAME@VERSION, or be a digest, sha256:…"""
    try:
        if "/" in name or name.endswith((".wasm", ".zip")):
            info = _info(Path(name))
        else:
            info = _find(ProgramStore(_directories(programs)), name)
        data = _read(Path(info.path))
        bundle = Bundle(data, info.path) if info.bundle else None
    except (NodeError, ProgramError) as why:
        raise click.ClickException(str(why)) from None
    facts: dict[str, Any] = {key: value for key, value in info.to_wire().items() if key != "bundle"}
    facts["size"] = len(data)
    if bundle is not None:
        facts["entry"], facts["contents"] = bundle.entry, bundle.names
    if as_json:
        click.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        if value or key == "size":
            click.echo(f"{key:13} {printable(_shown(key, value))}")


def _find(store: ProgramStore, name: str) -> ProgramInfo:
    try:
        return store.find(name)
    except UnknownProgram:
        check_python(name)
        raise


def _build(path: Path, wall: float | None = None) -> tuple[bytes, Bundle]:
    from insitu.cli import javascript
    from insitu.cli.python.project import is_project

    if not path.is_dir() and path.suffix not in _SCRIPTS:
        raise ProgramError(f"{path}: neither a directory nor a script ({', '.join(_SCRIPTS)})")
    if is_project(path):
        return _build_python(path, wall)
    if javascript.is_project(path):
        return javascript.build(path)
    if not (path / manifest.NAME).exists() and not any(path.glob("*.wasm")):
        raise ProgramError(f"{path}: nothing to make a bundle of: no module (.wasm), main.py, __main__.py or main.js")
    return build_bundle(path)


def _build_python(path: Path, wall: float | None) -> tuple[bytes, Bundle]:
    from insitu.cli.python.build import WALL, ScriptError
    from insitu.cli.python.build import build as build_python

    try:
        return build_python(path, wall=WALL if wall is None else wall)
    except ScriptError as why:  # said as the interpreter says it
        click.echo(why.words, err=True, nl=False)
        raise click.exceptions.Exit(1) from None


def _shown(key: str, value: Any) -> str:
    if key == "size":
        return format_size(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_limit(name, limit)}" for name, limit in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "contents" and len(value) > _CONTENTS:
        return f"{' '.join(value[:_CONTENTS])} … and {len(value) - _CONTENTS} more"
    return " ".join(value) if isinstance(value, list | tuple) else str(value)


def _limit(name: str, value: Any) -> str:
    return format_size(value) if name in SIZES else format_duration(value) if name in TIMES else str(value)


def _figures(data: bytes, bundle: Bundle) -> str:
    stated = bundle.manifest
    title = f"{stated.name}@{stated.version}" if stated.version else stated.name
    count = f"{len(bundle.names)} entries, {format_size(bundle.unpacked)} unpacked"
    title += f" {_FROZEN}" if stated.frozen else ""
    return f"{title}, {program_digest(data)}, {format_size(len(data))}, {count}"


def _verify(bundle: Bundle, source: str) -> None:
    bundle.verify()
    stated = bundle.manifest
    check_count(stated)
    _compiles(bundle.wasm(), f"{source}: {bundle.entry}", stated.limits, frozen=stated.frozen)


def _compiles(wasm: bytes, source: str, limits: Mapping[str, Any], *, frozen: bool = False) -> None:
    """And could begin within the limits that it asks for. What is compiled is kept: `insitu run` finds it."""
    from insitu.cli.guests import compiled
    from insitu.sandbox.launch import Runner  # maps the engine
    from insitu.sandbox.program import to_wasm

    runner = Runner(canonical_nans=frozen)
    program = compiled(runner, to_wasm(wasm, source), source)
    if (why := runner.refusal(program, Limits.from_wire(limits))) is not None:
        what = "cannot begin within the limits that it asks for, or insitu's where it asks for none"
        raise ProgramError(f"{source}: {what}: {why}")


def _info(path: Path) -> ProgramInfo:
    data = _read(path)
    if is_archive(data):
        stated = Bundle(data, str(path)).manifest
        return described(program_digest(data), str(path), stated.name, stated, bundle=True)
    return ProgramStore([path.parent]).find(path.stem)


def _directories(programs: tuple[str, ...]) -> tuple[str, ...]:
    for directory in programs:
        if not os.path.isdir(directory):
            raise click.UsageError(f"--programs {directory}: no such directory")
    return programs


def _read(path: Path) -> bytes:
    try:
        data = read_file(path, MAX_PROGRAM)
    except OSError as why:
        raise click.ClickException(f"{path}: {why.strerror}") from None
    if len(data) > MAX_PROGRAM:
        raise click.ClickException(f"{path}: over {MAX_PROGRAM} bytes, and no more are allowed")
    return data


def _write(target: Path, data: bytes) -> None:
    """Whole or not at all; what is no file, /dev/null say, stays what it is."""
    if target.exists() and not target.is_file():
        try:
            target.write_bytes(data)
        except OSError as why:
            raise click.ClickException(f"{target}: {why.strerror}") from None
        return
    target = Path(os.path.realpath(target))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            temporary.write_bytes(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as why:
        raise click.ClickException(f"{target}: {why.strerror}") from None
