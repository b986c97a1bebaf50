"""The pool's decisions, against a model of workers that does what it is told."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.runtime.pool import Need, Pool


class World:
    """Workers as a spawner and its children would be, and launches that wait; checks every promise at every step."""

    def __init__(self, spares: int, most: int, launches: int, chance: random.Random) -> None:
        self.pool = Pool(spares, most, launches)
        self.most, self.launches, self.chance = most, launches, chance
        self.next = 0
        self.generation = 0
        self.forking: dict[int, int] = {}  # worker → generation
        self.alive: dict[int, int] = {}
        self.tenants: dict[int, str] = {}
        self.served: dict[int, int] = {}
        self.busy: set[int] = set()
        self.waiting: list[Need] = []
        self.started = 0

    def check(self) -> None:
        assert len(self.pool) == len(self.forking) + len(self.alive)
        assert len(self.pool) <= self.most

    def dispatch(self) -> None:
        left = []
        for need in self.waiting:
            worker = self.pool.take(need)
            if worker is None:
                left.append(need)
                continue
            assert worker in self.alive
            assert worker not in self.busy
            assert self.alive[worker] >= need.generation, "a worker without the program"
            assert self.tenants.setdefault(worker, need.tenant) == need.tenant, "a worker of another tenant"
            self.served[worker] = self.served.get(worker, 0) + 1
            assert self.served[worker] <= self.launches
            self.busy.add(worker)
            self.started += 1
        self.waiting = left
        plan = self.pool.plan(self.waiting)
        for worker in plan.retire:
            assert worker in self.alive
            assert worker not in self.busy, "a worker was ended with a launch in it"
            self.pool.ended(worker)
            del self.alive[worker]
        for _ in range(plan.fork):
            self.next += 1
            self.pool.forking(self.next)
            self.forking[self.next] = self.generation
        self.check()

    def ask(self, tenant: str, generation: int) -> None:
        self.waiting.append(Need(tenant, min(generation, self.generation)))
        self.dispatch()

    def load(self) -> None:
        self.generation += 1
        self.pool.generation = self.generation
        self.dispatch()

    def fork_done(self) -> None:
        if self.forking:
            worker = self.chance.choice(sorted(self.forking))
            self.alive[worker] = self.forking.pop(worker)
            self.pool.forked(worker, self.alive[worker])
            self.pool.ready(worker)
            self.dispatch()

    def launch_done(self) -> None:
        if self.busy:
            worker = self.chance.choice(sorted(self.busy))
            self.busy.remove(worker)
            clean = self.chance.random() < 0.8
            kept = self.pool.done(worker, clean=clean)
            assert kept == (clean and self.served[worker] < self.launches)
            if not kept:
                del self.alive[worker]
            self.dispatch()

    def die(self) -> None:
        candidates = sorted(set(self.alive) | set(self.forking))
        if candidates:
            worker = self.chance.choice(candidates)
            self.pool.ended(worker)
            self.alive.pop(worker, None)
            self.forking.pop(worker, None)
            self.busy.discard(worker)
            self.dispatch()

    def settle(self) -> None:
        """Everything under way ends; nothing new is asked."""
        for _ in range(1000):
            if not self.waiting and not self.forking and not self.busy:
                return
            self.fork_done()
            self.launch_done()
        raise AssertionError(f"{self.waiting} never got a worker")


@settings(max_examples=300, deadline=None)
@given(
    spares=st.integers(0, 4),
    most=st.integers(1, 6),
    launches=st.integers(1, 5),
    seed=st.integers(0, 1 << 32),
    steps=st.lists(st.sampled_from("aaaaalfffddddx"), max_size=120),
)
def test_promises_hold_whatever_happens(spares: int, most: int, launches: int, seed: int, steps: list[str]) -> None:
    chance = random.Random(seed)
    world = World(min(spares, most), most, launches, chance)
    asked = 0
    world.dispatch()
    for step in steps:
        match step:
            case "a":
                asked += 1
                world.ask(chance.choice("ABC"), chance.randint(0, world.generation))
            case "l":
                world.load()
            case "f":
                world.fork_done()
            case "d":
                world.launch_done()
            case "x":
                world.die()
    world.settle()
    assert world.started == asked
    idle = world.pool.count("idle")
    assert idle == len(world.alive)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_pool_full_of_spares_makes_room_for_a_new_program(most: int) -> None:
    """All places are taken by spares forked before the program was loaded."""
    world = World(most, most, 10, random.Random(1))
    world.dispatch()
    for _ in range(most):
        world.fork_done()
    world.load()
    world.ask("A", 1)
    world.settle()
    assert world.started == 1


def test_a_tenants_own_worker_is_preferred_and_the_most_recent_of_them() -> None:
    pool = Pool(0, 4, 10)
    for id_ in (1, 2, 3):
        pool.forking(id_)
        pool.ready(id_)
    first, second = pool.take(Need("A", 0)), pool.take(Need("A", 0))
    assert first is not None
    assert second is not None
    pool.done(second, clean=True)
    pool.done(first, clean=True)
    assert pool.take(Need("A", 0)) == second  # by when it was taken
    assert pool.take(Need("A", 0)) == first
    assert pool.take(Need("B", 0)) not in (first, second, None)
    assert pool.take(Need("B", 0)) is None


def test_spares_are_kept() -> None:
    pool = Pool(2, 8, 10)
    assert pool.plan([]).fork == 2
    assert pool.plan([Need("A", 0)] * 3).fork == 5
    assert pool.plan([Need("A", 0)] * 100).fork == 8


def test_after_the_spawners_end_only_busy_workers_are_left() -> None:
    pool = Pool(0, 4, 10)
    for id_ in (1, 2, 3):
        pool.forking(id_)
    pool.ready(1)
    pool.ready(2)
    pool.generation = 5
    taken = pool.take(Need("A", 0))
    assert taken is not None
    assert sorted(pool.restart()) == sorted({1, 2, 3} - {taken})
    assert len(pool) == 1
    assert pool.generation == 0
    assert pool.take(Need("A", 0)) is None


@pytest.mark.parametrize(("spares", "most", "launches"), [(-1, 1, 1), (2, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_settings_that_contradict_each_other(spares: int, most: int, launches: int) -> None:
    with pytest.raises(ValueError, match="spares"):
        Pool(spares, most, launches)
