"""Named channels of launches on a node: whatever is behind them, whatever a peer says of them."""

import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from insitu.runtime import wire
from insitu.runtime.bundles.build import build
from insitu.runtime.channels import MAX_NAMED
from insitu.runtime.client import Launch, LaunchRequest
from insitu.runtime.errors import BadRequest, Busy, NodeUnavailable, ProgramRejected
from insitu.runtime.journal.reading import sums
from insitu.runtime.record import Record
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import KIB, Limits
from insitu.sandbox.outcome import ChannelStatistics
from tests.runtime.conftest import NodeProcess, StartNode, eventually
from tests.runtime.test_node import GOOD
from tests.sandbox.guests import puppet, script
from tests.sandbox.named import (
    BADF,
    DATA,
    NOENT,
    RESULT,
    SPIPE,
    Call,
    content,
    file,
    image,
    opened,
    read,
    stream,
    write,
)


@pytest.fixture(scope="module")
def programs(test_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`puppet` does as its stdin says; `picky` is the same as a bundle that declares channels."""
    place = tmp_path_factory.mktemp("named")
    wasm = wasmtime.wat2wasm(puppet())
    (place / "puppet.wasm").write_bytes(wasm)
    for name in ("copy", "stall"):
        (place / f"{name}.wasm").write_bytes((test_programs / f"{name}.wasm").read_bytes())
    source = tmp_path_factory.mktemp("picky")
    (source / "picky.wasm").write_bytes(wasm)
    (source / "program.toml").write_text('name = "picky"\n[channels]\ninputs = ["one"]\noutputs = ["one", "two"]\n')
    (place / "picky.zip").write_bytes(build(source)[0])
    return place


@pytest.fixture(scope="module")
def node(programs: Path, compiled: Path) -> Iterator[NodeProcess]:
    with tempfile.TemporaryDirectory(prefix="it-") as directory:
        node = NodeProcess(Path(directory), programs, compiled, "--workers", "4", "--spares-min", "1")
        try:
            node.wait_until_it_serves()
            yield node
        finally:
            node.stop()


class Done:
    """What a puppet's calls came to."""

    def __init__(self, output: bytes, record: Record) -> None:
        self.memory, self.record = output, record
        errors = record.outcome.stderr
        self.errnos = list(struct.unpack(f"<{len(errors) // 4}I", errors))

    def data(self, count: int) -> bytes:
        return self.memory[DATA : DATA + count]

    def u32(self, at: int = RESULT) -> int:
        return int(struct.unpack_from("<I", self.memory, at)[0])

    def figures(self) -> Mapping[str, ChannelStatistics]:
        return self.record.outcome.channels


def play(
    node: NodeProcess,
    calls: Sequence[Call],
    length: int = 8,
    data: bytes = b"",
    program: str = "puppet",
    limits: Limits | None = None,
    inputs: Mapping[str, int] | None = None,
    outputs: Mapping[str, int] | None = None,
) -> Done:
    given = script(calls, image(length, data))
    return Done(*node.run(program, stdin=given, limits=limits, inputs=inputs, outputs=outputs))


def descriptors(node: NodeProcess) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


# What is behind them.


def test_files_are_read_and_written_at_any_place_and_told_by_channel(node: NodeProcess) -> None:
    with file(b"0123456789abcdef") as given, file() as taken:
        calls = [opened("dev/in/one"), read(4, 10), opened("dev/out/one"), write(5, 100), write(5, 3)]
        done = play(node, calls, 6, inputs={"one": given}, outputs={"one": taken})
        assert done.errnos == [0] * 5
        assert done.data(6) == b"abcdef"
        assert content(taken) == (b"\0" * 3 + b"abcdef").ljust(100, b"\0") + b"abcdef"
    figures = done.figures()
    assert list(figures) == ["stdin", "stdout", "stderr", "in/one", "out/one"]
    assert figures["in/one"] == ChannelStatistics(reads=1, bytes_read=6)
    assert figures["out/one"] == ChannelStatistics(writes=2, bytes_written=12)
    usage = done.record.outcome.usage
    assert usage.bytes_in == figures["stdin"].bytes_read + 6
    assert usage.bytes_out == figures["stdout"].bytes_written + 12
    # The journal has them, the sums count them, and people are told.
    with sqlite3.connect(f"file:{node.journal}?mode=ro", uri=True) as journal:
        query = "SELECT channels, bytes_in, bytes_out FROM launches WHERE id = ?"
        column, *totals = journal.execute(query, (done.record.id,)).fetchone()
    journal.close()
    assert totals == [usage.bytes_in, usage.bytes_out]
    assert {name: ChannelStatistics(**one) for name, one in json.loads(column).items()} == figures
    records = node.client.runs(1000)
    assert node.client.run(done.record.id) == done.record
    of_all = sums([node.journal])[""]
    assert of_all.bytes_in == sum(record.outcome.usage.bytes_in for record in records)
    command = [sys.executable, "-m", "insitu", "node", "--socket", node.path, "runs", done.record.id]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "in/one       6 B in 1 read\n" in told
    assert "out/one      12 B in 2 writes\n" in told


def test_a_launch_without_them_has_no_figures_by_channel(node: NodeProcess) -> None:
    _, record = node.run("copy", stdin=b"x")
    assert record.outcome.channels == {}


@pytest.mark.parametrize("kind", ["pipe", "socket", "memfd", "null"])
def test_whatever_is_behind_them(node: NodeProcess, kind: str) -> None:
    data = b"" if kind == "null" else b"8 bytes!"
    with ExitStack() as stack:
        if kind == "pipe":
            (given, source), (result, taken) = os.pipe(), os.pipe()
            os.write(source, data)
            os.close(source)
        elif kind == "socket":
            one, other = ((end.detach() for end in socket.socketpair()) for _ in range(2))
            (given, source), (result, taken) = one, other
            os.write(source, data)
            os.close(source)
        elif kind == "memfd":
            given, taken = os.memfd_create("given"), os.memfd_create("taken")
            os.pwrite(given, data, 0)
            result = os.dup(taken)
        else:
            given, taken, result = (os.open(os.devnull, os.O_RDWR) for _ in range(3))
        for fd in (given, taken, result):
            stack.callback(os.close, fd)
        calls = [opened("dev/in/one"), read(4), opened("dev/out/one"), write(5), read(4, 2)]
        done = play(node, calls, 8, data, inputs={"one": given}, outputs={"one": taken})
        assert done.errnos == [0, 0, 0, 0, 0 if kind == "memfd" else SPIPE]
        assert done.figures()["in/one"].bytes_read == len(data) + (6 if kind == "memfd" else 0)
        assert done.figures()["out/one"].bytes_written == 8
        if kind != "null":
            assert os.read(result, 100) == data


def test_a_message_carries_so_many_and_each_is_the_one_of_its_name(node: NodeProcess) -> None:
    names = [f"n{at}" for at in range(MAX_NAMED)]
    with ExitStack() as stack:
        half = MAX_NAMED // 2
        inputs = {name: stack.enter_context(file(name.encode())) for name in names[:half]}
        outputs = {name: stack.enter_context(file()) for name in names[half:]}
        for at, name in enumerate(names):
            way = "in" if name in inputs else "out"
            memory = bytearray(image(2, name.encode()))
            path = f"dev/{way}/{name}".encode()
            memory[: len(path)] = path
            call = opened("dev/in/one" if way == "in" else "dev/out/one")
            call = (*call[:3], 0, len(path), *call[5:])
            given = script([call, read(4) if way == "in" else write(4)], bytes(memory))
            done = Done(*node.run("puppet", stdin=given, inputs=inputs, outputs=outputs))
            assert done.errnos == [0, 0], name
            assert done.data(2) == name[:2].encode()
            if way == "out":
                assert content(outputs[name]) == name[:2].encode() == names[at][:2].encode()
            crossed = {n for n, f in done.figures().items() if "/" in n and f.bytes_read + f.bytes_written}
            assert crossed == {f"{way}/{name}"}
        with open(os.devnull, "r+b") as null, Launch.connect(node.path) as launch:
            many = dict.fromkeys([*names, "more"], null.fileno())
            with pytest.raises(BadRequest, match=f"{MAX_NAMED + 1} named channels, and .* {MAX_NAMED} at most"):
                launch.start(LaunchRequest("copy"), null.fileno(), null.fileno(), inputs=many)


def test_what_is_not_given_is_not_there(node: NodeProcess) -> None:
    with file(b"x") as given:
        done = play(node, [opened("dev/in/two"), opened("dev/out/one"), opened("dev/in/one")], inputs={"one": given})
    assert done.errnos == [NOENT, NOENT, 0]
    assert play(node, [opened("dev/in/one")]).errnos == [NOENT]


def test_an_input_is_not_written_and_an_output_not_read(node: NodeProcess) -> None:
    with file(b"kept") as given, file() as taken:
        calls = [opened("dev/in/one"), write(4), opened("dev/out/one"), read(5)]
        done = play(node, calls, inputs={"one": given}, outputs={"one": taken})
        assert done.errnos == [0, BADF, 0, BADF]
        assert content(given) == b"kept"


def test_all_outputs_count_for_the_limit_of_output(node: NodeProcess) -> None:
    with file() as taken:
        calls = [opened("dev/out/one"), write(4)]
        done = play(node, calls, 4000, limits=Limits(output=1500), outputs={"one": taken})
        assert done.record.outcome.sentence() == "limit output: 1500 B allowed, 4000 B reached"
        assert len(content(taken)) == 1500


def test_an_output_that_the_host_cannot_write_is_named(node: NodeProcess) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = play(node, [opened("dev/out/two"), write(4)], outputs={"two": full})
    finally:
        os.close(full)
    assert not done.record.outcome.ok
    assert done.record.outcome.broken == "out/two could not be written: No space left on device"


NOT_OF_STREAMS = {
    "fd_datasync": 28,
    "fd_sync": 28,
    "fd_fdstat_set_flags": 58,
    "fd_filestat_set_size": 28,
    "fd_seek": SPIPE,
}


def test_every_call_on_them_is_one_that_a_confined_worker_may_make(node: NodeProcess) -> None:
    """One that is not would be the worker's end (SIGSYS), not an error number."""
    with file(b"0123456789abcdef") as given, file(b"old") as taken:
        (reading, source), (result, into) = os.pipe(), os.pipe()
        os.write(source, b"streamed")
        inputs, outputs = {"one": given, "two": reading}, {"one": taken, "two": into}
        stat, poll = 2048, 3072
        of_files: list[Call] = [
            opened("dev/in/one"),
            opened("dev/out/one"),
            ("fd_filestat_get", 4, stat),
            ("fd_seek", 4, 4, 0, RESULT),
            ("fd_tell", 4, RESULT),
            read(4),
            ("fd_advise", 4, 0, 8, 3),
            ("fd_filestat_set_size", 5, 100),
            ("fd_allocate", 5, 0, 200),
            write(5, 150),
            ("fd_datasync", 5),
            ("fd_sync", 5),
            ("fd_filestat_set_times", 5, 0, 0, 5),
            ("fd_fdstat_get", 5, stat),
            ("fd_close", 5),
        ]
        of_streams: list[Call] = [
            opened("dev/in/two"),
            opened("dev/out/two"),
            ("poll_oneoff", poll, poll + 48, 1, RESULT),
            read(4),
            write(5),
            ("fd_filestat_get", 4, stat),
            ("fd_datasync", 5),
            ("fd_sync", 5),
            ("fd_fdstat_set_flags", 4, 4),
            ("fd_filestat_set_size", 5, 0),
            ("fd_seek", 5, 0, 0, RESULT),
            opened("dev", rights=1 << 14, flags=2),
            ("fd_readdir", 6, stat, 512, 0, RESULT),
            ("path_filestat_get", 3, 0, 0, len("dev/in/one"), stat),
        ]
        for calls, refused in (
            (of_files, {}),
            (of_streams, NOT_OF_STREAMS),
        ):
            memory = bytearray(image(8)).ljust(poll + 96, b"\0")
            struct.pack_into("<QBxxxxxxxI", memory, poll, 7, 1, 4)  # until descriptor 4 can be read
            done = Done(*node.run("puppet", stdin=script(calls, bytes(memory)), inputs=inputs, outputs=outputs))
            assert done.record.outcome.end == "exit", done.record.outcome.sentence()
            told = {str(call[0]): code for call, code in zip(calls, done.errnos, strict=True) if code}
            assert told == refused
        assert os.fstat(taken).st_size == 200
        assert os.read(result, 100) == b"streamed"
        for fd in (reading, source, result, into):
            os.close(fd)


# What a program declares.


def with_words(node: NodeProcess, **words: Any) -> Record:
    """A launch that reads and writes named channels, and in the end breaks a rule, so that it fails."""
    calls = [opened("dev/in/one"), read(4, 10), opened("dev/out/one"), write(5, 100), opened("dev/in/two"), read(6)]
    with (
        file(script(calls, image(6))) as stdin,
        file(b"0123456789abcdef") as one,
        stream("pipe", b"xyz") as (_, two),
        file() as taken,
        ExitStack() as stack,
    ):
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        launch = stack.enter_context(Launch.connect(node.path, 30))
        inputs = {"one": one} | ({} if words.get("frozen") else {"two": two._fd})  # type: ignore[union-attr]
        request = LaunchRequest("puppet", tenant="t", **words)
        launch.start(request, stdin, writing, inputs=inputs, outputs={"one": taken})
        os.close(writing)
        return launch.outcome()


@pytest.mark.parametrize("frozen", [False, True])
def test_figures_that_are_not_wanted_are_not_told_and_the_sums_are(node: NodeProcess, *, frozen: bool) -> None:
    told, untold = (with_words(node, frozen=frozen, figures=figures) for figures in (True, False))
    assert len(told.outcome.channels) == 5 + (not frozen)
    assert untold.outcome.channels == {}
    for name in ("bytes_in", "bytes_out", "bytes_err", "fuel"):
        assert getattr(untold.outcome.usage, name) == getattr(told.outcome.usage, name) > 0
    with sqlite3.connect(node.journal) as journal:
        query = "SELECT channels, bytes_in, bytes_out FROM launches WHERE id = ?"
        found = journal.execute(query, [untold.id]).fetchone()
    assert found == (None, untold.outcome.usage.bytes_in, untold.outcome.usage.bytes_out)


@pytest.mark.parametrize("words", [{"figures": 1}, {"figures": None}, {"figures": "no"}])
def test_words_for_it_that_are_none(node: NodeProcess, words: dict[str, object]) -> None:
    message = {"op": "launch", "program": "copy", "args": [], "tenant": "", "request_id": "", "object": "", "v": 1}
    with file() as stdin, file() as stdout, Launch.connect(node.path, 30) as launch:
        wire.send(launch._sock, message | {"limits": {}, "env": {}} | words, [stdin, stdout])
        with pytest.raises(BadRequest, match=r"figures: .* is neither true nor false"):
            launch._receive(NodeUnavailable, "")


def test_a_program_that_declares_channels_must_be_given_them(node: NodeProcess) -> None:
    with file(b"12345678") as given, file() as one, file() as two:
        with pytest.raises(BadRequest, match=r"picky needs .*: input one, output one, output two$"):
            node.run("picky")
        with pytest.raises(BadRequest, match=r"picky needs .*: output two$"):
            node.run("picky", inputs={"one": given}, outputs={"one": one})
        calls = [opened("dev/in/one"), read(4), opened("dev/out/two"), write(5)]
        done = play(node, calls, program="picky", inputs={"one": given}, outputs={"one": one, "two": two})
        assert done.errnos == [0] * 4
        assert content(two) == b"12345678"
        # What it did not declare it may have as well, as with `insitu run`.
        both = {"one": given, "two": given}
        done = play(node, [opened("dev/in/two")], program="picky", inputs=both, outputs={"one": one, "two": two})
        assert done.errnos == [0]


def test_a_program_that_declares_more_than_a_launch_can_have_is_rejected(node: NodeProcess, programs: Path) -> None:
    names = [f"n{at}" for at in range(MAX_NAMED + 1)]
    (programs / "greedy.wasm").write_bytes((programs / "copy.wasm").read_bytes())
    (programs / "greedy.toml").write_text(f"channels = {{inputs = {names}}}\n")
    with pytest.raises(ProgramRejected, match=f"greedy declares {MAX_NAMED + 1} named channels, .* {MAX_NAMED} at"):
        node.run("greedy")


@pytest.mark.parametrize("kind", ["process", "shared"])
def test_a_worker_keeps_nothing_of_them(start_node: StartNode, programs: Path, kind: str) -> None:
    node = start_node("--isolation", kind, "--workers", "1", "--spares-min", "0", programs=programs)

    def held() -> int:
        return len(os.listdir(f"/proc/{node.client.ping()['workers'][0]}/fd"))

    def some() -> None:
        with file(b"12345678") as one, file() as two, open(os.devnull, "r+b") as null:
            names = {"one": one, "two": null.fileno()}
            done = play(
                node,
                [opened("dev/in/one"), read(4), opened("dev/out/one"), write(5)],
                inputs=names,
                outputs={"one": two},
            )
            assert done.errnos == [0] * 4

    some()
    if kind == "shared":
        node.calm()
        before = held()
        for _ in range(10):
            some()
        node.calm()
        assert held() == before
    else:
        assert len({run.worker for run in (play(node, [opened("dev")]).record for _ in range(3))}) == 3


def test_a_spare_is_warm_for_the_channels_that_its_program_was_given(start_node: StartNode, programs: Path) -> None:
    node = start_node("--workers", "2", "--spares-min", "1", "--spares-max", "1", programs=programs)
    for _ in range(6):  # by then the program is in demand, and is rehearsed with what it was given
        with file(b"12345678") as one, file() as two:
            calls = [opened("dev/in/one"), read(4), opened("dev/out/one"), write(5)]
            assert play(node, calls, inputs={"one": one}, outputs={"one": two}).errnos == [0] * 4
            assert content(two) == b"12345678", "nothing of a rehearsal"
        node.calm()
    assert play(node, [opened("dev/in/one")]).errnos == [NOENT]
    assert "Traceback" not in node.log.read_text()


def test_a_program_that_the_launch_brings_is_given_them_too(
    start_node: StartNode, programs: Path, tmp_path: Path
) -> None:
    data = (programs / "picky.zip").read_bytes()
    node = start_node(programs=tmp_path, cache=tmp_path / "cache")
    calls = script([opened("dev/in/one"), read(4), opened("dev/out/two"), write(5)], image(8))
    request = LaunchRequest(program_digest(data), tenant="AUTH_test")
    with ExitStack() as stack:
        given, stdin, one, two = (stack.enter_context(file(held)) for held in (b"12345678", calls, b"", b""))
        null = stack.enter_context(open(os.devnull, "r+b")).fileno()
        with Launch.connect(node.path) as launch, pytest.raises(BadRequest, match="output two"):
            launch.start(request, stdin, null, lambda _: data, inputs={"one": given}, outputs={"one": one})
        node.client.ping()
        before = descriptors(node)
        with Launch.connect(node.path) as launch:
            launch.start(request, stdin, null, lambda _: data, inputs={"one": given}, outputs={"one": one, "two": two})
            assert launch.outcome().outcome.exit_code == 0
        assert content(two) == b"12345678"
    node.calm()
    assert descriptors(node) - before < 10, "workers were forked, each with two"


# What a peer may say of them.

HOSTILE: dict[str, tuple[dict[str, Any], int, str]] = {
    "a text": ({"inputs": "one"}, 3, "inputs: not a list of strings"),
    "a map": ({"outputs": {"one": 1}}, 3, "outputs: not a list of strings"),
    "null": ({"inputs": None}, 2, "inputs: not a list of strings"),
    "numbers": ({"inputs": [1]}, 3, "inputs: not a list of strings"),
    "bytes": ({"inputs": [b"one"]}, 3, "inputs: not a list of strings"),
    "lists": ({"outputs": [["one"]]}, 3, "outputs: not a list of strings"),
    "a path": ({"inputs": ["../one"]}, 3, "inputs: '../one' is no name of a channel"),
    "a slash": ({"outputs": ["a/b"]}, 3, "outputs: 'a/b' is no name of a channel"),
    "dots": ({"inputs": [".."]}, 3, "inputs: '..' is no name of a channel"),
    "nothing": ({"inputs": [""]}, 3, "inputs: '' is no name of a channel"),
    "NUL": ({"inputs": ["a\0b"]}, 3, "is no name of a channel"),
    "a line": ({"inputs": ["one\n"]}, 3, "is no name of a channel"),
    "too long": ({"inputs": ["a" * 65]}, 3, "is no name of a channel"),
    "very long": ({"inputs": ["a" * 900_000]}, 3, "is no name of a channel"),
    "twice": ({"inputs": ["one", "one"]}, 4, "inputs: one is there twice"),
    "no descriptor": (
        {"inputs": ["one"]},
        2,
        "2 descriptors came with the launch, and it takes 3: stdin, stdout, in/one",
    ),
    "one too few": ({"inputs": ["one"], "outputs": ["two"]}, 3, "it takes 4: stdin, stdout, in/one, out/two"),
    "one too many": ({"inputs": ["one"]}, 4, "4 descriptors came with the launch, and it takes 3"),
    "without a name": ({}, 3, "3 descriptors came with the launch, and it takes 2: stdin and stdout"),
    "too many": ({"inputs": [f"n{at}" for at in range(MAX_NAMED + 1)]}, 16, f"{MAX_NAMED + 1} named channels, and a"),
    "a flood": ({"outputs": ["n"] + ["m"] * 200_000}, 2, "200001 named channels, and a launch on a"),
    "many that differ": ({"inputs": [f"n{at}" for at in range(50_000)]}, 2, "50000 named channels, and a launch on a"),
}


def asked(node: NodeProcess, message: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any] | None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(node.path)
        wire.send(sock, {**GOOD, **message}, fds)
        return wire.receive(sock, wire.Decoder())


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_wrong_with_them_is_named(node: NodeProcess, what: str) -> None:
    message, count, words = HOSTILE[what]
    with open(os.devnull, "r+b") as null:
        answer = asked(node, message, [null.fileno()] * count)
    assert answer is not None
    assert answer["error"] == "bad-request"
    assert words in answer["message"]


@pytest.mark.parametrize(
    ("way", "flags", "words"),
    [
        ("inputs", os.O_WRONLY, "channel in/one: its descriptor cannot be read"),
        ("outputs", os.O_RDONLY, "channel out/one: its descriptor cannot be written"),
        ("outputs", os.O_WRONLY | os.O_APPEND, "channel out/one: its descriptor appends"),
        ("inputs", os.O_PATH, "channel in/one: its descriptor is only a path's"),
    ],
)
def test_a_descriptor_that_does_not_go_that_way_is_refused(
    node: NodeProcess, tmp_path: Path, way: str, flags: int, words: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    fd = os.open(tmp_path / "file", flags)
    with open(os.devnull, "r+b") as null:
        answer = asked(node, {way: ["one"]}, [null.fileno(), null.fileno(), fd])
    os.close(fd)
    assert answer is not None
    assert answer["error"] == "bad-request"
    assert words in answer["message"]


def test_a_directory_is_read_by_nobody(node: NodeProcess, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        done = play(node, [opened("dev/in/one"), read(4)], inputs={"one": fd})
    finally:
        os.close(fd)
    assert done.record.outcome.end == "exit"
    assert done.errnos[1] != 0


def test_descriptors_return_to_what_they_were_after_all_of_that(node: NodeProcess) -> None:
    node.still_serves()
    node.calm()
    before = descriptors(node)
    with open(os.devnull, "r+b") as null:
        for message, count, _ in HOSTILE.values():
            asked(node, message, [null.fileno()] * count)
        with socket.socket(socket.AF_UNIX) as sock:  # half of a launch, with all the descriptors that it may bring
            sock.connect(node.path)
            half = wire.encode({**GOOD, "inputs": ["one"]})[:-5]
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("16i", *[null.fileno()] * 16))
            sock.sendmsg([half], [rights])
            eventually(lambda: descriptors(node) >= before + 16)
    eventually(lambda: descriptors(node) <= before)


# Channels that stand still, and ends in the middle.


def test_an_input_that_never_comes_holds_up_nobody_else(node: NodeProcess) -> None:
    given, source = os.pipe()
    try:
        done = play(node, [opened("dev/in/one"), read(4)], limits=Limits(wall=0.3), inputs={"one": given})
        assert done.record.outcome.limit is not None
        assert done.record.outcome.limit.name == "wall"
        node.still_serves()
    finally:
        os.close(given)
        os.close(source)


def test_an_output_that_nobody_reads_holds_up_nobody_else(node: NodeProcess) -> None:
    result, taken = os.pipe()
    try:
        calls = [opened("dev/out/one"), *[write(4)] * 15]
        limits = Limits(wall=1.0)
        given = script(calls, image(32 * KIB))
        _, record = node.run("puppet", stdin=given, limits=limits, outputs={"one": taken})
        assert record.outcome.limit is not None
        assert record.outcome.limit.name == "wall"
        assert 0 < record.outcome.channels["out/one"].bytes_written < 15 * 32 * KIB
        node.still_serves()
    finally:
        os.close(result)
        os.close(taken)


def test_whoever_reads_an_output_learns_of_a_workers_death(node: NodeProcess) -> None:
    (given, source), (result, taken) = os.pipe(), os.pipe()
    calls = [opened("dev/out/one"), write(4), opened("dev/in/one"), read(5)]
    stdin = script(calls, image(8, b"8 bytes!"))
    with node.launching("puppet", stdin=stdin, inputs={"one": given}, outputs={"one": taken}) as run:
        os.close(taken)
        os.close(given)
        assert os.read(result, 100) == b"8 bytes!"
        killed = node.client.ping()["workers"]  # it is one of them
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        assert os.read(result, 100) == b"", "the end"
        _, record = run.finish()
    assert record.outcome.end == "lost"
    for fd in (source, result):
        os.close(fd)
    eventually(lambda: not set(killed) & set(node.client.ping()["workers"]))  # of the others too
    node.still_serves()


def test_those_that_wait_hold_their_descriptors_and_let_go_of_them(start_node: StartNode, programs: Path) -> None:
    node = start_node("--workers", "1", "--spares-min", "0", "--spares-max", "1", "--queue", "3", programs=programs)
    node.still_serves()
    node.calm()
    before = descriptors(node)
    given, source = os.pipe()
    with ExitStack() as stack, open(os.devnull, "r+b") as null:
        running = stack.enter_context(node.launching("copy", stdin=given, tenant="A"))
        names = dict.fromkeys((f"n{at}" for at in range(MAX_NAMED)), null.fileno())
        waiting = []
        for at in range(3):
            launch = stack.enter_context(Launch.connect(node.path))
            message = {**GOOD, "tenant": f"T{at}", "inputs": list(names)}
            wire.send(launch._sock, message, [null.fileno()] * wire.MAX_FDS)
            waiting.append(launch)
        eventually(lambda: node.client.ping()["queued"] == 3)
        assert descriptors(node) >= before + 3 * wire.MAX_FDS
        with pytest.raises(Busy, match="limit queue: 3 allowed"):
            node.run("copy", tenant="B", inputs=names)
        waiting[0].close()
        eventually(lambda: node.client.ping()["queued"] == 2)
        os.close(source)
        running.finish()
        for launch in waiting[1:]:
            assert "id" in launch._receive(NodeUnavailable, "")
            assert launch.outcome().outcome.ok
    os.close(given)
    node.calm()
    eventually(lambda: descriptors(node) <= before)
