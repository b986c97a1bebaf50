"""Which programs a node has: modules and bundles in directories, found by name, by name and version, or by digest.

    DIR/watermark.wasm            a module, and beside it, if anybody wrote one, its manifest:
    DIR/watermark.toml            summary = "…"   content_type = "source"   (docs/programs.md)
    DIR/watermark@1.2.zip         a bundle: manifest, module and files in one; named for what its manifest says

Without a version the plain file is meant, and where there is none the newest version. Where two directories have a
name, the first one listed wins. Whatever a program is called, a launch names its digest.
"""

import hashlib
import importlib.util
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import insitu
from insitu.runtime.arrivals import Arrivals
from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.bundle import SUFFIX as BUNDLE_SUFFIX
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.bundles.manifest import DEFAULT_CONTENT_TYPE, Manifest
from insitu.runtime.errors import ProgramRejected, UnknownProgram
from insitu.runtime.form import form_of
from insitu.runtime.reading import read_file
from insitu.sandbox.digest import is_digest, program_digest
from insitu.sandbox.limits import MAX_PROGRAM

SHIPPED: Final = Path(insitu.__file__).parent / "programs"
PYTHON_PACKAGE: Final = "insitu_python"
"""Where it is installed, its folder `programs` comes after the shipped programs: it brings `python`."""
SUFFIXES: Final = (".wasm", BUNDLE_SUFFIX)
"""Of the files that are programs."""
_SETTLED: Final = 1_000_000_000  # nanoseconds after which a directory's time tells of every change in it
_AGAIN: Final = 1.0  # seconds
_KNOWN: Final = 10_000  # files
_HEX: Final = re.compile(r"[0-9a-f]{64}")  # an arrival, known by its digest
_PARTS: Final = re.compile(r"\d+|[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A program as a node knows it. `path` is the file it was read from; the rest is as in `Manifest`."""

    name: str
    digest: str
    path: str
    summary: str = ""
    content_type: str = DEFAULT_CONTENT_TYPE
    version: str = ""
    licence: str = ""
    arguments: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    frozen: bool = False
    bundle: bool = False
    """Whether it is a bundle: then `digest` is that of the whole file."""
    stated: str = ""
    """A digest of all that a result may depend on besides the program's own: its name, which a guest is told, and what
    its manifest says, which for a bare module no other digest covers."""

    @property
    def title(self) -> str:
        """NAME or NAME@VERSION."""
        return f"{self.name}@{self.version}" if self.version else self.name

    @property
    def form(self) -> str:
        """What its launches need to be loaded that ask for nothing themselves."""
        return form_of(self.digest, frozen=self.frozen)

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> "ProgramInfo":
        words: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
        return cls(**words)


_SHARED: Final = {f.name for f in fields(ProgramInfo)} & {f.name for f in fields(Manifest)} - {"name", "version"}


def described(digest: str, file: str, name: str, stated: Manifest, *, bundle: bool) -> ProgramInfo:
    """The program of that digest, called `name` or, in its file's name, NAME@VERSION. Raises `ProgramRejected`."""
    plain, _, version = name.partition("@")
    if bundle and plain != stated.name:
        raise ProgramRejected(f"program {name}: its manifest says that it is {stated.name!r}")
    if version and version != stated.version and (bundle or stated.version):
        raise ProgramRejected(f"program {name}: its manifest says that it is version {stated.version!r}")
    words = {key: getattr(stated, key) for key in _SHARED}
    words["stated"] = hashlib.sha256(repr((plain, sorted(words.items()))).encode()).hexdigest()[:16]
    return ProgramInfo(plain, digest, file, version=stated.version or version, bundle=bundle, **words)


class _Unread(ProgramRejected):
    """Nothing is known of the program, and the next time may be better."""


class ProgramStore:
    """Looks names up, and reads a file again only when it has changed."""

    def __init__(self, directories: Iterable[str | Path] = (), arrivals: Arrivals | None = None) -> None:
        """`directories` come before the shipped programs, and an installed Python after those. `arrivals` are found by
        digest alone."""
        self._arrivals = arrivals
        self._directories = [Path(d) for d in directories] + [SHIPPED, *_of_package()]
        # Text and not paths: a look-up is on the way of every launch.
        self._prefixes = [os.path.join(d, "") for d in self._directories]
        self._known: dict[str, tuple[tuple[int, ...], ProgramInfo | ProgramRejected]] = {}
        self._by_digest: dict[str, str] = {}
        self._versions: dict[str, tuple[int, dict[str, list[str]]]] = {}
        self._looked = (-1, 0.0)
        """When the directories had last changed when all was last looked through, and when that was."""

    def find(self, name: str) -> ProgramInfo:
        """By `NAME`, `NAME@VERSION` or `sha256:…`. Raises `UnknownProgram`, or `ProgramRejected` when its files are
        not what they should be."""
        if is_digest(name):
            if (found := self._with_digest(name)) is not None:
                return found
        elif "/" not in name:
            plain, _, version = name.partition("@")
            for prefix in self._prefixes:
                if (info := self._within(prefix, name, plain, version)) is not None:
                    return info
        raise UnknownProgram(f"no program {name!r} here; `insitu program list` shows the shipped ones")

    def all(self) -> list[ProgramInfo]:
        """All readable programs, by name and version."""
        found: dict[str, ProgramInfo] = {}
        for directory in self._directories:
            for suffix in SUFFIXES:
                for path in sorted(directory.glob(f"*{suffix}")):
                    if path.stem not in found and (stamp := _stamp(str(path))) is not None:
                        try:
                            found[path.stem] = self._read(str(path), stamp)
                        except ProgramRejected:
                            continue  # `find` says what is wrong with it when somebody asks for it
        return sorted(found.values(), key=lambda info: (info.name, _order(info.version)))

    def _with_digest(self, digest: str) -> ProgramInfo | None:
        path = self._by_digest.get(digest)
        if path is not None and (stamp := _stamp(path)) is not None:
            try:
                if (info := self._read(path, stamp)).digest == digest:
                    if self._arrivals is not None:
                        self._arrivals.used(path)
                    return info
            except ProgramRejected:
                pass
        if self._arrivals is not None and (arrived := self._arrivals.find(digest)) is not None:
            # Held against its digest when it came, and again now that it is read: nobody else chose its name.
            if (stamp := _stamp(arrived)) is not None and (info := self._read(arrived, stamp)).digest == digest:
                return info
            self._arrivals.forget(arrived)
        return self._looked_for(digest)

    def _looked_for(self, digest: str) -> ProgramInfo | None:
        """Among all that are there, which is dear: where one was not found before, it is looked for again when a
        directory has changed, and once a second whether one has or not: a file may have become another in its place.
        """
        changed = max(map(_changed, self._prefixes))
        looked, then = self._looked
        if digest not in self._by_digest and looked == changed and time.monotonic() - then < _AGAIN:
            return None
        found = next((info for info in self.all() if info.digest == digest), None)
        if found is None:
            self._by_digest.pop(digest, None)
        if time.time_ns() - changed > _SETTLED:
            self._looked = (changed, time.monotonic())
        return found

    def _within(self, prefix: str, name: str, plain: str, version: str) -> ProgramInfo | None:
        """In one directory."""
        if (info := self._at(f"{prefix}{name}")) is not None:
            return info
        if version:
            info = self._at(f"{prefix}{plain}")
            return info if info is not None and info.version == version else None
        stems = self._versions_in(prefix).get(plain)
        return self._at(f"{prefix}{stems[-1]}") if stems else None

    def _at(self, stem: str) -> ProgramInfo | None:
        for suffix in SUFFIXES:
            path = f"{stem}{suffix}"
            if (stamp := _stamp(path)) is not None:
                return self._read(path, stamp)
        return None

    def _versions_in(self, prefix: str) -> dict[str, list[str]]:
        """NAME → the stems NAME@VERSION of a directory, the newest last."""
        try:
            changed = os.stat(prefix).st_mtime_ns
        except OSError:
            return {}
        known = self._versions.get(prefix)
        if known is not None and known[0] == changed:
            return known[1]
        found: dict[str, list[str]] = {}
        try:
            entries = os.listdir(prefix)
        except FileNotFoundError:
            return {}  # a moment ago it was there
        for entry in entries:
            stem, suffix = os.path.splitext(entry)
            plain, at, _ = stem.partition("@")
            if at and plain and suffix in SUFFIXES:
                found.setdefault(plain, []).append(stem)
        for stems in found.values():
            stems.sort(key=lambda stem: _order(stem.partition("@")[2]))
        if time.time_ns() - changed > _SETTLED:
            self._versions[prefix] = (changed, found)
        return found

    def _read(self, file: str, stamp: tuple[int, ...]) -> ProgramInfo:
        known = self._known.get(file)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, self._looked_at(file, stamp))
            except _Unread:
                raise
            except ProgramRejected as why:
                known = (stamp, why)  # as dear to find out as anything
            if len(self._known) >= _KNOWN:  # files come and go, and this is of any that ever was there
                self._known.clear()
                self._by_digest.clear()
            self._known[file] = known
        if isinstance(known[1], ProgramRejected):
            raise ProgramRejected(str(known[1]))
        return known[1]

    def _looked_at(self, file: str, stamp: tuple[int, ...]) -> ProgramInfo:
        path = Path(file)
        if stamp[1] > MAX_PROGRAM:
            raise ProgramRejected(f"program {path.stem}: {stamp[1]} bytes, and at most {MAX_PROGRAM} are allowed")
        bundle = path.suffix == BUNDLE_SUFFIX
        # To digest 128 MiB once more would hold up all launches for a third of a second.
        digest = None if self._arrivals is None else self._arrivals.verified(file, stamp)
        data = b""
        if digest is None or bundle:
            try:
                data = read_file(path, MAX_PROGRAM)
            except OSError as why:
                raise _Unread(f"program {path.stem}: cannot be read: {why.strerror}") from None
            if len(data) > MAX_PROGRAM:
                raise _Unread(f"program {path.stem}: over {MAX_PROGRAM} bytes, and no more are allowed")
        stated = Bundle(data, f"program {path.stem}").manifest if bundle else _beside(path)
        name = stated.name if bundle and _HEX.fullmatch(path.stem) else path.stem
        info = described(digest or program_digest(data), file, name, stated, bundle=bundle)
        self._by_digest[info.digest] = file
        return info


def _of_package() -> list[Path]:
    spec = importlib.util.find_spec(PYTHON_PACKAGE)
    return [Path(place) / "programs" for place in (spec and spec.submodule_search_locations) or ()]


def _order(version: str) -> list[tuple[int, int, str]]:
    """1.9 before 1.10; a word before the end before a number: 1.0rc1, 1.0, 1.0.1."""
    parts = [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in _PARTS.findall(version)]
    return [*parts, (1, -1, "")]


def _changed(directory: str) -> int:
    """When it last did, in nanoseconds; 0 when it is not there."""
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return 0


def _stamp(path: str) -> tuple[int, ...] | None:
    """Changes whenever the program or its manifest does; None when there is no such program."""
    try:
        program = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(program.st_mode):
        return None  # a named pipe would hold us up until somebody wrote to it
    own = (program.st_ino, program.st_size, program.st_mtime_ns)
    if path.endswith(BUNDLE_SUFFIX):
        return own
    try:
        beside = os.stat(f"{path.removesuffix('.wasm')}.toml")
    except OSError:
        return own
    return (*own, beside.st_ino, beside.st_mtime_ns)


def _beside(path: Path) -> Manifest:
    """What NAME.toml beside NAME.wasm says."""
    try:
        data = read_file(path.with_suffix(".toml"), manifest.MAX_BYTES_OF_IT)
    except FileNotFoundError:
        return Manifest()
    except OSError as why:
        raise _Unread(f"program {path.stem}: its manifest cannot be read: {why.strerror}") from None
    return manifest.parse(data, f"program {path.stem}", bundle=False)
