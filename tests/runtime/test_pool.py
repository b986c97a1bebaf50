"""The pool's decisions, against a model of workers that does what it is told."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.runtime.demand import HALF, WARM, Demand
from insitu.runtime.pool import Need, Plan, Pool


class World:
    """Workers as a spawner and its children would be, and launches that wait; checks every promise at every step."""

    def __init__(self, spares: tuple[int, int], most: int, launches: int, chance: random.Random) -> None:
        self.pool = Pool(*spares, most, launches)
        self.spares, self.most, self.launches, self.chance = spares, most, launches, chance
        self.next = 0
        self.generation = 0
        self.forking: dict[int, int] = {}  # worker → generation
        self.alive: dict[int, int] = {}
        self.tenants: dict[int, str] = {}
        self.served: dict[int, int] = {}
        self.alone: set[int] = set()
        self.busy: set[int] = set()
        self.waiting: list[Need] = []
        self.started = 0

    def check(self) -> None:
        assert len(self.pool) == len(self.forking) + len(self.alive)
        assert len(self.pool) <= self.most
        assert self.spares[0] <= self.pool.spares <= self.spares[1]

    def dispatch(self) -> None:
        plan = self.pool.assign(self.waiting)
        for worker in plan.retire:
            assert worker in self.alive
            assert worker not in self.busy, "a worker was ended with a launch in it"
            del self.alive[worker]
        assert len({place for place, _ in plan.take}) == len(plan.take), "a launch was given two workers"
        for place, worker in plan.take:
            need = self.waiting[place]
            assert worker in self.alive
            assert worker not in self.busy
            assert self.alive[worker] >= need.generation, "a worker without the program"
            assert self.tenants.setdefault(worker, need.tenant) == need.tenant, "a worker of another tenant"
            assert worker not in self.alone, "isolation `process`, and a second launch"
            assert not need.alone or worker not in self.served, "isolation `process`, and not the first launch"
            if need.alone:
                self.alone.add(worker)
            self.served[worker] = self.served.get(worker, 0) + 1
            assert self.served[worker] <= self.launches
            self.busy.add(worker)
            self.started += 1
        taken = {place for place, _ in plan.take}
        self.waiting = [need for place, need in enumerate(self.waiting) if place not in taken]
        assert plan.fork <= len(self.waiting)
        if self.waiting and len(self.pool) + plan.fork < self.most:
            assert plan.fork + len(self.forking) >= len(self.waiting), "room, and a launch that nobody will serve"
        for _ in range(plan.fork):
            self.fork(())
        plan = self.pool.tend()
        assert not plan.take
        assert not plan.fork
        for worker in plan.retire:
            assert worker in self.alive
            assert worker not in self.busy
            del self.alive[worker]
        for _ in range(plan.spares):
            self.fork(self.pool.warm())
        self.check()

    def fork(self, warm: Sequence[str]) -> None:
        self.next += 1
        assert len(set(warm)) == len(warm) <= WARM
        self.pool.forking(self.next, warm)
        self.forking[self.next] = self.generation

    def ask(self, tenant: str, generation: int, *, alone: bool = False) -> None:
        generation = min(generation, self.generation)
        self.waiting.append(Need(tenant, generation, f"program-{generation}", alone))
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
            assert kept == (clean and worker not in self.alone and self.served[worker] < self.launches)
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

    def calm(self) -> None:
        self.pool.calm()
        self.dispatch()

    def leave(self) -> None:
        """Somebody who waits goes away."""
        if self.waiting:
            self.waiting.pop(self.chance.randrange(len(self.waiting)))
            self.started += 1
            self.dispatch()

    def settle(self) -> None:
        """Everything under way ends; nothing new is asked."""
        for _ in range(1000):
            if not self.waiting and not self.forking and not self.busy:
                return
            self.fork_done()
            self.launch_done()
        raise AssertionError(f"{self.waiting} never got a worker")


@settings(max_examples=400, deadline=None)
@given(
    spares=st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted),
    most=st.integers(1, 6),
    launches=st.integers(1, 5),
    seed=st.integers(0, 1 << 32),
    steps=st.lists(st.sampled_from("aaapppplfffddddxcg"), max_size=120),
)
def test_promises_hold_whatever_happens(spares: list[int], most: int, launches: int, seed: int, steps: str) -> None:
    chance = random.Random(seed)
    world = World((min(spares[0], most), min(spares[1], most)), most, launches, chance)
    asked = 0
    world.dispatch()
    for step in steps:
        match step:
            case "a" | "p":
                asked += 1
                world.ask(chance.choice("ABC"), chance.randint(0, world.generation), alone=step == "p")
            case "l":
                world.load()
            case "f":
                world.fork_done()
            case "d":
                world.launch_done()
            case "x":
                world.die()
            case "c":
                world.calm()
            case "g":
                world.leave()
    world.settle()
    assert world.started == asked
    assert world.pool.count("idle") == len(world.alive)
    for _ in range(5):  # in the end there are as many spares as there should be, all of the newest programs
        world.calm()
        world.settle()
    assert world.pool.spares == world.spares[0]
    spares = [worker for worker in world.alive if worker not in world.tenants]
    assert len(spares) >= world.spares[0] or len(world.alive) == most, "room for spares, and fewer than there should be"


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("alone", [True, False])
def test_a_pool_full_of_spares_makes_room_for_a_new_program(most: int, alone: bool) -> None:
    """All places are taken by spares forked before the program was loaded."""
    world = World((most, most), most, 10, random.Random(1))
    world.dispatch()
    for _ in range(most):
        world.fork_done()
    world.load()
    world.ask("A", 1, alone=alone)
    world.settle()
    assert world.started == 1


def idle_pool(count: int, spares: int = 0, most: int = 4) -> Pool:
    pool = Pool(spares, spares, most, 10)
    for id_ in range(1, count + 1):
        pool.forking(id_)
        pool.ready(id_)
    return pool


def taken(plan: Plan) -> list[int]:
    return [worker for _, worker in plan.take]


def one(pool: Pool, tenant: str) -> int | None:
    """Who takes the launch of a tenant, should somebody take it."""
    return next(iter(taken(pool.assign([Need(tenant, 0)]))), None)


def test_a_tenants_own_worker_is_preferred_and_the_most_recent_of_them() -> None:
    pool = idle_pool(3, spares=3)
    first, second = one(pool, "A"), one(pool, "A")
    assert first is not None
    assert second is not None
    pool.done(second, clean=True)
    pool.done(first, clean=True)
    assert one(pool, "A") == second  # by when it was taken
    assert one(pool, "A") == first
    assert one(pool, "B") not in (first, second, None)
    assert one(pool, "B") is None


def test_spares_are_kept() -> None:
    def plan(waiting: int) -> tuple[int, int]:
        pool = Pool(2, 2, 8, 10)
        fork = pool.assign([Need("A", 0)] * waiting).fork
        for id_ in range(fork):
            pool.forking(id_)
        return fork, pool.tend().spares

    assert plan(0) == (0, 2)
    assert plan(3) == (3, 2)
    assert plan(100) == (8, 0)


def test_who_is_first_has_the_place_of_a_worker_that_those_behind_could_use() -> None:
    """Else a tenant that always has something waiting would keep its worker for ever."""
    pool = idle_pool(1, most=1, spares=1)
    assert taken(pool.assign([Need("A", 0)])) == [1]
    pool.done(1, clean=True)
    plan = pool.assign([Need("B", 0), Need("A", 0)])
    assert (plan.take, plan.retire, plan.fork) == ([], [1], 1)
    pool.forking(2)
    pool.ready(2)
    assert pool.assign([Need("B", 0), Need("A", 0)]).take == [(0, 2)]


def test_a_launch_that_wants_to_be_alone_gets_no_worker_that_has_served() -> None:
    pool = idle_pool(1, most=2)
    assert one(pool, "A") == 1
    pool.done(1, clean=True)
    plan = pool.assign([Need("A", 0, alone=True)])
    assert (plan.take, plan.fork) == ([], 1)
    pool.forking(2)
    pool.ready(2)
    assert taken(pool.assign([Need("A", 0, alone=True)])) == [2]
    assert pool.done(2, clean=True) is False


def test_a_spare_that_is_warm_with_the_program_is_taken_first() -> None:
    pool = Pool(3, 3, 4, 10)
    for id_, warm in enumerate([["x"], ["y", "z"], []], start=1):
        pool.forking(id_, warm)
        pool.ready(id_)
    for program, worker in (("z", 2), ("x", 1), ("x", 3)):
        assert taken(pool.assign([Need("A", 0, program, alone=True)])) == [worker]


def test_after_the_spawners_end_only_busy_workers_are_left() -> None:
    pool = Pool(4, 4, 4, 10)
    for id_ in (1, 2, 3):
        pool.forking(id_)
    pool.ready(1)
    pool.ready(2)
    [worker] = taken(pool.assign([Need("A", 0)]))
    pool.generation = 5
    assert sorted(pool.restart()) == sorted({1, 2, 3} - {worker})
    assert len(pool) == 1
    assert pool.generation == 0
    assert one(pool, "A") is None


@pytest.mark.parametrize(
    ("least", "spares", "most", "launches"),
    [(-1, 1, 1, 1), (0, 2, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0), (2, 1, 3, 1)],
)
def test_settings_that_contradict_each_other(least: int, spares: int, most: int, launches: int) -> None:
    with pytest.raises(ValueError, match="spares"):
        Pool(least, spares, most, launches)


def test_spares_follow_demand_and_come_back() -> None:
    pool = Pool(1, 5, 20, 10)
    plan = pool.assign([Need("A", 0, alone=True)] * 9)
    for id_ in range(9):
        pool.forking(id_)
    assert (plan.fork, pool.spares, pool.tend().spares) == (9, 5, 5)
    for id_ in range(14):
        pool.forking(id_)
        pool.ready(id_)
    assert len(pool.assign([Need("A", 0, alone=True)] * 9).take) == 9
    found = []
    for _ in range(6):  # nobody asks any more
        pool.calm()
        pool.tend()
        found.append((pool.spares, pool.count("idle")))
    assert found == [(5, 5), (2, 2), (1, 1), (1, 1), (1, 1), (1, 1)]


def test_what_a_spare_is_warmed_with_follows_what_is_asked_for() -> None:
    demand = Demand(0, 4)
    assert demand.warm([]) == ()
    for _ in range(3):
        demand.asked("often", 1)
    demand.asked("seldom", 2)
    assert demand.warm([]) == ("often", "seldom")
    assert demand.warm([("often",)]) == ("often", "seldom")  # 3 by 2 is above 1
    assert demand.warm([("often",)] * 3) == ("seldom", "often")
    for _ in range(4 * HALF):
        demand.asked("new", 1)
    assert demand.warm([]) == ("new",)  # the others are forgotten
    for number in range(2 * WARM):
        demand.asked(f"program-{number}", 1)
    assert len(demand.warm([])) == WARM


def test_spares_are_replaced_for_a_program_in_demand_and_for_no_other() -> None:
    """Else whoever comes with one new program after the other has all spares forked anew each time."""
    world = World((2, 2), 8, 10, random.Random(1))
    world.dispatch()
    world.settle()
    before = set(world.alive)

    def launch() -> None:
        world.ask("A", world.generation, alone=True)
        world.settle()
        world.dispatch()
        world.settle()

    world.load()
    launch()
    assert before <= set(world.alive)
    launch()
    assert not before & set(world.alive)
    assert len(world.alive) == 2


def test_they_are_replaced_also_where_all_workers_are_spares() -> None:
    world = World((2, 2), 2, 10, random.Random(1))
    world.dispatch()
    world.settle()
    before = set(world.alive)
    world.load()
    for _ in range(3):  # one takes the place of a spare, two are a demand
        world.ask("A", world.generation, alone=True)
        world.settle()
        world.dispatch()
        world.settle()
    world.dispatch()
    world.settle()
    assert not before & set(world.alive)
    assert len(world.alive) == 2
