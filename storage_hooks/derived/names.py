"""Where derived objects lie: in one container per account, whose name no client can say.

    container   NUL insitu-derived
    object      NUL CONTAINER/OBJECT NUL KEY        of the object that the program read

Swift reserves names that begin with NUL for middleware: a client's request that has one is refused (412), and listings
do not show them. The object's name begins with the source's path, so that a listing by prefix finds what was made of an
object, or of all objects of a container.
"""

import re
from typing import Final, NamedTuple

from swift.common.constraints import MAX_OBJECT_NAME_LENGTH
from swift.common.request_helpers import get_reserved_name, split_reserved_name

CONTAINER: Final = str(get_reserved_name("insitu-derived"))
_KEY: Final = re.compile(r"[0-9a-f]{64}")


class Named(NamedTuple):
    """One derived object's name, taken apart."""

    path: str
    """"CONTAINER/OBJECT" of the source."""
    key: str


def name_of(container: str, obj: str, key: str) -> str | None:
    """The name (text, not quoted); None where it would be too long for Swift: such a result is not kept."""
    try:
        name = str(get_reserved_name(f"{container}/{obj}", key))
    except ValueError:
        return None  # the source is itself in the reserved namespace
    return name if len(name.encode("utf-8", "surrogateescape")) <= MAX_OBJECT_NAME_LENGTH else None


def named(name: str) -> Named | None:
    """The inverse; None for a name that is none of ours."""
    try:
        path, key = split_reserved_name(name)
    except ValueError:
        return None
    return Named(path, key) if _KEY.fullmatch(key) else None


def prefix_of(path: str) -> str:
    """The beginning that all names share whose source's "CONTAINER/OBJECT" begins with `path`, which may be empty."""
    return str(get_reserved_name(path))


def marker_of(text: str) -> str | None:
    """ "CONTAINER/OBJECT/KEY", as owners see an entry's place in the list, as a name; None when it is none."""
    path, _, key = text.rpartition("/")
    return str(get_reserved_name(path, key)) if _KEY.fullmatch(key) and "\0" not in path else None
