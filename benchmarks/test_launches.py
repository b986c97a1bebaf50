"""Many launches: how many a second can be kept up, what one costs of CPU time, and what becomes of a burst; in both
isolations, against as many native spawns, while nobody else works and while the other processors are busy."""

import statistics
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.daemon import wait_until_quiet
from benchmarks.interleave import Figure, Interleave, percentile
from benchmarks.load import both_loads
from benchmarks.many_turns import Answers, at_once, cpu_of, cpu_of_children, cpu_of_node, in_a_row, spawned_alone
from benchmarks.turns import launched, spawned

ROW: Final = 50
CLIENTS: Final = 4
SUSTAINED: Final = 100
BURST: Final = 200


def rates(interleave: Interleave, figure: Figure, count: int) -> None:
    ours, native = (count / statistics.median(side) * 1e6 for side in (figure.ours, figure.yardstick))
    interleave.note(f"{figure.name}: {ours:.0f} a second, native {native:.0f}")


@both_loads
def test_one_after_the_other(
    interleave: Interleave, node: str, isolation: str, load: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    """Whole launches, of which the next begins when one is over: replacements are made meanwhile."""
    ours = launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None)
    figure = interleave(
        f"{ROW} launches in a row, {isolation}{load} / native spawns",
        in_a_row(ours, ROW),
        in_a_row(spawned(kilobyte_file, kilobyte), ROW),
        pairs=20,
        warm_up=2,
    )
    rates(interleave, figure, ROW)


@both_loads
def test_sustained(
    interleave: Interleave, node: str, isolation: str, load: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    """Whole launches by clients of which each begins the next when one is over."""
    ours = launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None)
    with ThreadPoolExecutor(CLIENTS) as threads:
        figure = interleave(
            f"{SUSTAINED} launches by {CLIENTS} clients, {isolation}{load} / native spawns",
            at_once(ours, SUSTAINED, threads, lambda: None),
            at_once(spawned_alone(kilobyte, kilobyte_file), SUSTAINED, threads, lambda: None),
            pairs=10,
            warm_up=2,
        )
    rates(interleave, figure, SUSTAINED)


@both_loads
def test_cpu(interleave: Interleave, node: str, isolation: str, load: str, kilobyte: bytes, kilobyte_file: int) -> None:
    """CPU of a launch, of all the node's processes together, replacements included, against that of a spawned cat."""
    ours = launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None)
    interleave(
        f"CPU of a launch, {isolation}{load} / native spawn",
        cpu_of(in_a_row(ours, ROW), lambda: cpu_of_node(node), lambda: wait_until_quiet(node), ROW),
        cpu_of(in_a_row(spawned(kilobyte_file, kilobyte), ROW), cpu_of_children, lambda: None, ROW),
        pairs=20,
        warm_up=2,
    )


@both_loads
def test_burst(
    interleave: Interleave, node: str, isolation: str, load: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    """So many at once over the default spares: every one is answered, or refused by name."""
    ours, answers = launched(node, kilobyte_file, kilobyte, lambda: "cat", lambda: None), Answers()
    bursts, warm_up = 10, 1
    with ThreadPoolExecutor(BURST) as threads:
        figure = interleave(
            f"burst of {BURST} launches, {isolation}{load} / native spawns",
            at_once(ours, BURST, threads, lambda: wait_until_quiet(node), answers),
            at_once(spawned_alone(kilobyte, kilobyte_file), BURST, threads, lambda: None),
            pairs=bursts,
            warm_up=warm_up,
        )
    took, refusals = answers.took_ms, answers.refusals
    assert len(took) + len(refusals) == (bursts + warm_up) * BURST
    line = f"{figure.name}: of {len(took) + len(refusals)} launches {len(took)} were answered"
    if took:
        line += f", after {percentile(took, 50):.0f} / {percentile(took, 99):.0f} ms"
    interleave.note(f"{line}; {len(refusals)} were refused")
    for why, count in Counter(refusals).items():
        interleave.note(f"    {count} times: {why}")
