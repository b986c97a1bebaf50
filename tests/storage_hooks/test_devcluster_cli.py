"""`insitu cluster` as a person uses it: up, status, down, each a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import wasmtime

from insitu.storage_hooks.devcluster.layout import Layout
from insitu.storage_hooks.devcluster.state import State

PATIENCE = 30.0
EXITS = '(module (memory (export "memory") 1) (func (export "_start")))'


class Command(Protocol):
    def __call__(self, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]": ...


@pytest.fixture
def home(short_path: Path) -> Iterator[Path]:
    """A state directory of its own; nothing lives in it afterwards."""
    yield short_path
    environment = {**os.environ, "XDG_STATE_HOME": str(short_path)}
    subprocess.run([sys.executable, "-m", "insitu", "cluster", "down"], env=environment, capture_output=True)
    assert list(short_path.iterdir()) == []


@pytest.fixture
def insitu(home: Path) -> Command:
    """Runs `insitu cluster …` and expects its exit code."""

    def run(*words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "insitu", "cluster", *words],
            env={**os.environ, "XDG_STATE_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def state_of(home: Path) -> State:
    return State.read(Layout(home / "insitu" / "cluster").state)


def gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)


def test_up_status_down(insitu: Command, home: Path, tmp_path: Path) -> None:
    assert "no cluster runs here" in insitu("status", code=1).stderr
    programs = tmp_path / "my programs"
    programs.mkdir()
    (programs / "mine.wasm").write_bytes(wasmtime.wat2wasm(EXITS))

    first = insitu("up", "--nodes", "2", "--programs", str(programs))
    assert (home / "insitu" / "cluster").stat().st_mode & 0o777 == 0o700
    again = insitu("up")
    assert again.stdout == first.stdout
    assert "already up" in again.stderr

    state = state_of(home)
    table = insitu("status").stdout
    for name in ("supervisor", "proxy", "account", "container", "object-1", "object-2", "node-1", "node-2"):
        assert re.search(rf"^{name} +\d+ +\d+ MiB .* ok$", table, re.MULTILINE), table

    # As printed, so usable: the exports for the swift client, and the program by its name.
    exports = dict(re.findall(r"\b(ST_\w+|AWS_\w+)=(\S+)", first.stdout))
    swift = shutil.which("swift", path=str(Path(sys.executable).parent))
    assert swift is not None, "python-swiftclient brings the command"
    (tmp_path / "photo.jpg").write_bytes(b"no photo")
    environment = {**os.environ, **exports}
    for words in (["upload", "photos", "photo.jpg"], ["stat", "photos", "photo.jpg"]):
        subprocess.run([swift, *words], env=environment, cwd=tmp_path, check=True, capture_output=True)
    ran = subprocess.run(
        [swift, "download", "photos", "photo.jpg", "-o", "-", "-H", "X-Run: mine"],
        env=environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert ran.stdout == b"", "the program writes nothing"

    insitu("down")
    gone([state.supervisor, *state.processes.values()])
    assert list(home.iterdir()) == []
    assert "nothing there" in insitu("down").stderr


def test_status_tells_what_is_dead_and_up_starts_it_anew(insitu: Command, home: Path) -> None:
    insitu("up", "--nodes", "1")
    state = state_of(home)
    os.kill(state.processes["object-1"], signal.SIGKILL)
    gone([state.processes["object-1"]])
    assert re.search(r"^object-1 .* dead, see \S+object-1\.log$", insitu("status", code=1).stdout, re.MULTILINE)
    assert "object-1 died" in insitu("up").stderr

    os.kill(state.supervisor, signal.SIGKILL)
    gone([state.supervisor, *state.processes.values()])
    assert "its data is kept" in insitu("status", code=1).stderr
    assert "up in" in insitu("up").stderr  # with as many nodes as before
    assert len(state_of(home).nodes) == 1
    insitu("status")


def test_mistakes_get_one_clear_line(insitu: Command, home: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis").write_text("years of work")
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, message in (
        (("up", "--dir", str(foreign)), f"{foreign}: not empty and not a cluster's directory"),
        (("down", "--dir", str(foreign)), f"{foreign}: not a cluster's directory"),
        (("down", "--dir", str(foreign / "thesis")), "thesis: not a cluster's directory"),
        (("up", "--nodes", "0"), "--nodes 0: allowed are 1 to 16"),
        (("up", "--nodes", "17"), "--nodes 17: allowed are 1 to 16"),
        (("up", "--programs", str(tmp_path / "nowhere")), "nowhere: no such directory"),
        (("up", "--programs", str(empty)), "empty: holds no .wasm file"),
    ):
        said = insitu(*words, code=1).stderr
        assert message in said
        assert len(said.splitlines()) == 1
    assert [path.name for path in foreign.iterdir()] == ["thesis"]
    assert list(home.iterdir()) == []


def test_ctrl_c_during_up_leaves_nothing(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "insitu", "cluster", "up", "--nodes", "1"],
        env={**os.environ, "XDG_STATE_HOME": str(home)},
        # A shell that started the tests in the background has told them, and so their children, to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert any("Swift" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert list(home.iterdir()) == []
