"""`insitu run --record` and `insitu replay`: a run that comes to the same anywhere, or exactly what differs."""

import copy
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.cli import replay as command
from insitu.sandbox.launch import Runner
from tests.cli.conftest import COMMAND, Insitu

OURS = 125
NOTHING = "sha256:" + "0" * 64
IMPORTS = """
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (func $iov (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $size)))
  (func $read (param $fd i32) (param $at i32) (param $size i32)
    (call $iov (local.get $at) (local.get $size))
    (drop (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $write (param $fd i32) (param $at i32) (param $size i32)
    (call $iov (local.get $at) (local.get $size))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $open (param $at i32) (param $size i32)
    (if (call $path_open (i32.const 3) (i32.const 1) (local.get $at) (local.get $size) (i32.const 0)
                         (i64.const 0x2) (i64.const 0) (i32.const 0) (i32.const 12))
      (then (call $exit (i32.const 99)))))
"""
# Tells all the ways in which two runs could differ: time, chance, its input and arguments.
CURIOUS = """
  (call $read (i32.const 0) (i32.const 1000) (i32.const 10))
  (drop (call $random (i32.const 1100) (i32.const 32)))
  (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 1132)))
  (drop (call $args (i32.const 2000) (i32.const 1140)))
  (call $write (i32.const 1) (i32.const 1000) (i32.const 200))
  (call $write (i32.const 2) (i32.const 1100) (i32.const 40))
"""


def guest(place: Path, body: str, *, more: str = "") -> Path:
    place.write_text(f'(module {IMPORTS} (memory (export "memory") 1) {more} (func (export "_start") {body}))')
    return place


def written(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "bundle.json").read_text())
    return found


def rewritten(place: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = written(place)
    change(found)
    (place / "bundle.json").write_text(json.dumps(found))


def lines(done: "subprocess.CompletedProcess[bytes]") -> list[str]:
    text = (done.stdout + done.stderr).decode()
    assert "Traceback" not in text
    return text.splitlines()


def same(done: "subprocess.CompletedProcess[bytes]") -> str:
    assert done.returncode == 0, done
    (line,) = lines(done)
    assert line.startswith("the same: ")
    return line


def refused(done: "subprocess.CompletedProcess[bytes]") -> str:
    assert done.returncode == OURS, done
    assert done.stdout == b""
    (line,) = lines(done)
    return line


# What comes to the same.


@pytest.mark.parametrize(
    ("body", "options", "code", "told"),
    [
        (CURIOUS, [], 0, r"exit code 0"),
        (CURIOUS + "(call $exit (i32.const 3))", [], 3, r"exit code 3"),
        (CURIOUS + "(call $exit (i32.const 300))", [], OURS, r"exit code 300"),
        (CURIOUS + "(call $middle)", [], OURS, r"trap: integer divide by zero"),
        (CURIOUS + "(loop $l (br $l))", ["--fuel", "5000"], OURS, r"limit fuel: 5000 allowed, 5000 reached"),
        (CURIOUS, ["--max-output", "150"], OURS, r"limit output: 150 B allowed, 200 B reached"),
        (CURIOUS * 2, ["--quota", "stdin.bytes=4"], OURS, r"limit stdin bytes: 4 B allowed"),
        (CURIOUS, ["--frozen=12345"], 0, r"exit code 0"),
        (CURIOUS, ["--env", "A=b", "--memory", "1MiB", "--table", "7"], 0, r"exit code 0"),
        (CURIOUS + "(call $recurse)", [], OURS, r"trap: call stack exhausted"),
        ("(drop (memory.grow (i32.const 1000))) (call $middle)", ["--memory", "1MiB"], OURS, r"trap"),
    ],
)  # fmt: skip
def test_it_comes_to_the_same(
    insitu: Insitu, tmp_path: Path, body: str, options: list[str], code: int, told: str
) -> None:
    inner = "(func $innermost (drop (i32.div_u (i32.const 1) (i32.const 0)))) (func $middle (call $innermost))"
    inner += "(func $recurse (call $recurse) (call $recurse))"
    program = guest(tmp_path / "guest.wat", body, more=inner)
    done = insitu("run", "--record", "b", *options, program, "one", "two", input=b"0123456789abcdef")
    assert done.returncode == code, done
    program.unlink()  # a bundle needs nothing beside it
    line = same(insitu("replay", "b"))
    assert re.search(told, line)
    fuel = written(tmp_path / "b")["outcome"]["usage"]["fuel"]
    assert f"{fuel:,} fuel" in line
    assert written(tmp_path / "b")["exact"] is True


def test_a_trap_has_the_same_backtrace_with_its_names(insitu: Insitu, tmp_path: Path) -> None:
    inner = "(func $innermost unreachable) (func $middle (call $innermost))"
    program = guest(tmp_path / "guest.wat", "(call $middle)", more=inner)
    insitu("run", "--record", "b", program)
    trap = written(tmp_path / "b")["outcome"]["trap"]
    assert re.search(r"unreachable.*\n.*innermost\n.*middle\n", trap)
    assert insitu("replay", "--json", "found", "b").returncode == 0
    found = json.loads((tmp_path / "found").read_text())
    assert found["outcome"]["trap"] == trap
    assert (found["same"], found["exact"], found["differences"]) == (True, True, [])


def test_another_process_another_place_another_day(
    insitu: Insitu, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    program = guest(tmp_path / "guest.wat", CURIOUS + "(call $exit (i32.const 7))")
    assert insitu("run", "--record", "b", program, input=b"0123456789").returncode == 7
    (tmp_path / "far").mkdir()
    shutil.move(tmp_path / "b", tmp_path / "far" / "away")
    other = dict(environment) | {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "77", "LANG": "de_DE.UTF-8", "A": "1"}
    words = [*COMMAND, "replay", "far/away"]
    done = subprocess.run(words, env=other, cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    same(done)


def feed(fd: int, data: bytes, piece: int) -> threading.Thread:
    def work() -> None:
        try:
            for at in range(0, len(data), piece):
                os.write(fd, data[at : at + piece])
        except BrokenPipeError:
            pass
        finally:
            os.close(fd)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", ["file", "pipe", "drops", "socket"])
def test_stdin_of_every_kind_makes_the_same_bundle(insitu: Insitu, tmp_path: Path, kind: str) -> None:
    data = b"the quick brown fox " * 3000
    (tmp_path / "data").write_bytes(data)
    if kind == "file":
        stdin, writer = os.open(tmp_path / "data", os.O_RDONLY), None
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        stdin, writer = theirs.detach(), feed(ours.detach(), data, 4096)
    else:
        stdin, end = os.pipe()
        writer = feed(end, data, 1 if kind == "drops" else 4096)
    try:
        done = insitu("run", "--record", "b", "words", stdin=stdin)
    finally:
        os.close(stdin)
        if writer is not None:
            writer.join()
    assert done.returncode == 0
    assert (tmp_path / "b" / "inputs" / "stdin").read_bytes() == data
    same(insitu("replay", "b"))
    # And it is what any other way of giving it comes to.
    insitu("run", "--record", "again", "-i", "data", "words")
    pair = [written(tmp_path / name)["outcome"] for name in ("b", "again")]
    for outcome in pair:
        outcome["usage"] = {key: value for key, value in outcome["usage"].items() if key not in ("cpu_us", "wall_us")}
    assert pair[0] == pair[1]


def test_what_the_guest_did_not_read_is_no_part_of_it(insitu: Insitu, tmp_path: Path) -> None:
    program = guest(tmp_path / "guest.wat", CURIOUS)
    insitu("run", "--record", "b", program, input=b"0123456789" + bytes(500_000))
    assert (tmp_path / "b" / "inputs" / "stdin").read_bytes() == b"0123456789"
    assert written(tmp_path / "b")["inputs"]["stdin"]["whole"] is False
    same(insitu("replay", "b"))
    # A guest that would read on is told that nobody knows how it went on.
    more = guest(tmp_path / "more.wat", CURIOUS * 2)
    done = insitu("replay", "--program", more, "b")
    assert done.returncode == 1
    assert "stdin: read beyond the 10 bytes that the recorded run read, and no more are known" in lines(done)


def test_a_run_that_reads_from_nobody_for_ever_ends_at_its_wall_time(insitu: Insitu, tmp_path: Path) -> None:
    program = guest(tmp_path / "guest.wat", CURIOUS * 2)
    read, write = os.pipe()
    os.write(write, b"0123456789abc")
    try:
        done = insitu("run", "--record", "b", "--wall", "300ms", program, stdin=read)
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == OURS
    found = written(tmp_path / "b")
    assert found["exact"] is False
    assert "stopped by the clock (limit wall)" in found["inexact"]
    assert (tmp_path / "b" / "inputs" / "stdin").read_bytes() == b"0123456789abc"
    done = insitu("replay", "--json", "found", "b")
    assert done.returncode == 0
    first, second, third = lines(done)
    assert first.startswith("the same as far as it goes: limit wall: 300 ms allowed")
    assert second == "stdin stood open: stopped where the recorded run was, behind the 13 B that it had read"
    assert third.startswith("fuel, memory, bytes and stderr are not compared")
    assert json.loads((tmp_path / "found").read_text())["same"] is True
    # Who does not come there is another: the end of a file is not what it was given.
    done = insitu("replay", "--program", guest(tmp_path / "other.wat", CURIOUS), "b")
    assert done.returncode == 1
    assert any(line.startswith("end: limit wall: 300 ms allowed") for line in lines(done))
    # Given by hand it is a whole file, with an end.
    (tmp_path / "more").write_bytes(b"0123456789abcdefghijklmn")
    done = insitu("replay", "-i", "more", "b")
    assert done.returncode == 1
    assert any(line.endswith("exit code 0 now") for line in lines(done))


def test_the_same_where_a_large_input_is_not_in_the_bundle(insitu: Insitu, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"0123456789abc")
    (tmp_path / "given").write_bytes(b"0123456789abc" * 3)
    try:
        insitu("run", "--record", "b", "--record-inputs", "5", "--wall", "300ms", "cat", stdin=read)
    finally:
        os.close(read)
        os.close(write)
    done = insitu("replay", "-i", "given", "b")
    assert done.returncode == 0, done
    assert "behind the 13 B" in lines(done)[1]


def test_a_named_input_that_stood_open_stands_open_again(insitu: Insitu, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    fd = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        os.write(fd, b"0123456789abc")
        done = insitu("run", "--record", "b", "--wall", "300ms", "--in", "a=pipe", "cat")
    finally:
        os.close(fd)
    assert done.returncode == OURS
    done = insitu("replay", "b")
    assert done.returncode == 0
    assert lines(done)[1].startswith("in/a stood open: ")


def test_a_guest_that_the_clock_stopped_is_compared_as_far_as_it_goes(insitu: Insitu, tmp_path: Path) -> None:
    program = guest(tmp_path / "guest.wat", "(loop $l (br $l))")
    insitu("run", "--record", "b", "--wall", "200ms", program)
    done = insitu("replay", "b")
    assert done.returncode == 0
    first, second = lines(done)
    assert first.startswith("the same as far as it goes: limit wall: 200 ms allowed")
    assert "fuel, memory, bytes and stderr are not compared: it was stopped by the clock" in second
    done = insitu("replay", "--program", guest(tmp_path / "other.wat", ""), "b")
    assert done.returncode == 1
    assert any(line.startswith("end: limit wall: 200 ms allowed") for line in lines(done))


def test_named_inputs_and_outputs(insitu: Insitu, tmp_path: Path) -> None:
    body = """(call $open (i32.const 3000) (i32.const 10)) (call $read (i32.const 4) (i32.const 1000) (i32.const 10))
      (call $open (i32.const 3020) (i32.const 10)) (call $read (i32.const 5) (i32.const 1010) (i32.const 10))
      (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 3040) (i32.const 11) (i32.const 0)
           (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 12)) (then (call $exit (i32.const 98))))
      (call $write (i32.load (i32.const 12)) (i32.const 1000) (i32.const 20))"""
    data = """(data (i32.const 3000) "dev/in/one") (data (i32.const 3020) "dev/in/two")
      (data (i32.const 3040) "dev/out/sum")"""
    body = body.replace("$read (i32.const 4)", "$read (i32.load (i32.const 12))")
    body = body.replace("$read (i32.const 5)", "$read (i32.load (i32.const 12))")
    program = guest(tmp_path / "guest.wat", body, more=data)
    (tmp_path / "one").write_bytes(b"0123456789ABC")
    os.mkfifo(tmp_path / "two")
    writer = threading.Thread(target=lambda: (tmp_path / "two").write_bytes(b"abcdefghijk"))
    writer.start()
    try:
        done = insitu(*("run", "--record", "b", "--in", "one=one", "--in", "two=two", "--out", "sum=sum", program))
    finally:
        writer.join()
    assert (done.returncode, (tmp_path / "sum").read_bytes()) == (0, b"0123456789abcdefghij"), done
    assert (tmp_path / "b" / "inputs" / "in-one").read_bytes() == b"0123456789ABC"
    assert (tmp_path / "b" / "inputs" / "in-two").read_bytes() == b"abcdefghijk"
    assert written(tmp_path / "b")["outputs"] == {"out/sum": "file"}
    for name in ("one", "two", "sum"):
        (tmp_path / name).unlink()
    assert "out/sum 20 B" in same(insitu("replay", "b"))
    (tmp_path / "other").write_bytes(b"0123456789ABD")
    done = insitu("replay", "--in", "one=other", "b")
    assert done.returncode == 1
    assert lines(done)[0].startswith("input in/one: sha256:")  # of bytes that the guest did not even read
    assert "there is no input 'in/three' in it; there are stdin, in/one, in/two" in refused(
        insitu("replay", "--in", "three=other", "b")
    )


@pytest.mark.parametrize("mode", ["--root", "--files"])
def test_a_tree_of_files(insitu: Insitu, tmp_path: Path, mode: str) -> None:
    tree = tmp_path / "tree"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir" / "file").write_bytes(b"0123456789")
    (tree / "copy").write_bytes(b"0123456789")
    (tree / "link").symlink_to("dir/file")
    body = """(call $open (i32.const 3000) (i32.const 4))
      (call $read (i32.load (i32.const 12)) (i32.const 1000) (i32.const 10))
      (call $write (i32.const 1) (i32.const 1000) (i32.const 10))"""
    program = guest(
        tmp_path / "guest.wat",
        body,
        more='(data (i32.const 3000) "link")',
    )
    done = insitu("run", "--record", "b", mode, "tree", program)
    assert (done.returncode, done.stdout) == (0, b"0123456789"), done
    assert len(list((tmp_path / "b" / "files").iterdir())) == 1, "the same contents are kept once"
    shutil.move(tree, tmp_path / "gone")
    same(insitu("replay", "b"))
    assert list(tmp_path.glob("insitu-replay-*")) == []
    (tmp_path / "gone" / "dir" / "file").write_bytes(b"012345678X")
    done = insitu("replay", "--files", "gone", "b")
    assert done.returncode == 1
    assert re.match(r"files: dir/file: 10 bytes, sha256:\w+ recorded, 10 bytes, sha256:\w+ now", lines(done)[0])
    assert any(line.startswith("stdout: sha256:") for line in lines(done))


def test_a_bundle_within_its_own_files_is_refused(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    line = refused(insitu("run", "--record", "tree/inner/b", "--files", "tree", "cat", input=b"x"))
    assert "tree/inner/b: is in tree, whose files are recorded; record elsewhere" in line
    assert list((tmp_path / "tree" / "inner").iterdir()) == []


def test_files_beyond_the_size_are_asked_for(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(bytes(2000))
    insitu("run", "--record", "b", "--record-files", "1999B", "--files", "tree", "cat", input=b"x")
    assert not (tmp_path / "b" / "files").exists()
    assert "not all is in it; give its 1 files with --files DIR" in refused(insitu("replay", "b"))
    same(insitu("replay", "--files", "tree", "b"))


# What differs.


@pytest.fixture
def recorded(insitu: Insitu, tmp_path: Path) -> Path:
    program = guest(tmp_path / "guest.wat", CURIOUS)
    assert insitu("run", "--record", "b", program, "one", input=b"0123456789").returncode == 0
    return tmp_path / "b"


def test_a_changed_input_is_told(insitu: Insitu, tmp_path: Path, recorded: Path) -> None:
    (tmp_path / "other").write_bytes(b"0123456789")
    same(insitu("replay", "-i", "other", recorded))
    (tmp_path / "other").write_bytes(b"0123456780")
    done = insitu("replay", "-i", "other", recorded)
    assert done.returncode == 1
    told = lines(done)
    assert [line.split(": ")[0] for line in told] == ["input stdin", "stdin", "stdout"]
    assert all(re.search(r"sha256:\w{64} recorded, sha256:\w{64} now$", line) for line in told)


def test_a_changed_argument_is_told(insitu: Insitu, recorded: Path) -> None:
    same(insitu("replay", recorded, "one"))
    same(insitu("replay", recorded, "--wall", "20s", "--", "one"))
    done = insitu("replay", recorded, "two")
    assert done.returncode == 1
    assert lines(done)[0] == "arguments: ['one'] recorded, ['two'] now"
    assert [line.split(":")[0] for line in lines(done)[1:]] == ["stdout"]


def test_a_changed_program_is_told(insitu: Insitu, tmp_path: Path, recorded: Path) -> None:
    same(insitu("replay", "--program", tmp_path / "guest.wat", recorded))
    other = guest(tmp_path / "other.wat", CURIOUS + "(drop (i32.const 1))")
    done = insitu("replay", "--program", other, recorded)
    assert done.returncode == 1
    told = lines(done)
    assert re.match(r"program: sha256:\w{64} recorded, sha256:\w{64} now", told[0])
    before = written(recorded)["outcome"]["usage"]["fuel"]
    assert re.fullmatch(rf"fuel: {before} recorded, {before + 1} now", told[1]) or told[1:] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda b: b["frozen"].update(seed=1), r"stdout: sha256"),
        (lambda b: b["frozen"].update(clock=1), r"stdout: sha256"),
        (lambda b: b["outcome"]["usage"].update(fuel=17), r"fuel: 17 recorded, \d+ now$"),
        (lambda b: b["outcome"].update(exit_code=9), r"exit code: 9 recorded, 0 now$"),
        (lambda b: b["outcome"].update(stderr="oops"), r"stderr: from line 1 on"),
        (lambda b: b["outcome"]["channels"]["stdout"].update(digest=NOTHING), r"stdout: sha256:0{64} recorded"),
        (lambda b: b["outcome"]["channels"]["stdin"].update(reads=5), r"stdin: reads: 5 recorded, 1 now$"),
        (lambda b: b["limits"].update(output=10), r"end: exit code 0 recorded, limit output: 10 B allowed"),
        (lambda b: b["outcome"].update(end="trap", trap="oops"), r"end: trap: oops recorded, exit code 0 now$"),
    ],
    ids=["seed", "clock", "fuel", "exit-code", "stderr", "digest", "reads", "limit", "end"],
)  # fmt: skip
def test_exactly_what_differs_is_told(
    insitu: Insitu, recorded: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    rewritten(recorded, change)
    done = insitu("replay", recorded)
    assert done.returncode == 1
    assert any(re.match(told, line) for line in lines(done)), lines(done)
    assert not any("likely the reason" in line for line in lines(done))


def test_another_engine_is_told_first_as_the_likely_reason(insitu: Insitu, recorded: Path) -> None:
    rewritten(recorded, lambda b: b["engine"].update(wasmtime="49.0.0", settings=b["engine"]["settings"] + ";more"))
    done = insitu("replay", recorded)
    assert done.returncode == 0
    assert [line.partition(" ")[0] for line in lines(done)] == ["the", "although", "although"]
    rewritten(recorded, lambda b: b["outcome"]["usage"].update(fuel=1))
    done = insitu("replay", recorded)
    assert done.returncode == 1
    assert re.fullmatch(r"wasmtime: 49\.0\.0 recorded, \d+\.\S+ now \(likely the reason\)", lines(done)[0])
    assert lines(done)[1] == "engine settings: more recorded, none now (likely the reason)"
    assert lines(done)[2].startswith("fuel: 1 recorded, ")


def test_who_was_stopped_by_the_clock_only_now_is_told_of_wall(insitu: Insitu, tmp_path: Path, recorded: Path) -> None:
    loop = guest(tmp_path / "loop.wat", "(loop $l (br $l))")
    done = insitu("replay", "--wall", "200ms", "--program", loop, recorded)
    assert done.returncode == 1
    assert "it was stopped by the clock now: give it more time with --wall" in lines(done)
    assert any(line.startswith("end: exit code 0 recorded, limit wall: 200 ms allowed, ") for line in lines(done))


# What it writes, and where.


def test_the_replayed_output_goes_nowhere_unless_asked(insitu: Insitu, tmp_path: Path) -> None:
    program = guest(tmp_path / "guest.wat", CURIOUS + "(call $exit (i32.const 5))")
    done = insitu("run", "--record", "b", program, input=b"0123456789")
    written_then = done.stdout
    assert len(written_then) == 200
    before = sorted(tmp_path.iterdir())
    assert b"0123456789" not in insitu("replay", "b").stdout
    assert sorted(tmp_path.iterdir()) == before
    assert insitu("replay", "-o", "out", "b").returncode == 0
    assert (tmp_path / "out").read_bytes() == written_then
    done = insitu("replay", "-o", "-", "b")
    assert done.stdout == written_then
    assert done.stderr.startswith(b"the same: exit code 5")


def test_a_finding_that_cannot_be_written_is_no_difference(insitu: Insitu, recorded: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = insitu("replay", recorded, stdout=full)
    assert (done.returncode, done.stderr) == (OURS, b"insitu: cannot write the finding: No space left on device\n")


def test_stderr_on_request(insitu: Insitu, tmp_path: Path) -> None:
    program = guest(
        tmp_path / "guest.wat",
        "(call $write (i32.const 2) (i32.const 3000) (i32.const 4))",
        more='(data (i32.const 3000) "oops")',
    )
    insitu("run", "--record", "b", program)
    assert insitu("replay", "b").stderr == b""
    assert insitu("replay", "--stderr", "b").stderr == b"oops\n"


def test_recording_changes_nothing_for_the_guest(insitu: Insitu, tmp_path: Path) -> None:
    program = guest(tmp_path / "guest.wat", CURIOUS)
    plain = insitu("run", "--frozen", "--json", "plain", program, input=b"0123456789")
    recording = insitu("run", "--record", "b", "--json", "recording", program, input=b"0123456789")
    assert (plain.stdout, plain.stderr) == (recording.stdout, recording.stderr)
    fuel = [json.loads((tmp_path / name).read_text())["usage"]["fuel"] for name in ("plain", "recording")]
    assert fuel[0] == fuel[1]


def test_an_input_beyond_the_size_is_told_by_its_digest_and_asked_for(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"word " * 1000)
    insitu("run", "--record", "b", "--record-inputs", "4999B", "-i", "big", "words")
    found = written(tmp_path / "b")["inputs"]["stdin"]
    assert (found["size"], found["kept"], found["whole"], found["hint"]) == (5000, False, True, "big")
    assert list((tmp_path / "b" / "inputs").iterdir()) == []
    line = refused(insitu("replay", "b"))
    assert f"not all is in it; give stdin (4.883 KiB, {found['digest']}, from big) with -i FILE" in line
    same(insitu("replay", "-i", "big", "b"))
    (tmp_path / "longer").write_bytes(b"word " * 1000 + b"x")
    done = insitu("replay", "-i", "longer", "b")
    assert done.returncode == 1
    assert re.match(r"input stdin: sha256:\w+ recorded, 5001 bytes, sha256:\w+ now", lines(done)[0])


def test_a_large_input_of_which_little_was_read_may_go_on_as_it_likes(insitu: Insitu, tmp_path: Path) -> None:
    program = guest(tmp_path / "guest.wat", CURIOUS)
    (tmp_path / "big").write_bytes(b"0123456789" * 1000)
    insitu("run", "--record", "b", "--record-inputs", "5B", "-i", "big", program)
    (tmp_path / "big").write_bytes(b"0123456789" * 7)
    same(insitu("replay", "-i", "big", "b"))


def test_a_reader_that_goes_away_makes_it_inexact(
    insitu: Insitu, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    (tmp_path / "big").write_bytes(bytes(1_000_000))
    words = [*COMMAND, "run", "--record", "b", "-i", "big", "cat"]
    with subprocess.Popen(
        words, env=dict(environment), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(30) != 0
    assert written(tmp_path / "b")["inexact"] == "whoever read its stdout went away"


@pytest.mark.parametrize("place", ["full", "file", "no/such/place"])
def test_a_place_that_cannot_be_a_bundle_is_refused_before_anything_runs(
    insitu: Insitu, tmp_path: Path, place: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert place in refused(insitu("run", "--record", place, "cat", input=b"x"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("most", [1, 150])
def test_a_disk_that_is_full_is_told_and_nothing_is_left(insitu: Insitu, tmp_path: Path, most: int) -> None:
    """With 1 byte to a file not even the input can be kept, with 150 its program cannot."""
    program = guest(tmp_path / "guest.wat", CURIOUS)
    (tmp_path / "in").write_bytes(b"0123456789")

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = insitu(*("run", "--record", "b", "-i", "in", program), stdout=subprocess.DEVNULL, preexec_fn=bounded)
    assert done.returncode == OURS
    assert done.stderr.endswith(b"b: File too large\n"), done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guest.wat", "in"]


def test_ctrl_c_leaves_no_half_of_a_bundle(insitu: Insitu, tmp_path: Path, environment: Mapping[str, str]) -> None:
    words = [*COMMAND, "run", "--record", "b", str(guest(tmp_path / "guest.wat", CURIOUS * 2))]
    with subprocess.Popen(
        words, env=dict(environment), cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x" * 15)  # it waits for five more
        process.stdin.flush()
        assert os.read(process.stdout.fileno(), 1) == b"x"
        assert list(tmp_path.glob(".b.*.part")) != []
        process.terminate()
        assert process.wait(30) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["guest.wat"]


# Damage and malice.


def other_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")


@pytest.mark.parametrize("part", ["program.wasm", "inputs/stdin"])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (Path.unlink, "No such file"),
        (other_bytes, "is sha256:"),
        (lambda path: os.truncate(path, 3), "3 bytes, and bundle.json says"),
        (lambda path: os.truncate(path, 1 << 40), "1099511627776 bytes, and bundle.json says"),
        (a_link, "Too many levels of symbolic links"),
        (a_pipe, "is no regular file"),
    ],
    ids=["gone", "other", "truncated", "absurd", "link", "fifo"],
)
def test_a_damaged_part_is_named(
    insitu: Insitu, recorded: Path, part: str, damage: Callable[[Path], object], told: str
) -> None:
    damage(recorded / part)
    line = refused(insitu("replay", recorded))
    assert f"{recorded}/{part}: " in line
    assert told in line


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda b: b.update(version=99), r"bundle\.json: version 99"),
        (lambda b: b["inputs"].update({"in/../../../etc/passwd": b["inputs"]["stdin"]}), r"inputs: a name: "),
        (lambda b: b["inputs"]["stdin"].update(size=1 << 62), r"inputs/stdin: 10 bytes, and .* says 461168"),
        (lambda b: b["program"].update(digest="x"), r"program: digest: 'x' is not"),
        (lambda b: b["limits"].update(wall=1e9), r"limits: limit wall: "),
        (lambda b: b.update(argv="a"), r"argv: 'a' is not a list"),
        (lambda b: b.update(frozen=None), r"frozen is null, and what was not frozen is not exact"),
        (lambda b: b.update(argv=["a\x1b[2J"] * 3 + ["\0"]), r"argv\[3\]: "),
        (
            lambda b: b.update(files={"mode": "root", "kept": True, "entries": [{"path": "..", "kind": "directory"}]}),
            r"files: '\.\.' is no path within",
        ),
        (
            lambda b: b.update(
                files={
                    "mode": "files",
                    "kept": True,
                    "entries": [{"path": "x", "kind": "file", "size": 1, "digest": NOTHING}],
                }
            ),
            r"files/0{64}: |files: No such file",
        ),
    ],
    ids=["version", "path", "size", "digest", "limit", "argv", "frozen", "nul", "files-path", "files-missing"],
)  # fmt: skip
def test_a_malicious_bundle_is_refused_in_a_line(
    insitu: Insitu, recorded: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    rewritten(recorded, change)
    assert re.search(told, refused(insitu("replay", recorded)))


def test_files_that_do_not_fit_are_named_and_not_where_they_were_made(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("a", "b"):
        (tmp_path / "tree" / name).write_bytes(b"0123456789")
    told = r"--tmp-files\).*--tmp-size\); there were 1 names and \d\d bytes by then"
    done = insitu("run", "--tmp-files", "1", "--root", "tree", "cat")
    assert done.returncode == OURS
    assert re.search(r"tree/b: .*1 names \(" + told, done.stderr.decode())
    assert insitu("run", "--record", "bundle", "--root", "tree", "cat").returncode == 0
    rewritten(tmp_path / "bundle", lambda b: b["limits"].update(tmp_files=1))
    line = refused(insitu("replay", "bundle"))
    assert re.fullmatch(r"insitu: its files: b: .*" + told, line)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-i", "-"], "stdin: - is our own stdin, and a regular file is needed"),
        (["-i", "given", "-o", "given"], "given: -o and -i cannot be the same file"),
        (["-i", "given", "--json", "again"], "again: --json and -i cannot be the same file"),
        (["-o", "x", "--json", "./x"], "./x: --json and -o cannot be the same file"),
        (["-o", "x/"], "x/: is a directory's name"),
        (["-o", "b/bundle.json"], "b/bundle.json: -o would write into the bundle"),
        (["--json", "b/inputs/stdin"], "b/inputs/stdin: --json would write into the bundle"),
        (["-o", "pipe", "--wall", "200ms"], "pipe: nobody reads it"),
    ],
)
def test_a_replay_writes_over_nothing_that_it_reads(
    insitu: Insitu, tmp_path: Path, recorded: Path, words: list[str], told: str
) -> None:
    (tmp_path / "given").write_bytes(b"precious")
    os.link(tmp_path / "given", tmp_path / "again")
    os.mkfifo(tmp_path / "pipe")
    assert told in refused(insitu("replay", *words, recorded))
    assert (tmp_path / "given").read_bytes() == b"precious"
    assert not (tmp_path / "x").exists()


def test_an_output_that_broke_is_read_again(insitu: Insitu, recorded: Path) -> None:
    """A field that is only there where it says something."""
    broken = "stdout could not be written: No space left on device"
    rewritten(recorded, lambda b: (b["outcome"].update(broken=broken), b.update(exact=False, inexact=broken)))
    assert insitu("replay", recorded).returncode in (0, 1)
    rewritten(recorded, lambda b: b["outcome"].update(broken=7))
    assert "outcome: broken: 7 is not" in refused(insitu("replay", recorded))


def test_words_of_a_bundle_give_the_terminal_no_orders(insitu: Insitu, recorded: Path) -> None:
    evil = "\x1b]0;mine\x07\x9b2J\nthe same: exit code 0"
    rewritten(recorded, lambda b: (b["outcome"].update(stderr=evil), b["engine"].update(wasmtime=evil)))
    done = insitu("replay", recorded)
    assert done.returncode == 1
    assert not {0x1B, 7, 0x9B} & set((done.stdout + done.stderr).decode().encode("latin-1", "replace"))
    assert not any(line.startswith("the same") for line in lines(done))


@pytest.mark.parametrize("words", [[], ["nowhere"], ["b", "--bogus"], ["--in", "x", "b"], ["--wall", "soon", "b"]])
def test_a_mistake_is_125(insitu: Insitu, words: list[str]) -> None:
    done = insitu("replay", *words)
    assert done.returncode == OURS
    assert b"Traceback" not in done.stderr


def places(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Of everything within a JSON value."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


ANYTHING = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([[], {}, 0.5, 1 << 63, "x" * 2000])


def test_whatever_is_changed_in_it_there_is_an_answer_and_no_traceback(
    insitu: Insitu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command itself, within this process, on bundles that make sense but for a place or two."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    (tmp_path / "logo").write_text("logo")
    program = guest(tmp_path / "guest.wat", CURIOUS)
    options = ["--files", "tree", "--in", "logo=logo", "--out", "o=o", "--quota", "stdin.calls=9", "--env", "A=b"]
    assert insitu("run", "--record", "b", *options, program, "one", input=b"0123456789").returncode == 0
    good = written(tmp_path / "b")
    runner = Runner(canonical_nans=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "Runner", lambda canonical_nans: runner)
    monkeypatch.setattr(command, "end_on_signals", lambda: None)
    codes = set()

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(places(good)[1:]), ANYTHING), max_size=2), st.text(max_size=5))
    def changed(changes: list[tuple[tuple[str | int, ...], Any]], name: str) -> None:
        found: Any = copy.deepcopy(good)
        for (*way, last), value in changes:
            at = found
            try:
                for key in way:
                    at = at[key]
                old = at[last]
                fits = isinstance(value, int | str) and type(value) is type(old)
                at[last] = old + value if fits else value
                if value is None and isinstance(at, dict):
                    at[name] = at.pop(last)
            except (LookupError, TypeError):
                continue  # an earlier change took the place away
        (tmp_path / "b" / "bundle.json").write_text(json.dumps(found))
        done = CliRunner().invoke(command.replay, ["--wall", "20s", str(tmp_path / "b")])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        codes.add(done.exit_code)

    changed()
    assert {0, OURS} <= codes
