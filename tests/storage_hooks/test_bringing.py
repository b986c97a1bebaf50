"""Programs that storage nodes lack: brought by the proxy, once to each, and then it runs once."""

import hashlib
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import wasmtime

from insitu.runtime.errors import UnknownProgram
from insitu.runtime.questions import Questions
from insitu.storage_hooks import inside
from insitu.storage_hooks.bringing import path_of
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.signature import Statement, sign
from tests.conftest import PROGRAMS
from tests.storage_hooks.in_switch import Switched, in_switch
from tests.storage_hooks.object_server import hook_key, replicas
from tests.storage_hooks.store import PATIENCE, Store, records, unharmed

DATA = b"what the program is to read\n"
PIECE = 1000


@pytest.fixture(scope="module")
def cluster(test_programs: Path) -> Iterator[DevCluster]:
    """Its nodes share nothing."""
    with DevCluster(programs=[test_programs], apart=True) as running:
        yield running


@pytest.fixture
def store(cluster: DevCluster, container: str) -> Store:
    store = Store(cluster, container)
    store.put("o", DATA)
    return store


@pytest.fixture
def program() -> bytes:
    """A `copy` that nobody has ever seen."""
    text = (PROGRAMS / "copy.wat").read_text().rstrip().removesuffix(")")
    return bytes(wasmtime.wat2wasm(f'{text}(data (i32.const 100000) "{secrets.token_hex(16)}"))'))


def digest_of(program: bytes) -> str:
    return f"sha256:{hashlib.sha256(program).hexdigest()}"


def cut(program: bytes) -> list[bytes]:
    """In pieces, some of which are empty."""
    return [b"", *(program[at : at + PIECE] for at in range(0, len(program), PIECE)), b""]


def refusal(answer: Switched) -> tuple[str | None, str]:
    headers = answer.headers
    return headers.get(inside.REFUSED.lower()), inside.unquote_reason(headers.get(inside.REASON.lower(), ""))


def knows(store: Store, digest: str) -> set[str]:
    found = set()
    for node in store.cluster.nodes:
        with Questions.connect(str(node.socket), 10.0) as questions, suppress(UnknownProgram):
            assert questions.resolve(digest).digest == digest
            found.add(node.name)
    return found


def test_a_node_that_lacks_it_is_brought_it_and_runs_it_once(store: Store, program: bytes) -> None:
    digest = digest_of(program)
    [answer] = in_switch(store, "o", digest, program=cut(program), transaction="tx-brought-" + digest[-8:])
    assert (answer.status, answer.body, answer.error) == ("200 OK", DATA, "")
    assert answer.headers[inside.PROGRAM.lower()] == digest
    assert answer.provided == 1
    [record] = records(store.cluster, f"tx-brought-{digest[-8:]}-0")
    assert record.digest == digest
    assert knows(store, digest) == {record.node}


def test_each_node_is_brought_it_once(store: Store, program: bytes) -> None:
    digest = digest_of(program)
    for _ in range(60):
        already = knows(store, digest)
        [answer] = in_switch(store, "o", digest, program=cut(program))
        assert (answer.status, answer.body) == ("200 OK", DATA), refusal(answer)
        # The one that was brought it is the one that runs it then.
        assert len(knows(store, digest) - already) == answer.provided <= 1
        if len(already) == 3:  # as many as have the object
            return
    raise AssertionError("Swift never chose one of the three")


def test_many_at_once_bring_the_same(store: Store, program: bytes) -> None:
    answers = in_switch(store, "o", digest_of(program) + " -x", program=cut(program), at_once=24)
    assert {(answer.status, answer.body, refusal(answer)) for answer in answers} == {("200 OK", DATA, (None, ""))}


def test_a_pin_is_what_runs(store: Store, program: bytes) -> None:
    digest = digest_of(program)
    [answer] = in_switch(store, "o", f"copy@{digest}", program=cut(program))
    assert (answer.status, answer.headers[inside.PROGRAM.lower()]) == ("200 OK", digest)


@pytest.mark.parametrize("program_", [None, "nothing"])
def test_what_cannot_be_had_stays_unknown(store: Store, program: bytes, program_: str | None) -> None:
    [answer] = in_switch(store, "o", digest_of(program), program=program_, transaction="tx-unknown")
    assert answer.status == "200 OK"
    assert refusal(answer)[0] == "unknown-program"
    assert answer.body == b""
    assert records(store.cluster, "tx-unknown-0") == []


def test_a_name_is_never_brought(store: Store, program: bytes) -> None:
    [answer] = in_switch(store, "o", "no-such-program", program=cut(program))
    assert refusal(answer)[0] == "unknown-program"
    assert answer.provided == 0


def test_other_bytes_are_refused_and_kept_nowhere(store: Store, program: bytes) -> None:
    other = digest_of(b"something else")
    [answer] = in_switch(store, "o", other, program=cut(program), transaction="tx-other")
    code, reason = refusal(answer)
    assert (answer.status, code) == ("200 OK", "program-rejected")
    assert digest_of(program) in reason
    assert answer.provided == 1
    [answer] = in_switch(store, "o", digest_of(program), transaction="tx-other")
    assert refusal(answer)[0] == "unknown-program"
    assert records(store.cluster, "tx-other-0") == []


def test_what_is_no_program_is_refused_by_its_reason(store: Store) -> None:
    data = secrets.token_bytes(5000)
    [answer] = in_switch(store, "o", digest_of(data), program=cut(data))
    assert refusal(answer)[0] == "program-rejected"


def test_a_program_that_cannot_be_read_is_a_503(store: Store, program: bytes) -> None:
    [answer] = in_switch(store, "o", digest_of(program), program="broken", transaction="tx-broken")
    code, reason = refusal(answer)
    assert (answer.status[:3], code) == ("503", "unavailable")
    assert "cannot be read" in reason
    assert answer.headers["retry-after"] == "2"
    assert records(store.cluster, "tx-broken-0") == []
    [answer] = in_switch(store, "o", digest_of(program), program=cut(program))
    assert (answer.status, answer.body) == ("200 OK", DATA)


def test_a_node_that_will_not_take_it_is_passed_over(store: Store, program: bytes) -> None:
    """Its disk will not have it: the next one is brought it, and runs it."""
    digest = digest_of(program)
    first, second, third = (replica.node for replica in replicas(store, "o"))
    with no_room(store, first.name), no_room(store, second.name):
        for number in range(6):
            [answer] = in_switch(store, "o", digest, program=cut(program), transaction=f"tx-passed-{digest}-{number}")
            assert (answer.status, answer.body) == ("200 OK", DATA), refusal(answer)
            [record] = records(store.cluster, f"tx-passed-{digest}-{number}-0")
            assert record.node == third.name
    with no_room(store, first.name), no_room(store, second.name), no_room(store, third.name):
        [answer] = in_switch(store, "o", digest_of(program + b"x"), program=cut(program + b"x"))
        assert (answer.status[:3], refusal(answer)[0]) == ("503", "busy")
        assert answer.provided == 3


@contextmanager
def no_room(store: Store, node: str) -> Iterator[None]:
    """Nothing can be written where a node puts programs that arrive: a file stands there."""
    place = store.cluster.directory / "cache" / node.replace("object", "node") / "programs"
    aside = place.with_name("aside")
    if place.exists():
        place.rename(aside)
    place.write_bytes(b"")
    yield
    place.unlink()
    if aside.exists():
        aside.rename(place)


def test_one_that_never_ends_is_cut_off(store: Store, program: bytes) -> None:
    [answer] = in_switch(store, "o", digest_of(program), program="endless")
    code, reason = refusal(answer)
    assert code == "program-rejected"
    assert str(128 << 20) in reason


def test_object_servers_take_programs_from_proxies_only(store: Store, program: bytes) -> None:
    replica = replicas(store, "o")[0]
    digest = digest_of(program)
    path = path_of(digest)
    good = {
        inside.REQUEST: digest,
        inside.SIGNATURE: sign(hook_key(store.cluster), Statement("PUT", path, digest, "", "tx"), 1),
        "X-Trans-Id": "tx",
    }
    for headers in (good, {k: v for k, v in good.items() if k != inside.SIGNATURE}):
        said = replica.ask("PUT", headers, program, path=path)
        assert (said.status, said.refused) == (403, "hooks-misconfigured")
    # A run's signature is none for this, and this one's none for a run.
    said = replica.ask("PUT", {inside.REQUEST: digest}, program, path=path)
    assert said.status == 403
    assert knows(store, digest) == set()


def signed(store: Store, digest: str) -> dict[str, str]:
    statement = Statement("PUT", path_of(digest), digest, "", "tx")
    return {
        inside.REQUEST: digest,
        inside.SIGNATURE: sign(hook_key(store.cluster), statement, time.time()),
        "X-Trans-Id": "tx",
    }


def test_a_program_comes_once_and_again_and_is_there(store: Store, program: bytes) -> None:
    replica = replicas(store, "o")[0]
    digest = digest_of(program)
    for _ in range(2):
        assert replica.ask("PUT", signed(store, digest), program, path=path_of(digest)).status == 201
    assert knows(store, digest) == {replica.node.name}


@pytest.mark.parametrize("end", ["goes away", "says nothing of its length", "says a wrong one"])
def test_half_a_program_is_none(store: Store, program: bytes, end: str) -> None:
    replica = replicas(store, "o")[0]
    digest = digest_of(program)
    with unharmed(store):
        with socket.create_connection((replica.node.ip, replica.node.port), PATIENCE) as connection:
            head = f"PUT /{replica.node.device}/0{path_of(digest)} HTTP/1.1\r\nHost: h\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in signed(store, digest).items())
            half = program[: len(program) // 2]
            if end == "goes away":
                head += f"Transfer-Encoding: chunked\r\n\r\n{len(program):x}\r\n"
            elif end == "says nothing of its length":
                head += "\r\n"
            else:
                head += f"Content-Length: {len(half)}\r\n\r\n"
            connection.sendall(head.encode() + half)
            if end != "goes away":
                assert connection.recv(1000).startswith(b"HTTP/1.1 503 ")
        assert knows(store, digest) == set()
    [answer] = in_switch(store, "o", digest, program=cut(program))
    assert answer.body == DATA


def test_what_is_not_a_run_s_is_swift_s(store: Store, program: bytes) -> None:
    """A plain PUT to such a path is none of the hook's business, and no object's place either."""
    said = replicas(store, "o")[0].ask("PUT", {}, program, path=path_of(digest_of(program)))
    assert said.status == 400
    assert said.refused is None


# -- what the switch does not run --------------------------------------------------------------------------------------


def test_a_large_object_s_manifest_passes_as_it_is(store: Store) -> None:
    manifest = b'[{"path": "/%s/o"}]' % store.container.encode()
    assert store.ask("PUT", store.path("slo") + "?multipart-manifest=put", {}, manifest).status == 201
    marked, plain = (in_switch(store, "slo", run)[0] for run in ("copy", None))
    assert marked.body == plain.body != b""
    assert marked.headers.items() >= {"etag": plain.headers["etag"], "content-length": str(len(plain.body))}.items()
    assert inside.ID.lower() not in marked.headers


def test_an_erasure_coded_object_passes_as_it_is(cluster: DevCluster) -> None:
    name = f"coded-{secrets.token_hex(4)}"
    with closing(cluster.connection()) as connection:
        connection.put_container(name, headers={"X-Storage-Policy": "ec21"})
        store = Store(cluster, name)
        data = secrets.token_bytes(3 << 20)
        store.put("o", data)
        [answer] = in_switch(store, "o", "copy", transaction="tx-coded")
        assert (answer.status, answer.body, answer.error) == ("200 OK", data, "")
        assert inside.ID.lower() not in answer.headers
        assert records(cluster, "tx-coded-0") == []
        connection.delete_object(name, "o")
        connection.delete_container(name)
