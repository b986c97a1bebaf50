"""Programs ready to run: from the cache, or handed over in memory where there is no cache to speak of.

The compiler's half (`prepare`) turns a program's file into what the spawner's half (`load`) maps: machine code, and for
a bundle its files (`bundles/pack.py`). They meet in the cache. When the disk will not have it, the compiler gives its
product away as sealed memfds instead: they go by way of the node, which only passes descriptors on, and live as long as
the program stays loaded. What a stranger sent is unpacked and compiled in the compiler alone.
"""

import fcntl
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from insitu.runtime.bundles import pack
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.bundles.pack import Pack
from insitu.runtime.cache import CompiledCache
from insitu.sandbox import raw
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import EngineError
from insitu.sandbox.launch import Runner
from insitu.sandbox.program import Program, compile_program, to_wasm

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Stock:
    def __init__(self, runner: Runner, cache: CompiledCache) -> None:
        self._runner, self._cache = runner, cache

    def load(self, digest: str, name: str, *, bundle: bool, handed: Sequence[int] = ()) -> Program | None:
        """The program, linked; None when it has to be prepared first.

        `handed`: what `prepare` gave away, the code and then, for a bundle, its files. Raises `ProgramError`.
        """
        brought: Pack | None = None
        if handed:
            if any(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS for fd in handed):
                return None  # whoever made it could still change it
            path: Path | None = Path(f"/proc/self/fd/{handed[0]}")
            if bundle:
                brought = pack.read(handed[1])
        else:
            if bundle:
                brought = self._files(digest)
                if brought is None:
                    return None
            path = self._cache.find(brought.wasm if brought is not None else digest)
        if path is None:
            return None
        try:
            module = raw.load_module(self._runner.engine, os.fsencode(path))
        except EngineError:
            if not handed:
                path.unlink(missing_ok=True)  # made on another kind of processor
            return None
        program = self._runner.link(module, digest, name)
        program.size = os.stat(path).st_size
        if brought is not None:
            program.code, program.files = brought.wasm, brought.files
            program.size += brought.size
        return program

    def _files(self, digest: str) -> Pack | None:
        path = self._cache.find_files(digest)
        if path is None:
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return pack.read(fd)
        except ValueError:
            return None
        finally:
            os.close(fd)

    def prepare(self, path: str, digest: str, name: str, *, bundle: bool, keep: Collection[Path]) -> "Prepared":
        """Compile, and unpack, what is at `path`. Raises `ProgramError`, `ProgramRejected`, OSError, `EngineError`.

        `keep`: entries of the cache that are loaded.
        """
        data = Path(path).read_bytes()
        if program_digest(data) != digest:
            raise OSError(None, f"{path} changed while it was looked at; ask again")
        code_digest, files = digest, None
        if bundle:
            found = Bundle(data, name)
            data = found.wasm()
            code_digest = program_digest(data)
            files = pack.write(code_digest, found.files())
        code = None
        if not bundle or self._cache.find(code_digest) is None:
            module = compile_program(self._runner.engine, to_wasm(data, name), name)
            code = raw.serialize(module)
        try:
            if files is not None:
                self._cache.store_files(digest, files, keep)
            if code is not None:
                self._cache.store(code_digest, code, keep)
        except OSError as why:
            if code is None:
                code = self._cache.path(code_digest).read_bytes()
            handed = [_sealed(part) for part in (code, files) if part is not None]
            return Prepared(handed, f"{self._cache.directory}: {why.strerror or why}")
        return Prepared([], "")

    def entries(self, programs: Collection[Program]) -> set[Path]:
        """Of the cache, those of programs that are loaded."""
        return {self._cache.path(p.code) for p in programs} | {self._cache.files_path(p.digest) for p in programs}


class Prepared:
    """`handed`: descriptors of what could not be kept, for `Stock.load`; `unkept`: why it could not."""

    __slots__ = ("handed", "unkept")

    def __init__(self, handed: list[int], unkept: str) -> None:
        self.handed, self.unkept = handed, unkept

    def to_wire(self) -> dict[str, Any]:
        return {"unkept": self.unkept} if self.unkept else {}


def _sealed(data: bytes) -> int:
    fd = os.memfd_create("insitu-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
