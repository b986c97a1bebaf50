"""What a launch came to. Plain values: importing this module imports no engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from insitu.sandbox.limits import format_duration, format_size

End = Literal["exit", "trap", "limit", "cancelled", "lost"]
ENDS: Final = ("exit", "trap", "limit", "cancelled", "lost")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a launch used: the bill's raw figures."""

    fuel: int = 0
    """Engine units, about one per wasm instruction."""
    cpu_us: int = 0
    """CPU microseconds of the thread that ran the guest, host calls included."""
    wall_us: int = 0
    """Microseconds from the sandbox's making to its end."""
    memory_peak: int = 0
    """Bytes of the guest's exported linear memory at its largest (wasm memories never shrink)."""
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_err: int = 0


@dataclass(frozen=True, slots=True)
class LimitHit:
    """The limit that stopped a guest, with the figure allowed and the figure reached.

    memory and output in bytes, wall in seconds, fuel in engine units.
    """

    name: str
    allowed: float
    reached: float

    def sentence(self) -> str:
        return f"limit {self.name}: {self._show(self.allowed)} allowed, {self._show(self.reached)} reached"

    def _show(self, figure: float) -> str:
        if self.name == "wall":
            return format_duration(figure)
        return str(int(figure)) if self.name == "fuel" else format_size(int(figure))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a launch ended.

    `end` is "exit" (with `exit_code`), "trap" (with `trap`, the engine's words and the wasm backtrace), "limit" (with
    `limit`), "cancelled" (whoever asked went away) or "lost" (the process it ran in died; `note` says what is known).
    `stderr` is the tail of what the guest wrote there.
    """

    end: End
    exit_code: int | None = None
    trap: str | None = None
    limit: LimitHit | None = None
    note: str = ""
    usage: Usage = field(default_factory=Usage)
    stderr: bytes = b""

    @property
    def ok(self) -> bool:
        return self.end == "exit" and self.exit_code == 0

    def sentence(self) -> str:
        """One line for people: what ended it, with the figures."""
        if self.end == "exit":
            text = f"exit code {self.exit_code}"
        elif self.end == "trap":
            text = f"trap: {(self.trap or '').splitlines()[0] if self.trap else 'unknown'}"
        elif self.end == "limit" and self.limit is not None:
            text = self.limit.sentence()
        elif self.end == "cancelled":
            text = "cancelled: whoever asked for it went away"
        else:
            text = "lost: the process it ran in died"
        return f"{text} ({self.note})" if self.note else text

    def to_wire(self) -> dict[str, Any]:
        # By hand: three processes do it on the way of every launch, and `asdict` copies deeply.
        limit = None if self.limit is None else _fields(self.limit)
        return _fields(self) | {"limit": limit, "usage": _fields(self.usage)}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> "Outcome":
        """From a peer's mapping; raises TypeError, KeyError or ValueError when it has another shape."""
        if raw["end"] not in ENDS:
            raise ValueError(f"unknown end {raw['end']!r}")
        limit = raw["limit"]
        return cls(**{**raw, "usage": Usage(**raw["usage"]), "limit": None if limit is None else LimitHit(**limit)})


def _fields(value: Usage | LimitHit | Outcome) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}
