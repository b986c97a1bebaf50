"""A node's processes as the node sees them: one spawner, and the workers it forks; compilers are in `compilers.py`.

Turns sockets, process ids and exit statuses into calls on an `Events`; decides nothing.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, Protocol

from insitu.runtime import answer, compilers, process, wire
from insitu.runtime.answer import Answer
from insitu.runtime.cache import CACHE_BYTES
from insitu.runtime.channels import Named
from insitu.runtime.compilers import Compilers
from insitu.runtime.confine.settings import DEFAULT, Confinement
from insitu.runtime.errors import ProtocolError
from insitu.runtime.loop import Loop, Timer
from insitu.runtime.programs import ProgramInfo

log = logging.getLogger("insitu.node")
_STATUS_WAIT = 0.5  # seconds that a dead worker's exit status may take to arrive by way of the spawner
_RESTART = (0.1, 5.0)  # seconds before a dead spawner is started again: the first time, and at most
_NO_DESCRIPTORS = "could not be taken over: the node has no descriptors left"
_ORDER_AGAIN = 0.05  # seconds


class Events(compilers.Events, Protocol):
    def spawner_ready(self) -> None: ...
    def spawner_lost(self) -> None:
        """All workers are gone or going; what was loaded is loaded no more."""

    def spawner_fatal(self, message: str) -> None:
        """It cannot work at all, and was not started again."""

    def program_loaded(self, form: str, generation: int, size: int) -> None:
        """`size`: bytes of its machine code."""

    def program_missing(self, form: str) -> None:
        """It has to be compiled first."""

    def worker_forked(self, id_: int, generation: int) -> None: ...
    def worker_ready(self, id_: int) -> None: ...
    def worker_answered(self, id_: int, answer: Answer) -> None: ...
    def worker_gone(self, id_: int, how: str, cpu_ns: int) -> None:
        """`cpu_ns`: CPU nanoseconds since its last answer; 0 when nobody knows."""


class _Worker:
    __slots__ = (
        "asked",
        "blame",
        "busy",
        "checked",
        "cpu_ns",
        "eof",
        "pid",
        "pidfd",
        "ready",
        "sock",
        "spent",
        "status",
        "timer",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked = time.monotonic()
        self.pid: int = 0
        self.pidfd: int | None = None
        self.status: int | None = None
        self.ready = False
        self.busy = False
        """It was given a launch, and has not answered."""
        self.checked = False
        """What that reads is held against its MD5."""
        self.blame = ""
        self.eof = False
        self.timer: Timer | None = None
        self.cpu_ns = 0
        """Its process's, at its latest word."""
        self.spent = 0
        """Since then, once it has ended."""


class Workforce:
    def __init__(
        self, loop: Loop, events: Events, cache: str, cache_bytes: int = CACHE_BYTES, confinement: Confinement = DEFAULT
    ) -> None:
        self._loop, self._events, self._cache, self._cache_bytes = loop, events, cache, cache_bytes
        self._confinement = confinement
        self._compilers = Compilers(loop, events, self._order)
        self._workers: dict[int, _Worker] = {}
        self._spawner: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._delay = _RESTART[0]
        self._closing = False

    def start(self) -> None:
        """Start the spawner. `spawner_ready` or `spawner_fatal` follows. Raises OSError when it cannot be."""
        ours, theirs = wire.packet_pair()
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            # The child's descriptor must be NODE_FD, whatever number `theirs` has here.
            self._spawner = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _BOOT,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    self._cache,
                    str(self._cache_bytes),
                    self._confinement.word(),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LANG", "LC_ALL") if key in os.environ},
            )
            undo.pop_all()
        ours.setblocking(False)
        self._sock = ours
        self._loop.watch(ours.fileno(), self._from_spawner)

    @property
    def spawner_pid(self) -> int | None:
        return self._spawner.pid if self._spawner is not None else None

    def pid(self, id_: int) -> int:
        return self._workers[id_].pid

    def pids(self) -> dict[int, int]:
        return {id_: worker.pid for id_, worker in self._workers.items()}

    def silent_for(self) -> float:
        """Seconds that the spawner has been asked for a worker and has said nothing."""
        waits = [worker.asked for worker in self._workers.values() if not worker.pid]
        return time.monotonic() - min(waits) if waits else 0.0

    # Orders.

    def load(self, info: ProgramInfo, form: str) -> None:
        order = {"op": "load", "form": form, "name": info.name, "bundle": info.bundle}
        if not self._order(order, *self._compilers.handed(form)):
            # It has hundreds of orders to do: all others have somebody who notices that they were lost, this has not.
            self._loop.after(_ORDER_AGAIN, lambda: self.load(info, form))
            return
        self._compilers.delivered(form)

    def unload(self, form: str) -> None:
        """An order that is lost only costs memory."""
        self._order({"op": "unload", "form": form})

    def compile(self, info: ProgramInfo, form: str) -> None:
        """`program_compiled` or `compiler_died` follows, unless the spawner is lost."""
        self._compilers.compile(info, form)

    def fork(self, id_: int, warm: Sequence[str], named: Mapping[str, Named] = MappingProxyType({})) -> None:
        """`warm`: programs by their form. `named`: of those, the named channels that they are given.

        `worker_forked` and `worker_ready` follow, or `worker_gone`.
        """
        try:
            ours, theirs = wire.packet_pair()
        except OSError as why:
            how = f"could not be forked: {why.strerror}"
            self._loop.after(0, lambda: self._events.worker_gone(id_, how, 0))
            return
        ours.setblocking(False)
        self._workers[id_] = _Worker(ours)
        self._loop.watch(ours.fileno(), lambda _: self._from_worker(id_))
        with theirs:
            channels = {form: (has.inputs, has.outputs) for form, has in named.items()}
            order = {"op": "fork", "worker": id_, "warm": list(warm), "named": channels}
            self._order(order, theirs.fileno())

    def _order(self, message: dict[str, Any], *fds: int) -> bool:
        """Whether the spawner will have it, or a new one will be asked again."""
        if self._sock is None:
            return True
        try:
            wire.send_packet(self._sock, message, fds)
        except OSError as why:
            if wire.is_passing(why):
                return self._order_again(message, fds)
            log.error("the spawner takes no orders: %s", why)
            return False
        return True

    def _order_again(self, message: dict[str, Any], fds: Sequence[int]) -> bool:
        try:
            held = [os.dup(fd) for fd in fds]
        except OSError:
            return False

        def again() -> None:
            self._order(message, *held)
            wire.close_all(held)

        self._loop.after(_ORDER_AGAIN, again)
        return True

    def send(self, id_: int, message: dict[str, Any], fds: Sequence[int]) -> None:
        """Hand a launch over. Raises OSError when the worker is gone: then the launch has not begun."""
        worker = self._workers[id_]
        wire.send_packet(worker.sock, message, fds)
        worker.busy, worker.checked = True, "md5" in message

    def kill(self, id_: int) -> int:
        """End it now. Returns the CPU nanoseconds of its current launch."""
        worker = self._workers.get(id_)
        if worker is None or worker.pidfd is None:
            return 0
        spent = process.cpu_ns(worker.pid) - worker.cpu_ns
        process.kill(worker.pidfd)
        return max(0, spent)

    def dismiss(self, id_: int) -> None:
        """Let an idle worker go: it ends when its socket does. `worker_gone` is not told."""
        worker = self._workers.pop(id_, None)
        if worker is not None:
            self._forget(worker)

    # What comes back.

    def _from_spawner(self, _: int) -> None:
        assert self._sock is not None
        while True:
            try:
                packet = wire.receive_packet_or_less(self._sock)
            except BlockingIOError:
                return
            except ProtocolError as why:
                log.error("the spawner speaks another language: %s", why)
                packet = None
            if packet is None:
                return self._spawner_gone()
            message, fds = packet
            getattr(self, f"_on_{message['op']}")(message, *fds)
            if self._sock is None:
                return None

    def _on_hello(self, _: wire.Message) -> None:
        self._delay = _RESTART[0]
        self._events.spawner_ready()

    def _on_fatal(self, message: wire.Message) -> None:
        self._closing = True
        self._events.spawner_fatal(message["message"])

    def _on_loaded(self, message: wire.Message) -> None:
        self._events.program_loaded(message["form"], message["generation"], message["size"])

    def _on_missing(self, message: wire.Message) -> None:
        self._events.program_missing(message["form"])

    def _on_rejected(self, message: wire.Message) -> None:
        self._events.program_rejected(message["form"], message["message"])

    def _on_unloadable(self, message: wire.Message) -> None:
        self._events.program_compiled(message["form"], f"it could not be loaded: {message['message']}")

    def _on_forked(self, message: wire.Message, *pidfds: int) -> None:
        worker = self._workers.get(message["worker"])
        if worker is None:
            wire.close_all(pidfds)  # dismissed in the meantime
            return
        if not pidfds:  # it could not be killed; without its socket it ends
            return self._lost(message["worker"], _NO_DESCRIPTORS)
        (pidfd,) = pidfds
        worker.pid, worker.pidfd = message["pid"], pidfd
        self._events.worker_forked(message["worker"], message["generation"])
        if worker.ready:
            self._events.worker_ready(message["worker"])
        return None

    def _on_failed(self, message: wire.Message) -> None:
        self._lost(message["worker"], f"could not be forked: {message['message']}")

    def _on_uncompiled(self, message: wire.Message) -> None:
        self._compilers.unstarted(message["compiler"], message["message"])

    def _on_compiling(self, message: wire.Message, *pidfds: int) -> None:
        self._compilers.started(message["compiler"], message["pid"], pidfds)

    def _on_exited(self, message: wire.Message) -> None:
        pid, status, cpu_ns = message["pid"], message["status"], message["cpu_ns"]
        for id_, worker in self._workers.items():
            if worker.pid == pid:
                worker.status, worker.spent = status, max(0, cpu_ns - worker.cpu_ns)
                if worker.eof:
                    self._lost(id_, _how(status))
                return
        self._compilers.exited(pid, f"{_how(status)} after {cpu_ns / 1e9:.1f} s of CPU time")

    def _from_worker(self, id_: int) -> None:
        worker = self._workers[id_]
        try:
            packet = wire.receive_packet(worker.sock)
        except BlockingIOError:
            return
        except ProtocolError as why:
            return self._distrust(id_, why)
        if packet is None:
            return self._over(id_)
        message, fds = packet
        wire.close_all(fds)
        try:
            if worker.ready and not worker.busy:
                raise ProtocolError("a word when nothing was asked")
            said = answer.answered(message, checked=worker.checked) if worker.busy else None
            worker.cpu_ns = answer.ready(message) if said is None else said.cpu_ns
        except ProtocolError as why:
            return self._distrust(id_, why)
        if said is not None:
            worker.busy = False
            return self._events.worker_answered(id_, said)
        # It may be quicker than the spawner's word of it, before which it cannot be killed: so it takes no launch.
        worker.ready = True
        if worker.pidfd is not None:
            self._events.worker_ready(id_)
        return None

    def _distrust(self, id_: int, why: ProtocolError) -> None:
        """It is not itself any more. `worker_gone` follows as for any that is killed."""
        worker = self._workers[id_]
        worker.blame = f"was ended: it said what no worker says ({why})"
        self.kill(id_)
        self._over(id_)

    def _over(self, id_: int) -> None:
        """It says no more. How it died is for the spawner to tell; a word that never comes must not hold a record
        back."""
        worker = self._workers[id_]
        worker.eof = True
        self._loop.forget(worker.sock.fileno())
        if worker.status is not None:
            self._lost(id_, _how(worker.status))
        else:
            worker.timer = self._loop.after(_STATUS_WAIT, lambda: self._lost(id_, "ended"))

    def _lost(self, id_: int, how: str) -> None:
        worker = self._workers.pop(id_, None)
        if worker is not None:
            self._forget(worker)
            self._events.worker_gone(id_, worker.blame or how, worker.spent)

    def _forget(self, worker: _Worker) -> None:
        if worker.timer is not None:
            worker.timer.cancel()
        self._loop.forget(worker.sock.fileno())
        worker.sock.close()
        if worker.pidfd is not None:
            os.close(worker.pidfd)

    def _spawner_gone(self) -> None:
        assert self._sock is not None
        assert self._spawner is not None
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        self._sock = None
        self._spawner.kill()  # its socket is closed: it is dead or about to be, unless somebody holds it
        status = self._spawner.wait()
        if self._closing:
            return
        log.error("the spawner ended (%s); it is started again in %.1f s", status, self._delay)
        self._compilers.spawner_lost()
        self._events.spawner_lost()
        self._start_later()

    def _start_later(self) -> None:
        self._loop.after(self._delay, self._start_again)
        self._delay = min(self._delay * 2, _RESTART[1])

    def _start_again(self) -> None:
        if self._closing:
            return
        try:
            self.start()
        except OSError as why:  # no descriptors, no memory
            log.error("the spawner cannot be started: %s; it is tried again in %.1f s", why, self._delay)
            self._start_later()

    def close(self) -> None:
        """End every process, and wait for it."""
        self._closing = True
        for worker in self._workers.values():
            if worker.pidfd is not None:
                process.kill(worker.pidfd)
            self._forget(worker)
        self._workers.clear()
        self._compilers.close()
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._spawner is not None:
            try:
                self._spawner.wait(5)
            except subprocess.TimeoutExpired:
                self._spawner.kill()
                self._spawner.wait()


_BOOT = f"""
import os, sys
fd = int(sys.argv.pop(1))
if fd != {process.NODE_FD}:
    os.dup2(fd, {process.NODE_FD}); os.close(fd)
os.set_inheritable({process.NODE_FD}, False)
from insitu.runtime.spawner import main
main()
"""


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGSYS:
        return "was contained: killed by SIGSYS for a system call that no worker has a use for"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
