"""Makes a bundle from a directory: the same files give the same bytes, on any machine, for ever.

Entries are in the order of their names, of one date, one mode, and stored: how deflate packs depends on its version,
and a digest that changes with a library names nothing. A bundle that another tool has packed is as good.

    DIR/program.toml      the manifest
    DIR/NAME.wasm         the module: the manifest's `entry`, or the only one
    DIR/files/…           what the guest gets as `/`: the manifest's `files`, or this
    DIR/LICEN?E*, NOTICE*, README*     go along; nothing else does
"""

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.archive import MAX_BYTES, MAX_ENTRIES
from insitu.runtime.bundles.bundle import FILES, SUFFIX, Bundle
from insitu.runtime.errors import ProgramRejected
from insitu.runtime.reading import read_file

_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say
_UNIX: Final = 3
TEXTS: Final = ("LICENCE", "LICENSE", "NOTICE", "README")


def build(directory: Path) -> tuple[bytes, Bundle]:
    """Raises `ProgramRejected` naming the file."""
    stated = manifest.parse(_bytes(directory / manifest.NAME), str(directory), bundle=True)
    names = [manifest.NAME, *_modules(directory, stated.entry), *_beside(directory)]
    files = stated.files or FILES
    if stated.files and not (directory / stated.files).is_dir():
        raise ProgramRejected(f"{directory}: its manifest's files {stated.files!r} is no directory in it")
    if (directory / files).is_dir():
        names += [f"{files}/", *_walk(directory, files)]
    return packed(names, lambda name: _bytes(directory / name), str(directory))


def packed(names: Iterable[str], read: Callable[[str], bytes], source: str) -> tuple[bytes, Bundle]:
    """A bundle of these entries; a directory's name ends with "/", all others' contents are what `read` gives.

    Raises `ProgramRejected` naming `source`."""
    entries = sorted(set(names))
    if len(entries) > MAX_ENTRIES:
        raise ProgramRejected(f"{source}: {len(entries)} entries, and at most {MAX_ENTRIES} are allowed")
    out, total = io.BytesIO(), 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name in entries:
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = _UNIX
            folder = name.endswith("/")
            entry.external_attr = ((stat.S_IFDIR | 0o755) if folder else (stat.S_IFREG | 0o644)) << 16
            data = b"" if folder else read(name)
            total += len(data)
            if total > MAX_BYTES:
                raise ProgramRejected(f"{source}: over {MAX_BYTES} bytes with {name}, and no more are allowed")
            archive.writestr(entry, data)
    data = out.getvalue()
    return data, Bundle(data, source)  # what is made here can be read there


def names_of(bundle: Bundle) -> list[str]:
    """What a bundle may be called in a directory of programs, the best first."""
    stated = bundle.manifest
    plain = f"{stated.name}{SUFFIX}"
    return [f"{stated.name}@{stated.version}{SUFFIX}", plain] if stated.version else [plain]


def _modules(directory: Path, entry: str) -> list[str]:
    return [entry] if entry else sorted(path.name for path in directory.glob("*.wasm"))


def _beside(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith(TEXTS) and path.is_file()]


def _walk(directory: Path, inside: str) -> Iterator[str]:
    with os.scandir(directory / inside) as found:
        for entry in found:
            name = f"{inside}/{entry.name}"
            if entry.is_symlink():
                raise ProgramRejected(f"{directory / name}: a symbolic link, and a bundle has none")
            if entry.is_dir(follow_symlinks=False):
                yield f"{name}/"
                yield from _walk(directory, name)
            else:
                yield name


def _bytes(path: Path) -> bytes:
    try:
        # A link in place of a file would give a bundle that its directory does not have.
        data = read_file(path, MAX_BYTES, follow=False)
    except OSError as why:
        raise ProgramRejected(f"{path}: {why.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ProgramRejected(f"{path}: over {MAX_BYTES} bytes, and no more are allowed")
    return data
