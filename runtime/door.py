"""The node's socket: who comes in, and who has to go when too many have.

Whoever waits for a launch, or is sending its program, is *engaged*, and stays. When there is no room for one more, the
one of the others that spoke longest ago makes it.
"""

import logging
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from insitu.runtime import peer as peers
from insitu.runtime import wire
from insitu.runtime.errors import Busy, NodeUnavailable
from insitu.runtime.loop import Loop
from insitu.runtime.peer import Peer
from insitu.runtime.place import is_friend, listen, peer_uid

log = logging.getLogger("insitu.node")
MAX_PEERS: Final = 1024
_AGAIN: Final = 0.1  # seconds until the next try when there are no descriptors


class Door:
    def __init__(
        self, loop: Loop, handler: peers.Handler, friends: Collection[int], engaged: Callable[[Peer], bool]
    ) -> None:
        """`friends`: user ids that may come in besides our own and root's."""
        self._loop, self._handler, self._friends, self._engaged = loop, handler, friends, engaged
        self._peers: dict[Peer, None] = {}
        """The one that spoke longest ago first."""
        self._listener: socket.socket | None = None
        self._starved = False
        """Of descriptors, when it was last looked."""

    @property
    def is_open(self) -> bool:
        return self._listener is not None

    def open(self, path: str) -> None:
        """Raises `NodeFailed`."""
        self._listener = listen(path, 0o666 if self._friends else 0o600)
        self._loop.watch(self._listener.fileno(), self._accept)

    def spoke(self, peer: Peer) -> None:
        self._peers.pop(peer, None)
        self._peers[peer] = None  # it may have spoken from its own constructor

    def gone(self, peer: Peer) -> None:
        self._peers.pop(peer, None)

    def stop(self) -> None:
        """Nobody comes in any more."""
        if self._listener is not None:
            self._listener.close()

    def close(self) -> None:
        """And everybody goes."""
        for peer in list(self._peers):
            peer.close()

    def _accept(self, _: int) -> None:
        assert self._listener is not None
        try:
            sock, _address = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as why:
            # No descriptors left: the one that waits stays in the backlog until some are free again.
            if not self._starved:
                log.error("cannot accept: %s; it is tried again until it can be", why)
            self._starved = True
            fd = self._listener.fileno()
            self._loop.forget(fd)
            self._loop.after(_AGAIN, lambda: self._loop.watch(fd, self._accept))
            return
        self._starved = False
        sock.setblocking(False)
        if not is_friend(sock, self._friends):
            self._turn_away(sock)
            return
        if len(self._peers) >= MAX_PEERS and (idle := self._idle()) is not None:
            idle.refuse(Busy(f"{MAX_PEERS} connections, and this one was idle for longest"))
            idle.close()  # whether it reads that or not
        peer = Peer(self._loop, sock, self._handler)
        if not peer.open:
            return  # it has come and gone
        self._peers[peer] = None
        if len(self._peers) > MAX_PEERS and not self._engaged(peer):
            peer.refuse(Busy(f"{MAX_PEERS} connections already, each with a launch"))

    @staticmethod
    def _turn_away(sock: socket.socket) -> None:
        """A stranger is told, and not listened to."""
        why = f"user id {peer_uid(sock)} may not speak to this node; its setting allow_uid says who may"
        with sock, suppress(OSError):
            sock.send(wire.encode({"error": NodeUnavailable.code, "message": why}), socket.MSG_NOSIGNAL)

    def _idle(self) -> Peer | None:
        return next((peer for peer in self._peers if not self._engaged(peer)), None)
