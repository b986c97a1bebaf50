"""Stored results as the clients that people use see them, and as those who may read results and no objects do."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.derived.test_reads import DATA, MD5, drop, made, owner_says, ran
from tests.storage_hooks.store import Store, records, s3_client


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Iterator[Store]:
    """A container that keeps all results, whose plain reads are answered by a program."""
    store = Store(cluster, container)
    owner_says(store, X_Container_Run_Derived="on", X_Container_Run_On_Read="copy")
    store.put("o", DATA, Content_Type="text/x-mine", X_Object_Meta_Secret="who made it")
    yield store
    drop(store)


@pytest.fixture
def s3(cluster: DevCluster) -> Iterator[Any]:
    when = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    with s3_client(cluster, **when) as client:
        yield client


def test_s3_clients(store: Store, s3: Any) -> None:
    made(store, "o", "copy")
    where = {"Bucket": store.container, "Key": "o"}
    answer = s3.get_object(**where)
    assert answer["Body"].read() == DATA
    assert answer["ETag"] == f'"{MD5}"'
    assert answer["ContentLength"] == len(DATA)
    assert answer["ContentType"] == "text/x-mine"
    assert answer["Metadata"] == {"secret": "who made it"}
    part = s3.get_object(**where, Range="bytes=10-19")
    assert (part["Body"].read(), part["ContentRange"]) == (DATA[10:20], f"bytes 10-19/{len(DATA)}")
    head = s3.head_object(**where)
    assert (head["ETag"], head["ContentLength"]) == (f'"{MD5}"', len(DATA))
    with pytest.raises(s3.exceptions.ClientError) as unchanged:
        s3.get_object(**where, IfNoneMatch=MD5)
    assert unchanged.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304
    with pytest.raises(s3.exceptions.ClientError) as failed:
        s3.get_object(**where, IfMatch="0" * 32)
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


def test_an_s3_client_is_a_first_reader_like_any_other(store: Store, s3: Any) -> None:
    part = s3.get_object(Bucket=store.container, Key="o", Range="bytes=10-19")
    assert part["Body"].read() == DATA[10:20]
    answer = store.get("o")
    assert (answer.headers["x-run-where"], ran(store, answer)) == ("derived", 0)


def test_swiftclient_holds_the_bytes_against_the_etag(store: Store) -> None:
    """As `swift download` does."""
    made(store, "o", "copy")
    with closing(store.cluster.connection()) as connection:
        headers, body = connection.get_object(store.container, "o")
    assert body == DATA
    assert headers["etag"].strip('"') == MD5 == hashlib.md5(body, usedforsecurity=False).hexdigest()
    assert headers["x-run-where"] == "derived"


def test_swift_download(store: Store, tmp_path: Any) -> None:
    from swiftclient.service import SwiftService

    made(store, "o", "copy")
    cluster = store.cluster
    options = {"auth": cluster.auth_url, "user": cluster.user, "key": cluster.key, "auth_version": "1.0", "retries": 0}
    with SwiftService(options=options) as service:
        [done] = service.download(store.container, ["o"], {"out_file": str(tmp_path / "o")})
    assert done["success"], done
    assert (tmp_path / "o").read_bytes() == DATA


def test_anonymous_readers_and_those_between_may_keep_it(store: Store) -> None:
    owner_says(store, X_Container_Read=".r:*")
    made(store, "o", "copy")
    answer = store.ask("GET", store.path("o"), {}, anonymous=True)
    assert (answer.status, answer.body, ran(store, answer)) == (200, DATA, 0)
    assert answer.headers["cache-control"] == "public, no-cache"
    again = store.ask("GET", store.path("o"), {"If-None-Match": answer.headers["etag"]}, anonymous=True)
    assert (again.status, again.body) == (304, b"")
    owner_says(store, X_Container_Run_Cache_Control="public, max-age=60")
    for headers in ({}, {"If-None-Match": answer.headers["etag"]}):
        answer = store.ask("GET", store.path("o"), headers, anonymous=True)
        assert answer.headers["cache-control"] == "public, max-age=60"


def test_who_may_read_results_learns_nothing_of_the_object(store: Store) -> None:
    owner_says(store, X_Container_Run_Read=".r:*")
    made(store, "o", "copy")
    for method in ("GET", "HEAD"):
        answer = store.ask(method, store.path("o"), {}, anonymous=True)
        assert (answer.status, answer.headers["x-run-where"]) == (200, "derived")
        assert not [name for name in answer.headers if name.startswith("x-object-meta")]
    assert store.ask("GET", store.path("o"), {"X-Run": "-"}, anonymous=True).status in (401, 403)
    assert store.ask("GET", store.path("o"), {"X-Run": "args"}, anonymous=True).status in (401, 403)


def test_a_large_object_and_a_link(store: Store) -> None:
    etag = store.get("o", X_Run="-").headers["etag"]
    manifest = b'[{"path": "/%s/o", "etag": "%s", "size_bytes": %d}]'
    path = store.path("slo") + "?multipart-manifest=put"
    assert store.ask("PUT", path, {}, manifest % (store.container.encode(), etag.encode(), len(DATA))).status == 201
    store.put("link", b"", X_Symlink_Target=f"{store.container}/o")
    for name in ("slo", "link"):
        assert made(store, name, "copy").body == DATA
        answer = store.get(name)
        assert (answer.body, answer.headers["x-run-where"], ran(store, answer)) == (DATA, "derived", 0)
    store.put("o", b"another")
    answer = made(store, "link", "copy")
    assert (answer.body, len(records(store.cluster, answer.request_id))) == (b"another", 1)
