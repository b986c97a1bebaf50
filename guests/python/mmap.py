"""A guest's files cannot be mapped into its memory. This stands in the place of the compiled module, so that what
prefers a map to reading goes on by reading (`PIL` does so with BMP and PPM), and what only mentions it can be imported.

The numbers are those of Linux.
"""

import errno
import os

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_SHARED, MAP_PRIVATE = 1, 2
MAP_ANON = MAP_ANONYMOUS = 32
ACCESS_DEFAULT, ACCESS_READ, ACCESS_WRITE, ACCESS_COPY = range(4)
PAGESIZE = ALLOCATIONGRANULARITY = 1 << 16  # of WebAssembly

error = OSError


class mmap:
    def __new__(cls, fileno: int, length: int, *_: object, **__: object) -> "mmap":
        """Always raises: ValueError for an empty file, as everywhere, and OSError for any other."""
        if fileno != -1 and length == 0 and os.fstat(fileno).st_size == 0:
            raise ValueError("cannot mmap an empty file")
        raise OSError(errno.ENODEV, "a guest cannot map files into memory")
