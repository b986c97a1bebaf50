"""The journal of a real node: what its clients have seen is in it, whatever ends the node."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from insitu.runtime.errors import Busy, NodeError
from insitu.runtime.journal.places import default_journal
from insitu.runtime.journal.reading import sums
from insitu.runtime.record import Record
from insitu.sandbox.limits import Limits
from tests.runtime.conftest import NodeProcess, StartNode, eventually


def rows(path: Path) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM launches ORDER BY seq").fetchall()


def test_every_kind_of_end_has_its_record_before_the_client_has_it(start_node: StartNode) -> None:
    node = start_node()
    seen: list[Record] = []

    def ran(program: str, *args: str, **options: Any) -> None:
        record = node.run(program, *args, **options)[1]
        seen.append(record)
        last = rows(node.journal)[-1]
        used = record.outcome.usage
        assert {name: last[name] for name in ("id", "request_id", "tenant", "object", "program", "digest", "node")} == {
            name: getattr(record, name)
            for name in ("id", "request_id", "tenant", "object", "program", "digest", "node")
        }
        assert (last["end"], last["exit_code"]) == (record.outcome.end, record.outcome.exit_code)
        assert last["limit_name"] == (record.outcome.limit.name if record.outcome.limit else None)
        assert {name: last[name] for name in used.__slots__} == {name: getattr(used, name) for name in used.__slots__}
        assert last["isolation"] == "process"
        assert last["started_us"] <= last["ended_us"]

    ran("copy", stdin=b"x" * 5000, object_="/AUTH_test/photos/cat.jpg")
    ran("fail", stdin=b"x")
    ran("trap", stdin=b"x")
    ran("loop", limits=Limits(fuel=1_000_000))
    ran("loop", limits=Limits(wall=0.2), tenant="AUTH_other")
    with node.launching("loop") as run:
        run.launch.close()
    eventually(lambda: rows(node.journal)[-1]["end"] == "cancelled")
    with node.launching("loop") as run:
        for worker in node.client.ping()["workers"]:  # it is one of them
            os.kill(worker, signal.SIGKILL)
        seen.append(run.finish()[1])
    assert [row["end"] for row in rows(node.journal)] == [
        "exit",
        "exit",
        "trap",
        "limit",
        "limit",
        "cancelled",
        "lost",
    ]
    assert len(rows(node.journal)) == len(node.client.runs(100))
    assert node.client.ping()["journal"]["trouble"] == ""


def test_a_refused_launch_is_no_launch(start_node: StartNode) -> None:
    node = start_node()
    with pytest.raises(NodeError):
        node.run("no-such-program")
    assert rows(node.journal) == []


def test_a_node_that_is_killed_again_and_again_loses_nothing_that_was_answered(
    start_node: StartNode, short_path: Path
) -> None:
    """Four clients at once, the node killed at moments that mean nothing to it, every answer remembered."""
    chance = random.Random(11)
    place = short_path / "n"
    answered: dict[str, str] = {}
    accepted: set[str] = set()
    stop = threading.Event()

    def client(node: NodeProcess) -> None:
        while not stop.is_set():
            try:
                with node.launching("copy", stdin=b"y" * 100) as run:
                    accepted.add(run.accepted.id)
                    record = run.finish()[1]
                answered[record.id] = record.outcome.end
            except (NodeError, OSError):
                return  # it was killed

    for _ in range(8):
        node = start_node(directory=place)
        clients = [threading.Thread(target=client, args=(node,)) for _ in range(4)]
        before = len(answered)
        for one in clients:
            one.start()
        eventually(lambda before=before: len(answered) > before)  # type: ignore[misc]
        time.sleep(chance.random() * 0.3)
        node.process.kill()
        node.process.wait()
        for one in clients:
            one.join(30)
    node = start_node(directory=place)
    found = {row["id"]: row["end"] for row in rows(node.journal)}
    assert len(answered) >= 8  # one of each round at the least, and hundreds where the machine has time
    assert {id_: found.get(id_) for id_ in answered} == answered
    # And those that were accepted and not answered: each is there, once.
    assert accepted <= set(found)
    assert len(rows(node.journal)) == len(found)
    assert set(found.values()) <= {"exit", "lost", "cancelled"}


def test_what_died_with_the_node_is_recorded_at_its_next_start(start_node: StartNode, short_path: Path) -> None:
    place = short_path / "n"
    node = start_node(directory=place)
    with node.launching("loop", tenant="AUTH_x", object_="/AUTH_x/c/o") as run:
        assert rows(node.journal) == []
        node.process.kill()
        node.process.wait()
        assert rows(node.journal) == []  # read while it is down
        node = start_node(directory=place)
        [row] = rows(node.journal)
    assert (row["id"], row["end"], row["note"]) == (run.accepted.id, "lost", "the node died while it ran")
    assert (row["tenant"], row["object"], row["request_id"]) == ("AUTH_x", "/AUTH_x/c/o", "tx1")
    assert "1 launches were lost with the node before" in node.log.read_text()


def test_what_runs_when_the_node_is_told_to_end_is_recorded(start_node: StartNode) -> None:
    node = start_node()
    with node.launching("loop") as run:
        node.stop()
    assert not Path(f"{node.journal}-wal").exists()  # closed in good order
    [row] = rows(node.journal)
    assert (row["id"], row["end"], row["note"]) == (run.accepted.id, "lost", "the node was stopped while it ran")


def test_two_nodes_on_one_journal(start_node: StartNode, compiled: Path, short_path: Path) -> None:
    node = start_node()
    done = start_in_vain(
        "--socket", str(short_path / "other"), "--journal", str(node.journal), "--cache", str(compiled)
    )
    assert "another node writes it" in done
    assert str(node.journal) in done
    node.still_serves()


def start_in_vain(*options: str) -> str:
    """What a node says that does not start."""
    command = [sys.executable, "-m", "insitu", "node", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_damaged_journal_keeps_the_node_from_starting(compiled: Path, short_path: Path) -> None:
    journal = short_path / "j"
    journal.write_bytes(os.urandom(5000))
    done = start_in_vain("--socket", str(short_path / "s"), "--journal", str(journal), "--cache", str(compiled))
    assert f"journal {journal} is damaged" in done
    assert "move it away" in done
    assert not (short_path / "s").exists()


@pytest.mark.parametrize("gone", ["", "-wal", "-running"])
def test_a_file_of_the_journal_s_that_is_deleted_costs_no_record(start_node: StartNode, gone: str) -> None:
    """New launches are refused by name; what the node has is written when it is told to end."""
    node = start_node()
    seen = [node.run("copy")[1].id for _ in range(20)]
    Path(f"{node.journal}{gone}").unlink()
    why = ""

    def refused() -> bool:
        nonlocal why
        try:
            seen.append(node.run("copy")[1].id)
        except Busy as refusal:
            why = str(refusal)
        return bool(why)

    eventually(refused)
    assert "moved away or deleted" in why
    if gone:
        node.stop()
        assert [row["id"] for row in rows(node.journal)] == seen


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


if os.geteuid() == 0:  # nobody else may mount; `test_journal` has it without

    def test_a_node_whose_journal_s_disk_is_full_refuses_by_name_and_recovers(
        start_node: StartNode, short_path: Path
    ) -> None:
        disk = short_path / "disk"
        with small_disk(disk, "16m"):
            node = start_node("--journal", str(disk / "j"))
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
            seen: list[str] = []
            why = ""
            for _ in range(5000):
                try:
                    seen.append(node.run("copy", stdin=b"x")[1].id)
                except Busy as refusal:
                    why = str(refusal)
                    break
            assert "no launches while the journal cannot be written" in why
            assert [row["id"] for row in rows(disk / "j")] == seen
            assert node.client.ping()["journal"]["trouble"]
            filler.unlink()
            eventually(lambda: not node.client.ping()["journal"]["trouble"])
            seen.append(node.run("copy", stdin=b"x")[1].id)
            assert [row["id"] for row in rows(disk / "j")] == seen
            assert "new launches are refused" in node.log.read_text()
            assert "is written again" in node.log.read_text()
            node.stop()


def test_the_sums_are_those_of_the_records(start_node: StartNode) -> None:
    node = start_node()
    records = [node.run("copy", stdin=os.urandom(number * 100), tenant=f"AUTH_{number % 3}")[1] for number in range(60)]
    found = sums([node.journal], "tenant")
    for tenant in ("AUTH_0", "AUTH_1", "AUTH_2"):
        mine = [record.outcome.usage for record in records if record.tenant == tenant]
        one = found[tenant]
        assert (one.launches, one.ok, one.failed) == (20, 20, 0)
        assert one.bytes_in == sum(usage.bytes_in for usage in mine)
        assert one.cpu_us == sum(usage.cpu_us for usage in mine)
        assert one.fuel == sum(usage.fuel for usage in mine)


def test_where_a_journal_is_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_journal("a/b") == Path("/state/insitu/a_b.journal")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert default_journal("n") == Path("/var/lib/one/n.journal")
