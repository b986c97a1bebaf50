"""A bundle: a zip whose parts are known. It is one file, and its SHA-256 is the program's digest."""

from typing import Final

from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.archive import Archive
from insitu.runtime.errors import ProgramRejected

SUFFIX: Final = ".zip"
FILES: Final = "files"


class Bundle:
    """`wasm` and `files` unpack when they are asked for; all else is known at once."""

    def __init__(self, data: bytes, source: str) -> None:
        """Raises `ProgramRejected` naming `source` and what is wrong."""
        self._archive, self._source = Archive(data, source), source
        entries = self._archive.entries
        if manifest.NAME not in entries:
            raise ProgramRejected(f"{source}: no {manifest.NAME} at its top")
        if entries[manifest.NAME].size > manifest.MAX_BYTES_OF_IT:
            raise ProgramRejected(f"{source}: its manifest is over {manifest.MAX_BYTES_OF_IT} bytes")
        self.manifest = manifest.parse(self._archive.read(manifest.NAME), source, bundle=True)
        self.entry = self._entry()
        """The module's path."""
        self._prefix = self._files()
        self.names: list[str] = list(entries)
        self.unpacked = sum(entry.size for entry in entries.values())
        """Bytes of all entries, unpacked."""

    def _entry(self) -> str:
        entries, entry = self._archive.entries, self.manifest.entry
        if entry:
            if entry not in entries or entries[entry].is_directory:
                raise ProgramRejected(f"{self._source}: its manifest's entry {entry!r} is not in it")
            return entry
        found = [name for name in entries if "/" not in name and name.endswith(".wasm")]
        if len(found) != 1:
            raise ProgramRejected(
                f"{self._source}: {len(found)} modules (.wasm) at its top; its manifest's entry must name one"
            )
        return found[0]

    def _files(self) -> str:
        asked = self.manifest.files
        prefix = f"{asked or FILES}/"
        if asked and not any(name.startswith(prefix) for name in self._archive.entries):
            raise ProgramRejected(f"{self._source}: its manifest's files {asked!r} is no directory in it")
        return prefix

    def read(self, name: str) -> bytes:
        """Any entry. Raises `ProgramRejected`, KeyError when there is none of that name."""
        return self._archive.read(name)

    def wasm(self) -> bytes:
        """Raises `ProgramRejected`."""
        return self._archive.read(self.entry)

    def files(self) -> dict[str, bytes]:
        """What the guest gets, path → contents; a directory's path ends with "/". Raises `ProgramRejected`."""
        found = {}
        for name, entry in self._archive.entries.items():
            path = name.removeprefix(self._prefix)
            if path != name and path:
                found[path] = b"" if entry.is_directory else self._archive.read(name)
        return found

    def verify(self) -> None:
        """Unpack all of it once. Raises `ProgramRejected`."""
        for name in self._archive.entries:
            self._archive.read(name)
