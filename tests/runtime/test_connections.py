"""Thousands of connections, and peers that talk without end: everybody else is answered meanwhile."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from insitu.runtime import wire
from tests.runtime.conftest import NodeProcess, StartNode, eventually

CROWD = """
import resource, socket, struct, sys
from insitu.runtime import wire
path, count, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
ping = wire.encode({"v": 1, "op": "ping"})
words = [b"", ping, ping[:-1], ping + ping[:3], struct.pack(">I", 1 << 20) + bytes(1000)]
held = []
for at in range(first, first + count):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    try:
        sock.sendall(words[at % len(words)])
    except OSError:
        pass  # it was hung up on already
    held.append(sock)
print("here", flush=True)
sys.stdin.read()
"""


@contextmanager
def crowd(path: str, count: int, first: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", CROWD, path, str(count), str(first)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


def descriptors(node: NodeProcess) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def test_ten_thousand_connections_hold_up_nobody(start_node: StartNode) -> None:
    """Silent ones, half frames, and those that asked once and stay: none of them is worth a launch."""
    node = start_node("--workers", "4")
    node.run("copy")
    node.calm()
    before = descriptors(node)
    with ExitStack() as stack:
        crowds = [stack.enter_context(crowd(node.path, 2500, first)) for first in range(0, 10_000, 2500)]
        served = 0
        for one in crowds:
            here = threading.Thread(target=one.stdout.readline)  # type: ignore[union-attr]
            here.start()
            while here.is_alive():
                node.still_serves()
                served += 1
            here.join()
        for _ in range(10):
            node.still_serves()
        assert served > 5
        assert descriptors(node) < before + 1100
    eventually(lambda: descriptors(node) <= before + 2, 30)
    assert "internal error" not in node.log.read_text()


def test_who_waits_for_a_launch_is_never_sent_away_for_a_newcomer(start_node: StartNode) -> None:
    node = start_node("--workers", "2", "--spares-min", "0")
    with node.launching("stall") as run, crowd(node.path, 1500, 0) as others:
        assert run.read(10)
        assert others.stdout is not None
        others.stdout.readline()
        node.still_serves()
        run.launch.close()
    node.calm()


@pytest.mark.parametrize("what", ["nothing", "half a frame", "half a frame after a whole one"])
def test_who_does_not_end_its_sentence_is_told(
    start_node: StartNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text("from insitu.runtime import peer\npeer.FIRST_WORD = 0.3\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    node = start_node("--workers", "2")
    ping = wire.encode({"v": 1, "op": "ping"})
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(node.path)
        decoder = wire.Decoder()
        if what == "half a frame after a whole one":
            for _ in range(3):
                sock.sendall(ping)
                assert (wire.receive(sock, decoder) or {})["node"]
                time.sleep(0.5)  # between two requests it may be silent for as long as it likes
        if what != "nothing":
            sock.sendall(ping[:-1])
        answer = wire.receive(sock, decoder)
        assert answer is not None
        assert answer["error"] == "protocol"
        assert "took over" in answer["message"]
        assert sock.recv(1) == b""


@pytest.mark.parametrize("question", ["programs", "runs", "ping"])
def test_a_peer_that_asks_without_end_leaves_the_others_their_turn(start_node: StartNode, question: str) -> None:
    """100,000 questions on the way at once, whose answers it reads, and one that reads none."""
    node = start_node("--workers", "2")
    for _ in range(30):
        node.run("copy")
    frame = wire.encode({"v": 1, "op": question, "limit": 10_000})
    stop = threading.Event()
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
        asked = frame * (100_000 // len(frame))
        threads = []

        def ask(sock: socket.socket) -> None:
            try:
                while not stop.is_set():
                    sock.sendall(asked)
            except OSError:
                pass  # the test is over

        def read(sock: socket.socket) -> None:
            try:
                while sock.recv(1 << 16):
                    pass
            except OSError:
                pass

        for at, sock in enumerate(socks):
            sock.connect(node.path)
            threads.append(threading.Thread(target=ask, args=(sock,)))
            if at:
                threads.append(threading.Thread(target=read, args=(sock,)))
        for thread in threads:
            thread.start()
        try:
            begun = time.monotonic()
            for _ in range(10):
                node.still_serves()
            took = time.monotonic() - begun
            rss = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        finally:
            stop.set()
            for sock in socks:
                sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(30)
    print(question, took, rss)
    assert rss < 150 << 20
    node.still_serves()
