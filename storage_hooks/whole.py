"""Bytes laid aside until they are whole.

Results for those who cannot be given them piece by piece: who asks for a part, or with a condition on its ETag, and
clients of HTTP/1.0, to whom a body that was cut off looks like one that ended. And what a client sends for a program to
run on: no worker waits for a slow client, and nothing is started before all has come and is what it should be.

What is small stays in memory, the rest goes to a temporary file without a name (in $TMPDIR).
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

from swift.common.utils import close_if_possible

MEMORY: Final = 1 << 20
PIECE: Final = 1 << 16


class Whole:
    """Bytes that came to their end. Iterate it, once, or read it; `close` frees them."""

    def __init__(self, file: Any, length: int, md5: str) -> None:
        self._file = file
        self.length = length
        self.md5 = md5
        """32 hexadecimal digits: what Swift would call its ETag."""

    @classmethod
    def of(cls, body: Iterable[bytes]) -> Self:
        """Take all of `body`, which is closed then. Raises what it raises."""
        # A plain open file: closed below on every way out but the good one.
        file = tempfile.SpooledTemporaryFile(MEMORY)  # noqa: SIM115
        digest = hashlib.md5(usedforsecurity=False)
        length = 0
        try:
            for chunk in body:
                length += len(chunk)
                digest.update(chunk)
                file.write(chunk)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        finally:
            close_if_possible(body)
        return cls(file, length, digest.hexdigest())

    def read(self, size: int = -1) -> bytes:
        """As a request's body is read."""
        data: bytes = self._file.read(size)
        return data

    def fileno(self) -> int:
        """Of a file with all of it; also of what was in memory."""
        number: int = self._file.fileno()
        return number

    def rewind(self) -> None:
        """To be read from its beginning again."""
        self._file.seek(0)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self.read(PIECE)
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        """May be called again."""
        self._file.close()
