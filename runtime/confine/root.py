"""A root with nothing in it: the directory that a worker takes for `/` has been removed from its file system.

Holds back: seeing that a path exists, how large it is, when it was written: Landlock does not. Nothing can be made in a
directory that is no more. Takes the right to change one's root: a spawner's that is root, or in a user namespace.
"""

import os
import tempfile

from insitu.runtime.confine.measure import Missing, Setup


def prepare() -> int:
    """In the spawner: a descriptor of such a directory. Raises OSError."""
    path = tempfile.mkdtemp(prefix="insitu-nowhere-")
    os.chmod(path, 0o555)  # whoever takes it for its root has to get into it
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.rmdir(path)


def take(setup: Setup) -> None:
    if setup.nowhere < 0:
        raise Missing("no empty directory could be made")
    os.fchdir(setup.nowhere)
    os.chroot(".")
    os.close(setup.nowhere)


def prove(_: Setup) -> None:
    for path in ("/proc", "/etc/passwd", "../../etc/passwd"):
        if os.path.lexists(path):
            raise Missing(f"{path} can be seen")
