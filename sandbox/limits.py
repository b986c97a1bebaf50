"""What a guest may use at most, and how people write such amounts.

Plain values: importing this module imports no engine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from insitu.sandbox.errors import LimitsError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
PAGE = 64 * KIB  # a wasm page
SIZES = ("memory", "output", "tmp", "path", "arguments")
"""Limits that are counted in bytes."""
TIMES = ("wall", "cpu")
"""Limits that are counted in seconds; all others count what they are named for."""
MAX_PROGRAM = 128 * MIB  # bytes of one program

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h)?", re.IGNORECASE)
_TIME_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}

# The bounds a limit itself must keep: (least, most).
MEMORY_BOUNDS = (PAGE, 4 * GIB)  # wasm32 addresses no more
WALL_BOUNDS = (0.001, 24 * 3600.0)
FUEL_BOUNDS = (1, (1 << 63) - 1)
OUTPUT_BOUNDS = (0, 1 << 62)
OPEN_FILES_BOUNDS = (4, 65_536)
TMP_BOUNDS = (0, 1 << 40)
TMP_FILES_BOUNDS = (0, 1_000_000)
PATH_BOUNDS = (1, 65_536)
CPU_BOUNDS = WALL_BOUNDS
TABLE_BOUNDS = (0, 1 << 24)  # 8 bytes of the host's for each
ARGUMENTS_BOUNDS = (0, 16 * MIB)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one launch.

    These end a guest:

    `memory`  bytes of linear memory. Growing beyond is refused, beginning beyond ends it.
    `table`   elements of one table, of which there may be 8; likewise.
    `fuel`    engine units, about one per wasm instruction; None for no limit.
    `cpu`     seconds of CPU time, host calls included; None for no limit.
    `wall`    seconds from the launch to its end, computing or blocked.
    `output`  bytes on stdout and all named outputs together, cut exactly there.
    `arguments`  bytes of arguments and environment, each with the NUL behind it; above it nothing runs.

    These refuse it something, which it is told by an error number, and go on:

    `open_files`  descriptors open at once, the standard ones and directories among them.
    `tmp`         bytes of files that it keeps in memory.
    `tmp_files`   names of those files.
    `path`        bytes of one path.

    What may cross a single channel is a quota: see `channels.meter.Quota`.
    Raises `LimitsError` for a value of the wrong type or out of bounds.
    """

    memory: int = 256 * MIB
    fuel: int | None = None
    wall: float = 10.0
    output: int = GIB
    open_files: int = 256
    tmp: int = 64 * MIB
    tmp_files: int = 10_000
    path: int = 4096
    cpu: float | None = None
    table: int = 1 << 20
    arguments: int = 128 * KIB

    def __post_init__(self) -> None:
        _check("memory", self.memory, MEMORY_BOUNDS, "bytes", int)
        _check("wall", self.wall, WALL_BOUNDS, "seconds", int, float)
        _check("output", self.output, OUTPUT_BOUNDS, "bytes", int)
        _check("open_files", self.open_files, OPEN_FILES_BOUNDS, "descriptors", int)
        _check("tmp", self.tmp, TMP_BOUNDS, "bytes", int)
        _check("tmp_files", self.tmp_files, TMP_FILES_BOUNDS, "names", int)
        _check("path", self.path, PATH_BOUNDS, "bytes", int)
        _check("table", self.table, TABLE_BOUNDS, "elements", int)
        _check("arguments", self.arguments, ARGUMENTS_BOUNDS, "bytes", int)
        if self.cpu is not None:
            _check("cpu", self.cpu, CPU_BOUNDS, "seconds", int, float)
        if self.fuel is not None:
            _check("fuel", self.fuel, FUEL_BOUNDS, "units", int)

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> "Limits":
        """From a mapping that may come from anybody. Missing fields take their defaults."""
        global _latest
        if not raw:
            return DEFAULT
        known, found = _latest
        if raw == known:  # as most launches' are; what is equal to a valid figure is as good as it
            return found
        unknown = sorted(str(k) for k in raw if k not in _NAMES)
        if unknown:
            raise LimitsError(f"unknown limit {unknown[0]!r}; allowed: {', '.join(sorted(_NAMES))}")
        found = cls(**raw)
        _latest = dict(raw), found
        return found


_NAMES = frozenset(f.name for f in fields(Limits))


def _check(name: str, value: object, bounds: tuple[float, float], unit: str, *types: type) -> None:
    if isinstance(value, bool) or not isinstance(value, types):
        raise LimitsError(f"limit {name}: {value!r} is not a number of {unit}")
    if not bounds[0] <= value <= bounds[1]:  # type: ignore[operator]
        raise LimitsError(f"limit {name}: {value} {unit} is outside what is allowed, {bounds[0]} to {bounds[1]}")


DEFAULT: Final = Limits()
_latest: tuple[Mapping[str, Any], Limits] = DEFAULT.to_wire(), DEFAULT


def parse_size(text: str) -> int:
    """`"256MiB"` → bytes. Units: B, KiB, MiB, GiB, TiB; none means bytes. Raises `LimitsError`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise LimitsError(f"{text!r} is not a size; write a number and B, KiB, MiB, GiB or TiB, such as 256MiB")
    size = float(match[1]) * _SIZE_UNITS[(match[2] or "").lower()]
    if size > OUTPUT_BOUNDS[1]:
        raise LimitsError(f"{text[:40]!r} is more than any size here may be, {OUTPUT_BOUNDS[1]} B")
    return int(size)


def parse_duration(text: str) -> float:
    """`"10s"` → seconds. Units: ms, s, min, h; none means seconds. Raises `LimitsError`."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise LimitsError(f"{text!r} is not a duration; write a number and ms, s, min or h, such as 10s")
    return float(match[1]) * _TIME_UNITS[(match[2] or "").lower()]


def in_figures(words: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as people write them in a file, sizes and times in words if they like ("64MiB", "30s"), as `Limits` takes
    them. Raises `LimitsError` naming the one that cannot be."""
    found = {name: _in_figures(name, value) for name, value in words.items()}
    Limits.from_wire(found)
    return found


def _in_figures(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name not in (*SIZES, *TIMES):
        return value
    try:
        return parse_size(value) if name in SIZES else parse_duration(value)
    except LimitsError as why:
        raise LimitsError(f"limit {name}: {why}") from None


def format_size(count: int) -> str:
    """Bytes for people: exact where a whole unit fits, else three figures."""
    for unit, size in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if count >= size:
            return f"{count // size} {unit}" if count % size == 0 else f"{count / size:.4g} {unit}"
    return f"{count} B"


def exact_size(count: int) -> str:
    """The same where that is exact, else bytes."""
    text = format_size(count)
    number, _, unit = text.partition(" ")
    return text if float(number) * _SIZE_UNITS[unit.lower()] == count else f"{count} B"


def format_duration(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.4g} s"
