"""Runs at the proxy's own node, on the real cluster: further inputs, and what no storage node can or will run."""

import http.client
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.devcluster.configs import proxy_pipeline
from tests.storage_hooks.store import Store, records, unharmed

DATA = os.urandom(3_000_000)


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Store:
    store = Store(cluster, container)
    store.put("o", DATA)
    store.put("logo", b"the logo\n")
    return store


# -- further inputs ----------------------------------------------------------------------------------------------------


def test_a_further_input_is_a_channel(store: Store) -> None:
    answer = store.run("o", f"join in.one=/{store.container}/logo")
    assert (answer.status, answer.whole) == (200, True)
    assert answer.body == b"the logo\n" + DATA
    assert answer.headers["x-run-where"].endswith("; proxy")
    [record] = records(store.cluster, answer.request_id)
    assert record.outcome.channels["in/one"].bytes_read == len(b"the logo\n")
    assert store.run("o", "join").problem["exit_code"] == 7


def test_an_input_that_cannot_be_had_starts_nothing(store: Store) -> None:
    for path, status, kind in (
        (f"/{store.container}/none", 400, "bad-input"),
        ("/no-such-container/o", 400, "bad-input"),
    ):
        answer = store.run("o", f"join in.one={path}")
        assert (answer.status, answer.problem["type"]) == (status, f"urn:insitu:problem:{kind}")
        assert path in answer.problem["detail"]
        assert records(store.cluster, answer.request_id) == []


def test_inputs_are_read_with_the_callers_rights(store: Store) -> None:
    with closing(store.cluster.connection()) as connection:
        connection.put_container("opened", headers={"X-Container-Read": "test2:tester2"})
        try:
            connection.put_object("opened", "o", b"opened")
            other = Store(store.cluster, "opened", "test2:tester2")
            path = f"/v1/{store.account}/opened/o"
            answer = other.ask("GET", path, {"X-Run": f"join in.one=/{store.container}/logo"})
            assert (answer.status, answer.problem["type"]) == (403, "urn:insitu:problem:forbidden")
            assert records(store.cluster, answer.request_id) == []
            answer = other.ask("GET", path, {"X-Run": "join in.one=/opened/o"})
            assert answer.body == b"openedopened"
        finally:
            connection.delete_object("opened", "o")
            connection.delete_container("opened")


def test_a_put_may_have_further_inputs(store: Store) -> None:
    answer = store.ask("PUT", store.path("p"), {"X-Run": f"join in.one=/{store.container}/logo"}, b"and more")
    assert answer.status == 201, answer
    assert store.get("p").body == b"the logo\nand more"


def test_an_input_that_is_too_large_is_refused(test_programs: Path) -> None:
    settings = {"proxy/filter:run_hook": {"max_input": "1KiB"}}
    with DevCluster(nodes=1, programs=[test_programs], settings=settings) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        store = Store(cluster, "c")
        store.put("o", b"x")
        store.put("large", b"x" * 1025)
        store.put("fits", b"x" * 1024)
        answer = store.run("o", "join in.one=/c/large")
        assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:bad-input")
        assert "1024" in answer.problem["detail"]
        assert store.run("o", "join in.one=/c/fits").body == b"x" * 1025
        answer = store.run("o", "join in.one=/c/fits in.two=/c/o")
        assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:bad-input")


# -- no storage node that would ----------------------------------------------------------------------------------------


@pytest.fixture
def alone(test_programs: Path) -> Iterator[Store]:
    """A cluster of its own, whose proxy's node is the first storage node's."""
    with DevCluster(programs=[test_programs]) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        yield Store(cluster, "c")


def name_without_the_first_node(store: Store) -> str:
    for n in range(100):
        if all(node.name != "object-1" for node in store.cluster.primaries(store.account, "c", f"o{n}")):
            return f"o{n}"
    raise AssertionError("the ring puts a replica of everything on the first node")


def test_when_no_storage_node_of_the_object_answers_the_proxys_does(alone: Store) -> None:
    name = name_without_the_first_node(alone)
    alone.put(name, DATA)
    for index in (1, 2, 3):
        alone.cluster.stop_node(index)
    answer = alone.run(name, "copy")
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.headers["x-run-where"] == "object-1; proxy"
    assert len(records(alone.cluster, answer.request_id)) == 1
    alone.cluster.stop_node(0)
    answer = alone.run(name, "copy")
    assert (answer.status, answer.problem["type"]) == (503, "urn:insitu:problem:unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert alone.get(name).body == DATA


def test_a_storage_server_that_dies_while_it_feeds_a_run_ends_it(alone: Store) -> None:
    """The guest waits for more of its input: what came so far must never be all that it gets."""
    alone.put("segment", DATA * 20)
    alone.put("large", b"", X_Object_Manifest="c/segment")
    assert alone.run("large", "copy").body == DATA * 20  # from now on Swift has open what it keeps open
    with unharmed(alone), closing(alone.connect()) as connection:
        connection.request("GET", alone.path("large"), headers={"X-Run": "copy", "X-Auth-Token": alone.token})
        response = connection.getresponse()
        assert response.status == 200
        pids = [node.server_pid for node in alone.cluster.nodes if node.server_pid is not None]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                read_whole(response)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def read_whole(response: http.client.HTTPResponse) -> None:
    while response.read(1 << 20):
        pass


# -- encrypted objects -------------------------------------------------------------------------------------------------


def test_an_encrypted_object_is_read_and_written_in_the_clear_at_the_proxy_alone(test_programs: Path) -> None:
    pipeline = " ".join(proxy_pipeline(hooks=True)).replace(
        " proxy-logging run_switch", " keymaster encryption run_switch"
    )
    settings = {"proxy/pipeline:main": {"pipeline": pipeline}}
    with DevCluster(programs=[test_programs], settings=settings) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        store = Store(cluster, "c")
        store.put("o", DATA)
        on_disk = [path.read_bytes() for path in cluster.directory.glob("node*/*/objects/**/*.data")]
        assert on_disk
        assert DATA[:1000] not in b"".join(on_disk)  # it is encrypted indeed
        answer = store.run("o", "copy")
        assert (answer.status, answer.body) == (200, DATA)
        assert answer.headers["x-run-where"].endswith("; proxy")
        assert len(records(cluster, answer.request_id)) == 1
        assert store.ask("PUT", store.path("p"), {"X-Run": "copy"}, DATA).status == 201
        assert store.get("p").body == DATA
        assert all(DATA[:1000] not in path.read_bytes() for path in cluster.directory.glob("node*/*/objects/**/*.data"))
