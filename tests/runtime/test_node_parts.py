"""Parts of the node that a whole one shows only when the moment is unlucky."""

import errno
import itertools
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from insitu.runtime import wire
from insitu.runtime.errors import Busy
from insitu.runtime.history import History
from insitu.runtime.loaded import COUNT
from insitu.runtime.loop import Loop
from insitu.runtime.node import Node
from insitu.runtime.programs import ProgramInfo
from insitu.runtime.record import Record
from insitu.runtime.settings import Settings
from insitu.runtime.task import Task
from insitu.runtime.workforce import Workforce
from insitu.sandbox.outcome import Outcome


def record(at: int, size: int) -> Record:
    outcome = Outcome("trap", trap="t" * size, stderr=b"e" * size)
    words = ("€" * (size // 3),)
    return Record(f"{at:032x}", "r" * size, "t" * size, "o" * size, "p", "d", words, "n", 1, 1.0, 1, outcome)


def test_records_are_bounded_and_the_latest_are_kept() -> None:
    history = History(10)
    for at in range(25):
        history.add(record(at, 10))
    assert history.served == 25
    assert [raw["id"] for raw in history.latest(100)] == [f"{at:032x}" for at in range(24, 14, -1)]
    assert len(history.latest(3)) == 3
    assert history.one(f"{14:032x}") is None
    assert history.one(f"{15:032x}") is not None


def test_whatever_is_asked_for_fits_one_answer() -> None:
    history = History(1000)
    for at in range(1000):
        history.add(record(at, 4096))
    found = history.latest(10_000)
    assert len(wire.encode({"runs": found})) <= wire.MAX_FRAME
    assert len(found) > 20


def test_timers_that_were_cancelled_do_not_pile_up() -> None:
    """A launch sets one for its wall time, which may be a day."""
    loop = Loop()
    kept = loop.after(86_400, lambda: None)
    for _ in range(20_000):
        loop.after(86_400, lambda: None).cancel()
    assert len(loop._timers) <= 2048
    assert any(timer is kept for _, _, timer in loop._timers)


def test_timers_come_in_order_and_cancelled_ones_never() -> None:
    loop, seen = Loop(), []
    loop.after(0.03, loop.stop)
    loop.after(0.02, lambda: seen.append(2))
    loop.after(0.01, lambda: seen.append(1))
    loop.after(0.015, lambda: seen.append(9)).cancel()
    loop.run()
    assert seen == [1, 2]


def test_a_handler_that_fails_does_not_end_the_loop() -> None:
    loop, seen = Loop(), []

    def fails() -> None:
        raise RuntimeError("boom")

    loop.after(0, fails)
    loop.after(0.01, lambda: seen.append(1))
    loop.after(0.02, loop.stop)
    loop.run()
    assert seen == [1]


class Told:
    """What a workforce tells the node, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.events.append((name, *given))


def turn(loop: Loop) -> None:
    """One look at what has come."""
    loop.after(0.02, loop.stop)
    loop._running = True
    loop.run()


def test_a_worker_takes_no_launch_before_it_could_be_killed() -> None:
    """Its own word that it is ready may come before the spawner's that it is there: with no pidfd, no cancelling."""
    loop, told = Loop(), Told()
    force = Workforce(loop, told, "")
    ours, spawner = wire.packet_pair()
    ours.setblocking(False)
    force._sock = ours
    loop.watch(ours.fileno(), force._from_spawner)
    with ours, spawner:
        force.fork(7, [])
        order = wire.receive_packet(spawner)
        assert order is not None
        (message, (fd,)) = order
        assert message == {"op": "fork", "worker": 7, "warm": [], "named": {}}
        worker = socket.socket(fileno=fd)
        with worker:
            wire.send_packet(worker, {"ready": True, "cpu_ns": 0})
            turn(loop)
            assert told.events == []
            pidfd = os.pidfd_open(os.getpid())
            wire.send_packet(spawner, {"op": "forked", "worker": 7, "pid": 1, "generation": 3}, [pidfd])
            os.close(pidfd)
            turn(loop)
            assert told.events == [("worker_forked", 7, 3), ("worker_ready", 7)]
            force.dismiss(7)


def fill(sock: socket.socket) -> int:
    """Send packets until no more are taken; how many there were."""
    for sent in itertools.count():
        try:
            wire.send_packet(sock, {"op": "other"})
        except BlockingIOError:
            return sent
    raise AssertionError


def test_an_order_to_load_outlasts_a_spawner_that_has_too_much_to_do() -> None:
    """Whoever waits for a program would wait for ever: it counts as being loaded."""
    loop, told = Loop(), Told()
    force = Workforce(loop, told, "")
    ours, spawner = wire.packet_pair()
    ours.setblocking(False)
    force._sock = ours
    with ours, spawner:
        sent = fill(ours)
        force.load(ProgramInfo("late", "sha256:0", "/late.wasm"), "sha256:0+frozen")
        for _ in range(sent):
            assert wire.receive_packet(spawner) == ({"op": "other"}, [])
        loop.after(0.1, loop.stop)
        loop.run()
        spawner.setblocking(False)
        assert wire.receive_packet(spawner) == (
            {"op": "load", "form": "sha256:0+frozen", "name": "late", "bundle": False},
            [],
        )


PASSING = OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")


def test_an_order_with_descriptors_is_given_again_when_those_in_the_way_have_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, told = Loop(), Told()
    force = Workforce(loop, told, "")
    ours, spawner = wire.packet_pair()
    ours.setblocking(False)
    spawner.setblocking(False)
    force._sock = ours
    with ours, spawner:
        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patched:

            def refuse(*_: object) -> None:
                raise PASSING

            patched.setattr(wire, "send_packet", refuse)
            force.fork(7, [])
        found = None
        while found is None:
            turn(loop)
            try:
                found = wire.receive_packet(spawner)
            except BlockingIOError:
                continue
        message, fds = found
        assert message["worker"] == 7
        assert not told.events
        wire.close_all(fds)
        force.dismiss(7)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_spawner_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    force = Workforce(loop, Told(), "")
    tries: list[int] = []

    def none_left() -> None:
        tries.append(len(os.listdir("/proc/self/fd")))
        if len(tries) == 3:
            loop.stop()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: none_left())
    force._start_again()
    loop.run()
    assert tries == [tries[0]] * 3, "and each gives back what it had opened"


class Orders:
    """A workforce that only writes down what it was asked."""

    spawner_pid = None

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.compiles: list[str] = []
        self.forks: list[int] = []
        self.unloads: list[str] = []

    def load(self, info: ProgramInfo, form: str) -> None:
        self.loads.append(info.name)

    def compile(self, info: ProgramInfo, form: str) -> None:
        self.compiles.append(info.name)

    def fork(self, id_: int, warm: list[str], named: object) -> None:
        self.forks.append(id_)

    def unload(self, form: str) -> None:
        self.unloads.append(form)

    def dismiss(self, id_: int) -> None: ...


class Speaker:
    """A peer that hears."""

    open = True

    def __init__(self) -> None:
        self.heard: list[Mapping[str, Any]] = []

    def send(self, message: Mapping[str, Any]) -> None:
        self.heard.append(message)

    def refuse(self, why: Exception) -> None:
        self.heard.append({"error": why})

    leave = close = lambda self: None


def asked(tmp_path: Path, times: int, isolation: str = "process") -> tuple[Node, Orders, list[Speaker]]:
    """A node whose orders are only recorded, asked so often for a program that nobody has seen."""
    (tmp_path / "new.wasm").write_bytes(b"new")
    node = Node(
        Settings(socket=str(tmp_path / "s"), cache=str(tmp_path), programs=(str(tmp_path),), isolation=isolation)
    )
    orders = Orders()
    node._force = node._loader._orders = orders  # type: ignore[assignment]
    message = {"op": "launch", "v": 1, "program": "new", "args": [], "tenant": "t", "request_id": "", "object": ""}
    speakers = [Speaker() for _ in range(times)]
    for speaker in speakers:
        fds = [os.open(os.devnull, os.O_RDWR) for _ in range(2)]
        node.request(speaker, message | {"limits": {}, "env": {}}, fds)  # type: ignore[arg-type]
    return node, orders, speakers


def test_a_worker_that_could_not_be_sent_descriptors_for_now_is_kept_for_the_launch(tmp_path: Path) -> None:
    node, orders, [speaker] = asked(tmp_path, 1, "shared")
    sent: list[int] = []
    killed: list[int] = []

    def send(id_: int, message: object, fds: object) -> None:
        sent.append(id_)
        if len(sent) == 1:
            raise PASSING

    orders.send = send  # type: ignore[attr-defined]
    orders.kill = killed.append  # type: ignore[attr-defined]
    orders.pid = lambda id_: 1  # type: ignore[attr-defined]
    node.program_loaded(node._store.find("new").digest, 1, 100)
    worker = orders.forks[0]
    node.worker_forked(worker, 1)
    node.worker_ready(worker)
    assert (sent, node._pool.count("idle"), len(node._waiting)) == ([worker], 1, 1)
    turn(node._loop)
    assert (sent, killed, len(node._waiting)) == ([worker] * 2, [], 0)
    assert [list(heard) for heard in speaker.heard] == [["id", "digest", "content_type", "stated"]], (
        "it was accepted once"
    )


def test_what_was_compiled_and_is_missing_all_the_same_is_not_compiled_for_ever(tmp_path: Path) -> None:
    node, orders, [speaker] = asked(tmp_path, 1)
    digest = node._store.find("new").digest
    node.program_missing(digest)
    node.program_compiled(digest, None)
    node.program_missing(digest)
    assert orders.compiles == ["new"]
    [answer] = speaker.heard
    assert "did not stay in the cache" in str(answer)


def test_a_program_is_loaded_and_compiled_once_for_all_who_wait(tmp_path: Path) -> None:
    node, orders, speakers = asked(tmp_path, 20)
    assert orders.loads == ["new"]
    digest = node._store.find("new").digest
    node.program_missing(digest)
    node.program_compiled(digest, None)
    assert (orders.loads, orders.compiles) == (["new", "new"], ["new"])
    node.program_rejected(digest, "it is not wasm")
    assert [len(speaker.heard) for speaker in speakers] == [1] * 20  # each is told, once


def test_no_more_programs_are_kept_loaded_than_allowed_and_none_goes_that_is_waited_for(tmp_path: Path) -> None:
    node, orders, _ = asked(tmp_path, 1)
    node.program_loaded(node._store.find("new").digest, 1, 100)  # the oldest, but a launch waits for it
    for number in range(COUNT + 10):
        node.program_loaded(f"sha256:{number:064}", number + 2, 100)
    assert orders.unloads == [f"sha256:{number:064}" for number in range(11)]


def test_a_launch_that_cannot_be_entered_in_the_journal_is_refused_and_its_worker_takes_the_next(
    tmp_path: Path,
) -> None:
    class Journal:
        refusing = True

        def admit(self) -> None: ...

        def begin(self, task: Task) -> int:
            if self.refusing:
                raise Busy("no room")
            return 0

    node, orders, [first, second] = asked(tmp_path, 2, "shared")
    sent: list[int] = []
    orders.send = lambda id_, message, fds: sent.append(id_)  # type: ignore[attr-defined]
    orders.pid = lambda id_: 1  # type: ignore[attr-defined]
    journal = Journal()
    node._journal = journal  # type: ignore[assignment]
    fds = [fd for task in node._waiting for fd in task.fds]
    digest = node._store.find("new").digest
    node.program_loaded(digest, 1, 100)
    worker = orders.forks[0]
    node.worker_forked(worker, 1)
    node.worker_ready(worker)
    turn(node._loop)
    assert [str(speaker.heard[0]["error"]) for speaker in (first, second)] == ["no room", "no room"]
    assert not sent
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert (list(node._waiting), node._by_peer, node._pool.count("idle")) == ([], {}, 1)
    journal.refusing = False
    third = Speaker()
    message = {"op": "launch", "v": 1, "program": "new", "args": [], "tenant": "t", "request_id": "", "object": ""}
    fds = [os.open(os.devnull, os.O_RDWR) for _ in range(2)]
    node.request(third, message | {"limits": {}, "env": {}}, fds)  # type: ignore[arg-type]
    assert sent == [worker]
    assert third.heard[0]["digest"] == digest
