"""`insitu run`: what it reads and writes, and what it exits with."""

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from insitu.sandbox.limits import Limits
from tests.cli.conftest import COMMAND, Insitu

OURS = 125


def guest(tmp_path: Path, body: str, *, name: str = "guest", memory: str = "1", more: str = "") -> Path:
    """A program file whose `_start` is this."""
    imports = """(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))"""
    path = tmp_path / f"{name}.wat"
    path.write_text(f'(module {imports} (memory (export "memory") {memory}) {more} (func (export "_start") {body}))')
    return path


def one_line(stderr: bytes) -> str:
    """The message: one line, ours, and no traceback."""
    text = stderr.decode()
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, text
    return text


@pytest.mark.parametrize("code", [0, 1, 2, 77, 123, 124])
def test_the_exit_code_is_the_guests_own(insitu: Insitu, tmp_path: Path, code: int) -> None:
    done = insitu("run", guest(tmp_path, f"(call $exit (i32.const {code}))"))
    assert done.returncode == code
    assert done.stderr == b""


@pytest.mark.parametrize("code", [125, 126, 127, 128, 255, 256, -1])
def test_a_code_above_124_is_said_and_ends_with_125(insitu: Insitu, tmp_path: Path, code: int) -> None:
    done = insitu("run", guest(tmp_path, f"(call $exit (i32.const {code}))"))
    assert done.returncode == OURS
    assert f"exit code {code & 0xFFFFFFFF}" in one_line(done.stderr)


def test_a_trap_is_named_with_its_backtrace(insitu: Insitu, tmp_path: Path) -> None:
    done = insitu("run", guest(tmp_path, "(call $inner)", more="(func $inner unreachable)"))
    assert done.returncode == OURS
    assert b"trap: wasm `unreachable`" in done.stderr
    assert b"inner" in done.stderr


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        ("(loop $l (br $l))", ["--wall", "200ms"], r"limit wall: 200 ms allowed, [\d.]+ m?s reached"),
        ("(loop $l (br $l))", ["--fuel", "1000"], r"limit fuel: 1000 allowed, 1000 reached"),
        (
            "(i32.store (i32.const 4) (i32.const 4096)) (loop $l (drop (call $write (i32.const 1) (i32.const 0)"
            " (i32.const 1) (i32.const 8))) (br $l))",
            ["--max-output", "10KiB"],
            r"limit output: 10 KiB allowed, 12 KiB reached",
        ),
    ],
    ids=["wall", "fuel", "output"],
)
def test_a_limit_is_named_with_its_figures(
    insitu: Insitu, tmp_path: Path, body: str, options: list[str], message: str
) -> None:
    done = insitu("run", *options, guest(tmp_path, body))
    assert done.returncode == OURS
    assert re.search(message, one_line(done.stderr))


def test_the_memory_limit(insitu: Insitu, tmp_path: Path) -> None:
    done = insitu("run", "--memory", "1MiB", guest(tmp_path, "", memory="17"))
    assert done.returncode == OURS
    assert "limit memory: 1 MiB allowed, 1114112 B reached" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "Missing argument 'PROGRAM'"),
        (["run", "--bogus", "cat"], "No such option '--bogus'"),
        (["run", "--wall", "soon", "cat"], "'soon' is not a duration"),
        (["run", "--wall", "0", "cat"], "limit wall"),
        (["run", "--wall", "9999h", "cat"], "limit wall"),
        (["run", "--memory", "lots", "cat"], "'lots' is not a size"),
        (["run", "--memory", "1", "cat"], "limit memory"),
        (["run", "--memory", "9" * 400, "cat"], "is more than any size"),
        (["run", "--fuel", "0", "cat"], "--fuel"),
        (["run", "--fuel", "x", "cat"], "--fuel"),
        (["run", "--max-output", "-1", "cat"], "--max-output"),
        (["run", "--env", "A", "cat"], "'A' is not K=V"),
        (["run", "--env", "A B=c", "cat"], "is not K=V"),
        (["run", "--json"], "--json"),
        (["run", "nobody"], "no program 'nobody'"),
        (["run", ""], "no program ''"),
        (["run", "./nobody.wasm"], "./nobody.wasm: No such file"),
        (["run", "/"], "/: Is a directory"),
        (["run", "/dev/null"], "neither wasm"),
        (["run", "-i", "nothing", "cat"], "nothing: No such file"),
        (["run", "-i", "/", "cat"], "/: is a directory"),
        (["run", "-o", "no/such/place", "cat"], "no/such/place: No such file"),
        (["run", "-o", "/", "cat"], "/: is a directory"),
        (["run", "--json", "no/such/place", "cat"], "no/such/place: No such file"),
        (["run", "-o", "x/", "cat"], "x/: is a directory's name, not a file's"),
        (["run", "-o", "x/.", "cat"], "x/.: is a directory's name"),
        (["run", "--json", "x/", "cat"], "x/: is a directory's name"),
        (["run", "--record-inputs", "1", "cat"], "--record-inputs: nothing is recorded without --record"),
        (["run", "--record-files", "256MiB", "cat"], "--record-files: nothing is recorded without --record"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_125_and_said_in_a_line(insitu: Insitu, words: list[str], message: str) -> None:
    done = insitu(*words)
    assert done.returncode == OURS
    text = done.stderr.decode()
    assert message in text
    assert "Traceback" not in text
    assert done.stdout == b""


def test_a_file_that_is_no_path_is_told_from_no_file(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text("int main() {}")
    done = insitu("run", "t.c")
    assert done.returncode == OURS
    assert re.search(
        r"no program 't\.c'.*A file t\.c is here: .*\.wasm, \.wat, \.zip, \.py or \.js,.*\./t\.c", one_line(done.stderr)
    )
    assert "neither wasm" in one_line(insitu("run", "./t.c").stderr)


@pytest.mark.parametrize(
    ("words", "other"),
    [
        (["-o", "x"], "-o"),
        (["--out", "a=./x"], "--out a"),
        (["--out", "a=link"], "--out a"),
        (["-o", "directory/../x"], "-o"),
        (["-i", "given", "--json", "given"], "-i"),
        (["--in", "a=given", "--json", "again"], "--in a"),
    ],
)
def test_the_outcome_goes_to_a_file_of_its_own(insitu: Insitu, tmp_path: Path, words: list[str], other: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("x")  # which is not there yet
    (tmp_path / "given").write_bytes(b"precious")
    os.link(tmp_path / "given", tmp_path / "again")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = insitu("run", "--json", "x", *words, "cat")
    assert (done.returncode, done.stdout) == (OURS, b"")
    assert one_line(done.stderr).endswith(f": --json and {other} cannot be the same file\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "given").read_bytes() == b"precious"


def test_a_device_is_never_the_same_file(insitu: Insitu) -> None:
    assert insitu("run", "--json", "/dev/null", "-o", "/dev/null", "-i", "/dev/null", "cat").returncode == 0


def test_words_after_the_program_are_the_guests(insitu: Insitu, programs: Path) -> None:
    words = ["--help", "-i", "x", "--wall", "--", "-o", "two words", "", "€", "--json=1"]
    done = insitu("run", "--wall", "5s", programs / "args.wasm", *words)
    assert done.returncode == 0
    for word in words:
        assert word.encode() in done.stdout
    assert b"args" in done.stdout.splitlines()[0]


def test_an_argument_that_is_no_utf8_is_named(insitu: Insitu, environment: Mapping[str, str]) -> None:
    command = [*(os.fsencode(word) for word in COMMAND), b"run", b"cat", b"\xff"]
    done = subprocess.run(command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == OURS
    assert "is not UTF-8" in one_line(done.stderr)


def test_the_environment_is_what_is_given_and_nothing_else(insitu: Insitu, tmp_path: Path) -> None:
    body = """(drop (call $environ (i32.const 100) (i32.const 1000)))
      (i32.store (i32.const 0) (i32.const 1000)) (i32.store (i32.const 4) (i32.const 64))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    done = insitu("run", "--env", "A=one two", "--env", "B=", "--env", "A=three=3", guest(tmp_path, body))
    assert done.stdout.rstrip(b"\0") == b"A=three=3\0B="


def test_input_and_output_files(insitu: Insitu, tmp_path: Path) -> None:
    data = os.urandom(500_000)
    (tmp_path / "in").write_bytes(data)
    done = insitu("run", "-i", "in", "-o", "out", "cat")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "out").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    assert insitu("run", "-o", "out", "cat", input=b"new").returncode == 0
    assert (tmp_path / "out").read_bytes() == b"new"


def test_a_failed_guest_leaves_the_old_output_alone(insitu: Insitu, tmp_path: Path, programs: Path) -> None:
    (tmp_path / "out").write_text("old")
    for program in ("fail", "fail-late", "trap-late"):
        assert insitu("run", "-o", "out", programs / f"{program}.wasm").returncode != 0
        assert (tmp_path / "out").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_replaced_output_keeps_its_permissions_and_a_link_its_target(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "link").symlink_to("secret")
    assert insitu("run", "-o", "link", "cat", input=b"new").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "secret").read_text() == "new"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_output_to_a_device(insitu: Insitu) -> None:
    assert insitu("run", "-o", "/dev/null", "cat", input=b"x").returncode == 0
    done = insitu("run", "-o", "/dev/full", "cat", input=b"x")
    assert done.returncode == 1  # cat's own
    assert b"cat: " in done.stderr


def test_standard_input_of_every_kind(insitu: Insitu, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    assert insitu("run", "cat", input=data).stdout == data
    assert insitu("run", "cat").stdout == b""
    (tmp_path / "file").write_bytes(data)
    with open(tmp_path / "file", "rb") as file:
        file.seek(1000)  # as the shell's own reads would have left it
        assert insitu("run", "cat", stdin=file.fileno()).stdout == data[1000:]


def test_a_named_pipe_is_waited_for(insitu: Insitu, tmp_path: Path, environment: Mapping[str, str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [*COMMAND, "run", "-i", "pipe", "cat"]
    with subprocess.Popen(command, env=dict(environment), cwd=tmp_path, stdout=subprocess.PIPE) as process:
        with open(tmp_path / "pipe", "wb") as pipe:  # opens once the other side has
            time.sleep(0.2)  # whatever is read before the first byte is written must not be the end
            pipe.write(b"late")
        assert process.communicate(timeout=30)[0] == b"late"
    done = insitu("run", "--wall", "200ms", "-i", "pipe", "cat")
    assert done.returncode == OURS
    assert "limit wall" in one_line(done.stderr)


@pytest.mark.parametrize("option", [["-o"], ["--out", "x=pipe"]], ids=["stdout", "named"])
def test_a_named_pipe_that_nobody_reads_is_told_when_the_wall_time_is_over(
    insitu: Insitu, tmp_path: Path, option: list[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = insitu("run", "--wall", "200ms", *option, *([] if len(option) == 2 else ["pipe"]), "cat")
    assert done.returncode == OURS
    assert one_line(done.stderr).startswith("insitu: pipe: nobody reads it")


def test_a_named_pipe_is_waited_for_until_it_has_a_reader(tmp_path: Path, environment: Mapping[str, str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [*COMMAND, "run", "-o", "pipe", "cat"]
    with subprocess.Popen(command, env=dict(environment), cwd=tmp_path, stdin=subprocess.PIPE) as process:
        time.sleep(0.3)  # it looks more than once by then, or not: either way it must come to the same
        assert process.stdin is not None
        process.stdin.write(b"late")
        process.stdin.close()
        assert (tmp_path / "pipe").read_bytes() == b"late"
        assert process.wait(30) == 0


def test_a_terminal(environment: Mapping[str, str], tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, "run", "cat"], env=dict(environment), stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        os.write(master, b"typed\n\x04")
        seen = b""
        while b"typed\r\ntyped\r\n" not in seen:
            seen += os.read(master, 1000)
        assert process.wait(30) == 0
    finally:
        os.close(master)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_descriptors_that_are_closed(environment: Mapping[str, str], tmp_path: Path, closed: str) -> None:
    """What a guest reads then must not be the first file that we happen to open: the engine's, say."""
    line = f"{sys.executable} -m insitu run cat {closed}"
    done = subprocess.run(
        ["sh", "-c", line], env=dict(environment), input=b"given", capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr
    assert done.stdout == (b"given" if closed == "2>&-" else b"")
    assert done.returncode == (1 if closed == ">&-" else 0)  # cat could not write; nothing to write is no failure


def test_a_reader_that_goes_away(environment: Mapping[str, str], programs: Path) -> None:
    line = f"{sys.executable} -m insitu run cat </dev/zero | head -c 10 | wc -c"
    done = subprocess.run(["sh", "-c", line], env=dict(environment), capture_output=True, timeout=60, check=False)
    assert done.stdout.strip() == b"10"
    assert b"Traceback" not in done.stderr


def test_stderr_that_nobody_reads_ends_at_the_wall_time(environment: Mapping[str, str], tmp_path: Path) -> None:
    body = """(i32.store (i32.const 4) (i32.const 60000))
      (loop $l (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))"""
    read, write = os.pipe()
    try:
        command = [*COMMAND, "run", "--wall", "300ms", "--json", "out.json", str(guest(tmp_path, body))]
        process = subprocess.Popen(command, env=dict(environment), cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=write)
        os.close(write)
        outcome = tmp_path / "out.json"
        end = time.monotonic() + 20
        while not (outcome.exists() and outcome.read_text().endswith("}\n")):
            assert time.monotonic() < end, "it did not end"
            time.sleep(0.02)
        assert json.loads(outcome.read_text())["limit"]["name"] == "wall"
    finally:
        os.close(read)  # so that its last line has nowhere to go, and does not wait
        process.wait(20)


def test_stderr_comes_as_the_guest_writes_it_and_once(insitu: Insitu, tmp_path: Path) -> None:
    body = """(i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 5))
      (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 100))) (call $exit (i32.const 4))"""
    done = insitu("run", guest(tmp_path, body, more='(data (i32.const 8) "oops\\n")'))
    assert (done.returncode, done.stderr) == (4, b"oops\n")
    with open(tmp_path / "log", "wb") as log:  # a file is written on, not over
        log.write(b"before\n")
        log.flush()
        insitu("run", guest(tmp_path, body, more='(data (i32.const 8) "oops\\n")'), stderr=log.fileno())
    assert (tmp_path / "log").read_bytes() == b"before\noops\n"


@pytest.mark.parametrize("kind", ["computes", "waits", "asks"])
def test_ctrl_c_ends_it_at_once_and_leaves_nothing(
    environment: Mapping[str, str], tmp_path: Path, programs: Path, kind: str
) -> None:
    announce = '(data (i32.const 0) "\\08\\00\\00\\00\\05\\00\\00\\00ready")'
    rest = {
        "computes": "(loop $l (br $l))",
        "waits": "(drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 100)))",
        "asks": "(loop $l (drop (call $read (i32.const 9) (i32.const 0) (i32.const 1) (i32.const 100))) (br $l))",
    }[kind]
    body = f"(drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 100))) {rest}"
    command = [*COMMAND, "run", "--wall", "50s", "-o", "out", str(guest(tmp_path, body, more=announce))]
    process = subprocess.Popen(
        command, env=dict(environment), cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert process.stdin is not None
    assert process.stderr.read(5) == b"ready"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert time.monotonic() - begun < 10
    assert process.stderr.read().split() == [b"interrupted"]
    process.stderr.close()
    process.stdin.close()
    assert [path.name for path in tmp_path.iterdir()] == ["guest.wat"]


# Python itself, as `python -m insitu` starts us, and Ctrl-C as soon as a module of this name is asked for.
INTERRUPTED = """
import os, runpy, signal, sys
asked = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path, target=None):
        if name == asked:
            os.kill(os.getpid(), signal.SIGINT)
sys.modules.pop(asked, None)
sys.meta_path.insert(0, Finder())
runpy.run_module("insitu", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("early", ["fcntl", "click", "inspect", "click.parser"])
def test_ctrl_c_before_we_can_speak_ends_us_as_any_command(environment: Mapping[str, str], early: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, early, "run", "cat"]
    done = subprocess.run(command, env=dict(environment), input=b"", capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("late", ["insitu.cli.run", "insitu.sandbox.launch", "insitu.sandbox.raw"])
def test_ctrl_c_while_a_subcommand_is_imported_is_told(environment: Mapping[str, str], late: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, late, "run", "cat"]
    done = subprocess.run(command, env=dict(environment), input=b"", capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.split()) == (130, b"", [b"interrupted"])


@pytest.mark.parametrize("moment", [0, 0.02, 0.05, 0.08, 0.12, 0.2])
def test_ctrl_c_at_any_early_moment_leaves_no_traceback(environment: Mapping[str, str], moment: float) -> None:
    """From our first line on: its import is told by a pipe, and what comes before is Python's own."""
    read, write = os.pipe()
    code = (
        "import importlib.util, os, runpy, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'fcntl': os.close({write})\n"
        "sys.modules.pop('fcntl', None)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('insitu', run_name='__main__', alter_sys=True)\n"
    )
    command = [sys.executable, "-c", code, "run", "--wall", "20s", "cat"]
    with subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[write]
    ) as process:
        os.close(write)
        assert os.read(read, 1) == b""
        os.close(read)
        time.sleep(moment)  # whatever it does by then
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert process.stderr is not None
        said = process.stderr.read()
    # Where it came within an `exec` of a library's, Python ends by the signal too, after all is said.
    told = [b"interrupted"]
    assert (process.returncode, said.split()) in [(-signal.SIGINT, []), (130, told), (-signal.SIGINT, told)]


def test_who_only_imports_us_keeps_its_own_ctrl_c(environment: Mapping[str, str]) -> None:
    code = "import signal, insitu.cli; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], env=dict(environment), check=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_it_leaves_nothing_half_written(
    environment: Mapping[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    path = guest(tmp_path, "(loop $l (br $l))")
    command = [*COMMAND, "run", "--wall", "50s", "-o", "out", str(path)]
    process = subprocess.Popen(command, env=dict(environment), cwd=tmp_path)
    try:
        until = time.monotonic() + 30
        while not list(tmp_path.glob(".out.*")):
            assert time.monotonic() < until
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["guest.wat"]


def test_a_full_stderr_hides_no_failure(environment: Mapping[str, str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "run", str(guest(tmp_path, "unreachable"))], env=dict(environment), stderr=full, timeout=60
        )
    assert done.returncode == 125


def test_the_outcome_as_json(insitu: Insitu, tmp_path: Path, programs: Path) -> None:
    done = insitu("run", "--json", "out.json", "--wall", "5s", "--fuel", "1000000", "cat", input=b"12345")
    report = json.loads((tmp_path / "out.json").read_text())
    assert done.returncode == 0
    assert report["argv"] == ["cat"]
    assert (report["end"], report["exit_code"], report["ok"], report["sentence"]) == ("exit", 0, True, "exit code 0")
    assert report["limits"] == Limits(fuel=1_000_000, wall=5.0).to_wire()
    assert (report["usage"]["bytes_in"], report["usage"]["bytes_out"]) == (5, 5)
    assert re.fullmatch("sha256:[0-9a-f]{64}", report["program"])
    assert insitu("run", "--json", "out.json", programs / "trap.wasm").returncode == OURS
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["end"], report["ok"]) == ("trap", False)
    assert "unreachable" in report["trap"]


def test_a_cache_that_cannot_be_used_costs_only_time(
    insitu: Insitu, tmp_path: Path, environment: Mapping[str, str], programs: Path
) -> None:
    place = tmp_path / "cache"
    (place / "insitu" / "compiled").mkdir(parents=True)
    (place / "insitu" / "compiled").chmod(0o777)
    done = subprocess.run(
        [*COMMAND, "run", "cat"],
        env=dict(environment) | {"XDG_CACHE_HOME": str(place)},
        input=b"x",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"x")
    assert "compiled programs are not kept" in one_line(done.stderr)
    assert not list((place / "insitu" / "compiled").iterdir())


def test_a_damaged_entry_of_the_cache_is_made_again(tmp_path: Path, environment: Mapping[str, str]) -> None:
    own = dict(environment) | {"XDG_CACHE_HOME": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [*COMMAND, "run", "cat"], env=own, input=b"x", capture_output=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"x", b"")
        (entry,) = (tmp_path / "insitu" / "compiled").glob("*.cwasm")
        assert entry.read_bytes()[:4] == b"\x7fELF"
        entry.write_bytes(b"\x90" * 100)


def test_it_imports_no_more_than_it_needs(tmp_path: Path, environment: Mapping[str, str]) -> None:
    """Start-up is most of what a small run costs."""
    code = (
        "import sys\nfrom insitu.cli import main\nsys.argv = ['insitu', 'run', 'cat']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'swift', 'swiftclient', 'wasmtime', 'rich', 'msgspec', 'msgpack', 'yaml', 'eventlet', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(environment), input=b"x", capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (0, b"x", b"[]")


def test_a_host_without_memory_is_no_trap_of_the_guests(insitu: Insitu) -> None:
    few = 3 << 30  # of address space: an instance reserves more
    done = insitu("run", "cat", input=b"x", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (few, few)))
    assert done.returncode == 125
    assert done.stderr.startswith(b"insitu: insitu itself failed: "), done.stderr
    assert b"Cannot allocate memory" in done.stderr
