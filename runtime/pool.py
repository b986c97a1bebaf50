"""Which worker takes which launch, and when to fork or end one. Pure: events in, decisions out, no I/O.

A worker's life:

    forking ──ready──▶ idle ──taken──▶ busy ──done──▶ idle …       isolation `shared`, the same tenant's from then on
       │                │                └─done─────▶ ended         isolation `process`, a failure, the last of many
       └────────────────┴─ ended: by retirement, or death

An idle worker that has served nobody yet is a *spare* and may go to any tenant. A worker can run the programs that its
spawner had loaded when it was forked: those whose generation is not above its own.

Who waits is asked for in the order in which they should be served, and that is kept even when the pool is full: an
earlier one that only a new worker can serve has the place of an idle worker that a later one could have used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from insitu.runtime.demand import Demand

State = Literal["forking", "idle", "busy"]


@dataclass(slots=True)
class Member:
    """One worker as the pool sees it."""

    id: int
    state: State = "forking"
    generation: int = 0
    warm: tuple[str, ...] = ()
    tenant: str | None = None
    alone: bool = False
    """It serves one launch."""
    launches: int = 0
    used: int = 0
    """When it was last used, in launches of the whole pool."""


@dataclass(frozen=True, slots=True)
class Need:
    """A launch that waits for a worker. `alone`: one that has served nobody, and will serve nobody else."""

    tenant: str
    generation: int
    program: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now."""

    take: list[tuple[int, int]] = field(default_factory=list)
    """Launches, by their place in what was asked, each with the worker that is now busy with it."""
    fork: int = 0
    """Workers for launches that wait."""
    spares: int = 0
    """Workers for launches to come."""
    retire: list[int] = field(default_factory=list)
    """Idle workers to be ended, out of the pool from now on."""


NOTHING: Final = Plan()


class Pool:
    """`spares_min`, `spares_max`: workers kept ready for whoever comes. `most`: workers alive at once. `launches`: what
    one serves in its life."""

    def __init__(self, spares_min: int, spares_max: int, most: int, launches: int) -> None:
        if not 0 <= spares_min <= spares_max <= most or most < 1 or launches < 1:
            raise ValueError(
                f"spares {spares_min} to {spares_max}, workers {most}, launches {launches}: "
                "0 ≤ spares_min ≤ spares_max ≤ workers, all else ≥ 1"
            )
        self._most: Final = most
        self._launches: Final = launches
        self._clock = 0
        self._members: dict[int, Member] = {}
        self._demand = Demand(spares_min, spares_max)
        self._claimed = 0
        """Workers being forked that launches wait for."""
        self.generation = 0
        """The newest that the spawner has loaded."""

    def __len__(self) -> int:
        return len(self._members)

    @property
    def spares(self) -> int:
        """How many there should be now."""
        return self._demand.spares

    def count(self, state: State) -> int:
        return sum(m.state == state for m in self._members.values())

    # Events.

    def forking(self, id_: int, warm: Sequence[str] = ()) -> None:
        self._members[id_] = Member(id_, generation=self.generation, warm=tuple(warm))

    def forked(self, id_: int, generation: int) -> None:
        if id_ in self._members:
            self._members[id_].generation = generation

    def ready(self, id_: int) -> None:
        self._members[id_].state = "idle"

    def done(self, id_: int, *, clean: bool) -> bool:
        """A launch ended. Whether the worker goes on; if not it is out of the pool, and the caller ends it."""
        member = self._members[id_]
        member.state = "idle"
        if clean and not member.alone and member.launches < self._launches:
            return True
        del self._members[id_]
        return False

    def ended(self, id_: int) -> None:
        """The worker is gone, whatever it was doing."""
        self._members.pop(id_, None)

    def restart(self) -> list[int]:
        """The spawner is gone, and what it had loaded. The members that no launch runs in: they are out of the pool."""
        self.generation = 0
        self._demand.restart()
        lost = [m.id for m in self._members.values() if m.state != "busy"]
        for id_ in lost:
            del self._members[id_]
        return lost

    def calm(self) -> None:
        """A while has passed."""
        self._demand.calm()

    # Decisions.

    def assign(self, waiting: Sequence[Need]) -> Plan:
        """For all launches that may be started, the first first."""
        self._claimed = 0
        if not waiting:
            return NOTHING
        plan = Plan()
        coming = sorted([m.generation for m in self._members.values() if m.state == "forking"], reverse=True)
        being_forked = len(coming)
        room, forks = self._most - len(self._members), 0
        for place, need in enumerate(waiting):
            member = self._able(need)
            if member is not None:
                self._take(member, need)
                plan.take.append((place, member.id))
            elif coming and coming[0] >= need.generation:
                coming.pop(0)  # one that is being forked will do
            elif room > 0:
                room, forks = room - 1, forks + 1
                if not any(m.state == "idle" and m.tenant is None for m in self._members.values()):
                    self._demand.short()  # where spares only miss its program, there is no lack of them
            elif (idle := self._least_useful()) is not None:
                self._retire(idle, plan)
                forks += 1
            else:
                break  # nobody is idle: nor is there one for those behind
        self._claimed = being_forked - len(coming) + forks
        return Plan(plan.take, forks, 0, plan.retire) if forks else plan

    def tend(self) -> Plan:
        """For launches to come, once what `assign` said is done."""
        needed, wanted = self._demand.generation, self._demand.spares
        fresh: list[Member] = []
        stale: list[Member] = []
        forking = 0
        for m in self._members.values():
            if m.state == "forking":
                forking += 1
            elif m.state == "idle" and m.tenant is None:
                (fresh if m.generation >= needed else stale).append(m)
        self._demand.idle(len(fresh))
        missing = wanted - len(fresh) - max(0, forking - self._claimed)
        if missing > 0:
            # Where there is no room beside them, those that are out of date make it: they would stay for ever.
            plan = Plan(spares=min(missing, self._most - len(self._members) + len(stale)))
            for member in stale[: max(0, len(self._members) + plan.spares - self._most)]:
                self._retire(member, plan)
            return plan
        if len(fresh) < wanted or not (stale or len(fresh) > wanted):
            return NOTHING
        plan = Plan()
        for member in stale + fresh[: len(fresh) - wanted]:  # out of date, or too many
            self._retire(member, plan)
        return plan

    def warm(self) -> tuple[str, ...]:
        """What the next spare is to be warmed with."""
        return self._demand.warm(m.warm for m in self._members.values() if m.tenant is None)

    def _able(self, need: Need) -> Member | None:
        """The tenant's own, most recently used first, else a spare: if possible warm, and of those alike the newest,
        of whom most is still in the processor's caches."""
        best: Member | None = None
        rank: tuple[bool, bool, int, int] = (False, False, 0, 0)
        for m in self._members.values():
            if m.state != "idle" or m.generation < need.generation:
                continue
            if m.tenant is not None and (need.alone or m.tenant != need.tenant):
                continue
            own = m.tenant is not None
            mine = (own, need.program in m.warm, m.used if own else -m.generation, m.id)
            if best is None or mine > rank:
                best, rank = m, mine
        return best

    def _take(self, member: Member, need: Need) -> None:
        self._clock += 1
        member.state, member.tenant, member.used, member.alone = "busy", need.tenant, self._clock, need.alone
        member.launches += 1
        self._demand.asked(need.program, need.generation)

    def _least_useful(self) -> Member | None:
        """An idle one to be sacrificed: a spare that misses the newest programs, else a tenant's longest unused."""
        idle = [m for m in self._members.values() if m.state == "idle"]
        return min(idle, key=lambda m: (m.used, m.generation), default=None)

    def _retire(self, member: Member, plan: Plan) -> None:
        del self._members[member.id]
        plan.retire.append(member.id)
