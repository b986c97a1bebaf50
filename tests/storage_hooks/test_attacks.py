"""Reads with programs on a Swift that is as impatient as it can be set, and on one in which things go wrong: nothing
runs twice, and nothing wrong or short is delivered as whole."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from insitu.runtime.client import NodeClient
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.devcluster.state import NodeInfo
from tests.storage_hooks.object_server import Replica, replicas
from tests.storage_hooks.store import Answer, Footprint, Store, eventually, records, running

DATA = b"0123456789 as long as it takes"

IMPATIENT = {
    # All replicas at once, after no time at all; the next one after a second of silence.
    "proxy/app:proxy-server": {
        "concurrent_gets": "true",
        "concurrency_timeout": "0.01",
        "recoverable_node_timeout": "1",
        "node_timeout": "2",
    },
    "proxy/filter:run_hook": {"wall": "60s"},
    "proxy/filter:run_switch": {"node_timeout": "4"},
    **{f"object-{n}/filter:object_hook": {"beat": "1", "accept_timeout": "3"} for n in range(1, 5)},
}


@pytest.fixture(scope="module")
def impatient(test_programs: Path) -> Iterator[DevCluster]:
    with DevCluster(programs=[test_programs], settings=IMPATIENT) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        yield cluster


class Patient(Store):
    """A client that waits longer than any guest here takes."""

    def connect(self) -> HTTPConnection:
        connection = super().connect()
        connection.timeout = 90
        return connection


@pytest.fixture
def store(impatient: DevCluster) -> Iterator[Store]:
    store = Patient(impatient, "c")
    store.put("o", DATA)
    yield store
    # (Descriptors are not counted here: of a read of all replicas at once Swift leaves the losers' connections open.)
    eventually(lambda: sum(Footprint.of(impatient).astray.values()) == 0, "nothing runs any more")
    right(store, store.run("o", "copy"))
    assert impatient.dead() == []


def right(store: Store, answer: Answer, data: bytes = DATA) -> None:
    """The whole result, of one run."""
    assert (answer.status, answer.whole, answer.body) == (200, True, data)
    [record] = records(store.cluster, answer.request_id)
    assert record.outcome.ok


# -- slow guests -------------------------------------------------------------------------------------------------------


def test_slow_guests_run_once_however_slow_they_are(store: Store) -> None:
    """A start of 30 s, stalls of 8 s in the middle, a trickle; each beyond every timeout of Swift's. All at once."""
    store.put("short", DATA[:3])
    asked = {
        "paced 30000 0": "o",
        "paced 0 8000": "short",
        "paced 2500 2500": "short",
        "paced 0 100": "o",
        "paced 300 300": "short",
    }
    with ThreadPoolExecutor(2 * len(asked)) as pool:
        answers = [
            (pool.submit(store.run, name, run, **headers), name)
            for run, name in asked.items()
            for headers in ({}, {"X_Newest": "true"})
        ]
        for answer, name in answers:
            right(store, answer.result(), DATA if name == "o" else DATA[:3])


def test_a_trickle_comes_as_it_is_written(store: Store) -> None:
    """Nobody keeps bytes back until there are more of them."""
    with store.open("o", "paced 0 400") as connection:
        response = connection.getresponse()
        assert response.read(1) == DATA[:1]
        first = time.monotonic()
        assert response.read(2) == DATA[1:3]
        assert running(store.cluster) == 1
        assert time.monotonic() - first >= 0.4
        assert response.read() == DATA[3:]


@pytest.mark.parametrize(
    "headers", [{}, {"X_Newest": "true"}, {"Range": "bytes=2-3"}], ids=["plain", "newest", "range"]
)
def test_all_replicas_at_once_are_not_asked_to_run(store: Store, headers: dict[str, str]) -> None:
    for _ in range(8):
        right(store, store.run("o", "copy", **headers))


def test_plain_reads_are_as_impatient_as_they_were_set(store: Store) -> None:
    """The operator's own settings are not touched: what passes through the run application is another's."""
    for _ in range(3):
        assert store.get("o", X_Newest="true").body == DATA
        assert store.get("o", Range="bytes=2-3").body == DATA[2:4]


# -- servers that hang -------------------------------------------------------------------------------------------------


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def busy(store: Store) -> NodeInfo | None:
    return next((node for node in store.cluster.nodes if NodeClient(str(node.socket)).ping()["running"]), None)


def test_a_storage_server_that_hangs_in_the_middle_is_given_up_and_nobody_else_asked(store: Store) -> None:
    with store.open("o", "paced 0 1000") as connection:
        response = connection.getresponse()
        request_id = response.getheader("X-Trans-Id") or ""
        assert response.read(1) == DATA[:1]
        victim = eventually(lambda: busy(store), "a node runs it")
        with stopped(victim.server_pid):
            since = time.monotonic()
            with pytest.raises((IncompleteRead, ConnectionError)):
                response.read()
            assert 2 < time.monotonic() - since < 20
    [record] = eventually(lambda: records(store.cluster, request_id), "the record of the run")
    assert (record.node, record.outcome.end) == (victim.name, "cancelled")


def test_a_storage_server_that_hangs_before_it_answers_is_a_500(store: Store) -> None:
    """It may have started it. (While all hang, so that it is one of them that is asked.)"""
    nodes = store.cluster.nodes
    with stopped(nodes[0].server_pid), stopped(nodes[1].server_pid), stopped(nodes[2].server_pid):
        with stopped(nodes[3].server_pid):
            answer = store.run("o", "copy")
        assert answer.status == 500
        assert answer.problem["type"] == "urn:insitu:problem:lost"
    # Each of them may have taken the request by now, but whoever asked has gone.
    for record in records(store.cluster, answer.request_id):
        assert record.outcome.end in ("exit", "cancelled")
    assert len(records(store.cluster, answer.request_id)) <= 1


def test_a_daemon_that_hangs_before_it_accepts_is_not_replaced_by_another(store: Store) -> None:
    nodes = store.cluster.nodes
    with stopped(nodes[0].daemon_pid), stopped(nodes[1].daemon_pid), stopped(nodes[2].daemon_pid):
        with stopped(nodes[3].daemon_pid):
            answer = store.run("o", "copy")
        assert answer.status == 500
        assert "did not accept within 3 s" in answer.problem["detail"]


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["fail-late", "trap-late"])
def test_after_an_aborted_body_a_connection_carries_nothing_more(store: Store, run: str) -> None:
    """A client that has sent its next request already must not take that one's answer for the rest of this body."""
    address = urlsplit(store.cluster.endpoint)
    head = f"Host: h\r\nX-Auth-Token: {store.token}\r\n"
    first = f"GET {store.path('o')} HTTP/1.1\r\n{head}X-Run: {run}\r\n\r\n"
    second = f"GET {store.path('o')} HTTP/1.1\r\n{head}\r\n"
    got = b""
    with socket.create_connection((address.hostname, address.port), timeout=90) as sock:
        sock.sendall((first + second).encode())
        try:
            while piece := sock.recv(1 << 16):
                got += piece
        except ConnectionResetError:
            pass
    assert got.count(b"HTTP/1.1 ") == 1
    assert not got.endswith(b"0\r\n\r\n")


def test_connections_to_storage_servers_are_not_used_again_after_an_abort(store: Store) -> None:
    """What an aborted run left unread comes out nowhere else."""
    other = os.urandom(100_000)
    store.put("other", other)

    def one(i: int) -> None:
        if i % 2:
            assert not store.run("o", "fail-late").whole
        else:
            right(store, store.run("other", "copy"), other)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(48)))


# -- replicas ----------------------------------------------------------------------------------------------------------


def place(replica: Replica) -> Path:
    """The directory of a replica's on its node's disk."""
    return replica.files()[0].parent


def handoff(store: Store, name: str) -> Replica:
    found = replicas(store, name)
    [node] = {node.name: node for node in store.cluster.nodes if node not in [r.node for r in found]}.values()
    return Replica(store.cluster, node, store.account, store.container, name)


def test_an_object_that_only_a_handoff_has_runs_there(store: Store) -> None:
    # (The proxy's own node is object-1's.)
    name = next(name for name in map(str, range(1000)) if handoff(store, name).node.name != "object-1")
    store.put(name, DATA)
    first, second, third = replicas(store, name)
    elsewhere = handoff(store, name)
    base = store.cluster.directory
    target = (
        base
        / f"node{elsewhere.node.name[-1]}"
        / elsewhere.node.device
        / place(first).relative_to(base / f"node{first.node.name[-1]}" / first.node.device)
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    place(first).rename(target)
    for replica in (second, third):
        shutil.rmtree(place(replica))
    for _ in range(4):
        answer = store.run(name, "copy")
        right(store, answer)
        assert answer.headers["x-run-where"] == f"{elsewhere.node.name}; handoff"
    # And when that one's daemon is down, it runs where the bytes can be brought.
    index = [node.name for node in store.cluster.nodes].index(elsewhere.node.name)
    store.cluster.stop_node(index)
    try:
        answer = store.run(name, "copy")
        assert (answer.status, answer.body) == (200, DATA)
        assert answer.headers["x-run-where"].endswith("; proxy")
    finally:
        store.cluster.start_node(index)


def test_of_a_stale_replica_a_result_is_all_old_or_all_new(store: Store, tmp_path: Path) -> None:
    old, new = os.urandom(3 << 20), os.urandom(3 << 20)
    store.put("stale", old)
    replica = replicas(store, "stale")[0]
    where = place(replica)
    shutil.copytree(where, tmp_path / "old")
    store.put("stale", new)
    shutil.rmtree(where)
    shutil.copytree(tmp_path / "old", where)
    seen = set[bool]()
    for _ in range(60):
        answer = store.run("stale", "copy")
        right(store, answer, old if answer.headers["x-run-where"].startswith(f"{replica.node.name};") else new)
        seen.add(answer.body == old)
        if len(seen) == 2:
            break
    assert seen == {True, False}


def test_an_object_that_is_overwritten_while_it_is_read_is_the_one_that_was_opened(store: Store) -> None:
    store.put("twice", DATA)
    with store.open("twice", "paced 500 100") as connection:
        eventually(lambda: running(store.cluster), "it runs")
        store.put("twice", b"something else entirely")
        response = connection.getresponse()
        assert response.read() == DATA
    right(store, store.run("twice", "copy"), b"something else entirely")


def test_an_object_that_is_deleted_while_it_is_read_is_read_to_its_end(store: Store) -> None:
    store.put("gone", DATA)
    with store.open("gone", "paced 500 100") as connection:
        eventually(lambda: running(store.cluster), "it runs")
        store.ask("DELETE", store.path("gone"), {})
        assert connection.getresponse().read() == DATA
    assert store.run("gone", "copy").status == 404


# -- the proxy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["loop", "paced 0 1000", "flood"])
def test_a_proxy_that_is_killed_takes_its_guests_with_it(test_programs: Path, run: str) -> None:
    with DevCluster(programs=[test_programs], settings={"proxy/filter:run_hook": {"wall": "60s"}}) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        store = Store(cluster, "c")
        store.put("o", DATA)
        before = time.time()
        with store.open("o", run):
            eventually(lambda: running(cluster), "it runs")
            os.kill(cluster.pids()["proxy"], signal.SIGKILL)
            eventually(lambda: not running(cluster), "it is ended")
        [record] = [
            record
            for node in cluster.nodes
            for record in NodeClient(str(node.socket)).runs()
            if record.started >= before
        ]
        assert record.outcome.end == "cancelled"
        assert cluster.dead() == ["proxy"]
