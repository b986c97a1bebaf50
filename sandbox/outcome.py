"""What a launch came to. Plain values: importing this module imports no engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, Literal

from insitu.sandbox.limits import TIMES, exact_size, format_duration

End = Literal["exit", "trap", "limit", "damaged", "cancelled", "lost"]
ENDS: Final = ("exit", "trap", "limit", "damaged", "cancelled", "lost")
_COUNTS: Final = ("fuel", "table", "open_files", "tmp_files")


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
    """Read from stdin and all named inputs."""
    bytes_out: int = 0
    """Written to stdout and all named outputs."""
    bytes_err: int = 0


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What has crossed one channel so far."""

    reads: int = 0
    """Calls of the guest's that read from it, the one that finds its end among them."""
    bytes_read: int = 0
    writes: int = 0
    """Calls of the guest's that wrote to it."""
    bytes_written: int = 0
    digest: str | None = None
    """`"sha256:…"` of the bytes in the order in which they crossed; None when it was not asked for."""


@dataclass(frozen=True, slots=True)
class LimitHit:
    """A limit or quota that a guest reached, with the figure allowed and the figure reached.

    `name` is a limit's (see `Limits`) or a channel's quota, as "stdin calls" or "in/NAME bytes". Seconds for wall and
    cpu; a count for fuel, table, open_files, tmp_files and calls; bytes for all others.
    """

    name: str
    allowed: float
    reached: float

    def sentence(self) -> str:
        allowed, reached = self.figures()
        if allowed == reached and self.name in TIMES:
            # Too near each other for rounded figures.
            reached = f"{self.reached * 1000:.1f} ms" if self.reached < 1 else f"{self.reached:.4f} s"
        return f"limit {self.name}: {allowed} allowed, {reached} reached"

    def figures(self) -> tuple[str, str]:
        """Allowed and reached, for people."""
        return self._show(self.allowed), self._show(self.reached)

    def _show(self, figure: float) -> str:
        if self.name in TIMES:
            return format_duration(figure)
        if self.name in _COUNTS or self.name.endswith(" calls"):
            return str(int(figure))
        return exact_size(int(figure))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a launch ended.

    `end` is "exit" (with `exit_code`), "trap" (with `trap`, the engine's words and the wasm backtrace), "limit" (with
    `limit`), "damaged" (it has read all of its input, and that is not what its MD5 says; `note` has both), "cancelled"
    (whoever asked went away) or "lost" (the process it ran in died; `note` says what is known).
    It is `end` that says whether a limit ended the guest: `limit` beside an exit or a trap is the first one at which it
    was refused something (files, names, memory of its own) and went on.
    `broken` says of an output that the host could not write: a full disk is not the guest's doing, so such a run is not
    `ok`, whatever the guest made of it. (A reader that went away is the guest's to see, and not meant.) Of a frozen
    launch also of an input that the host could not read: another time the same one would give another result.
    `stderr` is the first and the last part of what the guest wrote there. `channels` has every channel's figures, by
    "stdin", "stdout", "stderr", "in/NAME", "out/NAME", and is empty when they were not asked for.
    """

    end: End
    exit_code: int | None = None
    trap: str | None = None
    limit: LimitHit | None = None
    note: str = ""
    usage: Usage = field(default_factory=Usage)
    stderr: bytes = b""
    channels: Mapping[str, ChannelStatistics] = field(default_factory=dict)
    broken: str = ""

    @property
    def ok(self) -> bool:
        return self.end == "exit" and self.exit_code == 0 and not self.broken

    def sentence(self) -> str:
        """One line for people: what ended it, with the figures."""
        if self.end == "damaged":
            return f"the input is damaged: {self.note}"
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
        notes = [f"after {self.limit.sentence()}"] if self.limit is not None and self._went_on() else []
        notes += [self.note] if self.note else []
        notes += [self.broken] if self.broken else []
        return f"{text} ({'; '.join(notes)})" if notes else text

    def _went_on(self) -> bool:
        return self.end == "trap" or (self.end == "exit" and self.exit_code != 0)

    def to_wire(self) -> dict[str, Any]:
        # By hand: three processes do it on the way of every launch, and `asdict` copies deeply.
        limit = None if self.limit is None else _fields(self.limit)
        wire = _fields(self) | {"limit": limit, "usage": _fields(self.usage)}
        if self.channels:
            wire["channels"] = {name: _fields(figures) for name, figures in self.channels.items()}
        else:
            del wire["channels"]
        if not self.broken:
            del wire["broken"]
        return wire

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> "Outcome":
        """From a peer's mapping; raises TypeError, KeyError or ValueError when it has another shape."""
        if raw["end"] not in ENDS:
            raise ValueError(f"unknown end {raw['end']!r}")
        limit = raw["limit"]
        fields = {**raw, "usage": Usage(**raw["usage"]), "limit": None if limit is None else LimitHit(**limit)}
        if "channels" in raw:
            fields["channels"] = {
                str(name): ChannelStatistics(**figures) for name, figures in dict(raw["channels"]).items()
            }
        return cls(**fields)


_VALUES: Final = {kind: attrgetter(*kind.__slots__) for kind in (Usage, LimitHit, ChannelStatistics, Outcome)}


def _fields(value: Usage | LimitHit | ChannelStatistics | Outcome) -> dict[str, Any]:
    return dict(zip(value.__slots__, _VALUES[type(value)](value), strict=True))
