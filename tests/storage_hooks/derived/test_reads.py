"""Results that are kept, as a client sees them: the first read runs, the next ones are plain object reads."""

import hashlib
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.store import Answer, Store, eventually, records

DATA = random.Random(5).randbytes(300_000)  # the same in every process: a piece of it is in a test's name
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Iterator[Store]:
    """One whose container keeps all results; with an object, `o`."""
    store = Store(cluster, container)
    owner_says(store, X_Container_Run_Derived="on")
    store.put("o", DATA, Content_Type="text/x-mine; charset=utf-8", X_Object_Meta_Colour="blue")
    yield store
    drop(store)


def owner_says(store: Store, **headers: str) -> None:
    answer = store.ask("POST", f"/v1/{store.account}/{store.container}", headers)
    assert answer.status == 204, answer


def drop(store: Store, prefix: str = "") -> int:
    query = f"?derived&limit=10000&prefix={store.container}/{prefix}"
    answer = store.ask("DELETE", f"/v1/{store.account}{query}", {})
    assert answer.status == 200, answer
    import json

    return int(json.loads(answer.body)["dropped"])


def listed(store: Store, query: str = "") -> list[dict[str, Any]]:
    import json

    answer = store.ask("GET", f"/v1/{store.account}?derived&prefix={store.container}/{query}", {})
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = json.loads(answer.body)
    return found


def made(store: Store, name: str, run: str, **headers: str) -> Answer:
    """A first read, and wait until it is stored."""
    before = len(listed(store))
    answer = store.run(name, run, **headers)
    assert answer.whole
    eventually(lambda: len(listed(store)) > before, "the result is stored")
    return answer


def ran(store: Store, answer: Answer) -> int:
    return len(records(store.cluster, answer.request_id))


# -- hits --------------------------------------------------------------------------------------------------------------


def test_the_second_read_is_a_plain_object(store: Store) -> None:
    first = made(store, "o", "copy")
    assert (first.status, first.body, ran(store, first)) == (200, DATA, 1)
    assert not {"etag", "last-modified", "accept-ranges"} & set(first.headers), str(first.headers)
    second = store.run("o", "copy")
    assert (second.status, second.body, ran(store, second)) == (200, DATA, 0)
    assert second.headers["etag"].strip('"') == MD5
    assert second.headers["content-length"] == str(len(DATA))
    assert second.headers["accept-ranges"] == "bytes"
    assert second.headers["last-modified"]
    assert second.headers["content-type"] == "text/x-mine; charset=utf-8"
    assert second.headers["x-object-meta-colour"] == "blue"
    assert second.headers["x-run-where"] == "derived"
    assert second.headers["x-run-program"] == first.headers["x-run-program"]
    assert second.headers["cache-control"] == "private, no-cache"
    assert second.headers["vary"] == "X-Run"
    assert not {"x-run-id", "x-delete-at"} & set(second.headers)
    assert not [name for name in second.headers if "sysmeta" in name or name.startswith("x-backend")]


def test_ranges_conditions_and_heads_are_of_the_stored_result(store: Store) -> None:
    made(store, "o", "copy")

    def get(status: int, **headers: str) -> Answer:
        answer = store.run("o", "copy", **headers)
        assert (answer.status, ran(store, answer)) == (status, 0), answer
        return answer

    part = get(206, Range="bytes=100-199")
    assert part.body == DATA[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(DATA)}"
    parts = get(206, Range="bytes=0-0,-1")
    assert parts.headers["content-type"].startswith("multipart/byteranges")
    assert get(416, Range="bytes=999999-").headers["content-range"] == f"bytes */{len(DATA)}"
    for same in (f'"{MD5}"', MD5, get(200).headers["last-modified"]):
        assert get(206, Range="bytes=100-199", If_Range=same).body == DATA[100:200]
    assert get(200, Range="bytes=100-199", If_Range='"0"').body == DATA
    unchanged = get(304, If_None_Match=f'"{MD5}"')
    assert (unchanged.body, unchanged.headers["etag"].strip('"')) == (b"", MD5)
    assert unchanged.headers["cache-control"] == "private, no-cache"
    get(412, If_Match='"0"')
    get(200, If_Match=f'"{MD5}"')
    get(304, If_Modified_Since=get(200).headers["last-modified"])
    head = store.ask("HEAD", store.path("o"), {"X-Run": "copy"})
    assert (head.status, head.headers["content-length"]) == (200, str(len(DATA)))
    assert head.headers["etag"].strip('"') == MD5
    assert head.headers["x-run-where"] == "derived"
    assert store.ask("HEAD", store.path("o"), {"X-Run": "copy", "If-None-Match": f'"{MD5}"'}).status == 304


def test_head_before_anything_is_stored_launches_nothing_and_says_nothing_false(store: Store) -> None:
    head = store.ask("HEAD", store.path("o"), {"X-Run": "copy"})
    assert head.status == 200
    assert not {"etag", "content-length", "last-modified"} & set(head.headers)
    assert ran(store, head) == 0
    assert listed(store) == []


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({"Range": "bytes=5-9"}, 206, DATA[5:10]),
        ({"Range": "bytes=999999-"}, 416, None),
        ({"If_Match": f'"{MD5}"'}, 200, DATA),
        ({"If_Match": '"0"'}, 412, None),
        ({"If_None_Match": f'"{MD5}"'}, 304, b""),
        ({"If_None_Match": '"0"'}, 200, DATA),
    ],
)
def test_who_needs_it_whole_gets_it_once_it_is(
    store: Store, headers: dict[str, str], status: int, body: bytes | None
) -> None:
    answer = made(store, "o", "copy", **headers)
    assert (answer.status, ran(store, answer)) == (status, 1)
    assert body is None or answer.body == body
    assert answer.headers["x-run-where"] == "derived"


def test_a_first_reader_who_wants_any_version_gets_it(store: Store) -> None:
    """Swift says 412 of what is not there, and it is not there yet."""
    answer = made(store, "o", "copy", If_Match="*")
    assert (answer.status, answer.body, ran(store, answer)) == (200, DATA, 1)


def test_an_http_1_0_client_is_told_the_length(store: Store) -> None:
    address = urlsplit(store.cluster.endpoint)
    for _ in range(2):
        with socket.create_connection((address.hostname, address.port), timeout=30) as sock:
            request = f"GET {store.path('o')} HTTP/1.0\r\nX-Auth-Token: {store.token}\r\nX-Run: copy\r\n\r\n"
            sock.sendall(request.encode())
            received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        assert f"content-length: {len(DATA)}".encode() in head.lower()
        assert MD5.encode() in head
        assert body == DATA


# -- what makes another key --------------------------------------------------------------------------------------------


def test_another_source_is_another_result(store: Store) -> None:
    made(store, "o", "copy")
    store.put("o", b"something else")
    answer = made(store, "o", "copy")
    assert (answer.body, ran(store, answer)) == (b"something else", 1)
    store.put("o", DATA)
    answer = store.run("o", "copy")
    assert (answer.body, ran(store, answer)) == (DATA, 0)


def test_other_words_are_another_result(store: Store) -> None:
    one, other = made(store, "o", "args a b"), made(store, "o", "args 'a b'")
    assert one.body != other.body
    again = [store.run("o", run) for run in ("args a b", "args 'a b'")]
    assert [answer.body for answer in again] == [one.body, other.body]
    assert [ran(store, answer) for answer in again] == [0, 0]


def test_what_the_owner_says_of_the_object_is_as_it_is_now(store: Store) -> None:
    made(store, "o", "copy")
    assert store.ask("POST", store.path("o"), {"X-Object-Meta-Size": "xl", "Content-Type": "text/new"}).status == 202
    answer = store.run("o", "copy")
    assert ran(store, answer) == 0
    assert answer.headers["x-object-meta-size"] == "xl"
    assert "x-object-meta-colour" not in answer.headers
    assert answer.headers["content-type"] == "text/new"


def test_an_object_that_is_gone_has_no_results(store: Store) -> None:
    made(store, "o", "copy")
    assert store.ask("DELETE", store.path("o"), {}).status == 204
    assert store.run("o", "copy").status == 404
    assert store.ask("HEAD", store.path("o"), {"X-Run": "copy"}).status == 404


def test_who_may_not_read_the_object_may_not_read_its_results(store: Store) -> None:
    made(store, "o", "copy")
    stranger = Store(store.cluster, store.container, "test2:tester2")
    answer = stranger.ask("GET", store.path("o"), {"X-Run": "copy"})
    assert answer.status == 403
    assert store.ask("GET", store.path("o"), {"X-Run": "copy"}, anonymous=True).status == 401


def test_a_small_result_that_the_proxy_remembers(store: Store) -> None:
    """It is asked for as often as it takes to be remembered, and each answer is right all the same."""
    store.put("s", b"small", X_Object_Meta_Colour="blue")
    made(store, "s", "copy")
    for _ in range(4):
        answer = store.run("s", "copy")
        assert (answer.body, ran(store, answer)) == (b"small", 0)
        assert answer.headers["etag"].strip('"') == hashlib.md5(b"small", usedforsecurity=False).hexdigest()
        assert answer.headers["x-object-meta-colour"] == "blue"
    assert store.run("s", "copy", Range="bytes=1-2").body == b"ma"
    assert store.run("s", "copy", If_None_Match=answer.headers["etag"]).status == 304
    stranger = Store(store.cluster, store.container, "test2:tester2")
    assert stranger.ask("GET", store.path("s"), {"X-Run": "copy"}).status == 403
    assert store.ask("POST", store.path("s"), {"X-Object-Meta-Colour": "red"}).status == 202
    assert store.run("s", "copy").headers["x-object-meta-colour"] == "red"
    store.put("s", b"other")
    assert made(store, "s", "copy").body == b"other"
    assert store.run("s", "copy").body == b"other"
    assert drop(store, "s") == 2
    answer = made(store, "s", "copy")
    assert (answer.body, ran(store, answer)) == (b"other", 1)
    assert store.ask("DELETE", store.path("s"), {}).status == 204
    assert store.run("s", "copy").status == 404


# -- what is not kept --------------------------------------------------------------------------------------------------


def test_nothing_is_kept_unless_the_owner_says_so_or_the_launch_is_frozen(store: Store) -> None:
    owner_says(store, X_Container_Run_Derived="off")
    for _ in range(2):
        answer = store.run("o", "copy")
        assert (answer.body, ran(store, answer)) == (DATA, 1)
    assert listed(store) == []


def test_who_says_no_store_gets_a_run_and_nothing_is_kept(store: Store) -> None:
    for _ in range(2):
        answer = store.run("o", "copy", Cache_Control="no-store")
        assert (answer.body, ran(store, answer)) == (DATA, 1)
    assert listed(store) == []
    made(store, "o", "copy")
    assert ran(store, store.run("o", "copy", Cache_Control="no-store")) == 1
    head = store.ask("HEAD", store.path("o"), {"X-Run": "copy", "Cache-Control": "no-store"})
    assert "etag" not in head.headers


def test_nobody_without_a_name_makes_the_owner_pay_for_another_run(store: Store) -> None:
    owner_says(store, X_Container_Read=".r:*", X_Container_Run_Allow="copy")
    made(store, "o", "copy")
    asked = {"X-Run": "copy", "Cache-Control": "no-store"}
    answer = store.ask("GET", store.path("o"), asked, anonymous=True)
    assert (answer.body, answer.headers["x-run-where"], ran(store, answer)) == (DATA, "derived", 0)


def test_a_program_that_fails_is_not_kept(store: Store) -> None:
    for _ in range(2):
        answer = store.run("o", "fail")
        assert (answer.status, ran(store, answer)) == (422, 1)
    assert listed(store) == []


# -- many at once ------------------------------------------------------------------------------------------------------


def test_two_hundred_first_readers_share_one_launch(store: Store) -> None:
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: store.run("o", "copy"), range(200)))
    assert {(answer.status, answer.body == DATA, answer.whole) for answer in answers} == {(200, True, True)}
    assert sum(ran(store, answer) for answer in answers) == 1


# -- the owner's view --------------------------------------------------------------------------------------------------


def test_the_owner_sees_them_and_drops_them(store: Store) -> None:
    store.put("p/1", b"one")
    made(store, "o", "copy")
    made(store, "o", "args -n 3")
    made(store, "p/1", "copy")
    found = listed(store)
    assert [(entry["object"].partition("/")[2], entry["program"], entry["args"]) for entry in found] in (
        [("o", "copy", ""), ("o", "args", "-n 3"), ("p/1", "copy", "")],
        [("o", "args", "-n 3"), ("o", "copy", ""), ("p/1", "copy", "")],
    )
    [entry] = listed(store, "p/")
    assert (entry["bytes"], entry["etag"]) == (3, hashlib.md5(b"one", usedforsecurity=False).hexdigest())
    assert entry["made"] < entry["expires"]
    assert drop(store, "o") == 2
    assert [entry["object"].partition("/")[2] for entry in listed(store)] == ["p/1"]
    answer = store.run("o", "copy")
    assert ran(store, answer) == 1


def test_only_the_owner_sees_them(store: Store) -> None:
    made(store, "o", "copy")
    path = f"/v1/{store.account}?derived"
    for user in ("test:tester3", "test2:tester2"):
        other = Store(store.cluster, store.container, user)
        for method in ("GET", "DELETE"):
            assert other.ask(method, path, {}).status == 403
    for method in ("GET", "DELETE"):
        assert store.ask(method, path, {}, anonymous=True).status == 401
    for query in ("&limit=0", "&limit=x", "&marker=x", "&prefix=%00"):
        assert store.ask("GET", path + query, {}).status == 400
    assert store.ask("POST", path, {}).status == 400
    assert len(listed(store)) == 1
