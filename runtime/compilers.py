"""A node's compilers and storekeepers as the node sees them: what one makes, the other puts into the cache.

    compile ─▶ compiler ── rejected, failed, died ──▶ told
                  └─ code, files (memfds) ─▶ storekeeper ── stored ────────────▶ told
                                                  └─ the disk will not have it ─▶ told, and kept for `handed`

Neither is trusted with the other's rights: a compiler reads what a stranger wrote and can write nowhere, a storekeeper
writes and reads nothing of it. Decides nothing.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from insitu.runtime import process, wire
from insitu.runtime.errors import ProtocolError
from insitu.runtime.loop import Loop, Timer
from insitu.runtime.programs import ProgramInfo

log = logging.getLogger("insitu.node")
COMPILERS: Final = max(2, (os.cpu_count() or 1) // 2)
"""At once: each may take a processor and a gigabyte, and launches come first."""
SECONDS: Final = 900.0
"""That one may take, and a storekeeper too."""
_STATUS_WAIT: Final = 0.5  # seconds that a dead one's exit status may take to arrive by way of the spawner


class Events(Protocol):
    """Of programs by their form (see `form.py`)."""

    def program_rejected(self, form: str, message: str) -> None: ...
    def program_compiled(self, form: str, failure: str | None) -> None: ...
    def compiler_died(self, form: str, how: str, seconds: float) -> None:
        """It came to no answer, `seconds` after it was asked."""


class Order(Protocol):
    def __call__(self, message: wire.Message, *fds: int) -> bool: ...


class _Child:
    __slots__ = ("begun", "form", "how", "info", "made", "pid", "pidfd", "sock", "timer")

    def __init__(self, info: ProgramInfo, form: str, sock: socket.socket, made: list[int]) -> None:
        self.info, self.form, self.sock, self.made = info, form, sock, made
        self.begun = time.monotonic()
        self.pid = 0
        self.pidfd: int | None = None
        self.how: str | None = None
        self.timer: Timer | None = None


class Compilers:
    def __init__(self, loop: Loop, events: Events, order: Order) -> None:
        """`order`: tells the spawner."""
        self._loop, self._events, self._order = loop, events, order
        self._children: dict[int, _Child] = {}
        self._next = 0
        self._handed: dict[str, list[int]] = {}
        """What the cache would not have, by form, until the spawner has it."""

    def compile(self, info: ProgramInfo, form: str) -> None:
        """An event follows, unless the spawner is lost."""
        self._start(info, form, {"op": "compile", "path": info.path, "name": info.name, "bundle": info.bundle}, [])

    def handed(self, form: str) -> Sequence[int]:
        """What the spawner has to be given along with the order to load it."""
        return self._handed.get(form, ())

    def delivered(self, form: str) -> None:
        """The spawner has it."""
        wire.close_all(self._handed.pop(form, ()))

    def started(self, number: int, pid: int, pidfds: Sequence[int]) -> None:
        """`pidfds`: one, or none when the node had no descriptor left to take it with."""
        child = self._children.get(number)
        if child is None:
            wire.close_all(pidfds)  # it was quick
        else:
            child.pid, child.pidfd = pid, next(iter(pidfds), None)

    def unstarted(self, number: int, why: str) -> None:
        """The spawner had no process, or no descriptors, for it."""
        if (child := self._children.get(number)) is not None:
            made, child.made = child.made, []
            self._drop(number)
            self._not_begun(child.info, child.form, made, why)

    def exited(self, pid: int, how: str) -> None:
        for number, child in self._children.items():
            if child.pid == pid:
                child.how = how  # its answer may still be on the way
                return self._answered(number)
        return None

    def spawner_lost(self) -> None:
        """They end with it, by no fault of what they compiled."""
        for number in list(self._children):
            self._drop(number)

    def close(self) -> None:
        self.spawner_lost()
        for form in list(self._handed):
            self.delivered(form)

    def _start(self, info: ProgramInfo, form: str, order: wire.Message, made: list[int]) -> None:
        try:
            ours, theirs = wire.packet_pair()
        except OSError as why:
            words = str(why)
            self._loop.after(0, lambda: self._not_begun(info, form, made, words))
            return
        ours.setblocking(False)
        self._next += 1
        number = self._next
        child = self._children[number] = _Child(info, form, ours, made)
        child.timer = self._loop.after(SECONDS, lambda: self._late(number))
        self._loop.watch(ours.fileno(), lambda _: self._answered(number))
        with theirs:
            self._order(order | {"compiler": number, "form": form}, theirs.fileno(), *made)

    def _not_begun(self, info: ProgramInfo, form: str, made: list[int], why: str) -> None:
        if made:
            self._unkept(info, form, made, f"no process to store it in: {why}")
            self._events.program_compiled(form, None)
        else:
            self._events.program_compiled(form, f"no process to compile in: {why}")

    def _unkept(self, info: ProgramInfo, form: str, made: list[int], why: str) -> None:
        log.warning("program %s is kept in memory alone: %s", info.name, why)
        self.delivered(form)
        self._handed[form] = made

    def _answered(self, number: int) -> None:
        child = self._children.get(number)
        if child is None:
            return
        try:
            packet = wire.receive_packet(child.sock)
        except BlockingIOError:
            return
        except wire.DescriptorsLost as why:
            self._drop(number)
            return self._events.program_compiled(child.form, f"what it was compiled to: {why}")
        except ProtocolError as why:
            log.error("the compiler of %s speaks another language: %s", child.info.name, why)
            packet = None
        if packet is None:
            # How it died is for the spawner to tell; a word that never comes must hold nobody up.
            self._loop.forget(child.sock.fileno())
            if child.how is not None:
                return self._died(number, child.how)
            self._after(child, _STATUS_WAIT, lambda: self._died(number, "ended"))
            return
        message, fds = packet
        if child.made:
            wire.close_all(fds)
            return self._stored(number, message.get("unkept"))
        self._drop(number)
        if fds:
            # Before anybody hears of it: what is loaded next is what was stored, and as it was stored.
            return self._start(child.info, child.form, {"op": "store"}, fds)
        if "rejected" in message:
            self._events.program_rejected(child.form, str(message["rejected"]))
        return self._events.program_compiled(child.form, message.get("failed", "the compiler made nothing"))

    def _stored(self, number: int, unkept: str | None) -> None:
        child = self._children[number]
        if unkept is not None:
            made, child.made = child.made, []
            self._unkept(child.info, child.form, made, unkept)
        self._drop(number)
        self._events.program_compiled(child.form, None)

    def _late(self, number: int) -> None:
        child = self._children[number]
        if child.pidfd is not None:
            process.kill(child.pidfd)  # it may be one that its own alarm does not wake: it was stopped
        self._died(number, f"took over {SECONDS:.0f} s")

    def _died(self, number: int, how: str) -> None:
        child = self._children[number]
        if child.made:
            return self._stored(number, f"whoever stored it {how}")
        self._drop(number)
        return self._events.compiler_died(child.form, how, time.monotonic() - child.begun)

    def _after(self, child: _Child, seconds: float, call: Callable[[], None]) -> None:
        if child.timer is not None:
            child.timer.cancel()
        child.timer = self._loop.after(seconds, call)

    def _drop(self, number: int) -> None:
        child = self._children.pop(number)
        if child.timer is not None:
            child.timer.cancel()
        self._loop.forget(child.sock.fileno())
        child.sock.close()
        wire.close_all(child.made)
        if child.pidfd is not None:
            os.close(child.pidfd)
