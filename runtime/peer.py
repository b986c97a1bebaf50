"""One connection to the node: frames in, with their descriptors, and frames out. Never blocks, never trusts."""

import logging
import socket
from collections.abc import Mapping
from typing import Any, Protocol

from insitu.runtime import wire
from insitu.runtime.errors import Busy, NodeError, ProtocolError
from insitu.runtime.loop import READ, WRITE, Loop, Timer

log = logging.getLogger("insitu.node")
FIRST_WORD = 10.0  # seconds a peer has for a whole request, of the first from when it connected
_MAX_WORDS = 1000  # characters of a refusal: what it quotes may be a megabyte
_MAX_OUT = 32 << 20  # bytes of answers that a peer may leave unread


class Handler(Protocol):
    def request(self, peer: "Peer", message: wire.Message, fds: list[int]) -> None:
        """A request; the descriptors are the handler's to close. Raises `NodeError` to refuse it."""

    def gone(self, peer: "Peer") -> None:
        """The peer hung up, or was closed for its language."""


class Peer:
    """A peer has one request answered a turn, and none while it leaves answers unread: whoever sends thousands at once
    waits for the others in between, and fills nobody's memory."""

    def __init__(self, loop: Loop, sock: socket.socket, handler: Handler) -> None:
        self._loop, self._sock, self._handler = loop, sock, handler
        self._decoder = wire.Decoder()
        self._fds: list[int] = []
        self._out = bytearray()
        self.open = True
        self._leaving = False
        self._more = False
        """It has said more than was looked at, and is heard again when its turn comes."""
        self._events = READ
        self._timer: Timer | None = loop.after(FIRST_WORD, self._slow)
        loop.watch(sock.fileno(), self._event)
        self._read()  # most have spoken before we looked

    def _event(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self.open and events & ~WRITE:
            if self._more:
                self.close()  # not asked to be read, it has hung up: nobody is there for an answer
            else:
                self._read()

    def _read(self) -> None:
        try:
            data, fds = wire.receive_with_fds(self._sock)
        except BlockingIOError:
            return
        except wire.DescriptorsLost as why:
            return self.refuse(Busy(f"the node has {why}"))
        except ProtocolError as why:
            return self.refuse(why)
        except OSError:
            return self.close()
        self._fds += fds
        if not data:
            return self.close()
        self._decoder.feed(data)
        return self._hear()

    def _turn(self) -> None:
        self._more = False
        if self.open:
            self._hear()

    def _hear(self) -> None:
        """The next request, if there is a whole one."""
        if self._out:
            return self._hear_later()
        try:
            message = self._decoder.next()
            if message is not None:
                self._in_time()
                fds, self._fds = self._fds, []
                self._handler.request(self, message, fds)
            elif len(self._fds) > wire.MAX_FDS:
                raise ProtocolError("descriptors without an end")
        except ProtocolError as why:
            return self.refuse(why)
        except NodeError as why:
            self._refuse(why)
        except OSError as why:  # descriptors, memory, a file system: the next may have what this one lacked
            log.error("a request failed: %s", why)
            return self.refuse(Busy(f"the node cannot serve this now: {why.strerror or why}"))
        except Exception:  # whoever waits for an answer must not wait for ever
            log.exception("internal error: a request failed")
            return self.refuse(NodeError("internal error; the node's log says more"))
        if not self.open:
            return None
        if message is not None and len(self._decoder):
            return self._hear_later()
        if len(self._decoder) and self._timer is None:
            self._timer = self._loop.after(FIRST_WORD, self._slow)
        return self._watch()

    def _hear_later(self) -> None:
        if not self._more:
            self._more = True
            if not self._out:
                self._loop.after(0, self._turn)
        self._watch()

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _slow(self) -> None:
        self._timer = None
        self.refuse(ProtocolError(f"a request that took over {FIRST_WORD:g} s to arrive"))

    def _refuse(self, why: NodeError, *, final: bool = False) -> None:
        message: dict[str, Any] = {"error": why.code, "message": str(why)[:_MAX_WORDS]}
        if isinstance(why, Busy):
            message["retry_after"] = why.retry_after
        self.send(message)
        if final:
            self.leave()

    def refuse(self, why: NodeError) -> None:
        """Answer with an error, and hang up."""
        self._refuse(why, final=True)

    def send(self, message: Mapping[str, Any]) -> None:
        if not self.open:
            return
        try:
            self._out += wire.encode(message)
        except ValueError as why:
            self._out += wire.encode({"error": NodeError.code, "message": f"the answer cannot be sent: {why}"})
        if len(self._out) > _MAX_OUT:
            log.warning("a peer does not read its answers: closed")
            return self.close()
        return self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._sock.send(self._out, socket.MSG_NOSIGNAL)
                del self._out[:sent]
        except BlockingIOError:
            return self._watch()
        except OSError:
            return self.close()
        if self._leaving:
            return self.close()
        if self._more and self._events & WRITE:  # what it waited for is out
            self._loop.after(0, self._turn)
        return self._watch()

    def _watch(self) -> None:
        events = (0 if self._more else READ) | (WRITE if self._out else 0)
        if self.open and events != self._events:
            self._events = events
            self._loop.watch(self._sock.fileno(), self._event, events)

    def leave(self) -> None:
        """Hang up once everything is sent."""
        self._leaving = True
        if self.open and not self._out:
            self.close()

    def close(self) -> None:
        if not self.open:
            return
        self.open = False
        self._in_time()
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        wire.close_all(self._fds)
        self._fds = []
        self._handler.gone(self)
