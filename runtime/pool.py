"""Which worker takes which launch, and when to fork or end one. Pure: events in, decisions out, no I/O.

A worker's life:

    forking ──ready──▶ idle ──take──▶ busy ──done──▶ idle …
       └───────────────┴── ended: by retirement, replacement after a failure, or death ──┘

Isolation `shared`: an idle worker that has served nobody yet is a *spare* and may go to any tenant; from its first
launch on it is that tenant's until it ends. A worker can run the programs that its spawner had loaded when it was
forked: those whose generation is not above its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

State = Literal["forking", "idle", "busy"]


@dataclass(slots=True)
class Member:
    """One worker as the pool sees it."""

    id: int
    state: State = "forking"
    generation: int = 0
    tenant: str | None = None
    launches: int = 0
    used: int = 0
    """When it was last used, in launches of the whole pool."""


@dataclass(frozen=True, slots=True)
class Need:
    """A launch that waits for a worker."""

    tenant: str
    generation: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now so that the launches that wait, and the next one, find a worker."""

    fork: int = 0
    retire: list[int] = field(default_factory=list)


class Pool:
    """`spares`: workers kept ready for whoever comes. `most`: workers alive at once. `launches`: one worker's life."""

    def __init__(self, spares: int, most: int, launches: int) -> None:
        if not 0 <= spares <= most or most < 1 or launches < 1:
            raise ValueError(
                f"spares {spares}, workers {most}, launches {launches}: 0 ≤ spares ≤ workers, all else ≥ 1"
            )
        self._spares: Final = spares
        self._most: Final = most
        self._launches: Final = launches
        self._clock = 0
        self._members: dict[int, Member] = {}
        self.generation = 0
        """The newest that the spawner has loaded."""

    def __len__(self) -> int:
        return len(self._members)

    def count(self, state: State) -> int:
        return sum(m.state == state for m in self._members.values())

    # Events.

    def forking(self, id_: int) -> None:
        self._members[id_] = Member(id_, generation=self.generation)

    def forked(self, id_: int, generation: int) -> None:
        if id_ in self._members:
            self._members[id_].generation = generation

    def ready(self, id_: int) -> None:
        self._members[id_].state = "idle"

    def done(self, id_: int, *, clean: bool) -> bool:
        """A launch ended. Whether the worker goes on; if not it is out of the pool, and the caller ends it."""
        member = self._members[id_]
        member.state = "idle"
        if clean and member.launches < self._launches:
            return True
        del self._members[id_]
        return False

    def ended(self, id_: int) -> None:
        """The worker is gone, whatever it was doing."""
        self._members.pop(id_, None)

    def restart(self) -> list[int]:
        """The spawner is gone, and what it had loaded. The members that no launch runs in: they are out of the pool."""
        self.generation = 0
        lost = [m.id for m in self._members.values() if m.state != "busy"]
        for id_ in lost:
            del self._members[id_]
        return lost

    # Decisions.

    def take(self, need: Need) -> int | None:
        """The worker for a launch, now busy with it: the tenant's own, most recently used first, else a spare."""
        able = [m for m in self._members.values() if m.state == "idle" and m.generation >= need.generation]
        own = [m for m in able if m.tenant == need.tenant]
        spare = [m for m in able if m.tenant is None]
        if not own and not spare:
            return None
        member = max(own, key=lambda m: m.used) if own else min(spare, key=lambda m: m.generation)
        self._clock += 1
        member.state, member.tenant, member.used = "busy", need.tenant, self._clock
        member.launches += 1
        return member.id

    def plan(self, waiting: Iterable[Need]) -> Plan:
        """For the launches that `take` could not serve."""
        demand = sum(1 for _ in waiting)
        fresh = [m for m in self._members.values() if m.tenant is None and m.generation >= self.generation]
        stale = [m for m in self._members.values() if m.tenant is None and m.state == "idle" and m not in fresh]
        # Spares that miss the newest program make way once newer ones stand ready.
        retire = [m.id for m in stale] if sum(m.state == "idle" for m in fresh) >= self._spares else []
        wanted = demand + self._spares - len(fresh)
        room = self._most - len(self._members) + len(retire)
        if demand > room + len(fresh):
            # Full: spares that miss the newest program give their place (never used, they sort first), then the idle
            # workers of tenants who do not wait, the longest unused first.
            idle = sorted((m for m in self._members.values() if m.state == "idle"), key=lambda m: m.used)
            more = [m.id for m in idle if m.id not in retire and m not in fresh]
            more = more[: demand - room - len(fresh)]
            retire += more
            room += len(more)
        return Plan(max(0, min(wanted, room)), retire)
