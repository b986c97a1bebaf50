"""Launches whose input is to be checked, on real nodes: what is damaged never comes out as success."""

import contextlib
import hashlib
import os
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime

from insitu.runtime import wire
from insitu.runtime.errors import BadRequest
from insitu.runtime.journal.reading import sums
from insitu.runtime.record import Record
from insitu.sandbox.limits import Limits
from tests.runtime.conftest import NodeProcess, StartNode, eventually

LARGE = os.urandom(3_000_000)
SMALL = os.urandom(1000)


def guest(vectors: list[tuple[int, int]], *, most: int = -1, then: str = "", before: str = "") -> bytes:
    """Reads stdin with those buffers (place, size) until its end or an error, or until it has at least `most` bytes."""
    stores = "".join(
        f"(i32.store (i32.const {16 + 8 * at}) (i32.const {place}))"
        f"(i32.store (i32.const {20 + 8 * at}) (i32.const {size}))"
        for at, (place, size) in enumerate(vectors)
    )
    return bytes(
        wasmtime.wat2wasm(f"""(module
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 4)
      (func (export "_start") (local $total i32)
        {stores}
        {before}
        (block $end (loop $again
          (br_if $end (call $read (i32.const 0) (i32.const 16) (i32.const {len(vectors)}) (i32.const 8)))
          (br_if $end (i32.eqz (i32.load (i32.const 8))))
          (local.set $total (i32.add (local.get $total) (i32.load (i32.const 8))))
          (br_if $again (i32.lt_u (local.get $total) (i32.const {most})))))
        {then}))""")
    )


# A subscription to stdin (fd 0, read) at 300; events at 400.
POLL = """(i32.store8 (i32.const 308) (i32.const 1)) (i32.store (i32.const 316) (i32.const 0))
  (drop (call $poll (i32.const 300) (i32.const 400) (i32.const 1) (i32.const 8)))"""
PREAD = "(drop (call $pread (i32.const 0) (i32.const 16) (i32.const 1) (i64.const 0) (i32.const 8)))"

READERS = {
    "one-buffer": guest([(65536, 65536)]),
    "byte-by-byte": guest([(65536, 1)]),
    "several-buffers": guest([(65536, 7), (70000, 0), (80000, 1), (90000, 4096), (70000, 3)]),
    "overlapping-buffers": guest([(65536, 1000), (65600, 1000), (65536, 10)]),
    "polls-first": guest([(65536, 5000)], before=POLL),
    "preads-first": guest([(65536, 5000)], before=PREAD),
    "then-loops": guest([(65536, 65536)], then="(loop $for (br $for))"),
    "then-traps": guest([(65536, 65536)], then="unreachable"),
    "then-fails": guest([(65536, 65536)], then="(call $exit (i32.const 3))"),
}
NON_READERS = {
    "reads-a-bit": guest([(65536, 10)], most=10),
    "reads-nothing": guest([(65536, 10)], before="(call $exit (i32.const 0))"),
    "preads-alone": guest([(65536, 10)], before=PREAD + "(call $exit (i32.const 0))"),
    "closes": guest([(65536, 10)], before="(drop (call $close (i32.const 0)))"),
}
EXACT = guest([(65536, 100)], most=len(SMALL))


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def damaged(data: bytes) -> bytes:
    """One bit of it is another."""
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.fixture(scope="module")
def programs(test_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("readers")
    for name, wasm in (READERS | NON_READERS | {"exact": EXACT}).items():
        (place / f"{name}.wasm").write_bytes(wasm)
    for name in ("copy", "stall"):
        (place / f"{name}.wasm").write_bytes((test_programs / f"{name}.wasm").read_bytes())
    return place


@pytest.fixture(scope="module", params=["process", "shared"])
def node(programs: Path, compiled: Path, request: pytest.FixtureRequest) -> Iterator[NodeProcess]:
    with tempfile.TemporaryDirectory(prefix="it-") as directory:
        options = ("--workers", "4", "--spares-min", "1", "--isolation", request.param)
        node = NodeProcess(Path(directory), programs, compiled, *options)
        try:
            node.wait_until_it_serves()
            yield node
        finally:
            node.stop()


Given = Callable[[bytes], contextlib.AbstractContextManager[int]]


@contextlib.contextmanager
def file(data: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as opened:
        opened.write(data)
        opened.flush()
        yield opened.fileno()


@contextlib.contextmanager
def stream(data: bytes) -> Iterator[int]:
    """A child of ours writes, as slowly as it is read."""
    read, write = os.pipe()
    with open(read, "rb", buffering=0), file(data) as source:
        pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[
            (os.POSIX_SPAWN_DUP2, source_at_its_beginning(source), 0), (os.POSIX_SPAWN_DUP2, write, 1)])  # fmt: skip
        os.close(write)
        yield read
    os.waitpid(pid, 0)


def source_at_its_beginning(fd: int) -> int:
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@contextlib.contextmanager
def unix_socket(data: bytes) -> Iterator[int]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.sendall(data[: 1 << 15])
        ours.shutdown(socket.SHUT_WR)
        yield theirs.fileno()


WAYS = [file, stream]


def run(node: NodeProcess, program: str, data: bytes, expected: str, way: Given = file) -> tuple[bytes, Record]:
    with way(data) as fd:
        return node.run(program, stdin=fd, md5=expected, limits=Limits(wall=60))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", [name for name in READERS if name != "then-loops"])
def test_however_it_is_read_what_is_right_passes_and_what_is_damaged_does_not(
    node: NodeProcess, program: str, way: Given
) -> None:
    data = SMALL if program == "byte-by-byte" else LARGE
    _, right = run(node, program, data, md5(data), way)
    expected = {"then-traps": ("trap", None), "then-fails": ("exit", 3)}.get(program, ("exit", 0))
    assert (right.outcome.end, right.outcome.exit_code) == expected
    assert right.outcome.usage.bytes_in == len(data)
    _, wrong = run(node, program, damaged(data), md5(data), way)
    outcome = wrong.outcome
    assert outcome.sentence() == f"the input is damaged: its MD5 is {md5(damaged(data))}, and {md5(data)} was expected"
    assert (outcome.end, outcome.exit_code, outcome.trap, outcome.limit) == ("damaged", None, None, None)
    assert (outcome.usage.bytes_in, outcome.ok) == (len(data), False)
    assert outcome.usage.cpu_us > 0


@pytest.mark.parametrize("way", WAYS)
def test_it_is_ended_when_it_is_known_and_not_when_it_would_end(node: NodeProcess, way: Given) -> None:
    assert run(node, "then-loops", damaged(SMALL), md5(SMALL), way)[1].outcome.end == "damaged"
    with way(SMALL) as fd:
        _, record = node.run("then-loops", stdin=fd, md5=md5(SMALL), limits=Limits(wall=0.2))
    assert record.outcome.limit is not None
    assert (record.outcome.end, record.outcome.limit.name) == ("limit", "wall")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", NON_READERS)
def test_who_does_not_read_all_is_not_judged(node: NodeProcess, program: str, way: Given) -> None:
    _, record = run(node, program, LARGE, md5(b"other"), way)
    assert (record.outcome.end, record.outcome.exit_code) == ("exit", 0)


def test_all_bytes_of_a_file_are_all_of_it_and_of_a_stream_its_end_is(node: NodeProcess) -> None:
    assert run(node, "exact", damaged(SMALL), md5(SMALL))[1].outcome.end == "damaged"
    assert run(node, "exact", damaged(SMALL), md5(SMALL), stream)[1].outcome.ok
    assert run(node, "exact", SMALL, md5(SMALL))[1].outcome.ok


@pytest.mark.parametrize("way", [*WAYS, unix_socket])
@pytest.mark.parametrize("data", [b"", b"x", bytes(1 << 15)], ids=len)
def test_small_and_empty_ones(node: NodeProcess, way: Given, data: bytes) -> None:
    output, record = run(node, "copy", data, md5(data), way)
    assert (output, record.outcome.ok) == (data, True)
    output, record = run(node, "copy", data, md5(b"other"), way)
    assert record.outcome.end == "damaged"
    assert data.startswith(output)


def test_an_input_that_was_cut_short(node: NodeProcess) -> None:
    for way in WAYS:
        output, record = run(node, "copy", LARGE[:-1], md5(LARGE), way)
        assert record.outcome.end == "damaged"
        assert len(output) < len(LARGE)


def test_an_input_that_cannot_be_read(node: NodeProcess, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        _, record = node.run("one-buffer", stdin=fd, md5=md5(b""))
        assert record.outcome.sentence() == "the input is damaged: it cannot be read to its end"
        assert node.run("one-buffer", stdin=fd)[1].outcome.ok  # as it always was
    finally:
        os.close(fd)


def test_with_named_channels(node: NodeProcess) -> None:
    for data, end in ((LARGE, "exit"), (damaged(LARGE), "damaged")):
        with file(data) as fd, file(b"") as out:
            _, record = node.run("copy", stdin=fd, md5=md5(LARGE), outputs={"meta": out})
        assert record.outcome.end == end
        assert record.outcome.channels["out/meta"].bytes_written == 0
        assert record.outcome.channels["stdin"].bytes_read == record.outcome.usage.bytes_in > 2_900_000


@pytest.mark.parametrize("program", ["one-buffer", "several-buffers", "then-fails"])
def test_a_frozen_launch_is_the_same_whether_it_is_checked_or_not(node: NodeProcess, program: str) -> None:
    found = set()
    for way in WAYS:
        for expected in ("", md5(LARGE)):
            with way(LARGE) as fd:
                _, record = node.run(program, stdin=fd, md5=expected, frozen=True, limits=Limits(wall=60))
            outcome = record.outcome
            found.add((outcome.end, outcome.exit_code, outcome.usage.fuel, tuple(sorted(outcome.channels.items()))))
        with way(damaged(LARGE)) as fd:
            _, record = node.run(program, stdin=fd, md5=md5(LARGE), frozen=True, limits=Limits(wall=60))
        assert record.outcome.end == "damaged"
    assert len(found) == 1


def test_many_in_a_row_each_by_its_own(node: NodeProcess) -> None:
    for at in range(12):
        data = os.urandom(at * 1000)
        assert run(node, "copy", data, md5(data))[1].outcome.ok
        assert run(node, "copy", data, "")[1].outcome.ok
        if data:
            assert run(node, "copy", damaged(data), md5(data))[1].outcome.end == "damaged"
            assert run(node, "copy", damaged(data), "")[1].outcome.ok


def test_who_asked_is_gone_or_the_time_is_over_first(node: NodeProcess) -> None:
    with node.launching("stall", md5=md5(b"x"), limits=Limits(wall=60)) as started:
        pass
    eventually(lambda: node.client.run(started.accepted.id) is not None)
    record = node.client.run(started.accepted.id)
    assert record is not None
    assert record.outcome.end == "cancelled"
    assert node.run("stall", md5=md5(b"x"), limits=Limits(wall=0.2))[1].outcome.end == "limit"


@pytest.mark.parametrize(
    "given",
    ["x", md5(b"") + "0", md5(b"").upper(), "g" * 32, md5(b"")[:-1] + "\n", 5, None, [], b"", "sha256:" + "0" * 25],
)
def test_what_is_no_md5(node: NodeProcess, given: object) -> None:
    request = {"op": "launch", "v": 1, "program": "copy", "args": [], "tenant": "t", "request_id": "", "object": ""}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, open(os.devnull, "r+b") as null:
        sock.settimeout(30)
        sock.connect(node.path)
        wire.send(sock, request | {"limits": {}, "env": {}, "md5": given}, [null.fileno(), null.fileno()])
        answer = wire.receive(sock, wire.Decoder())
    assert answer is not None
    assert answer["error"] == BadRequest.code
    assert "is not 32 hexadecimal digits" in answer["message"]


def test_it_is_recorded_and_counts_as_failed(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    node = start_node("--workers", "2", "--keep-failed", str(tmp_path / "kept"), programs=programs)
    _, record = run(node, "copy", damaged(LARGE), md5(LARGE))
    _, failed = run(node, "then-fails", LARGE, md5(LARGE))
    assert run(node, "copy", LARGE, md5(LARGE))[1].outcome.ok
    with sqlite3.connect(node.journal) as journal:
        found = journal.execute("SELECT end, exit_code, note, bytes_in, cpu_us FROM launches WHERE id = ?", [record.id])
        end, exit_code, note, bytes_in, cpu_us = found.fetchone()
    assert (end, exit_code, note) == ("damaged", None, record.outcome.note)
    assert (bytes_in, cpu_us) == (record.outcome.usage.bytes_in, record.outcome.usage.cpu_us)
    total = next(iter(sums([node.journal]).values()))
    assert (total.launches, total.ok, total.failed, total.lost) == (3, 1, 2, 0)
    # What failed is the disk: there is nothing of the program's to replay. The other one is kept.
    eventually(lambda: (tmp_path / "kept" / failed.id).is_dir())
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [failed.id]


def test_what_a_worker_says_of_it_is_taken_only_where_it_was_asked(
    start_node: StartNode, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("""
from insitu.runtime import worker
honest = worker._run
def run(*all):
    answer = honest(*all)
    answer["outcome"].update(end="damaged", note="it says so", exit_code=None)
    return answer
worker._run = run
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    node = start_node("--workers", "2", programs=programs)
    told = run(node, "copy", SMALL, md5(SMALL))[1].outcome
    assert (told.end, told.note) == ("damaged", "it says so")
    with file(SMALL) as fd, node.launching("copy", stdin=fd) as started:
        outcome = started.launch.outcome().outcome
    assert outcome.end == "lost"
    assert "an end that is the node's to give, damaged" in outcome.note
