"""What may go wrong while a result is made, stored, kept and read: nothing wrong or short is ever kept or served."""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.derived.test_reads import DATA, drop, listed, made, owner_says, ran
from tests.storage_hooks.store import Answer, Store, eventually, unharmed

LARGE = os.urandom(24 << 20)
"""More than all buffers between a guest and a client that does not read hold."""


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Iterator[Store]:
    """One whose container keeps all results."""
    store = Store(cluster, container)
    owner_says(store, X_Container_Run_Derived="on")
    yield store
    drop(store)


@pytest.fixture
def own(test_programs: Path, tmp_path: Path) -> Iterator[Store]:
    """A cluster of its own: what these tests kill, nobody starts again. Its programs are in `tmp_path`."""
    shutil.copy(test_programs / "copy.wasm", tmp_path / "copy.wasm")
    with DevCluster(programs=[tmp_path]) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("c", headers={"X-Container-Run-Derived": "on"})
        yield Store(cluster, "c")


def kept_files(store: Store) -> list[Path]:
    """Data files of derived objects of the container, on all nodes."""
    found = []
    for data in store.cluster.directory.glob("node*/d*/objects/*/*/*/*.data"):
        try:
            metadata = os.getxattr(data, "user.swift.metadata")
        except OSError:
            continue  # it was replaced meanwhile
        if b"insitu-derived" in metadata and store.container.encode() in metadata:
            found.append(data)
    return found


def unfinished(store: Store) -> list[Path]:
    """What object servers have written and not committed: files without a name."""
    found = []
    for node in store.cluster.nodes:
        for fd in Path(f"/proc/{node.server_pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                found += [fd for to in [os.readlink(fd)] if to.endswith(" (deleted)") and "/#" in to]
    return found


def begun(connection: Any) -> Any:
    """The answer of a run that is under way: its first bytes are read, and more is to come."""
    response = connection.getresponse()
    assert response.status == 200
    assert response.read(1000) == LARGE[:1000]
    return response


# -- while it is made --------------------------------------------------------------------------------------------------


def test_the_source_is_overwritten_during_the_run(store: Store) -> None:
    store.put("o", LARGE)
    with store.open("o", "copy") as connection:
        response = begun(connection)
        store.put("o", b"new")
        assert response.read() == LARGE[1000:]
    eventually(lambda: listed(store), "the result is stored")
    answer = made(store, "o", "copy")
    assert (answer.body, ran(store, answer)) == (b"new", 1)
    store.put("o", LARGE)
    answer = store.run("o", "copy")
    assert (answer.body, ran(store, answer)) == (LARGE, 0)


def test_a_client_that_goes_away_leaves_nothing(store: Store) -> None:
    store.put("o", LARGE)
    with store.open("o", "copy") as connection:
        begun(connection)
        eventually(lambda: unfinished(store), "object servers have begun to store it")
    eventually(lambda: not unfinished(store), "object servers have dropped what they had")
    assert listed(store) == []
    assert kept_files(store) == []
    answer = made(store, "o", "copy")
    assert (answer.body, ran(store, answer)) == (LARGE, 1)


def test_when_the_first_readers_client_goes_away_the_next_runs_it(store: Store) -> None:
    store.put("o", LARGE)
    with closing(store.connect()) as second:
        with store.open("o", "copy") as first:
            begun(first)
            second.request("GET", store.path("o"), headers={"X-Run": "copy", "X-Auth-Token": store.token})
        response = second.getresponse()
        assert response.read() == LARGE
        assert response.headers["X-Run-Id"]


def test_a_first_reader_who_does_not_read_keeps_nobody_waiting(store: Store) -> None:
    store.put("o", LARGE)
    with store.open("o", "copy") as first, closing(store.connect()) as second:
        response = begun(first)
        second.request("GET", store.path("o"), headers={"X-Run": "copy", "X-Auth-Token": store.token})
        other = second.getresponse()
        assert other.status == 200
        assert other.read() == LARGE
        assert LARGE.endswith(response.read())


@pytest.mark.parametrize("program", ["fail-late", "trap-late"])
def test_a_run_that_fails_in_the_middle_leaves_nothing(store: Store, program: str) -> None:
    store.put("o", b"x")
    answer = store.run("o", program)
    assert not answer.whole
    assert store.run("o", program, Range="bytes=0-9").status == 422
    eventually(lambda: not unfinished(store), "object servers have dropped what they had")
    assert listed(store) == []
    assert kept_files(store) == []


def test_the_proxy_is_killed_while_a_result_is_stored(own: Store) -> None:
    own.put("o", LARGE)
    with own.open("o", "copy") as connection:
        begun(connection)
        eventually(lambda: unfinished(own), "object servers have begun to store it")
        os.kill(own.cluster.pids()["proxy"], signal.SIGKILL)
    eventually(lambda: not unfinished(own), "object servers have dropped what they had")
    assert kept_files(own) == []


# -- while it is stored ------------------------------------------------------------------------------------------------


def test_the_container_server_is_down(own: Store) -> None:
    """There is no container for results yet, and none can be made. Nobody who reads notices."""
    own.put("o", LARGE)
    os.kill(own.cluster.pids()["container"], signal.SIGKILL)
    for _ in range(2):
        answer = own.run("o", "copy")
        assert (answer.status, answer.body, answer.whole, ran(own, answer)) == (200, LARGE, True, 1)
    answer = own.run("o", "copy", Range="bytes=0-9")
    assert (answer.status, answer.body) == (200, LARGE)  # no range of what cannot be stored
    assert kept_files(own) == []


def test_the_container_server_goes_down_in_the_middle(own: Store) -> None:
    """The object is stored nevertheless: object servers tell the container server later."""
    own.put("o", LARGE)
    own.put("p", b"x")
    made(own, "p", "copy")
    with own.open("o", "copy") as connection:
        response = begun(connection)
        os.kill(own.cluster.pids()["container"], signal.SIGKILL)
        assert response.read() == LARGE[1000:]
    answer = eventually(
        lambda: (answer := own.run("o", "copy")).headers["x-run-where"] == "derived" and answer, "the result is stored"
    )
    assert answer.body == LARGE


def test_an_account_without_room(cluster: DevCluster, store: Store) -> None:
    """Swift's account quota refuses the store, and not the reader."""
    store.put("o", b"x" * 1000)
    admin = Store(cluster, store.container, "admin:admin")
    path = f"/v1/{store.account}"
    assert admin.ask("POST", path, {"X-Account-Meta-Quota-Bytes": "1"}).status == 204
    try:
        for headers in ({}, {"Range": "bytes=0-9"}, {}):
            answer = store.run("o", "copy", **headers)
            assert (answer.status, answer.body, ran(store, answer)) == (200, b"x" * 1000, 1)
        assert listed(store) == []
    finally:
        assert admin.ask("POST", path, {"X-Remove-Account-Meta-Quota-Bytes": "x"}).status == 204


def test_what_the_owner_allows_is_what_is_kept(store: Store) -> None:
    account = f"/v1/{store.account}"
    assert store.ask("DELETE", f"{account}?derived&limit=10000", {}).status == 200
    for name in ("1", "2", "3"):
        store.put(name, name.encode() * 1000)
    assert store.ask("POST", account, {"X-Account-Run-Derived-Bytes": "2500"}).status == 204
    try:
        for name in ("1", "2", "3"):
            made(store, name, "copy")
            time.sleep(1.1)  # what is older is told by the second
        eventually(lambda: len(listed(store)) == 2, "the oldest has gone")
        assert [entry["object"].rpartition("/")[2] for entry in listed(store)] == ["2", "3"]
        store.put("large", b"x" * 2501)
        for _ in range(2):
            answer = store.run("large", "copy")
            assert (answer.status, ran(store, answer)) == (200, 1)
        assert len(listed(store)) == 2
    finally:
        assert store.ask("POST", account, {"X-Remove-Account-Run-Derived-Bytes": "x"}).status == 204


def test_what_is_too_old_is_made_again(store: Store) -> None:
    store.put("o", b"x")
    account = f"/v1/{store.account}"
    assert store.ask("POST", account, {"X-Account-Run-Derived-Age": "2s"}).status == 204
    try:
        first = made(store, "o", "copy")
        assert ran(store, first) == 1
        eventually(lambda: ran(store, store.run("o", "copy")) == 1, "it has expired")
    finally:
        assert store.ask("POST", account, {"X-Remove-Account-Run-Derived-Age": "x"}).status == 204


# -- while it is kept --------------------------------------------------------------------------------------------------


def test_dropped_while_it_is_read(store: Store) -> None:
    store.put("o", LARGE)
    made(store, "o", "copy")
    with store.open("o", "copy") as connection:
        response = begun(connection)
        assert response.headers["X-Run-Where"] == "derived"
        assert drop(store) == 1
        assert response.read() == LARGE[1000:]
    assert ran(store, store.run("o", "copy")) == 1


def test_damaged_on_disk(store: Store) -> None:
    """Swift finds it as it reads it, and sets it aside. Until then its ETag tells whoever looks."""
    store.put("o", LARGE)
    made(store, "o", "copy")
    for data in kept_files(store):
        with data.open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"damaged")
    answers: list[Answer] = []
    while not answers or ran(store, answers[-1]) == 0:
        answers.append(store.run("o", "copy"))
        assert len(answers) < 10
    assert answers[-1].body == LARGE
    for answer in answers[:-1]:
        right = hashlib.md5(answer.body, usedforsecurity=False).hexdigest() == answer.headers["etag"].strip('"')
        assert right == (answer.body == LARGE)


def test_nothing_is_left_of_readers_that_go_away(store: Store) -> None:
    """Neither a descriptor nor a launch: of first readers, of those who wait for them, and of hits."""
    store.put("o", LARGE)
    store.put("s", b"small")
    made(store, "s", "copy")
    with unharmed(store):
        for _ in range(3):
            with store.open("o", "copy") as first:
                begun(first)
                with store.open("o", "copy"), store.open("s", "copy"):
                    pass  # one waits for the first, the other has its answer at once; neither reads it
        made(store, "o", "copy")
        for _ in range(3):
            with store.open("o", "copy") as hit:
                assert begun(hit).headers["X-Run-Where"] == "derived"
            store.put("s", os.urandom(5))  # what was guessed is wrong
            store.run("s", "copy")
            store.run("o", "copy", Range="bytes=0-9")
            store.run("o", "copy", If_Match='"0"')
            store.ask("HEAD", store.path("o"), {"X-Run": "copy"})


# -- programs ----------------------------------------------------------------------------------------------------------


def test_a_stored_program_that_is_replaced(store: Store, test_programs: Path) -> None:
    store.put("o", b"x")
    store.put("program.wasm", (test_programs / "copy.wasm").read_bytes())
    run = f"/{store.container}/program.wasm a b"
    first = made(store, "o", run)
    again = store.run("o", run)
    assert (again.body, ran(store, again)) == (first.body, 0)
    store.put("program.wasm", (test_programs / "args.wasm").read_bytes())
    other = made(store, "o", run)
    assert other.body != first.body
    assert ran(store, other) == 1


def test_a_frozen_program_that_is_replaced(own: Store, test_programs: Path, tmp_path: Path) -> None:
    """Its results are kept though the owner said nothing; under its name there is another one later."""
    owner_says(own, X_Container_Run_Derived="off")
    own.put("o", b"x")
    (tmp_path / "p.toml").write_text("frozen = true\n")
    shutil.copy(test_programs / "copy.wasm", tmp_path / "p.wasm")
    first = made(own, "o", "p a")
    assert (first.status, first.body, ran(own, first)) == (200, b"x", 1)
    again = own.run("o", "p a")
    assert (again.body, ran(own, again)) == (b"x", 0)
    shutil.copy(test_programs / "args.wasm", tmp_path / "new")
    os.replace(tmp_path / "new", tmp_path / "p.wasm")
    other = made(own, "o", "p a")
    assert other.body != b"x"
    assert ran(own, other) == 1
    again = own.run("o", "p a")
    assert (again.body, ran(own, again)) == (other.body, 0)


def test_a_program_whose_manifest_changes(own: Store, test_programs: Path, tmp_path: Path) -> None:
    """What it says of arguments and type is in no digest of a bare module's."""
    own.put("o", b"x")
    shutil.copy(test_programs / "args.wasm", tmp_path / "p.wasm")
    for argument in ("one", "two"):
        (tmp_path / "new").write_text(f'frozen = true\narguments = ["{argument}"]\n')
        os.replace(tmp_path / "new", tmp_path / "p.toml")
        answer = made(own, "o", "p")
        assert (answer.body, ran(own, answer)) == (f"p\0{argument}\0".encode(), 1)
        again = own.run("o", "p")
        assert (again.body, ran(own, again)) == (answer.body, 0)


def test_the_same_program_by_another_name(own: Store, test_programs: Path, tmp_path: Path) -> None:
    """A guest is told its name, and may say it."""
    own.put("o", b"x")
    for name in ("p", "q"):
        shutil.copy(test_programs / "args.wasm", tmp_path / f"{name}.wasm")
        assert made(own, "o", name).body == f"{name}\0".encode()


def test_what_a_program_says_of_its_result_is_kept_with_it(store: Store) -> None:
    store.put("o", b"0123456789", X_Object_Meta_Colour="blue", X_Object_Meta_Size="xl")
    said = '{"status":404,"content_type":"text/x-said","user":{"colour":"red"}}'
    run = f"says '{said}'"
    first = made(store, "o", run)
    for headers in (
        {},
        {"Range": "bytes=0-1"},
        {"If_None_Match": first.headers.get("etag", '"781e5e245d69b566979b86e28d23f2c7"')},
    ):
        answer = store.run("o", run, **headers)
        assert (answer.status, answer.body, ran(store, answer)) == (404, b"0123456789", 0)
        assert answer.headers["content-type"] == "text/x-said"
        assert answer.headers["x-object-meta-colour"] == "red"
        assert answer.headers["x-object-meta-size"] == "xl"
    assert (first.status, first.headers["content-type"]) == (404, "text/x-said")


def test_extra_inputs_are_part_of_the_key(store: Store) -> None:
    store.put("o", b"x")
    store.put("i", b"one")
    run = f"copy in.logo=/{store.container}/i"
    made(store, "o", run)
    assert ran(store, store.run("o", run)) == 0
    store.put("i", b"two")
    assert ran(store, made(store, "o", run)) == 1
    assert ran(store, store.run("o", run)) == 0
    answer = store.run("o", f"copy in.logo=/{store.container}/none")
    assert answer.status == 404 or answer.status == 400


def test_a_large_objects_result_is_no_way_around_its_segments_rights(own: Store) -> None:
    """Reading an object asks for the rights on its segments, and a stored result is read without."""
    with closing(own.cluster.connection()) as connection:
        connection.put_container("private")
        connection.put_object("private", "segment", DATA)
    owner_says(own, X_Container_Run_On_Read="copy", X_Container_Run_Read=".r:*")
    etag = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    manifest = json.dumps([{"path": "/private/segment", "etag": etag, "size_bytes": len(DATA)}]).encode()
    assert own.ask("PUT", own.path("slo") + "?multipart-manifest=put", {}, manifest).status == 201
    own.put("dlo", b"", X_Object_Manifest="private/segment")
    for name in ("slo", "dlo"):
        refused = own.ask("GET", own.path(name), {}, anonymous=True)
        assert refused.status in (401, 409), refused
        assert DATA[:100] not in refused.body
        assert made(own, name, "copy").body == DATA
        assert own.run(name, "copy").headers["x-run-where"] == "derived"  # to the owner it is a plain object
        again = own.ask("GET", own.path(name), {}, anonymous=True)
        assert again.status == refused.status, again
        assert DATA[:100] not in again.body


def test_nor_is_one_with_a_large_object_as_a_further_input(own: Store) -> None:
    with closing(own.cluster.connection()) as connection:
        connection.put_container("private")
        connection.put_object("private", "segment", DATA)
    own.ask("POST", f"/v1/{own.account}/{own.container}", {"X-Container-Read": "test:tester3"})
    etag = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    manifest = json.dumps([{"path": "/private/segment", "etag": etag, "size_bytes": len(DATA)}]).encode()
    assert own.ask("PUT", own.path("slo") + "?multipart-manifest=put", {}, manifest).status == 201
    own.put("o", b"x")
    reader = Store(own.cluster, own.container, "test:tester3")
    run = f"copy in.one=/{own.container}/slo"
    refused = reader.run("o", run)
    assert (refused.status, refused.problem["type"]) == (400, "urn:insitu:problem:bad-input"), refused
    assert made(own, "o", run).body == b"x"
    assert own.run("o", run).headers["x-run-where"] == "derived"
    assert reader.run("o", run).status == 400
