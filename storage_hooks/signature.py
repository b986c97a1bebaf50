"""The proxies' signature under a run, without which an object hook starts nothing.

Swift's object servers take requests from anybody who can reach them. That is Swift's trust in its own network, and it
goes as far as reading and writing objects; running programs is more than that. So the run switch signs what it asks
for, as the last thing it does, and the object hook holds it against the same key before it does anything:

    X-Backend-Run-Signature: 1:1700000000:60:9f86d081…

    version, Unix time of signing, seconds it is good for, and HMAC-SHA256 over all of these and
    method, /ACCOUNT/CONTAINER/OBJECT, the run request, its terms, and the transaction's id

So a signature that somebody saw on the network is good for the same run of the same object and nothing else, and not
for long.

Settings, of run_switch and object_hook alike:

    # 32 characters or more, the same on all proxies and storage nodes: openssl rand -base64 32
    key = …
    # or a file with nothing else in it
    key_file = /etc/swift/insitu.key
    # object_hook only, while the key is exchanged: first the new one as `key` on all storage nodes with the one until
    # now as `old_key` (or `old_key_file`), then the new one on all proxies; then the old one goes.
    old_key = …
    # run_switch only: how many seconds a signature is good for. Servers' clocks must agree better than that.
    lifetime = 60
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

VERSION: Final = "1"
MIN_KEY: Final = 32
LIFETIME: Final = 60
"""Seconds, unless the setting says otherwise."""

_HEADER = re.compile(r"([0-9]{1,4}):([0-9]{1,12}):([0-9]{1,6}):([0-9a-f]{64})")


class SignatureError(Exception):
    """Nobody who has the key has asked for this, or not lately. The message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is signed. Strings as WSGI has them, each byte a character."""

    method: str
    path: str
    """/ACCOUNT/CONTAINER/OBJECT."""
    run: str
    terms: str
    transaction: str


def sign(key: bytes, statement: Statement, now: float, lifetime: int = LIFETIME) -> str:
    """The header's value. `now`: Unix time."""
    signed_at = int(now)
    return f"{VERSION}:{signed_at}:{lifetime}:{_mac(key, statement, VERSION, signed_at, lifetime)}"


def check(keys: Sequence[bytes], value: str | None, statement: Statement, now: float) -> None:
    """Raises `SignatureError` unless `value` was made of this statement with one of `keys`, and is good `now`."""
    if not value:
        raise SignatureError("the run is not signed: is run_switch in the proxy's pipeline, and of this version?")
    found = _HEADER.fullmatch(value)
    if found is None:
        raise SignatureError("its signature is malformed")
    version, signed_at, lifetime = found[1], int(found[2]), int(found[3])
    if version != VERSION:
        raise SignatureError(f"its signature is of version {version}, and this is {VERSION}: upgrade one of the two")
    # Without any/or: how long it takes says nothing of what was wrong.
    good = [hmac.compare_digest(_mac(key, statement, version, signed_at, lifetime), found[4]) for key in keys]
    if True not in good:
        raise SignatureError(
            "its signature is wrong: the proxy has another key than this storage node, or the request was altered"
        )
    age = now - signed_at
    if age > lifetime:
        raise SignatureError(
            f"its signature was made {age:.0f} s ago and is good for {lifetime} s: it came late or again, or the "
            "clocks of proxy and storage node differ"
        )
    if age < -lifetime:
        raise SignatureError(
            f"its signature was made {-age:.0f} s from now: the clocks of proxy and storage node differ"
        )


def _mac(key: bytes, statement: Statement, version: str, signed_at: int, lifetime: int) -> str:
    parts = [
        part.encode("latin-1", "replace")
        for part in (
            *("insitu-run", version, str(signed_at), str(lifetime)),
            *(statement.method, statement.path, statement.run, statement.terms, statement.transaction),
        )
    ]
    # Each with its length: no byte can go over from one to the next.
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.new(key, message, sha256).hexdigest()


def key_of(conf: Mapping[str, str], filter_name: str, name: str = "key") -> bytes | None:
    """The key of the setting `name`, or in the file that `name`_file names; None when there is neither.

    Raises ValueError for one that is too short, for both, and for a file that cannot be read.
    """
    text, file = conf.get(name), conf.get(f"{name}_file")
    where = f"the setting '{name}'"
    if text is not None and file is not None:
        raise ValueError(f"{filter_name}: both '{name}' and '{name}_file' are set; leave one of them out")
    if file is not None:
        where = f"'{name}_file' ({file})"
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as why:
            raise ValueError(f"{filter_name}: {where} cannot be read: {why}") from None
    if text is None:
        return None
    if len(text) < MIN_KEY:
        raise ValueError(
            f"{filter_name}: {where} has {len(text)} characters, and {MIN_KEY} are the least; "
            "make one with: openssl rand -base64 32"
        )
    return text.encode()


def needed_key(conf: Mapping[str, str], filter_name: str) -> bytes:
    """The key. Raises ValueError when there is none, too."""
    key = key_of(conf, filter_name)
    if key is None:
        raise ValueError(
            f"{filter_name}: neither 'key' nor 'key_file' is set. Storage nodes run programs only for proxies that "
            "have the same key as they: make one with openssl rand -base64 32, and set it in [filter:run_switch] of "
            "all proxies and in [filter:object_hook] of all storage nodes"
        )
    return key
