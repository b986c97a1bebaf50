"""A script or a directory with one, as it stands: what of it the guest gets, in /app.

A directory brings all its files but hidden ones and `__pycache__`. A lone script brings no more of its directory than
what it imports by name: modules that lie beside it, and packages with all that is in them. So a script in a home
directory does not take that along, and one among its helpers runs as it does with any Python.
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from insitu.cli.python import asked, inline
from insitu.cli.python.asked import Asked
from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.archive import MAX_BYTES, MAX_ENTRIES
from insitu.runtime.bundles.build import TEXTS
from insitu.runtime.bundles.manifest import Manifest
from insitu.runtime.errors import ProgramRejected
from insitu.runtime.reading import read_file

APP: Final = "app"
"""Where in the guest it lies."""
SUFFIX: Final = ".py"
NAMELESS: Final = "nameless"
"""What a script is called that has no name which a program can have: it can be run so, and no bundle be made of it."""
MAINS: Final = ("__main__.py", "main.py")
"""The first that is there, as it is with Python."""
_IMPORT: Final = re.compile(rb"\bfrom[ \t]+(\w+)|\bimport[ \t]+((?:[\w., \t]|\\\r?\n)+)")
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LINK: Final = "a symbolic link, and a program has none"
_OF_THE_BUILD: Final = (manifest.NAME, "requirements.txt", "pyproject.toml")
"""What at a directory's top is for whoever builds, and not for the guest."""


@dataclass(frozen=True, slots=True)
class Project:
    source: Path
    """What was asked for."""
    main: str
    """The script's path in the guest."""
    files: dict[str, bytes]
    """Path in the guest → contents."""
    manifest: bytes
    """Its words, and a name in any case."""
    stated: Manifest
    texts: dict[str, bytes]
    """Licence and the like: they go along in a bundle."""
    requirements: Asked


def is_project(path: str | Path) -> bool:
    """A Python script, or a directory with one and no module of its own."""
    path = Path(path)
    if path.is_dir():
        return any((path / main).is_file() for main in MAINS) and not any(path.glob("*.wasm"))
    return path.suffix == SUFFIX


def read(path: Path) -> Project:
    """Raises `ProgramRejected` naming the file and what is wrong."""
    if path.is_dir():
        gathered = Gathered(path)
        gathered.tree("")
        found = gathered.files
        main: str = next(main for main in MAINS if main in found)
        texts = {name: data for name, data in found.items() if "/" not in name and name.startswith(TEXTS)}
        requirements = _requirements(path)
        for name in _OF_THE_BUILD:
            found.pop(name, None)
        beside = path / manifest.NAME
        text = contents_of(beside, follow=False) if beside.is_file() else b""
        words, stated = named(text, path.resolve().name, str(beside))
    else:
        main, texts = path.name, {}
        found = _with_imported(path)
        about = inline.metadata(found[main], str(path))
        requirements = inline.requirements(about, str(path))
        words, stated = named(inline.manifest(about, str(path)), path.stem, str(path))
    files = {f"{APP}/{name}": data for name, data in found.items()}
    return Project(path, f"/{APP}/{main}", files, words, stated, texts, requirements)


def named(words: bytes, name: str, source: str) -> tuple[bytes, Manifest]:
    """The manifest of a script, the name put before it where it has none. Raises `ProgramRejected`."""
    if not manifest.parse(words, source, bundle=False).name:
        words = b'name = "%s"\n' % (_as_name(name) or NAMELESS).encode() + words
    stated = manifest.parse(words, source, bundle=True)
    for word in ("entry", "files"):
        if getattr(stated, word):
            raise ProgramRejected(f"{source}: a script's module and files are made for it: it has no {word}")
    return words, stated


def check_named(stated: Manifest, path: Path, where: str) -> None:
    """For a bundle, which needs a name. `where` a lone script can say it. Raises `ProgramRejected`."""
    if stated.name == NAMELESS:
        where = manifest.NAME if path.is_dir() else where
        raise ProgramRejected(f'{path}: no program can be called so: give it another name, name = "…", in {where}')


def _as_name(name: str) -> str:
    """Empty if nothing of it can be a program's name."""
    return _NOT_IN_A_NAME.sub("-", name).strip("-._") if name.isascii() else ""


class Gathered:
    """Files of one directory, counted."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.files, self._size = directory, dict[str, bytes](), 0

    def add(self, name: str) -> bytes:
        if not name.isprintable():
            raise ProgramRejected(f"{self.directory}: {name!r}: a name of what cannot be printed, or is no UTF-8")
        data = self.files[name] = contents_of(self.directory / name, follow=False)
        self._size += len(data)
        if len(self.files) > MAX_ENTRIES:
            raise ProgramRejected(f"{self.directory}: over {MAX_ENTRIES} files, and no more are allowed")
        if self._size > MAX_BYTES:
            raise ProgramRejected(f"{self.directory}: over {MAX_BYTES} bytes with {name}, and no more are allowed")
        return data

    def tree(self, inside: str) -> None:
        """All below `inside`, which is empty or ends with "/"."""
        place = self.directory / inside
        try:
            with os.scandir(place) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as why:
            raise ProgramRejected(f"{place}: {why.strerror}") from None
        for entry in listed:
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            if entry.is_symlink():
                raise ProgramRejected(f"{place / entry.name}: {_LINK}")
            if entry.is_dir():
                self.tree(f"{inside}{entry.name}/")
            else:
                self.add(f"{inside}{entry.name}")


def _with_imported(script: Path) -> dict[str, bytes]:
    """A script, the modules and packages beside it that it imports, and those that they import."""
    gathered = Gathered(script.resolve().parent)
    source = contents_of(script)
    ahead, seen = list(_names(source)), {script.stem}
    while ahead:
        name = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        before = set(gathered.files)
        module, package = gathered.directory / f"{name}{SUFFIX}", gathered.directory / name
        if module.is_file() or module.is_symlink():
            gathered.add(module.name)
        elif any(package.glob(f"*{SUFFIX}")):
            if package.is_symlink():
                raise ProgramRejected(f"{package}: {_LINK}")
            gathered.tree(f"{name}/")
        for path in gathered.files.keys() - before:
            if path.endswith(SUFFIX):
                ahead += _names(gathered.files[path])
    return {script.name: source, **gathered.files}


def _names(source: bytes) -> Iterator[str]:
    """What it imports, the first part of each name. Also what only looks like it: whether it is there decides."""
    for match in _IMPORT.finditer(source):
        for name in (match[1] or match[2]).split(b","):
            if word := name.replace(b"\\", b" ").split(b".")[0].split():
                yield word[0].decode("ascii", "replace")


def _requirements(directory: Path) -> Asked:
    """requirements.txt, or else the dependencies of pyproject.toml."""
    listed = directory / "requirements.txt"
    if listed.is_file():
        return asked.of_file(listed)
    project = directory / "pyproject.toml"
    if not project.is_file():
        return Asked()
    about = inline.tables(contents_of(project, follow=False), str(project))
    return inline.requirements(inline.table(about, "project", str(project)), str(project))


def contents_of(path: Path, *, follow: bool = True) -> bytes:
    """`follow`: also what a link leads to, which is for what the user has named and for nothing else. A project may be
    somebody else's, and its links lead to what is not."""
    try:
        data = read_file(path, MAX_BYTES, follow=follow)
    except OSError as why:
        linked = why.errno == errno.ELOOP and not follow
        raise ProgramRejected(f"{path}: {_LINK if linked else why.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ProgramRejected(f"{path}: over {MAX_BYTES} bytes, and no more are allowed")
    return data
