"""`insitu cluster` as a person uses it: up, status, down, each a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
import wasmtime

from insitu.runtime.bundles.build import packed
from insitu.runtime.client import NodeClient
from insitu.storage_hooks.devcluster import DevCluster
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

    # As printed, so usable: how to see a node's runs, the whole path of its socket, what an `eval` of it sees.
    asks = re.search(r"^runs +insitu (node --socket (\S+) runs) ", first.stdout, re.MULTILINE)
    assert asks is not None, first.stdout
    assert asks[2] == str(state.nodes[0].socket)
    assert asks[2] in table
    subprocess.run([sys.executable, "-m", "insitu", *asks[1].split()], check=True, capture_output=True)
    lines = [line.split(":    ")[-1].strip() for line in first.stdout.splitlines()]
    exports_at = next(n for n, line in enumerate(lines) if line.startswith("export ST_AUTH"))
    assert lines[exports_at - 1] == "unset OS_AUTH_TOKEN OS_STORAGE_URL;"

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
    with closing(DevCluster.attach(home / "insitu" / "cluster").connection()) as connection:
        connection.put_container("kept")
    for name in ("object-1", "node-1"):
        os.kill(state.processes[name], signal.SIGKILL)
        gone([state.processes[name]])
    assert re.search(r"^object-1 .* dead, see \S+object-1\.log$", insitu("status", code=1).stdout, re.MULTILINE)
    assert "--nodes 2: the data" in insitu("up", "--nodes", "2", code=1).stderr
    assert Path(f"/proc/{state.supervisor}").exists(), "a refused `up` has ended nothing"
    again = insitu("up")
    assert "node-1, object-1 died" in again.stderr
    assert "up in" in again.stderr
    assert state.users["test:tester"] in again.stdout, "the keys stay"
    insitu("status")
    gone([state.supervisor, *state.processes.values()])
    state = state_of(home)
    assert state.endpoint in again.stdout
    with closing(DevCluster.attach(home / "insitu" / "cluster").connection()) as connection:
        assert [container["name"] for container in connection.get_account()[1]] == ["kept"]

    os.kill(state.supervisor, signal.SIGKILL)
    gone([state.supervisor, *state.processes.values()])
    assert "its data is kept" in insitu("status", code=1).stderr
    assert "up in" in insitu("up").stderr  # with as many nodes as before
    assert len(state_of(home).nodes) == 1
    insitu("status")


def served(home: Path) -> list[str]:
    """The programs of an operator's own that the first node serves."""
    socket = state_of(home).nodes[0].socket
    return [info.name for info in NodeClient(str(socket)).programs() if info.name in ("mine", "other")]


def test_up_remembers_the_programs(insitu: Command, home: Path, tmp_path: Path) -> None:
    """A directory of bundles is as good as one of modules."""
    wasm = bytes(wasmtime.wat2wasm(EXITS))
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "mine.wasm").write_bytes(wasm)
    contents = {"program.toml": b'name = "other"\n', "other.wasm": wasm}
    (tmp_path / "other" / "other.zip").write_bytes(packed(contents, contents.__getitem__, "other")[0])

    def end() -> None:
        state = state_of(home)
        os.kill(state.supervisor, signal.SIGKILL)
        gone([state.supervisor, *state.processes.values()])

    insitu("up", "--nodes", "1", "--programs", str(tmp_path / "mine"))
    end()
    insitu("up")
    assert served(home) == ["mine"]
    end()
    insitu("up", "--programs", str(tmp_path / "other"))
    assert served(home) == ["other"]
    end()
    shutil.rmtree(tmp_path / "other")
    said = insitu("up", code=1).stderr
    assert "other: no such directory; an earlier `up` was told of it" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("directory", ["made", "found empty"])
def test_two_at_once_are_one(insitu: Command, home: Path, tmp_path: Path, directory: str) -> None:
    where = home / "c"
    if directory == "found empty":
        where.mkdir()
    words = [sys.executable, "-m", "insitu", "cluster", "up", "--nodes", "1", "--dir", str(where)]
    ups = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [up.communicate(timeout=120) for up in ups]
    try:
        assert [up.returncode for up in ups] == [0, 0, 0], said
        assert len({out for out, _ in said}) == 1, "all three tell of the same cluster"
        assert sum("\nup in" in err for _, err in said) == 1, said
        assert sum("already up" in err for _, err in said) == 2, said
    finally:
        insitu("down", "--dir", str(where))
    if directory == "found empty":
        where.rmdir()


def test_a_start_waits_for_another_that_leaves_nothing(short_path: Path) -> None:
    """The directory that was waited for is gone then: it is made again, not used nameless."""
    layout = Layout(short_path / "c")
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as pool, held(layout) as release:

        def second() -> tuple[bool, bool]:
            with layout.alone(waiting.set) as made:
                return made, layout.root.is_dir()

        later = pool.submit(second)
        assert waiting.wait(PATIENCE)
        release()
        assert later.result(PATIENCE) == (True, True)
    assert not layout.root.exists()


@contextmanager
def held(layout: Layout) -> Iterator[Callable[[], None]]:
    """Holds the directory until what it gives is called."""
    with ExitStack() as stack:
        stack.enter_context(layout.alone())
        yield stack.close


def test_mistakes_get_one_clear_line(insitu: Command, home: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis").write_text("years of work")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no program")
    for words, message in (
        (("up", "--dir", str(foreign)), f"{foreign}: not empty and not a cluster's directory"),
        (("down", "--dir", str(foreign)), f"{foreign}: not a cluster's directory"),
        (("down", "--dir", str(foreign / "thesis")), "thesis: not a cluster's directory"),
        (("up", "--nodes", "0"), "--nodes 0: allowed are 1 to 16"),
        (("up", "--nodes", "17"), "--nodes 17: allowed are 1 to 16"),
        (("up", "--programs", str(tmp_path / "nowhere")), "nowhere: no such directory"),
        (("up", "--programs", str(empty)), "empty: holds no program (a file *.wasm or *.zip)"),
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


def test_an_output_that_cannot_be_written_is_one_line(insitu: Command, home: Path) -> None:
    insitu("up", "--nodes", "1")
    for word in ("up", "status"):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "insitu", "cluster", word],
                env={**os.environ, "XDG_STATE_HOME": str(home)},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "insitu: cannot write the output: no space left on device"
        assert "Traceback" not in done.stderr
