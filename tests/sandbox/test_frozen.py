"""Frozen launches: the same program on the same input gives the same output, stderr and fuel, to the unit; from a file,
a pipe or a socket, in any process, on any day."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from insitu.sandbox.channels import FileInput, FileSource, Source, StreamSource, make_pollable
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import FROZEN_START, Frozen
from insitu.sandbox.errors import ChannelError, EngineError
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program, to_wasm
from tests.guests.pictures import encode, photo
from tests.sandbox.conftest import draining, pipe
from tests.sandbox.frozen import ASKED, asking, coming
from tests.sandbox.guests import COPY, FROZEN_NAN, IMAGE, LOOP, NAN, module, puppet, script, vectors
from tests.sandbox.named import DATA, RESULT, file, image, opened, read

SHIPPED = Path(__file__).parents[2] / "insitu" / "programs"
PATIENT = Limits(wall=120)


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner(canonical_nans=True)


def freeze(
    runner: Runner,
    program: Program,
    source: Source,
    *,
    args: Sequence[str] = (),
    frozen: Frozen | None = None,
    channels: Channels | None = None,
    narrow: bool = False,
) -> tuple[Outcome, bytes]:
    """`narrow`: stdout is a pipe that takes a few bytes at a time; else it is a file."""
    channels = channels or Channels(digests=True)
    with ExitStack() as stack:
        if narrow:
            read, stdout = stack.enter_context(pipe())
            make_pollable(stdout)
            drained = stack.enter_context(draining(read))
        else:
            stdout = stack.enter_context(tempfile.TemporaryFile()).fileno()
        launch = Launch(
            ["guest", *args], source, stdout, PATIENT, env={"A": "b"}, channels=channels, frozen=frozen or Frozen(5)
        )
        outcome = runner.run(program, launch)
        written = outcome.channels["stdout"].bytes_written
        return outcome, drained(written)[:written] if narrow else os.pread(stdout, 1 << 30, 0)


def same(outcome: Outcome) -> tuple[Any, ...]:
    """All of it but the time that it took."""
    usage = outcome.usage
    told = (usage.fuel, usage.memory_peak, usage.bytes_in, usage.bytes_out, usage.bytes_err)
    return outcome.end, outcome.exit_code, outcome.trap, outcome.stderr, dict(outcome.channels), told


TEXT = b"".join(b"word%d and %d more\n" % (n % 97, n) for n in range(700))
PHOTO = encode(photo(320, 240), "JPEG", quality=85)
PROGRAMS: dict[str, tuple[str, Sequence[str], bytes, str]] = {
    "COPY": ("", [], TEXT * 8, ""),
    "cat": ("cat", [], TEXT, ""),
    "words": ("words", [], TEXT, ""),
    "watermark": ("watermark", ["--text", "insitu"], PHOTO, "piecewise "),
    "watermark that fails": ("watermark", ["--text", "insitu"], PHOTO[:3000], ""),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_file_a_pipe_and_a_socket_are_the_same(runner: Runner, name: str) -> None:
    shipped, args, data, pieces = PROGRAMS[name]
    program = runner.compile((SHIPPED / f"{shipped}.wasm").read_bytes() if shipped else to_wasm(COPY.encode()))
    found = []
    for kind in ("file", f"{pieces}pipe", f"{pieces}socket", "piecewise pipe"):
        for narrow in (False, True):
            with coming(kind, data) as (source, _):
                outcome, output = freeze(runner, program, source, args=args, narrow=narrow)
                found.append((same(outcome), output))
    assert all(one == found[0] for one in found)
    assert found[0][0][1] == (2 if "fails" in name else 0)
    assert found[0][0][5][0] > 50, "fuel"


def test_without_it_they_are_not(runner: Runner) -> None:
    """What the test above would not see if a guest's work did not follow from how its input comes."""
    program = runner.compile(to_wasm(COPY.encode()))
    fuel = set()
    for kind in ("file", "pipe"):
        with coming(kind, TEXT) as (source, _), tempfile.TemporaryFile() as target:
            fuel.add(runner.run(program, Launch(["guest"], source, target.fileno(), Limits())).usage.fuel)
    assert len(fuel) == 2


def asked(runner: Runner, kind: str, frozen: Frozen | None = None, input_kind: str | None = None) -> tuple[Any, bytes]:
    program = runner.compile(to_wasm(puppet().encode()))
    given = asking()
    with coming(kind, given) as (source, _), coming(input_kind or kind, TEXT) as (_, one):
        channels = Channels(inputs={"one": one}, digests=True)
        outcome, output = freeze(runner, program, source, frozen=frozen, channels=channels)
    assert outcome.ok, outcome.sentence()
    assert outcome.stderr == bytes(4 * ASKED), "every call was answered"
    return same(outcome), output


def test_a_guest_that_looks_for_differences_finds_none(runner: Runner) -> None:
    """A named input is a file to it, however it comes."""
    begun = time.monotonic()
    ways = ("file", "pipe", "socket", "piecewise pipe")
    found = [asked(runner, kind) for kind in ways] + [asked(runner, "file", input_kind="socket")]
    assert all(one == found[0] for one in found)
    assert time.monotonic() - begun < 600, "it slept for an hour, and that took no time"
    output = found[0][1]
    clocks = [int.from_bytes(output[RESULT + 8 * at : RESULT + 8 * at + 8], "little") for at in range(4)]
    assert clocks == [FROZEN_START + 1000, 2000, 3000, 4000]
    assert output[DATA : DATA + 64] == TEXT[30:94]


def test_seed_and_clock_decide(runner: Runner) -> None:
    one, again = asked(runner, "file", Frozen(1)), asked(runner, "file", Frozen(1))
    other = asked(runner, "file", Frozen(2))
    assert one == again
    assert one[1][1100:1200] != other[1][1100:1200]
    assert one[0][5] == other[0][5]
    later = asked(runner, "file", Frozen(1, FROZEN_START + 10**18))
    assert later[1][1100:1200] == one[1][1100:1200]
    assert later[1] != one[1]


@pytest.mark.parametrize("seed", [0, 1, (1 << 64) - 1])
def test_another_process_on_another_day_is_the_same(runner: Runner, tmp_path: Path, seed: int) -> None:
    """Started with another hash seed, time zone, locale and directory, its stdin a pipe."""
    (tmp_path / "guest.wat").write_text(puppet())
    given = asking()
    found = []
    for at, zone in enumerate(["UTC", "Asia/Kathmandu"]):
        place = tmp_path / f"place-{at}"
        place.mkdir()
        (place / "one").write_bytes(TEXT)
        others = {"PYTHONHASHSEED": str(at + 1), "TZ": zone, "LC_ALL": ["C", "C.UTF-8"][at]}
        others["XDG_CACHE_HOME"] = str(tmp_path)
        done = subprocess.run(
            [sys.executable, "-m", "insitu", "run", f"--frozen={seed}", "--env", "A=b", "--in", "one=one"]
            + ["--digest", "--json", "out.json", "../guest.wat"],
            cwd=place,
            env=dict(os.environ) | others,
            input=given,
            capture_output=True,
            timeout=120,
            check=True,
        )
        report: dict[str, Any] = json.loads((place / "out.json").read_text())
        for time_taken in ("cpu_us", "wall_us"):
            del report["usage"][time_taken]
        found.append((report, done.stdout))
        os.utime(tmp_path / "guest.wat", (1, 1))
    assert found[0] == found[1]
    here = asked(runner, "file", Frozen(seed))
    assert found[0][1] == here[1]
    assert found[0][0]["usage"]["fuel"] == here[0][5][0]


# What only it does.


def test_reads_are_filled_and_writes_are_whole(runner: Runner) -> None:
    """One write of 500,000 bytes to a pipe that holds fewer, and one read of as many from one that brings 1."""
    body = """
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 50000))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 1))))
      (if (i32.ne (i32.load (i32.const 8)) (i32.const 50000)) (then (call $proc_exit (i32.const 2))))
      (i32.store (i32.const 4) (i32.const 5000000))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 3))))
      (call $proc_exit (i32.ne (i32.load (i32.const 8)) (i32.const 5000000)))"""
    program = runner.compile(to_wasm(module(body, memory="100").encode()))
    with coming("pipe", bytes(range(250)) * 200) as (source, _):
        outcome, output = freeze(runner, program, source, narrow=True)
    assert outcome.exit_code == 0
    assert len(output) == 5_000_000
    assert output[:50_000] == bytes(range(250)) * 200
    assert (outcome.channels["stdin"].reads, outcome.channels["stdout"].writes) == (1, 1)


def test_nans_are_canonical(runner: Runner) -> None:
    """A NaN that arithmetic makes has one pattern, whatever went in."""
    program = runner.compile(to_wasm(NAN.encode()))
    with coming("file", b"") as (source, _):
        value = int.from_bytes(freeze(runner, program, source)[1], "little")
    assert value == FROZEN_NAN


def test_a_runner_without_canonical_nans_is_not_for_it() -> None:
    plain = Runner()
    launch = Launch(["guest"], FileSource(0), 1, Limits(), frozen=Frozen())
    with pytest.raises(EngineError, match="canonical NaNs"):
        plain.run(plain.compile(to_wasm(LOOP.encode())), launch)


def test_an_input_that_never_ends_ends_at_the_wall_time(runner: Runner) -> None:
    """It is laid aside before the guest begins, and that counts."""
    program = runner.compile(to_wasm(module("").encode()))
    for feed in (b"", b"x" * 1000):
        with pipe() as (source, target), coming("file", b"") as (stdin, _):
            os.write(target, feed)
            os.set_blocking(source, False)
            channels = Channels(inputs={"one": StreamSource(source)})
            launch = Launch(["guest"], stdin, 1, Limits(wall=0.1), channels=channels, frozen=Frozen())
            outcome = runner.run(program, launch)
        assert outcome.limit is not None
        assert (outcome.end, outcome.limit.name, outcome.limit.allowed) == ("limit", "wall", 0.1)
        assert outcome.limit.reached >= 0.1
        assert math.isclose(outcome.usage.wall_us, outcome.limit.reached * 1e6, rel_tol=0.01)


def test_an_input_that_cannot_be_laid_aside_is_told(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/nowhere")
    program = runner.compile(to_wasm(module("").encode()))
    with coming("piecewise pipe", b"") as (stdin, one):
        launch = Launch(["guest"], stdin, 1, Limits(), channels=Channels(inputs={"one": one}), frozen=Frozen())
        with pytest.raises(ChannelError, match="cannot be kept aside: Not a directory"):
            runner.run(program, launch)


def test_what_is_laid_aside_is_gone_with_the_launch(runner: Runner) -> None:
    program = runner.compile(to_wasm(module("").encode()))
    for _ in range(3):
        before = sorted(os.listdir("/proc/self/fd"))
        with coming("piecewise pipe", TEXT) as (_, one), coming("file", b"") as (stdin, _):
            freeze(runner, program, stdin, channels=Channels(inputs={"one": one}))
        assert sorted(os.listdir("/proc/self/fd")) == before


def test_vectors_of_many_parts_are_filled_in_order(runner: Runner) -> None:
    parts = [(5000 + 40 * at, 1 + at % 37) for at in range(60)]
    memory = bytearray(image(0).ljust(IMAGE, b"\0"))
    memory[600 : 600 + 8 * 60] = vectors(*parts)
    program = runner.compile(to_wasm(puppet().encode()))
    data = os.urandom(sum(length for _, length in parts))
    found = []
    for kind in ("file", "pipe"):
        with coming(kind, script([("fd_read", 0, 600, 60, 500), read(0)], bytes(memory)) + data) as (source, _):
            found.append(freeze(runner, program, source)[1])
    assert found[0] == found[1]
    assert b"".join(found[0][at : at + length] for at, length in parts) == data


# What is not the input's own.


def test_an_input_that_cannot_be_read_makes_no_result(runner: Runner) -> None:
    """The guest takes it for the end, and says that all is well. Another time it may be read."""
    shrugs = """
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    fd = os.open("/proc/self/mem", os.O_RDONLY)  # a regular file, and nothing is mapped at its beginning
    try:
        outcome, _ = freeze(runner, runner.compile(to_wasm(module(shrugs).encode())), FileSource(fd))
        plain = Runner()
        launch = Launch(["guest"], FileSource(fd), 1, Limits(), channels=Channels())
        real = plain.run(plain.compile(to_wasm(module(shrugs).encode())), launch)
    finally:
        os.close(fd)
    assert (outcome.exit_code, outcome.ok) == (0, False)
    assert outcome.sentence() == "exit code 0 (stdin could not be read: I/O error)"
    assert (real.exit_code, real.ok) == (0, True), "it saw the error, and that is all that there is to it"


@pytest.mark.parametrize("frozen", [True, False])
def test_a_named_input_that_is_cut_meanwhile_makes_no_result(runner: Runner, frozen: bool) -> None:
    program = runner.compile(to_wasm(puppet().encode()))
    calls = script([opened("dev/in/one"), read(4, 0), read(4, 0)], image(64))
    with coming("file", calls) as (stdin, _), file(TEXT) as one, file() as stdout:
        launch = Launch(
            ["guest"],
            stdin,
            stdout,
            PATIENT,
            channels=Channels(inputs={"one": FileInput(one)}),
            frozen=Frozen() if frozen else None,
            on_start=lambda: os.ftruncate(one, 10),
        )
        outcome = runner.run(program, launch)
    assert outcome.exit_code == 0
    assert outcome.broken == ("in/one became shorter while it was read" if frozen else "")
