"""The node as a real daemon: launches, refusals, limits, tenants."""

import os
import signal
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import msgpack
import pytest

import insitu
from insitu.runtime import wire
from insitu.runtime.client import Launch, LaunchRequest
from insitu.runtime.errors import BadRequest, Busy, NodeUnavailable, ProgramRejected, UnknownProgram
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import Limits
from tests.runtime.conftest import NodeProcess, StartNode, alive, eventually


def test_a_launch(node: NodeProcess, test_programs: Path) -> None:
    data = os.urandom(300_000)
    with node.launching("copy", stdin=data, object_="/AUTH_test/c/o") as run:
        output, record = run.finish()
    digest = program_digest((test_programs / "copy.wasm").read_bytes())
    assert output == data
    assert (run.accepted.id, run.accepted.digest, run.accepted.content_type) == (record.id, digest, "source")
    assert (record.program, record.digest, record.tenant, record.object) == (
        "copy",
        digest,
        "AUTH_test",
        "/AUTH_test/c/o",
    )
    assert (record.node, record.request_id, record.args) == ("test-node", "tx1", ())
    assert record.outcome.ok
    assert record.outcome.usage.bytes_in == record.outcome.usage.bytes_out == len(data)
    assert record.launch_us > 0
    assert node.client.run(record.id) == record
    assert node.client.runs(1) == [record]


def test_arguments_arrive(node: NodeProcess) -> None:
    output, record = node.run("args", "one", "two words", "€")
    assert b"two words" in output
    assert "€".encode() in output
    assert record.args == ("one", "two words", "€")


def test_a_program_may_be_named_by_its_digest(node: NodeProcess, test_programs: Path) -> None:
    digest = program_digest((test_programs / "copy.wasm").read_bytes())
    output, record = node.run(digest, stdin=b"abc")
    assert output == b"abc"
    assert record.digest == digest


def test_input_is_read_from_the_files_beginning_and_its_offset_is_left(node: NodeProcess, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with open(tmp_path / "file", "rb") as file:
        file.seek(4)
        assert node.run("copy", stdin=file.fileno())[0] == b"0123456789"
        assert file.tell() == 4


def test_unknown_programs(node: NodeProcess) -> None:
    for name in ("nobody", "sha256:" + "0" * 64):
        with pytest.raises(UnknownProgram, match="no program"):
            node.run(name)


def test_programs_that_cannot_run_are_refused_each_time(start_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "junk.wasm").write_bytes(b"junk")
    (tmp_path / "env.wasm").write_bytes(
        b'(module (import "env" "' + b"x" * 90_000 + b'" (func)) (func (export "_start")))'
    )
    (tmp_path / "broken.wasm").write_bytes(b"\0asm\x01\0\0\0\x01\x02\x03")
    (tmp_path / "text.wasm").write_bytes(b'(module (func (export "_start")))')
    node = start_node(programs=tmp_path)
    spawner = node.client.ping()["spawner"]
    for _ in range(2):
        with pytest.raises(ProgramRejected, match="junk: neither wasm"):
            node.run("junk")
        with pytest.raises(ProgramRejected, match="env: unknown import"):
            node.run("env")
        with pytest.raises(ProgramRejected, match="broken: "):
            node.run("broken")
    assert node.run("text")[1].outcome.ok
    assert node.client.ping()["spawner"] == spawner, "a program ended the spawner"
    (tmp_path / "junk.wasm").write_bytes(b'(module (func (export "_start")))')
    assert node.run("junk")[1].outcome.ok  # another file is another program


GOOD: dict[str, Any] = {
    "op": "launch",
    "v": 1,
    "program": "copy",
    "args": [],
    "tenant": "t",
    "request_id": "r",
    "object": "o",
    "limits": {},
    "env": {},
}


def ask(node: NodeProcess, data: bytes, fds: int = 2) -> dict[str, Any] | None:
    """Say this to the node, with so many descriptors, and hear its answer; None when it just hangs up."""
    with open(os.devnull, "r+b") as null, socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(node.path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{fds}i", *[null.fileno()] * fds))] if fds else []
        sent = sock.sendmsg([data], rights)
        try:
            if sent < len(data):  # to send nothing to somebody who has hung up is an error too
                sock.sendall(data[sent:])
            return wire.receive(sock, wire.Decoder())
        except (ConnectionResetError, BrokenPipeError):
            return None


BAD: dict[str, dict[str, Any]] = {
    "no program": {"program": None},
    "a program of another type": {"program": 3},
    "a program's name that is none": {"program": "../copy"},
    "a path": {"program": "/bin/sh"},
    "arguments that are no list": {"args": "x"},
    "an argument that is no string": {"args": ["a", 3]},
    "an argument of bytes": {"args": [b"a"]},
    "an argument with NUL": {"args": ["a\0b"]},
    "too many bytes of arguments": {"args": ["x" * 5000]},
    "too many arguments": {"args": [""] * 5000},
    "an environment that is no map": {"env": ["A=b"]},
    "a variable that is no string": {"env": {"A": 1}},
    "a variable's name of bytes": {"env": {b"A": "b"}},
    "a variable with NUL": {"env": {"A": "\0"}},
    "too large an environment": {"env": {"A": "x" * 70_000}},
    "no tenant": {"tenant": None},
    "a tenant that is a list": {"tenant": ["x"] * 300_000},
    "an object of another type": {"object": 1.5},
    "an object of kilobytes": {"object": "x" * 5000},
    "a tenant of a megabyte": {"tenant": "x" * 900_000},
    "limits that are no map": {"limits": 3},
    "an unknown limit": {"limits": {"colour": 1}},
    "a limit of another type": {"limits": {"wall": "10s"}},
    "a limit that is nan": {"limits": {"wall": float("nan")}},
    "a limit that is too large": {"limits": {"memory": 1 << 63}},
    "a limit that is a megabyte of text": {"limits": {"wall": "x" * 900_000}},
    "an operation nobody knows": {"op": "format"},
    "an operation of a megabyte": {"op": "\0" * 900_000},
    "no operation": {"op": None},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_is_named_and_starts_nothing(node: NodeProcess, what: str) -> None:
    served = node.client.ping()["served"]
    answer = ask(node, wire.encode(GOOD | BAD[what]))
    assert answer is not None
    assert answer["error"] == "bad-request"
    assert 5 < len(answer["message"]) <= 1000
    assert node.client.ping()["served"] == served


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_another_number_of_descriptors(node: NodeProcess, count: int) -> None:
    answer = ask(node, wire.encode(GOOD), fds=count)
    assert answer is not None
    assert answer["error"] == "bad-request"
    assert f"{count} descriptors" in answer["message"]


GARBAGE = {
    "too many descriptors": (wire.encode(GOOD), wire.MAX_FDS + 1),
    "a frame of 4 GiB": (b"\xff\xff\xff\xff" + b"x" * 100, 0),
    "a frame of 4 GiB with descriptors": (b"\xff\xff\xff\xff", 2),
    "no msgpack": (struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1", 0),
    "no map": (struct.pack(">I", 2) + msgpack.packb([1]), 0),
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    "noughts": (bytes(10_000), 0),
    "another version": (wire.encode(GOOD | {"v": 99}), 2),
    "no version": (wire.encode({"op": "ping"}), 0),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_another_language_is_answered_and_hung_up_on(node: NodeProcess, what: str) -> None:
    data, fds = GARBAGE[what]
    answer = ask(node, data, fds)
    assert answer is None or answer["error"] == "protocol"
    node.still_serves()


def test_half_a_frame_and_gone(node: NodeProcess) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(node.path)
        sock.sendall(wire.encode(GOOD)[:-1])
    node.still_serves()


def test_more_peers_than_are_let_in_that_come_and_go_leave_nothing(node: NodeProcess) -> None:
    """They are gone before the node looks at them: it is held still meanwhile, as a busy machine would hold it."""
    junk = [b"", b"\xff\xff\xff\xff", wire.encode(GOOD)[:9], wire.encode({"v": 1, "op": "ping"})]
    for _ in range(3):
        node.process.send_signal(signal.SIGSTOP)
        try:
            for at in range(500):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(node.path)
                    sock.sendall(junk[at % 4])
        finally:
            node.process.send_signal(signal.SIGCONT)
        node.still_serves()


def test_two_launches_on_one_connection(node: NodeProcess) -> None:
    read, write = os.pipe()
    with open(os.devnull, "rb") as null, socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(node.path)
        decoder = wire.Decoder()
        stall = GOOD | {"program": "stall", "limits": {"wall": 0.5}}
        answers = []
        for _ in range(2):
            wire.send(sock, stall, (null.fileno(), write))
            answers.append(wire.receive(sock, decoder))
        os.close(write)
        answers.append(wire.receive(sock, decoder))
        assert wire.receive(sock, decoder) is None
    os.close(read)
    assert [sorted(answer or {}) for answer in answers] == [
        ["content_type", "digest", "id", "stated"],
        ["error", "message"],
        ["record"],
    ]
    assert answers[1] is not None
    assert answers[1]["error"] == "bad-request"


def test_the_client_says_what_cannot_be_written(node: NodeProcess) -> None:
    for request in (LaunchRequest("copy", args=("\udcff",)), LaunchRequest("copy", tenant="x" * (2 << 20))):
        with Launch.connect(node.path) as launch, pytest.raises(BadRequest, match="cannot be written"):
            launch.start(request, 0, 1)
    with pytest.raises(NodeUnavailable, match="no node answers"):
        Launch.connect(node.path + "-not")


def test_runs_that_fail_are_named(node: NodeProcess) -> None:
    assert node.run("fail")[1].outcome.exit_code == 3
    assert node.run("trap")[1].outcome.end == "trap"
    quick = Limits(wall=0.2)
    assert node.run("loop", limits=quick)[1].outcome.sentence().startswith("limit wall: 200 ms allowed")
    limit = node.run("flood", limits=Limits(output=1000))[1].outcome.limit
    assert limit is not None
    assert limit.name == "output"
    limit = node.run("loop", limits=Limits(fuel=1000))[1].outcome.limit
    assert limit is not None
    assert limit.name == "fuel"
    node.still_serves()


def test_a_consumer_that_never_reads_ends_at_the_wall_time(node: NodeProcess) -> None:
    with node.launching("flood", limits=Limits(wall=0.3)) as run:
        record = run.launch.outcome()  # not a byte is taken
    assert record.outcome.limit is not None
    assert record.outcome.limit.name == "wall"
    assert 0 < record.outcome.usage.bytes_out <= 1 << 20


def test_an_input_that_never_ends_ends_at_the_wall_time(node: NodeProcess) -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"some")
        output, record = node.run("copy", stdin=read, limits=Limits(wall=0.3))
    finally:
        os.close(read)
        os.close(write)
    assert output == b"some"
    assert record.outcome.limit is not None
    assert record.outcome.limit.name == "wall"


def test_a_reader_that_goes_away_ends_no_more_than_its_run(node: NodeProcess) -> None:
    with node.launching("flood", limits=Limits(wall=0.3)) as run:
        assert run.read(10)
        run.stop_reading()
        record = run.launch.outcome()
    assert record.outcome.end == "limit", record.outcome.sentence()  # this guest does not look at its errors
    assert record.outcome.usage.bytes_out < 1 << 20
    node.still_serves()


@pytest.mark.parametrize("kind", ["directory", "write-only", "o_path", "socket"])
def test_descriptors_that_cannot_be_read(node: NodeProcess, tmp_path: Path, kind: str) -> None:
    sock, other = socket.socketpair()
    with sock, other:
        other.shutdown(socket.SHUT_WR)
        match kind:
            case "directory":
                fd = os.open(tmp_path, os.O_RDONLY)
            case "write-only":
                fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
            case "o_path":
                fd = os.open(tmp_path, os.O_PATH)
            case _:
                fd = os.dup(sock.fileno())
        try:
            record = node.run("copy", stdin=fd, limits=Limits(wall=2))[1]
        finally:
            os.close(fd)
    assert record.outcome.end in ("exit", "limit", "lost")
    assert record.outcome.usage.bytes_in == 0
    node.still_serves()


def test_tenants_never_share_a_worker(shared_node: NodeProcess) -> None:
    workers: dict[str, set[int]] = {"A": set(), "B": set(), "C": set()}
    for at in range(30):
        tenant = "ABCAACB"[at % 7]
        workers[tenant].add(shared_node.run("copy", tenant=tenant)[1].worker)
    assert all(workers.values())
    assert not workers["A"] & workers["B"]
    assert not workers["A"] & workers["C"]
    assert not workers["B"] & workers["C"]


@pytest.mark.parametrize("program", ["trap", "loop"])
def test_a_worker_is_replaced_after_a_trap_or_a_limit_and_only_then(shared_node: NodeProcess, program: str) -> None:
    tenant = f"replaced-{program}"
    for loaded in ("fail", "fail", program, program):  # what is asked for twice is in demand
        shared_node.run(loaded, tenant="loads it", limits=Limits(wall=0.1))
    shared_node.calm()  # no spare is left that misses one of them
    first = shared_node.run("fail", tenant=tenant)[1].worker
    again = shared_node.run(program, tenant=tenant, limits=Limits(wall=0.1))[1].worker
    assert again == first  # exit code 3 is the guest's own affair
    assert shared_node.run("copy", tenant=tenant)[1].worker != first
    eventually(lambda: not alive(first))


def test_closing_cancels(node: NodeProcess) -> None:
    with node.launching("stall", tenant="cancelled", limits=Limits(wall=60)) as run:
        assert run.read(10)  # it runs
        id_ = run.accepted.id
    eventually(lambda: node.client.run(id_) is not None)
    record = node.client.run(id_)
    assert record is not None
    assert record.outcome.end == "cancelled"
    assert not alive(record.worker)
    assert record.outcome.usage.wall_us > 0
    node.still_serves()


def test_a_queue_that_is_full_is_busy(start_node: StartNode) -> None:
    node = start_node("--workers", "1", "--spares-min", "0", "--queue", "1")
    with node.launching("stall", limits=Limits(wall=60)) as first:
        assert first.read(10)
        waits = threading.Thread(target=lambda: results.append(node.run("copy", stdin=b"second")))
        results: list[Any] = []
        waits.start()
        eventually(lambda: node.client.ping()["queued"] == 1)
        with pytest.raises(Busy, match="limit queue: 1 allowed, 1 reached") as caught:
            node.run("copy", tenant="another")
        assert caught.value.retry_after > 0
        with Launch.connect(node.path) as gone:  # one that waits and goes away makes no trouble
            read, write = os.pipe()
            wire.send(gone._sock, GOOD, (read, write))
            os.close(read)
            os.close(write)
    waits.join(20)
    assert results
    assert results[0][0] == b"second"
    node.still_serves()


def test_one_place_and_a_program_that_came_after_its_spare(start_node: StartNode) -> None:
    node = start_node("--workers", "1")
    node.calm()
    assert node.run("copy", stdin=b"x", tenant="A")[0] == b"x"
    assert node.run("args", "y", tenant="B")[1].outcome.ok
    assert node.run("copy", stdin=b"x", tenant="C")[0] == b"x"


def test_descriptors_return_to_what_they_were(node: NodeProcess) -> None:
    def ours() -> int:
        node.calm()
        # A worker is a socket and a process descriptor; whoever asks is one more, both times.
        return len(os.listdir(f"/proc/{node.pid}/fd")) - 2 * len(node.client.ping()["workers"])

    node.still_serves()
    before = ours()
    for at in range(500):
        match at % 10:
            case 0:
                node.run("fail")
            case 1:
                with pytest.raises(UnknownProgram):
                    node.run("nobody")
            case 2:
                ask(node, wire.encode(GOOD | {"args": 3}))
            case 3 if at % 50 == 3:
                with node.launching("stall"):
                    pass  # cancelled
            case 4 if at % 50 == 4:
                node.run("trap")
            case 5:
                ask(node, b"\xff\xff\xff\xff", 2)
            case _:
                node.run("copy", stdin=b"x" * 1000)
    eventually(lambda: ours() == before)


def test_twenty_at_once_on_a_program_never_seen(start_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "new.wasm").write_bytes(b'(module (memory (export "memory") 1) (func (export "_start")))')
    node = start_node("--workers", "3", programs=tmp_path, cache=tmp_path / "cache")
    records: list[Any] = []
    threads = [
        threading.Thread(target=lambda at=at: records.append(node.run("new", tenant=f"t{at % 5}")[1]))
        for at in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(records) == 20
    assert all(record.outcome.ok for record in records)
    assert len({record.id for record in records}) == 20


def test_a_damaged_entry_of_the_cache_is_compiled_again(start_node: StartNode, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = start_node(cache=cache)
    assert first.run("copy", stdin=b"x")[0] == b"x"
    first.stop()
    (entry,) = cache.glob("*.cwasm")
    code = entry.read_bytes()
    entry.write_bytes(code[: len(code) // 2] + bytes(len(code) // 2))
    second = start_node(cache=cache)
    second.still_serves()
    assert len(entry.read_bytes()) == len(code)
    assert entry.read_bytes()[len(code) // 2 :] != bytes(len(code) // 2)
    assert f"{entry} is damaged" in second.log.read_text()


def test_the_node_itself_has_no_engine(node: NodeProcess) -> None:
    node.still_serves()
    assert "wasmtime" not in Path(f"/proc/{node.pid}/maps").read_text()
    try:
        spawner = Path(f"/proc/{node.client.ping()['spawner']}/maps").read_text()
    except PermissionError:
        return  # nobody but root looks into a spawner
    assert "wasmtime" in spawner


def test_ping_and_programs(node: NodeProcess, test_programs: Path) -> None:
    ping = node.client.ping()
    assert (ping["node"], ping["pid"], ping["version"]) == ("test-node", node.pid, insitu.__version__)
    assert alive(ping["spawner"])
    assert all(alive(pid) for pid in ping["workers"])
    names = [info.name for info in node.client.programs()]
    assert {path.stem for path in test_programs.glob("*.wasm")} <= set(names)
    assert names == sorted(names)
    for limit in (0, -1, 10_001):
        with pytest.raises(BadRequest, match="limit"):
            node.client.runs(limit)
    assert node.client.run("nobody's") is None
