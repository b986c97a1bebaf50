"""JSON from anybody, read field by field: each has to be there, of its type, within its bounds, and no other may be."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from insitu.sandbox.digest import is_digest
from insitu.sandbox.errors import BundleError

U63: Final = (1 << 63) - 1
U64: Final = (1 << 64) - 1
_SHOWN: Final = 60
_TEXT: Final = 1 << 20


def parse(data: bytes, source: str) -> "Fields":
    """Raises `BundleError`."""
    try:
        return Fields(json.loads(data.decode(), parse_constant=_no_number), source)
    except RecursionError:
        raise BundleError(f"{source}: nested too deep") from None
    except ValueError as why:
        raise BundleError(f"{source}: not JSON: {why}") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def shown(value: object) -> str:
    """For a message: on one line, and no longer than people read."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = ascii(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _plain(name: str) -> str:
    """A field's name, which may be a stranger's too."""
    return name if name.isprintable() and len(name) <= _SHOWN else shown(name)


class Fields:
    """One JSON object. Every method takes one field of it and raises `BundleError`, naming it."""

    def __init__(self, raw: object, where: str) -> None:
        self.where = where
        if not isinstance(raw, dict):
            raise BundleError(f"{where}: {shown(raw)} is not an object")
        self._raw: dict[str, Any] = dict(raw)

    def wrong(self, name: str, value: object, wanted: str) -> BundleError:
        return BundleError(f"{self.where}: {_plain(name)}: {shown(value)} is not {wanted}")

    def take(self, name: str) -> Any:
        try:
            return self._raw.pop(name)
        except KeyError:
            raise BundleError(f"{self.where}: {_plain(name)} is missing") from None

    def has(self, name: str) -> bool:
        """Whether there is such a field that is not null; a null one is taken."""
        if self._raw.get(name) is None:
            self.take(name)
            return False
        return True

    def known(self, name: str) -> bool:
        """Whether there is such a field at all: one that may be left out."""
        return name in self._raw

    def text(self, name: str, most: int = _TEXT) -> str:
        """UTF-8 without NUL."""
        return self._text(name, self.take(name), most)

    def _text(self, name: str, value: object, most: int = _TEXT) -> str:
        if not isinstance(value, str) or "\0" in value or len(value) > most:
            raise self.wrong(name, value, f"a string of at most {most} characters without NUL")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.wrong(name, value, "UTF-8") from None
        return value

    def digest(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str) or not is_digest(value):
            raise self.wrong(name, value, "sha256: and 64 hexadecimal digits")
        return value

    def choice(self, name: str, among: Sequence[str]) -> str:
        value = self.take(name)
        if value not in among or not isinstance(value, str):
            raise self.wrong(name, value, f"one of {', '.join(among)}")
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def count(self, name: str, most: int = U63) -> int:
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise self.wrong(name, value, f"a whole number from 0 to {most}")
        return value

    def figure(self, name: str) -> float:
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= U64:
            raise self.wrong(name, value, f"a number from 0 to {U64}")
        return value

    def texts(self, name: str) -> list[str]:
        value = self.take(name)
        if not isinstance(value, list):
            raise self.wrong(name, value, "a list of strings")
        return [self._text(f"{name}[{at}]", item) for at, item in enumerate(value)]

    def inside(self, name: str) -> "Fields":
        return Fields(self.take(name), f"{self.where}: {_plain(name)}")

    def each(self) -> Iterator[tuple[str, "Fields"]]:
        """Every field, each an object."""
        for name in list(self._raw):
            yield self._text("a name", name), self.inside(name)

    def pairs(self) -> dict[str, str]:
        """Every field, each a string."""
        return {self._text("a name", name): self.text(name) for name in list(self._raw)}

    def rest(self) -> dict[str, Any]:
        """All that is left, for a reader of its own."""
        left, self._raw = self._raw, {}
        return left

    def objects(self, name: str) -> Iterator["Fields"]:
        value = self.take(name)
        if not isinstance(value, list):
            raise self.wrong(name, value, "a list of objects")
        for at, item in enumerate(value):
            yield Fields(item, f"{self.where}: {name}[{at}]")

    def end(self) -> None:
        """There must be nothing else."""
        if self._raw:
            raise BundleError(f"{self.where}: {shown(min(self._raw))} is not known here")
