"""A real node: the daemon as an operator starts it, with its own processes, ended whatever becomes of the test."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from insitu.runtime.client import Accepted, Launch, LaunchRequest, NodeClient
from insitu.runtime.errors import NodeUnavailable
from insitu.runtime.record import Record
from insitu.sandbox.limits import Limits


def eventually(check: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until it holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise AssertionError("it never came to hold")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process is there and no mere zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Run:
    """A launch under way, its stdin and stdout pipes or files of the test's."""

    def __init__(self, launch: Launch, accepted: Accepted, output: int) -> None:
        self.launch, self.accepted, self._output = launch, accepted, output

    def read(self, size: int = 1 << 16) -> bytes:
        return os.read(self._output, size)

    def stop_reading(self) -> None:
        """Close the pipe's read end (its number stays taken)."""
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, self._output, inheritable=False)
        os.close(nowhere)

    def finish(self) -> tuple[bytes, Record]:
        """All its output, and its record."""
        data = bytearray()
        while piece := self.read():
            data += piece
        return bytes(data), self.launch.outcome()


class NodeProcess:
    """`insitu node` in a process of its own."""

    def __init__(self, directory: Path, programs: Path, cache: Path, *options: str) -> None:
        self.path = str(directory / "node.sock")
        self.log = directory / "node.log"
        command = [sys.executable, "-m", "insitu", "node", "--socket", self.path, "--name", "test-node"]
        self.journal = directory / "journal"
        command += ["--programs", str(programs), "--cache", str(cache), "--journal", str(self.journal), *options]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.client = NodeClient(self.path)

    def wait_until_it_serves(self) -> None:
        def serves() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return bool(self.client.ping())
            except NodeUnavailable:
                return False

        eventually(serves, 30)

    @property
    def pid(self) -> int:
        return self.process.pid

    def pids(self) -> set[int]:
        """Of the node and all its processes."""
        ping = self.client.ping()
        return {self.pid, ping["spawner"], *ping["workers"]}

    def calm(self) -> None:
        """Wait until nothing runs, waits or is being forked, or is about to be."""

        def is_calm() -> bool:
            ping = self.client.ping()
            spares = ping["idle"] >= ping["spares"]
            return spares and not ping["running"] and not ping["queued"] and not ping["forking"]

        eventually(is_calm)

    @contextmanager
    def launching(
        self,
        program: str,
        *args: str,
        stdin: int | bytes = b"",
        tenant: str = "AUTH_test",
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        object_: str = "",
        md5: str = "",
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, int] | None = None,
        frozen: bool = False,
        figures: bool = True,
    ) -> Iterator[Run]:
        with contextlib.ExitStack() as stack:
            if isinstance(stdin, bytes):
                file = stack.enter_context(tempfile.TemporaryFile())
                file.write(stdin)
                file.flush()
                stdin = file.fileno()
            read, write = os.pipe()
            stack.callback(os.close, read)
            launch = stack.enter_context(Launch.connect(self.path))
            request = LaunchRequest(
                program,
                args,
                tenant=tenant,
                limits=limits or Limits(),
                env=env or {},
                object=object_,
                request_id="tx1",
                md5=md5,
                frozen=frozen,
                figures=figures,
            )
            try:
                accepted = launch.start(request, stdin, write, inputs=inputs, outputs=outputs)
            finally:
                os.close(write)
            yield Run(launch, accepted, read)

    def run(
        self,
        program: str,
        *args: str,
        stdin: int | bytes = b"",
        tenant: str = "AUTH_test",
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        object_: str = "",
        md5: str = "",
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, int] | None = None,
        frozen: bool = False,
        figures: bool = True,
    ) -> tuple[bytes, Record]:
        """From beginning to end."""
        with self.launching(
            program,
            *args,
            stdin=stdin,
            tenant=tenant,
            limits=limits,
            env=env,
            object_=object_,
            md5=md5,
            inputs=inputs,
            outputs=outputs,
            frozen=frozen,
            figures=figures,
        ) as under_way:
            return under_way.finish()

    def still_serves(self) -> None:
        data = os.urandom(200_000)
        output, record = self.run("copy", stdin=data)
        assert record.outcome.ok, record.outcome.sentence()
        assert output == data

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise


StartNode = Callable[..., NodeProcess]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the nodes of the session keep compiled programs."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def start_node(test_programs: Path, compiled: Path, short_path: Path) -> Iterator[StartNode]:
    """Starts nodes with given options, each in a directory of its own."""
    nodes: list[NodeProcess] = []

    def start(
        *options: str, programs: Path = test_programs, cache: Path = compiled, directory: Path | None = None
    ) -> NodeProcess:
        place = directory or short_path / str(len(nodes))
        place.mkdir(exist_ok=True)
        node = NodeProcess(place, programs, cache, *options)
        nodes.append(node)
        node.wait_until_it_serves()
        return node

    try:
        yield start
    finally:
        for node in nodes:
            node.stop()


@contextmanager
def _a_node(programs: Path, cache: Path, *options: str) -> Iterator[NodeProcess]:
    with tempfile.TemporaryDirectory(prefix="it-") as directory:
        node = NodeProcess(Path(directory), programs, cache, "--workers", "4", "--spares-min", "1", *options)
        try:
            node.wait_until_it_serves()
            yield node
        finally:
            node.stop()


@pytest.fixture(scope="session")
def node(test_programs: Path, compiled: Path) -> Iterator[NodeProcess]:
    """One node for all tests that leave it as it was; isolation `process`, as it is when nothing is said."""
    with _a_node(test_programs, compiled) as node:
        yield node


@pytest.fixture(scope="session")
def shared_node(test_programs: Path, compiled: Path) -> Iterator[NodeProcess]:
    """The same, isolation `shared`."""
    with _a_node(test_programs, compiled, "--isolation", "shared") as node:
        yield node
