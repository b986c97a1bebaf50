"""Names of containers, objects and results: what is allowed, how a pattern matches, how a name is shown to people.

A pattern is a shell's: `*` any characters, `?` one, `[ab]` one of these, `[!ab]` none of these. Object names are flat,
so `*` also matches `/`. Matching is case-sensitive and takes time linear in the name (fnmatch's own translation).
"""

import fnmatch
import re
import string
from collections.abc import Callable
from functools import lru_cache

from insitu.jobs.errors import SpecError

MAX_CONTAINER = 256
"""Bytes; Swift's default `max_container_name_length`."""
MAX_OBJECT = 1024
"""Bytes; Swift's default `max_object_name_length`."""

_PADDED = re.compile(r"0?[1-9]d|")


def check_container(name: str, path: str) -> None:
    """Raises `SpecError` naming `path` (such as `$.input.container`)."""
    size = _utf8(name, path)
    if not 1 <= size <= MAX_CONTAINER:
        raise SpecError(f"a container's name has 1 to {MAX_CONTAINER} bytes, this one {size} - at `{path}`")
    if "/" in name or name in (".", ".."):
        raise SpecError(f"{shown(name)} is no container's name: it must not hold '/', nor be '.' or '..' - at `{path}`")


def check_object(name: str, path: str) -> None:
    """Raises `SpecError` naming `path`."""
    size = _utf8(name, path)
    if not 1 <= size <= MAX_OBJECT:
        raise SpecError(f"an object's name has 1 to {MAX_OBJECT} bytes, this one {size} - at `{path}`")
    if has_dots(name):
        raise SpecError(f"{shown(name)} has a segment '.' or '..', which HTTP clients take out of a path - at `{path}`")


def has_dots(name: str) -> bool:
    """Whether an object of this name is out of reach: RFC 3986 lets clients resolve dot segments before they ask."""
    return not {".", ".."}.isdisjoint(name.split("/"))


def _utf8(name: str, path: str) -> int:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise SpecError(f"{shown(name)} is not UTF-8 - at `{path}`") from None
    if "\0" in name:
        raise SpecError(f"{shown(name)} holds a NUL, which no name can - at `{path}`")
    return size


def prefix_of(pattern: str) -> str:
    """The literal beginning of a pattern: what the listing can be narrowed to."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def matcher(pattern: str) -> Callable[[str], bool]:
    """A predicate over object names."""
    found = re.compile(fnmatch.translate(pattern)).match
    return lambda name: found(name) is not None


@lru_cache(maxsize=8)
def _fields(template: str) -> tuple[tuple[str, str | None, str], ...]:
    return tuple((text, field, spec or "") for text, field, spec, _ in string.Formatter().parse(template))


def check_template(template: str, fields: frozenset[str], path: str) -> None:
    """A result's name with `{field}` or, for numbers, `{field:05d}`; nothing else of Python's format language.

    Raises `SpecError` naming `path`.
    """
    allowed = " and ".join(sorted("{" + name + "}" for name in fields))
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as why:
        raise SpecError(f"{shown(template)}: {why}; allowed are {allowed} - at `{path}`") from None
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if field not in fields or conversion:
            raise SpecError(f"{shown(template)} holds {{{field}}}, and allowed are {allowed} - at `{path}`")
        if not _PADDED.fullmatch(spec or "") or (spec and field != "partition"):
            raise SpecError(
                f"{shown(template)} formats {{{field}}} with {spec!r}; a width such as 05d is allowed, and only for "
                f"{{partition}} - at `{path}`"
            )


def fill(template: str, **values: str | int) -> str:
    """The template (checked before) with its fields filled in."""
    return "".join(
        text + ("" if field is None else format(values[field], spec)) for text, field, spec in _fields(template)
    )


def fields_of(template: str) -> frozenset[str]:
    """The names of the fields that a template (checked before) uses."""
    return frozenset(field for _, field, _ in _fields(template) if field)


def shown(name: str, most: int = 120) -> str:
    """A name for people: no control character, line break or terminal escape survives, and it is not endless."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name)
    return safe if len(safe) <= most else f"{safe[: most - 1]}…"


def shown_text(text: str) -> list[str]:
    """Lines of foreign text (a program's stderr) for people, each one harmless to a terminal."""
    return [shown(line, 400) for line in text.rstrip("\n").split("\n")] if text.strip() else []
