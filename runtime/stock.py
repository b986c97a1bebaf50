"""Programs ready to run: from the cache, or handed over in memory where there is no cache to speak of.

The compiler's part (`prepare`) turns a program's file into machine code, and for a bundle also its files laid out flat
(`bundles/pack.py`). What a stranger sent is unpacked and compiled there alone, so a compiler can write nowhere: it
gives its product away as sealed memfds, which go by way of the node, who only passes descriptors on. The storekeeper's
part (`store`) writes them into the cache, under the digest of what was to be compiled and no other: whoever takes a
compiler over can spoil that one program, and no more. The spawner's part (`load`) maps what is in the cache; when the
disk would not have it, the memfds, which live as long as the program stays loaded.
"""

import fcntl
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from insitu.runtime.bundles import pack
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.bundles.pack import Pack
from insitu.runtime.cache import CompiledCache
from insitu.runtime.reading import read_file
from insitu.sandbox import raw
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import EngineError, ProgramError
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.sandbox.program import Program, compile_program, to_wasm

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Stock:
    """Of one engine."""

    def __init__(self, runner: Runner, cache: CompiledCache) -> None:
        self._runner, self._cache = runner, cache

    def load(self, digest: str, name: str, *, bundle: bool, handed: Sequence[int] = ()) -> Program | None:
        """The program, linked; None when it has to be prepared first.

        `handed`: what `prepare` gave away, the code and then, for a bundle, its files. Raises `ProgramError`.
        """
        brought: Pack | None = None
        if handed:
            _check_made(handed, name, bundle)
            path: Path | None = Path(f"/proc/self/fd/{handed[0]}")
            if bundle:
                try:
                    brought = pack.read(handed[1])
                except ValueError as why:
                    raise ProgramError(f"{name}: its compiler made {why}") from None
        else:
            if bundle:
                brought = self._files(digest)
                if brought is None:
                    return None
            path = self._cache.find(digest)
        if path is None:
            return None
        try:
            size = os.stat(path).st_size
            module = raw.load_module(self._runner.engine, os.fsencode(path))
        except OSError:
            return None  # somebody took it away
        except EngineError:
            if not handed and _can_open(path):
                _drop(path)  # made on another kind of processor
            return None
        program = self._runner.link(module, digest, name)
        program.size = size
        if brought is not None:
            program.files = brought.files
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

    def prepare(self, path: str, digest: str, name: str, *, bundle: bool) -> list[int]:
        """Compile, and unpack, what is at `path`: descriptors of the code and, for a bundle, of its files. Raises
        `ProgramError`, `ProgramRejected`, OSError, `EngineError`."""
        data = read_file(path, MAX_PROGRAM)
        if program_digest(data) != digest:
            raise OSError(None, f"{path} changed while it was looked at; ask again")
        files = None
        if bundle:
            found = Bundle(data, name)
            data, files = found.wasm(), pack.write(found.files())
        code = raw.serialize(compile_program(self._runner.engine, to_wasm(data, name), name))
        return [_sealed(code)] if files is None else [_sealed(code), _sealed(files)]

    def store(self, digest: str, made: Sequence[int], keep: Collection[Path]) -> None:
        """Keep what `prepare` gave. `keep`: entries of the cache that are loaded. Raises OSError when it cannot be."""
        code, *files = [os.pread(fd, os.fstat(fd).st_size, 0) for fd in made]
        for data in files:
            self._cache.store_files(digest, data, keep)
        self._cache.store(digest, code, keep)

    def entries(self, program: Program) -> tuple[Path, Path]:
        """Those of the cache that a program which is loaded has, or would have."""
        return self._cache.path(program.digest), self._cache.files_path(program.digest)


def _check_made(made: Sequence[int], name: str, bundle: bool) -> None:
    """That whoever made it can change it no more. Raises `ProgramError`."""
    try:
        sealed = all(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS for fd in made)
    except OSError:
        sealed = False  # no memfd at all
    if not sealed or len(made) != 1 + bundle:
        raise ProgramError(f"{name}: its compiler made something else than was asked for")


def _can_open(path: Path) -> bool:
    """Whether it is not for want of descriptors, say, that it could not be loaded."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _drop(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # nothing can be written there: it stays, and is found wanting each time


def _sealed(data: bytes) -> int:
    fd = os.memfd_create("insitu-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
