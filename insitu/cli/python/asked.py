"""What a program may ask for: packages by name, as an index has them. Everything else that pip would take is refused.

URLs, paths and repositories are code of somebody's that pip builds, and so runs, on this machine; and most options in a
file of requirements change where packages come from, or have them built. So each line is read here, and pip gets a file
that is written anew:

    NAME [EXTRA, …] VERSIONS ; MARKERS --hash=sha256:…  # comment
    -r FILE, -c FILE                                    files of the directory, which are read likewise
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from insitu.runtime.bundles.archive import MAX_BYTES
from insitu.runtime.errors import ProgramRejected
from insitu.runtime.reading import read_file

ALLOWED: Final = "NAME[EXTRAS] VERSIONS ; MARKERS, and in a file --hash, -r FILE and -c FILE"
_WORD: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION: Final = r"(?:===|~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_VERSIONS: Final = rf"{_VERSION}(?:\s*,\s*{_VERSION})*\s*,?"
# No word of a marker begins with a dash: in a file pip would read an option there, whatever stands around it.
_MARKERS: Final = r"(?:(?<!\s)-|[\w .'\"()<>=!~,*+])+"
_REQUIREMENT: Final = re.compile(
    rf"(?P<name>{_WORD})\s*(?:\[\s*(?:{_WORD}(?:\s*,\s*{_WORD})*)?\s*\])?\s*"
    rf"(?:{_VERSIONS}|\(\s*{_VERSIONS}\s*\))?\s*(?:;(?!-){_MARKERS})?",
    re.ASCII,
)
_ARCHIVE: Final = re.compile(r"\.(zip|whl|tar|gz|bz2|xz|lz|lzma|tgz|tbz|txz|tlz)\s*(\[[^]]*\])?\s*(;.*)?", re.I)
"""The end of what could be a package's name, and is a file's to pip."""
_HASHES: Final = re.compile(r"((?:\s+--hash[=\s]\s*[a-z0-9]+:[0-9a-fA-F]+)*)\s*$")
_OTHER_FILE: Final = re.compile(r"(?:(-r|--requirement)|(-c|--constraint))(?:\s*=\s*|\s*)(.+)")
_COMMENT: Final = re.compile(r"(^|[ \t])#.*$", re.MULTILINE)
_MANY: Final = 100  # files
_SHOWN: Final = 120  # characters


@dataclass(frozen=True, slots=True)
class Requirement:
    """One that pip may be told."""

    name: str
    words: str
    hashes: tuple[str, ...] = ()
    """"--hash=sha256:…" each."""


@dataclass(frozen=True, slots=True)
class Asked:
    packages: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    """Versions of what may come along."""

    def __bool__(self) -> bool:
        return bool(self.packages)


def one(words: str, where: str) -> Requirement:
    """Raises `ProgramRejected`, `where` named."""
    shown = words.strip()
    found = _REQUIREMENT.fullmatch(shown)
    if found is None or any(match.end() == len(shown) for match in _ARCHIVE.finditer(shown)):
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        raise ProgramRejected(f"{where}: {shown!r} is no package by its name: allowed is {ALLOWED}")
    return Requirement(found["name"], " ".join(words.split()))


def of_file(path: Path) -> Asked:
    """Of requirements.txt, and of those that it names in the same directory. Raises `ProgramRejected` naming the file
    and the line."""
    reader = _Reader(path.parent)
    reader.read(path.name, constraints=False)
    return Asked(tuple(reader.packages), tuple(reader.constraints))


class _Reader:
    def __init__(self, directory: Path) -> None:
        self.packages, self.constraints = list[Requirement](), list[Requirement]()
        self._directory, self._seen = directory, set[tuple[str, bool]]()

    def read(self, name: str, *, constraints: bool) -> None:
        if (name, constraints) in self._seen:
            return
        self._seen.add((name, constraints))
        path = self._directory / name
        if len(self._seen) > _MANY:
            raise ProgramRejected(f"{path}: one of over {_MANY} files of requirements, and no more are allowed")
        for number, line in _lines(path):
            where = f"{path}: line {number}"
            if other := _OTHER_FILE.fullmatch(line):
                self.read(self._inside(name, other[3].strip(), where), constraints=constraints or bool(other[2]))
                continue
            hashes = _HASHES.search(line)
            assert hashes is not None, "it may be empty"
            found = one(line[: hashes.start()], where)
            told = tuple(f"--hash={word}" for word in re.findall(r"[a-z0-9]+:[0-9a-fA-F]+", hashes[1]))
            into = self.constraints if constraints else self.packages
            into.append(Requirement(found.name, found.words, told))

    def _inside(self, reading: str, other: str, where: str) -> str:
        """The path in the directory of a file that is named in `reading`, which names it from where it lies."""
        path = os.path.normpath(os.path.join(os.path.dirname(reading), other))
        place = self._directory / path
        if not place.is_file() or not place.resolve().is_relative_to(self._directory.resolve()):
            raise ProgramRejected(f"{where}: {other!r} is no file of the directory")
        return path


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """With their numbers, comments and what goes on in the next line taken care of."""
    try:
        data = read_file(path, MAX_BYTES, follow=False)
        text = data.decode("utf-8-sig")
    except OSError as why:
        link = "a symbolic link, and a program has none" if path.is_symlink() else why.strerror
        raise ProgramRejected(f"{path}: {link}") from None
    except UnicodeDecodeError:
        raise ProgramRejected(f"{path}: it is not UTF-8") from None
    number = 1
    # A comment ends with its line, whatever stands at the end of it.
    for line in re.split(r"(?<!\\)\n", _COMMENT.sub("", text.replace("\r\n", "\n"))):
        if words := " ".join(line.replace("\\\n", " ").split()):
            yield number, words
        number += line.count("\n") + 1
