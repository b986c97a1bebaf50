"""What a worker says, held against what a worker can say.

A guest that broke out of the engine speaks in its worker's name. It may say nonsense of its own launch, but nothing
that the node could not write down, and nothing that is not the answer to what it was asked.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from insitu.runtime.channels import can_have_figures
from insitu.runtime.errors import ProtocolError
from insitu.sandbox.digest import is_digest
from insitu.sandbox.outcome import Outcome, Usage

_MOST: Final = 1 << 50
"""Of bytes, of microseconds (35 years), of calls: nothing here is ever as much."""
_FUEL: Final = 1 << 64
_CODES: Final = 1 << 32
_ENDS: Final = ("exit", "trap", "limit", "lost")
"""Those that a worker can tell of; and "damaged", if it had an input to check."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`begun`: when the guest's first instruction ran, monotonic nanoseconds; 0 if none did. `cpu_ns`: of the worker's
    process so far. `unread`: of a frozen launch, whether somebody who read what it wrote went away."""

    begun: int
    outcome: Outcome
    cpu_ns: int
    unread: bool = False


def ready(message: Mapping[str, Any]) -> int:
    """A worker's first word: the CPU nanoseconds of its process so far. Raises `ProtocolError`."""
    if message.get("ready") is not True:
        raise ProtocolError("it was not ready")
    return _count("cpu_ns", message.get("cpu_ns"), _MOST * 1000)


def answered(message: Mapping[str, Any], *, checked: bool) -> Answer:
    """What a launch came to. `checked`: its input was to be. Raises `ProtocolError`."""
    begun = _count("begun", message.get("begun"), time.monotonic_ns() + 1)
    cpu_ns = _count("cpu_ns", message.get("cpu_ns"), _MOST * 1000)
    try:
        outcome = Outcome.from_wire(message["outcome"])
    except (TypeError, KeyError, ValueError, AttributeError) as why:
        raise ProtocolError(f"an outcome of another shape: {why!r}"[:200]) from None
    _check(outcome, checked=checked)
    return Answer(begun, outcome, cpu_ns, message.get("unread") is True)


def _check(outcome: Outcome, *, checked: bool) -> None:
    if outcome.end not in _ENDS and not (checked and outcome.end == "damaged"):
        raise ProtocolError(f"an end that is the node's to give, {outcome.end}")
    usage = outcome.usage
    for name in Usage.__slots__:
        _count(name, getattr(usage, name), _FUEL if name == "fuel" else _MOST)
    if outcome.exit_code is not None or outcome.end == "exit":
        _count("exit_code", outcome.exit_code, _CODES)
    if type(outcome.stderr) is not bytes:
        raise ProtocolError("stderr is no bytes")
    if type(outcome.note) is not str or type(outcome.broken) is not str or type(outcome.trap or "") is not str:
        raise ProtocolError("what is to be text is none")
    limit = outcome.limit
    if limit is None:
        if outcome.end == "limit":
            raise ProtocolError("a limit without a name")
    elif type(limit.name) is not str or not (_is_finite(limit.allowed) and _is_finite(limit.reached)):
        raise ProtocolError("a limit without a name or figures")
    if outcome.channels and not can_have_figures(outcome.channels):
        raise ProtocolError("channels that no launch has")
    for name, one in outcome.channels.items():
        for figure in (one.reads, one.bytes_read, one.writes, one.bytes_written):
            if type(figure) is not int or not 0 <= figure < _MOST:
                _count(name, figure, _MOST)
        if one.digest is not None and not (isinstance(one.digest, str) and is_digest(one.digest)):
            raise ProtocolError("a digest that is none")


def _count(name: str, value: object, beyond: int) -> int:
    if type(value) is not int or not 0 <= value < beyond:
        raise ProtocolError(f"{name}: {value!r}"[:200])
    return value


def _is_finite(figure: object) -> bool:
    return type(figure) in (int, float) and math.isfinite(figure)  # type: ignore[arg-type]
