"""Directories that must be one user's alone, for what is in them."""

import os
from pathlib import Path


def is_ours_alone(directory: Path, closed: int) -> bool:
    """Whether a directory, made if it is not there, is this process's user's, with none of the permissions `closed`.

    Raises OSError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & closed
