"""One connection to the node: frames in, with their descriptors, and frames out. Never blocks, never trusts."""

import logging
import socket
from collections.abc import Mapping
from typing import Any, Protocol

from insitu.runtime import wire
from insitu.runtime.errors import Busy, NodeError, ProtocolError
from insitu.runtime.loop import READ, WRITE, Loop

log = logging.getLogger("insitu.node")
FIRST_WORD = 10.0  # seconds a peer has for its first whole request
_MAX_WORDS = 1000  # characters of a refusal: what it quotes may be a megabyte
_MAX_OUT = 32 << 20  # bytes of answers that a peer may leave unread


class Handler(Protocol):
    def request(self, peer: "Peer", message: wire.Message, fds: list[int]) -> None:
        """A request; the descriptors are the handler's to close. Raises `NodeError` to refuse it."""

    def gone(self, peer: "Peer") -> None:
        """The peer hung up, or was closed for its language."""


class Peer:
    def __init__(self, loop: Loop, sock: socket.socket, handler: Handler) -> None:
        self._loop, self._sock, self._handler = loop, sock, handler
        self._decoder = wire.Decoder()
        self._fds: list[int] = []
        self._out = bytearray()
        self.open = True
        self._leaving = False
        self._writing = False
        self._timer = loop.after(FIRST_WORD, self.close)
        loop.watch(sock.fileno(), self._event)
        self._read()  # most have spoken before we looked

    def _event(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self.open and events & ~WRITE:
            self._read()

    def _read(self) -> None:
        try:
            data, fds = wire.receive_with_fds(self._sock)
        except BlockingIOError:
            return
        except wire.DescriptorsLost as why:
            return self.refuse(Busy(f"the node has {why}"))
        except ProtocolError as why:
            return self._refuse(why, final=True)
        except OSError:
            return self.close()
        self._fds += fds
        if not data:
            return self.close()
        self._decoder.feed(data)
        while self.open:
            try:
                message = self._decoder.next()
                if message is None:
                    if len(self._fds) > wire.MAX_FDS:
                        raise ProtocolError("descriptors without an end")
                    return None
                self._timer.cancel()
                fds, self._fds = self._fds, []
                self._handler.request(self, message, fds)
            except ProtocolError as why:
                return self._refuse(why, final=True)
            except NodeError as why:
                self._refuse(why)
            except OSError as why:  # descriptors, memory, a file system: the next may have what this one lacked
                log.error("a request failed: %s", why)
                return self.refuse(Busy(f"the node cannot serve this now: {why.strerror or why}"))
            except Exception:  # whoever waits for an answer must not wait for ever
                log.exception("internal error: a request failed")
                return self.refuse(NodeError("internal error; the node's log says more"))
        return None

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
            return self._watch_writing(True)
        except OSError:
            return self.close()
        if self._leaving:
            return self.close()
        return self._watch_writing(False)

    def _watch_writing(self, writing: bool) -> None:
        if writing != self._writing:
            self._writing = writing
            self._loop.watch(self._sock.fileno(), self._event, READ | WRITE if writing else READ)

    def leave(self) -> None:
        """Hang up once everything is sent."""
        self._leaving = True
        if self.open and not self._out:
            self.close()

    def close(self) -> None:
        if not self.open:
            return
        self.open = False
        self._timer.cancel()
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        wire.close_all(self._fds)
        self._fds = []
        self._handler.gone(self)
