"""Derived objects in a real Swift: stored whole or not at all, read as plain objects, seen by nobody else."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from insitu.storage_hooks.derived.names import CONTAINER, name_of
from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.derived.in_proxy import in_proxy
from tests.storage_hooks.store import Store

KEY = hashlib.sha256(b"key").hexdigest()


@pytest.fixture
def account(cluster: DevCluster) -> Iterator[str]:
    """An account in which nothing was ever kept."""
    name = f"AUTH_{uuid.uuid4().hex}"
    yield name
    for name_, *_ in in_proxy(cluster, "entries", account=name)["entries"]:
        in_proxy(cluster, "drop", account=name, name=name_)


def named(obj: str = "o", key: str = KEY) -> str:
    name = name_of("c", obj, key)
    assert name is not None
    return name


@pytest.mark.parametrize("length", [False, True])
def test_what_was_kept_is_read_as_a_plain_object(cluster: DevCluster, account: str, length: bool) -> None:
    body = "some bytes " * 10_000
    chunks = [body[:7], body[7:60_000], body[60_000:]]
    facts = {"content_type": "text/plain; charset=utf-8", "metadata": {"Colour": "blue"}, "args": "-n 3"}
    assert in_proxy(cluster, "look", account=account, name=named()) is None
    kept = in_proxy(cluster, "keep", account=account, name=named(), chunks=chunks, length=length, **facts)
    assert kept == {"why": [None], "read": body}
    found = in_proxy(cluster, "look", account=account, name=named())
    assert (found["status"], found["body"]) == (200, body)
    assert found["headers"]["etag"] == hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    assert found["headers"]["content-length"] == str(len(body))
    assert found["headers"]["content-type"] == "text/plain; charset=utf-8"
    assert found["headers"]["x-object-meta-colour"] == "blue"
    assert found["about"] == {"args": "-n 3", "metadata": {"Colour": "blue"}, "of_source": False}
    head = in_proxy(cluster, "look", account=account, name=named(), method="HEAD")
    assert (head["status"], head["body"]) == (200, "")
    assert head["headers"]["content-length"] == str(len(body))


def test_ranges_and_conditions_are_judged_by_swift(cluster: DevCluster, account: str) -> None:
    in_proxy(cluster, "keep", account=account, name=named(), chunks=["0123456789"])
    etag = hashlib.md5(b"0123456789", usedforsecurity=False).hexdigest()

    def look(**variables: str) -> tuple[int, str]:
        found = in_proxy(cluster, "look", account=account, name=named(), **variables)
        return found["status"], found["body"] if found["status"] in (200, 206) else ""

    assert look(HTTP_RANGE="bytes=2-4") == (206, "234")
    assert look(HTTP_RANGE="bytes=20-") == (416, "")
    assert look(HTTP_IF_NONE_MATCH=f'"{etag}"') == (304, "")
    assert look(HTTP_IF_MATCH='"0"') == (412, "")
    assert look(HTTP_RANGE="bytes=2-4", HTTP_IF_RANGE=f'"{etag}"') == (206, "234")
    assert look(HTTP_RANGE="bytes=2-4", HTTP_IF_RANGE='"0"') == (200, "0123456789")
    assert look(HTTP_RANGE="bytes=20-", HTTP_IF_RANGE='"0"') == (200, "0123456789")
    assert look(HTTP_RANGE="bytes=2-4", plain=True) == (200, "0123456789")  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["badly", "gone"])
@pytest.mark.parametrize("length", [False, True])
def test_what_did_not_end_well_is_not_there(cluster: DevCluster, account: str, end: str, length: bool) -> None:
    chunks = ["x" * 100_000] * 3
    kept = in_proxy(cluster, "keep", account=account, name=named(), chunks=chunks, end=end, length=length)
    [why] = kept["why"]
    assert why
    assert kept["read"] == "x" * 300_000
    assert in_proxy(cluster, "look", account=account, name=named()) is None
    assert in_proxy(cluster, "entries", account=account) == {"entries": [], "used": 0}


def test_two_proxies_that_store_the_same_at_once_leave_one_whole_result(cluster: DevCluster, account: str) -> None:
    def keep(length: bool) -> Any:
        chunks = ["x" * 50_000] * 20
        return in_proxy(cluster, "keep", account=account, name=named(), chunks=chunks, length=length)

    with ThreadPoolExecutor(2) as pool:
        # Also where neither finds the container: both make it.
        assert [kept["why"] for kept in pool.map(keep, (False, True))] == [[None], [None]]
    found = in_proxy(cluster, "entries", account=account)
    assert [entry[:2] for entry in found["entries"]] == [[named(), 1_000_000]]
    assert in_proxy(cluster, "look", account=account, name=named())["body"] == "x" * 1_000_000


def test_what_has_expired_is_not_there(cluster: DevCluster, account: str) -> None:
    import time

    in_proxy(cluster, "keep", account=account, name=named(), chunks=["x"], expires=int(time.time()) + 4)
    found = in_proxy(cluster, "look", account=account, name=named())
    if found is not None:
        expires = int(found["headers"]["x-delete-at"])
        while time.time() < expires:
            time.sleep(0.1)
    assert in_proxy(cluster, "look", account=account, name=named()) is None


def test_one_listing_tells_everything(cluster: DevCluster, account: str) -> None:
    for obj in ("a/1", "a/2", "b"):
        in_proxy(cluster, "keep", account=account, name=named(obj), chunks=[obj], args=f"--of {obj}")
    found = in_proxy(cluster, "entries", account=account, prefix="c/a/")
    md5 = [hashlib.md5(obj.encode(), usedforsecurity=False).hexdigest() for obj in ("a/1", "a/2")]
    assert found["entries"] == [[named("a/1"), 3, md5[0], "--of a/1"], [named("a/2"), 3, md5[1], "--of a/2"]]
    assert found["used"] == 7


def test_the_oldest_go_when_there_are_too_many_bytes(cluster: DevCluster, account: str) -> None:
    made = {"o3": 30, "o1": 10, "o2": 20, "o4": 40}
    for obj, when in made.items():
        in_proxy(cluster, "keep", account=account, name=named(obj), chunks=["x" * 100], made=when)
    assert len(in_proxy(cluster, "sweep", account=account, bound=400)["entries"]) == 4
    left = in_proxy(cluster, "sweep", account=account, bound=390, times=5)
    assert [entry[0] for entry in left["entries"]] == [named("o2"), named("o3"), named("o4")]
    left = in_proxy(cluster, "sweep", account=account, bound=299)
    assert [entry[0] for entry in left["entries"]] == [named("o3"), named("o4")]
    left = in_proxy(cluster, "sweep", account=account, bound=0)
    assert left == {"entries": [], "used": 0}


def test_no_client_can_name_them_or_see_them(cluster: DevCluster, container: str) -> None:
    """Not even the account's owner, whose they are."""
    store = Store(cluster, container)
    name = name_of(container, "o", KEY)
    assert name is not None
    in_proxy(cluster, "keep", account=store.account, name=name, chunks=["secret"])
    try:
        reserved = f"/v1/{store.account}/%00insitu-derived"
        paths = [reserved, f"{reserved}/{name.replace(chr(0), '%00')}", f"{store.path('x')[:-1]}%00o"]
        for path in paths:
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                for headers in ({}, {"X-Backend-Allow-Reserved-Names": "true"}):
                    answer = store.ask(method, path, headers, b"" if method in ("PUT", "POST") else None)
                    assert answer.status in (400, 404, 412), (method, path, answer)
                    assert b"secret" not in answer.body
            copy = store.ask("COPY", path, {"Destination": f"{container}/stolen"})
            assert copy.status in (400, 404, 412)
            copy = store.ask("PUT", store.path("stolen"), {"X-Copy-From": path.removeprefix(f"/v1/{store.account}/")})
            assert copy.status in (400, 404, 412)
            link = store.ask(
                "PUT", store.path("link"), {"X-Symlink-Target": path.removeprefix(f"/v1/{store.account}/")}
            )
            assert link.status // 100 == 4 or b"secret" not in store.get("link").body
        with closing(cluster.connection()) as connection:
            assert CONTAINER not in [entry["name"] for entry in connection.get_account(full_listing=True)[1]]
        assert in_proxy(cluster, "look", account=store.account, name=name)["body"] == "secret"
    finally:
        in_proxy(cluster, "drop", account=store.account, name=name)


def test_what_is_not_ours_is_never_served(cluster: DevCluster, account: str) -> None:
    """An operator's own object there, say."""
    in_proxy(cluster, "keep", account=account, name=named(), chunks=["x"])
    for data in cluster.directory.glob("node*/d*/objects/*/*/*/*.data"):
        metadata = os.getxattr(data, "user.swift.metadata")
        if account.encode() in metadata:
            os.setxattr(
                data, "user.swift.metadata", metadata.replace(b"Sysmeta-Insitu-Derived", b"Sysmeta-Insitu-Derivex")
            )
    assert in_proxy(cluster, "look", account=account, name=named()) is None
