"""Which tenant's launch comes next, and what a tenant may not have. Pure: events in, decisions out, the time is told.

A launch is `refused` or joins its tenant's line; it leaves the line when it is `started` or has `left`; a started one
has `ended` with the CPU seconds that it used.

    tenants with launches waiting, in turn:   A ─ B ─ C       A's line: a1 a2 a3
                                              │               ("turns": a1 b1 c1 a2 b2 …)
                                              └─ started: A goes to the end

The turn passes on only when a launch was really started. So whoever floods a full node gets every n-th place of it,
where n is how many tenants wait, whatever the length of its line.

Of CPU time every tenant has a bucket that holds a minute's worth and is refilled evenly. What a launch used is known
when it has ended and is taken out then, below nothing if need be; nothing is started while the bucket is empty.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from insitu.runtime.settings import TenantLimits
from insitu.sandbox.limits import format_duration, format_size

_SWEEP: Final = 1024
"""Tenants known, above which those that nothing needs to be known of are forgotten."""
_LATER: Final = 1.0  # seconds: when somebody who finds a line full may find it shorter
_PATIENCE: Final = 60.0  # seconds: no answer sends anybody away for longer at once


class Asked(Protocol):
    """What a launch asks for."""

    @property
    def tenant(self) -> str: ...
    @property
    def memory(self) -> int:
        """Bytes: its memory limit."""


Item = TypeVar("Item", bound=Asked)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A tenant's limit that stands in the way. `retry_after`: seconds; None when waiting does not help."""

    tenant: str
    name: str
    allowed: str
    reached: str
    retry_after: float | None = _LATER

    def sentence(self) -> str:
        who = f"tenant {self.tenant}" if self.tenant else "the tenant without a name"
        return f"{who}: limit {self.name}: {self.allowed} allowed, {self.reached} reached"


@dataclass(slots=True)
class _Tenant(Generic[Item]):
    name: str
    limits: TenantLimits
    filled: float
    """CPU seconds in the bucket, at `at`."""
    at: float
    line: OrderedDict[int, Item] = field(default_factory=OrderedDict)
    running: int = 0
    memory: int = 0

    def bucket(self, now: float) -> float:
        full = self.limits.cpu_per_minute
        if full is None:
            return 1.0
        self.filled = min(full, self.filled + max(0.0, now - self.at) * full / 60)
        self.at = max(self.at, now)
        return self.filled

    def refilled_in(self, now: float) -> float:
        """Seconds until something may be started again."""
        full, held = self.limits.cpu_per_minute, self.bucket(now)
        return 0.0 if full is None or held > 0 else max(0.001, -held * 60 / full)


class Tenants(Generic[Item]):
    def __init__(self, limits: Callable[[str], TenantLimits]) -> None:
        """`limits`: of a tenant, by its name."""
        self._limits = limits
        self._tenants: dict[str, _Tenant[Item]] = {}
        self._turn: OrderedDict[str, _Tenant[Item]] = OrderedDict()
        """Those with launches waiting; the first is the next."""
        self._sweep_at = _SWEEP
        self._waiting = 0

    def __len__(self) -> int:
        """Launches that wait."""
        return self._waiting

    def __contains__(self, item: Item) -> bool:
        tenant = self._turn.get(item.tenant)
        return tenant is not None and id(item) in tenant.line

    def __iter__(self) -> Iterator[Item]:
        """Those that wait, in no order that matters."""
        for tenant in self._turn.values():
            yield from tenant.line.values()

    @property
    def known(self) -> int:
        return len(self._tenants)

    # Events.

    def refused(self, name: str, memory: int, now: float) -> Refusal | None:
        """Why a launch may not even wait."""
        tenant = self._tenant(name, now)
        limits = tenant.limits
        if limits.memory is not None and memory > limits.memory:
            return Refusal(name, "memory", format_size(limits.memory), format_size(memory), None)
        if len(tenant.line) >= limits.queued:
            return Refusal(name, "queued", str(limits.queued), str(len(tenant.line)))
        return self._out_of_cpu(tenant, now)

    def joined(self, item: Item, now: float) -> None:
        tenant = self._tenant(item.tenant, now)
        tenant.line[id(item)] = item
        self._waiting += 1
        self._turn.setdefault(tenant.name, tenant)

    def left(self, item: Item) -> None:
        """It waits no longer, and was not started."""
        tenant = self._tenants[item.tenant]
        del tenant.line[id(item)]
        self._waiting -= 1
        if not tenant.line:
            del self._turn[tenant.name]

    def started(self, item: Item) -> None:
        tenant = self._tenants[item.tenant]
        self._turn.move_to_end(tenant.name)
        self.left(item)
        tenant.running += 1
        tenant.memory += item.memory

    def ended(self, item: Item, cpu: float, now: float) -> None:
        """A started one. `cpu`: seconds that it used."""
        tenant = self._tenants[item.tenant]
        tenant.running -= 1
        tenant.memory -= item.memory
        tenant.bucket(now)
        if tenant.limits.cpu_per_minute is not None:
            tenant.filled -= cpu

    # Decisions.

    def limits(self, item: Item) -> TenantLimits:
        """Of the tenant of a launch that waits or runs."""
        return self._tenants[item.tenant].limits

    def turns(self, now: float, ready: Callable[[Item], bool]) -> Iterator[Item]:
        """The launches that may be started, in the order in which they should be: the next of every tenant, then the
        one after it, and so on. All of them together keep every limit. Nothing may change while this is looked at.

        `ready`: whether it could be started at all; what could not does not hold up those behind it.
        """
        lanes = [self._lane(tenant, now, ready) for tenant in self._turn.values()]
        while lanes:
            for lane in tuple(lanes):
                item = next(lane, None)
                if item is None:
                    lanes.remove(lane)
                else:
                    yield item

    def refilled_in(self, now: float) -> float | None:
        """Seconds until a tenant whose launches wait for CPU time has some again; None when there is no such one."""
        waits = [wait for tenant in self._turn.values() if (wait := tenant.refilled_in(now))]
        return min(waits, default=None)

    def held_by(self, item: Item, now: float) -> Refusal | None:
        """The limit of its tenant that one that waits would meet now."""
        tenant = self._tenants[item.tenant]
        limits = tenant.limits
        if tenant.running >= limits.running:
            return Refusal(tenant.name, "running", str(limits.running), str(tenant.running))
        if limits.memory is not None and tenant.memory + item.memory > limits.memory:
            return Refusal(
                tenant.name, "memory", format_size(limits.memory), format_size(tenant.memory + item.memory), _LATER
            )
        return self._out_of_cpu(tenant, now)

    @staticmethod
    def _lane(tenant: _Tenant[Item], now: float, ready: Callable[[Item], bool]) -> Iterator[Item]:
        if tenant.bucket(now) <= 0:
            return
        limits, running, memory = tenant.limits, tenant.running, tenant.memory
        for item in tenant.line.values():
            if running >= limits.running:
                return
            if not ready(item):
                continue
            memory += item.memory
            if limits.memory is not None and memory > limits.memory:
                return  # nor may a smaller one behind it go first: it would wait for ever
            running += 1
            yield item

    @staticmethod
    def _out_of_cpu(tenant: _Tenant[Item], now: float) -> Refusal | None:
        full = tenant.limits.cpu_per_minute
        if full is None or (held := tenant.bucket(now)) > 0:
            return None
        wait = min(_PATIENCE, tenant.refilled_in(now))
        return Refusal(tenant.name, "cpu_per_minute", format_duration(full), format_duration(full - held), wait)

    def _tenant(self, name: str, now: float) -> _Tenant[Item]:
        tenant = self._tenants.get(name)
        if tenant is None:
            if len(self._tenants) >= self._sweep_at:
                self._sweep(now)
            limits = self._limits(name)
            tenant = self._tenants[name] = _Tenant(name, limits, limits.cpu_per_minute or 0.0, now)
        return tenant

    def _sweep(self, now: float) -> None:
        """Anybody may come with a name that nobody has heard of."""

        def matters(tenant: _Tenant[Item]) -> bool:
            full = tenant.limits.cpu_per_minute
            return bool(tenant.running or tenant.line or (full is not None and tenant.bucket(now) < full))

        self._tenants = {name: tenant for name, tenant in self._tenants.items() if matters(tenant)}
        self._sweep_at = max(_SWEEP, 2 * len(self._tenants))
