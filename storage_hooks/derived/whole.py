"""A result laid aside until it is whole.

For those who cannot be given it piece by piece: who asks for a part, or with a condition on its ETag, and clients of
HTTP/1.0, to whom a body that was cut off looks like one that ended. What is small stays in memory, the rest goes to a
temporary file without a name.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

from swift.common.utils import close_if_possible

MEMORY: Final = 1 << 20
PIECE: Final = 1 << 16


class Whole:
    """The bytes of a result that came to its end. Iterate it, once, or read it; `close` frees them."""

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
