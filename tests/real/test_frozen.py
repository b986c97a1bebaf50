"""Frozen, a real program does the very same on the same input: to the byte of its output and the unit of its fuel,
however the input comes, in any process, on any day."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from insitu.sandbox.clocks import FROZEN_START, Frozen
from tests.real.interpreter import PATIENCE, Interpreter, Result

PYTHON = """
import os, random, sys, tempfile, time, uuid
pieces = [os.read(0, 50_000) for _ in range(4)]
data = b"".join(pieces) + sys.stdin.buffer.read(10_000)
for line in sys.stdin.buffer: data += line
print(len(data), [len(piece) for piece in pieces], id(data) % 4096)
print(hash("a string"), random.random(), os.urandom(8).hex(), uuid.uuid4())
print(time.time(), time.monotonic(), time.perf_counter_ns(), time.localtime()[:6], {str(n) for n in range(9)})
time.sleep(SLEEP)
print(time.time(), tempfile.mkstemp()[1], os.stat("/tmp").st_mtime)
print(float("nan"), float("inf") - float("inf"), (1e308 * 10) * 0, file=sys.stderr)
raise RuntimeError(random.randbytes(4).hex())
"""
JAVASCRIPT = """
let size = 0, piece;
while ((piece = std.in.readAsString(1000)) !== "") size += piece.length;
console.log(size, Math.random(), Date.now(), new Date().toISOString(), performance.now());
os.sleep(SLEEP * 1000);
console.log(Date.now(), Object.keys(os.readdir("/tmp")[0]).length);
const bits = new DataView(new ArrayBuffer(8));
for (const nan of [0 / 0, Infinity - Infinity, Math.sqrt(-1), -(0 / 0)]) {
  bits.setFloat64(0, nan);
  console.log(bits.getBigUint64(0).toString(16));
}
throw new Error("thrown at " + Date.now());
"""


def words(interpreter: Interpreter, sleep: int = 3600) -> list[str]:
    """Its arguments: a script that sleeps for so many seconds."""
    options, script = (["-c"], PYTHON) if interpreter.name == "python" else (["--std", "-e"], JAVASCRIPT)
    return [*options, script.replace("SLEEP", str(sleep))]


@pytest.fixture(params=["cpython", "quickjs"])
def either(request: pytest.FixtureRequest) -> Interpreter:
    found: Interpreter = request.getfixturevalue(request.param)
    return found


def told(result: Result) -> tuple[Any, ...]:
    outcome = result.outcome
    return outcome.end, outcome.exit_code, result.output, outcome.stderr, outcome.usage.fuel, outcome.usage.memory_peak


DATA = b"".join(b"line %d of what comes in\n" % n for n in range(20_000))


def test_a_file_a_pipe_and_a_socket_are_the_same(either: Interpreter) -> None:
    frozen = Frozen(seed=1)
    runs = [
        either.run(*words(either), stdin=DATA, way="file", frozen=frozen),
        either.run(*words(either), stdin=DATA, way="pipe", piece=1 << 16, frozen=frozen),
        either.run(*words(either), stdin=DATA, way="pipe", piece=777, frozen=frozen),
        either.run(*words(either), stdin=DATA, way="socket", piece=4099, frozen=frozen),
        either.run(*words(either), stdin=DATA, way="file", frozen=frozen),
    ]
    assert runs[0].code == 1, runs[0].errors
    assert runs[0].output.startswith(b"%d " % len(DATA)), runs[0].output
    assert [told(run) for run in runs] == [told(runs[0])] * len(runs)


def test_a_sleep_passes_frozen_time_and_none_of_ours(either: Interpreter) -> None:
    result = either.run(*words(either), stdin=b"", frozen=Frozen(seed=1))
    assert result.outcome.usage.wall_us < PATIENCE * 1e6
    lines = result.output.decode().splitlines()
    if either.name == "python":
        begun, after = float(lines[2].split()[0]), float(lines[3].split()[0])
    else:
        begun, after = int(lines[0].split()[2]) / 1000, int(lines[1].split()[0]) / 1000
    assert abs(begun - FROZEN_START / 1e9) < 1, "it begins at the frozen moment"
    assert 3600 <= after - begun < 3601


def test_another_seed_or_moment_is_another_run(cpython: Interpreter, quickjs: Interpreter) -> None:
    one, other = (cpython.run(*words(cpython), stdin=b"", frozen=Frozen(seed=seed)) for seed in (1, 2))
    assert one.output != other.output
    # QuickJS takes its chance from the clock.
    one, other = (quickjs.run(*words(quickjs), stdin=b"", frozen=Frozen(clock=clock * 10**15)) for clock in (1, 2))
    assert one.output != other.output


def test_not_frozen_it_differs(either: Interpreter) -> None:
    """Else the tests above could not fail."""
    one, other = (either.run(*words(either, sleep=0), stdin=DATA) for _ in range(2))
    assert b"thrown at" in one.outcome.stderr or b"RuntimeError" in one.outcome.stderr, one.errors
    assert one.output != other.output


def test_in_other_processes_from_the_command_line(either: Interpreter, tmp_path: Path) -> None:
    """The fuel, the output and the words on stderr of two runs by a user, and of one in this process."""
    here = either.run(*words(either), stdin=DATA, frozen=Frozen(seed=7))
    source = tmp_path / "in"
    source.write_bytes(DATA)
    for number, way in enumerate(("file", "pipe")):
        report = tmp_path / f"{number}.json"
        command = either.command("--frozen=7", "--json", str(report))
        if way == "file":
            with source.open("rb") as file:
                done = subprocess.run([*command, *words(either)], stdin=file, capture_output=True, timeout=PATIENCE)
        else:
            done = subprocess.run([*command, *words(either)], input=DATA, capture_output=True, timeout=PATIENCE)
        assert (done.returncode, done.stdout) == (1, here.output)
        assert done.stderr == here.outcome.stderr
        told_there = json.loads(report.read_text())
        assert told_there["usage"]["fuel"] == here.outcome.usage.fuel
