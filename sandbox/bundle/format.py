"""What a bundle says, as values and as `bundle.json`. Importing this maps no engine: a node writes bundles too."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from insitu.sandbox.bundle.fields import U64, Fields, parse, shown
from insitu.sandbox.bundle.results import outcome_from, outcome_to
from insitu.sandbox.bundle.tree import MAX_BYTES, Entry, check, entry_from
from insitu.sandbox.channels.meter import Quota
from insitu.sandbox.channels.named import NAME
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.errors import BundleError, LimitsError
from insitu.sandbox.limits import MAX_PROGRAM, Limits
from insitu.sandbox.outcome import Outcome

FORMAT: Final = "insitu bundle"
VERSION: Final = 1
MAX_JSON: Final = 64 << 20
_HINT: Final = 4096
_SAID: Final = 300  # characters of what another says is wrong, which may have the wrong thing in it
_WAYS: Final = re.compile(rf"stdin|stdout|stderr|(in|out)/({NAME.pattern})")

Mode = Literal["root", "files"]
Kind = Literal["file", "stream"]


@dataclass(frozen=True, slots=True)
class Engine:
    """What ran it. `settings` is `raw.settings` of the engine, or empty where whoever wrote the bundle had none."""

    insitu: str
    wasmtime: str
    machine: str
    settings: str = ""


@dataclass(frozen=True, slots=True)
class ProgramPart:
    name: str
    digest: str
    size: int
    kept: bool
    """Whether its bytes are in the bundle."""
    bundle: bool = False
    """Whether they are a program's own bundle, a zip of module and files; `digest` and `size` are of the whole."""


@dataclass(frozen=True, slots=True)
class InputPart:
    """One input. `digest` and `size` are of its bytes, or of the first of them when they are not the `whole`: what the
    guest read. Both are None of an input of which nothing is known."""

    size: int | None
    digest: str | None
    whole: bool
    kept: bool
    hint: str = ""
    """Where it came from, for people."""


@dataclass(frozen=True, slots=True)
class FilesPart:
    """The files of the guest's tree. `mode`: given by `--root` or by `--files`."""

    mode: Mode
    kept: bool
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    engine: Engine
    program: ProgramPart
    argv: tuple[str, ...]
    env: Mapping[str, str]
    frozen: Frozen | None
    """None: it ran on real clocks and real randomness."""
    limits: Limits
    outcome: Outcome
    inexact: str = ""
    """Why the run would not come out the same to the unit a second time, or empty: then it would."""
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    inputs: Mapping[str, InputPart] = field(default_factory=dict)
    """By channel: "stdin", "in/NAME"."""
    outputs: Mapping[str, Kind] = field(default_factory=dict)
    """Of "out/NAME": whether it was a regular file."""
    files: FilesPart | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    """Of a node's launch: its id, request_id, tenant, object and node. For people."""
    recorded: float = field(default_factory=time.time)
    """Unix time, seconds. For people."""

    def to_json(self) -> bytes:
        raw = {
            "format": FORMAT,
            "version": VERSION,
            "recorded": self.recorded,
            "exact": not self.inexact,
            "inexact": self.inexact,
            "engine": _plain(self.engine),
            "program": _plain(self.program),
            "argv": list(self.argv),
            "env": dict(self.env),
            "frozen": None if self.frozen is None else _plain(self.frozen),
            "limits": self.limits.to_wire(),
            "quotas": {name: _plain(quota) for name, quota in self.quotas.items()},
            "inputs": {name: _plain(part) for name, part in self.inputs.items()},
            "outputs": dict(self.outputs),
            "files": None if self.files is None else _files_to(self.files),
            "origin": dict(self.origin),
            "outcome": outcome_to(self.outcome),
        }
        return json.dumps(raw, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, source: str) -> "Bundle":
        """Raises `BundleError` naming `source` and what of it is wrong."""
        top = parse(data, source)
        found_format, version = top.take("format"), top.take("version")
        if found_format != FORMAT:
            raise BundleError(f"{source}: format {shown(found_format)}, and {FORMAT!r} is what is read here")
        if isinstance(version, bool) or version != VERSION:
            raise BundleError(f"{source}: version {shown(version)}, and {VERSION} is what is read here")
        exact, inexact = top.flag("exact"), top.text("inexact")
        if exact == bool(inexact):
            raise BundleError(f"{source}: exact: {str(exact).lower()}, which inexact contradicts")
        found = cls(
            recorded=top.figure("recorded"),
            inexact=inexact,
            engine=_engine(top.inside("engine")),
            program=_program(top.inside("program")),
            argv=tuple(top.texts("argv")),
            env=_env(top.inside("env")),
            frozen=_frozen(top.inside("frozen")) if top.has("frozen") else None,
            limits=_limits(top.inside("limits")),
            quotas={name: _quota(inner) for name, inner in _channels(top.inside("quotas"))},
            inputs={name: _input(inner) for name, inner in _channels(top.inside("inputs"), "stdin", "in")},
            outputs=_outputs(top.inside("outputs")),
            files=_files(top.inside("files")) if top.has("files") else None,
            origin=top.inside("origin").pairs(),
            outcome=outcome_from(top.inside("outcome")),
        )
        top.end()
        if exact and found.frozen is None:
            raise BundleError(f"{source}: frozen is null, and what was not frozen is not exact")
        if not found.argv:
            raise BundleError(f"{source}: argv is empty: the program's name comes first")
        if "stdin" not in found.inputs:
            raise BundleError(f"{source}: inputs: stdin is missing")
        return found


def _plain(value: Engine | ProgramPart | InputPart | Frozen | Quota) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _files_to(files: FilesPart) -> dict[str, Any]:
    return {"mode": files.mode, "kept": files.kept, "entries": [entry.to_json() for entry in files.entries]}


def _engine(raw: Fields) -> Engine:
    found = Engine(
        **{name: raw.text(name, _HINT) for name in ("insitu", "wasmtime", "machine", "settings")}  # all of its fields
    )
    raw.end()
    return found


def _program(raw: Fields) -> ProgramPart:
    name, digest, size = raw.text("name"), raw.digest("digest"), raw.count("size", MAX_PROGRAM)
    found = ProgramPart(name, digest, size, raw.flag("kept"), raw.flag("bundle") if raw.known("bundle") else False)
    raw.end()
    return found


def _env(raw: Fields) -> dict[str, str]:
    found = raw.pairs()
    for name in found:
        if not name or "=" in name:
            raise raw.wrong("a name", name, "the name of a variable")
    return found


def _frozen(raw: Fields) -> Frozen:
    found = Frozen(raw.count("seed", U64), raw.count("clock", U64))
    raw.end()
    return found


def _limits(raw: Fields) -> Limits:
    try:
        return Limits.from_wire(raw.rest())
    except LimitsError as why:
        raise BundleError(f"{raw.where}: {str(why)[:_SAID]}") from None


def _quota(raw: Fields) -> Quota:
    found: dict[str, int | None] = {name: raw.count(name) if raw.has(name) else None for name in ("calls", "bytes")}
    raw.end()
    try:
        return Quota(**found)
    except LimitsError as why:
        raise BundleError(f"{raw.where}: {str(why)[:_SAID]}") from None


def _channels(raw: Fields, *among: str) -> list[tuple[str, Fields]]:
    """`among`: the ways that are meant; all by default."""
    found = list(raw.each())
    for name, _ in found:
        match = _WAYS.fullmatch(name)
        if match is None or (among and (match[1] or name) not in among):
            raise raw.wrong("a name", name, "a channel's that can be here")
    return found


def _input(raw: Fields) -> InputPart:
    known = raw.has("size")
    size, digest = None, None
    if known:
        size, digest = raw.count("size"), raw.digest("digest")
    elif raw.has("digest"):
        raise BundleError(f"{raw.where}: a digest without a size")
    found = InputPart(size, digest, raw.flag("whole"), raw.flag("kept"), raw.text("hint", _HINT))
    raw.end()
    if found.kept and not known:
        raise BundleError(f"{raw.where}: kept, and without a digest")
    return found


def _outputs(raw: Fields) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for name, kind in raw.pairs().items():
        match = _WAYS.fullmatch(name)
        if match is None or match[1] != "out":
            raise raw.wrong("a name", name, "a named output's, out/NAME")
        if kind not in ("file", "stream"):
            raise raw.wrong(name, kind, "file or stream")
        found[name] = "file" if kind == "file" else "stream"
    return found


def _files(raw: Fields) -> FilesPart:
    mode: Mode = "root" if raw.choice("mode", ("root", "files")) == "root" else "files"
    found = FilesPart(mode, raw.flag("kept"), tuple(entry_from(inner) for inner in raw.objects("entries")))
    raw.end()
    check(found.entries, raw.where)
    size = sum(entry.size or 0 for entry in found.entries)
    if found.kept and size > MAX_BYTES:
        raise BundleError(f"{raw.where}: {size} bytes in all, and at most {MAX_BYTES} are kept")
    return found
