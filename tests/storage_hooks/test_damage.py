"""Replicas that disks have damaged: nothing of them passes for a result, and Swift puts them aside."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.object_server import Replica, marked, replicas
from tests.storage_hooks.store import Store, eventually, records

SMALL, LARGE = 5_000, 12 << 20


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Store:
    return Store(cluster, container)


def damage(replica: Replica, at: int) -> None:
    """One byte of it on disk becomes another."""
    [file] = replica.files()
    with file.open("r+b") as data:
        data.seek(at)
        was = data.read(1)
        data.seek(at)
        data.write(bytes([was[0] ^ 0xFF]))


def put_aside(replica: Replica) -> bool:
    return len(replica.quarantined()) == 1 and replica.files() == []


@pytest.mark.parametrize("at", [0, SMALL // 2, SMALL - 1])
def test_a_small_result_of_a_damaged_replica_is_a_500_and_the_next_one_is_right(store: Store, at: int) -> None:
    data = os.urandom(SMALL)
    store.put("o", data)
    bad = replicas(store, "o")[1]
    damage(bad, at)
    hits = 0
    while not hits:  # Swift chooses among the three
        answer = store.run("o", "copy")
        [record] = records(store.cluster, answer.request_id)
        assert (record.node == bad.node.name) is (answer.status == 500)
        hits += answer.status == 500
        if answer.status == 200:
            assert answer.body == data
    assert answer.problem["type"] == "urn:insitu:problem:damaged-replica"
    assert "MD5" in answer.problem["detail"]
    assert data[:10] not in answer.body
    assert record.outcome.end == "damaged"
    # It was put aside before the client was told.
    assert put_aside(bad)
    for _ in range(6):
        answer = store.run("o", "copy")
        assert (answer.status, answer.body) == (200, data)
        assert not answer.headers["x-run-where"].startswith(f"{bad.node.name};")
    assert store.get("o").body == data


@pytest.mark.parametrize("at", [0, LARGE // 2, LARGE - 1])
def test_a_large_one_is_cut_off(store: Store, at: int) -> None:
    data = os.urandom(LARGE)
    store.put("o", data)
    bad = replicas(store, "o")[0]
    damage(bad, at)
    while not put_aside(bad):
        answer = store.run("o", "copy")
        assert answer.status == 200
        [record] = records(store.cluster, answer.request_id)
        assert answer.whole is (record.node != bad.node.name)
        if answer.whole:
            assert answer.body == data
    assert record.outcome.end == "damaged"
    for _ in range(6):
        answer = store.run("o", "copy")
        assert (answer.whole, answer.body) == (True, data)


def test_with_two_of_three_damaged_the_third_serves(store: Store) -> None:
    data = os.urandom(SMALL)
    store.put("o", data)
    first, second, third = replicas(store, "o")
    damage(first, 1)
    damage(second, 2)
    while not (put_aside(first) and put_aside(second)):
        answer = store.run("o", "copy")
        assert answer.status == 500 or answer.body == data
    answer = store.run("o", "copy")
    assert answer.body == data
    assert answer.headers["x-run-where"] == f"{third.node.name}; replica=2"
    store.put("o", data)  # no replicator runs here, and of one replica Swift says it is not there


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_the_proxy_feeds_to_its_own_node_is_verified_too(store: Store, size: int) -> None:
    """With a further input a program runs there. Swift itself finds out when all has been sent, and puts it aside."""
    data = os.urandom(size)
    store.put("o", data)
    store.put("x", b"a further input")
    bad = replicas(store, "o")[2]
    damage(bad, size - 1)
    while not put_aside(bad):
        answer = store.run("o", f"copy in.x=/{store.container}/x")
        if answer.status == 500:
            assert answer.problem["type"] == "urn:insitu:problem:damaged-replica"
        elif answer.whole:
            assert answer.body == data
    assert not answer.whole if size == LARGE else answer.status == 500
    answer = store.run("o", f"copy in.x=/{store.container}/x")
    assert (answer.status, answer.whole, answer.body) == (200, True, data)


def test_who_does_not_read_it_all_is_not_told(store: Store) -> None:
    """As with a Range of Swift's own: what was read is all that can be known."""
    data = os.urandom(LARGE)
    store.put("o", data)
    replica = replicas(store, "o")[0]
    damage(replica, LARGE - 1)
    for program, expected in (("first", data[: 64 << 10]), ("args x", b"args\0x\0"), ("silent", b"")):
        said = replica.ask("GET", marked(replica, program))
        assert (said.status, said.started) == (200, True)
        assert expected in said.body
        assert not replica.quarantined()
    assert len(replica.files()) == 1


def test_a_program_that_fails_anyway_fails_as_it_did(store: Store) -> None:
    store.put("o", bytes(SMALL))
    for replica in replicas(store, "o"):
        damage(replica, 1)
    answer = store.run("o", "fail")
    assert answer.status == 422
    assert answer.problem["exit_code"] == 3


@pytest.mark.parametrize("size", [0, SMALL - 1, SMALL + 1])
def test_a_replica_of_another_size_is_put_aside_when_it_is_opened(store: Store, size: int) -> None:
    data = os.urandom(SMALL)
    store.put("o", data)
    bad = replicas(store, "o")[0]
    os.truncate(bad.files()[0], size)
    said = bad.ask("GET", marked(bad, "copy"))
    assert (said.status, said.started) == (404, False)
    assert put_aside(bad)
    for _ in range(4):
        answer = store.run("o", "copy")
        assert (answer.status, answer.body) == (200, data)


def test_damage_is_found_for_a_proxy_that_has_gone_too(store: Store) -> None:
    """Whoever asked: the replica is put aside."""
    store.put("o", os.urandom(LARGE))
    bad = replicas(store, "o")[0]
    damage(bad, LARGE - 1)
    said = bad.ask("GET", marked(bad, "copy"))
    assert said.started
    eventually(lambda: put_aside(bad), "it is put aside")


def test_empty_objects_have_an_md5_too(store: Store) -> None:
    store.put("o", b"")
    answer = store.run("o", "copy")
    assert (answer.status, answer.body) == (200, b"")


def test_conditions_are_no_hindrance(store: Store) -> None:
    """The read that puts it aside is of the whole object, whatever the run's request came with."""
    etag = store.put("o", os.urandom(SMALL)).headers["etag"]
    bad = replicas(store, "o")[0]
    damage(bad, 7)
    headers = {**marked(bad, "copy"), "If-Match": etag, "If-Modified-Since": "Thu, 01 Jan 1970 00:00:01 GMT"}
    assert bad.ask("GET", headers).started
    assert put_aside(bad)


# -- verify = no -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trusting(test_programs: Path) -> Iterator[Store]:
    settings = {"object-1/filter:object_hook": {"verify": "no"}}
    with DevCluster(nodes=1, programs=[test_programs], settings=settings) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        yield Store(cluster, "c")


def test_where_nothing_is_verified_the_disk_is_believed(trusting: Store) -> None:
    data = bytearray(os.urandom(SMALL))
    trusting.put("o", bytes(data))
    [replica] = set(replicas(trusting, "o"))
    damage(replica, 3)
    data[3] ^= 0xFF
    answer = trusting.run("o", "copy")
    assert (answer.status, answer.body) == (200, bytes(data))
    assert not replica.quarantined()
