"""A real node and tenants that misbehave: the others' launches succeed, and every refusal has a name."""

import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from insitu.runtime import process
from insitu.runtime.errors import BadRequest, Busy
from insitu.sandbox.limits import MIB, Limits
from tests.runtime.conftest import NodeProcess, Run, StartNode, alive, eventually

LONG = Limits(wall=60)
ISOLATIONS = pytest.mark.parametrize("isolation", ["process", "shared"])


@contextmanager
def stalled(node: NodeProcess, tenant: str, count: int) -> Iterator[list[Run]]:
    """So many launches of a tenant that run for as long as they may, and have begun."""
    with ExitStack() as stack:
        runs = [stack.enter_context(node.launching("stall", tenant=tenant, limits=LONG)) for _ in range(count)]
        for run in runs:
            assert run.read(10)
        yield runs


class Launches:
    """Launches in threads of their own; what became of each, in the order in which they ended."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._threads: list[threading.Thread] = []
        self.ended: list[tuple[str, Any]] = []

    def start(self, program: str, tenant: str, **more: Any) -> None:
        def run() -> None:
            try:
                ended: Any = self._node.run(program, tenant=tenant, **more)[1]
            except Exception as why:  # noqa: BLE001 - it is what the test looks at
                ended = why
            self.ended.append((tenant, ended))

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def of(self, tenant: str) -> list[Any]:
        return [ended for name, ended in self.ended if name == tenant]


def queued(node: NodeProcess) -> int:
    return int(node.client.ping()["queued"])


def settings(place: Path, text: str) -> tuple[str, str]:
    file = place / "node.toml"
    file.write_text(text)
    return "--config", str(file)


@ISOLATIONS
def test_tenants_take_turns_when_the_node_is_full(start_node: StartNode, short_path: Path, isolation: str) -> None:
    """One place. A's launches wait first and are many; the order in which the node began them is the records'."""
    node = start_node("--workers", "1", "--spares-min", "0", "--isolation", isolation)
    for tenant in "AB":
        node.run("copy", tenant=tenant)
    launches = Launches(node)
    with stalled(node, "X", 1):
        for at in range(8):
            launches.start("copy", "A")
            eventually(lambda at=at: queued(node) == at + 1)  # type: ignore[misc]
        for at in range(3):
            launches.start("copy", "B")
            eventually(lambda at=at: queued(node) == at + 9)  # type: ignore[misc]
    launches.join()
    latest = [record.tenant for record in reversed(node.client.runs(12)) if record.tenant != "X"]
    assert "".join(latest) == "ABABABAAAAA"
    assert all(record.outcome.ok for _, record in launches.ended)


@ISOLATIONS
def test_consumers_that_never_read_hold_up_their_own_tenant_only(
    start_node: StartNode, short_path: Path, isolation: str
) -> None:
    node = start_node("--workers", "3", "--isolation", isolation, *settings(short_path, "[tenants]\nrunning = 2\n"))
    flood = Limits(wall=60)
    with ExitStack() as stack:
        for _ in range(2):  # the pipe is full, and nobody will ever read
            run = stack.enter_context(node.launching("flood", tenant="unread", limits=flood))
            eventually(lambda: node.client.ping()["running"])
            assert run.read(1)
        launches = Launches(node)
        launches.start("copy", "unread")
        eventually(lambda: queued(node) == 1)
        for _ in range(5):
            node.still_serves()
        assert queued(node) == 1
    launches.join()
    assert launches.ended[0][1].outcome.ok


def test_a_producer_that_stalls_holds_up_its_own_tenant_only(start_node: StartNode, short_path: Path) -> None:
    node = start_node("--workers", "2", *settings(short_path, "[tenants]\nrunning = 1\n"))
    reading, writing = os.pipe()
    try:
        with node.launching("copy", tenant="stalls", stdin=reading, limits=LONG):
            for _ in range(5):
                node.still_serves()
            assert node.client.ping()["running"] == 1
    finally:
        os.close(reading)
        os.close(writing)
    node.calm()


def test_a_flood_is_refused_by_name_and_the_others_are_served(start_node: StartNode, short_path: Path) -> None:
    node = start_node("--workers", "2", *settings(short_path, "[tenant.floods]\nrunning = 1\nqueued = 3\n"))
    launches = Launches(node)
    with stalled(node, "floods", 1):
        for at in range(3):
            launches.start("copy", "floods")
            eventually(lambda at=at: queued(node) == at + 1)  # type: ignore[misc]
        for _ in range(50):
            with pytest.raises(Busy, match="tenant floods: limit queued: 3 allowed, 3 reached") as caught:
                node.run("copy", tenant="floods")
            assert caught.value.retry_after > 0
        node.still_serves()
    launches.join()
    assert [record.outcome.ok for record in launches.of("floods")] == [True] * 3


def test_who_waited_too_long_is_told_for_what(start_node: StartNode, short_path: Path) -> None:
    text = 'queue_seconds = 0.3\n[tenant.A]\nrunning = 1\n[tenant.M]\nmemory = "100MiB"\n'
    node = start_node("--workers", "2", *settings(short_path, text))
    node.run("copy")
    with stalled(node, "A", 1):
        with pytest.raises(Busy, match=r"tenant A: limit running: 1 allowed, 1 reached after 0\.3 s"):
            node.run("copy", tenant="A")
        node.still_serves()
        with stalled(node, "B", 1), pytest.raises(Busy, match=r"no worker became free after 0\.3 s"):
            node.run("copy", tenant="C")
    with pytest.raises(BadRequest, match="tenant M: limit memory: 100 MiB allowed, 101 MiB reached"):
        node.run("copy", tenant="M", limits=Limits(memory=101 * MIB))
    assert node.run("copy", tenant="M", limits=Limits(memory=100 * MIB))[1].outcome.ok
    assert node.run("copy", tenant="M")[1].outcome.ok, "who asks for nothing gets what there is"


def test_cpu_of_a_minute_is_measured_and_refused(start_node: StartNode, short_path: Path) -> None:
    node = start_node(*settings(short_path, "[tenant.busy]\ncpu_per_minute = 0.2\n"))
    record = node.run("loop", tenant="busy", limits=Limits(wall=20, cpu=0.3))[1]
    assert record.outcome.usage.cpu_us >= 290_000
    with pytest.raises(Busy, match="tenant busy: limit cpu_per_minute: 200 ms allowed") as caught:
        node.run("copy", tenant="busy")
    assert 5 < caught.value.retry_after <= 60  # 0.1 s too much, at 0.2 s a minute
    node.still_serves()


def test_who_waits_for_cpu_time_is_served_when_there_is_some(start_node: StartNode, short_path: Path) -> None:
    node = start_node(*settings(short_path, "[tenant.busy]\nrunning = 1\ncpu_per_minute = 30\n"))
    node.run("loop", tenant="busy", limits=Limits(wall=20, cpu=0.1))
    launches = Launches(node)
    with node.launching("loop", tenant="busy", limits=Limits(wall=60, fuel=1 << 60)) as run:
        launches.start("copy", "busy")
        eventually(lambda: queued(node) == 1)
        begun = time.monotonic()
        run.launch.close()
    launches.join()
    assert launches.ended[0][1].outcome.ok
    assert time.monotonic() - begun < 30


@ISOLATIONS
def test_a_worker_that_dies_has_used_what_it_has_used(start_node: StartNode, short_path: Path, isolation: str) -> None:
    """Else whoever finds a way to crash one would compute for nothing."""
    node = start_node("--isolation", isolation, *settings(short_path, "[tenant.busy]\ncpu_per_minute = 0.5\n"))
    node.run("copy", tenant="busy")
    with node.launching("loop", tenant="busy", limits=Limits(wall=60, fuel=1 << 60)) as run:
        (worker,) = running(node)
        eventually(lambda: process.cpu_ns(worker) > 700_000_000)
        os.kill(worker, signal.SIGKILL)
        _, record = run.finish()
    assert record.outcome.end == "lost"
    assert record.outcome.usage.cpu_us >= 650_000
    assert record.outcome.usage.cpu_us <= record.outcome.usage.wall_us * 1.5
    with pytest.raises(Busy, match="tenant busy: limit cpu_per_minute: 500 ms allowed"):
        node.run("copy", tenant="busy")
    with sqlite3.connect(node.journal) as journal:
        [[cpu_us]] = journal.execute("SELECT cpu_us FROM launches WHERE id = ?", (record.id,)).fetchall()
    assert cpu_us == record.outcome.usage.cpu_us


def running(node: NodeProcess) -> list[int]:
    """Workers that compute."""
    found: list[int] = []

    def some() -> bool:
        used = {pid: process.cpu_ns(pid) for pid in node.client.ping()["workers"]}
        time.sleep(0.05)
        found[:] = [pid for pid, before in used.items() if process.cpu_ns(pid) - before > 10_000_000]
        return len(found) == 1

    eventually(some)
    return found


def test_what_is_kept_of_stderr_is_a_tenants(start_node: StartNode, short_path: Path, tmp_path: Path) -> None:
    (tmp_path / "cries.wasm").write_bytes(
        b"""(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1) (data (i32.const 100) "0123456789")
          (func (export "_start") (local $n i32)
            (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 10))
            (loop $again (drop (call $w (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
              (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))))"""
    )
    node = start_node(*settings(short_path, "[tenant.A]\nstderr = 20\n"), programs=tmp_path)
    short, long = (node.run("cries", tenant=tenant)[1].outcome for tenant in "AB")
    assert short.stderr == b"0123456789\n[insitu: 9980 bytes of stderr left out]\n0123456789"
    assert len(long.stderr) == 10_000
    assert short.usage.bytes_err == long.usage.bytes_err == 10_000


@ISOLATIONS
def test_a_burst_over_the_spares_is_answered_whole(start_node: StartNode, isolation: str) -> None:
    node = start_node("--workers", "4", "--isolation", isolation)
    node.run("copy")
    launches = Launches(node)
    for at in range(100):
        launches.start("copy", f"tenant-{at % 7}", stdin=b"x" * 1000)
    launches.join()
    assert [getattr(ended, "outcome", ended).ok for _, ended in launches.ended] == [True] * 100
    records = [record for _, record in launches.ended]
    assert len({record.id for record in records}) == 100
    by_worker: dict[int, set[str]] = {}
    for record in records:
        by_worker.setdefault(record.worker, set()).add(record.tenant)
    assert all(len(tenants) == 1 for tenants in by_worker.values())
    if isolation == "process":
        assert len(by_worker) == 100, "a worker that served a second launch"


def test_a_worker_of_isolation_process_ends_after_its_launch(node: NodeProcess) -> None:
    workers = [node.run(program)[1].worker for program in ("copy", "fail", "trap", "copy")]
    assert len(set(workers)) == 4
    eventually(lambda: not any(alive(worker) for worker in workers))


_NO_FORK = """
import errno, os
fork = os.fork
def failing():
    if os.path.exists({flag!r}):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = failing
"""


@ISOLATIONS
def test_when_no_process_can_be_had_it_is_told_and_tried_again(
    start_node: StartNode, short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """A limit of processes does not bind root, as whom tests may run: the spawner's fork fails as it would."""
    flag = tmp_path / "no-fork"
    (tmp_path / "sitecustomize.py").write_text(_NO_FORK.format(flag=str(flag)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = "queue_seconds = 1\nspares_min = 0\nspares_max = 0\n"
    node = start_node("--workers", "2", "--isolation", isolation, *settings(short_path, text))
    node.run("copy", tenant="before")
    node.calm()
    spawner = node.client.ping()["spawner"]
    flag.touch()
    with pytest.raises(Busy, match=r"no worker became free \(.* could not be forked: .*\) after 1 s"):
        node.run("copy", tenant="A")
    launches = Launches(node)
    launches.start("copy", "A")
    eventually(lambda: queued(node) == 1)
    assert node.log.read_text().count("could not be forked") < 20, "it is tried again at leisure"
    flag.unlink()
    launches.join()
    assert launches.ended[0][1].outcome.ok
    node.still_serves()
    assert node.client.ping()["spawner"] == spawner


@dataclass(frozen=True)
class Sizes:
    """What a node and its processes hold while nothing runs."""

    processes: int
    descriptors: int
    """Of node and spawner."""
    rss: int
    """Of both, bytes."""

    @classmethod
    def at_rest(cls, node: NodeProcess) -> "Sizes":
        """The least of many looks: the node has not always hung up yet on whoever asked it a moment ago."""
        return min((cls.of(node) for _ in range(20)), key=lambda look: (look.descriptors, look.processes))

    @classmethod
    def of(cls, node: NodeProcess) -> "Sizes":
        # Tenants keep their workers: a tenant more or less is no leak.
        def settled() -> bool:
            ping = node.client.ping()
            return not ping["running"] and not ping["forking"] and ping["idle"] >= ping["spares"] == 2

        eventually(settled, 40)
        both = (node.pid, node.client.ping()["spawner"])
        workers = len(node.client.ping()["workers"])
        children = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in both]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in both)
        return cls(
            sum(map(len, children)),
            sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in both) - 2 * workers,
            pages * resource.getpagesize(),
        )


def many_launches(node: NodeProcess, count: int) -> None:
    """Of all kinds, by eight at once."""

    def some(first: int) -> None:
        for at in range(first, count, 8):
            match at % 20:
                case 0:
                    node.run("fail")
                case 1:
                    node.run("trap")
                case 2:
                    with node.launching("stall"):
                        pass  # cancelled
                case 3:
                    with pytest.raises(BadRequest):
                        node.run("copy", env={"A": "\0"})
                case _:
                    output, record = node.run("copy", tenant="AUTH_test", stdin=b"x" * 1000)
                    assert record.outcome.ok
                    assert output == b"x" * 1000

    failures: list[BaseException] = []

    def guarded(first: int) -> None:
        try:
            some(first)
        except BaseException as why:  # noqa: BLE001 - told below
            failures.append(why)

    threads = [threading.Thread(target=guarded, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


MANY = int(os.environ.get("INSITU_MANY_LAUNCHES", "1000"))


@pytest.mark.timeout(120 + MANY)
@ISOLATIONS
def test_after_many_launches_everything_is_where_it_began(
    start_node: StartNode, short_path: Path, isolation: str
) -> None:
    """`INSITU_MANY_LAUNCHES` for more than a thousand."""
    node = start_node("--workers", "4", "--isolation", isolation, *settings(short_path, "records = 100\n"))
    many_launches(node, 400)  # whatever grows to its size has grown
    before = Sizes.at_rest(node)
    many_launches(node, MANY)
    after = Sizes.at_rest(node)
    print(isolation, MANY, before, after)
    assert after.descriptors == before.descriptors
    assert abs(after.processes - before.processes) <= 4  # workers that a tenant keeps
    assert after.rss - before.rss < 4 * MIB


def test_a_node_may_open_what_a_full_queue_takes_or_says_so(start_node: StartNode) -> None:
    node = start_node("--queue", "100000", "--workers", "10")
    soft, hard = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    needed = 200_000 + 1024 + 64 + 20
    assert soft >= min(hard, needed)
    assert ("a full queue needs" in node.log.read_text()) == (hard < needed)
    node.still_serves()
