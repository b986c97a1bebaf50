"""A run as a client sees it: what comes back, how often it ran, and who may ask for it."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from insitu.runtime.grammar import format_run
from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.object_server import marked, replicas
from tests.storage_hooks.store import Answer, Store, eventually, records, running, runs_of, s3_client

DATA = os.urandom(300_000)


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Store:
    store = Store(cluster, container)
    store.put(
        "o",
        DATA,
        Content_Type="text/x-mine; charset=utf-8",
        Content_Disposition="attachment; filename=mine",
        X_Object_Meta_Colour="blue",
    )
    return store


def ran_once(store: Store, answer: Answer) -> None:
    [record] = records(store.cluster, answer.request_id)
    assert record.id == answer.headers["x-run-id"]


def never_ran(store: Store, answer: Answer) -> None:
    assert records(store.cluster, answer.request_id) == []


# -- the answer --------------------------------------------------------------------------------------------------------


def test_the_output_comes_back_with_what_is_true_of_it(store: Store) -> None:
    answer = store.run("o", "copy")
    assert (answer.status, answer.body, answer.whole) == (200, DATA, True)
    assert answer.headers["content-type"] == "text/x-mine; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=mine"
    assert answer.headers["x-object-meta-colour"] == "blue"
    assert answer.headers["cache-control"] == "no-store"
    assert not {"etag", "last-modified", "accept-ranges", "x-timestamp"} & set(answer.headers)
    assert not [name for name in answer.headers if name.startswith("x-backend")]


def test_the_client_learns_where_it_ran_and_what(store: Store) -> None:
    answer = store.run("o", "copy")
    node, _, replica = answer.headers["x-run-where"].partition("; replica=")
    primaries = store.cluster.primaries(store.account, store.container, "o")
    assert primaries[int(replica)].name == node
    [record] = records(store.cluster, answer.request_id)
    assert record.node == node
    assert (record.digest, record.id) == (answer.headers["x-run-program"], answer.headers["x-run-id"])
    assert (record.tenant, record.object) == (store.account, f"/{store.account}/{store.container}/o")
    assert record.outcome.usage.bytes_in == record.outcome.usage.bytes_out == len(DATA)


def test_a_program_with_a_type_of_its_own(store: Store) -> None:
    answer = store.run("o", "args")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "content-disposition" not in answer.headers


def test_a_result_that_is_whole_when_its_status_is_decided_says_how_long_it_is(store: Store) -> None:
    store.put("small", DATA[:1000])
    answer = store.run("small", "copy")
    assert (answer.body, answer.headers["content-length"]) == (DATA[:1000], "1000")


def test_the_first_byte_does_not_wait_for_the_last(store: Store) -> None:
    """`linger` writes one byte and never ends by itself: when that byte is here, it still runs."""
    with store.open("o", "linger") as connection:
        response = connection.getresponse()
        assert response.status == 200
        assert response.read(1) == b"a"
        assert running(store.cluster) == 1


@pytest.mark.parametrize(
    "args", [("a b", "c"), ("", "%", "100 %", "☂ ünï", 'quo"te', "it's", "new\nline"), ("-x", "--")]
)
def test_arguments_arrive_as_they_were_meant(store: Store, args: tuple[str, ...]) -> None:
    answer = store.run("o", format_run("args", args))
    assert answer.body.decode().split("\0")[1:-1] == list(args)


def test_utf_8_may_stand_in_the_header_as_it_is(store: Store) -> None:
    answer = store.run("o", "args 'ünï ☂'".encode().decode("latin-1"))
    assert answer.body.decode().split("\0")[1:-1] == ["ünï ☂"]


def test_large_results_come_whole(store: Store) -> None:
    data = os.urandom(20 << 20)
    store.put("large", data)
    answer = store.run("large", "copy")
    assert answer.whole
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(data).digest()


def test_one_connection_serves_many_requests(store: Store) -> None:
    with closing(store.connect()) as connection:
        seen = [
            store.over(connection, "GET", store.path("o"), {"X-Run": run} if run else {}).status
            for run in ("copy", None, "fail", "copy", "nope", "silent", "fail", "copy 'bad", None, "args x")
        ]
        assert seen == [200, 200, 422, 200, 404, 200, 422, 400, 200, 200]
        assert connection.sock is not None  # never closed in between


def test_a_client_can_ask_whether_x_run_is_understood(store: Store) -> None:
    info = json.loads(store.ask("GET", "/info", {}, anonymous=True).body)["insitu"]
    assert info["max_run_request"] == 4096
    assert info["limits"]["wall"] == 10


def test_many_at_once_do_not_mix(store: Store) -> None:
    """More than there are workers, so that some wait; good ones, bad ones, plain ones."""
    contents = {f"part {i}": os.urandom(100_000 + i) for i in range(8)}
    for name, data in contents.items():
        store.put(name, data)

    def one(i: int) -> None:
        name = f"part {i % 8}"
        match i % 4:
            case 0 | 1:
                answer = store.run(name, "copy")
                assert (answer.status, answer.body) == (200, contents[name])
                ran_once(store, answer)
            case 2:
                assert store.run(name, "fail").problem["exit_code"] == 3
            case _:
                assert store.get(name).body == contents[name]

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, range(128)))


# -- exactly once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{}, {"X_Newest": "true"}, {"Range": "bytes=10-20"}, {"Range": "bytes=10-20", "If_Range": '"x"'}],
    ids=["plain", "newest", "range", "if-range"],
)
def test_every_request_runs_once_and_gives_the_whole_result(store: Store, headers: dict[str, str]) -> None:
    for _ in range(5):
        answer = store.run("o", "copy", **headers)
        assert (answer.status, answer.body) == (200, DATA)
        ran_once(store, answer)


@pytest.mark.parametrize("query", ["?multipart-manifest=get", "?part-number=1", "?format=json", "?symlink=get"])
def test_queries_neither_stop_nor_multiply_it(store: Store, query: str) -> None:
    answer = store.ask("GET", store.path("o") + query, {"X-Run": "copy"})
    assert answer.body == DATA
    ran_once(store, answer)


def test_a_body_that_stalls_is_not_resumed_by_another_run(store: Store) -> None:
    """The guest is silent until its wall time ends it, and nobody tries elsewhere meanwhile."""
    answer = store.run("o", "stall")
    assert (answer.status, answer.whole) == (200, False)
    ran_once(store, answer)


def test_conditions_are_judged_on_the_result_which_has_no_etag_and_no_date(store: Store) -> None:
    etag = store.get("o").headers["etag"]
    answer = store.run("o", "copy", If_Match=etag)
    assert (answer.status, answer.problem["type"]) == (412, "urn:insitu:problem:no-match")
    never_ran(store, answer)
    for condition in (
        {"If_None_Match": etag},
        {"If_Match": "*"},
        {"If_Modified_Since": "Fri, 01 Jan 2100 00:00:01 GMT"},
        {"If_Unmodified_Since": "Thu, 01 Jan 1970 00:00:01 GMT"},
    ):
        answer = store.run("o", "copy", **condition)
        assert (answer.status, answer.body) == (200, DATA), condition
        ran_once(store, answer)


def test_head_never_runs_and_says_nothing_false(store: Store) -> None:
    answer = store.ask("HEAD", store.path("o"), {"X-Run": "copy"})
    assert answer.status == 200
    assert answer.headers["x-object-meta-colour"] == "blue"
    assert not {"etag", "content-length", "content-type", "last-modified", "accept-ranges"} & set(answer.headers)
    never_ran(store, answer)
    assert store.ask("HEAD", store.path("nothing"), {"X-Run": "copy"}).status == 404
    assert store.ask("HEAD", store.path("o"), {"X-Run": "copy '"}).status == 400


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_other_methods_are_refused_and_do_nothing(store: Store, method: str) -> None:
    answer = store.ask(method, store.path("o"), {"X-Run": "copy", "Destination": f"{store.container}/p"}, b"")
    assert answer.status == 400
    assert answer.problem["type"] == "urn:insitu:problem:not-a-read"
    assert method in answer.problem["detail"]
    assert store.get("o").body == DATA
    assert store.get("p").status == 404


def test_programs_run_on_objects_only(store: Store) -> None:
    for path in (f"/v1/{store.account}", f"/v1/{store.account}/{store.container}", "/v2/a/b/c"):
        answer = store.ask("GET", path, {"X-Run": "copy"})
        assert answer.status == 400
        assert answer.problem["type"] == "urn:insitu:problem:not-an-object"


# -- who may -----------------------------------------------------------------------------------------------------------


def test_strangers_may_not(store: Store) -> None:
    answer = store.ask("GET", store.path("o"), {"X-Run": "copy"}, anonymous=True)
    assert answer.status == 401
    never_ran(store, answer)
    other = Store(store.cluster, store.container, "test2:tester2")
    answer = other.ask("GET", store.path("o"), {"X-Run": "copy"})
    assert answer.status == 403
    never_ran(store, answer)


def test_who_may_read_may_run_and_it_counts_for_the_account_that_is_read(store: Store) -> None:
    store.ask("POST", f"/v1/{store.account}/{store.container}", {"X-Container-Read": "test2:tester2"})
    other = Store(store.cluster, store.container, "test2:tester2")
    answer = other.ask("GET", store.path("o"), {"X-Run": "copy"})
    assert (answer.status, answer.body) == (200, DATA)
    [record] = records(store.cluster, answer.request_id)
    assert record.tenant == store.account
    opened = {"X-Container-Read": ".r:*", "X-Container-Run-Allow": "copy"}
    store.ask("POST", f"/v1/{store.account}/{store.container}", opened)
    assert store.ask("GET", store.path("o"), {"X-Run": "copy"}, anonymous=True).body == DATA
    answer = store.ask("GET", store.path("o"), {"X-Run": "args"}, anonymous=True)
    assert (answer.status, answer.problem["type"]) == (403, "urn:insitu:problem:not-named")
    never_ran(store, answer)


@pytest.mark.parametrize("run", [None, "args honest"])
def test_nobody_can_write_the_filters_own_headers(store: Store, run: str | None) -> None:
    forged = {
        "X-Backend-Run": "args forged",
        "X-Backend-Run-Terms": '{"tenant": "AUTH_other", "limits": {"wall": 86400}}',
        "X-Backend-Run-Id": "0",
    }
    answer = store.ask("GET", store.path("o"), forged | ({"X-Run": run} if run else {}))
    if run is None:
        assert answer.body == DATA
        never_ran(store, answer)
    else:
        assert answer.body == b"args\0honest\0"
        [record] = records(store.cluster, answer.request_id)
        assert record.tenant == store.account


# -- objects that are more than their bytes ----------------------------------------------------------------------------


def ran_at_the_proxy(store: Store, answer: Answer) -> None:
    assert (answer.status, answer.body, answer.whole) == (200, DATA, True), answer
    assert answer.headers["x-run-where"].endswith("; proxy")
    ran_once(store, answer)


def test_a_symlink_runs_on_its_target(store: Store) -> None:
    store.put("link", b"", X_Symlink_Target=f"{store.container}/o", Content_Type="application/symlink")
    answer = store.run("link", "copy")
    assert (answer.status, answer.body) == (200, DATA)
    assert "replica=" in answer.headers["x-run-where"]
    ran_once(store, answer)


def test_a_static_symlink_still_vouches_for_its_target(store: Store) -> None:
    etag = store.get("o").headers["etag"]
    store.put("link", b"", X_Symlink_Target=f"{store.container}/o", X_Symlink_Target_Etag=etag)
    assert store.run("link", "copy").body == DATA
    store.put("o", b"something else")
    answer = store.run("link", "copy")
    assert answer.status == 409
    assert b"something else" not in answer.body


def test_a_static_large_object(store: Store) -> None:
    etag = store.get("o").headers["etag"]
    manifest = b'[{"path": "/%s/o", "etag": "%s", "size_bytes": %d}]'
    answer = store.ask(
        "PUT",
        store.path("slo") + "?multipart-manifest=put",
        {},
        manifest % (store.container.encode(), etag.encode(), len(DATA)),
    )
    assert answer.status == 201
    assert store.get("slo").body == DATA
    ran_at_the_proxy(store, store.run("slo", "copy"))
    answer = store.ask("GET", store.path("slo") + "?part-number=1", {"X-Run": "copy"})
    assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:unsupported-object")
    plain = store.ask("GET", store.path("slo") + "?multipart-manifest=get", {})
    answer = store.ask("GET", store.path("slo") + "?multipart-manifest=get", {"X-Run": "copy"})
    assert answer.body == plain.body != DATA  # the program reads what a plain GET of the same URL answers


def test_a_dynamic_large_object(store: Store) -> None:
    store.put("dlo", b"", X_Object_Manifest=f"{store.container}/o")
    assert store.get("dlo").body == DATA
    ran_at_the_proxy(store, store.run("dlo", "copy"))


def test_an_erasure_coded_object(store: Store) -> None:
    with closing(store.cluster.connection()) as connection:
        connection.put_container("coded", headers={"X-Storage-Policy": "ec21"})
        try:
            coded = Store(store.cluster, "coded")
            coded.put("o", DATA)
            assert coded.get("o").body == DATA
            answer = coded.run("o", "copy")
            ran_at_the_proxy(coded, answer)
        finally:
            connection.delete_object("coded", "o")
            connection.delete_container("coded")


def test_an_earlier_version_of_an_object(cluster: DevCluster) -> None:
    with closing(cluster.connection()) as connection:
        connection.put_container("versioned", headers={"X-Versions-Enabled": "true"})
        store = Store(cluster, "versioned")
        try:
            store.put("o", b"first")
            store.put("o", b"second")
            for entry in connection.get_container("versioned", query_string="versions")[1]:
                path = f"{store.path('o')}?version-id={entry['version_id']}"
                answer = store.ask("GET", path, {"X-Run": "copy"})
                assert answer.body == store.ask("GET", path, {}).body
                ran_once(store, answer)
            assert store.run("o", "copy").body == b"second"
        finally:
            for entry in connection.get_container("versioned", query_string="versions")[1]:
                connection.delete_object("versioned", "o", query_string=f"version-id={entry['version_id']}")
            connection.delete_container("versioned")


# -- S3 ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(cluster: DevCluster) -> Iterator[Any]:
    when = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    with s3_client(cluster, **when) as client:
        yield client


def with_run(client: Any, run: str) -> None:
    client.meta.events.register(
        "before-sign.s3.GetObject", lambda request, **_: request.headers.add_header("X-Run", run)
    )


def test_s3_clients_get_results_too(store: Store, s3: Any) -> None:
    with_run(s3, "copy")
    answer = s3.get_object(Bucket=store.container, Key="o")
    assert answer["Body"].read() == DATA
    assert answer["ContentType"].startswith("text/x-mine")
    assert "ETag" not in answer


@pytest.mark.parametrize(
    ("run", "says"), [("fail", "exit code 3"), ("nope", "nope"), ("copy '", "quot"), ("stranger", "launch_missiles")]
)
def test_s3_clients_are_told_what_failed_and_do_not_try_again(store: Store, s3: Any, run: str, says: str) -> None:
    from botocore.exceptions import ClientError

    with_run(s3, run)
    with pytest.raises(ClientError) as failed:
        s3.get_object(Bucket=store.container, Key="o")
    answer = failed.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0
    assert says in answer["Error"]["Message"]


def test_an_s3_client_has_the_head_before_a_run_fails_late_and_asks_for_no_other(store: Store, s3: Any) -> None:
    """One that got nothing at all takes it for the connection's fault, and tries again."""
    from botocore.exceptions import BotoCoreError

    with_run(s3, "linger")
    begun = time.time()
    answer = s3.get_object(Bucket=store.container, Key="o")
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0
    with pytest.raises((BotoCoreError, OSError)):
        answer["Body"].read()
    assert len(runs_of(store.cluster, "linger", begun)) == 1


# -- the object server, spoken to without the proxy --------------------------------------------------------------------


def test_an_object_server_runs_nothing_for_a_request_with_a_range(store: Store) -> None:
    """Such a one is Swift resuming a broken body, and the bytes of another run would be spliced to the first's."""
    replica = replicas(store, "o")[0]
    for extra, status, count in (({}, 200, 1), ({"Range": "bytes=5-"}, 409, 0)):
        request_id = f"tx-direct-{count}"
        said = replica.ask("GET", {**marked(replica, "copy", transaction=request_id), **extra})
        assert said.status == status
        assert DATA[5:] not in said.body or status == 200
        assert len(records(store.cluster, request_id)) == count


# -- slow clients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("derived", ["off", "on"])
def test_a_client_that_reads_slowly_takes_nothing_of_the_programs_time(test_programs: Path, derived: str) -> None:
    data = os.urandom(1 << 20) * 60
    settings = {"proxy/filter:run_hook": {"wall": "4s"}}
    with DevCluster(programs=[test_programs], nodes=1, settings=settings) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c", headers={"X-Container-Run-Derived": derived})
        store = Store(cluster, "c")
        store.put("o", data)
        with store.open("o", "copy") as client:
            response = client.getresponse()
            first = response.read(1000)
            eventually(lambda: not running(cluster), "the program has ended, though its output was not read")
            time.sleep(5)  # longer than its wall time
            assert first + response.read() == data
