"""The per-user store of what has been fetched and built, so that a second build does nothing.

    ${XDG_CACHE_HOME:-~/.cache}/insitu/guests/
        sources/SHA256-FILENAME     distributions as they were downloaded
        built/NAME-KEY.wasm         results; KEY is the digest of all that goes into one
        photo/KEY.jpg               the demo's photograph
        zig/                        the compiler's own cache: its C library is in there, which takes longest to build
        scratch/NAME/               a build under way; left by an interrupted one, cleared by the next
        lock-NAME                   held by the one process that builds NAME

Everything is written beside its place and then renamed into it: what has a final name is whole.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def say(text: str) -> None:
    """One line of progress, on standard error."""
    print(f"guests: {text}", file=sys.stderr, flush=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` at `path`, so that a reader finds the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


class Store:
    """The folder described above. Several processes may use one at the same time."""

    def __init__(self, root: Path | None = None) -> None:
        if root is None:
            base = os.environ.get("XDG_CACHE_HOME", "")
            # The XDG specification has a relative path ignored.
            cache = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
            root = cache / "insitu" / "guests"
        self.root = root

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Held by one process at a time; the kernel releases it when its holder ends, however it ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / f"lock-{name}", "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{name}: another build is under way, waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty folder for as long as it is needed. To be used with lock(name) held."""
        folder = self.root / "scratch" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
