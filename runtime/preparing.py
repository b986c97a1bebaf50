"""Programs that a peer wants compiled and loaded though nobody launches them yet: it waits here for what becomes of it.

To whoever loads and compiles, it is one more that waits for a program, in its tenant's name. Waiting is bounded in
number, for each tenant and in all, and in time. Whoever hangs up waits no longer; what is being compiled by then is
finished, for whoever comes next.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from insitu.runtime.errors import BadRequest, Busy, NodeError
from insitu.runtime.loop import Loop, Timer
from insitu.runtime.peer import Peer
from insitu.runtime.programs import ProgramInfo

MOST: Final = 64
"""Peers that wait at once."""
MOST_OF_ONE: Final = 16
"""Of them, in the name of one tenant."""


@dataclass(slots=True, eq=False)
class Preparation:
    peer: Peer
    info: ProgramInfo
    tenant: str
    timer: Timer | None = None

    @property
    def form(self) -> str:
        """That in which the program is launched unless somebody asks for more."""
        return self.info.form


class Preparing:
    def __init__(self, loop: Loop, seconds: float, held_by: Callable[[Preparation], str | None]) -> None:
        """`seconds`: that one may wait. `held_by`: what one waits for, for people."""
        self._loop, self._seconds, self._held_by = loop, seconds, held_by
        self._waiting: dict[Peer, Preparation] = {}

    def __contains__(self, peer: Peer) -> bool:
        return peer in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Preparation]:
        return iter(self._waiting.values())

    def begin(self, peer: Peer, info: ProgramInfo, tenant: str) -> None:
        """It is answered once the program is loaded, or refused. Raises `BadRequest`, `Busy`."""
        if peer in self._waiting:
            raise BadRequest("a second program on a connection that waits for one")
        of_tenant = sum(other.tenant == tenant for other in self)
        if of_tenant >= MOST_OF_ONE or len(self) >= MOST:
            raise Busy(f"{len(self)} programs wait to be compiled already, {of_tenant} of them the tenant's")
        waiting = self._waiting[peer] = Preparation(peer, info, tenant)
        waiting.timer = self._loop.after(self._seconds, lambda: self._late(waiting))

    def look(self, is_loaded: Callable[[Preparation], bool]) -> bool:
        """Tell those whose program is. Whether there were any."""
        found = [waiting for waiting in list(self) if is_loaded(waiting)]
        for waiting in found:
            self._leaves(waiting)
            waiting.peer.send({"program": waiting.info.to_wire()})
        return bool(found)

    def refuse(self, waiting: Preparation, why: NodeError) -> None:
        self._leaves(waiting)
        waiting.peer.refuse(why)

    def gone(self, peer: Peer) -> None:
        if (waiting := self._waiting.get(peer)) is not None:
            self._leaves(waiting)

    def close(self) -> None:
        for waiting in list(self):
            self._leaves(waiting)

    def _leaves(self, waiting: Preparation) -> None:
        del self._waiting[waiting.peer]
        if waiting.timer is not None:
            waiting.timer.cancel()

    def _late(self, waiting: Preparation) -> None:
        what = self._held_by(waiting) or f"program {waiting.info.name} is not loaded"
        self.refuse(waiting, Busy(f"{what} after {self._seconds:g} s", retry_after=5.0))
