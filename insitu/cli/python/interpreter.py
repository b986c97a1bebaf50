"""The installed Python: the program `python`, which the package `insitu_python` brings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.errors import UnknownProgram
from insitu.runtime.programs import ProgramInfo, ProgramStore
from insitu.runtime.reading import read_file
from insitu.sandbox.limits import MAX_PROGRAM

NAME: Final = "python"
PACKAGES: Final = "lib/site"
"""Where in the guest packages are."""
_VERSION: Final = re.compile(rb"""__version__ = ["']([\w.]+)["']""")


def interpreter(asking: str) -> tuple[ProgramInfo, Bundle]:
    """Raises `UnknownProgram`, `asking` named, with the way to get one; `ProgramRejected` where it is damaged."""
    try:
        info = ProgramStore().find(NAME)
    except UnknownProgram:
        raise _missing(f"{asking}: Python scripts need the Python guest") from None
    return info, Bundle(read_file(Path(info.path), MAX_PROGRAM), info.path)


def check_python(name: str) -> None:
    """For whoever has not found the program `name`: raises `UnknownProgram` with the way to get it where it is Python
    and none is installed."""
    if name.partition("@")[0] == NAME:
        try:
            ProgramStore().find(NAME)
        except UnknownProgram:
            raise _missing(f"program {name} is the Python guest") from None


def _missing(what: str) -> UnknownProgram:
    return UnknownProgram(
        f"{what}, which is not installed here: in a checkout of insitu "
        "`make python-guest` builds it (5 to 15 minutes, and 1.5 GB of disk while it does); "
        "elsewhere install the wheel that it makes, insitu_python-….whl"
    )


def pillow_version(files: Mapping[str, bytes]) -> str:
    """That of the Pillow that an interpreter with these files brings; empty when it brings none."""
    found = _VERSION.search(files.get(f"{PACKAGES}/PIL/_version.py", b""))
    return found[1].decode() if found else ""
