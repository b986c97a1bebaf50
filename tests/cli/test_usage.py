"""`insitu usage`."""

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from insitu.cli.usage import Since
from insitu.runtime.journal import schema
from insitu.runtime.record import Record
from insitu.sandbox.outcome import Outcome, Usage
from tests.cli.conftest import Insitu

DAY = 86400.0
CAT, OTHER = "sha256:" + "c" * 64, "sha256:" + "d" * 64


def journal(path: Path, *launches: Mapping[str, Any]) -> Path:
    """With these launches, each of them a `Record`'s differences from a plain one, and its `ended`."""
    connection, _ = schema.open_journal(str(path))
    with closing(connection):
        for launch in launches:
            given = dict(launch)
            ended = given.pop("ended", time.time())
            plain: dict[str, Any] = {"id": "0" * 32, "request_id": "", "tenant": "AUTH_a", "object": "/AUTH_a/c/o"}
            plain |= {"program": "cat", "digest": CAT, "args": (), "node": "n1", "worker": 1, "started": ended}
            plain |= {
                "launch_us": 0,
                "outcome": Outcome("exit", 0, usage=Usage(10, 2_000_000, 3_000_000, 1 << 20, 5, 6)),
            }
            connection.execute(schema.INSERT, schema.row(Record(**(plain | given)), int(ended * 1e6)))
    return path


@pytest.fixture
def three(tmp_path: Path) -> Path:
    now = time.time()
    return journal(
        tmp_path / "three.journal",
        {"ended": now - 10 * DAY, "tenant": "AUTH_old"},
        {"ended": now - 2 * DAY, "program": "new", "outcome": Outcome("trap", usage=Usage(cpu_us=1))},
        {"ended": now - 60, "digest": OTHER, "program": "other"},
    )


def test_one_sum(insitu: Insitu, three: Path) -> None:
    done = insitu("usage", "--journal", three)
    assert (done.returncode, done.stderr) == (0, b"")
    head, line = done.stdout.decode().splitlines()
    assert " ".join(head.split()) == "launches ok failed cpu s wall s fuel memory MiB s in out err"
    assert " ".join(line.split()) == "3 2 1 4.000 6.000 20 6.0 10 B 12 B 0 B"


def test_by_tenant_since_then(insitu: Insitu, three: Path) -> None:
    def launches(*options: str) -> dict[str, int]:
        done = insitu("usage", "--journal", three, "--json", *options)
        assert (done.returncode, done.stderr) == (0, b"")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return {line["tenant"]: line["launches"] for line in lines}

    by = ("--by", "tenant", "--since")
    assert launches(*by, "30d") == {"AUTH_old": 1, "AUTH_a": 2}
    assert launches(*by, "7d") == {"AUTH_a": 2}
    assert launches(*by, "24h") == {"AUTH_a": 1}
    assert launches(*by, "1s") == {}
    assert launches(*by, time.strftime("%Y-%m-%d", time.localtime(time.time() - 3 * DAY))) == {"AUTH_a": 2}
    assert launches(*by, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7200))) == {"AUTH_a": 1}


def test_by_program_tells_programs_by_digest_and_calls_them_by_name(insitu: Insitu, three: Path) -> None:
    done = insitu("usage", "--journal", three, "--by", "program", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["program"], line["digest"], line["launches"]) for line in lines] == [
        ("new", CAT, 2),  # asked for by two names: the later one; and the most CPU time first, then the digest
        ("other", OTHER, 1),
    ]
    assert lines[0] == {
        "program": "new",
        "digest": CAT,
        "launches": 2,
        "ok": 1,
        "failed": 1,
        "lost": 0,
        "fuel": 10,
        "cpu_us": 2_000_001,
        "wall_us": 3_000_000,
        "bytes_in": 5,
        "bytes_out": 6,
        "bytes_err": 0,
        "memory_byte_us": (1 << 20) * 3_000_000,
    }
    shown = insitu("usage", "--journal", three, "--by", "program").stdout.decode().splitlines()
    assert shown[1].endswith("new sha256:cccccccccccc")


def test_several_nodes_and_where_they_usually_are(insitu: Insitu, environment: dict[str, str], tmp_path: Path) -> None:
    state = tmp_path / "state" / "insitu"
    state.mkdir(parents=True)
    journal(state / "n1.journal", {}, {})
    journal(state / "n2.journal", {})
    options = ("usage", "--json")
    done = insitu(*options, "--journal", state / "n1.journal", "--journal", state / "n2.journal")
    assert json.loads(done.stdout)["launches"] == 3
    given = environment.pop("STATE_DIRECTORY")
    environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    try:
        assert json.loads(insitu(*options).stdout)["launches"] == 3
        environment["XDG_STATE_HOME"] = str(tmp_path / "elsewhere")
        done = insitu(*options)
    finally:
        del environment["XDG_STATE_HOME"]
        environment["STATE_DIRECTORY"] = given
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: no journal in ")


def test_one_that_is_none_does_not_hide_the_others(
    insitu: Insitu, environment: dict[str, str], three: Path, tmp_path: Path
) -> None:
    given = environment["STATE_DIRECTORY"]
    environment["STATE_DIRECTORY"] = str(tmp_path / "state")
    (tmp_path / "state").mkdir()
    three.rename(tmp_path / "state" / "n1.journal")
    (tmp_path / "state" / "n2.journal").write_text("garbage")
    try:
        done = insitu("usage", "--json")
    finally:
        environment["STATE_DIRECTORY"] = given
    assert json.loads(done.stdout)["launches"] == 3
    assert done.returncode == 1
    assert b"n2.journal is no journal of insitu's" in done.stderr


def test_a_journal_that_is_named_twice_counts_once(insitu: Insitu, three: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(three)
    once = insitu("usage", "--json", "--journal", three).stdout
    assert once == insitu("usage", "--json", "--journal", three, "--journal", tmp_path / "link").stdout
    assert once == insitu("usage", "--json", "--journal", tmp_path / "link").stdout


def test_names_are_no_orders_to_the_terminal(insitu: Insitu, tmp_path: Path) -> None:
    path = journal(tmp_path / "j", {"object": "/a/\x1b[2J\n"})
    assert (
        insitu("usage", "--journal", path, "--by", "object").stdout.decode().splitlines()[1].endswith(r"/a/\x1b[2J\n")
    )


def test_an_empty_journal(insitu: Insitu, tmp_path: Path) -> None:
    path = journal(tmp_path / "j")
    assert json.loads(insitu("usage", "--journal", path, "--json").stdout)["launches"] == 0
    done = insitu("usage", "--journal", path, "--by", "tenant")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"no launches\n")


def test_what_is_no_journal_is_a_line_and_no_traceback(insitu: Insitu, tmp_path: Path) -> None:
    text, other, newer, damaged = (tmp_path / name for name in ("text", "other", "newer", "damaged"))
    text.write_bytes(b"not a journal\n" * 500)
    (tmp_path / "empty").touch()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    with closing(sqlite3.connect(journal(newer))) as connection:
        connection.execute("PRAGMA user_version = 99")
    journal(damaged, *[{}] * 100)
    data = bytearray(damaged.read_bytes())
    data[4096:] = b"\xff" * len(data[4096:])
    damaged.write_bytes(data)
    for file, words in (
        (tmp_path / "none", "no journal at"),
        (tmp_path, "no journal at"),
        (text, "is no journal of insitu's"),
        (tmp_path / "empty", "no journal of insitu's"),
        (other, "no journal of insitu's"),
        (newer, "use a newer insitu"),
        (damaged, "is damaged"),
    ):
        for options in ((), ("--by", "program")):
            done = insitu("usage", "--journal", file, *options)
            said = done.stderr.decode()
            assert done.returncode == 1
            assert len(said.splitlines()) == 1
            assert words in said
            assert str(file) in said


def test_a_time_that_is_none(insitu: Insitu, three: Path) -> None:
    for words in ("yesterday", "7", "-1d", "2026-13-01", "", "9" * 400 + "d"):
        done = insitu("usage", "--journal", three, "--since", words)
        assert done.returncode == 2
        assert b"is no time; write a date" in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_date_without_a_zone_is_local_time() -> None:
    assert Since().convert("2026-11-01", None, None) == int(time.mktime((2026, 11, 1, 0, 0, 0, 0, 0, -1)) * 1e6)
    assert Since().convert("1970-01-01T00:00:01+00:00", None, None) == 1_000_000
