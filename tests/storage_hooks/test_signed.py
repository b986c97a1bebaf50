"""Signatures on the real cluster: object servers, which take requests from anybody, start runs for proxies only."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from insitu.storage_hooks import inside
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.inside import Terms
from tests.storage_hooks.object_server import Replica, Said, marked, replicas
from tests.storage_hooks.store import Store, records, runs_of

DATA = b"to be read by whoever may\n"


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Store:
    store = Store(cluster, container)
    store.put("o", DATA)
    return store


@pytest.fixture
def replica(store: Store) -> Replica:
    return replicas(store, "o")[0]


def refused(replica: Replica, headers: dict[str, str], says: str) -> Said:
    started = time.time()
    said = replica.ask("GET", headers)
    assert (said.status, said.refused, said.body) == (403, "hooks-misconfigured", b"")
    assert says in said.reason
    assert not said.started
    assert runs_of(replica.cluster, "copy", started) == runs_of(replica.cluster, "args", started) == []
    assert says in replica.cluster.log(replica.node.name).read_text()
    return said


def test_what_a_proxy_signs_is_run(replica: Replica) -> None:
    said = replica.ask("GET", marked(replica, "copy"))
    assert (said.status, said.started) == (200, True)
    assert DATA in said.body


@pytest.mark.parametrize("name", ["o ☂ ü%41//x?y#z", "%2e", "tail/", "+a b"])
def test_names_of_every_kind_are_signed_as_they_arrive(store: Store, name: str) -> None:
    store.put(name, DATA)
    answer = store.run(name, "copy")
    assert (answer.status, answer.body) == (200, DATA)


@pytest.mark.parametrize("run", ["args 'ünï ☂'", "args   two", "args x ", " args x", "args\tx"])
def test_run_requests_of_every_kind_are_signed_as_they_arrive(store: Store, run: str) -> None:
    assert store.run("o", run.encode().decode("latin-1")).status == 200


def test_unsigned(replica: Replica) -> None:
    headers = marked(replica, "copy")
    del headers[inside.SIGNATURE]
    refused(replica, headers, "the run is not signed")


def test_altered(replica: Replica) -> None:
    headers = marked(replica, "copy")
    generous = Terms.decode(headers[inside.TERMS])
    for name, value in (
        (inside.REQUEST, "args of an attacker's"),
        (inside.TERMS, Terms("AUTH_somebody_else", generous.limits).encode()),
        ("X-Trans-Id", "tx-of-another"),
        (inside.SIGNATURE, headers[inside.SIGNATURE][:-64] + "0" * 64),
    ):
        refused(replica, headers | {name: value}, "the request was altered")


def test_for_another_object(store: Store, replica: Replica) -> None:
    store.put("secret", DATA)
    other = next(r for r in replicas(store, "secret") if r.files())
    refused(other, marked(replica, "copy"), "the request was altered")


def test_again_after_it_has_expired(replica: Replica) -> None:
    refused(replica, marked(replica, "copy", now=time.time() - 100), "is good for 60 s: it came late or again")


def test_clocks_that_differ(replica: Replica) -> None:
    refused(replica, marked(replica, "copy", now=time.time() + 1000), "the clocks of proxy and storage node differ")


def test_another_key(replica: Replica) -> None:
    refused(replica, marked(replica, "copy", key=b"somebody else's, and long enough for it"), "has another key")


def test_plain_requests_need_none(replica: Replica) -> None:
    assert replica.ask("GET", {}).body == DATA
    assert replica.ask("HEAD", {}).status == 200


def test_what_is_not_whole_is_refused_without_a_byte(store: Store) -> None:
    manifest = b'[{"path": "/%s/o"}]' % store.container.encode()
    assert store.ask("PUT", store.path("slo") + "?multipart-manifest=put", {}, manifest).status == 201
    said = replicas(store, "slo")[0].ask("GET", marked(replicas(store, "slo")[0], "copy"))
    assert (said.status, said.refused, said.body, said.started) == (200, "unsupported", b"", False)


# -- a proxy and storage nodes that do not have the same key ---------------------------------------------------------

OLD, NEW = "the key that there was until now", "the key that there will be from now on"


@pytest.fixture(scope="module")
def mixed() -> Iterator[DevCluster]:
    """Keys are being exchanged: object-1 was forgotten, object-2 has both, the others have the new one alone."""
    settings = {"proxy/filter:run_switch": {"key": OLD}, "object-1/filter:object_hook": {"key": OLD}}
    settings["object-2/filter:object_hook"] = {"key": NEW, "old_key": OLD}
    for n in (3, 4):
        settings[f"object-{n}/filter:object_hook"] = {"key": NEW}
    with DevCluster(settings=settings) as running, closing(running.connection()) as connection:
        connection.put_container("three")
        connection.put_container("one", headers={"X-Storage-Policy": "one"})
        yield running


def test_storage_nodes_that_have_the_key_serve_for_those_that_do_not(mixed: DevCluster) -> None:
    store = Store(mixed, "three")
    for n in range(8):
        store.put(f"o{n}", DATA)
        answer = store.run(f"o{n}", "cat")
        assert (answer.status, answer.body) == (200, DATA)
        [record] = records(mixed, answer.request_id)
        assert record.node in ("object-1", "object-2")


def test_with_none_that_has_it_nothing_starts_and_it_says_why(mixed: DevCluster) -> None:
    store = Store(mixed, "one")
    seen = set[str]()
    for n in range(100):
        [replica] = replicas(store, f"o{n}", "one")
        if replica.node.name in seen:
            continue
        seen.add(replica.node.name)
        store.put(f"o{n}", DATA)
        answer = store.run(f"o{n}", "cat")
        if replica.node.name in ("object-1", "object-2"):
            assert (answer.status, answer.body) == (200, DATA)
            continue
        assert answer.status == 503
        assert answer.problem["type"] == "urn:insitu:problem:hooks-misconfigured"
        assert "another key" in answer.problem["detail"]
        assert answer.headers["retry-after"] == "60"
        assert records(mixed, answer.request_id) == []
        assert store.get(f"o{n}").body == DATA
    assert len(seen) == 4


def test_what_is_not_there_is_not_there_whoever_has_the_key(mixed: DevCluster) -> None:
    store = Store(mixed, "three")
    for n in range(100):
        if {"object-1", "object-2"} <= {replica.node.name for replica in replicas(store, f"nothing-{n}")}:
            assert store.run(f"nothing-{n}", "cat").status == 404
            return
    raise AssertionError("no object lies on both")
