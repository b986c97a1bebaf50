"""Where everything of one cluster lies, who may make it, and who may delete it.

::

    DIR/.insitu-cluster   the marker: only a directory with this file is ever reused or removed
    DIR/lock              locked by the supervisor as long as it lives
    DIR/identity.json     keys and hash secrets       DIR/state.json   what runs: ports, pids, rings
    DIR/programs.json     the operator's own programs, for the next `insitu cluster up`
    DIR/control           the supervisor's socket     DIR/run/         the nodes' sockets
    DIR/etc/              rings and configuration     DIR/log/         a log per process
    DIR/meta/, node1/ …   the data                    DIR/cache/       compiled programs
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from insitu.storage_hooks.devcluster.errors import AlreadyRunning, DevClusterError, DirectoryRefused

MARKER: Final = ".insitu-cluster"
SOCKET_PATH_MAX: Final = 90  # bytes; the kernel takes 107, an insitu node 90
ALONE_PATIENCE: Final = 120.0  # seconds for another start in the same directory, longer than any start takes


@dataclass(frozen=True)
class Layout:
    """The paths inside one cluster's directory."""

    root: Path

    @property
    def marker(self) -> Path:
        return self.root / MARKER

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def identity(self) -> Path:
        return self.root / "identity.json"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def programs(self) -> Path:
        return self.root / "programs.json"

    @property
    def control(self) -> Path:
        return self.root / "control"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def journal(self, node: int) -> Path:
        """Usage records of the insitu node beside object server `node`."""
        return self.root / "journal" / f"object-{node}.journal"

    def log(self, name: str) -> Path:
        return self.root / "log" / f"{name}.log"

    def devices(self, name: str) -> Path:
        """What a storage server's `devices` names: the directory above its one device."""
        return self.root / name

    def socket(self, node: int) -> Path:
        """The Unix socket of the insitu node beside object server `node` (counted from 1)."""
        return self.run / str(node)  # short, because the whole path must be

    @contextmanager
    def alone(self, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
        """Makes the directory, mode 0700, and holds it against other starts. Gives whether it was made just now.

        `waiting` is called when another start has to be waited for. Raises DirectoryRefused for a place where a
        cluster cannot work, DevClusterError when the other start does not end.
        """
        if len(os.fsencode(self.socket(16))) > SOCKET_PATH_MAX:
            raise DirectoryRefused(f"{self.root}: the path is too long for Unix sockets inside it; name a shorter one")
        deadline = time.monotonic() + ALONE_PATIENCE
        told = False
        while True:
            made, fd = self._open_directory()
            try:
                # The directory itself is what is locked: a file in it would make an empty one look like someone's.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._still(fd):
                    break
                os.close(fd)  # a start that was broken off has removed it meanwhile
            except BlockingIOError:
                os.close(fd)
                if not told:
                    waiting()
                    told = True
                if time.monotonic() > deadline:
                    raise DevClusterError(f"{self.root}: another start goes on here and does not end") from None
                time.sleep(0.05)
            except OSError as e:
                os.close(fd)
                raise DirectoryRefused(f"{self.root}: cannot be locked: {e.strerror or e}") from e
        try:
            yield made
        finally:
            if made and not self.marker.exists():
                with suppress(OSError):
                    self.root.rmdir()  # nothing came of it
            os.close(fd)

    def _open_directory(self) -> tuple[bool, int]:
        try:
            try:
                self.root.mkdir(mode=0o700, parents=True)
                made = True
            except FileExistsError:
                made = False
            return made, os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            raise DirectoryRefused(f"{self.root}: not a directory") from None
        except OSError as e:
            raise DirectoryRefused(f"{self.root}: {e.strerror or e}") from e

    def _still(self, fd: int) -> bool:
        """The open directory is the one that has our name."""
        try:
            return os.path.samestat(os.fstat(fd), self.root.stat())
        except FileNotFoundError:
            return False

    def claim(self, made: bool) -> bool:
        """Makes the directory a cluster's, or takes up one that is. True when it held no cluster before.

        `made`: it was made for the cluster just now, so it goes with it. One found empty is emptied again, and stays.
        Raises DirectoryRefused for a directory with other things in it, or one where a cluster cannot work.
        """
        try:
            if self.marker.exists():
                return False
            if any(self.root.iterdir()):
                raise DirectoryRefused(
                    f"{self.root}: not empty and not a cluster's directory (no {MARKER}); name another or an empty one"
                )
            check_attributes(self.root)
            self.marker.write_text("made\n" if made else "found empty\n")
            if not made:
                self.root.chmod(0o700)
        except OSError as e:
            raise DirectoryRefused(f"{self.root}: {e.strerror or e}") from e
        return True

    def locked(self) -> bool:
        """A supervisor lives here."""
        try:
            fd = os.open(self.lock, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def take_lock(self) -> int:
        """The descriptor whose life is the lock's. Raises AlreadyRunning."""
        fd = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise AlreadyRunning(f"{self.root}: a cluster runs here already") from None
        return fd

    def check_ours(self) -> None:
        """Raises DirectoryRefused for anything that is not a cluster's directory."""
        if not self.marker.is_file():
            raise DirectoryRefused(f"{self.root}: not a cluster's directory (no {MARKER}); nothing was touched")

    def remove(self) -> None:
        """Deletes the directory with its data, or only what is in it where it was found empty. Missing is fine.

        Raises DirectoryRefused for a directory without our marker.
        """
        if not self.root.exists():
            return
        self.check_ours()
        try:
            made = self.marker.read_text() != "found empty\n"
            # The marker goes last: an interrupted removal can be taken up again.
            for entry in self.root.iterdir():
                if entry == self.marker:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
            self.marker.unlink(missing_ok=True)
            if made:
                self.root.rmdir()
        except FileNotFoundError:
            pass  # someone else removes it at the same time
        except OSError as e:
            raise DirectoryRefused(f"{self.root}: could not be removed: {e}") from e


def check_attributes(directory: Path) -> None:
    """Swift keeps metadata in extended attributes; raises DirectoryRefused where the file system has none."""
    with tempfile.NamedTemporaryFile(dir=directory) as probe:
        try:
            os.setxattr(probe.fileno(), "user.insitu", b"1")
        except OSError as e:
            if e.errno not in (errno.ENOTSUP, errno.EPERM, errno.ENOSPC):
                raise
            raise DirectoryRefused(
                f"{directory}: its file system has no user extended attributes, which Swift needs; name another"
            ) from None
