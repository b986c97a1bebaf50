"""A JavaScript script, or a directory with one: run, or made a bundle, by the shipped program `javascript`.

Called by any other name than its own, that program runs /main.js (guests/javascript/main.c). So a bundle of a script is
no more than that module, the script under this name, and the files beside it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from insitu.cli.python.project import Gathered, check_named, contents_of, named
from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.archive import MAX_BYTES
from insitu.runtime.bundles.build import TEXTS, packed
from insitu.runtime.bundles.bundle import FILES, Bundle
from insitu.runtime.bundles.manifest import Manifest
from insitu.runtime.errors import ProgramRejected
from insitu.runtime.programs import ProgramInfo, ProgramStore
from insitu.runtime.reading import read_file

NAME: Final = "javascript"
MAIN: Final = "main.js"
SUFFIXES: Final = (".js", ".mjs")


@dataclass(frozen=True, slots=True)
class Script:
    files: dict[str, bytes]
    """Path in the guest, of which one is `MAIN` → contents."""
    manifest: bytes
    """Its words, and a name in any case."""
    stated: Manifest
    texts: dict[str, bytes]
    """Licence and the like: they go along in a bundle."""


def is_project(path: str | Path) -> bool:
    """A script, or a directory with one and no module of its own."""
    path = Path(path)
    if path.is_dir():
        return (path / MAIN).is_file() and not any(path.glob("*.wasm"))
    return path.suffix in SUFFIXES


def read(path: Path) -> Script:
    """A lone script brings nothing else. Raises `ProgramRejected` naming the file and what is wrong."""
    if path.is_dir():
        gathered = Gathered(path)
        gathered.tree("")
        files = gathered.files
        texts = {name: data for name, data in files.items() if "/" not in name and name.startswith(TEXTS)}
        words, stated = named(files.pop(manifest.NAME, b""), path.resolve().name, str(path / manifest.NAME))
    else:
        files, texts = {MAIN: contents_of(path)}, {}
        words, stated = named(b"", path.stem, str(path))
    if stated.name == NAME:
        raise ProgramRejected(f"{path}: a program that is a script cannot be called {NAME}: that is what runs it")
    return Script(files, words, stated, texts)


def interpreter() -> tuple[ProgramInfo, bytes]:
    """The shipped program, and its module. Raises `UnknownProgram` where the shipped programs were not built."""
    info = ProgramStore().find(NAME)
    return info, read_file(Path(info.path), MAX_BYTES)


def build(path: Path) -> tuple[bytes, Bundle]:
    """Raises `ProgramRejected`, `UnknownProgram`."""
    script = read(path)
    check_named(script.stated, path, "the program.toml of a directory, as its main.js")
    entries = {f"{FILES}/{name}": data for name, data in script.files.items()}
    entries |= {manifest.NAME: script.manifest, f"{NAME}.wasm": interpreter()[1], **script.texts}
    return packed(entries, entries.__getitem__, str(path))
