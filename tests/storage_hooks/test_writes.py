"""PUT and COPY with a program, on the real cluster: what is stored is the output, or nothing is."""

import hashlib
import http.client
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from insitu.runtime.grammar import format_run
from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.store import Store, eventually, records, running, runs_of, s3_client, unharmed

DATA = os.urandom(300_000)
WORDS = b"b a b\n"
COUNTED = b"a\t1\nb\t2\n"


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Store:
    return Store(cluster, container)


def put(store: Store, name: str, data: bytes, run: str, **headers: str) -> "http.client.HTTPResponse | object":
    return store.ask("PUT", store.path(name), {"X-Run": run, **headers}, data)


def test_what_is_stored_is_the_output(store: Store) -> None:
    answer = store.ask("PUT", store.path("o"), {"X-Run": "words", "X-Object-Meta-Colour": "blue"}, WORDS)
    assert answer.status == 201, answer
    assert "etag" not in answer.headers  # it would be that of other bytes than were sent
    assert answer.headers["x-run-where"].endswith("; proxy")
    stored = store.get("o")
    assert stored.body == COUNTED
    assert stored.headers["etag"] == hashlib.md5(COUNTED, usedforsecurity=False).hexdigest()
    assert stored.headers["content-type"].startswith("text/tab-separated-values")
    assert stored.headers["x-object-meta-colour"] == "blue"
    assert len(records(store.cluster, answer.request_id)) == 1


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_any_size_in_any_transfer_coding(store: Store, size: int, chunked: bool) -> None:
    data = os.urandom(size)
    with closing(store.connect()) as connection:
        connection.request(
            "PUT",
            store.path("o"),
            iter([data[:100], data[100:]]) if chunked else data,
            {"X-Run": "copy", "X-Auth-Token": store.token, "Content-Type": "image/x-mine"},
            encode_chunked=chunked,
        )
        assert connection.getresponse().status == 201
    stored = store.get("o")
    assert stored.body == data
    assert stored.headers["content-type"] == "image/x-mine"  # the program's type is its source's


@pytest.mark.parametrize("run", [{}, {"X-Run": "copy"}])
def test_lengths_and_codings_are_as_swift_has_them(store: Store, run: dict[str, str]) -> None:
    """Above all, what has no length replaces nothing."""

    def put(headers: dict[str, str], body: bytes) -> int:
        with closing(store.connect()) as connection:
            connection.putrequest("PUT", store.path("o"))
            for name, value in {"X-Auth-Token": store.token, **run, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            return connection.getresponse().status

    store.put("o", b"precious")
    assert put({}, b"") == 411
    assert put({"Transfer-Encoding": "gzip"}, b"") == 400
    assert put({"Transfer-Encoding": "gzip", "Content-Length": "5"}, b"hello") == 400
    assert put({"Content-Length": "9999999999"}, b"") == 413
    assert store.get("o").body == b"precious"
    assert put({"Content-Length": "0"}, b"") == 201
    assert store.get("o").body == b""
    assert put({"Content-Length": "3", "Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n") == 201
    assert store.get("o").body == b"hello"


@pytest.mark.parametrize(("etag", "status"), [("right", 201), ("wrong", 422)])
@pytest.mark.parametrize("run", ["copy", "args x"])
def test_the_clients_etag_is_held_against_what_it_sent(store: Store, etag: str, status: int, run: str) -> None:
    """`args` reads nothing of it: the whole input is checked all the same."""
    digest = hashlib.md5(DATA if etag == "right" else b"", usedforsecurity=False).hexdigest()
    answer = store.ask("PUT", store.path("o"), {"X-Run": run, "ETag": digest}, DATA)
    assert answer.status == status, answer
    assert store.get("o").status == (200 if status == 201 else 404)
    if status != 201:
        assert answer.problem["type"] == "urn:insitu:problem:upload-broken"


@pytest.mark.parametrize("run", ["fail", "fail-late", "trap", "trap-late", "loop", "flood", "nope"])
def test_nothing_is_stored_when_the_program_fails(store: Store, run: str) -> None:
    store.put("o", b"before")
    with unharmed(store):
        answer = store.ask("PUT", store.path("o"), {"X-Run": run}, DATA)
        assert answer.status == (404 if run == "nope" else 422), answer
        assert answer.problem["status"] == answer.status
    assert store.get("o").body == b"before"


def test_a_client_that_goes_away_in_the_middle_has_started_nothing(store: Store) -> None:
    begun = time.time()
    with unharmed(store):
        with closing(store.connect()) as connection:
            connection.putrequest("PUT", store.path("o"))
            for name, value in {"X-Run": "args x", "X-Auth-Token": store.token, "Content-Length": "1000000"}.items():
                connection.putheader(name, value)
            connection.endheaders(b"x" * 200_000)
        answer = store.ask("PUT", store.path("p"), {"X-Run": "args y"}, DATA)
        assert answer.status == 201
    assert [record.id for record in runs_of(store.cluster, "args", begun)] == [answer.headers["x-run-id"]]
    assert store.get("o").status == 404


def test_a_slow_upload_takes_nothing_of_the_programs_time(test_programs: Path) -> None:
    with DevCluster(programs=[test_programs], nodes=1, settings={"proxy/filter:run_hook": {"wall": "1s"}}) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c")
        store = Store(cluster, "c")

        def slowly() -> Iterator[bytes]:
            yield DATA[:1000]
            time.sleep(2)
            yield DATA[1000:]

        with closing(store.connect()) as connection:
            headers = {"X-Run": "copy", "X-Auth-Token": store.token, "Content-Length": str(len(DATA))}
            connection.request("PUT", store.path("o"), slowly(), headers)
            assert connection.getresponse().status == 201
        assert store.get("o").body == DATA


def test_nothing_is_stored_when_the_client_goes_away_after_its_last_byte(store: Store) -> None:
    with closing(store.connect()) as connection:
        connection.request("PUT", store.path("o"), b"x", {"X-Run": "linger", "X-Auth-Token": store.token})
        eventually(lambda: running(store.cluster), "the program runs")
    eventually(lambda: not running(store.cluster), "it is ended")
    assert store.get("o").status == 404


def test_who_may_not_write_starts_nothing(store: Store) -> None:
    for other, status in ((Store(store.cluster, store.container, "test2:tester2"), 403), (None, 401)):
        path = store.path("o")
        if other is None:
            answer = store.ask("PUT", path, {"X-Run": "copy"}, DATA, anonymous=True)
        else:
            answer = other.ask("PUT", path, {"X-Run": "copy"}, DATA)
        assert answer.status == status
        assert records(store.cluster, answer.request_id) == []
    assert store.get("o").status == 404
    answer = store.ask("PUT", f"/v1/{store.account}/no-such-container/o", {"X-Run": "copy"}, DATA)
    assert answer.status == 404
    assert records(store.cluster, answer.request_id) == []


def test_manifests_and_links_are_no_bytes(store: Store) -> None:
    for query, headers in (
        ("?multipart-manifest=put", {}),
        ("", {"X-Object-Manifest": "c/o"}),
        ("", {"X-Symlink-Target": "c/o"}),
    ):
        answer = store.ask("PUT", store.path("o") + query, {"X-Run": "copy", **headers}, b"[]")
        assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:not-bytes")


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["COPY", "PUT"])
def test_a_copy_stores_what_the_program_makes_of_the_source(store: Store, method: str) -> None:
    store.put("o", WORDS, X_Object_Meta_Colour="blue", X_Object_Meta_Shape="round", Content_Type="text/x-mine")
    source, target = f"/{store.container}/o", f"{store.container}/p"
    way = {"Destination": target} if method == "COPY" else {"X-Copy-From": source}
    path = store.path("o" if method == "COPY" else "p")
    answer = store.ask(method, path, {"X-Run": "words", "X-Object-Meta-Colour": "red", **way}, b"")
    assert answer.status == 201, answer
    assert answer.headers["x-copied-from"] == f"{store.container}/o"
    assert "replica=" in answer.headers["x-run-where"]  # where the source lies
    stored = store.get("p")
    assert stored.body == COUNTED
    assert stored.headers["x-object-meta-colour"] == "red"
    assert stored.headers["x-object-meta-shape"] == "round"
    assert len(records(store.cluster, answer.request_id)) == 1


def test_a_copy_of_what_fails_stores_nothing(store: Store) -> None:
    store.put("o", DATA)
    for run in ("fail", "fail-late", "nope"):
        answer = store.ask("COPY", store.path("o"), {"X-Run": run, "Destination": f"{store.container}/p"}, b"")
        assert answer.status == (404 if run == "nope" else 422), answer
        assert store.get("p").status == 404
    answer = store.ask("COPY", store.path("none"), {"X-Run": "copy", "Destination": f"{store.container}/p"}, b"")
    assert answer.status == 404
    assert store.ask("COPY", store.path("o"), {"X-Run": "copy"}, b"").status == 412  # Destination is missing
    to = {"X-Run": "copy", "Destination": f"{store.container}/p"}
    for wrong, body in (({"Range": "bytes=0-1"}, b""), ({}, b"x")):
        answer = store.ask("COPY", store.path("o"), {**to, **wrong}, body)
        assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:malformed-copy")


def test_a_copy_without_a_program_is_swifts_own(store: Store) -> None:
    store.put("o", DATA)
    answer = store.ask("COPY", store.path("o"), {"Destination": f"{store.container}/p", "Range": "bytes=0-9"}, b"")
    assert answer.status == 201
    assert store.get("p").body == DATA[:10]
    assert store.ask("COPY", store.path("o"), {}, b"").status == 412
    assert store.ask("COPY", store.path("o"), {"Destination": "nonsense"}, b"").status == 412


def test_a_copy_asks_for_both_rights_before_it_runs(store: Store) -> None:
    store.put("o", DATA)
    other = Store(store.cluster, store.container, "test2:tester2")
    with closing(store.cluster.connection("test2:tester2")) as connection:
        connection.put_container("mine")
        try:
            own, foreign = other.account, store.account
            steal = {"X-Run": "copy", "X-Copy-From": f"/{store.container}/o", "X-Copy-From-Account": foreign}
            answer = other.ask("PUT", f"/v1/{own}/mine/o", steal, b"")
            assert answer.status == 403
            assert records(store.cluster, answer.request_id) == []
            connection.put_object("mine", "o", b"mine")
            push = {"X-Run": "copy", "Destination": f"{store.container}/p", "Destination-Account": foreign}
            answer = other.ask("COPY", f"/v1/{own}/mine/o", push, b"")
            assert answer.status == 403
            assert records(store.cluster, answer.request_id) == []
        finally:
            connection.delete_object("mine", "o")
            connection.delete_container("mine")


# -- the owner's policy ------------------------------------------------------------------------------------------------


@pytest.fixture
def counting(store: Store) -> Store:
    """A container where all that ends in .txt is counted on the way in."""
    headers = {"X-Container-Run-On-Write": "words", "X-Container-Run-On-Write-Suffix": ".txt"}
    assert store.ask("POST", f"/v1/{store.account}/{store.container}", headers).status == 204
    return store


def test_the_policy_transforms_what_is_written(counting: Store) -> None:
    assert counting.put("a.txt", WORDS).status == 201
    assert counting.get("a.txt").body == COUNTED
    counting.put("a.bin", WORDS)
    assert counting.get("a.bin").body == WORDS
    for way in ({"X-Run": "copy"}, {"X-Run": "-"}):
        answer = counting.ask("PUT", counting.path("b.txt"), way, WORDS)
        assert (answer.status, answer.problem["type"]) == (409, "urn:insitu:problem:against-policy")
    counting.put("c.txt", WORDS)
    answer = counting.ask("POST", counting.path("c.txt"), {"X-Object-Manifest": f"{counting.container}/a.bin"})
    assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:not-bytes")
    assert counting.get("c.txt").body == COUNTED
    answer = counting.ask("PUT", counting.path("b.txt") + "?multipart-manifest=put", {}, b"[]")
    assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:not-bytes")
    assert counting.get("b.txt").status == 404


@pytest.mark.parametrize("method", ["COPY", "PUT"])
def test_the_policy_holds_for_copies_too(counting: Store, method: str) -> None:
    counting.put("a.bin", WORDS)
    way = (
        {"Destination": f"{counting.container}/c.txt"}
        if method == "COPY"
        else {"X-Copy-From": f"/{counting.container}/a.bin"}
    )
    answer = counting.ask(method, counting.path("a.bin" if method == "COPY" else "c.txt"), way, b"")
    assert answer.status == 201, answer
    assert counting.get("c.txt").body == COUNTED


def test_the_policy_holds_for_what_is_copied_from_a_container_without_one(counting: Store, cluster: DevCluster) -> None:
    with closing(cluster.connection()) as connection:
        connection.put_container("elsewhere")
        try:
            connection.put_object("elsewhere", "o", WORDS)
            path = f"/v1/{counting.account}/elsewhere/o"
            answer = counting.ask("COPY", path, {"Destination": f"{counting.container}/d.txt"}, b"")
            assert answer.status == 201, answer
            assert counting.get("d.txt").body == COUNTED
        finally:
            connection.delete_object("elsewhere", "o")
            connection.delete_container("elsewhere")


def test_clients_of_swift_and_s3_upload_as_ever(
    counting: Store, cluster: DevCluster, tmp_path: "os.PathLike[str]"
) -> None:
    """swiftclient and boto3 hold the answer's ETag, if there is one, against what they sent."""
    import subprocess
    import sys

    file = os.path.join(tmp_path, "s.txt")
    with open(file, "wb") as opened:
        opened.write(WORDS)
    swift = os.path.join(os.path.dirname(sys.executable), "swift")
    auth = ["-A", cluster.auth_url, "-U", cluster.user, "-K", cluster.key]
    subprocess.run([swift, *auth, "upload", counting.container, file, "--object-name", "s.txt"], check=True)
    assert counting.get("s.txt").body == COUNTED

    with s3_client(cluster) as client:
        client.put_object(Bucket=counting.container, Key="b.txt", Body=WORDS)
    assert counting.get("b.txt").body == COUNTED


def test_an_s3_copy_with_a_program_has_the_etag_of_what_is_stored(store: Store, cluster: DevCluster) -> None:
    """s3api writes one into its answer whether there is one or not."""
    store.put("o", WORDS)
    with s3_client(cluster) as client:
        client.meta.events.register(
            "before-sign.s3.CopyObject", lambda request, **_: request.headers.add_header("X-Run", "words")
        )
        source = {"Bucket": store.container, "Key": "o"}
        answer = client.copy_object(Bucket=store.container, Key="p", CopySource=source)
    assert store.get("p").body == COUNTED
    assert answer["CopyObjectResult"]["ETag"].strip('"') == hashlib.md5(COUNTED, usedforsecurity=False).hexdigest()


# -- what the program says, and what the client asks of the source -----------------------------------------------------


def test_a_program_that_refuses_what_came_has_nothing_stored(store: Store) -> None:
    says = format_run("says", ['{"status": 415, "content_type": "text/plain"}'])
    answer = store.ask("PUT", store.path("o"), {"X-Run": says}, b"not what it wants")
    assert (answer.status, answer.body) == (415, b"not what it wants")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-run-id"]
    assert store.get("o").status == 404
    store.put("p", b"nor this")
    answer = store.ask("COPY", store.path("p"), {"X-Run": says, "Destination": f"{store.container}/o"}, b"")
    assert (answer.status, answer.body) == (415, b"nor this")
    assert store.get("o").status == 404
    said = format_run("says", ['{"status": 201, "content_type": "text/plain", "user": {"colour": "blue"}}'])
    assert store.ask("PUT", store.path("o"), {"X-Run": said}, b"this it does").status == 201
    stored = store.get("o")
    assert (stored.headers["content-type"], stored.headers["x-object-meta-colour"]) == ("text/plain", "blue")


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-Match": '"0"'}, 412),
        ({"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:01 GMT"}, 412),
        ({"If-None-Match": "*"}, 304),
        ({"If-Match": "*"}, 201),
    ],
)
@pytest.mark.parametrize("run", [{}, {"X-Run": "copy"}])
def test_a_copys_conditions_are_about_its_source(
    store: Store, run: dict[str, str], condition: dict[str, str], status: int
) -> None:
    store.put("o", DATA)
    answer = store.ask("COPY", store.path("o"), {"Destination": f"{store.container}/p", **condition, **run}, b"")
    assert answer.status == status
    assert store.get("p").status == (200 if status == 201 else 404)
    assert len(records(store.cluster, answer.request_id)) == (1 if run and status == 201 else 0)
