"""What a lone script says of itself, in the comment that packaging tools have for it (inline script metadata, PEP 723):

# /// script
# dependencies = ["rich>=13"]
# [tool.insitu]                     words of a manifest: version, content_type, frozen, …
# content_type = "text/plain"
# ///
"""

import json
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from insitu.cli.python import asked
from insitu.cli.python.asked import Asked
from insitu.runtime.errors import ProgramRejected

_BEGIN: Final = "# /// script"
_END: Final = "# ///"
_TOOL: Final = "insitu"
Table = Mapping[str, Any]


def metadata(source: bytes, name: str) -> Table:
    """Empty where there is none. Raises `ProgramRejected` naming `name`."""
    lines = iter(source.decode("utf-8", "replace").splitlines())
    if not any(line.rstrip() == _BEGIN for line in lines):
        return {}
    text: list[str] = []
    for line in lines:
        if line.rstrip() == _END:
            return tables("\n".join(text).encode(), f"{name}: its metadata")
        if line != "#" and not line.startswith("# "):
            break
        text.append(line[2:])
    raise ProgramRejected(f"{name}: its metadata, which {_BEGIN!r} begins, has no end: a line {_END!r}")


def tables(text: bytes, name: str) -> Table:
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as why:
        raise ProgramRejected(f"{name}: no TOML: {str(why)[:200]}") from None


def table(words: Table, key: str, name: str) -> Table:
    found = words.get(key, {})
    if not isinstance(found, dict):
        raise ProgramRejected(f"{name}: {key} is no table")
    return found


def requirements(words: Table, name: str) -> Asked:
    """Its `dependencies`. Raises `ProgramRejected` naming `name` and what is no package's name."""
    found = words.get("dependencies", [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ProgramRejected(f"{name}: dependencies is no list of requirements")
    return Asked(tuple(asked.one(one, f"{name}: dependencies") for one in found))


def manifest(words: Table, name: str) -> bytes:
    """The manifest that it has in `[tool.insitu]`, as a file of its own."""
    mine = table(table(words, "tool", name), _TOOL, name)
    plain = [_line(key, value, name) for key, value in mine.items() if not isinstance(value, dict)]
    for key, value in mine.items():
        if isinstance(value, dict):
            plain += [f"[{json.dumps(key)}]", *(_line(inside, one, name) for inside, one in value.items())]
    return "".join(f"{line}\n" for line in plain).encode()


def _line(key: str, value: Any, name: str) -> str:
    # JSON's strings, numbers, truths and lists are TOML's too.
    if not isinstance(value, str | int | float | list):
        raise ProgramRejected(f"{name}: its metadata's {key[:80]!r} is nothing that a manifest can have")
    try:
        return f"{json.dumps(key)} = {json.dumps(value)}"
    except TypeError:
        raise ProgramRejected(f"{name}: its metadata's {key[:80]!r} is nothing that a manifest can have") from None
