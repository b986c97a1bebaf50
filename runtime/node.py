"""The node: the daemon that a storage node runs beside its object server.

It owns the socket, takes requests, finds a worker for each, and keeps the record of each. It never runs, compiles or
loads a guest: its spawner's children do. One thread, one loop; every step is short.

A launch, start to end:

    request ──▶ queue ──▶ (program loaded? else load, else compile and load) ──▶ a worker takes it ──▶ accepted
                  │                                                                   │
                  └─ refused: busy, unknown, rejected, malformed                      └─▶ record, exactly one
"""

import gc
import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Final

import insitu
from insitu.runtime import process, wire
from insitu.runtime.answer import Answer
from insitu.runtime.arrivals import Arrivals
from insitu.runtime.channels import Named, check_count
from insitu.runtime.confine import identity
from insitu.runtime.confine.settings import Confinement
from insitu.runtime.door import MAX_PEERS, Door
from insitu.runtime.errors import BadRequest, Busy, NodeError, ProtocolError, UnknownProgram
from insitu.runtime.history import History
from insitu.runtime.journal.journal import Journal
from insitu.runtime.journal.places import default_journal
from insitu.runtime.keep import WAITING, FailedLaunch, Held, Keeper, failed, looks_of
from insitu.runtime.loader import Loader
from insitu.runtime.loop import Loop, Timer
from insitu.runtime.peer import Peer
from insitu.runtime.place import NodeFailed, claimed
from insitu.runtime.pool import Need, Pool
from insitu.runtime.preparing import Preparation, Preparing
from insitu.runtime.programs import ProgramStore
from insitu.runtime.record import Record
from insitu.runtime.settings import Settings
from insitu.runtime.task import Task, parse, program, text
from insitu.runtime.tenants import Tenants
from insitu.runtime.wants import MAX_WANTS, Wants
from insitu.runtime.warm import launch_message
from insitu.runtime.workforce import Workforce
from insitu.sandbox.digest import is_digest
from insitu.sandbox.outcome import LimitHit, Outcome, Usage

log = logging.getLogger("insitu.node")

GRACE: Final = 1.0  # seconds past its wall time before a guest that its own process did not stop is killed
FORK_RETRY: Final = 0.2
UNDISTURBED: Final = 0.005  # seconds: how long launches that run put off forks of spares
SILENCE: Final = 5.0  # seconds that a spawner may take to fork before it is said
CALM: Final = 5.0  # seconds: how often spares that nobody needed become fewer


class Node:
    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for users who are not there."""
        self._settings = settings
        self._loop = Loop()
        workers = settings.workers
        self._pool = Pool(
            min(settings.spares_min, workers), min(settings.spares_max, workers), workers, settings.launches
        )
        self._force = Workforce(
            self._loop, self, settings.cache, settings.cache_bytes, Confinement.of(settings.user, settings.strict)
        )
        self._door = Door(self._loop, self, identity.ids(settings.allow_uid), self._is_engaged)
        arrivals = Arrivals(os.path.join(settings.cache, "programs"))
        self._wants = Wants(self._loop, arrivals, self._again)
        self._store = ProgramStore(settings.programs, arrivals)
        self._named: dict[str, Named] = {}
        """Of programs, by form, that were given named channels when they were last launched: those."""
        self._waiting: Tenants[Task] = Tenants(settings.of_tenant)
        self._preparing = Preparing(self._loop, settings.queue_seconds, lambda waiting: self._loader.held_by(waiting))
        self._loader: Loader[Task | Preparation] = Loader(
            self._force, settings.loaded_bytes, lambda: chain(self._waiting, self._preparing), self._no_program
        )
        self._running: dict[int, Task] = {}
        self._by_peer: dict[Peer, Task] = {}
        self._history = History(settings.records)
        self._next_worker = 0
        self._retry: Timer | None = None
        self._refill: Timer | None = None
        self._calm: Timer | None = None
        self._spares: Timer | None = None
        self._undisturbed = False
        """Launches have been left undisturbed by forks for long enough."""
        self._no_fork = ""
        """Why the latest fork failed, if it did."""
        self._journal: Journal | None = None
        """From `run` on."""
        self._keeper: Keeper | None = None
        self._fatal: str | None = None
        self._booted = time.time()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises `NodeFailed`."""
        self._loop.stop_on((signal.SIGTERM, signal.SIGINT))
        if not process.allow_descriptors(needed := self._descriptors()):
            log.warning("a full queue needs %d descriptors, and so many are not allowed (ulimit -n)", needed)
        gc.freeze()  # what is here stays: looking through it now and then would hold a launch up for milliseconds
        with claimed(self._settings.socket):
            try:
                self._open_journal()
                if self._settings.keep_failed:
                    self._keeper = Keeper(self._settings.keep_failed, self._settings.keep_failed_size)
                    self._loop.watch(self._keeper.done_fd, self._kept)
                self._force.start()
                self._loop.run()
            finally:
                self._close()
        if self._fatal is not None:
            raise NodeFailed(self._fatal)

    def _descriptors(self) -> int:
        """When everything is full: all that a launch that waits may bring, and one that may have to be kept; two of a
        worker, one of a peer, a few of its own."""
        bring = self._settings.queue + MAX_WANTS
        if self._settings.keep_failed:
            bring += self._settings.workers + WAITING + 1
        return wire.MAX_FDS * bring + 2 * self._settings.workers + MAX_PEERS + 64

    def _close(self) -> None:
        self._door.stop()
        for task in list(self._by_peer.values()):
            wire.close_all(task.fds)
        self._by_peer.clear()
        self._wants.close()
        self._preparing.close()
        self._door.close()
        self._force.close()
        if self._keeper is not None:
            self._loop.forget(self._keeper.done_fd)
            self._keeper.close()
        if self._journal is not None:
            self._journal.close()  # what still ran is recorded there

    def _open_journal(self) -> None:
        path = self._settings.journal or str(default_journal(self._settings.name))
        days = self._settings.journal_days
        self._journal = Journal(path, self._settings.name, workers=self._settings.workers, days=days)
        self._journal.attach(self._loop)

    def _is_engaged(self, peer: Peer) -> bool:
        """It waits for a launch or a program, or is sending one."""
        return peer in self._by_peer or peer in self._wants or peer in self._preparing

    # Requests.

    def request(self, peer: Peer, message: wire.Message, fds: list[int]) -> None:
        self._door.spoke(peer)
        kept = False
        try:
            if message.get("v") != wire.VERSION:
                raise ProtocolError(f"version {message.get('v')!r} is not spoken here; {wire.VERSION} is")
            match message.get("op"):
                case "launch":
                    kept = self._launch(peer, message, fds)
                case "resolve":
                    peer.send({"program": self._store.find(program(message)).to_wire()})
                case "bring":
                    self._bring(peer, message)
                case "bytes":
                    self._wants.take(peer, message)
                case "ping":
                    peer.send(self._ping())
                case "programs":
                    peer.send({"programs": [info.to_wire() for info in self._store.all()]})
                case "runs":
                    peer.send({"runs": self._history.latest(message.get("limit"))})
                case "run":
                    peer.send({"run": self._history.one(message.get("id"))})
                case other:
                    raise BadRequest(f"unknown request {other!r}")
        finally:
            if not kept:
                wire.close_all(fds)

    def gone(self, peer: Peer) -> None:
        self._door.gone(peer)
        self._wants.gone(peer)
        self._preparing.gone(peer)
        task = self._by_peer.pop(peer, None)
        if task is None:
            return
        if task.worker is None:
            self._leaves(task)
            if task.accepted:
                self._record(task, Outcome("cancelled"), 0)
        elif task.killed is None:
            self._kill(task, Outcome("cancelled"))

    def _ping(self) -> dict[str, Any]:
        return {
            "node": self._settings.name,
            "version": insitu.__version__,
            "pid": os.getpid(),
            "spawner": self._force.spawner_pid,
            "workers": sorted(pid for pid in self._force.pids().values() if pid),  # one that is being forked has none
            "booted": self._booted,
            "served": self._history.served,
            "running": len(self._running),
            "queued": len(self._waiting),
            "idle": self._pool.count("idle"),
            "forking": self._pool.count("forking"),
            "spares": self._pool.spares,
            "loaded": len(self._loader.loaded),
            "loaded_bytes": self._loader.loaded.bytes,
            "journal": None if self._journal is None else self._journal.state(),
        }

    def _launch(self, peer: Peer, message: wire.Message, fds: list[int]) -> bool:
        """Take a launch in. Raises `NodeError`; True when the descriptors are the launch's from now on."""
        started, begun = time.time(), time.monotonic_ns()
        if peer in self._by_peer:
            raise BadRequest("a second launch on a connection that has one")
        if self._journal is not None:
            self._journal.admit()
        try:
            task = parse(peer, message, fds, self._store, started, begun, self._settings.limits, self._settings.most_of)
        except UnknownProgram:
            if self._wants.ask(peer, message, fds):
                return True
            raise
        task.isolation = self._settings.isolation_of(message.get("isolation"))
        self._loader.check(task.info, task.form)
        self._admit(task)
        self._waiting.joined(task, time.monotonic())
        self._by_peer[peer] = task
        self._dispatch()
        if task in self._waiting:
            task.timer = self._loop.after(self._settings.queue_seconds, lambda: self._waited_too_long(task))
        return True

    def _bring(self, peer: Peer, message: wire.Message) -> None:
        """A program for whoever launches it later. Raises `NodeError`."""
        digest, tenant = text(message, "program"), text(message, "tenant")
        if not is_digest(digest):
            raise BadRequest(f"program: {digest!r} is no digest, and bytes are known by nothing else")
        try:
            info = self._store.find(digest)
        except UnknownProgram:
            self._wants.ask(peer, message | {"brings": True}, [])
            return
        if message.get("prepare") is not True:
            peer.send({"program": info.to_wire()})
            return
        check_count(info)
        self._loader.check(info, info.form)
        self._preparing.begin(peer, info, tenant)
        self._dispatch()

    def _again(self, peer: Peer, message: wire.Message, fds: list[int]) -> bool:
        """The program that this needs has come."""
        if message["op"] == "launch":
            return self._launch(peer, message, fds)
        self._bring(peer, message)
        return False

    def _admit(self, task: Task) -> None:
        """Whether it may wait for a worker. Raises `Busy`, and `BadRequest` for what can never be."""
        refusal = self._waiting.refused(task.tenant, task.memory, time.monotonic())
        if refusal is not None and refusal.retry_after is None:
            raise BadRequest(refusal.sentence())
        if refusal is not None:
            raise Busy(refusal.sentence(), refusal.retry_after or 0.0)
        if len(self._waiting) >= self._settings.queue:
            reached = len(self._waiting)
            raise Busy(f"the node: limit queue: {self._settings.queue} allowed, {reached} reached", retry_after=1.0)

    # From the queue to a worker.

    def _dispatch(self) -> None:
        """Give every waiting launch that can have one a worker, and see to it that the others get theirs."""
        now = time.monotonic()
        if self._preparing:
            self._preparing.look(self._loader.is_loaded)
        # More than there are workers to be cannot be served now.
        turns = self._waiting.turns(now, self._loader.is_loaded) if self._waiting else ()
        tasks = list(islice(turns, self._settings.workers))
        plan = self._pool.assign([self._need(task) for task in tasks])
        for id_ in plan.retire:
            self._force.dismiss(id_)
        for place, worker in plan.take:
            self._hand_over(tasks[place], worker)
        if self._retry is None:
            for _ in range(plan.fork):
                # A launch that waits warms its worker by itself: a dry run first would only delay it.
                self._fork(())
            plan = self._pool.tend()  # only now: the launches are on their way
            for id_ in plan.retire:
                self._force.dismiss(id_)
            if plan.spares:
                self._fork_spares(plan.spares)
        self._look_again(now)

    def _need(self, task: Task) -> Need:
        form = task.form
        generation = self._loader.loaded.generation(form)
        assert generation is not None
        return Need(task.tenant, generation, form, alone=task.isolation == "process")

    def _look_again(self, now: float) -> None:
        """When time alone makes a difference."""
        if self._waiting and self._refill is None and (wait := self._waiting.refilled_in(now)) is not None:
            self._refill = self._loop.after(wait, self._refilled)
        if self._calm is None and self._pool.spares > self._settings.spares_min:
            self._calm = self._loop.after(CALM, self._calmed)

    def _fork_spares(self, count: int) -> None:
        """Now, unless they would disturb a launch: one that runs or, while somebody stands ready for the next, one that
        has just ended and whose client has yet to be told. Then a little later."""
        if (self._running or self._pool.count("idle")) and not self._undisturbed:
            if self._spares is None:
                self._spares = self._loop.after(UNDISTURBED, self._no_longer)
        else:
            for _ in range(count):
                self._fork(self._pool.warm())

    def _no_longer(self) -> None:
        self._spares, self._undisturbed = None, True
        try:
            self._dispatch()
        finally:
            self._undisturbed = False

    def _refilled(self) -> None:
        self._refill = None
        self._dispatch()

    def _calmed(self) -> None:
        self._calm = None
        self._pool.calm()
        self._dispatch()

    def _fork(self, warm: Sequence[str]) -> None:
        self._next_worker += 1
        self._pool.forking(self._next_worker, warm)
        self._force.fork(self._next_worker, warm, {form: self._named[form] for form in warm if form in self._named})

    def _hand_over(self, task: Task, worker: int) -> None:
        if not task.accepted:
            # Before the worker has it: on a busy machine the worker would run first, and whoever waits for this word
            # would get it only with the result (measured: a fifth of a warm launch).
            try:
                self._begin(task)
            except Busy as why:
                self._refuse(task, why)
                self._free(worker)
                self._loop.after(0, self._dispatch)  # it may be somebody else's
                return
            if self._keeper is not None:
                task.looks = looks_of(task.named, task.fds)
            task.peer.send(self._acceptance(task))
            if task not in self._waiting:  # the peer had hung up, and `gone` has seen to it
                self._free(worker)
                return
        message = launch_message(
            task.form,
            task.info.name,
            task.args,
            task.env,
            task.limits,
            stderr=self._waiting.limits(task).stderr // 2,
            last=task.isolation == "process",
            named=task.named,
            md5=task.md5,
            figures=task.figures or task.frozen,  # a frozen one may be kept, and is replayed to the byte
        )
        try:
            self._force.send(worker, message, task.fds)
        except OSError as why:
            # It died while idle. `worker_gone` is on its way; the launch has not begun and waits for another.
            if not wire.is_passing(why):
                self._force.kill(worker)  # and if it did not die: it is of no use
            else:
                self._free(worker)
                self._loop.after(UNDISTURBED, self._dispatch)
            return
        self._waiting.started(task)
        self._remember_channels(task)
        if task.timer is not None:
            task.timer.cancel()
        task.worker, task.pid = worker, self._force.pid(worker)
        self._running[worker] = task
        if self._keeper is not None:
            task.held = Held.of(task.named, task.fds, task.looks)
        self._drop(task)
        task.timer = self._loop.after(task.limits.wall + GRACE, lambda: self._overdue(task))
        self._loader.loaded.used(task.form)

    @staticmethod
    def _acceptance(task: Task) -> wire.Message:
        info = task.info
        said = {"id": task.id, "digest": info.digest, "content_type": info.content_type, "stated": info.stated}
        return said | {"frozen": True} if task.frozen else said

    def _remember_channels(self, task: Task) -> None:
        """For those workers that are to be warm for such launches."""
        if task.named.inputs or task.named.outputs:
            if len(self._named) > 1000:
                self._named.clear()
            self._named[task.form] = task.named
        elif self._named:
            self._named.pop(task.form, None)

    def _free(self, worker: int, *, clean: bool = True) -> None:
        """Its launch is over, or was none: it goes on, or ends."""
        if not self._pool.done(worker, clean=clean):
            self._force.dismiss(worker)

    def _begin(self, task: Task) -> None:
        """Accepted from here on. Raises `Busy` when the journal cannot be written."""
        if self._journal is not None:
            task.slot = self._journal.begin(task)
        task.accepted = True

    def _drop(self, task: Task) -> None:
        wire.close_all(task.fds)
        task.fds = []

    def _leaves(self, task: Task) -> None:
        """It waits no longer, and was not started."""
        self._waiting.left(task)
        if task.timer is not None:
            task.timer.cancel()
        self._drop(task)

    def _refuse(self, task: Task, why: NodeError) -> None:
        """A launch that waited gets no worker."""
        self._leaves(task)
        if task.accepted:  # its worker died before it began, and no other was to be had
            return self._record(task, Outcome("lost", note=str(why)), 0)
        del self._by_peer[task.peer]
        return task.peer.refuse(why)

    def _no_program(self, waiter: Task | Preparation, why: NodeError) -> None:
        if isinstance(waiter, Preparation):
            self._preparing.refuse(waiter, why)
        else:
            self._refuse(waiter, why)

    def _why_no_worker(self) -> str:
        silent = self._force.silent_for()
        if silent > SILENCE:
            log.error("the spawner, process %s, has not answered for %.0f s", self._force.spawner_pid, silent)
            return f" (the spawner has not answered for {silent:.0f} s)"
        return f" (the latest {self._no_fork})" if self._no_fork else ""

    def _waited_too_long(self, task: Task) -> None:
        if task not in self._waiting:
            return
        held = self._waiting.held_by(task, time.monotonic())
        if (loading := self._loader.held_by(task)) is not None:
            what = loading
        elif held is not None:
            what = held.sentence()
        else:
            what = f"no worker became free{self._why_no_worker()}"
        self._refuse(task, Busy(f"{what} after {self._settings.queue_seconds:g} s", retry_after=5.0))

    # Programs.

    def program_loaded(self, form: str, generation: int, size: int) -> None:
        prepared = self._preparing.look(lambda waiting: waiting.form == form)  # that is all they want
        self._loader.program_loaded(form, generation, size, prepared=prepared)
        self._pool.generation = max(self._pool.generation, generation)
        self._dispatch()

    def program_missing(self, form: str) -> None:
        self._loader.program_missing(form)

    def program_compiled(self, form: str, failure: str | None) -> None:
        self._loader.program_compiled(form, failure)

    def compiler_died(self, form: str, how: str, seconds: float) -> None:
        self._loader.compiler_died(form, how, seconds)

    def program_rejected(self, form: str, message: str) -> None:
        self._loader.program_rejected(form, message)

    # Workers.

    def spawner_ready(self) -> None:
        if not self._door.is_open:
            try:
                self._door.open(self._settings.socket)
            except NodeFailed as why:
                return self.spawner_fatal(str(why))
            log.info("node %s serves at %s", self._settings.name, self._settings.socket)
        self._loader.spawner_ready()
        return self._dispatch()

    def spawner_lost(self) -> None:
        self._loader.spawner_lost()
        # Those that were idle are being killed: none may be given a launch that it would take along.
        for id_ in self._pool.restart():
            self._force.dismiss(id_)

    def spawner_fatal(self, message: str) -> None:
        self._fatal = message
        self._loop.stop()

    def worker_forked(self, id_: int, generation: int) -> None:
        self._pool.forked(id_, generation)

    def worker_ready(self, id_: int) -> None:
        self._no_fork = ""
        self._pool.ready(id_)
        self._dispatch()

    def worker_answered(self, id_: int, answer: Answer) -> None:
        task = self._running.pop(id_)
        outcome, begun = answer.outcome, answer.begun
        if task.killed is not None:
            outcome = replace(task.killed, usage=outcome.usage, stderr=outcome.stderr)
        self._free(id_, clean=outcome.end == "exit")
        self._waiting.ended(task, outcome.usage.cpu_us / 1e6, time.monotonic())
        task.unread = answer.unread
        self._record(task, outcome, (begun - task.begun) // 1000 if begun else 0)
        self._dispatch()

    def worker_gone(self, id_: int, how: str, cpu_ns: int) -> None:
        self._pool.ended(id_)
        task = self._running.pop(id_, None)
        if task is not None:
            if task.killed is None:
                log.error("worker %d of launch %s %s", task.pid, task.id, how)
                self._loader.doubt(task.info, task.form, how)
            outcome = task.killed or Outcome("lost", note=f"worker {task.pid} {how}", usage=self._usage(task, cpu_ns))
            self._waiting.ended(task, outcome.usage.cpu_us / 1e6, time.monotonic())
            self._record(task, outcome, 0)
        elif self._retry is None:
            # Dead before it had anything to do: were it forked again at once, it might be for ever.
            log.warning("an idle worker %s", how)
            self._no_fork = how
            self._retry = self._loop.after(FORK_RETRY, self._retry_forks)
        self._dispatch()

    def _retry_forks(self) -> None:
        self._retry = None
        self._dispatch()

    def _overdue(self, task: Task) -> None:
        """It should have stopped by itself by now: it sits in a host call, or the machine is very busy."""
        elapsed = (time.monotonic_ns() - task.begun) / 1e9
        hit = LimitHit("wall", task.limits.wall, elapsed)
        self._kill(task, Outcome("limit", limit=hit, note="killed from outside"))

    def _kill(self, task: Task, why: Outcome) -> None:
        assert task.worker is not None
        spent = self._force.kill(task.worker)
        task.killed = Outcome(why.end, limit=why.limit, note=why.note, usage=self._usage(task, spent))

    def _usage(self, task: Task, cpu_ns: int) -> Usage:
        return Usage(cpu_us=cpu_ns // 1000, wall_us=(time.monotonic_ns() - task.begun) // 1000)

    def _record(self, task: Task, known: Outcome, launch_us: int) -> None:
        outcome = known if task.figures or not known.channels else replace(known, channels={})
        if task.timer is not None:
            task.timer.cancel()
        record = Record(
            id=task.id,
            request_id=task.request_id,
            tenant=task.tenant,
            object=task.object,
            program=task.info.name,
            digest=task.info.digest,
            args=task.args,
            node=self._settings.name,
            worker=task.pid,
            started=task.started,
            launch_us=max(0, launch_us),
            outcome=outcome,
            isolation=task.isolation,
        )
        self._history.add(record)
        # It may be a while until its record is written, and it is over: `gone` has nothing to end any more.
        asked = self._by_peer.pop(task.peer, None) is not None

        def answer() -> None:
            if asked:
                task.peer.send({"record": record.to_wire()})
                task.peer.leave()

        if self._journal is not None:
            self._journal.end(record, task.slot, answer)
        else:
            answer()
        if self._keeper is not None:
            self._keep(self._keeper, task, record, known)

    # Bundles of failed launches.

    @staticmethod
    def _keep(keeper: Keeper, task: Task, record: Record, outcome: Outcome) -> None:
        held, task.held = task.held, None
        if held is None:
            return  # it never had a worker
        if failed(outcome):
            names = ("id", "request_id", "tenant", "object", "node")
            origin = {name: str(getattr(record, name)) for name in names}
            given = (task.id, task.info, task.args, task.env, task.limits, outcome, origin, held)
            keeper.keep(FailedLaunch(*given, frozen=task.frozen, unread=task.unread))
        else:
            held.close()

    def _kept(self, _: int) -> None:
        assert self._keeper is not None
        for id_, place in self._keeper.done():
            self._history.kept(id_, place)
