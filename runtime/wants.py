"""Launches, and programs that are brought for later ones, that wait for a program's bytes from whoever sent them.

    client                                          node
    launch {program: "sha256:…", brings: true} ──▶  has it: goes on as ever
                                               ◀──  {need: "sha256:…"}
    bytes {data} … bytes {data, last: true}    ──▶  digest right: the launch goes on as if it had come now
    bytes {absent: true}                       ──▶  unknown program

    bring {program: "sha256:…"}                ──▶  the same; what follows the last piece is the program's description

A client that does not say `brings` is told that the program is unknown, and a node that does not know the word says so
too: neither has to know of the other's age. Waiting is bounded in number and in time.
"""

from collections.abc import Callable
from typing import Final

from insitu.runtime import wire
from insitu.runtime.arrivals import Arrival, Arrivals
from insitu.runtime.errors import BadRequest, Busy, NodeError, UnknownProgram
from insitu.runtime.loop import Loop, Timer
from insitu.runtime.peer import Peer
from insitu.sandbox.digest import is_digest

MAX_WANTS: Final = 8
"""Programs that arrive at once; each may be 128 MiB on the disk."""
MAX_OF_ONE: Final = MAX_WANTS // 2
"""In the name of one tenant: whoever sends slowly keeps nobody else out."""
SECONDS: Final = 60.0
"""That one may take to arrive."""
Again = Callable[[Peer, wire.Message, list[int]], bool]


class _Want:
    __slots__ = ("arrival", "fds", "message", "timer")

    def __init__(self, message: wire.Message, fds: list[int], arrival: Arrival, timer: Timer) -> None:
        self.message, self.fds, self.arrival, self.timer = message, fds, arrival, timer

    def end(self) -> None:
        self.timer.cancel()
        self.arrival.close()


class Wants:
    def __init__(self, loop: Loop, arrivals: Arrivals, again: Again) -> None:
        """`again` takes a request once more; whether the descriptors are its own from then on."""
        self._loop, self._arrivals, self._again = loop, arrivals, again
        self._wants: dict[Peer, _Want] = {}

    def __contains__(self, peer: Peer) -> bool:
        return peer in self._wants

    def ask(self, peer: Peer, message: wire.Message, fds: list[int]) -> bool:
        """Ask for the bytes, if they can be had; whether the request waits now. Raises `Busy`, `BadRequest`."""
        digest = message["program"]
        if message.get("brings") is not True or not is_digest(digest):
            return False
        if peer in self._wants:
            raise BadRequest("a second launch on a connection that has one")
        of_tenant = sum(want.message.get("tenant") == message.get("tenant") for want in self._wants.values())
        if of_tenant >= MAX_OF_ONE or len(self._wants) >= MAX_WANTS:
            arriving = f"{len(self._wants)} programs are arriving already"
            raise Busy(f"{arriving}, {of_tenant} of them the tenant's", retry_after=1.0)
        arrival = self._arrivals.begin(digest)
        self._wants[peer] = _Want(message, fds, arrival, self._loop.after(SECONDS, lambda: self._late(peer)))
        peer.send({"need": digest})
        return True

    def take(self, peer: Peer, message: wire.Message) -> None:
        """A piece. Raises `BadRequest`; whatever else is wrong ends the connection, which is told why."""
        want, data = self._wants.get(peer), message.get("data", b"")
        if want is None or not isinstance(data, bytes):
            raise BadRequest("bytes that nobody asked for" if want is None else "data: no bytes")
        try:
            if message.get("absent") is True:
                raise UnknownProgram(f"no program {want.message['program']!r} here, and whoever asked has none either")
            want.arrival.feed(data)
            if message.get("last") is not True:
                return
            want.arrival.finish()
        except NodeError as why:
            self.gone(peer)
            return peer.refuse(why)
        del self._wants[peer]
        want.end()
        kept = False
        try:
            kept = self._again(peer, want.message | {"brings": False}, want.fds)
        finally:
            if not kept:
                wire.close_all(want.fds)

    def _late(self, peer: Peer) -> None:
        digest = self._wants[peer].message["program"]
        self.gone(peer)
        peer.refuse(BadRequest(f"program {digest} did not arrive within {SECONDS:.0f} s"))

    def gone(self, peer: Peer) -> None:
        want = self._wants.pop(peer, None)
        if want is not None:
            want.end()
            wire.close_all(want.fds)

    def close(self) -> None:
        for peer in list(self._wants):
            self.gone(peer)
