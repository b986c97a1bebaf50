"""What a node keeps of launches that failed: bundles that replay, within bounds, and never at a launch's cost."""

import json
import logging
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from insitu.runtime import keep
from insitu.runtime.bundles.build import build
from insitu.runtime.keep import FailedLaunch, Held, Keeper, failed, input_to_keep
from insitu.runtime.place import NodeFailed
from insitu.runtime.programs import ProgramInfo
from insitu.sandbox.bundle.directory import PACKED, PROGRAM, BundleReader
from insitu.sandbox.bundle.format import Bundle
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import MIB, Limits
from insitu.sandbox.outcome import LimitHit, Outcome
from tests.runtime.conftest import NodeProcess, StartNode, eventually
from tests.runtime.zips import Part, deflated, zipped
from tests.sandbox.guests import FLOOD, puppet, script
from tests.sandbox.named import OPENED, READING, Call, file, image, opened, write
from tests.sandbox.named import read as read_call

# Tells its first ten bytes on stderr and exits with 5.
PICKY = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\0a\\00\\00\\00")
  (func (export "_start")
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.const 5))))"""


@pytest.fixture(scope="module")
def programs(test_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("picky")
    (place / "picky.wasm").write_bytes(wasmtime.wat2wasm(PICKY))
    (place / "gush.wasm").write_bytes(wasmtime.wat2wasm(FLOOD))
    for name in ("copy", "trap", "loop"):
        (place / f"{name}.wasm").write_bytes((test_programs / f"{name}.wasm").read_bytes())
    return place


def kept(node: NodeProcess, id_: str) -> Path:
    """The bundle of a launch, once it is there."""
    eventually(lambda: node.client.run(id_) is not None and bundle_of(node, id_) != "")
    return Path(bundle_of(node, id_))


def bundle_of(node: NodeProcess, id_: str) -> str:
    record = node.client.run(id_)
    assert record is not None
    return record.bundle


def replayed(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "insitu", "replay", *words, str(place)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def read(place: Path) -> Bundle:
    with BundleReader(place) as reader:
        return reader.bundle


def test_a_launch_that_failed_is_kept_and_replays(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)
    data = b"0123456789" * 1000
    _, record = node.run(
        "picky", "an argument", stdin=data, env={"A": "b"}, limits=Limits(fuel=10_000), object_="/AUTH_test/c/o"
    )
    assert (record.outcome.exit_code, record.outcome.stderr, record.bundle) == (5, b"0123456789", "")
    place = kept(node, record.id)
    assert place == tmp_path / "kept" / record.id
    found = read(place)
    assert (found.argv, found.env, found.limits.fuel) == (("picky", "an argument"), {"A": "b"}, 10_000)
    assert found.program.digest == record.digest
    assert found.outcome == record.outcome
    assert dict(found.origin) == {
        "id": record.id,
        "request_id": "tx1",
        "tenant": "AUTH_test",
        "object": "/AUTH_test/c/o",
        "node": "test-node",
    }
    assert found.frozen is None
    assert "not frozen" in found.inexact
    assert (place / "inputs" / "stdin").read_bytes() == data
    command = [sys.executable, "-m", "insitu", "node", "--socket", node.path, "runs", record.id]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"bundle       {place}\n" in told
    done = replayed(place)
    assert done.returncode == 0, done
    assert done.stdout.startswith("the same as far as it goes: exit code 5\n")
    assert "the original was not frozen" in done.stdout
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (place, *place.rglob("*"))} == {0}


def tampered(place: Path, *path: str, by: int = 1) -> None:
    """A figure in its words becomes another."""
    told = json.loads((place / "bundle.json").read_text())
    inner = told
    for word in path[:-1]:
        inner = inner[word]
    inner[path[-1]] += by
    (place / "bundle.json").write_text(json.dumps(told))


def test_a_frozen_launch_that_failed_replays_to_the_unit(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)
    data = b"0123456789" * 1000
    _, record = node.run("picky", "an argument", stdin=data, frozen=True)
    _, stopped = node.run("loop", limits=Limits(fuel=1000), frozen=True)
    _, plain = node.run("picky", "an argument", stdin=data, frozen=True, figures=False)
    assert (plain.outcome.channels, plain.outcome.usage.fuel) == ({}, record.outcome.usage.fuel)
    _, late = node.run("loop", limits=Limits(wall=0.2), frozen=True)
    place = kept(node, record.id)
    found = read(place)
    assert found.frozen is not None
    assert found.inexact == ""
    for one in (place, kept(node, stopped.id), kept(node, plain.id)):
        done = replayed(one)
        assert done.returncode == 0, done
        assert done.stdout.startswith("the same: "), done.stdout
    tampered(place, "outcome", "usage", "fuel")
    done = replayed(place)
    assert done.returncode == 1
    assert done.stdout.startswith("fuel: "), done.stdout
    assert "stopped by the clock" in read(kept(node, late.id)).inexact
    # From a pipe it is the same; its bytes are the one thing that is not there.
    source, sink = os.pipe()
    os.write(sink, data)
    os.close(sink)
    _, piped = node.run("picky", "an argument", stdin=source, frozen=True)
    os.close(source)
    assert piped.outcome.usage.fuel == record.outcome.usage.fuel
    (tmp_path / "object").write_bytes(data)
    done = replayed(kept(node, piped.id), "-i", str(tmp_path / "object"))
    assert done.returncode == 0, done
    assert done.stdout.startswith("the same: ")


def test_what_disturbed_a_frozen_launch_is_said(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    """A reader that went away is told to the guest, and an input that changes is another input: what comes of either
    is no fault of the replay's."""
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)
    with node.launching("gush", frozen=True) as run:
        assert run.read(1)
        run.stop_reading()
        record = run.launch.outcome()
    assert record.outcome.exit_code == 7, "a write failed"
    assert read(kept(node, record.id)).inexact == "whoever read what it wrote went away"
    with (
        open(tmp_path / "object", "wb+") as given,
        node.launching("loop", stdin=given.fileno(), limits=Limits(fuel=1_000_000_000), frozen=True) as run,
    ):
        given.write(b"more")
        given.flush()
        _, record = run.finish()
    assert read(kept(node, record.id)).inexact == "stdin has changed since it began"


def test_traps_and_limits_are_kept_and_what_went_well_is_not(
    start_node: StartNode, programs: Path, tmp_path: Path
) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)
    _, well = node.run("copy", stdin=b"x")
    _, trapped = node.run("trap", stdin=b"x")
    _, stopped = node.run("loop", limits=Limits(fuel=1000))
    _, late = node.run("loop", limits=Limits(wall=0.2))
    places = {name: kept(node, record.id) for name, record in (("t", trapped), ("f", stopped), ("w", late))}
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(r.id for r in (trapped, stopped, late))
    assert bundle_of(node, well.id) == ""
    assert read(places["t"]).outcome.trap == trapped.outcome.trap
    for place in places.values():
        done = replayed(place)
        assert done.returncode == 0, done
    # What is not the same is told, from the trap to its backtrace.
    text = json.loads((places["t"] / "bundle.json").read_text())
    text["outcome"]["trap"] = text["outcome"]["trap"].replace("0:", "9:", 1)
    (places["t"] / "bundle.json").write_text(json.dumps(text))
    done = replayed(places["t"])
    assert done.returncode == 1
    assert done.stdout.startswith("trap: from line 2 on")


def test_an_input_that_is_no_file_is_absent_and_said_so(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)
    source, sink = os.pipe()
    os.write(sink, b"0123456789")
    os.close(sink)
    try:
        _, record = node.run("picky", stdin=source, object_="/AUTH_test/c/o")
    finally:
        os.close(source)
    place = kept(node, record.id)
    part = read(place).inputs["stdin"]
    assert (part.size, part.digest, part.kept) == (None, None, False)
    done = replayed(place)
    assert done.returncode == 125
    assert "give stdin (of which nothing is known, from /AUTH_test/c/o) with -i FILE" in done.stderr
    (tmp_path / "object").write_bytes(b"0123456789")
    assert replayed(place, "-i", str(tmp_path / "object")).returncode == 0
    (tmp_path / "object").write_bytes(b"another one")
    done = replayed(place, "-i", str(tmp_path / "object"))
    assert done.returncode == 1
    assert "  - 0123456789\n  + another on\n" in done.stdout


# What it was given by name, and what its program brought.

WORDS = "etc/words"
OPENS_WORDS: Call = ("path_open", 3, 0, 0, len(WORDS), 0, READING, 0, 0, OPENED)
FAILS: Call = ("fd_read", 99, 0, 0, 0)  # its error number is the puppet's exit code


@pytest.fixture(scope="module")
def puppets(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`puppet`, and `reader`, the same in a bundle with a file."""
    place = tmp_path_factory.mktemp("puppets")
    wasm = bytes(wasmtime.wat2wasm(puppet()))
    (place / "puppet.wasm").write_bytes(wasm)
    (place / "copy.wasm").write_bytes((programs / "copy.wasm").read_bytes())
    (place / "reader.zip").write_bytes(packed(tmp_path_factory.mktemp("reader"), wasm, b"8 words!"))
    return place


def packed(source: Path, wasm: bytes, words: bytes) -> bytes:
    (source / "files" / "etc").mkdir(parents=True)
    (source / "files" / WORDS).write_bytes(words)
    (source / "reader.wasm").write_bytes(wasm)
    (source / "program.toml").write_text('name = "reader"\nlimits = {memory = "2MiB"}\n')
    return build(source)[0]


def reads_words() -> bytes:
    memory = bytearray(image(8))
    memory[: len(WORDS)] = WORDS.encode()
    return script([OPENS_WORDS, read_call(4), FAILS], bytes(memory))


def test_a_failed_launch_of_a_bundle_is_kept_whole_and_replays(
    start_node: StartNode, puppets: Path, tmp_path: Path
) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=puppets)
    _, first = node.run("reader", stdin=reads_words())
    assert struct.unpack("<3I", first.outcome.stderr) == (0, 0, 8), "it has read its words"
    _, second = node.run("reader", stdin=reads_words())
    places = [kept(node, record.id) for record in (first, second)]
    for place in places:
        assert (place / PACKED).read_bytes() == (puppets / "reader.zip").read_bytes()
        assert not (place / PROGRAM).exists()
        found = read(place)
        assert (found.program.digest, found.program.kept, found.program.bundle) == (first.digest, True, True)
        assert found.limits.memory == 2 * MIB
    assert len({(place / PACKED).stat().st_ino for place in places}) == 1, "its bytes are there once"
    # What is in the kept one is what runs, whatever becomes of the program.
    (puppets / "reader.zip").rename(tmp_path / "reader.zip")
    try:
        done = replayed(places[0])
        assert done.returncode == 0, done
        assert done.stdout.startswith("the same as far as it goes: exit code 8\n")
        assert replayed(places[0], "--program", str(tmp_path / "reader.zip")).returncode == 0
        # Another one, of the same module but without the file that is looked for.
        other = packed(tmp_path / "other", (puppets / "puppet.wasm").read_bytes(), b"")
        (tmp_path / "mended.zip").write_bytes(other)
        done = replayed(places[0], "--program", str(tmp_path / "mended.zip"))
        assert done.returncode == 1
        assert f"program: {first.digest} recorded, {program_digest(other)} now" in done.stdout
        done = replayed(places[0], "--program", str(puppets / "puppet.wasm"))
        assert done.returncode == 1
        assert "stderr: from line 1 on" in done.stdout, "there are no words"
        done = replayed(places[0], "--files", str(tmp_path))
        assert done.returncode == 125
        assert "the recorded run had those of its program, which --program gives another" in done.stderr
    finally:
        (tmp_path / "reader.zip").rename(puppets / "reader.zip")


def test_a_bundle_that_is_gone_by_then_is_asked_for(start_node: StartNode, puppets: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "reader.zip").write_bytes((puppets / "reader.zip").read_bytes())
    (programs / "copy.wasm").write_bytes((puppets / "copy.wasm").read_bytes())
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)
    reading, writing = os.pipe()
    with node.launching("reader", stdin=reading) as run:
        (programs / "reader.zip").rename(tmp_path / "reader.zip")
        os.write(writing, reads_words())
        os.close(writing)
        _, record = run.finish()
    os.close(reading)
    place = kept(node, record.id)
    assert not (place / PACKED).exists()
    (tmp_path / "stdin").write_bytes(reads_words())
    given = ("-i", str(tmp_path / "stdin"))
    done = replayed(place, *given)
    assert done.returncode == 125
    assert f"the program reader ({record.digest}) with --program PROGRAM" in done.stderr
    assert replayed(place, *given, "--program", str(tmp_path / "reader.zip")).returncode == 0


def test_a_kept_bundle_is_read_as_the_work_of_an_enemy(start_node: StartNode, puppets: Path, tmp_path: Path) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=puppets)
    _, record = node.run("reader", stdin=reads_words())
    place = kept(node, record.id)
    whole = (place / PACKED).read_bytes()
    bomb = zipped(Part(b"program.toml", b"name = 'b'"), Part(b"x.wasm", b"one", 8, packed=deflated(bytes(10**6))))
    for data, claimed, words in (
        (whole[:-1], None, "bytes, and bundle.json says"),
        (whole[:-1] + b"x", None, "is sha256:"),
        (b"", b"", "program.zip"),
        (bomb, bomb, "unpacks to more than the 3 bytes it declares"),
        ((puppets / "puppet.wasm").read_bytes(), (puppets / "puppet.wasm").read_bytes(), "program.zip"),
    ):
        (place / PACKED).unlink()
        (place / PACKED).write_bytes(data)
        if claimed is not None:
            told = json.loads((place / "bundle.json").read_text())
            told["program"] |= {"digest": program_digest(claimed), "size": len(claimed)}
            (place / "bundle.json").write_text(json.dumps(told))
        done = replayed(place)
        assert done.returncode == 125, done
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == 1


def test_named_channels_of_a_failed_launch_are_kept_and_replay(
    start_node: StartNode, puppets: Path, tmp_path: Path
) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=puppets)
    calls = [
        opened("dev/in/one"),
        read_call(4, 3),
        opened("dev/in/two"),
        read_call(5),
        opened("dev/out/one"),
        write(6, 7),
        opened("dev/out/two"),
        write(7),
        FAILS,
    ]
    (reading, source), (result, taken) = os.pipe(), os.pipe()
    os.write(source, b"streamed")
    os.close(source)
    with file(b"0123456789abcdef") as given, file() as into:
        _, record = node.run(
            "puppet",
            stdin=script(calls, image(8)),
            inputs={"one": given, "two": reading},
            outputs={"one": into, "two": taken},
            object_="/AUTH_test/c/o",
        )
    for fd in (reading, result, taken):
        os.close(fd)
    assert struct.unpack("<9I", record.outcome.stderr) == (*[0] * 8, 8)
    place = kept(node, record.id)
    found = read(place)
    assert dict(found.outputs) == {"out/one": "file", "out/two": "stream"}
    assert list(found.inputs) == ["stdin", "in/one", "in/two"]
    assert [part.kept for part in found.inputs.values()] == [True, True, False]
    assert [part.hint for part in found.inputs.values()] == ["/AUTH_test/c/o", "", ""]
    assert found.outcome.channels == record.outcome.channels
    assert (place / "inputs" / "in-one").read_bytes() == b"0123456789abcdef"
    done = replayed(place)
    assert done.returncode == 125
    assert "give in/two (of which nothing is known) with --in two=FILE" in done.stderr
    (tmp_path / "two").write_bytes(b"streamed")
    done = replayed(place, "--in", f"two={tmp_path / 'two'}")
    assert done.returncode == 0, done
    (tmp_path / "one").write_bytes(b"another")
    done = replayed(place, "--in", f"two={tmp_path / 'two'}", "--in", f"one={tmp_path / 'one'}")
    assert done.returncode == 1
    assert "input in/one: sha256:" in done.stdout


def test_nothing_is_kept_unless_it_is_asked_for(node: NodeProcess) -> None:
    _, record = node.run("trap")
    node.still_serves()
    assert bundle_of(node, record.id) == ""


def test_the_node_that_keeps_has_no_engine_and_leaks_no_descriptor(
    start_node: StartNode, programs: Path, tmp_path: Path
) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)

    def some() -> None:
        for _ in range(5):
            with file(b"x") as given, file() as taken:
                inputs, outputs = {"a": given, "b": given}, {"c": taken}
                _, record = node.run("picky", stdin=b"0123456789", inputs=inputs, outputs=outputs)
                kept(node, record.id)
                node.run("copy", stdin=b"0123456789", inputs=inputs, outputs=outputs)
        node.calm()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{node.pid}/fd"))

    some()
    before = descriptors()
    some()
    eventually(lambda: descriptors() <= before)
    assert "wasmtime" not in Path(f"/proc/{node.pid}/maps").read_text()


def test_a_full_disk_is_logged_and_touches_no_launch(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    node = start_node("--keep-failed", str(directory), programs=programs)
    directory.rmdir()
    directory.write_text("no directory any more")
    _, record = node.run("picky", stdin=b"0123456789")
    assert record.outcome.exit_code == 5
    eventually(lambda: f"launch {record.id} is not kept" in node.log.read_text())
    assert "Traceback" not in node.log.read_text()
    node.still_serves()
    directory.unlink()
    directory.mkdir(0o700)
    _, record = node.run("picky", stdin=b"0123456789")
    kept(node, record.id)


def test_when_it_is_told_to_end_what_waits_is_kept(start_node: StartNode, programs: Path, tmp_path: Path) -> None:
    node = start_node("--keep-failed", str(tmp_path / "kept"), programs=programs)
    records = [node.run("picky", stdin=b"0123456789")[1] for _ in range(3)]
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(15) == 0
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(record.id for record in records)


@pytest.mark.parametrize("kind", ["open", "file", "missing"])
def test_a_directory_that_others_may_look_into_is_refused(programs: Path, short_path: Path, kind: str) -> None:
    directory = short_path / "kept"
    if kind == "open":
        directory.mkdir()
        directory.chmod(0o755)
    elif kind == "file":
        directory.write_text("")
    else:
        directory = short_path / "kept" / "\udcff" / ("x" * 300)
    command = [
        sys.executable,
        "-m",
        "insitu",
        "node",
        "--socket",
        str(short_path / "s"),
        "--keep-failed",
        str(directory),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "--keep-failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_counts_as_failed() -> None:
    assert failed(Outcome("trap", trap="x"))
    assert failed(Outcome("exit", exit_code=1))
    assert failed(Outcome("limit", limit=LimitHit("wall", 1, 1)))
    assert not failed(Outcome("exit", exit_code=0, limit=LimitHit("tmp", 1, 2)))
    assert not failed(Outcome("cancelled"))
    assert not failed(Outcome("lost"))


# The keeper by itself.


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def a_launch(at: int, program: Path, size: int = 0, **changes: Any) -> FailedLaunch:
    fd = None
    if size:
        fd = os.memfd_create("input")
        os.pwrite(fd, os.urandom(size), 0)
    fields: dict[str, Any] = {
        "id": f"{at:032x}",
        "program": ProgramInfo(program.stem, program_digest(program.read_bytes()), str(program)),
        "args": (),
        "env": {},
        "limits": Limits(),
        "outcome": Outcome("exit", exit_code=1),
        "origin": {},
        "held": Held({"stdin": fd}, {}),
    }
    return FailedLaunch(**(fields | changes))


def finished(keeper: Keeper, count: int) -> Iterator[str]:
    """The ids that were kept, once there are so many."""
    found: list[tuple[str, str]] = []

    def enough() -> bool:
        found.extend(keeper.done())
        return len(found) >= count

    eventually(enough)
    return (id_ for id_, _ in found)


def names(directory: Path) -> list[int]:
    return sorted(int(path.name, 16) for path in directory.iterdir())


def size_of(directory: Path) -> int:
    files = {path.stat().st_ino: path.stat().st_size for path in directory.rglob("*") if path.is_file()}
    return sum(files.values())


def test_the_oldest_go_when_there_are_too_many(
    directory: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "COUNT_MOST", 3)
    with closing(Keeper(str(directory), 100 * MIB)) as keeper:
        for at in range(7):
            keeper.keep(a_launch(at, programs / "picky.wasm"))
            assert list(finished(keeper, 1)) == [f"{at:032x}"]
            assert len(names(directory)) <= 3
        assert names(directory) == [4, 5, 6]


def test_the_oldest_go_when_they_are_too_large(directory: Path, programs: Path) -> None:
    most = 4 * MIB
    with closing(Keeper(str(directory), most)) as keeper:
        for at in range(8):
            keeper.keep(a_launch(at, programs / "picky.wasm", size=MIB))
            list(finished(keeper, 1))
            assert size_of(directory) <= most
            assert names(directory)[-1] == at
        assert len(names(directory)) >= 2
        # One that alone is too large is not kept, and nothing goes for it.
        before = names(directory)
        keeper.keep(a_launch(100, programs / "picky.wasm", size=5 * MIB))
        keeper.keep(a_launch(101, programs / "picky.wasm"))
        list(finished(keeper, 1))
        assert 100 not in names(directory)
        assert before[-1] in names(directory)


def test_what_others_put_there_stays(directory: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "COUNT_MOST", 1)
    directory.mkdir(0o700)
    (directory / "README").write_text("mine")
    (directory / "saved").mkdir()
    (directory / f".{'a' * 32}.77.part").mkdir()  # of a node that was killed
    with closing(Keeper(str(directory), 100 * MIB)) as keeper:
        for at in range(3):
            keeper.keep(a_launch(at, programs / "picky.wasm"))
            list(finished(keeper, 1))
    assert sorted(path.name for path in directory.iterdir()) == [f"{2:032x}", "README", "saved"]


def test_a_program_that_fails_again_and_again_is_there_once(directory: Path, programs: Path) -> None:
    with closing(Keeper(str(directory), 100 * MIB)) as keeper:
        for at in range(3):
            keeper.keep(a_launch(at, programs / "picky.wasm"))
        list(finished(keeper, 3))
        files = [(path / PROGRAM).stat().st_ino for path in directory.iterdir()]
        assert len(set(files)) == 1
        # Also when the one that had it first is gone.
        for path in (directory / f"{2:032x}").iterdir():
            path.unlink()
        (directory / f"{2:032x}").rmdir()
        keeper.keep(a_launch(3, programs / "picky.wasm"))
        list(finished(keeper, 1))
        assert read(directory / f"{3:032x}").program.kept


def test_a_program_that_is_another_by_now_is_not_kept_as_what_ran(directory: Path, tmp_path: Path) -> None:
    program = tmp_path / "guest.wasm"
    program.write_bytes(b"\0asm\x01\0\0\0")
    launch = a_launch(1, program)
    program.write_bytes(b"\0asm\x01\0\0\0 and more")
    with closing(Keeper(str(directory), 100 * MIB)) as keeper:
        keeper.keep(launch)
        list(finished(keeper, 1))
    found = read(directory / f"{1:032x}")
    assert not found.program.kept
    assert not (directory / f"{1:032x}" / PROGRAM).exists()
    done = replayed(directory / f"{1:032x}", "-i", os.devnull)
    assert done.returncode == 125
    assert f"the program guest ({found.program.digest}) with --program PROGRAM" in done.stderr


def _opened_by_its_reader(pipe: Path, fds: list[int]) -> bool:
    try:
        fds.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def test_where_many_fail_at_once_some_are_dropped_and_told(
    directory: Path, programs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    before = len(os.listdir("/proc/self/fd"))
    fds: list[int] = []
    # The first holds the keeper up: its program is a pipe that somebody has to write to.
    held = tmp_path / "held.wasm"
    os.mkfifo(held)
    launches = [a_launch(at, programs / "picky.wasm", size=10) for at in range(41)]
    launches[0] = replace(launches[0], program=ProgramInfo("held", "sha256:" + "0" * 64, str(held)))
    with closing(Keeper(str(directory), 100 * MIB)) as keeper:
        keeper.keep(launches[0])
        eventually(lambda: _opened_by_its_reader(held, fds))
        for launch in launches[1:]:
            keeper.keep(launch)
        os.close(fds.pop())
    assert names(directory) == list(range(17)), "the one under way, and as many as may wait"
    assert "24 failed launches were not kept: too many at once" in caplog.text
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_input_is_held_only_when_it_is_a_file_that_is_not_too_large(tmp_path: Path) -> None:
    source, sink = os.pipe()
    assert input_to_keep(source) is None
    os.close(source)
    os.close(sink)
    assert input_to_keep(source) is None, "what is no descriptor is no input"
    with open(tmp_path / "file", "w+b") as file:
        file.truncate(keep.INPUT_MOST)
        mine = input_to_keep(file.fileno())
        assert mine is not None
        os.close(mine)
        file.truncate(keep.INPUT_MOST + 1)
        assert input_to_keep(file.fileno()) is None


def test_a_directory_that_is_not_ours_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with pytest.raises(NodeFailed, match="try: chmod 700"):
        Keeper(str(tmp_path), MIB)
