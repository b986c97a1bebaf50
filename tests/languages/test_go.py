"""Go compiles for WASI itself: what of it works in the sandbox, and how what does not is told (docs/programs.md)."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.guests.conftest import Run

PATIENCE = 120.0  # seconds


def run(guest: Path, *words: str, stdin: bytes = b"", options: tuple[str, ...] = ()) -> Run:
    command = [sys.executable, "-m", "insitu", "run", *options, str(guest), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE)
    return Run(done.returncode, done.stdout, done.stderr.decode())


def test_arguments_environment_and_exit_codes(go_guest: Path) -> None:
    shown = run(go_guest, "shown", "a b", "ü", options=("--env", "KEY=värde")).expect()
    assert shown.decode() == "4 [a b ü] [KEY=värde] wasip1 wasm 1 wasip1\n"
    for code in (0, 7, 124):
        assert run(go_guest, "exit", str(code)) == Run(code, b"", "")


def test_a_large_input(go_guest: Path) -> None:
    data = bytes(range(256)) * (40 << 12)
    assert run(go_guest, "digest", stdin=data).expect().decode() == f"{len(data)} {hashlib.sha256(data).hexdigest()}\n"


def test_a_panic_is_gos_own_traceback(go_guest: Path) -> None:
    result = run(go_guest, "panic")
    assert (result.code, result.out) == (2, b"")
    assert result.err.startswith(
        "panic: runtime error: index out of range [2] with length 0\n\ngoroutine 1 [running]:\n"
    )
    assert "main.go:" in result.err


def test_goroutines_on_one_thread(go_guest: Path) -> None:
    assert run(go_guest, "workers").expect() == b"328350\n"
    result = run(go_guest, "deadlock")
    assert result.code == 2
    assert result.err.startswith("fatal error: all goroutines are asleep - deadlock!\n")


def test_named_channels_and_files(go_guest: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"x" * 100_000)
    options = ("--in", f"list={tmp_path / 'list'}", "--out", f"result={tmp_path / 'result'}")
    assert run(go_guest, "channels", options=options).expect() == b"true true\n"
    assert json.loads((tmp_path / "result").read_text()) == {"bytes": 100_000}


def test_nothing_of_the_outside(go_guest: Path) -> None:
    """A dial, a look-up of a name, a process, a file of the host: each is an error."""
    assert run(go_guest, "outside").expect() == b"true true true true\n"


def test_time_and_chance(go_guest: Path) -> None:
    """Frozen, the clock moves by what is slept, and nobody waits for it."""
    first, second = (run(go_guest, "time", options=("--frozen",)).expect() for _ in range(2))
    assert first == second
    assert first.startswith(b"1600000000 70.0")
    seconds, slept, chance, _ = run(go_guest, "time").expect().decode().split()
    assert abs(int(seconds) - time.time()) < PATIENCE
    assert float(slept.removesuffix("ms")) >= 70
    assert chance != first.split()[2].decode()


def test_the_end_of_stack_and_memory(go_guest: Path) -> None:
    """Of the engine's stack Go knows nothing: its end is a trap. That of memory it tells itself."""
    assert run(go_guest, "deep", "4000").expect() == b"4000\n"
    result = run(go_guest, "deep", "1000000")
    assert result.code == 125
    assert "trap: call stack exhausted" in result.err
    result = run(go_guest, "greedy", options=("--memory", "64MiB"))
    assert result.code == 2
    assert result.err.startswith("runtime: out of memory: cannot allocate")


def test_a_streamed_stdin_is_answered_line_by_line(go_guest: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "insitu", "run", str(go_guest), "echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in (b"first", b"second"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == word + b"!\n"
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
