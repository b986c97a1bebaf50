"""Runs of real programs, recorded by one process and replayed by another: the same to the unit of fuel, or told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.real.interpreter import PATIENCE, Interpreter

PYTHON = """
import json, os, random, sys, time, uuid, tempfile
rows = [line.split(",") for line in sys.stdin]
with tempfile.NamedTemporaryFile("w+") as file: json.dump(rows, file)
print(len(rows), random.random(), time.time(), uuid.uuid4(), os.environ["KEY"], open("/settings.json").read())
print("the words", id(rows) % 4096, file=sys.stderr)
sys.exit(len(rows) % 100)
"""


def record(interpreter: Interpreter, bundle: Path, *options: str, words: list[str], stdin: bytes) -> tuple[int, bytes]:
    done = subprocess.run(
        [*interpreter.command("--record", str(bundle), *options), *words],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (bundle / "bundle.json").is_file(), done.stderr
    return done.returncode, done.stdout


def replay(bundle: Path, *options: str) -> tuple[int, str, Any]:
    """Its exit code, its words, and its finding."""
    report = bundle.with_suffix(".json")
    done = subprocess.run(
        [sys.executable, "-m", "insitu", "replay", "--json", str(report), *options, str(bundle)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout + done.stderr, json.loads(report.read_text())


def test_a_script_with_files_and_a_streamed_input(cpython: Interpreter, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "settings.json").write_text('{"a": 1}')
    bundle, output = tmp_path / "bundle", tmp_path / "again"
    data = b"".join(b"%d,%d\n" % (n, n * n) for n in range(7042))
    options = ["--files", str(files), "--env", "KEY=value"]
    code, out = record(cpython, bundle, *options, words=["-c", PYTHON], stdin=data)
    assert code == 42
    assert out.startswith(b"7042 ")
    code, told, _ = replay(bundle, "--output", str(output))
    assert (code, told.split(":")[0]) == (0, "the same"), told
    assert output.read_bytes() == out
    # Another input in its place: another run, and each thing that differs is told.
    other = tmp_path / "other"
    other.write_bytes(data[:-1] + b"0\n7,7\n")
    code, told, _ = replay(bundle, "--input", str(other))
    assert code == 1
    for word in ("stdin", "exit code", "fuel", "stdout"):
        assert word in told, told


def test_a_trap_has_the_same_backtrace(quickjs: Interpreter, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    code, _ = record(quickjs, bundle, words=["-e", "function f() { f() } try { f() } catch { print(1) }"], stdin=b"")
    assert code == 125
    outcome = json.loads((bundle / "bundle.json").read_text())["outcome"]
    assert outcome["end"] == "trap"
    assert "qjs!JS_CallInternal" in outcome["trap"]
    code, told, _ = replay(bundle)
    assert code == 0, told
    assert "trap" in told


def test_a_limit_is_reached_at_the_same_place(cpython: Interpreter, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    script = "import itertools\nfor n in itertools.count(): print(n)"
    code, out = record(cpython, bundle, "--fuel", "1500000000", words=["-c", script], stdin=b"")
    assert code == 125
    assert out.startswith(b"0\n1\n2\n")
    code, told, _ = replay(bundle)
    assert code == 0, told
    assert "fuel" in told


def test_another_program_is_told_apart(cpython: Interpreter, quickjs: Interpreter, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    record(quickjs, bundle, words=["-e", "console.log(1)"], stdin=b"")
    code, told, _ = replay(bundle, "--program", str(cpython.path))
    assert code == 1
    assert "program" in told
