"""Exactly once, when a storage node dies in the middle: nobody is asked again, and the client is told the truth."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path

import pytest

from insitu.runtime.client import NodeClient
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.devcluster.state import NodeInfo
from tests.storage_hooks.store import Store, eventually, open_descriptors, records

DATA = b"three replicas of this lie on three nodes\n"


@pytest.fixture
def store(test_programs: Path) -> Iterator[Store]:
    """A cluster of its own: what these tests kill, nobody starts again."""
    with DevCluster(programs=[test_programs]) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        store = Store(cluster, "c")
        store.put("o", DATA)
        yield store


def descriptors(node: NodeInfo) -> int:
    assert node.server_pid is not None
    return open_descriptors(node.server_pid)


def kill(pid: int | None, how: signal.Signals) -> None:
    assert pid is not None
    os.kill(pid, how)


def lost(store: Store, response: HTTPResponse) -> None:
    body = response.read()
    assert response.status == 500
    assert b"urn:insitu:problem:lost" in body
    assert DATA not in body
    assert store.run("o", "copy").body == DATA  # the other replicas serve on


def asked(store: Store, before: dict[str, int]) -> NodeInfo | None:
    """The storage node whose object server has the request, once one has."""
    return next((node for node in store.cluster.nodes if descriptors(node) > before[node.name]), None)


def test_object_server_dies_before_it_answered(store: Store) -> None:
    """Its node is stopped, so it waits for an acceptance: whether the program was started, nobody can know."""
    nodes = store.cluster.nodes
    before = {node.name: descriptors(node) for node in nodes}
    for node in nodes:
        kill(node.daemon_pid, signal.SIGSTOP)
    try:
        with store.open("o", "silent") as connection:
            victim = eventually(lambda: asked(store, before), "an object server has the request")
            kill(victim.server_pid, signal.SIGKILL)
            for node in nodes:
                kill(node.daemon_pid, signal.SIGCONT)
            response = connection.getresponse()
            request_id = response.getheader("X-Trans-Id") or ""
            lost(store, response)
    finally:
        for node in nodes:
            kill(node.daemon_pid, signal.SIGCONT)
    assert {record.node for record in records(store.cluster, request_id)} <= {victim.name}


def busy(store: Store) -> NodeInfo | None:
    """The storage node whose daemon runs a launch, once one does."""
    return next((node for node in store.cluster.nodes if NodeClient(str(node.socket)).ping()["running"]), None)


@pytest.mark.parametrize(("program", "status"), [("loop", 500), ("stall", 200)])
def test_object_server_dies_in_the_middle_of_a_run(store: Store, program: str, status: int) -> None:
    with store.open("o", program) as connection:
        if status == 200:
            response = connection.getresponse()
            assert response.status == 200
            assert response.read(1000)
        victim = eventually(lambda: busy(store), "a node runs it")
        kill(victim.server_pid, signal.SIGKILL)
        if status == 200:
            with pytest.raises((IncompleteRead, ConnectionError)):
                response.read()
        else:
            response = connection.getresponse()
        request_id = response.getheader("X-Trans-Id") or ""
        if status == 500:
            lost(store, response)
    # Its own node's record says what became of it; the other two replicas were never asked.
    [record] = eventually(lambda: records(store.cluster, request_id), "the record of the run")
    assert (record.node, record.outcome.end) == (victim.name, "cancelled")


def test_object_server_down_beforehand_is_passed_over(store: Store) -> None:
    first, second, third = store.cluster.primaries(store.account, "c", "o")
    kill(first.server_pid, signal.SIGKILL)
    kill(second.server_pid, signal.SIGKILL)
    eventually(lambda: {first.name, second.name} <= set(store.cluster.dead()), "both are dead")
    for _ in range(4):
        answer = store.run("o", "copy")
        assert (answer.status, answer.body) == (200, DATA)
        assert answer.headers["x-run-where"] == f"{third.name}; replica=2"
        assert len(records(store.cluster, answer.request_id)) == 1


def test_all_object_servers_down_is_a_503_that_says_when_to_come_again(store: Store) -> None:
    for node in store.cluster.nodes:
        kill(node.server_pid, signal.SIGKILL)
    eventually(lambda: {node.name for node in store.cluster.nodes} <= set(store.cluster.dead()), "all are dead")
    answer = store.run("o", "copy")
    assert (answer.status, answer.problem["type"]) == (503, "urn:insitu:problem:unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert records(store.cluster, answer.request_id) == []
