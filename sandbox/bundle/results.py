"""An outcome in a bundle."""

import base64
import binascii
from typing import Any, Final

from insitu.sandbox.bundle.fields import U64, Fields
from insitu.sandbox.errors import BundleError
from insitu.sandbox.outcome import ENDS, ChannelStatistics, End, LimitHit, Outcome, Usage

_TEXT: Final = 64 << 10  # of a trap, and of stderr as it is kept
_BASE64: Final = "base64:"


def outcome_to(outcome: Outcome) -> dict[str, Any]:
    return {"channels": {}} | outcome.to_wire() | {"stderr": _text(outcome.stderr)}


def _text(data: bytes) -> str:
    """As people read it where that loses nothing."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if text.encode() == data and not text.startswith(_BASE64) and "\0" not in text:
        return text
    return _BASE64 + base64.b64encode(data).decode()


def _data(raw: Fields, name: str) -> bytes:
    text = raw.text(name, 2 * _TEXT)
    if not text.startswith(_BASE64):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_BASE64), validate=True)
    except (binascii.Error, ValueError):
        raise raw.wrong(name, text, "text or base64") from None


def outcome_from(raw: Fields) -> Outcome:
    """Raises `BundleError`."""
    end: End = raw.choice("end", ENDS)  # type: ignore[assignment]  # ENDS are what End is
    found = Outcome(
        end,
        exit_code=raw.count("exit_code", (1 << 32) - 1) if raw.has("exit_code") else None,
        trap=raw.text("trap", _TEXT) if raw.has("trap") else None,
        limit=_limit(raw.inside("limit")) if raw.has("limit") else None,
        note=raw.text("note", _TEXT),
        usage=_usage(raw.inside("usage")),
        stderr=_data(raw, "stderr"),
        channels={name: _statistics(inner) for name, inner in raw.inside("channels").each()},
        broken=raw.text("broken", _TEXT) if raw.known("broken") else "",
    )
    raw.end()
    for needed, what in (("exit", "exit_code"), ("trap", "trap"), ("limit", "limit")):
        if end == needed and getattr(found, what) is None:
            raise BundleError(f"{raw.where}: ended by {end}, and {what} is null")
    return found


def _limit(raw: Fields) -> LimitHit:
    found = LimitHit(raw.text("name", 100), raw.figure("allowed"), raw.figure("reached"))
    raw.end()
    return found


def _usage(raw: Fields) -> Usage:
    found = Usage(**{name: raw.count(name, U64) for name in Usage.__slots__})
    raw.end()
    return found


def _statistics(raw: Fields) -> ChannelStatistics:
    counts = {name: raw.count(name) for name in ("reads", "bytes_read", "writes", "bytes_written")}
    digest = raw.digest("digest") if raw.has("digest") else None
    raw.end()
    return ChannelStatistics(**counts, digest=digest)
