"""Programs that are objects, on the real cluster: run by path, pinned, replaced, brought to nodes, validated."""

import hashlib
import os
from contextlib import closing
from pathlib import Path

import pytest
import wasmtime

from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.store import Store, records

DATA = os.urandom(10_000)


def says(word: str) -> bytes:
    """A program that nobody has seen before, which says one word."""
    return bytes(
        wasmtime.wat2wasm(
            f"""(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 64) "{word}")
            (func (export "_start") (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4)
              (i32.const {len(word)})) (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
        )
    )


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Store:
    store = Store(cluster, container)
    store.put("o", DATA)
    return store


def test_an_object_is_a_program_by_its_path(store: Store) -> None:
    program = says(f"in {store.container}")
    store.put("p.wasm", program)
    answer = store.run("o", f"/{store.container}/p.wasm")
    assert (answer.status, answer.body) == (200, f"in {store.container}".encode()), answer
    assert answer.headers["x-run-program"] == digest(program)
    assert "replica=" in answer.headers["x-run-where"]  # it was brought to the node that holds the object
    [record] = records(store.cluster, answer.request_id)
    assert record.digest == digest(program)


def test_it_runs_at_the_proxy_too(store: Store) -> None:
    store.put("p.wasm", says(f"put {store.container}"))
    answer = store.ask("PUT", store.path("q"), {"X-Run": f"/{store.container}/p.wasm"}, DATA)
    assert answer.status == 201, answer
    assert store.get("q").body == f"put {store.container}".encode()


def test_an_overwritten_program_is_another_at_once(store: Store) -> None:
    for word in ("first", "second", "third"):
        store.put("p.wasm", says(f"{word} {store.container}"))
        assert store.run("o", f"/{store.container}/p.wasm").body == f"{word} {store.container}".encode()


def test_a_pin_holds(store: Store) -> None:
    first, second = says(f"one {store.container}"), says(f"two {store.container}")
    store.put("p.wasm", first)
    pinned = f"/{store.container}/p.wasm@{digest(first)}"
    assert store.run("o", pinned).status == 200
    store.put("p.wasm", second)
    answer = store.run("o", pinned)
    assert (answer.status, answer.problem["type"]) == (412, "urn:insitu:problem:program-changed")
    assert digest(second) in answer.problem["detail"]
    assert records(store.cluster, answer.request_id) == []
    answer = store.run("o", f"cat@{digest(b'')}")
    assert (answer.status, answer.problem["type"]) == (404, "urn:insitu:problem:unknown-program")


def test_what_is_no_program_says_why(store: Store) -> None:
    store.put("p.wasm", b"not wasm at all")
    answer = store.run("o", f"/{store.container}/p.wasm")
    assert (answer.status, answer.problem["type"]) == (422, "urn:insitu:problem:program-rejected")
    answer = store.run("o", f"/{store.container}/none.wasm")
    assert (answer.status, answer.problem["type"]) == (404, "urn:insitu:problem:unknown-program")
    assert "none.wasm" in answer.problem["detail"]


def test_who_may_not_read_the_program_may_not_run_it(store: Store) -> None:
    with closing(store.cluster.connection()) as connection:
        connection.put_container("readable", headers={"X-Container-Read": "test2:tester2"})
        try:
            connection.put_object("readable", "o", DATA)
            store.put("p.wasm", says(f"secret {store.container}"))
            other = Store(store.cluster, "readable", "test2:tester2")
            path = f"/v1/{store.account}/readable/o"
            answer = other.ask("GET", path, {"X-Run": f"/{store.container}/p.wasm"})
            assert (answer.status, answer.problem["type"]) == (403, "urn:insitu:problem:forbidden")
            assert records(store.cluster, answer.request_id) == []
            named = {"X-Container-Run-Allow": f"/{store.container}/p.wasm"}
            assert store.ask("POST", f"/v1/{store.account}/readable", named).status == 204
            answer = other.ask("GET", path, {"X-Run": f"/{store.container}/p.wasm"})
            assert answer.body == f"secret {store.container}".encode()  # named by the owner, it is read for him
        finally:
            connection.delete_object("readable", "o")
            connection.delete_container("readable")


# -- containers of programs --------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(store: Store) -> Store:
    answer = store.ask("POST", f"/v1/{store.account}/{store.container}", {"X-Container-Programs": "on"})
    assert answer.status == 204, answer
    return store


def test_what_is_stored_there_is_a_program(shelf: Store) -> None:
    program = says(f"shelved {shelf.container}")
    etag = hashlib.md5(program, usedforsecurity=False).hexdigest()
    answer = shelf.ask("PUT", shelf.path("p.wasm"), {"ETag": etag}, program)
    assert answer.status == 201, answer
    assert answer.headers["x-run-program"] == digest(program)
    assert answer.headers["etag"].strip('"') == etag
    assert shelf.get("p.wasm").body == program
    assert shelf.run("o", f"/{shelf.container}/p.wasm").body == f"shelved {shelf.container}".encode()


def test_a_broken_program_is_refused_with_its_reason(shelf: Store, test_programs: Path) -> None:
    shelf.ask("PUT", shelf.path("p.wasm"), {}, says(f"kept {shelf.container}"))
    for data, says_why in (
        (b"not wasm", "wasm"),
        ((test_programs / "stranger.wasm").read_bytes(), "launch_missiles"),
        (says("whole")[:-5], ""),
        (b"", ""),
    ):
        answer = shelf.ask("PUT", shelf.path("p.wasm"), {}, data)
        assert (answer.status, answer.problem["type"]) == (422, "urn:insitu:problem:program-rejected"), answer
        assert says_why in answer.problem["detail"]
    wrong = hashlib.md5(b"", usedforsecurity=False).hexdigest()
    assert shelf.ask("PUT", shelf.path("p.wasm"), {"ETag": wrong}, says(f"new {shelf.container}")).status == 422
    answer = shelf.ask("PUT", shelf.path("p.wasm") + "?multipart-manifest=put", {}, b"[]")
    assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:not-bytes")
    assert shelf.run("o", f"/{shelf.container}/p.wasm").body == f"kept {shelf.container}".encode()


def test_a_copy_into_it_is_validated_too(shelf: Store, cluster: DevCluster) -> None:
    with closing(cluster.connection()) as connection:
        connection.put_container("workshop")
        try:
            connection.put_object("workshop", "good", says(f"copied {shelf.container}"))
            connection.put_object("workshop", "bad", b"no program")
            good = shelf.ask("PUT", shelf.path("good"), {"X-Copy-From": "/workshop/good"}, b"")
            assert good.status == 201, good
            bad = {"Destination": f"{shelf.container}/bad"}
            answer = shelf.ask("COPY", f"/v1/{shelf.account}/workshop/bad", bad, b"")
            assert (answer.status, answer.problem["type"]) == (422, "urn:insitu:problem:program-rejected"), answer
            assert shelf.get("good").body == says(f"copied {shelf.container}")
            assert shelf.get("bad").status == 404
        finally:
            for name in ("good", "bad"):
                connection.delete_object("workshop", name)
            connection.delete_container("workshop")


def test_who_may_not_write_there_has_nothing_validated(shelf: Store) -> None:
    other = Store(shelf.cluster, shelf.container, "test2:tester2")
    assert other.ask("PUT", shelf.path("p.wasm"), {}, b"not wasm").status == 403
