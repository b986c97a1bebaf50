"""The journal by itself: what is written, what survives, what is refused, what sums come to."""

import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from insitu.runtime.errors import Busy
from insitu.runtime.journal import SYNCED, schema
from insitu.runtime.journal.housekeeping import GATHER
from insitu.runtime.journal.journal import Journal
from insitu.runtime.journal.reading import Sums, names, sums
from insitu.runtime.journal.running import SLOT, Begun, Running
from insitu.runtime.journal.schema import JournalError
from insitu.runtime.loop import Loop
from insitu.runtime.record import Record
from insitu.sandbox.outcome import ChannelStatistics, LimitHit, Outcome, Usage

DIGEST = "sha256:" + "a" * 64


def task(id_: str = "0" * 32, **given: Any) -> Any:
    plain = {"id": id_, "request_id": "tx1", "tenant": "AUTH_a", "object": "/a/c/o", "started": time.time()}
    return SimpleNamespace(info=SimpleNamespace(name="cat", digest=DIGEST), **(plain | given))


def record(id_: str = "0" * 32, outcome: Outcome | None = None, **given: Any) -> Record:
    plain: dict[str, Any] = {"id": id_, "request_id": "tx1", "tenant": "AUTH_a", "object": "/a/c/o", "program": "cat"}
    plain |= {"digest": DIGEST, "args": (), "node": "n1", "worker": 7, "started": time.time(), "launch_us": 300}
    return Record(**(plain | given), outcome=outcome or Outcome("exit", 0))


class Turning:
    """A journal and the loop that it is in, turned by hand."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.loop = Loop()
        self.journal = Journal(str(path), "n1", **{"workers": 4} | options)
        self.journal.attach(self.loop)

    def turn(self, seconds: float = 0.05) -> None:
        self.loop._running = True
        self.loop.after(seconds, self.loop.stop)
        self.loop.run()

    def turn_until(self, check: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not check():
            assert time.monotonic() < end, "it never came to hold"
            self.turn(0.005)

    def launch(self, id_: str, outcome: Outcome | None = None, **given: Any) -> list[str]:
        """Begun and ended; the list has its id once it is answered."""
        answered: list[str] = []
        slot = self.journal.begin(task(id_))
        self.journal.end(record(id_, outcome, **given), slot, lambda: answered.append(id_))
        return answered


@contextmanager
def turning(path: Path, **options: Any) -> Iterator[Turning]:
    it = Turning(path, **options)
    try:
        yield it
    finally:
        it.journal.close()


def rows(path: Path, what: str = "*") -> list[Any]:
    """As anybody else reads them, while the journal is open."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(f"SELECT {what} FROM launches ORDER BY seq").fetchall()


def name(number: int) -> str:
    return f"{number:032x}"


# What a record becomes.


def test_a_record_is_there_for_others_when_it_is_answered(tmp_path: Path) -> None:
    usage = Usage(1000, 200, 300, 1 << 20, 10, 20, 30)
    channels = {"in/a": ChannelStatistics(3, 10, 0, 0, "sha256:ff")}
    outcome = Outcome("limit", limit=LimitHit("fuel", 999, 1000), usage=usage, channels=channels, note="so it is")
    with turning(tmp_path / "j") as it:
        slot = it.journal.begin(task(name(1)))
        seen: list[Any] = []
        it.journal.end(record(name(1), outcome, started=1000.5), slot, lambda: seen.extend(rows(tmp_path / "j")))
        [row] = seen
    assert dict(row) == {
        "seq": 1,
        "id": name(1),
        "request_id": "tx1",
        "tenant": "AUTH_a",
        "program": "cat",
        "digest": DIGEST,
        "object": "/a/c/o",
        "node": "n1",
        "isolation": "process",
        "started_us": 1_000_500_000,
        "ended_us": row["ended_us"],
        "launch_us": 300,
        "end": "limit",
        "exit_code": None,
        "limit_name": "fuel",
        "note": "so it is",
        "broken": "",
        "fuel": 1000,
        "cpu_us": 200,
        "wall_us": 300,
        "memory_peak": 1 << 20,
        "bytes_in": 10,
        "bytes_out": 20,
        "bytes_err": 30,
        "channels": '{"in/a": {"reads": 3, "bytes_read": 10, "writes": 0, "bytes_written": 0, "digest": "sha256:ff"}}',
    }
    assert abs(row["ended_us"] / 1e6 - time.time()) < 60


def test_every_column_says_what_it_is() -> None:
    assert all(kind and says for kind, says in schema.COLUMNS.values())
    assert len(schema.row(record(), 1)) == len(schema.COLUMNS) - 1


def test_names_of_any_kind_survive_both_files(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"tenant": "ü" * 2048, "object": "a\0b\n'\"" + "\u6f22" * 1300, "request_id": ""}
    journal = tmp_path / "j"
    with turning(journal) as it:
        it.journal.end(record(name(1), **odd), it.journal.begin(task(name(1), **odd)), lambda: None)
        it.journal.begin(task(name(2), **odd))  # and never ends
    first, second = rows(journal)
    for row in (first, second):
        assert {key: row[key] for key in odd} == odd
    assert (second["end"], second["note"]) == ("lost", "the node was stopped while it ran")


def test_only_the_node_s_user_reads_it(tmp_path: Path) -> None:
    with turning(tmp_path / "new" / "j") as it:
        it.launch(name(1))
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert modes == {"j": 0o600, "j-wal": 0o600, "j-shm": 0o600, "j-running": 0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


# What is left after a sudden end: copies of the files as they are, with no word to SQLite.


def as_it_is(journal: Path, to: Path) -> Path:
    to.mkdir()
    for file in journal.parent.glob("j*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, to / file.name)
    return to / "j"


def test_after_a_sudden_end_nothing_answered_is_missing_and_the_rest_is_lost(tmp_path: Path) -> None:
    journal = tmp_path / "a" / "j"
    with turning(journal) as it:
        for number in range(100):
            assert it.launch(name(number)) == [name(number)]
        for number in range(100, 103):
            it.journal.begin(task(name(number), tenant="AUTH_lost"))
        copy = as_it_is(journal, tmp_path / "b")
    with turning(copy):
        found = rows(copy)
    assert [row["id"] for row in found] == [name(number) for number in range(103)]
    assert [row["end"] for row in found] == ["exit"] * 100 + ["lost"] * 3
    assert {(row["tenant"], row["note"]) for row in found[100:]} == {("AUTH_lost", "the node died while it ran")}
    with turning(copy):  # found once, not at every start
        assert len(rows(copy)) == 103


def test_one_that_was_recorded_but_whose_slot_was_not_freed_is_not_lost(tmp_path: Path) -> None:
    journal = tmp_path / "a" / "j"
    with turning(journal) as it:
        it.launch(name(1))
        it.journal._running.end = lambda slot: None  # type: ignore[method-assign]
        it.launch(name(2))
        copy = as_it_is(journal, tmp_path / "b")
        del it.journal._running.end
    with turning(copy):
        assert [row["end"] for row in rows(copy)] == ["exit", "exit"]


@pytest.mark.parametrize("cut", [1, 7, 100, 1000, 5000])
def test_a_log_that_is_cut_off_anywhere_loses_its_end_and_nothing_before(tmp_path: Path, cut: int) -> None:
    journal = tmp_path / "a" / "j"
    with turning(journal) as it:
        for number in range(50):
            it.launch(name(number))
        copy = as_it_is(journal, tmp_path / "b")
    log = Path(f"{copy}-wal")
    written = len(log.read_bytes().rstrip(b"\0"))
    with log.open("r+b") as file:
        file.truncate(written - cut)
    with turning(copy):
        found = [row["id"] for row in rows(copy)]
    assert found == [name(number) for number in range(len(found))]
    assert len(found) >= 49 - cut // schema.PAGE


def test_a_slot_that_is_torn_is_no_launch(tmp_path: Path) -> None:
    running = Running(str(tmp_path / "r"))
    running.empty(2)
    whole = Begun(name(1), "tx", "t", "cat", DIGEST, "/o", 5, 6)
    running.begin(whole)
    running.begin(Begun(name(2), "tx", "t", "cat", DIGEST, "/o", 5, 6))
    assert {one.id for one in running.left()} == {name(1), name(2)}
    torn = next(at for at in (0, SLOT) if name(2).encode() in os.pread(running.fd, 200, at))
    os.pwrite(running.fd, b"?", torn + 60)
    assert running.left() == [whole]
    for junk in (b"\xff" * 8, b"\0\0\0\x01" + b"x" * 8, os.urandom(SLOT)):
        os.pwrite(running.fd, junk, torn)
        assert running.left() == [whole]
    running.close()


def test_only_launches_that_last_reach_the_disk_before_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    running = Running(str(tmp_path / "r"))
    running.empty(4)
    synced.clear()
    long = running.begin(Begun(name(1), "", "t", "cat", DIGEST, "", 1, 1))
    assert (running.sync(), synced) == (True, [])
    short = running.begin(Begun(name(2), "", "t", "cat", DIGEST, "", 1, 1))
    assert (running.sync(), synced) == (True, [running.fd])  # for the long one
    running.end(short)
    assert (running.sync(), synced) == (False, [running.fd])
    running.end(long)
    assert (running.sync(), synced) == (False, [running.fd])
    running.close()


def test_more_launches_at_once_than_there_are_slots(tmp_path: Path) -> None:
    running = Running(str(tmp_path / "r"))
    running.empty(1)
    slots = [running.begin(Begun(name(n), "", "t", "cat", DIGEST, "", 1, 1)) for n in range(20)]
    assert len(set(slots)) == 20
    for slot in slots[::2]:
        running.end(slot)
    assert {one.id for one in running.left()} == {name(n) for n in range(1, 20, 2)}
    running.close()


KILLED = """
import sys
from tests.runtime.test_journal import Turning, name, record, task
from pathlib import Path
it = Turning(Path(sys.argv[1]), frames=60, reserve=50, days=1)
first = int(sys.argv[2])
for number in range(first, first + 1_000_000):
    slot = it.journal.begin(task(name(number)))
    it.journal.end(record(name(number)), slot, lambda number=number: print(number, flush=True))
    if number % 10 == 0:
        it.turn(0.001)
"""


def test_killed_while_the_log_begins_anew_and_old_records_go(tmp_path: Path) -> None:
    """Again and again, with a log so short that it is always about to begin anew; and old records to be deleted."""
    chance = random.Random(5)
    journal = tmp_path / "j"
    connection, _ = schema.open_journal(str(journal))
    connection.execute("BEGIN")
    connection.executemany(schema.INSERT, [schema.row(record("f" * 32), 1) for _ in range(30_000)])
    connection.execute("COMMIT")
    connection.close()
    answered: list[str] = []
    for turn in range(6):
        command = [sys.executable, "-c", KILLED, str(journal), str(turn * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            answered.append(name(int(process.stdout.readline())))
            time.sleep(0.3 + chance.random() / 2)
            process.kill()
            answered += [
                name(int(line)) for line in process.stdout.read().splitlines(keepends=True) if line[-1] == "\n"
            ]
    with turning(journal):
        found = rows(journal, "id, end")
        (restarts,) = sqlite3.connect(journal).execute("SELECT restarts FROM journal").fetchone()
    recorded = [row["id"] for row in found if row["end"] == "exit" and row["id"] != "f" * 32]
    assert restarts > 20
    assert len(answered) > 500
    assert set(answered) <= set(recorded)
    assert len(recorded) == len(set(recorded))
    assert sum(row["id"] == "f" * 32 for row in found) < 30_000
    with closing(sqlite3.connect(journal)) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Whose it is, and what it is.


def test_two_on_one_journal_are_refused(tmp_path: Path) -> None:
    with turning(tmp_path / "j") as it:
        with pytest.raises(JournalError, match=r"another node writes it; --journal names another"):
            Journal(str(tmp_path / "j"), "n2", workers=1)
        assert it.launch(name(1))
    with turning(tmp_path / "j"):
        pass


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("something else " * 100)
    other = tmp_path / "other"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    newer = tmp_path / "newer"
    with turning(newer):
        pass
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for path, words in ((text, "damaged"), (other, "no journal of insitu's"), (newer, "version 99, and this insitu")):
        before = path.read_bytes()
        with pytest.raises(JournalError, match=words) as caught:
            Journal(str(path), "n1", workers=1)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == before
    with pytest.raises(JournalError, match="Is a directory"):
        Journal(str(tmp_path), "n1", workers=1)


def test_a_journal_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with turning(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE launches DROP COLUMN broken")
        connection.commit()
    with pytest.raises(JournalError, match=r"other columns than this insitu's \(broken\)"):
        Journal(str(path), "n", workers=1)
    with pytest.raises(JournalError, match="other columns"):
        sums([path])


def test_what_is_no_file_is_no_journal_and_a_link_to_one_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalError, match="no regular file"):
        Journal(str(tmp_path / "pipe"), "n", workers=1)
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place/journal")
    with turning(tmp_path / "link") as it:
        it.launch(name(1))
        with pytest.raises(JournalError, match="another node writes it"):
            Journal(str(tmp_path / "place" / "journal"), "n", workers=1)
        assert sums([tmp_path / "link"])[""].launches == 1
    assert (tmp_path / "place" / "journal").is_file()


def test_a_damaged_journal_is_not_started_over(tmp_path: Path) -> None:
    journal = tmp_path / "a" / "j"
    with turning(journal) as it:
        for number in range(2000):
            it.launch(name(number))
        it.journal._housekeeper.wake()
        it.turn(0.3)
        copy = as_it_is(journal, tmp_path / "b")  # not closed: it is looked through
    size = copy.stat().st_size
    assert size > 300_000
    with copy.open("r+b") as file:
        file.seek(size // 2 // schema.PAGE * schema.PAGE)
        file.write(os.urandom(4 * schema.PAGE))
    with pytest.raises(JournalError, match=r"is damaged .*move it away together with .*-wal.*start again"):
        Journal(str(copy), "n1", workers=1)
    with pytest.raises(JournalError, match="damaged"):
        sums([copy])


def test_a_log_without_its_journal_is_not_mixed_into_a_new_one(tmp_path: Path) -> None:
    journal = tmp_path / "a" / "j"
    with turning(journal) as it:
        it.launch(name(1))
        copy = as_it_is(journal, tmp_path / "b")
    copy.unlink()
    with pytest.raises(JournalError, match=r"is gone or empty, but .*-wal is still there"):
        Journal(str(copy), "n1", workers=1)


# The threads.


def test_the_log_begins_anew_and_nothing_is_lost_on_the_way(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with turning(journal, frames=100, reserve=50) as it:
        answered: list[str] = []
        for number in range(3000):
            slot = it.journal.begin(task(name(number)))
            it.journal.end(record(name(number)), slot, partial(answered.append, name(number)))
            if number % 20 == 0:  # no quicker than the housekeeper, who may have to wait for a processor
                it.turn_until(lambda: not it.journal._lent and not it.journal._housekeeper._wake.is_set())
        it.turn_until(lambda: len(answered) == 3000)
        assert answered == [name(number) for number in range(3000)]
        with closing(sqlite3.connect(journal)) as connection:
            (restarts,) = connection.execute("SELECT restarts FROM journal").fetchone()
        assert restarts > 3
        assert Path(f"{journal}-wal").stat().st_size < 2_000_000  # it would be twice as long
    assert [row["id"] for row in rows(journal)] == answered


def test_while_the_log_begins_anew_answers_wait_and_then_come_in_order(tmp_path: Path) -> None:
    with turning(tmp_path / "j") as it:
        it.journal._lend()
        it.journal._housekeeper._pen.clear()
        waiting = [it.launch(name(number)) for number in range(3)]
        assert waiting == [[], [], []]
        assert it.journal.state()["pending"] == 3
        assert rows(tmp_path / "j") == []
        it.journal.admit()  # that is no trouble
        it.journal._take_back()
        assert waiting == [[name(0)], [name(1)], [name(2)]]
        assert len(rows(tmp_path / "j")) == 3


def test_what_is_written_is_synced_within_the_promise(tmp_path: Path) -> None:
    """By the word of the disk, which on this machine may be late for reasons of others: then the log says so."""
    assert GATHER < SYNCED / 2
    synced: list[float] = []
    with turning(tmp_path / "j") as it:
        it.launch(name(1))
        began = time.monotonic()
        it.turn_until(lambda: it.journal._syncer.slowest > 0)
        synced.append(time.monotonic() - began)
        assert GATHER <= it.journal._syncer.slowest <= synced[0] + 1


def test_old_records_go_and_young_ones_stay(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    day = 86400 * 1_000_000
    now = time.time_ns() // 1000
    connection, _ = schema.open_journal(str(journal))
    ages = [30 - number * 20 / 1000 for number in range(1000)]  # days, the oldest first
    connection.executemany(
        schema.INSERT, [schema.row(record(name(n)), int(now - age * day)) for n, age in enumerate(ages)]
    )
    connection.close()
    young = [name(n) for n, age in enumerate(ages) if age < 20]
    with turning(journal, days=20) as it:
        it.turn_until(lambda: len(rows(journal, "id")) == len(young))
        answered = it.launch("f" * 32)
        it.turn_until(lambda: bool(answered))  # the housekeeper may have the pen for a moment longer
        assert [row["id"] for row in rows(journal)] == [*young, "f" * 32]


def test_a_clock_that_jumps_ahead_makes_no_record_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with turning(tmp_path / "j", days=20) as it:
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 400 * 86400)
        assert now <= it.journal._housekeeper._now() < now + 86400
        monkeypatch.undo()


def test_the_last_record_stays_so_that_numbers_are_never_given_twice(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    connection, _ = schema.open_journal(str(journal))
    connection.executemany(schema.INSERT, [schema.row(record(name(n)), 1) for n in range(300)])
    connection.close()
    with turning(journal) as it:
        it.turn_until(lambda: len(rows(journal, "id")) == 1)
        answered = it.launch("f" * 32)
        it.turn_until(lambda: bool(answered))  # as above
        assert [row["seq"] for row in rows(journal)] == [300, 301]


# Trouble.


class Disk:
    """Somewhere that can be full: a file system of its own where we may mount one."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self) -> None:
        with (self.place / "filler").open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass

    def make_room(self) -> None:
        (self.place / "filler").unlink()


class LimitedFiles(Disk):
    """The next best thing: no file of this process may grow beyond the largest, which is the log; the database will."""

    def fill(self) -> None:
        most = max(file.stat().st_size for file in self.place.iterdir())
        # With a little more for the log: whether it is a few pages longer or shorter is not what this is about.
        resource.setrlimit(resource.RLIMIT_FSIZE, (most + 400 * schema.PAGE, resource.RLIM_INFINITY))

    def make_room(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=["no file grows", *(["the disk is full"] if os.geteuid() == 0 else [])])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "small"
    place.mkdir()
    if request.param == "no file grows":
        limited = LimitedFiles(place)
        try:
            yield limited
        finally:
            limited.make_room()
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], check=True)
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def refused(journal: Journal) -> str:
    """Why, or nothing."""
    try:
        journal.admit()
    except Busy as why:
        return str(why)
    return ""


def test_a_full_disk_refuses_launches_loses_no_record_and_is_forgotten_when_there_is_room(disk: Disk) -> None:
    journal = disk.place / "j"
    with turning(journal, frames=200, reserve=100, workers=2) as it:
        disk.fill()
        answers: list[list[str]] = []
        ids = (name(number) for number in range(100_000))

        def full() -> bool:
            for _ in range(20):
                if not refused(it.journal) and not it.journal.state()["pending"]:  # there are slots for ten at once
                    answers.append(it.launch(next(ids)))
            return bool(refused(it.journal))

        it.turn_until(full)
        assert re.search(r"journal cannot be written .*(full|No space|too large|I/O)", refused(it.journal))
        assert len(answers) > 50
        # What ran when it was found to be full has its record all the same, in the room that was kept for it.
        it.turn_until(lambda: all(answers))
        answers.append(it.launch(next(ids)))
        it.turn_until(lambda: all(answers))
        it.turn(1.5)
        assert refused(it.journal)
        disk.make_room()
        it.turn_until(lambda: not refused(it.journal))
        answers.append(it.launch(next(ids)))
        it.turn_until(lambda: all(answers))
        assert [[row["id"]] for row in rows(journal)] == answers


class Stubborn:
    """A connection whose inserts fail as SQLite's do."""

    def __init__(self, connection: sqlite3.Connection, message: str, code: int) -> None:
        self.real, self.message, self.code, self.failing = connection, message, code, True

    def execute(self, sql: str, *values: Any) -> Any:
        if self.failing and sql.startswith(("INSERT", "BEGIN")):
            why = sqlite3.OperationalError(self.message)
            why.sqlite_errorcode = self.code
            raise why
        return self.real.execute(sql, *values)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.real, attribute)


def test_a_record_that_cannot_be_written_holds_its_answer_back_and_refuses_new_launches(tmp_path: Path) -> None:
    with turning(tmp_path / "j") as it:
        stubborn = Stubborn(it.journal._connection, "disk I/O error", sqlite3.SQLITE_IOERR)
        it.journal._connection = stubborn  # type: ignore[assignment]
        under_way = it.journal.begin(task(name(2)))
        held = it.launch(name(1))
        it.turn(0.6)
        assert held == []
        with pytest.raises(Busy, match=r"journal cannot be written \(writing: disk I/O error\)"):
            it.journal.admit()
        it.journal.end(record(name(2)), under_way, lambda: held.append(name(2)))  # in turn, behind the first
        assert held == []
        assert {one.id for one in it.journal._running.left()} == {name(1), name(2)}  # would be found if it died now
        stubborn.failing = False
        it.turn_until(lambda: held == [name(1), name(2)])
        it.journal.admit()
        assert [row["id"] for row in rows(tmp_path / "j")] == [name(1), name(2)]


def test_somebody_else_who_writes_for_a_moment_is_no_trouble(tmp_path: Path) -> None:
    with turning(tmp_path / "j") as it:
        with closing(sqlite3.connect(tmp_path / "j", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held = it.launch(name(1))
            it.turn(0.1)
            assert held == []
            it.journal.admit()
            other.execute("ROLLBACK")
            it.turn_until(lambda: held)
            other.execute("BEGIN IMMEDIATE")
            held = it.launch(name(2))
            it.turn(1.5)  # and for longer it is
            with pytest.raises(Busy, match="locked"):
                it.journal.admit()
        it.turn_until(lambda: held)
        it.journal.admit()


def test_a_disk_that_does_not_sync_refuses_launches_until_it_does(tmp_path: Path) -> None:
    read, write = os.pipe()  # which cannot be synced
    with turning(tmp_path / "j") as it:
        fd, it.journal._syncer._log_fd = it.journal._syncer._log_fd, write
        it.launch(name(1))
        it.turn_until(lambda: it.journal.state()["trouble"])
        with pytest.raises(Busy, match="sync: Invalid argument"):
            it.journal.admit()
        it.journal._syncer._log_fd = fd
        it.turn_until(lambda: not it.journal.state()["trouble"])
        it.journal.admit()
    os.close(read)
    os.close(write)


def test_a_journal_that_somebody_moves_away_takes_no_launches_until_it_is_back(tmp_path: Path) -> None:
    with turning(tmp_path / "j") as it:
        (tmp_path / "j").rename(tmp_path / "away")
        it.launch(name(1))
        it.turn_until(lambda: "moved away or deleted" in refused(it.journal))
        (tmp_path / "away").rename(tmp_path / "j")
        it.turn_until(lambda: not refused(it.journal))
        assert [row["id"] for row in rows(tmp_path / "j")] == [name(1)]


def test_a_launch_that_cannot_be_entered_is_refused_and_the_next_can_when_there_is_room(tmp_path: Path) -> None:
    with turning(tmp_path / "j") as it:
        fd = it.journal._running.fd
        it.journal._running.fd = os.open("/dev/full", os.O_RDWR)
        with pytest.raises(Busy, match="running: No space left on device"):
            it.journal.begin(task(name(1)))
        it.turn(1.5)
        assert refused(it.journal)
        os.close(it.journal._running.fd)
        it.journal._running.fd = fd
        it.turn_until(lambda: not refused(it.journal))
        assert it.launch(name(2))


def test_what_cannot_be_written_at_the_very_end_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    it = Turning(tmp_path / "j")
    stubborn = Stubborn(it.journal._connection, "disk I/O error", sqlite3.SQLITE_IOERR)
    it.journal._connection = stubborn  # type: ignore[assignment]
    assert it.launch(name(7)) == []
    it.journal.close()
    assert name(7) in caplog.text
    with turning(tmp_path / "j"):
        [row] = rows(tmp_path / "j")
    assert (row["id"], row["end"]) == (name(7), "lost")  # and the next one knows at least that


# Sums.


def any_outcome(chance: random.Random) -> Outcome:
    end = chance.choice(["exit", "exit", "exit", "trap", "limit", "cancelled", "lost"])
    usage = Usage(*(chance.randrange(1 << bits) for bits in (62, 40, 40, 32, 50, 50, 20)))
    limit = LimitHit("fuel", 1, 2) if end == "limit" else None
    code = chance.choice([0, 0, 1, 255]) if end == "exit" else None
    broken = chance.choice(["", "", "stdout: no space"])
    return Outcome(end, exit_code=code, limit=limit, usage=usage, broken=broken)  # type: ignore[arg-type]


def test_the_sums_of_20_000_records_are_the_sums_of_the_records(tmp_path: Path) -> None:
    chance = random.Random(4)
    paths = [tmp_path / "a", tmp_path / "b"]
    all_: list[tuple[Record, int]] = []
    for path in paths:
        connection, _ = schema.open_journal(str(path))
        mine = []
        for number in range(10_000):
            digest = chance.choice([DIGEST, "sha256:" + "b" * 64])
            tenant, object_ = chance.choice(["AUTH_a", "AUTH_b", "ü"]), chance.choice(["/a/c/o", "", "/b/c/\n"])
            one = record(name(number), any_outcome(chance), tenant=tenant, object=object_, digest=digest)
            mine.append((one, chance.randrange(10**12)))
        connection.execute("BEGIN")
        connection.executemany(schema.INSERT, [schema.row(one, ended) for one, ended in mine])
        connection.execute("COMMIT")
        connection.close()
        all_ += mine
    for since in (0, 10**11 * 5):
        for by in (None, "tenant", "program", "object"):
            expected: dict[str, Sums] = {}
            for one, ended in all_:
                if ended >= since:
                    key = "" if by is None else one.digest if by == "program" else getattr(one, by)
                    expected[key] = expected.get(key, Sums()) + of_one(one)
            assert sums(paths, by, since) == expected
    assert names(paths) == {DIGEST: "cat", "sha256:" + "b" * 64: "cat"}
    assert sums(paths)[""].fuel > 1 << 63  # more than SQLite's integers hold


def of_one(one: Record) -> Sums:
    outcome, used = one.outcome, one.outcome.usage
    pages = -(-used.memory_peak // 65536)
    return Sums(
        launches=1,
        ok=int(outcome.ok),
        failed=int(not outcome.ok),
        lost=int(outcome.end == "lost"),
        fuel=used.fuel,
        cpu_us=used.cpu_us,
        wall_us=used.wall_us,
        memory_us=pages * used.wall_us,
        bytes_in=used.bytes_in,
        bytes_out=used.bytes_out,
        bytes_err=used.bytes_err,
    )


def test_sums_of_nothing(tmp_path: Path) -> None:
    with turning(tmp_path / "j"):
        assert sums([tmp_path / "j"]) == {}
        assert sums([tmp_path / "j"], "tenant") == {}


def test_sums_while_it_is_written_after_a_sudden_end_and_when_it_is_closed(tmp_path: Path) -> None:
    journal = tmp_path / "a" / "j"
    with turning(journal) as it:
        for number in range(10):
            it.launch(name(number))
        assert sums([journal])[""].launches == 10
        copy = as_it_is(journal, tmp_path / "b")
    assert not Path(f"{journal}-wal").exists()
    assert sums([journal])[""].launches == 10
    assert sums([copy])[""].launches == 10
    assert not Path(f"{journal}-shm").exists()
