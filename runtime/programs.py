"""Which programs a node has: `.wasm` files in directories, each with an optional manifest beside it.

    DIR/watermark.wasm
    DIR/watermark.toml      summary = "…"   content_type = "source"     (both optional)

`content_type` is what the result is: a media type, or "source" for the type of the object that was read. A program
without a manifest gives `application/octet-stream`. Where two directories have a name, the first one listed wins.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import insitu
from insitu.runtime.errors import ProgramRejected, UnknownProgram
from insitu.sandbox.digest import is_digest, program_digest
from insitu.sandbox.limits import MAX_PROGRAM

SHIPPED: Final = Path(insitu.__file__).parent / "programs"
DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"
_CONTENT_TYPE: Final = re.compile(r"source|[\w.+-]+/[\w.+-]+(?:; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)
_FIELDS: Final[tuple[str, ...]] = ("summary", "content_type")
_SUFFIX: Final = ".wasm"
_MANIFEST_MAX: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A program as a node knows it. `path` is the file it was read from."""

    name: str
    digest: str
    path: str
    summary: str = ""
    content_type: str = DEFAULT_CONTENT_TYPE

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> "ProgramInfo":
        return cls(**raw)


class ProgramStore:
    """Looks names up, and reads a file again only when it has changed."""

    def __init__(self, directories: Iterable[str | Path] = ()) -> None:
        """`directories` come before the shipped programs."""
        self._directories = [Path(d) for d in directories] + [SHIPPED]
        # Text and not paths: a look-up is on the way of every launch.
        self._prefixes = [os.path.join(d, "") for d in self._directories]
        self._known: dict[str, tuple[tuple[int, ...], ProgramInfo]] = {}

    def find(self, name: str) -> ProgramInfo:
        """By name or `sha256:…` digest. Raises `UnknownProgram`, or `ProgramRejected` when its files cannot be read."""
        if is_digest(name):
            for info in self.all():
                if info.digest == name:
                    return info
        elif "/" not in name:
            for prefix in self._prefixes:
                path = f"{prefix}{name}{_SUFFIX}"
                if (stamp := _stamp(path)) is not None:
                    return self._read(path, stamp)
        raise UnknownProgram(f"no program {name!r} here; `insitu program list` shows the shipped ones")

    def all(self) -> list[ProgramInfo]:
        """All readable programs, by name."""
        found: dict[str, ProgramInfo] = {}
        for directory in self._directories:
            for path in sorted(directory.glob(f"*{_SUFFIX}")):
                if path.stem not in found and (stamp := _stamp(str(path))) is not None:
                    try:
                        found[path.stem] = self._read(str(path), stamp)
                    except ProgramRejected:
                        continue  # `find` says what is wrong with it when somebody asks for it
        return sorted(found.values(), key=lambda info: info.name)

    def _read(self, file: str, stamp: tuple[int, ...]) -> ProgramInfo:
        known = self._known.get(file)
        if known is not None and known[0] == stamp:
            return known[1]
        path = Path(file)
        if stamp[1] > MAX_PROGRAM:
            raise ProgramRejected(f"program {path.stem}: {stamp[1]} bytes, and at most {MAX_PROGRAM} are allowed")
        try:
            digest = program_digest(path.read_bytes())
        except OSError as why:
            raise ProgramRejected(f"program {path.stem}: cannot be read: {why.strerror}") from None
        info = ProgramInfo(path.stem, digest, file, **_manifest(path))
        self._known[file] = (stamp, info)
        return info


def _stamp(path: str) -> tuple[int, ...] | None:
    """Changes whenever the program or its manifest does; None when there is no such program."""
    try:
        program = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(program.st_mode):
        return None  # a named pipe would hold us up until somebody wrote to it
    try:
        manifest = os.stat(f"{path.removesuffix(_SUFFIX)}.toml")
    except OSError:
        return (program.st_ino, program.st_size, program.st_mtime_ns)
    return (program.st_ino, program.st_size, program.st_mtime_ns, manifest.st_ino, manifest.st_mtime_ns)


def _manifest(path: Path) -> dict[str, str]:
    try:
        with open(path.with_suffix(".toml"), "rb") as file:
            data = file.read(_MANIFEST_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as why:
        raise ProgramRejected(f"program {path.stem}: its manifest cannot be read: {why.strerror}") from None
    if len(data) > _MANIFEST_MAX:
        raise ProgramRejected(f"program {path.stem}: its manifest is over {_MANIFEST_MAX} bytes")
    try:
        fields = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as why:
        raise ProgramRejected(f"program {path.stem}: its manifest is no TOML: {why}") from None
    found: dict[str, str] = {key: fields[key] for key in _FIELDS if key in fields}
    for key, value in found.items():
        if not isinstance(value, str):
            raise ProgramRejected(f"program {path.stem}: its manifest's {key} is no string")
    if not _CONTENT_TYPE.fullmatch(found.get("content_type", "source")):
        raise ProgramRejected(
            f"program {path.stem}: its manifest's content_type {found['content_type']!r} is neither a media type "
            'such as "text/plain; charset=utf-8" nor "source"'
        )
    return found
