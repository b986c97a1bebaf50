"""A node, or its spawner, that may open nothing more: launches are refused by name or served, none hangs, nothing else
is lost, and when there is room again everything is as before."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count as count_from
from pathlib import Path

from insitu.runtime.errors import Busy, NodeError
from insitu.sandbox.limits import Limits
from tests.runtime.conftest import NodeProcess, StartNode, alive, eventually
from tests.runtime.test_node_tenants import ISOLATIONS, Launches, settings


@contextmanager
def room_for(pid: int, more: int) -> Iterator[None]:
    """It may open so many more, for now."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    count = next(most for most in count_from(0) if most - len([fd for fd in taken if fd < most]) == more)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def try_some(node: NodeProcess, programs: list[str]) -> list[BaseException | None]:
    """A launch of each, at once; what became of them."""
    launches = Launches(node)
    for program in programs:
        launches.start(program, "AUTH_test", stdin=b"x", limits=Limits(wall=20))
    launches.join()
    return [ended if isinstance(ended, BaseException) else None for _, ended in launches.ended]


@ISOLATIONS
def test_a_node_that_may_open_nothing_more_refuses_by_name_and_goes_on(
    start_node: StartNode, short_path: Path, isolation: str
) -> None:
    """From nothing at all upwards, each launch stops at another place."""
    text = "queue_seconds = 0.5\nspares_min = 1\n"
    node = start_node("--workers", "3", "--isolation", isolation, *settings(short_path, text))
    node.run("copy")
    node.calm()
    spawner = node.client.ping()["spawner"]
    said: set[str] = set()
    for room in range(1, 16):
        node.calm()
        with room_for(node.pid, room):
            for ended in try_some(node, ["copy", "copy", "fail"]):
                assert ended is None or isinstance(ended, NodeError), repr(ended)
                said.add(str(ended))
        node.still_serves()
    assert any("descriptors" in words or "open files" in words for words in said), said
    for _ in range(8):  # as many as ever may run at once
        node.still_serves()
    node.calm()
    assert node.client.ping()["spawner"] == spawner, "it was no fault of the spawner's"
    log = node.log.read_text()
    assert "internal error" not in log
    assert "Traceback" not in log


def test_while_a_node_may_not_even_accept_whoever_comes_waits(start_node: StartNode) -> None:
    node = start_node("--workers", "2")
    node.run("copy")
    launches = Launches(node)
    with room_for(node.pid, 0):
        launches.start("copy", "A")
        eventually(lambda: "cannot accept: [Errno 24]" in node.log.read_text())
        assert not launches.ended
    launches.join()
    assert launches.ended[0][1].outcome.ok
    assert node.log.read_text().count("cannot accept") < 200


@ISOLATIONS
def test_a_spawner_that_may_open_nothing_more_loses_no_launch_that_runs(
    start_node: StartNode, short_path: Path, isolation: str
) -> None:
    text = "queue_seconds = 0.5\nspares_min = 0\n"
    node = start_node("--workers", "3", "--isolation", isolation, *settings(short_path, text))
    spawner = node.client.ping()["spawner"]
    programs = ["copy", "fail", "trap", "loop", "flood"]
    with node.launching("stall", tenant="runs", limits=Limits(wall=100)) as run:
        assert run.read(10)
        for room in range(8):
            with room_for(spawner, room):
                assert alive(spawner)
                for ended in try_some(node, [programs[room % 3], programs[(room + 1) % 3]]):
                    assert ended is None or isinstance(ended, Busy), repr(ended)
            node.still_serves()
        assert node.client.ping()["spawner"] == spawner
        run.launch.close()
    log = node.log.read_text()
    assert "internal error" not in log


@contextmanager
def in_flight(count: int) -> Iterator[None]:
    """So many descriptors of this user's are on their way, and nobody receives them."""
    with ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "rb"))
        for _ in range(0, count, 50):
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            with ours:
                socket.send_fds(ours, [b"x"], [null.fileno()] * 50)
        yield


def test_a_spawner_that_cannot_send_descriptors_for_now_waits(start_node: StartNode) -> None:
    """The kernel counts those on their way by user, and whoever is not root is refused beyond what it may have open:
    one client's flood, of launches that bring many, would be every worker's end."""
    node = start_node("--workers", "2", "--spares-min", "0", "--spares-max", "1")
    node.still_serves()
    node.calm()
    spawner = node.client.ping()["spawner"]
    launches = Launches(node)
    with room_for(spawner, 30), in_flight(400):
        launches.start("copy", "A", stdin=b"x")
        launches.start("copy", "A", stdin=b"x")
        launches.start("fail-early", "A")  # which has to be compiled
        eventually(lambda: node.client.ping()["queued"])
        time.sleep(0.3)  # of what it would have died by now
    launches.join()
    assert [str(ended) for _, ended in launches.ended if isinstance(ended, BaseException)] == []
    assert node.client.ping()["spawner"] == spawner
    node.still_serves()
    assert "Traceback" not in node.log.read_text()
