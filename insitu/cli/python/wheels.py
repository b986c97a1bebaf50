"""Wheels, unpacked to what of them a program gets: modules, their data, and what they say of themselves.

A wheel is an archive of somebody's: its paths are looked at before anything is done with them, and what belongs to a
machine (commands, headers, data beside the modules, what tells of an installation) is left out. Nothing is written.
"""

import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from insitu.runtime.bundles.archive import MAX_TOTAL
from insitu.runtime.errors import ProgramRejected
from insitu.sandbox.limits import format_size

_DATA: Final = re.compile(r"[^/]+\.data/")
_MODULES: Final = re.compile(r"[^/]+\.data/(?:purelib|platlib)/(.+)")
_NOT_TAKEN: Final = re.compile(
    r"[^/]+\.pth|.*\.pyc|[^/]+\.dist-info/(RECORD(\.jws|\.p7s)?|INSTALLER|REQUESTED|direct_url\.json)"
)


def unpacked(wheels: Sequence[Path], source: str) -> dict[str, bytes]:
    """Path below where packages are → contents. Raises `ProgramRejected` naming `source`, the wheel and the fault."""
    found: dict[str, bytes] = {}
    left = MAX_TOTAL
    for path in sorted(wheels, key=lambda path: path.name):
        try:
            with zipfile.ZipFile(path) as wheel:
                for about in wheel.infolist():
                    if about.is_dir() or not (place := _place(about.filename, f"{source}: {path.name}")):
                        continue
                    with wheel.open(about) as file:
                        found[place] = file.read(left + 1)  # whatever it says of its size
                    left -= len(found[place])
                    if left < 0:
                        raise ProgramRejected(
                            f"{source}: its requirements have over {format_size(MAX_TOTAL)} with {path.name}, "
                            "and no more are allowed"
                        )
        # What `zipfile` raises of a damaged one: RuntimeError of one that is encrypted.
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            ValueError,
            EOFError,
            OSError,
        ) as why:
            raise ProgramRejected(f"{source}: {path.name} is no wheel that can be read: {str(why)[:200]}") from None
    return found


def _place(name: str, source: str) -> str:
    """Where it goes; empty if nowhere."""
    if name.startswith("/") or "\\" in name or not name.isprintable() or {"", ".", ".."} & set(name.split("/")):
        raise ProgramRejected(f"{source}: {name!r} is no path of a file in it")
    if inside := _MODULES.fullmatch(name):
        name = inside[1]
    elif _DATA.match(name):
        return ""
    return "" if _NOT_TAKEN.fullmatch(name) else name
