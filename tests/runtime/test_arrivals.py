"""Programs that a node gets from whoever sent the request, real node and real bytes."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from insitu.runtime import programs as programs_module
from insitu.runtime import wire
from insitu.runtime.arrivals import Arrivals
from insitu.runtime.client import Launch, LaunchRequest
from insitu.runtime.errors import BadRequest, Busy, NodeError, ProgramRejected, UnknownProgram
from insitu.runtime.programs import ProgramStore
from insitu.runtime.record import Record
from insitu.runtime.wants import MAX_OF_ONE, MAX_WANTS
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import MAX_PROGRAM
from tests.runtime.conftest import NodeProcess, StartNode, eventually
from tests.runtime.zips import Part, zipped


class Provider:
    """Has some bytes, whatever is asked for, and remembers what was."""

    def __init__(self, data: bytes | None) -> None:
        self.data, self.asked = data, list[str]()

    def __call__(self, digest: str) -> bytes | None:
        self.asked.append(digest)
        return self.data


def run(node: NodeProcess, digest: str, provider: Provider | None, data: bytes = b"") -> tuple[bytes, Record]:
    with ExitStack() as stack:
        read, write = os.pipe()
        stack.callback(os.close, read)
        stdin = os.memfd_create("stdin")
        stack.callback(os.close, stdin)
        os.write(stdin, data)
        launch = stack.enter_context(Launch.connect(node.path, timeout=30))
        try:
            launch.start(LaunchRequest(digest, tenant="AUTH_test"), stdin, write, provider)
        finally:
            os.close(write)
        output = bytearray()
        while piece := os.read(read, 1 << 16):
            output += piece
        return bytes(output), launch.outcome()


@pytest.fixture
def fresh(tmp_path: Path, start_node: StartNode) -> NodeProcess:
    """A node without programs of anybody's."""
    (tmp_path / "programs").mkdir()
    return start_node(programs=tmp_path / "programs", cache=tmp_path / "cache")


def stored(tmp_path: Path) -> list[str]:
    place = tmp_path / "cache" / "programs"
    return sorted(os.listdir(place)) if place.exists() else []


@pytest.fixture
def copy(test_programs: Path) -> bytes:
    return (test_programs / "copy.wasm").read_bytes()


def test_a_module_is_asked_for_once(fresh: NodeProcess, tmp_path: Path, copy: bytes, start_node: StartNode) -> None:
    provider, digest = Provider(copy), program_digest(copy)
    for _ in range(3):
        output, record = run(fresh, digest, provider, b"x" * 1000)
        assert (output, record.digest, record.outcome.exit_code) == (b"x" * 1000, digest, 0)
    assert provider.asked == [digest]
    assert run(fresh, digest, None, b"y")[0] == b"y"  # it is the node's now
    assert stored(tmp_path) == [f"{digest.removeprefix('sha256:')}.wasm"]
    fresh.stop()
    again = start_node(programs=tmp_path / "programs", cache=tmp_path / "cache")
    assert run(again, digest, None, b"z")[0] == b"z"


def test_a_bundle_of_several_frames(fresh: NodeProcess, tmp_path: Path, test_programs: Path) -> None:
    big = os.urandom(2_000_000)
    wasm = (test_programs / "readme.wasm").read_bytes()
    text = b"name = 'reader'\narguments = ['big']"
    data = zipped(Part(b"program.toml", text), Part(b"r.wasm", wasm), Part(b"files/big", big))
    output, record = run(fresh, program_digest(data), Provider(data))
    assert output == big
    assert record.program == "reader"
    assert stored(tmp_path) == [f"{record.digest.removeprefix('sha256:')}.zip"]
    assert "reader" not in [info.name for info in fresh.client.programs()]
    with pytest.raises(UnknownProgram):  # whoever sends bytes does not choose what a name means
        run(fresh, "reader", Provider(data))


@pytest.mark.parametrize("data", [b"", b"other", bytes(600_000)], ids=len)
def test_other_bytes_are_refused_by_both_digests(fresh: NodeProcess, tmp_path: Path, copy: bytes, data: bytes) -> None:
    with pytest.raises(ProgramRejected, match=f"{program_digest(copy)}: what was sent has the digest sha256:"):
        run(fresh, program_digest(copy), Provider(data))
    assert stored(tmp_path) == []
    assert run(fresh, program_digest(copy), Provider(copy), b"x")[0] == b"x"


def test_the_right_bytes_of_no_program(fresh: NodeProcess, tmp_path: Path) -> None:
    for data in (b"rubbish", b"PK\3\4rubbish"):
        with pytest.raises(ProgramRejected):
            run(fresh, program_digest(data), Provider(data))
    assert fresh.client.ping()["queued"] == 0


def test_too_many_bytes(fresh: NodeProcess, tmp_path: Path, copy: bytes) -> None:
    with pytest.raises(ProgramRejected, match=f"over {MAX_PROGRAM} bytes"):
        run(fresh, program_digest(copy), Provider(bytes(MAX_PROGRAM + 1)))
    assert stored(tmp_path) == []


def test_who_has_none_either_is_told_that_it_is_unknown(fresh: NodeProcess, copy: bytes) -> None:
    with pytest.raises(UnknownProgram, match="whoever asked has none either"):
        run(fresh, program_digest(copy), Provider(None))
    with pytest.raises(UnknownProgram, match="no program 'sha256:"):
        run(fresh, program_digest(copy), None)
    provider = Provider(copy)
    with pytest.raises(UnknownProgram):
        run(fresh, "copy", provider)  # by name nothing is asked for
    assert provider.asked == []


# Peers that do not keep to it.


@contextmanager
def asked(node: NodeProcess, digest: str, tenant: str = "t") -> Iterator[tuple[socket.socket, wire.Decoder]]:
    """A connection on which the node waits for a program's bytes."""
    decoder = wire.Decoder()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, open(os.devnull, "r+b") as null:
        sock.settimeout(30)
        sock.connect(node.path)
        request = {
            "op": "launch",
            "v": 1,
            "program": digest,
            "args": [],
            "tenant": tenant,
            "request_id": "",
            "object": "",
            "limits": {},
            "env": {},
            "brings": True,
        }
        wire.send(sock, request, [null.fileno(), null.fileno()])
        answer = wire.receive(sock, decoder)
        if answer is not None and "error" in answer:
            raise {"busy": Busy}.get(answer["error"], NodeError)(answer["message"])
        assert answer == {"need": digest}
        yield sock, decoder


def descriptors(node: NodeProcess) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def test_who_goes_away_halfway_leaves_nothing(fresh: NodeProcess, tmp_path: Path, copy: bytes) -> None:
    fresh.calm()
    before = descriptors(fresh)
    for _ in range(MAX_WANTS + 2):
        with asked(fresh, program_digest(copy)) as (sock, _decoder):
            wire.send(sock, {"op": "bytes", "v": 1, "data": copy[:10]})
    eventually(lambda: stored(tmp_path) == [])
    eventually(lambda: descriptors(fresh) <= before)
    assert run(fresh, program_digest(copy), Provider(copy), b"x")[0] == b"x"


def test_who_is_too_slow_is_told_and_leaves_nothing(
    start_node: StartNode, tmp_path: Path, copy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("from insitu.runtime import wants\nwants.SECONDS = 0.5\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    node = start_node("--workers", "2", programs=tmp_path, cache=tmp_path / "cache")
    with asked(node, program_digest(copy)) as (sock, decoder):
        wire.send(sock, {"op": "bytes", "v": 1, "data": copy[:10]})
        answer = wire.receive(sock, decoder)
        assert answer is not None
        assert answer["error"] == "bad-request"
        assert "did not arrive within" in answer["message"]
        assert wire.receive(sock, decoder) is None
    assert stored(tmp_path) == []
    node.calm()


def test_only_so_many_arrive_at_once(fresh: NodeProcess, tmp_path: Path, copy: bytes) -> None:
    with ExitStack() as stack:
        for at in range(MAX_WANTS):
            stack.enter_context(asked(fresh, program_digest(b"%d" % at), "even" if at % 2 else "odd"))
        with pytest.raises(Busy, match="8 programs are arriving already"):
            run(fresh, program_digest(copy), Provider(copy))
    eventually(lambda: stored(tmp_path) == [])
    assert run(fresh, program_digest(copy), Provider(copy), b"x")[0] == b"x"


def test_one_tenant_leaves_room_for_what_others_bring(fresh: NodeProcess, copy: bytes) -> None:
    with ExitStack() as stack:
        for at in range(MAX_OF_ONE):
            stack.enter_context(asked(fresh, program_digest(b"%d" % at), "greedy"))
        with pytest.raises(Busy, match="4 programs are arriving already, 4 of them the tenant's"):
            stack.enter_context(asked(fresh, program_digest(b"more"), "greedy"))
        assert run(fresh, program_digest(copy), Provider(copy), b"x")[0] == b"x"  # in another name


@pytest.mark.parametrize("piece", [{"data": "text"}, {"data": 3}, {"data": None}])
def test_pieces_that_are_none(fresh: NodeProcess, copy: bytes, piece: dict[str, object]) -> None:
    with asked(fresh, program_digest(copy)) as (sock, decoder):
        wire.send(sock, {"op": "bytes", "v": 1, **piece})
        answer = wire.receive(sock, decoder)
        assert answer is not None
        assert (answer["error"], answer["message"]) == (BadRequest.code, "data: no bytes")
        wire.send(sock, {"op": "bytes", "v": 1, "data": copy, "last": True})  # and it may go on
        answer = wire.receive(sock, decoder)
        assert answer is not None
        assert answer["digest"] == program_digest(copy)


def test_bytes_that_nobody_asked_for_and_a_second_launch(fresh: NodeProcess, copy: bytes) -> None:
    with asked(fresh, program_digest(copy)) as (sock, decoder), open(os.devnull, "r+b") as null:
        request = {
            "op": "launch",
            "v": 1,
            "program": program_digest(b"x"),
            "args": [],
            "tenant": "t",
            "request_id": "",
            "object": "",
            "limits": {},
            "env": {},
            "brings": True,
        }
        wire.send(sock, request, [null.fileno(), null.fileno()])
        answer = wire.receive(sock, decoder)
        assert answer is not None
        assert "a second launch" in answer["message"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(fresh.path)
        wire.send(sock, {"op": "bytes", "v": 1, "data": b"x"})
        answer = wire.receive(sock, wire.Decoder())
        assert answer is not None
        assert "nobody asked for" in answer["message"]


# The directory.


def arrive(arrivals: Arrivals, data: bytes) -> str:
    arrival = arrivals.begin(program_digest(data))
    try:
        arrival.feed(data)
        arrival.finish()
    finally:
        arrival.close()
    return program_digest(data)


def test_the_longest_unused_make_room(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path / "deep" / "programs", most=1000)
    assert arrivals.find(program_digest(b"")) is None
    digests = [arrive(arrivals, b"%d" % at * 300) for at in range(3)]
    for at, digest in enumerate(digests):
        path = arrivals.find(digest)
        assert path is not None
        os.utime(path, (at, at))
        arrivals._used[path] = 0.0
    assert arrivals.find(digests[0]) is not None  # which is a use
    arrive(arrivals, b"n" * 300)
    assert [arrivals.find(digest) is not None for digest in digests] == [True, False, True]
    assert os.stat(tmp_path / "deep" / "programs").st_mode & 0o077 == 0


def test_what_is_launched_again_and_again_stays(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, most=1000)
    store = ProgramStore([], arrivals)
    digests = [arrive(arrivals, b"%d" % at * 300) for at in range(3)]
    for digest in digests:
        os.utime(store.find(digest).path, (0, 0))
    for path in arrivals._used:
        arrivals._used[path] = 0.0
    store.find(digests[0])
    store.find(digests[0])  # the second time it knows where that is
    arrivals._used[store.find(digests[1]).path] = 1.0
    arrive(arrivals, b"n" * 300)
    assert arrivals.find(digests[0]) is not None
    assert arrivals.find(digests[2]) is None


def test_however_small_they_are_there_are_only_so_many(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, count=20)
    digests = []
    for at in range(200):
        digests.append(arrive(arrivals, b"%d" % at))
        path = arrivals.find(digests[-1])
        assert path is not None
        os.utime(path, (at, at))
        arrivals._used[path] = float(at)
        assert len(os.listdir(tmp_path)) <= 20
    there = [arrivals.find(digest) is not None for digest in digests]
    assert there[-10:] == [True] * 10
    assert sum(there) == len(os.listdir(tmp_path))


def test_the_directory_is_looked_through_once_in_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[None] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(None) or real(path))  # type: ignore[func-returns-value]
    arrivals = Arrivals(tmp_path, most=10_000, count=50)
    for at in range(1000):
        arrive(arrivals, b"%d" % at * 50)
    assert 0 < len(looked) < 400
    assert sum(entry.stat().st_size for entry in tmp_path.iterdir()) <= 10_000
    # Another node of the same user fills it as well: that is seen, if later.
    for at in range(200):
        (tmp_path / f"{at:064x}.wasm").write_bytes(bytes(100))
    for at in range(200):
        arrive(arrivals, b"again %d" % at)
    assert sum(entry.stat().st_size for entry in tmp_path.iterdir()) <= 10_000


def test_what_was_held_against_its_digest_is_not_digested_again(
    tmp_path: Path, copy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = Arrivals(tmp_path)
    store = ProgramStore([], arrivals)
    digests = [
        arrive(arrivals, data) for data in (copy, zipped(Part(b"program.toml", b"name = 'z'"), Part(b"z.wasm", copy)))
    ]
    monkeypatch.setattr(programs_module, "program_digest", lambda _: "sha256:" + "0" * 64)
    assert [store.find(digest).digest for digest in digests] == digests
    path = arrivals.find(digests[0])
    assert path is not None
    Path(path).write_bytes(copy + b"\0")  # now it is
    with pytest.raises(UnknownProgram):
        store.find(digests[0])


def test_a_store_forgets_files_that_were_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs_module, "_KNOWN", 20)
    arrivals = Arrivals(tmp_path, count=5)
    store = ProgramStore([], arrivals)
    for at in range(100):
        digest = arrive(arrivals, b"%d" % at)
        assert store.find(digest).digest == digest
    assert len(store._known) <= 20
    assert len(store._by_digest) <= 20


def test_a_file_that_became_another_is_forgotten(fresh: NodeProcess, tmp_path: Path, copy: bytes) -> None:
    run(fresh, program_digest(copy), Provider(copy))
    (name,) = stored(tmp_path)
    (tmp_path / "cache" / "programs" / name).write_bytes(b"evil")
    provider = Provider(copy)
    assert run(fresh, program_digest(copy), provider, b"x")[0] == b"x"
    assert provider.asked == [program_digest(copy)]


def test_where_nothing_can_be_kept_it_says_so(start_node: StartNode, copy: bytes, tmp_path: Path) -> None:
    node = start_node(programs=tmp_path, cache=Path("/proc/nowhere/cache"))
    with pytest.raises(Busy, match="programs cannot be taken in now"):
        run(node, program_digest(copy), Provider(copy))
    node.stop()
