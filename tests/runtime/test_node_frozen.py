"""Frozen launches on a node: the same input gives the same output, stderr and fuel, on any node, in any worker, on any
day; and real launches of the same program beside them are as real as ever."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from insitu.runtime import wire
from insitu.runtime.bundles.build import build
from insitu.runtime.cache import CompiledCache
from insitu.runtime.client import Launch, LaunchRequest
from insitu.runtime.engines import Engines
from insitu.runtime.errors import BadRequest, ProgramRejected
from insitu.runtime.form import digest_of, form_of, is_frozen
from insitu.runtime.questions import Questions
from insitu.runtime.record import Record
from insitu.sandbox import raw
from insitu.sandbox.channels import FileInput, FileSource
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import FROZEN_START, Frozen
from insitu.sandbox.digest import program_digest
from insitu.sandbox.launch import Launch as SandboxLaunch
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.program import to_wasm
from tests.runtime.conftest import NodeProcess, StartNode, eventually
from tests.sandbox.frozen import ASKED, asking, bringing
from tests.sandbox.guests import FROZEN_NAN, NAN, OWN_NAN, puppet, script
from tests.sandbox.named import RESULT, file, image
from tests.sandbox.seen import ARGUMENTS, ENVIRONMENT, KEPT, ONE, QUESTIONS, digest_of_what_it_saw

GIVEN = b"".join(b"word%d and %d more\n" % (n % 97, n) for n in range(700))


@pytest.fixture(scope="module")
def programs(test_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`frozen` (a module) and `iced` (a bundle) do what `puppet` does, and say that they are frozen."""
    place = tmp_path_factory.mktemp("frozen")
    wasm = wasmtime.wat2wasm(puppet())
    for name in ("puppet", "frozen", "guest"):
        (place / f"{name}.wasm").write_bytes(wasm)
    (place / "frozen.toml").write_text("frozen = true\n")
    source = tmp_path_factory.mktemp("iced")
    (source / "iced.wasm").write_bytes(wasm)
    (source / "program.toml").write_text('name = "iced"\nfrozen = true\n')
    (place / "iced.zip").write_bytes(build(source)[0])
    (place / "nan.wasm").write_bytes(wasmtime.wat2wasm(NAN))
    for name in ("copy", "loop", "flood", "hog", "stranger", "stall"):
        (place / f"{name}.wasm").write_bytes((test_programs / f"{name}.wasm").read_bytes())
    return place


Seen = tuple[bytes, bytes, int, int, dict[str, Any]]


def seen(output: bytes, record: Record) -> Seen:
    """All that has to be the same."""
    outcome = record.outcome
    assert outcome.ok, outcome.sentence()
    usage = outcome.usage
    figures = {
        name: (one.bytes_read, one.reads, one.bytes_written, one.writes) for name, one in outcome.channels.items()
    }
    return output, outcome.stderr, usage.fuel, usage.memory_peak, figures


def ask(node: NodeProcess, kind: str = "file", program: str = "puppet", limits: Limits | None = None) -> Seen:
    """A frozen launch of the guest that looks for differences, its stdin brought in that way."""
    with bringing(kind, asking()) as stdin, file(GIVEN) as one:
        return seen(
            *node.run(
                program, stdin=stdin, inputs={"one": one}, frozen=program == "puppet", env={"A": "b"}, limits=limits
            )
        )


@pytest.fixture(scope="module")
def expected() -> Seen:
    """What it sees in a sandbox of this process."""
    runner = Runner(canonical_nans=True)
    with file(asking()) as stdin, file(GIVEN) as one, file() as stdout:
        channels = Channels(inputs={"one": FileInput(one)})
        launch = SandboxLaunch(
            ["puppet"], FileSource(stdin), stdout, Limits(), env={"A": "b"}, channels=channels, frozen=Frozen()
        )
        outcome = runner.run(runner.compile(to_wasm(puppet().encode())), launch)
        output = os.pread(stdout, 1 << 20, 0)
    assert outcome.stderr == bytes(4 * ASKED), "every call was answered"
    assert int.from_bytes(output[RESULT : RESULT + 8], "little") == FROZEN_START + 1000
    record = Record("", "", "", "", "", "", (), "", 0, 0.0, 0, outcome)
    return seen(output, record)


# The same.


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_a_file_a_pipe_and_a_socket_are_the_same_on_two_nodes(
    start_node: StartNode, programs: Path, tmp_path: Path, isolation: str, expected: Seen
) -> None:
    """Each has compiled it for itself. Also in workers that were warmed with it, and where there was nothing made
    ahead."""
    for number in range(2):
        options = ("--isolation", isolation, "--workers", "3", "--spares-min", "1")
        node = start_node(*options, programs=programs, cache=tmp_path / f"cache-{number}")
        for kind in ("file", "piecewise pipe", "socket", "file", "piecewise socket"):
            assert ask(node, kind) == expected, kind
            node.calm()  # the next one's worker is warm
        # With less than a sandbox made ahead may have, the launch has to make its own.
        assert ask(node, limits=Limits(table=1000)) == expected


def test_an_input_that_is_checked_is_the_same(start_node: StartNode, programs: Path) -> None:
    node = start_node(programs=programs)
    md5 = hashlib.md5(GIVEN, usedforsecurity=False).hexdigest()
    found = set()
    for kind, known in (("file", ""), ("file", md5), ("piecewise pipe", md5), ("socket", md5)):
        with bringing(kind, GIVEN) as stdin:
            output, record = node.run("copy", stdin=stdin, md5=known, frozen=True)
        assert output == GIVEN
        found.add((record.outcome.usage.fuel, record.outcome.channels["stdin"].reads))
    assert len(found) == 1
    _, record = node.run("copy", stdin=GIVEN[1:], md5=md5, frozen=True)
    assert record.outcome.end == "damaged"


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_a_guest_sees_what_it_sees_without_a_node(start_node: StartNode, programs: Path, isolation: str) -> None:
    """Whatever it asks: in a worker that is confined, stdout a pipe."""
    node = start_node("--isolation", isolation, programs=programs)
    found = {}
    for name, stdin in QUESTIONS.items():
        with file(ONE) as one:
            output, record = node.run(
                "guest", *ARGUMENTS, stdin=stdin, env=ENVIRONMENT, inputs={"one": one}, frozen=True
            )
        found[name] = digest_of_what_it_saw(record.outcome, output)
    assert found == {name: KEPT[name] for name in QUESTIONS}


def test_whoever_is_read_slowly_is_the_same(start_node: StartNode, programs: Path) -> None:
    """What it writes is taken in whatever pieces."""
    node = start_node(programs=programs)
    data = os.urandom(300_000)
    found = set()
    for slow in (False, True):
        with node.launching("copy", stdin=data, frozen=True) as run:
            if slow:
                for _ in range(20):
                    assert run.read(1)
            output, record = run.finish()
        assert data.endswith(output)
        found.add((record.outcome.usage.fuel, record.outcome.channels["stdout"].writes))
    assert len(found) == 1


def test_the_manifest_says_it_for_all_launches(start_node: StartNode, programs: Path, expected: Seen) -> None:
    node = start_node(programs=programs)
    for program in ("frozen", "iced"):
        assert ask(node, program=program) == expected
        with file() as stdin, file(GIVEN) as one, node.launching(program, stdin=stdin, inputs={"one": one}) as run:
            assert run.accepted.frozen
            run.finish()
    told = {info.name: info.frozen for info in node.client.programs()}
    assert told["frozen"]
    assert told["iced"]
    assert not told["puppet"]
    assert not told["cat"]


ANOTHER_DAY = """
import os, time
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + 40 * 86400
time.time_ns = lambda: real_ns() + 40 * 86400 * 10**9
"""


def test_another_day_is_the_same(
    start_node: StartNode, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Seen
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ANOTHER_DAY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    node = start_node(programs=programs)
    assert ask(node) == expected
    with file(asking(sleep=0)) as stdin, file(GIVEN) as one:
        output, _ = node.run("puppet", stdin=stdin, inputs={"one": one})
    assert int.from_bytes(output[RESULT : RESULT + 8], "little") > (time.time() + 39 * 86400) * 1e9, "it is another day"


# Side by side.


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_real_and_frozen_launches_of_one_program_at_once(start_node: StartNode, programs: Path, isolation: str) -> None:
    node = start_node("--isolation", isolation, "--workers", "3", programs=programs)
    found: list[tuple[bool, bool, int]] = []

    def launch(frozen: bool) -> None:
        for _ in range(10):
            with node.launching("nan", frozen=frozen) as run:
                output, record = run.finish()
                assert record.outcome.ok, record.outcome.sentence()
                found.append((frozen, run.accepted.frozen, int.from_bytes(output, "little")))

    threads = [threading.Thread(target=launch, args=(frozen,)) for frozen in (False, True, False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert set(found) == {(False, False, OWN_NAN), (True, True, FROZEN_NAN)}
    ping = node.client.ping()
    assert ping["loaded"] == 2, "in each form once"


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def test_a_worker_has_one_alarm_for_both(start_node: StartNode, programs: Path) -> None:
    """It stops guests of either kind, and they meet in one worker."""
    node = start_node("--isolation", "shared", "--workers", "1", "--spares-min", "0", programs=programs)
    for frozen in (True, False):
        node.run("copy", stdin=b"x", frozen=frozen)
    pids = set()
    for frozen in (True, False, True):
        _, record = node.run("copy", stdin=b"x", frozen=frozen)
        pids.add(record.worker)
        assert threads_of(record.worker) == 2
    assert len(pids) == 1
    for frozen in (False, True, False, True):
        _, record = node.run("loop", limits=Limits(wall=0.2), frozen=frozen)
        outcome = record.outcome
        assert outcome.limit is not None
        assert outcome.limit.name == "wall"
        assert outcome.note == "", "it was stopped from inside"


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_limits_hold(start_node: StartNode, programs: Path, isolation: str) -> None:
    node = start_node("--isolation", isolation, programs=programs)
    asked: list[tuple[str, Mapping[str, Any]]] = [
        ("loop", {"wall": 0.2}),
        ("loop", {"cpu": 0.1}),
        ("loop", {"fuel": 100_000}),
        ("flood", {"output": 10_000}),
        ("stall", {"wall": 0.2}),
    ]
    for program, limits in asked:
        with ExitStack() as stack:
            stdin: int | bytes = b""
            if program == "stall":
                stdin, writing = os.pipe()
                stack.callback(os.close, stdin)
                stack.callback(os.close, writing)
            output, record = node.run(program, stdin=stdin, limits=Limits(**limits), frozen=True)
        outcome = record.outcome
        assert outcome.limit is not None, outcome.sentence()
        assert outcome.limit.name == next(iter(limits))
        assert program != "flood" or len(output) == 10_000
    _, small = node.run("hog", limits=Limits(memory=4 << 20), frozen=True)
    assert small.outcome.usage.memory_peak <= 4 << 20
    node.still_serves()


def test_what_is_loaded_is_bounded_whatever_its_form(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text("loaded_bytes = 1\n")
    node = start_node("--config", str(config), programs=programs)
    for _ in range(3):
        for frozen, value in ((False, OWN_NAN), (True, FROZEN_NAN)):
            output, _ = node.run("nan", frozen=frozen)
            assert int.from_bytes(output, "little") == value
            eventually(lambda: node.client.ping()["loaded"] == 1)


def test_what_is_no_program_is_none_in_either_form(start_node: StartNode, programs: Path) -> None:
    node = start_node(programs=programs)
    said = []
    for frozen in (False, True, True, False):
        with pytest.raises(ProgramRejected) as why:
            node.run("stranger", frozen=frozen)
        said.append(str(why.value))
    assert len(set(said)) == 1


def test_a_spawner_that_died_makes_both_again(start_node: StartNode, programs: Path) -> None:
    node = start_node(programs=programs)
    assert int.from_bytes(node.run("nan", frozen=True)[0], "little") == FROZEN_NAN
    before = node.client.ping()["spawner"]
    os.kill(before, 9)
    eventually(lambda: node.client.ping()["spawner"] != before)
    assert int.from_bytes(node.run("nan", frozen=True)[0], "little") == FROZEN_NAN
    assert int.from_bytes(node.run("nan")[0], "little") == OWN_NAN


ORDERS = """
import sys
try:
    from insitu.runtime import spawner
except ImportError:
    pass
else:
    honest = spawner.Spawner._fork
    def fork(self, message, *fds):
        print("warm", *message["warm"], file=sys.stderr, flush=True)
        honest(self, message, *fds)
    spawner.Spawner._fork = fork
"""


def test_workers_are_warmed_in_the_form_that_is_asked_for(
    start_node: StartNode, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ORDERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    node = start_node(programs=programs)
    for _ in range(3):
        _, record = node.run("copy", stdin=b"x", frozen=True)
        node.calm()
    lines = [line for line in node.log.read_text().splitlines() if line.startswith("warm")]
    assert f"warm {form_of(record.digest, frozen=True)}" in lines
    assert f"warm {record.digest}" not in lines
    for _ in range(3):
        node.run("copy", stdin=b"x")
        node.calm()
    both = {"warm", record.digest, form_of(record.digest, frozen=True)}
    assert both in [set(line.split()) for line in node.log.read_text().splitlines()]


# What it may not be given.


def test_named_inputs_must_be_files(start_node: StartNode, programs: Path) -> None:
    node = start_node(programs=programs)
    for kind in ("pipe", "socket"):
        reading, writing = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
        with file(asking()) as stdin, file(GIVEN) as other:
            for frozen in (True, False):
                words = f"channel in/one: its descriptor is a {kind}, and in a frozen launch"
                inputs = {"zero": other, "one": reading}
                if frozen:
                    with pytest.raises(BadRequest, match=words):
                        node.run("puppet", stdin=stdin, inputs=inputs, frozen=True)
                else:
                    with node.launching("copy", stdin=stdin, inputs=inputs) as run:
                        assert not run.accepted.frozen
        os.close(reading)
        os.close(writing)
    # What nobody can tell without asking it, a worker finds out: nothing has run by then.
    device = os.open(os.devnull, os.O_RDONLY)
    output, record = node.run("copy", stdin=b"x", inputs={"one": device}, frozen=True)
    os.close(device)
    assert (output, record.outcome.end, record.outcome.usage.fuel) == (b"", "lost", 0)
    assert record.outcome.note == "the host failed: in/one is no regular file, which it must be in a frozen launch"
    node.still_serves()


def test_a_memfd_is_a_file(start_node: StartNode, programs: Path, expected: Seen) -> None:
    node = start_node(programs=programs)
    one = os.memfd_create("one")
    os.pwrite(one, GIVEN, 0)
    with file(asking()) as stdin:
        found = seen(*node.run("puppet", stdin=stdin, inputs={"one": one}, frozen=True, env={"A": "b"}))
    os.close(one)
    assert found == expected


@pytest.mark.parametrize("word", ["yes", 1, None])
def test_it_is_asked_for_by_true_alone(node: NodeProcess, word: object, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = wire.send

    def spoiled(sock: wire.Socket, message: Mapping[str, Any], fds: Any = ()) -> None:
        sent(sock, {**message, "frozen": word}, fds)

    monkeypatch.setattr(wire, "send", spoiled)
    with pytest.raises(BadRequest, match=r"frozen: .* is neither true nor false"):
        node.run("copy")


def test_nobody_is_sent_a_word_that_they_may_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of this version and a node of an older one, or the other way: then it is not frozen, and both know."""
    sent: list[Mapping[str, Any]] = []
    monkeypatch.setattr(wire, "send", lambda _sock, message, _fds: sent.append(message))
    answer = {"id": "1", "digest": "sha256:0", "content_type": "source"}
    monkeypatch.setattr(wire, "receive", lambda *_: answer)
    ours, theirs = socket.socketpair()
    with theirs:
        for frozen in (False, True):
            with Launch(ours.dup()) as launch:
                assert not launch.start(LaunchRequest("cat", frozen=frozen), 0, 1).frozen
    ours.close()
    assert ["frozen" in message for message in sent] == [False, True]


def test_an_input_that_cannot_be_read_makes_no_result(start_node: StartNode, programs: Path) -> None:
    node = start_node(programs=programs)
    unreadable = os.open("/proc/self/mem", os.O_RDONLY)
    _, record = node.run("copy", stdin=unreadable, frozen=True)
    os.close(unreadable)
    assert (record.outcome.exit_code, record.outcome.ok) == (0, False)
    assert record.outcome.broken == "stdin could not be read: I/O error"


def test_what_is_prepared_for_later_is_so_in_the_form_that_it_asks_for(
    start_node: StartNode, programs: Path, expected: Seen
) -> None:
    node = start_node()
    data = (programs / "iced.zip").read_bytes()
    with Questions.connect(node.path, timeout=60) as questions:
        info = questions.bring(program_digest(data), [data], tenant="AUTH_test", prepare=True)
    assert info.frozen
    before = node.client.ping()
    assert before["loaded"] == 1
    assert ask(node, program=info.digest) == expected
    assert node.client.ping()["loaded_bytes"] == before["loaded_bytes"]


# Files of a bundle.


def test_files_of_a_bundle_are_the_same_in_either_isolation_and_without_a_node(
    start_node: StartNode, programs: Path, tmp_path: Path
) -> None:
    """Times, numbers and the order of a directory included, whatever else was loaded before."""
    source = tmp_path / "filed"
    (source / "files" / "dev").mkdir(parents=True)
    for name in ("b", "a", "é"):
        (source / "files" / name).write_text(name)
    (source / "filed.wasm").write_bytes((programs / "puppet.wasm").read_bytes())
    (source / "program.toml").write_text('name = "filed"\nfrozen = true\n')
    place = tmp_path / "programs"
    place.mkdir()
    (place / "filed.zip").write_bytes(build(source)[0])
    (place / "iced.zip").write_bytes((programs / "iced.zip").read_bytes())
    memory = bytearray(image(64))
    memory[:1] = b"a"
    calls: list[tuple[str | int, ...]] = [
        ("fd_readdir", 3, 5000, 500, 0, 4900),
        ("path_filestat_get", 3, 0, 0, 1, 4000),
        ("fd_filestat_get", 3, 4100),
    ]
    given = script(calls, bytes(memory))
    (tmp_path / "given").write_bytes(given)
    command = [sys.executable, "-m", "insitu", "run", "-i", "given", "programs/filed.zip"]
    here = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert here.stderr == bytes(12), "every call was answered"
    for isolation in ("process", "shared"):
        node = start_node("--isolation", isolation, programs=place)
        for program in ("iced", "filed", "filed"):
            output, record = node.run(program, stdin=given)
            assert program == "iced" or (output, record.outcome.stderr) == (here.stdout, here.stderr)


# What it costs who does not ask for it.


def test_a_second_engine_is_made_when_it_is_first_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    new = raw.new_engine

    def counted(*, canonical_nans: bool = False) -> raw.Engine:
        made.append(canonical_nans)
        return new(canonical_nans=canonical_nans)

    monkeypatch.setattr(raw, "new_engine", counted)
    engines = Engines(CompiledCache(tmp_path))
    digest = "sha256:" + "0" * 64
    engines.runner(digest), engines.stock(digest), engines.entries([])
    assert made == [False]
    frozen = form_of(digest, frozen=True)
    assert engines.runner(frozen).canonical_nans
    assert engines.stock(frozen) is not engines.stock(digest)
    assert engines.runner(frozen) is engines.runner(frozen)
    assert made == [False, True]
    assert (is_frozen(frozen), is_frozen(digest), digest_of(frozen), form_of(digest, frozen=False)) == (
        True,
        False,
        digest,
        digest,
    )
