"""What bad input gets, on the real cluster: each its status and its message, and afterwards all is as it was."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import IncompleteRead
from os import kill
from typing import Any
from urllib.parse import urlsplit

import pytest

from insitu.runtime.client import NodeClient
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.devcluster.state import NodeInfo
from tests.storage_hooks.store import Store, eventually, records, running, runs_of, unharmed

DATA = b"the object's own bytes, which no run request may ever get\n" * 20


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Iterator[Store]:
    store = Store(cluster, container)
    store.put("o", DATA)
    with unharmed(store):
        yield store


@pytest.fixture
def lone(cluster: DevCluster) -> Iterator[Store]:
    """A container whose objects have one replica, so that a test knows where they run."""
    name = f"lone-{time.time_ns()}"
    with closing(cluster.connection()) as connection:
        connection.put_container(name, headers={"X-Storage-Policy": "one"})
    store = Store(cluster, name)
    store.put("o", DATA)
    with unharmed(store):
        yield store
    with closing(cluster.connection()) as connection:
        for entry in connection.get_container(name)[1]:
            connection.delete_object(name, entry["name"])
        connection.delete_container(name)


def home(store: Store) -> NodeInfo:
    """The node that holds the object of `lone`."""
    return store.cluster.primaries(store.account, store.container, "o", "one")[0]


def failed(store: Store, run: str, **members: Any) -> dict[str, Any]:
    """Runs a program that fails before its status is sent; checks all that such failures have in common."""
    answer = store.run("o", run)
    assert answer.status == 422
    assert answer.whole
    problem = answer.problem
    assert problem["type"] == "urn:insitu:problem:program-failed"
    assert {name: problem.get(name) for name in members} == members
    assert problem["run_id"] == answer.headers["x-run-id"]
    assert problem["program"] == answer.headers["x-run-program"]
    [record] = records(store.cluster, answer.request_id)
    assert record.id == answer.headers["x-run-id"]
    assert record.outcome.sentence() == problem["detail"]
    return problem


def aborted(store: Store, run: str) -> bytes:
    """Runs a program that fails after its status was sent; returns what came through until then."""
    answer = store.run("o", run)
    assert answer.status == 200
    assert not answer.whole
    [record] = records(store.cluster, answer.request_id)
    assert not record.outcome.ok
    return answer.body


# -- programs that fail ------------------------------------------------------------------------------------------------


def test_exit_before_output(store: Store) -> None:
    problem = failed(store, "fail", exit_code=3, stderr="fail: not today ☂\n")
    assert problem["detail"] == "exit code 3"


def test_exit_after_so_little_output_that_the_status_is_still_open(store: Store) -> None:
    failed(store, "fail-early", exit_code=3)


def test_exit_after_output(store: Store) -> None:
    assert len(aborted(store, "fail-late")) <= 4 * 65536


def test_trap_before_output(store: Store) -> None:
    problem = failed(store, "trap")
    assert "unreachable" in problem["trap"]
    assert "exit_code" not in problem


def test_trap_after_output(store: Store) -> None:
    aborted(store, "trap-late")


def test_a_program_that_loops(store: Store) -> None:
    problem = failed(store, "loop")
    assert problem["limit"]["name"] == "wall"
    assert problem["limit"]["reached"] >= problem["limit"]["allowed"] == 10


def test_a_program_that_eats_memory(store: Store) -> None:
    """It is refused more, and what it then makes of that is its own; the limit is named all the same."""
    problem = failed(store, "hog", exit_code=1)
    assert "256 MiB allowed" in problem["detail"]


def test_a_program_that_begins_with_too_much_memory(store: Store) -> None:
    problem = failed(store, "giant")
    assert problem["limit"] == {"name": "memory", "allowed": 256 << 20, "reached": 512 << 20}


def test_a_program_that_writes_for_ever(store: Store) -> None:
    """Read slowly enough, wall time ends it; fast enough, the limit on output does. Either way it is cut off."""
    body = aborted(store, "flood")
    assert len(body) <= 1 << 30


def test_a_program_that_writes_nothing(store: Store) -> None:
    answer = store.run("o", "silent")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_a_program_that_cannot_run(store: Store) -> None:
    answer = store.run("o", "stranger")
    assert answer.status == 422
    assert answer.problem["type"] == "urn:insitu:problem:program-rejected"
    assert "launch_missiles" in answer.problem["detail"]
    assert records(store.cluster, answer.request_id) == []


def test_an_empty_object(store: Store) -> None:
    store.put("empty", b"")
    answer = store.run("empty", "copy")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def over_http_1_0(store: Store, run: str) -> tuple[bytes, bytes]:
    """Head and body of the answer, read to the end of the connection."""
    address = urlsplit(store.cluster.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=30) as sock:
        sock.sendall(f"GET {store.path('o')} HTTP/1.0\r\nX-Auth-Token: {store.token}\r\nX-Run: {run}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("run", ["fail-late", "trap-late"])
def test_to_http_1_0_a_run_that_fails_late_is_an_honest_failure(store: Store, run: str) -> None:
    """There, an orderly close is how a body ends: it gets a result once it is whole, or the reason why it is not."""
    head, body = over_http_1_0(store, run)
    assert head.startswith(b"HTTP/1.1 422")
    assert b"urn:insitu:problem:program-failed" in body


def test_to_http_1_0_a_result_has_its_length(store: Store) -> None:
    store.put("o", DATA * 40_000)
    head, body = over_http_1_0(store, "copy")
    assert b"Content-Length: %d" % len(body) in head
    assert body == DATA * 40_000


# -- requests that are wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("", "empty"),
        ("copy 'unclosed", "quot"),
        ("copy 100%", "per cent sign is %25"),
        ("copy %ff", "UTF-8"),
        ("copy \xff", "UTF-8"),
        ("copy %00", "NUL"),
        ("../copy", "no program's name"),
        ("copy " + "x" * 4096, "4096"),
    ],
)
def test_a_malformed_run_request(store: Store, run: str, says: str) -> None:
    answer = store.run("o", run)
    assert answer.status == 400
    assert answer.problem["type"] == "urn:insitu:problem:malformed-run-request"
    assert says in answer.problem["detail"]


def test_an_unknown_program(store: Store) -> None:
    answer = store.run("o", "no-such-program")
    assert answer.status == 404
    assert answer.problem["type"] == "urn:insitu:problem:unknown-program"
    assert "no-such-program" in answer.problem["detail"]
    assert records(store.cluster, answer.request_id) == []


def test_an_unknown_object(store: Store) -> None:
    answer = store.run("no such object", "copy")
    assert answer.status == 404
    assert answer.problem["type"] == "urn:insitu:problem:no-such-object"
    assert "no such object" in answer.problem["detail"]
    assert records(store.cluster, answer.request_id) == []


# -- clients that go away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "wait_for"),
    [("stall", b"200"), ("linger", b"200"), ("flood", b"200"), ("loop", None)],
    ids=["in a silent body", "after the first byte", "in a busy body", "before the status"],
)
def test_a_client_that_disconnects_ends_the_guest_at_once(store: Store, program: str, wait_for: bytes | None) -> None:
    started = time.time()
    with store.open("o", program) as connection:
        if wait_for is None:
            eventually(lambda: running(store.cluster), "the guest runs")
        else:
            assert wait_for in connection.sock.recv(1000)
    [record] = eventually(lambda: runs_of(store.cluster, program, started), "the guest is ended")
    # By the client's going, not by its own limit.
    assert record.outcome.end == "cancelled"


# -- parts that are down, or die ---------------------------------------------------------------------------------------


def test_nodes_down_on_some_replicas(store: Store) -> None:
    cluster = store.cluster
    first, second, third = cluster.primaries(store.account, store.container, "o")
    indices = [[n.name for n in cluster.nodes].index(node.name) for node in (first, second)]
    for index in indices:
        cluster.stop_node(index)
    try:
        for _ in range(6):
            answer = store.run("o", "copy")
            assert (answer.status, answer.body) == (200, DATA)
            assert answer.headers["x-run-where"] == f"{third.name}; replica=2"
            assert len(records(cluster, answer.request_id)) == 1
    finally:
        for index in indices:
            cluster.start_node(index)


def test_all_nodes_down(store: Store) -> None:
    cluster = store.cluster
    for index in range(len(cluster.nodes)):
        cluster.stop_node(index)
    try:
        answer = store.run("o", "copy")
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.problem["type"] == "urn:insitu:problem:unavailable"
        assert DATA not in answer.body
        assert store.get("o").body == DATA
    finally:
        for index in range(len(cluster.nodes)):
            cluster.start_node(index)


@pytest.mark.parametrize("victim", ["worker", "node"])
@pytest.mark.parametrize(("program", "status"), [("loop", 500), ("stall", 200)])
def test_killed_in_the_middle_of_a_run(lone: Store, victim: str, program: str, status: int) -> None:
    """Before the status was sent, it says so; afterwards, the body is aborted. Nobody tries it again."""
    node = home(lone)
    index = [n.name for n in lone.cluster.nodes].index(node.name)
    client = NodeClient(str(node.socket))
    with lone.open("o", program) as connection:
        if program == "stall":
            response = connection.getresponse()
            assert response.status == 200
            assert response.read(70_000)
        eventually(lambda: client.ping()["running"] == 1, "the guest runs")
        assert node.daemon_pid is not None
        victims: list[int] = client.ping()["workers"] if victim == "worker" else [node.daemon_pid]
        for pid in victims:
            kill(pid, signal.SIGKILL)
        if program == "stall":
            with pytest.raises((ConnectionError, IncompleteRead)):
                response.read()
        else:
            response = connection.getresponse()
            assert response.status == status
            body = response.read()
            assert b"urn:insitu:problem:lost" in body
            assert DATA not in body
    if victim == "node":
        eventually(lone.cluster.dead, "the node's death is noticed")
        lone.cluster.start_node(index)
        assert client.runs() == []
    else:
        # A spare that was killed too must be known to be gone before it is given a launch.
        eventually(lambda: not set(victims) & set(client.ping()["workers"]), "the node knows whom it has lost")
        [record] = [r for r in client.runs() if r.program == program]
        assert record.outcome.end == "lost"
