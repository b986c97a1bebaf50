"""A real node daemon for a benchmark, and programs that no node has seen."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from insitu.runtime.client import Accepted, Launch, LaunchRequest, NodeClient
from insitu.runtime.errors import NodeUnavailable
from insitu.runtime.record import Record

PATIENCE: Final = 30.0  # seconds
AT_REST: Final = 0.002
SHIPPED_CAT: Final = Path(__file__).parent.parent / "insitu" / "programs" / "cat.wasm"


@contextmanager
def running_node(directory: Path, *options: str, programs: Path | None = None) -> Iterator[str]:
    """A node of its own, as an operator would start it with these options; yields its socket. Keeps what it compiles
    in `directory`."""
    path = directory / "s"
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "insitu", "node", "--socket", str(path), "--name", "bench"),
                *("--cache", str(directory / "cache"), "--journal", str(directory / "journal")),
                *(("--programs", str(programs)) if programs else ()),
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        wait_until_quiet(str(path), process)
        yield str(path)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def whole_launch(socket: str, request: LaunchRequest, file: int) -> tuple[bytes, Accepted, Record]:
    """A launch with `file` as stdin, from its acceptance to its end: its output, which is taken as it comes, and what
    the node says of it."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    parts: list[bytes] = []

    def drain() -> None:
        with os.fdopen(reading, "rb") as stream:
            parts.append(stream.read())

    drainer = threading.Thread(target=drain)
    drainer.start()
    with Launch.connect(socket) as launch:
        try:
            accepted = launch.start(request, stdin=file, stdout=writing)
        finally:
            os.close(writing)
        record = launch.outcome()
    drainer.join()
    assert record.outcome.ok, record.outcome.sentence()
    return parts[0], accepted, record


def wait_until_quiet(path: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Until the node answers, nothing runs, and no worker is being made: what comes next is measured undisturbed."""
    client = NodeClient(path)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            about = client.ping()
        except NodeUnavailable:
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"the node ended with status {process.returncode}") from None
        else:
            if about["idle"] >= max(1, about["spares"]) and not (
                about["running"] or about["queued"] or about["forking"]
            ):
                time.sleep(AT_REST)  # it sees us hang up
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the node at {path} does not come to rest")
        time.sleep(0.005)


def distinct_cats(directory: Path, prefix: str, count: int) -> list[str]:
    """`count` programs that differ from `cat` and each other in nothing but a custom section; returns their names."""
    wasm = SHIPPED_CAT.read_bytes()
    names = [f"{prefix}-{number:04}" for number in range(count)]
    for name in names:
        label, text = b"insitu.benchmark", name.encode()
        section = bytes([len(label)]) + label + text
        assert len(section) < 128, "a length of one LEB128 byte"
        (directory / f"{name}.wasm").write_bytes(wasm + bytes([0, len(section)]) + section)
    return names
