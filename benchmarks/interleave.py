"""Two things measured in turns, A B B A A B …, so that whatever else the machine does happens to both, and so that
neither is always the one that comes second.

A *turn* is a generator function in three sections; only the middle one is measured:

    def turn() -> Turn:
        …prepare…
        yield None
        …what is measured…
        yield None           # or its cost, where that is not the wall time of the section in µs (CPU, memory, say)
        …finish, and check the bytes…

What comes out is a `Figure`: both sides' costs, and their ratio with its uncertainty. An absolute time says much about
the machine and its other users; the ratio is what is claimed.
"""

import random
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Turn = Generator[float | None, None, None]
Turns = Callable[[], Turn]
Unit = Literal["us", "bytes"]

_RESAMPLES: Final = 1000
_SEED: Final = 20251122


@dataclass(frozen=True, slots=True)
class Aim:
    """What a ratio is hoped to be: at most `ratio`; or, given `noise`, no more above 1 than that figure is off it.

    `noise` compares two things that are the same: what it shows is what such a comparison cannot tell from nothing.
    """

    ratio: float = 1.0
    noise: "Figure | None" = None

    def met(self, figure: "Figure") -> bool:
        if self.noise is None:
            return figure.ratio <= self.ratio
        low, high = self.noise.interval
        return figure.interval[0] <= max(1.0, high, 1 / low)

    def __str__(self) -> str:
        return f"≤ {self.ratio:g}" if self.noise is None else "no measurable difference"


@dataclass(frozen=True, slots=True)
class Figure:
    """Costs in `unit`, in the order measured: `ours[k]` came right before or after `yardstick[k]`."""

    name: str
    ours: tuple[float, ...]
    yardstick: tuple[float, ...]
    aim: Aim | None
    unit: Unit = "us"

    @property
    def ratio(self) -> float:
        """Median of ours by median of the yardstick."""
        return statistics.median(self.ours) / statistics.median(self.yardstick)

    @property
    def worst_ratio(self) -> float:
        """99th percentile of ours by 99th percentile of the yardstick."""
        return percentile(self.ours, 99) / percentile(self.yardstick, 99)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of `ratio`: a percentile bootstrap over pairs, with a fixed seed."""
        chance = random.Random(_SEED)
        pairs = list(zip(self.ours, self.yardstick, strict=True))
        found: list[float] = []
        for _ in range(_RESAMPLES):
            sample = chance.choices(pairs, k=len(pairs))
            found.append(statistics.median(a for a, _ in sample) / statistics.median(b for _, b in sample))
        return percentile(found, 2.5), percentile(found, 97.5)

    @property
    def spread(self) -> tuple[float, float]:
        """The 10th and 90th percentile of the ratios of single pairs."""
        ratios = [a / b for a, b in zip(self.ours, self.yardstick, strict=True)]
        return percentile(ratios, 10), percentile(ratios, 90)

    def verdict(self) -> str:
        if self.aim is None:
            return "no aim set"
        return f"aim {self.aim}: {'yes' if self.aim.met(self) else 'no'}"

    def as_info(self) -> dict[str, Any]:
        """For the benchmark's JSON."""
        return {
            "pairs": len(self.ours),
            f"ours_{self.unit}": _centiles(self.ours),
            f"yardstick_{self.unit}": _centiles(self.yardstick),
            "ratio": self.ratio,
            "ratio_interval_95": self.interval,
            "ratio_p99": self.worst_ratio,
            "pair_ratio_p10_p90": self.spread,
            "verdict": self.verdict(),
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _centiles(values: Sequence[float]) -> dict[str, float]:
    return {"p50": percentile(values, 50), "p99": percentile(values, 99)}


class _Running:
    """A turn under way."""

    def __init__(self, turns: Turns) -> None:
        self._turn = turns()
        next(self._turn)
        self.cost = 0.0

    def measure(self) -> None:
        begun = time.perf_counter_ns()
        cost = next(self._turn)
        elapsed = time.perf_counter_ns() - begun
        self.cost = elapsed / 1000 if cost is None else cost

    def finish(self) -> float:
        for _ in self._turn:
            raise RuntimeError("a turn has three sections, and this one has more")
        return self.cost


def _measured(turns: Turns) -> float:
    running = _Running(turns)
    running.measure()
    return running.finish()


class Pairs:
    """Pairs of turns, the yardstick first in every other one."""

    def __init__(self, ours: Turns, yardstick: Turns, warm_up: int) -> None:
        """`warm_up` pairs are run and forgotten."""
        self._ours, self._yardstick = ours, yardstick
        self.costs: list[float] = []
        self.others: list[float] = []
        for _ in range(warm_up):
            _measured(yardstick)
            _measured(ours)

    def setup(self) -> tuple[tuple[_Running], dict[str, Any]]:
        """What comes before our turn is measured. As pytest-benchmark wants it: arguments for what it measures."""
        if len(self.costs) % 2 == 0:
            self.others.append(_measured(self._yardstick))
        return (_Running(self._ours),), {}

    def teardown(self, running: _Running) -> None:
        """What comes after it."""
        self.costs.append(running.finish())
        if len(self.costs) > len(self.others):
            self.others.append(_measured(self._yardstick))

    def figure(self, name: str, aim: Aim | None = None, unit: Unit = "us") -> Figure:
        return Figure(name, tuple(self.costs), tuple(self.others), aim, unit)


def compare(name: str, ours: Turns, yardstick: Turns, *, pairs: int, warm_up: int) -> Figure:
    """A comparison that is no benchmark by itself."""
    measured = Pairs(ours, yardstick, warm_up)
    for _ in range(pairs):
        (running,), _ = measured.setup()
        running.measure()
        measured.teardown(running)
    return measured.figure(name)


class Interleave:
    """Runs the turns under pytest-benchmark, whose own table shows the wall time of our side."""

    def __init__(self, benchmark: Any, figures: list[Figure], notes: list[str]) -> None:
        self._benchmark, self._figures, self._notes = benchmark, figures, notes

    def add(self, figure: Figure) -> None:
        """One more that was found on the way."""
        self._benchmark.extra_info[figure.name] = figure.as_info()
        self._figures.append(figure)

    def note(self, line: str) -> None:
        """What is no ratio, to be printed below the table."""
        self._benchmark.extra_info.setdefault("notes", []).append(line)
        self._notes.append(line)

    def __call__(
        self,
        name: str,
        ours: Turns,
        yardstick: Turns,
        *,
        pairs: int,
        warm_up: int = 5,
        aim: Aim | None = None,
        unit: Unit = "us",
    ) -> Figure:
        measured = Pairs(ours, yardstick, warm_up)
        self._benchmark.pedantic(_Running.measure, setup=measured.setup, teardown=measured.teardown, rounds=pairs)
        if not measured.costs:
            raise RuntimeError("benchmarks are switched off: run them with --benchmark-only")
        figure = measured.figure(name, aim, unit)
        if aim is not None and aim.noise is not None:
            self._figures.append(aim.noise)
        self._benchmark.extra_info.update(figure.as_info())
        self._figures.append(figure)
        return figure


def table(figures: Sequence[Figure]) -> list[str]:
    """Lines to print."""
    head = ("figure", "pairs", "ours p50 / p99", "yardstick p50 / p99", "ratio", "95 %", "p99", "pairs p10 to p90", "")
    rows = [head, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(figure: Figure) -> tuple[str, ...]:
    low, high = figure.interval
    few, most = figure.spread
    return (
        figure.name,
        str(len(figure.ours)),
        _pair(figure.ours, figure.unit),
        _pair(figure.yardstick, figure.unit),
        f"{figure.ratio:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{figure.worst_ratio:.2f}",
        f"{few:.2f} to {most:.2f}",
        figure.verdict(),
    )


def _pair(values: Sequence[float], unit: Unit) -> str:
    middle, worst = percentile(values, 50), percentile(values, 99)
    if unit == "bytes":
        return f"{middle / 1024:.1f} / {worst / 1024:.1f} KiB"
    if middle >= 10_000:
        return f"{middle / 1000:.0f} / {worst / 1000:.0f} ms"
    if middle >= 1000:
        return f"{middle / 1000:.2f} / {worst / 1000:.2f} ms"
    return f"{middle:.0f} / {worst:.0f} µs"
