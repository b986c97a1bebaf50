"""What came of a run, and what comes of it now: the same, or exactly what differs."""

from collections.abc import Iterator
from typing import Final

from insitu.sandbox.bundle.format import Bundle, Engine
from insitu.sandbox.outcome import ChannelStatistics, Outcome

CLOCKED: Final = ("wall", "cpu")
"""Limits that a guest reaches at another point each time."""
_LINES: Final = 40  # of each kind, in a difference
_FIGURES: Final = ("reads", "bytes_read", "writes", "bytes_written")


def why_inexact(outcome: Outcome) -> str:
    """Why a frozen run that ended so would not come out the same to the unit; empty when it would."""
    if outcome.end == "limit" and outcome.limit is not None and outcome.limit.name in CLOCKED:
        return f"it was stopped by the clock (limit {outcome.limit.name}), each time at another point"
    if outcome.broken:
        return outcome.broken
    if outcome.end == "cancelled":
        return "it was stopped from outside"
    return "the process it ran in died" if outcome.end == "lost" else ""


def engines(recorded: Engine, now: Engine) -> Iterator[str]:
    """What of the host is not the same, and so the likely reason for what follows."""
    for name in ("insitu", "wasmtime", "machine", "settings"):
        before, after = getattr(recorded, name), getattr(now, name)
        if name == "settings" and before and before != after:
            yield f"engine settings: {_only(before, after)} recorded, {_only(after, before)} now"
        elif name != "settings" and before != after:
            yield f"{name}: {before} recorded, {after} now"


def _only(these: str, those: str) -> str:
    return ";".join(sorted(set(these.split(";")) - set(those.split(";")))) or "none"


def outcomes(bundle: Bundle, now: Outcome) -> list[str]:
    """A line for everything that differs; several for a backtrace.

    Of a run that was frozen and not stopped by the clock that is everything but time. Of any other it is how it ended.
    """
    was = bundle.outcome
    found = [*_ends(was, now, exact=not bundle.inexact)]
    stopped = why_inexact(was) != ""
    if not stopped and was.stderr != now.stderr:
        found += _texts("stderr", *(text.decode("utf-8", "backslashreplace") for text in (was.stderr, now.stderr)))
    if bundle.inexact:
        return found
    for name in ("fuel", "memory_peak", "bytes_in", "bytes_out", "bytes_err"):
        found += _pair(name, getattr(was.usage, name), getattr(now.usage, name))
    for name in (*was.channels, *(name for name in now.channels if name not in was.channels)):
        found += _channel(name, was.channels.get(name), now.channels.get(name))
    return found


def not_compared(bundle: Bundle) -> str:
    """In words, what `outcomes` leaves out; empty when that is nothing but time."""
    if not bundle.inexact:
        return ""
    left = "fuel, memory, bytes and stderr" if why_inexact(bundle.outcome) else "fuel, memory and bytes"
    return f"{left} are not compared: {bundle.inexact}"


def _ends(was: Outcome, now: Outcome, *, exact: bool) -> Iterator[str]:
    if was.end != now.end:
        yield f"end: {was.sentence()} recorded, {now.sentence()} now"
        return
    yield from _pair("exit code", was.exit_code, now.exit_code)
    if was.limit is not None and now.limit is not None and not exact:
        yield from _pair("limit", was.limit.name, now.limit.name)
    elif exact or was.end == "limit":
        yield from _pair("limit", was.limit and was.limit.sentence(), now.limit and now.limit.sentence())
    if was.trap != now.trap:
        yield from _texts("trap", was.trap or "", now.trap or "")
    if exact:
        yield from _pair("note", was.note, now.note)


def _channel(name: str, was: ChannelStatistics | None, now: ChannelStatistics | None) -> Iterator[str]:
    if was is None or now is None:
        yield f"{name}: {'there' if was else 'not there'} recorded, {'there' if now else 'not there'} now"
        return
    for figure in _FIGURES:
        yield from _pair(f"{name}: {figure.replace('_', ' ')}", getattr(was, figure), getattr(now, figure))
    if was.digest and now.digest:
        yield from _pair(name, was.digest, now.digest)


def _pair(name: str, was: object, now: object) -> Iterator[str]:
    if was != now:
        yield f"{name}: {_said(was)} recorded, {_said(now)} now"


def _said(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _texts(name: str, was: str, now: str) -> list[str]:
    """The lines that went and those that came, between what is the same before and after them."""
    old, new = was.split("\n"), now.split("\n")
    first = _alike(old, new)
    last = _alike(old[first:][::-1], new[first:][::-1])
    gone, came = old[first : len(old) - last], new[first : len(new) - last]
    return [f"{name}: from line {first + 1} on, '-' recorded and '+' now", *_some("-", gone), *_some("+", came)]


def _alike(these: list[str], those: list[str]) -> int:
    """How many lines they have in common at their beginnings."""
    count = 0
    for one, other in zip(these, those, strict=False):
        if one != other:
            break
        count += 1
    return count


def _some(sign: str, lines: list[str]) -> Iterator[str]:
    yield from (f"  {sign} {line}" for line in lines[:_LINES])
    if len(lines) > _LINES:
        yield f"  {sign} … {len(lines) - _LINES} more lines"
