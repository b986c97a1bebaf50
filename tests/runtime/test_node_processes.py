"""What becomes of a node's processes when one of them dies, and of the launches in them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from insitu.runtime.client import NodeClient
from insitu.runtime.errors import NodeLost, NodeUnavailable
from insitu.sandbox.limits import Limits
from tests.runtime.conftest import StartNode, alive, eventually

LONG = Limits(wall=60)


def test_a_worker_that_is_killed_is_reported_and_replaced(start_node: StartNode) -> None:
    node = start_node("--workers", "1", "--spares-min", "0")
    with node.launching("stall", limits=LONG) as run:
        assert run.read(10)
        (worker,) = node.client.ping()["workers"]
        os.kill(worker, signal.SIGKILL)
        _, record = run.finish()
    assert record.outcome.end == "lost"
    assert f"worker {worker} killed by SIGKILL" in record.outcome.sentence()
    assert record.worker == worker
    assert node.client.run(record.id) == record
    node.still_serves()


def test_an_idle_worker_that_is_killed_is_replaced(start_node: StartNode) -> None:
    node = start_node("--workers", "2", "--spares-min", "1")
    node.still_serves()
    for _ in range(3):
        node.calm()
        workers = node.client.ping()["workers"]
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        # A process is a zombie as soon as its first thread is; its socket is there until the last one is gone.
        eventually(lambda: not set(workers) & set(node.client.ping()["workers"]))  # noqa: B023 - called at once
        eventually(lambda: not any(alive(worker) for worker in workers))  # noqa: B023 - likewise
        node.still_serves()


def test_when_the_spawner_is_killed_its_runs_are_lost_and_the_next_works(start_node: StartNode) -> None:
    node = start_node("--workers", "3", "--spares-min", "1")
    with node.launching("stall", limits=LONG) as run:
        assert run.read(10)
        before = node.pids() - {node.pid}
        os.kill(node.client.ping()["spawner"], signal.SIGKILL)
        _, record = run.finish()
        assert record.outcome.end == "lost"
    for _ in range(5):
        node.still_serves()
    assert not before & node.pids()
    eventually(lambda: not any(alive(pid) for pid in before))


def test_when_the_node_is_killed_nothing_of_it_is_left(start_node: StartNode) -> None:
    node = start_node()
    with node.launching("stall", limits=LONG) as run:
        assert run.read(10)
        pids = node.pids()
        assert len(pids) >= 3
        node.process.kill()
        node.process.wait()
        with pytest.raises(NodeLost, match="went away"):
            run.finish()
    eventually(lambda: not any(alive(pid) for pid in pids))
    # Its socket is still there, and nobody behind it: the next node takes the place.
    assert Path(node.path).is_socket()
    with pytest.raises(NodeUnavailable):
        node.client.ping()
    again = start_node(directory=Path(node.path).parent)
    assert again.path == node.path
    again.still_serves()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_is_told_to_end_ends_everything(start_node: StartNode, number: signal.Signals) -> None:
    node = start_node()
    with node.launching("stall", limits=LONG) as run:
        assert run.read(10)
        pids = node.pids()
        node.process.send_signal(number)
        with pytest.raises(NodeLost):
            run.finish()
        assert node.process.wait(10) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)  # each was waited for: not even a zombie is left
    assert not Path(node.path).exists()
    assert "Traceback" not in node.log.read_text()


def other_node(path: str, cache: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "insitu", "node", "--socket", path, "--cache", str(cache)]
    command += ["--journal", f"{path}.journal"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_who_stops_a_whole_group_leaves_the_node_to_end_its_own(start_node: StartNode) -> None:
    node = start_node()
    node.still_serves()
    node.calm()
    about = node.client.ping()
    for pid in (about["spawner"], *about["workers"]):
        os.kill(pid, signal.SIGTERM)
    node.still_serves()
    assert node.client.ping()["spawner"] == about["spawner"]
    node.stop()
    assert "ERROR" not in node.log.read_text()


def test_a_second_node_at_the_same_place_is_refused(start_node: StartNode, compiled: Path) -> None:
    node = start_node()
    done = other_node(node.path, compiled)
    assert done.returncode == 1
    assert "a node serves there already" in done.stderr
    assert "Traceback" not in done.stderr
    node.still_serves()


def test_of_nodes_that_start_at_once_one_serves(short_path: Path, compiled: Path) -> None:
    """Each with a journal of its own: it is the place alone that there is one of."""
    place = short_path / "s"
    command = [sys.executable, "-m", "insitu", "node", "--socket", str(place), "--cache", str(compiled)]
    nodes = []
    for at in range(4):
        with open(short_path / f"log{at}", "wb") as log:
            nodes.append(subprocess.Popen([*command, "--journal", str(short_path / f"j{at}")], stderr=log))
    try:
        eventually(lambda: sum(node.poll() is not None for node in nodes) == 3, 30)
        for at, node in enumerate(nodes):
            if node.poll() is not None:
                assert node.returncode == 1
                assert "a node serves there already" in (short_path / f"log{at}").read_text()
        [serving] = [node for node in nodes if node.poll() is None]
        eventually(place.exists)
        assert NodeClient(str(place)).ping()["pid"] == serving.pid
    finally:
        for node in nodes:
            node.terminate()
            node.wait(20)


@pytest.mark.parametrize("what", ["file", "directory", "too long", "open cache", "no cache"])
def test_a_place_that_cannot_be_had(short_path: Path, compiled: Path, what: str) -> None:
    place, cache = short_path / "s", compiled
    match what:
        case "file":
            place.write_text("something else")
        case "directory":
            place.mkdir()
        case "too long":
            place = short_path / ("x" * 100)
        case "open cache":
            cache = short_path / "cache"
            cache.mkdir()
            cache.chmod(0o777)
        case _:
            cache = short_path / "file" / "cache"
            (short_path / "file").write_text("")
    done = other_node(str(place), cache)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert ("cache" if "cache" in what else "socket") in last
    assert "Traceback" not in done.stderr
    if what == "file":
        assert place.read_text() == "something else"


def test_only_its_own_user_may_speak_to_a_node(start_node: StartNode) -> None:
    node = start_node()
    assert os.stat(node.path).st_mode & 0o777 == 0o600
    assert os.stat(node.path).st_uid == os.geteuid()


def test_a_stale_socket_of_nobody(start_node: StartNode, short_path: Path) -> None:
    place = short_path / "stale"
    place.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place / "node.sock"))
    start_node(directory=place).still_serves()
