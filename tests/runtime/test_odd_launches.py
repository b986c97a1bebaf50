"""Launches with descriptors and words that nobody would think of, and processes of the node's that are stopped: each
has an end that is named, and everybody else's go on."""

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from insitu.runtime import wire
from insitu.runtime.client import Launch, LaunchRequest
from insitu.runtime.errors import Busy, NodeError
from insitu.sandbox.limits import Limits
from tests.runtime.conftest import NodeProcess, StartNode, alive, eventually
from tests.runtime.test_node import GOOD, ask
from tests.runtime.test_node_tenants import ISOLATIONS, settings

SHORT = Limits(wall=1, output=1 << 20)


def sealed() -> int:
    fd = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW)
    return fd


def lingering() -> int:
    """A socket whose close would wait."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with socket.create_connection(listener.getsockname()) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
            return os.dup(sock.fileno())


def copied(of: select.epoll | socket.socket) -> int:
    with of:
        return os.dup(of.fileno())


def datagrams() -> int:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return os.dup(one.fileno())


def terminal() -> int:
    master, slave = os.openpty()
    os.close(master)
    return slave


def appending() -> int:
    with tempfile.TemporaryFile("ab+") as file:
        return os.dup(file.fileno())


ODD: dict[str, Callable[[], int]] = {
    "an epoll": lambda: copied(select.epoll()),
    "an eventfd": lambda: os.eventfd(0),
    "a pidfd": lambda: os.pidfd_open(os.getpid()),
    "zeroes without end": lambda: os.open("/dev/zero", os.O_RDWR),
    "a full device": lambda: os.open("/dev/full", os.O_RDWR),
    "a file of /proc": lambda: os.open("/proc/self/maps", os.O_RDONLY),
    "its own memory": lambda: os.open("/proc/self/mem", os.O_RDONLY),
    "a directory of /proc": lambda: os.open("/proc/self/fd", os.O_RDONLY),
    "a path only": lambda: os.open("/etc/passwd", os.O_PATH),
    "a memfd": lambda: os.memfd_create("memfd"),
    "a sealed memfd": sealed,
    "a socket that nobody listens at": lambda: copied(socket.socket(socket.AF_UNIX)),
    "a socket that listens": lambda: copied(socket.create_server(("127.0.0.1", 0))),
    "a datagram socket": datagrams,
    "a socket that lingers": lingering,
    "a terminal": terminal,
    "appending": appending,
    "nothing to be written": lambda: os.open(os.devnull, os.O_RDONLY),
}


@ISOLATIONS
def test_descriptors_that_nobody_would_think_of(start_node: StartNode, isolation: str) -> None:
    """Each as stdin, as stdout, as both, and the connection to the node itself."""
    node = start_node("--workers", "3", "--isolation", isolation)
    node.run("copy")
    for what, made in {**ODD, "the connection itself": None}.items():
        for places in ("in", "out", "both"):
            with Launch.connect(node.path) as launch, open(os.devnull, "r+b") as null:
                fd = os.dup(launch._sock.fileno()) if made is None else made()
                stdin, stdout = (fd if places != one else null.fileno() for one in ("out", "in"))
                launch._sock.settimeout(5)  # type: ignore[attr-defined]
                try:
                    launch.start(LaunchRequest("copy", tenant="AUTH_odd", limits=SHORT), stdin, stdout)
                    if made is not None:
                        assert launch.outcome().outcome.end in ("exit", "limit", "lost"), (what, places)
                except (NodeError, TimeoutError):
                    assert made is None, (what, places)  # it reads what was meant for us
                finally:
                    os.close(fd)
        node.still_serves()
    node.calm()
    assert "internal error" not in node.log.read_text()


TEXTS = ["\n", "\0", "a\nb: c", "\x1b[2J", "'; DROP TABLE launches; --", "€" * 1000, "\u202e", "../../x", "%s%n", ""]


@pytest.mark.parametrize("field", ["tenant", "request_id", "object"])
def test_texts_of_any_kind_are_kept_as_they_are(node: NodeProcess, field: str) -> None:
    for text in TEXTS:
        request: dict[str, Any] = {field: text}
        with Launch.connect(node.path) as launch, open(os.devnull, "r+b") as null:
            launch.start(LaunchRequest("copy", **request), null.fileno(), null.fileno())
            record = launch.outcome()
        assert getattr(record, field) == text
    for by in ("tenant", "object"):
        command = [sys.executable, "-m", "insitu", "usage", "--journal", str(node.journal), "--by", by]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert not set(done.stdout) & {"\x1b", "\0", "\u202e"}, "somebody's terminal would do as it is told"


NONE: list[Any] = [
    float("nan"),
    float("inf"),
    -float("inf"),
    -1,
    1 << 63,
    (1 << 64) - 1,
    True,
    None,
    "1",
    b"1",
    [],
    {},
    1e308,
]


@pytest.mark.parametrize("limit", ["wall", "cpu", "memory", "fuel", "output"])
def test_limits_that_are_none(node: NodeProcess, limit: str) -> None:
    for value in NONE:
        answer = ask(node, wire.encode(GOOD | {"limits": {limit: value}}))
        assert answer is not None
        if value is not None:  # which is how it is said that there is none
            assert answer.get("error") == "bad-request", (limit, value, answer)
    for value in (1.5, 1e3):
        assert ask(node, wire.encode(GOOD | {"limits": {limit: value}})) is not None
    node.still_serves()


def test_words_that_are_no_text(node: NodeProcess) -> None:
    frame = wire.encode(GOOD)
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80"):  # never UTF-8, NUL in two bytes, half a surrogate pair
        at = frame.index(b"copy")
        raw = frame[:at] + (bad * 4)[:4] + frame[at + 4 :]
        answer = ask(node, raw)
        assert answer is not None
        assert answer["error"] in ("protocol", "bad-request")
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    for odd in (deep, {"a": deep}):
        answer = ask(node, wire.encode(GOOD | {"args": odd, "env": odd}))
        assert answer is not None
        assert answer["error"] in ("protocol", "bad-request")
    node.still_serves()


# Processes that are stopped, and such as cannot be had.


@ISOLATIONS
def test_while_the_spawner_is_stopped_launches_are_served_or_refused_by_name(
    start_node: StartNode, short_path: Path, isolation: str
) -> None:
    node = start_node("--workers", "2", "--isolation", isolation, *settings(short_path, "queue_seconds = 0.5\n"))
    node.run("copy")
    eventually(lambda: (now := node.client.ping())["idle"] >= now["spares"] and not now["forking"])
    spawner = node.client.ping()["spawner"]
    os.kill(spawner, signal.SIGSTOP)
    try:
        served, refused = 0, set()
        for _ in range(8):
            try:
                assert node.run("copy")[1].outcome.ok
                served += 1
            except Busy as why:
                refused.add(str(why))
    finally:
        os.kill(spawner, signal.SIGCONT)
    assert served >= 1, "there was a spare"
    assert refused == ({"no worker became free after 0.5 s"} if isolation == "process" else set())
    for _ in range(4):
        node.still_serves()
    assert node.client.ping()["spawner"] == spawner


@ISOLATIONS
def test_a_worker_that_is_stopped_ends_at_its_launchs_wall_time(start_node: StartNode, isolation: str) -> None:
    node = start_node("--workers", "2", "--isolation", isolation)
    with node.launching("stall", tenant="A", limits=Limits(wall=2)) as run:
        assert run.read(10)
        idle = set(node.client.ping()["workers"])
        for pid in idle:  # the one that runs it, and perhaps a spare
            os.kill(pid, signal.SIGSTOP)
        record = run.launch.outcome()
    assert record.outcome.limit is not None
    assert record.outcome.limit.name == "wall"
    assert "killed from outside" in record.outcome.note
    eventually(lambda: not alive(record.worker))
    for pid in idle:
        if alive(pid):
            os.kill(pid, signal.SIGCONT)
    node.still_serves()


_LIMITED = """
import os, resource
from insitu.runtime.confine.guard import Guard
honest_enter, fork = Guard.enter_spawner, os.fork
standing = resource.getrlimit(resource.RLIMIT_NPROC)

def enter(self):
    os.setresuid(54321, 0, 0)
    return honest_enter(self)

def limited():
    soft = 1 if os.path.exists({flag!r}) else standing[0]
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, standing[1]))
    return fork()

Guard.enter_spawner, os.fork = enter, limited
"""


if os.geteuid() == 0:  # nobody else may be somebody else

    @ISOLATIONS
    def test_where_the_kernel_gives_no_more_processes(
        start_node: StartNode, short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str
    ) -> None:
        """EAGAIN from fork itself: whose process it is counts, and it is somebody's whom the limit binds."""
        flag = short_path / "no-more"
        (tmp_path / "sitecustomize.py").write_text(_LIMITED.format(flag=str(flag)))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        text = "queue_seconds = 0.5\nspares_min = 0\nspares_max = 0\n"
        node = start_node("--workers", "2", "--isolation", isolation, *settings(short_path, text))
        node.run("copy", tenant="A")
        node.calm()
        spawner = node.client.ping()["spawner"]
        flag.touch()
        for _ in range(2):
            with pytest.raises(Busy, match=r"could not be forked: .*Resource temporarily unavailable"):
                node.run("copy", tenant="B")
        flag.unlink()
        assert node.run("copy", tenant="B")[1].outcome.ok
        assert node.client.ping()["spawner"] == spawner
