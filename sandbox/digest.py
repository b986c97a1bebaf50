"""A program's name that cannot be forged: the SHA-256 of its bytes."""

import hashlib
import re

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def program_digest(wasm: bytes) -> str:
    """`"sha256:"` and 64 lower-case hexadecimal digits."""
    return "sha256:" + hashlib.sha256(wasm).hexdigest()


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None
