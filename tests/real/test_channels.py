"""Named channels, as ordinary programs see them: files that they open, seek in and write."""

import hashlib
import os
import sqlite3
import tempfile
import zipfile
from pathlib import Path

from insitu.sandbox.channels import input_from_fd
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.limits import GIB
from tests.real.interpreter import Interpreter


def test_an_archive_and_a_database_as_inputs(cpython: Interpreter, tmp_path: Path) -> None:
    """Both are read at any place, straight from the host's file."""
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(50):
            archive.writestr(f"member-{number}", f"{number} " * 5000)
    with sqlite3.connect(tmp_path / "db") as made:
        made.execute("create table t (n integer, word text)")
        made.executemany("insert into t values (?, ?)", [(n, f"w{n % 17}") for n in range(20_000)])
    made.close()
    script = """
import sqlite3, zipfile
with zipfile.ZipFile("/dev/in/archive") as archive:
    print(len(archive.namelist()), archive.testzip(), archive.read("member-7")[:6])
db = sqlite3.connect("file:/dev/in/db?immutable=1", uri=True)
print(db.execute("select count(*), sum(n), count(distinct word) from t").fetchone())
"""
    with (tmp_path / "zip").open("rb") as one, (tmp_path / "db").open("rb") as other:
        inputs = {"archive": input_from_fd(one.fileno()), "db": input_from_fd(other.fileno())}
        result = cpython.run("-c", script, channels=Channels(inputs=inputs))
    assert result.expect() == f"50 None b'7 7 7 '\n(20000, {sum(range(20_000))}, 17)\n"
    figures = result.outcome.channels["in/archive"]
    assert 0 < figures.bytes_read < 2 * (tmp_path / "zip").stat().st_size


def test_a_file_past_four_gibibytes(cpython: Interpreter) -> None:
    script = """
with open("/dev/in/big", "rb") as file:
    print(file.seek(0, 2), file.seek(-4, 2), file.read(), file.seek(5 << 30), file.read(6))
"""
    with tempfile.TemporaryFile() as big:
        os.pwrite(big.fileno(), b"middle", 5 * GIB)
        os.pwrite(big.fileno(), b"last", 6 * GIB - 4)
        result = cpython.run("-c", script, channels=Channels(inputs={"big": input_from_fd(big.fileno())}))
    assert result.expect() == f"{6 * GIB} {6 * GIB - 4} b'last' {5 * GIB} b'middle'\n"


def test_outputs_by_name(cpython: Interpreter) -> None:
    """One is written at any place, and each has its digest."""
    script = """
import zipfile, csv, os
with zipfile.ZipFile("/dev/out/archive", "w") as archive:
    archive.writestr("a", "first"); archive.writestr("b", "second" * 1000)
with open("/dev/out/table", "w", newline="") as file: csv.writer(file).writerows([[1, "a,b"], [2, None]])
print(sorted(os.listdir("/dev/out")), os.listdir("/dev/in"))
"""
    with tempfile.TemporaryFile() as archive, tempfile.TemporaryFile() as table:
        outputs = {"archive": archive.fileno(), "table": table.fileno()}
        result = cpython.run("-c", script, channels=Channels(outputs=outputs, digests=True))
        assert result.expect() == "['archive', 'table'] []\n"
        with zipfile.ZipFile(archive) as made:
            assert (made.read("a"), made.read("b")) == (b"first", b"second" * 1000)
        expected = b'1,"a,b"\r\n2,\r\n'
        assert os.pread(table.fileno(), 100, 0) == expected
    assert result.outcome.channels["out/table"].digest == "sha256:" + hashlib.sha256(expected).hexdigest()


def test_a_script_reads_two_inputs_in_turn(quickjs: Interpreter) -> None:
    script = """
    const one = std.open("/dev/in/one", "r"), other = std.open("/dev/in/other", "r");
    let line;
    while ((line = one.getline()) !== null) console.log(line, other.getline());
    """
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
        one.write(b"a\nb\n")
        other.write(b"1\n2\n")
        one.flush()
        other.flush()
        inputs = {"one": input_from_fd(one.fileno()), "other": input_from_fd(other.fileno())}
        assert quickjs.run("--std", "-e", script, channels=Channels(inputs=inputs)).expect() == "a 1\nb 2\n"
