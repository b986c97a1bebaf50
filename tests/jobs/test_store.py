"""What the store makes of answers that a healthy cluster never gives: broken, endless, late, refused."""

import hashlib
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from insitu.jobs.errors import StorageUnusable
from insitu.jobs.failure import AttemptFailed, Failure, from_response
from insitu.jobs.shuffle import Stored
from insitu.jobs.store import Store, connection_options

if TYPE_CHECKING:
    from tests.jobs.conftest import FakeStore

TEXT = b"to be or not to be " * 500


@pytest.fixture
def client(store: "FakeStore") -> Iterator[Store]:
    made = Store(connection_options({}, store.environment), timeout=10)
    made.connect()
    store.put("texts", a=TEXT)
    yield made
    made.close()


def read(client: Store, run: str = "cat") -> bytes:
    reply = client.run("texts", "a", run, run)
    try:
        return b"".join(reply.chunks)
    finally:
        reply.close()


def failure(client: Store, run: str = "cat") -> Failure:
    with pytest.raises(AttemptFailed) as caught:
        read(client, run)
    return caught.value.failure


def test_a_whole_result(client: Store, store: "FakeStore") -> None:
    reply = client.run("texts", "a", "cat --x", "cat")
    assert b"".join(reply.chunks) == TEXT
    assert reply.launched.run_id == "r1"
    assert reply.content_type == "text/plain"
    assert store.runs == [("cat", "texts/a")]


@pytest.mark.parametrize("fault", ["abort", "short", "reset", 503, 500, 408, 429])
def test_what_may_pass_is_worth_another_attempt(client: Store, store: "FakeStore", fault: int | str) -> None:
    store.faults[("GET", "texts/a")] = [fault]
    found = failure(client)
    assert found.retry
    assert len([r for r in store.requests if r == ("GET", "texts/a")]) == 1, "swiftclient must not try by itself"
    if fault in ("abort", "short"):
        assert "broke off" in found.message
        assert found.launched is not None, "a launch that broke off is on the bill"
    assert read(client) == TEXT, "the connection after that is usable"


@pytest.mark.parametrize("fault", ["unframed", "plain", 400, 403, 404, 409, 412, 416, 422])
def test_what_stays_so_is_not(client: Store, store: "FakeStore", fault: int | str) -> None:
    store.faults[("GET", "texts/a")] = [fault]
    found = failure(client)
    assert not found.retry
    if fault == "plain":
        assert found.kind == "request"
        assert "no insitu in its proxy" in found.message


def test_a_failed_program_tells_what_it_said(client: Store) -> None:
    found = failure(client, "fail")
    assert (found.kind, found.status, found.stderr, found.message) == (
        "program",
        422,
        "no luck with this one\n",
        "exit code 2",
    )
    assert found.launched is not None
    assert (found.launched.run_id, found.launched.digest) == ("r1", "sha256:fail")


def test_an_unknown_program_is_hopeless(client: Store) -> None:
    assert (failure(client, "nonesuch").kind, failure(client, "nonesuch").message) == ("request", "no program nonesuch")


def test_an_expired_token_is_renewed(client: Store, store: "FakeStore") -> None:
    tokens = store.tokens
    store.faults[("GET", "texts/a")] = [401]
    assert read(client) == TEXT
    assert store.tokens == tokens + 1


def test_listing_page_by_page_with_odd_names(client: Store, store: "FakeStore") -> None:
    odd = ["a\nb", "ü/€", "a b%20c", "?x=1&y", "#", "x" * 1024, "a//b", "/a", "a/", "\x7f", "..."]
    store.page = 3
    store.put_all("odd", dict.fromkeys(odd, b"12"))
    assert sorted(found.name for found in client.listing("odd")) == sorted(odd)
    assert [found.name for found in client.listing("odd", "ü")] == ["ü/€"]
    for name in odd:
        assert b"".join(client.run("odd", name, "cat", "cat").chunks) == b"12"


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "./a"])
def test_names_that_http_would_turn_into_other_names(client: Store, store: "FakeStore", name: str) -> None:
    store.put_all("odd", {name: b"12", "b": b"other", "a": b"other"})
    with pytest.raises(AttemptFailed, match=r"segment '\.' or '\.\.'"):
        client.run("odd", name, "cat", "cat")


def test_listing_what_is_not_there(client: Store) -> None:
    with pytest.raises(StorageUnusable, match=r"container gone: 404 .*does not exist"):
        list(client.listing("gone"))


def test_an_upload_is_checked_by_its_md5(client: Store, store: "FakeStore") -> None:
    for data in (b"", b"x" * 200_000):
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            stored = Stored(file, len(data), hashlib.md5(data).hexdigest(), "text/x")
            client.put("texts", "up", stored.reader(), stored.length, stored.md5, stored.content_type, 60)
            assert store.containers["texts"]["up"] == data
            assert store.headers["texts/up"]["content-type"] == "text/x"
            assert store.headers["texts/up"]["x-delete-after"] == "60"
            with pytest.raises(AttemptFailed) as caught:
                client.put("texts", "damaged", stored.reader(), stored.length, "0" * 32, "text/x")
            assert caught.value.failure.retry
            assert "damaged" not in store.containers["texts"]


def test_patience_with_listings_is_bounded(store: "FakeStore") -> None:
    made = Store(connection_options({}, store.environment), timeout=10, retries=1)
    store.put("texts", a=b"")
    store.faults[("HEAD", "texts")] = [503]
    assert made.has_container("texts")
    store.faults[("HEAD", "texts")] = [503, 503]
    with pytest.raises(StorageUnusable, match="container texts: 503"):
        made.has_container("texts")
    made.close()


def test_wrong_key_and_wrong_address() -> None:
    with pytest.raises(StorageUnusable, match="set ST_AUTH, ST_USER and ST_KEY"):
        connection_options({}, {"ST_AUTH": "http://127.0.0.1:1"})
    options = connection_options({"auth": "http://127.0.0.1:1/auth/v1.0", "user": "u", "key": "k"}, {})
    with pytest.raises(StorageUnusable, match=r"http://127\.0\.0\.1:1/auth/v1\.0: connection refused"):
        Store(options).connect()
    with pytest.raises(StorageUnusable, match="Unsupported scheme"):
        Store(options | {"authurl": "127.0.0.1"}).connect()


def test_wrong_key(store: "FakeStore") -> None:
    with pytest.raises(StorageUnusable, match=r"answered 401 .*check user and key"):
        Store(connection_options({"key": "no"}, store.environment)).connect()


def test_a_store_that_is_named_is_not_replaced_by_a_token_left_in_the_environment(store: "FakeStore") -> None:
    left = {**store.environment, "OS_AUTH_TOKEN": "stale", "OS_STORAGE_URL": "http://127.0.0.1:1/v1/AUTH_other"}
    with pytest.raises(StorageUnusable, match=r"answered 401 .*check user and key"):
        Store(connection_options({"key": "no"}, left)).connect()


def test_options_and_environment_as_the_swift_command_reads_them() -> None:
    keystone = {"OS_AUTH_URL": "http://k/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_DOMAIN_NAME": "d"}
    made = connection_options({}, keystone)
    assert (made["authurl"], made["user"], made["key"], made["auth_version"]) == ("http://k/v3", "u", "p", "3")
    assert made["os_options"]["project_domain_name"] == "d"
    token = connection_options({"os_auth_token": "t", "os_storage_url": "http://s/v1/A"}, {})
    assert token["os_options"]["object_storage_url"] == "http://s/v1/A"
    assert connection_options({"user": "given"}, {"ST_AUTH": "a", "ST_USER": "u", "ST_KEY": "k"})["user"] == "given"


def test_problems_that_are_none() -> None:
    headers = {"content-type": "application/problem+json"}
    for body in (b"", b"[]", b"{", b'{"detail": 3, "stderr": null, "run_id": []}', b"\xff"):
        found = from_response(422, "Unprocessable", headers, body, "cat")
        assert (found.kind, found.message, found.stderr, found.launched) == ("program", "Unprocessable", "", None)
    assert from_response(503, "", {"retry-after": "7"}, b"").retry_after == 7
    assert from_response(503, "", {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"").retry_after == 0
