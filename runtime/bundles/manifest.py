"""`program.toml`: what a program says of itself. The same words stand in NAME.toml beside a bare NAME.wasm.

A manifest may come from anybody, so every word of it is checked; docs/programs.md tells what each means.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from insitu.runtime.errors import ProgramRejected
from insitu.runtime.grammar import MAX_BYTES, is_name, is_version
from insitu.sandbox.channels.named import check_name
from insitu.sandbox.errors import ChannelError, LimitsError
from insitu.sandbox.limits import in_figures

MAX_BYTES_OF_IT: Final = 64 << 10
DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"
NAME: Final = "program.toml"
_CONTENT_TYPE: Final = re.compile(r"source|[\w.+-]+/[\w.+-]+(?:; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)
_TEXT_MAX: Final = 1000  # characters of a text for people
_OWN: Final = ("name", "version", "summary", "content_type", "licence", "arguments", "frozen", "limits", "channels")
_OF_A_BUNDLE: Final = (*_OWN, "entry", "files")


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of it has a default: a bare module needs no manifest."""

    name: str = ""
    version: str = ""
    summary: str = ""
    content_type: str = DEFAULT_CONTENT_TYPE
    """A media type, or "source": that of the object that was read."""
    licence: str = ""
    arguments: tuple[str, ...] = ()
    """Its arguments where a launch gives none."""
    frozen: bool = False
    """Its launches are frozen, whether or not they ask for that."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """The limits that it asks for, by their names in `Limits`."""
    inputs: tuple[str, ...] = ()
    """Named channels that it reads; each has to be given."""
    outputs: tuple[str, ...] = ()
    entry: str = ""
    """The module's path in a bundle; empty: the only `.wasm` at its top."""
    files: str = ""
    """The directory of a bundle that is the guest's `/`; empty: `files`, where there is one."""


def parse(data: bytes, source: str, *, bundle: bool) -> Manifest:
    """Raises `ProgramRejected` naming `source` and the word. `bundle`: unknown words are refused, name is a must."""
    if len(data) > MAX_BYTES_OF_IT:
        raise ProgramRejected(f"{source}: its manifest is over {MAX_BYTES_OF_IT} bytes")
    try:
        words = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as why:
        raise ProgramRejected(f"{source}: its manifest is no TOML: {str(why)[:200]}") from None
    read = _Reader(words, source)
    if bundle:
        read.only(_OF_A_BUNDLE)
        if "name" not in words:
            read.refuse("name is missing")
    channels = read.table("channels")
    channels.only(("inputs", "outputs"))
    found = Manifest(
        name=read.text("name"),
        version=read.text("version"),
        summary=read.text("summary"),
        content_type=read.text("content_type", DEFAULT_CONTENT_TYPE),
        licence=read.text("licence"),
        arguments=read.texts("arguments"),
        frozen=read.flag("frozen"),
        limits=read.limits(),
        inputs=channels.texts("inputs"),
        outputs=channels.texts("outputs"),
        entry=read.text("entry") if bundle else "",
        files=read.text("files").rstrip("/") if bundle else "",
    )
    if "name" in words and not is_name(found.name):
        read.refuse(f"name {found.name[:80]!r} is none: letters, digits, '.', '_' and '-', at most 128")
    if "version" in words and not is_version(found.version):
        read.refuse(f"version {found.version[:80]!r} is none: letters, digits, '.', '_', '+' and '-', at most 64")
    if not _CONTENT_TYPE.fullmatch(found.content_type):
        read.refuse(
            f"content_type {found.content_type!r} is neither a media type such as "
            '"text/plain; charset=utf-8" nor "source"'
        )
    if sum(len(word.encode()) + 1 for word in found.arguments) > MAX_BYTES:
        read.refuse(f"arguments are over {MAX_BYTES} bytes")
    if any("\0" in word for word in found.arguments):
        read.refuse("arguments hold a NUL, which no argument can")
    for way, names in (("inputs", found.inputs), ("outputs", found.outputs)):
        for name in names:
            try:
                check_name(name)
            except ChannelError as why:
                read.refuse(f"channels.{way}: {why}")
            if names.count(name) > 1:
                read.refuse(f"channels.{way}: {name} is there twice")
    return found


class _Reader:
    """The words of one table."""

    def __init__(self, words: Mapping[str, Any], source: str, where: str = "") -> None:
        self._words, self._source, self._where = words, source, where

    def refuse(self, what: str) -> None:
        raise ProgramRejected(f"{self._source}: its manifest's {self._where}{what}")

    def only(self, allowed: tuple[str, ...]) -> None:
        for key in self._words:
            if key not in allowed:
                self.refuse(f"{key[:80]!r} is not known; allowed: {', '.join(allowed)}")

    def text(self, key: str, default: str = "") -> str:
        value = self._words.get(key, default)
        if not isinstance(value, str):
            self.refuse(f"{key} is no string")
        text = str(value)
        if len(text) > _TEXT_MAX:
            self.refuse(f"{key} is over {_TEXT_MAX} characters")
        return text

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._words.get(key, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self.refuse(f"{key} is no list of strings")
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self._words.get(key, False)
        if not isinstance(value, bool):
            self.refuse(f"{key} is neither true nor false")
        return bool(value)

    def table(self, key: str) -> "_Reader":
        value = self._words.get(key, {})
        if not isinstance(value, dict):
            self.refuse(f"{key} is no table")
        return _Reader(value, self._source, f"{key}.")

    def limits(self) -> dict[str, Any]:
        words = self.table("limits")._words
        try:
            return in_figures(words)
        except LimitsError as why:
            raise ProgramRejected(f"{self._source}: its manifest's limits: {why}") from None
