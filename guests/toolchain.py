"""The compiler: zig's clang from PyPI, for WebAssembly with WASI preview 1.

All paths given to it are relative to the folder it works in, and symbols are stripped: the same inputs give the same
bytes on any machine.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from guests.errors import ToolError

TARGET = ("-target", "wasm32-wasi", "-mcpu=generic+simd128+bulk_memory+sign_ext+nontrapping_fptoint+mutable_globals")
"""A fixed baseline: zig's default one may change with its version."""

JOBS = min(2, os.cpu_count() or 1)


def version() -> str:
    """The installed zig's version; it belongs to what identifies a build. Raises ToolError when there is none."""
    try:
        return metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        raise ToolError(
            f"zig is not installed for {sys.executable}: `make` sets it up, or: pip install -e '.[guests]'"
        ) from None


def executable() -> str:
    """Where zig itself is. Raises ToolError when it is not installed."""
    version()
    import ziglang

    return os.path.join(os.path.dirname(ziglang.__file__), "zig")


class Zig:
    """The compiler at work in one folder. `cache` is where zig keeps its C library and the objects it has made."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "ZIG_GLOBAL_CACHE_DIR": str(cache),
            "ZIG_LOCAL_CACHE_DIR": str(cache),
        }

    def cc(self, *arguments: str, what: str) -> None:
        """Runs `zig cc`. Raises ToolError with `what` it was about and the tail of what the compiler said."""
        command = [sys.executable, "-m", "ziglang", "cc", *TARGET, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            tail = "\n".join(done.stderr.strip().splitlines()[-12:])
            raise ToolError(f"{what} failed (zig ended with {done.returncode}):\n{tail}")

    def compile(self, units: Sequence[tuple[str, Sequence[str]]], done: Callable[[int, str], None]) -> list[str]:
        """Compiles each (source, flags), a few at a time; tells `done` how many and which. Returns the objects."""
        (self.folder / "objects").mkdir()

        def one(unit: tuple[str, Sequence[str]]) -> tuple[str, str]:
            source, flags = unit
            target = "objects/" + source.replace("/", "-").removesuffix(".c") + ".o"
            self.cc(*flags, "-c", source, "-o", target, what=f"compiling {source}")
            return source, target

        objects = []
        with ThreadPoolExecutor(JOBS) as pool:
            try:
                for count, (source, target) in enumerate(pool.map(one, units), 1):
                    objects.append(target)
                    done(count, source)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return objects
