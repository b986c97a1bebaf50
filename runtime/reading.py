"""Files that somebody else may put another thing in the place of while they are looked at."""

import os
import stat
from typing import Final

_PIECE: Final = 1 << 20


def read_file(path: str | os.PathLike[str], most: int, *, follow: bool = True) -> bytes:
    """What a regular file holds, up to one byte over `most`. `follow`: also what a link leads to. Raises OSError, also
    for what is no regular file: a named pipe would hold us up until somebody wrote to it, and a device has no end."""
    links = 0 if follow else os.O_NOFOLLOW
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | links)
    with open(fd, "rb", buffering=0) as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(None, "no regular file")
        # What it holds now, at once: to ask for as much as there may be takes as much memory, which a compiler may not
        # have, and to put it together of pieces takes three times as long, which a node has not.
        data = file.read(min(about.st_size, most) + 1)
        # It may have grown, and a read may come back with less.
        while len(data) <= most and (piece := file.read(min(_PIECE, most + 1 - len(data)))):
            data += piece
        return data
