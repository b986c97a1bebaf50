"""One launch for all who ask for the same at the same time, within one proxy.

The first to `board` a key leads: it runs the program and stores the result. The others wait until it lands, and then
read what is stored. How a flight lands:

    stored             all who wait read the stored object
    a problem          the program failed, as it would for each of them: they all get the same answer
    nothing            the leader's client went away: of those who wait the first leads
    alone              results of this key cannot be kept now: whoever waits runs the program on their own

In other proxies others may lead at the same time: both results are the same bytes, and the later PUT replaces the
earlier one.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Any, Final, Generic, TypeVar

from insitu.storage_hooks.green import Event, Timeout

P = TypeVar("P")

_REMEMBERED: Final = 4096


class Stored:
    """The result is kept: read it."""


class Lead:
    """It is your turn to run the program, and to land."""


class Alone:
    """Run the program, and keep nothing."""


STORED: Final = Stored()
LEAD: Final = Lead()
ALONE: Final = Alone()


class Seat(Generic[P]):
    """One request's place in a flight. Whoever leads must `land`; whoever waits must `wait` or `leave`."""

    def __init__(self, flights: "Flights[P]", key: Hashable, leads: bool) -> None:
        self._flights = flights
        self._key = key
        self._news: Any = Event()
        self.leads = leads

    def wait(self, seconds: float) -> Stored | Lead | Alone | P:
        """What the flight came to for this seat; `LEAD` makes it the leader. `ALONE` also when the time is up.

        Whatever is thrown into a green thread that waits, its seat is left.
        """
        try:
            with Timeout(seconds, False):
                news: Stored | Lead | Alone | P = self._news.wait()
                return news
        except BaseException:
            self.leave()
            raise
        # The news may have come in the very moment in which the time was up.
        if self._news.ready():
            news = self._news.wait()
            return news
        self.leave()
        return ALONE

    def land(self, with_: Stored | Alone | P | None) -> None:
        """The leader's word; see the module. A second one, and one of a seat that does not lead, counts for nothing."""
        if self.leads:
            self.leads = False
            self._flights._landed(self._key, with_)

    def leave(self) -> None:
        """Go without an answer. A leader that leaves lands with nothing."""
        if self.leads:
            self.land(None)
        else:
            self._flights._left(self._key, self)

    def tell(self, news: Stored | Lead | Alone | P) -> None:
        """For `Flights`."""
        self.leads = isinstance(news, Lead)
        self._news.send(news)


class Flights(Generic[P]):
    """All flights of a proxy. `P` is what a problem is."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Seat[P]]] = {}
        self.stored = 0
        """How many flights have ended with a stored result."""
        self._last_stored: OrderedDict[Hashable, int] = OrderedDict()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._waiting)

    def stored_since(self, key: Hashable, before: int) -> bool:
        """Has a flight of `key` ended well since `stored` was `before`? Who looked then may have looked too early."""
        return self._last_stored.get(key, 0) > before

    def board(self, key: Hashable) -> Seat[P]:
        """A seat in the flight of `key`; the first one leads."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            return Seat(self, key, leads=True)
        seat = Seat(self, key, leads=False)
        waiting.append(seat)
        return seat

    def _landed(self, key: Hashable, with_: Stored | Alone | P | None) -> None:
        waiting = self._waiting[key]
        if with_ is None and waiting:
            waiting.popleft().tell(LEAD)
            return
        del self._waiting[key]
        if isinstance(with_, Stored):
            self.stored += 1
            self._last_stored[key] = self.stored
            self._last_stored.move_to_end(key)
            while len(self._last_stored) > _REMEMBERED:
                self._last_stored.popitem(last=False)
        for seat in waiting:
            if with_ is not None:
                seat.tell(with_)

    def _left(self, key: Hashable, seat: Seat[P]) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and seat in waiting:
            waiting.remove(seat)
