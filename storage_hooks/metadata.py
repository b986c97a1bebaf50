"""What a program says of its result: JSON that it writes to `/dev/out/meta` before its first byte of output.

    {"status": 200, "content_type": "image/png", "user": {"colour": "blue"}}

All of it may be left out. What stands in the channel when the status is decided counts (see hold_back.py): a program
that writes here first, and then its output, is always in time.

Everything here was written by a stranger. What is malformed is no metadata at all, and an error that says what to mend.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

CHANNEL: Final = "meta"
"""The name of the output: the guest has it as /dev/out/meta."""

MAX_BYTES: Final = 16 * 1024

_WITHOUT_A_BODY = frozenset((204, 205, 206))
# Clients do not show these to anybody: they ask again (swiftclient 401, 408, 429, 498, 499; botocore 429; browsers 408,
# 421, 425), or take them for something of the connection's (407, 417).
_ASKED_AGAIN = frozenset((401, 407, 408, 417, 421, 425, 429, 498, 499))

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTENT_TYPE = re.compile(
    rf'{_TOKEN.pattern}/{_TOKEN.pattern}(?:[ \t]*;[ \t]*{_TOKEN.pattern}=(?:{_TOKEN.pattern}|"[ !#-\[\]-~]*"))*'
)
# Swift would take a stored body of this type apart, and reads parameters of that name as its own.
_SWIFTS_OWN = re.compile(r"multipart/byteranges|.*;[ \t]*swift_", re.IGNORECASE)
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class MetadataError(Exception):
    """What the program wrote is no metadata. The message is one line for people."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What Swift allows of an object's own metadata; these are its defaults. In characters of the headers."""

    name: int = 128
    value: int = 256
    count: int = 90
    overall: int = 4096


DEFAULT_BOUNDS: Final = Bounds()


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a program said of its result, checked."""

    status: int = 200
    """200 to 299 or 400 to 499, and one that clients show and have bodies for."""
    content_type: str | None = None
    """None: the program's own (its manifest's)."""
    user: Mapping[str, str] = field(default_factory=dict)
    """By name, as the program wrote it. No two are the same as headers, where case does not count and _ is -."""

    def encode(self) -> str:
        """One line of ASCII, of which `parse` makes the same again: a header's value, or a frame's payload."""
        said: dict[str, Any] = {"status": self.status}
        if self.content_type is not None:
            said["content_type"] = self.content_type
        if self.user:
            said["user"] = dict(self.user)
        return json.dumps(said, separators=(",", ":"))

    def status_line(self) -> str:
        """As WSGI wants it: `404 Not Found`."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} Said By The Program"

    def user_headers(self) -> list[tuple[str, str]]:
        """X-Object-Meta-NAME, percent-encoded as Swift's API has it: all but printable ASCII, and the sign itself."""
        return [(f"X-Object-Meta-{_header_name(name)}", _header_value(value)) for name, value in self.user.items()]


NONE: Final = Metadata()
"""What a program says that says nothing."""


def parse(data: bytes, bounds: Bounds = DEFAULT_BOUNDS) -> Metadata:
    """What a program wrote. Raises `MetadataError`, naming what is wrong."""
    if len(data) > MAX_BYTES:
        raise MetadataError(f"more than the {MAX_BYTES} bytes that they may have")
    if not data:
        return NONE
    try:
        said = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as why:
        raise MetadataError(f"byte {why.start} is not UTF-8") from None
    except json.JSONDecodeError as why:
        raise MetadataError(f"not JSON: {why.msg} at character {why.pos}") from None
    except (ValueError, RecursionError):
        raise MetadataError("not JSON: a number of too many digits, or too deeply nested") from None
    if not isinstance(said, dict):
        raise MetadataError(f"a JSON object is wanted, and this is {_show(said)}")
    unknown = sorted(set(said) - {"status", "content_type", "user"})
    if unknown:
        raise MetadataError(f"unknown: {', '.join(map(_show, unknown[:5]))}; known are status, content_type and user")
    return Metadata(
        status=_status(said.get("status", 200)),
        content_type=_content_type(said.get("content_type")),
        user=_user(said.get("user", {}), bounds),
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise MetadataError(f"{_show(next(name for name in names if names.count(name) > 1))} is there twice")
    return made


def _no_constant(name: str) -> Any:
    raise MetadataError(f"{name} is no JSON")


def _status(said: Any) -> int:
    if type(said) is not int or not (200 <= said <= 299 or 400 <= said <= 499):
        raise MetadataError(f"status: 200 to 299 or 400 to 499 are allowed, and this is {_show(said)}")
    if said in _WITHOUT_A_BODY:
        raise MetadataError(f"status: {said} speaks of an answer without a body, or of a part of one")
    if said in _ASKED_AGAIN:
        raise MetadataError(f"status: {said} makes clients ask again, or is the connection's")
    return said


def _content_type(said: Any) -> str | None:
    if said is None:
        return None
    if not isinstance(said, str) or len(said) > 255 or not _CONTENT_TYPE.fullmatch(said):
        raise MetadataError(f"content_type: a media type is wanted, as text/plain, and this is {_show(said)}")
    if _SWIFTS_OWN.match(said):
        raise MetadataError(f"content_type: {_show(said)} means something to the storage itself")
    return said


def _user(said: Any, bounds: Bounds) -> dict[str, str]:
    if not isinstance(said, dict):
        raise MetadataError(f"user: a JSON object is wanted, and this is {_show(said)}")
    if len(said) > bounds.count:
        raise MetadataError(f"user: {len(said)} names, and {bounds.count} are allowed")
    known = set[str]()
    overall = 0
    for name, value in said.items():
        if not _TOKEN.fullmatch(name):
            raise MetadataError(f"user: {_show(name)} cannot be a header's name")
        if len(name) > bounds.name:
            raise MetadataError(f"user: a name of {len(name)} characters, and {bounds.name} are allowed")
        if _header_name(name) in known:
            raise MetadataError(f"user: {_show(name)} is there twice: to headers case is nothing, and _ is -")
        known.add(_header_name(name))
        if not isinstance(value, str):
            raise MetadataError(f"user: a string is wanted for {_show(name)}, and this is {_show(value)}")
        try:
            length = len(_header_value(value))
        except UnicodeEncodeError:
            raise MetadataError(f"user: {_show(name)} has half a character (a lone surrogate)") from None
        if length > bounds.value:
            raise MetadataError(
                f"user: {_show(name)} has {length} characters as a header, and {bounds.value} are allowed"
            )
        overall += len(name) + length
    if overall > bounds.overall:
        raise MetadataError(f"user: {overall} characters in all as headers, and {bounds.overall} are allowed")
    return dict(said)


def _header_name(name: str) -> str:
    # As it comes back from storage: WSGI does not tell these apart.
    return name.replace("_", "-").title()


def _header_value(text: str) -> str:
    coded = quote(text, safe=_PRINTABLE)
    # HTTP has no blanks at either end.
    core = coded.strip(" ")
    before = len(coded) - len(coded.lstrip(" "))
    return "%20" * before + core + "%20" * (len(coded) - before - len(core))


_KINDS: Final[dict[type, str]] = {dict: "an object", list: "an array"}


def _show(said: Any) -> str:
    text = _KINDS.get(type(said)) or json.dumps(said)
    return text if len(text) <= 60 else f"{text[:60]}…"
