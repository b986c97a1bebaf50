"""Tenants: who comes next, and who may not. Order, not time: the clock here is a number that the tests set."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.runtime import tenants as tenants_module
from insitu.runtime.settings import TenantLimits
from insitu.runtime.tenants import Tenants
from insitu.sandbox.limits import MIB


@dataclass(eq=False)
class Asked:
    name: str
    tenant: str
    memory: int = MIB


OPEN = TenantLimits(running=100, queued=1000)


def lined_up(limits: TenantLimits, *names: str, now: float = 0.0) -> tuple[Tenants[Asked], dict[str, Asked]]:
    """Launches of tenants, as "A1": the first of A."""
    tenants: Tenants[Asked] = Tenants(lambda _: limits)
    asked = {name: Asked(name, name[0]) for name in names}
    for item in asked.values():
        tenants.joined(item, now)
    return tenants, asked


def order(tenants: Tenants[Asked], now: float = 0.0, without: str = "") -> list[str]:
    return [item.name for item in tenants.turns(now, lambda item: item.name not in without.split())]


def test_tenants_take_turns_and_each_is_served_in_order() -> None:
    tenants, _ = lined_up(OPEN, "A1", "A2", "A3", "A4", "B1", "B2", "C1")
    assert order(tenants) == ["A1", "B1", "C1", "A2", "B2", "A3", "A4"]


def test_the_turn_passes_on_with_a_start_only() -> None:
    tenants, asked = lined_up(OPEN, "A1", "A2", "A3", "B1", "B2", "C1")
    assert order(tenants) == order(tenants)
    tenants.started(asked["A1"])
    assert order(tenants) == ["B1", "C1", "A2", "B2", "A3"]
    tenants.left(asked["B1"])  # it went away: B has had nothing
    assert order(tenants) == ["B2", "C1", "A2", "A3"]


def test_a_full_node_gives_its_places_in_turn_whoever_floods_it() -> None:
    """One place, taken again as soon as it is free; A always has a hundred waiting, B and C ask one after the other."""
    tenants: Tenants[Asked] = Tenants(lambda _: OPEN)
    for at in range(100):
        tenants.joined(Asked(f"A{at}", "A"), 0)
    served: list[str] = []
    for at in range(60):
        for name in "BC":
            if not any(item.tenant == name for item in tenants):
                tenants.joined(Asked(f"{name}{at}", name), 0)
        item = next(tenants.turns(0, lambda _: True))
        tenants.started(item)
        tenants.ended(item, 0, 0)
        served.append(item.tenant)
    assert Counter(served) == {"A": 20, "B": 20, "C": 20}
    assert all(len(set(served[at : at + 3])) == 3 for at in range(0, 60, 3))


def test_one_whose_program_is_not_there_yet_holds_nobody_up() -> None:
    tenants, _ = lined_up(OPEN, "A1", "A2", "B1", "C1")
    assert order(tenants, without="A1 B1") == ["A2", "C1"]


def test_running_launches_are_limited_and_the_others_go_on() -> None:
    tenants, asked = lined_up(TenantLimits(running=2, queued=10), "A1", "A2", "A3", "B1")
    assert order(tenants) == ["A1", "B1", "A2"]
    tenants.started(asked["A1"])
    assert order(tenants) == ["B1", "A2"]
    tenants.started(asked["A2"])
    assert order(tenants) == ["B1"]
    held = tenants.held_by(asked["A3"], 0)
    assert held is not None
    assert held.sentence() == "tenant A: limit running: 2 allowed, 2 reached"
    tenants.ended(asked["A1"], 0, 0)
    assert order(tenants) == ["B1", "A3"]
    assert tenants.held_by(asked["A3"], 0) is None


def test_the_line_is_limited() -> None:
    tenants, _ = lined_up(TenantLimits(running=1, queued=2), "A1", "A2", "B1")
    refusal = tenants.refused("A", MIB, 0)
    assert refusal is not None
    assert refusal.sentence() == "tenant A: limit queued: 2 allowed, 2 reached"
    assert refusal.retry_after
    assert tenants.refused("B", MIB, 0) is None


def test_memory_is_limited_and_nobody_overtakes_who_waits_for_it() -> None:
    tenants: Tenants[Asked] = Tenants(lambda _: TenantLimits(running=9, queued=9, memory=10 * MIB))
    large, small, other = Asked("large", "A", 8 * MIB), Asked("small", "A", 2 * MIB), Asked("other", "B", 8 * MIB)
    first = Asked("first", "A", 6 * MIB)
    for item in (first, large, small, other):
        tenants.joined(item, 0)
    assert order(tenants) == ["first", "other"]
    tenants.started(first)
    assert order(tenants) == ["other"]
    held = tenants.held_by(large, 0)
    assert held is not None
    assert held.sentence() == "tenant A: limit memory: 10 MiB allowed, 14 MiB reached"
    tenants.ended(first, 0, 0)
    assert order(tenants) == ["other", "large", "small"]
    refusal = tenants.refused("A", 11 * MIB, 0)
    assert refusal is not None
    assert refusal.retry_after is None
    assert refusal.sentence() == "tenant A: limit memory: 10 MiB allowed, 11 MiB reached"


def test_cpu_of_a_minute() -> None:
    tenants, asked = lined_up(TenantLimits(running=9, queued=9, cpu_per_minute=6.0), "A1", "A2", "A3", "B1", now=100)
    assert tenants.refilled_in(100) is None
    tenants.started(asked["A1"])
    tenants.ended(asked["A1"], 8.0, 100)  # it has had more than there was
    assert order(tenants, 100) == ["B1"]
    assert tenants.refilled_in(100) == pytest.approx(20)  # 2 s too much, at 0.1 s a second
    refusal = tenants.refused("A", MIB, 110)
    assert refusal is not None
    assert refusal.sentence() == "tenant A: limit cpu_per_minute: 6 s allowed, 7 s reached"
    assert refusal.retry_after == pytest.approx(10)
    assert order(tenants, 119) == ["B1"]
    assert order(tenants, 120.1) == ["B1", "A2", "A3"]
    assert tenants.refused("A", MIB, 120.1) is None
    assert tenants.refilled_in(120.1) is None
    assert order(tenants, 1e6) == ["B1", "A2", "A3"]
    tenants.started(asked["A2"])
    tenants.ended(asked["A2"], 6.1, 1e6)  # what was not used is saved up for one minute and no more
    assert order(tenants, 1e6) == ["B1"]


def test_a_long_debt_sends_nobody_away_for_longer_than_a_minute_at_once() -> None:
    tenants, asked = lined_up(TenantLimits(running=9, queued=9, cpu_per_minute=1.0), "A1")
    tenants.started(asked["A1"])
    tenants.ended(asked["A1"], 1000.0, 0)
    refusal = tenants.refused("A", MIB, 0)
    assert refusal is not None
    assert refusal.retry_after == 60.0


def test_the_time_may_go_backwards_without_harm() -> None:
    tenants, asked = lined_up(TenantLimits(running=9, queued=9, cpu_per_minute=6.0), "A1", "A2", now=100)
    tenants.started(asked["A1"])
    tenants.ended(asked["A1"], 7.0, 100)
    assert order(tenants, 50) == []
    assert order(tenants, 110.1) == ["A2"]


def test_tenants_that_nothing_needs_to_be_known_of_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants_module, "_SWEEP", 100)
    tenants: Tenants[Asked] = Tenants(lambda name: TenantLimits(1, 1, None, 6.0 if name == "owes" else None))
    owes, runs, waits = (Asked(name, name) for name in ("owes", "runs", "waits"))
    for item in (owes, runs, waits):
        tenants.joined(item, 0)
    tenants.started(owes)
    tenants.ended(owes, 3.0, 0)
    tenants.started(runs)
    for at in range(100_000):
        assert tenants.refused(f"tenant-{at}", MIB, 1) is None
    assert tenants.known <= 202
    assert tenants.refused("waits", MIB, 1) is not None
    assert tenants.held_by(waits, 1) is None
    tenants.started(waits)
    tenants.ended(runs, 0, 1)
    tenants.ended(waits, 0, 1)


@settings(max_examples=300, deadline=None)
@given(
    running=st.integers(1, 4),
    queued=st.integers(1, 6),
    memory=st.none() | st.integers(2, 8),
    cpu=st.none() | st.floats(0.5, 20),
    seed=st.integers(0, 1 << 32),
    steps=st.lists(st.sampled_from("jjjjsseelt"), max_size=150),
)
def test_every_limit_holds_whatever_happens(
    running: int, queued: int, memory: int | None, cpu: float | None, seed: int, steps: list[str]
) -> None:
    chance = random.Random(seed)
    limits = TenantLimits(running, queued, None if memory is None else memory * MIB, cpu)
    tenants: Tenants[Asked] = Tenants(lambda _: limits)
    waiting: list[Asked] = []
    under_way: list[Asked] = []
    used = dict.fromkeys("ABC", 0.0)
    now = 0.0

    def check() -> None:
        for name in "ABC":
            mine = [item for item in under_way if item.tenant == name]
            assert len(mine) <= running
            assert limits.memory is None or sum(item.memory for item in mine) <= limits.memory
            assert sum(item.tenant == name for item in waiting) <= queued
        assert len(tenants) == len(waiting) == len(list(tenants))
        assert all(item in tenants for item in waiting)
        assert not any(item in tenants for item in under_way)

    for step in steps:
        match step:
            case "j":
                item = Asked("x", chance.choice("ABC"), chance.randint(1, 4) * MIB)
                if tenants.refused(item.tenant, item.memory, now) is None:
                    tenants.joined(item, now)
                    waiting.append(item)
            case "s":  # all together, and each but once
                turns = list(tenants.turns(now, lambda _: chance.random() < 0.9))
                assert len({id(item) for item in turns}) == len(turns)
                for item in turns[: chance.randint(0, len(turns))]:
                    if cpu is not None:
                        assert used[item.tenant] < cpu * (1 + now / 60) + 1e-6, "begun with nothing in the bucket"
                    tenants.started(item)
                    waiting.remove(item)
                    under_way.append(item)
            case "e":
                if under_way:
                    item = under_way.pop(chance.randrange(len(under_way)))
                    spent = chance.random() * 5
                    used[item.tenant] += spent
                    tenants.ended(item, spent, now)
            case "l":
                if waiting:
                    tenants.left(waiting.pop(chance.randrange(len(waiting))))
            case "t":
                now += chance.random() * 10
        check()
    while under_way:
        tenants.ended(under_way.pop(), 0, now)
    for _ in range(len(waiting) * 2):  # everybody is served in the end
        now += 1e6
        for item in list(tenants.turns(now, lambda _: True)):
            tenants.started(item)
            waiting.remove(item)
            tenants.ended(item, 0, now)
    assert not waiting
