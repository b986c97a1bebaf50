"""Which program is compiled next, and which one not for a while. Pure: events in, decisions out, the time is told.

Only so many are compiled at once, and no tenant has all of them: one with many programs to compile, each of which takes
as long as it may, leaves a compiler for the others. Tenants take turns; a program that two wait for is either's.

A program whose compiler died is not tried again at once: it would die again, and meanwhile nobody else would have that
compiler. It rests for ten times as long as it took, twice that the next time, and so on. What nobody waits for any more
is not begun.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LEAST: Final = 5.0  # seconds of rest: whoever killed it may have meant another
MOST: Final = 3600.0
_TIMES: Final = 10  # as long as it took
_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Rest:
    """A program that is not compiled now. `deaths`: of compilers, one after the other."""

    deaths: int
    until: float
    """On the clock that is told."""


class Compiling:
    def __init__(self, most: int) -> None:
        """`most`: at once."""
        self._most = most
        self._missing: dict[str, None] = {}
        self._running: dict[str, str] = {}
        """The tenant whose turn it was, by form."""
        self._turns: OrderedDict[str, None] = OrderedDict()
        """Tenants, the one that had its latest turn longest ago first."""
        self._rests: OrderedDict[str, Rest] = OrderedDict()

    @property
    def missing(self) -> frozenset[str]:
        """Programs that are to be compiled and are not yet."""
        return frozenset(self._missing)

    # Events.

    def wanted(self, form: str) -> None:
        """It has to be compiled, as soon as `next` says so."""
        if form not in self._running:
            self._missing[form] = None

    def done(self, form: str, *, compiled: bool) -> None:
        """Its compiler came to an answer, good or bad."""
        self._running.pop(form, None)
        if compiled:
            self._rests.pop(form, None)

    def died(self, form: str, seconds: float, now: float) -> Rest:
        """Its compiler did, after so long."""
        self._running.pop(form, None)
        before = self._rests.pop(form, None)
        deaths = before.deaths + 1 if before is not None else 1
        rest = min(MOST, max(LEAST, _TIMES * seconds) * 2.0 ** min(deaths - 1, 20))
        self._rests[form] = Rest(deaths, now + rest)
        while len(self._rests) > _REMEMBERED:
            self._rests.popitem(last=False)
        return self._rests[form]

    def restart(self) -> None:
        """All compilers are gone, by no fault of what they compiled."""
        self._missing.clear()
        self._running.clear()

    # Decisions.

    def rest(self, form: str, now: float) -> Rest | None:
        """Whether it is not to be tried yet."""
        found = self._rests.get(form)
        return found if found is not None and found.until > now else None

    def next(self, waiting: Iterable[tuple[str, str]]) -> str | None:
        """What is to be compiled now, if anything; it counts as running. `waiting`: tenant and form of each launch
        that waits, the first come first."""
        if not self._missing or len(self._running) >= self._most:
            return None
        first: dict[str, str] = {}
        for tenant, form in waiting:
            if form in self._missing:
                first.setdefault(tenant, form)
        held = list(self._running.values())
        share = max(1, self._most - 1)
        turns = list(self._turns)
        able = [tenant for tenant in first if held.count(tenant) < share]
        if not able:
            return None
        tenant = min(able, key=lambda name: turns.index(name) if name in self._turns else -1)
        self._turns[tenant] = None
        self._turns.move_to_end(tenant)
        while len(self._turns) > _REMEMBERED:
            self._turns.popitem(last=False)
        form = first[tenant]
        del self._missing[form]
        self._running[form] = tenant
        return form

    def unwanted(self, waiting: Iterable[tuple[str, str]]) -> list[str]:
        """What is missing and nobody waits for: it is forgotten, and asked for anew if somebody comes."""
        forms = {form for _, form in waiting}
        gone = [form for form in self._missing if form not in forms]
        for form in gone:
            del self._missing[form]
        return gone
