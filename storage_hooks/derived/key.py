"""What a derived object is addressed by.

The SHA-256 over the words below, each with its length before it and each list with its count, so that no two different
requests are ever the same bytes:

    "insitu-derived", ABI version, source ETag, program digest, count, argument…, count, (channel, input ETag)…,
    count, limit…

The arguments are what a guest sees: the first of them is the name by which the program was asked for. The limits are
those that a guest is told of and may go on after (see `told`); the others end it, and a launch that was ended has no
result.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from insitu.sandbox.abi import ABI
from insitu.sandbox.limits import Limits

_DOMAIN: Final = b"insitu-derived"


def key_of(
    source_etag: str,
    program_digest: str,
    args: Sequence[str] = (),
    inputs: Sequence[tuple[str, str]] = (),
    limits: Sequence[int] = (),
    abi: int = ABI,
) -> str:
    """64 hex digits. `inputs`: (channel, ETag) in the order in which the request names them. ETags quoted or not."""
    hashed = hashlib.sha256()

    def word(data: bytes) -> None:
        hashed.update(len(data).to_bytes(8, "big"))
        hashed.update(data)

    def text(value: str) -> None:
        # Arguments may be any bytes; the grammar carries them so.
        word(value.encode("utf-8", "surrogateescape"))

    word(_DOMAIN)
    word(b"%d" % abi)
    text(_bare(source_etag))
    text(program_digest)
    word(b"%d" % len(args))
    for arg in args:
        text(arg)
    word(b"%d" % len(inputs))
    for channel, etag in inputs:
        text(channel)
        text(_bare(etag))
    word(b"%d" % len(limits))
    for limit in limits:
        word(b"%d" % limit)
    return hashed.hexdigest()


def told(limits: Limits) -> tuple[int, ...]:
    """Of the limits of a launch, those that refuse a guest something, who may then write something else."""
    return limits.memory, limits.table, limits.open_files, limits.tmp, limits.tmp_files, limits.path


def _bare(etag: str) -> str:
    """Swift quotes the ETags of large objects, and with etag_quoter all of them on their way out."""
    return etag.strip('"')
