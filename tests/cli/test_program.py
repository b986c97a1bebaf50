"""`insitu program build`, `check`, `show`, `list`, and a bundle run."""

import json
import os
from pathlib import Path

import pytest
import wasmtime

from insitu.sandbox.digest import program_digest
from tests.cli.conftest import Insitu
from tests.runtime.zips import Part, zipped
from tests.sandbox.guests import FROZEN_NAN, NAN, OWN_NAN

TEXT = """
name = "reader"
version = "1.2"
summary = "writes a file of its own"
licence = "Apache-2.0"
arguments = ["etc/motd"]
limits = {memory = "16MiB", wall = "3s"}
"""


@pytest.fixture
def directory(tmp_path: Path, programs: Path) -> Path:
    place = tmp_path / "source"
    (place / "files" / "etc").mkdir(parents=True)
    (place / "files" / "etc" / "motd").write_text("hi")
    (place / "program.toml").write_text(TEXT)
    (place / "reader.wasm").write_bytes((programs / "readme.wasm").read_bytes())
    return place


def test_build_check_show_list_run(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    done = insitu("program", "build", "source")
    assert (done.returncode, done.stderr) == (0, b"")
    made = tmp_path / "reader@1.2.zip"
    digest = program_digest(made.read_bytes())
    assert done.stdout.decode().startswith(f"reader@1.2.zip  reader@1.2, {digest}, ")
    assert insitu("program", "build", "-o", "again.zip", directory).returncode == 0
    assert (tmp_path / "again.zip").read_bytes() == made.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.zip", "reader@1.2.zip", "source"]

    for target in ("source", "again.zip"):
        done = insitu("program", "check", target)
        assert done.returncode == 0
        assert f"{target}: a bundle, reader@1.2, {digest}".encode() in done.stdout
    assert b"a program, sha256:" in insitu("program", "check", directory / "reader.wasm").stdout

    found = json.loads(insitu("program", "show", "--json", "again.zip").stdout)
    assert (found["digest"], found["version"], found["limits"]) == (digest, "1.2", {"memory": 16 << 20, "wall": 3.0})
    assert found["contents"] == ["files/", "files/etc/", "files/etc/motd", "program.toml", "reader.wasm"]
    for name in ("reader", "reader@1.2", digest):
        assert json.loads(insitu("program", "show", "--json", "--programs", ".", name).stdout)["digest"] == digest
    text = insitu("program", "show", "again.zip").stdout.decode()
    assert "limits        memory 16 MiB, wall 3 s" in text.splitlines()
    listed = insitu("program", "list", "--programs", ".").stdout.decode().splitlines()
    assert "reader" in [line.split()[0] for line in listed]
    rows = [json.loads(line) for line in insitu("program", "list", "--json", "--programs", ".").stdout.splitlines()]
    assert digest in [row["digest"] for row in rows]

    done = insitu("run", "again.zip")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi", b"")
    assert insitu("run", "again.zip", "none").returncode == 44  # WASI's ENOENT, the guest's own
    (tmp_path / "other" / "etc").mkdir(parents=True)
    (tmp_path / "other" / "etc" / "motd").write_text("other")
    assert insitu("run", "--files", "other", "again.zip").stdout == b"other"


def test_a_program_that_says_that_it_is_frozen(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    """Wherever programs are shown; and `insitu run` does as a node would."""
    (directory / "program.toml").write_text(TEXT + "frozen = true\n")
    assert b"reader@1.2 (frozen), sha256:" in insitu("program", "build", "source").stdout
    made = "reader@1.2.zip"
    (tmp_path / "plain.wasm").write_bytes((directory / "reader.wasm").read_bytes())
    (tmp_path / "plain.toml").write_text("frozen = true\nsummary = 'S'\n")
    assert b"reader@1.2 (frozen), sha256:" in insitu("program", "check", made).stdout
    assert b"a program (frozen), sha256:" in insitu("program", "check", "plain.wasm").stdout
    assert "frozen        yes" in insitu("program", "show", made).stdout.decode().splitlines()
    assert b"\nfrozen " not in insitu("program", "show", "cat").stdout
    listed = insitu("program", "list", "--programs", ".").stdout.decode().splitlines()
    assert {"plain", "reader"} <= {line.split()[0] for line in listed if line.endswith("(frozen)")}
    (directory / "reader.wasm").write_bytes(wasmtime.wat2wasm(NAN))
    for words, nan in (("frozen = true", FROZEN_NAN), ("frozen = false", OWN_NAN)):
        (directory / "program.toml").write_text(f"{TEXT}{words}\n")
        assert insitu("program", "build", "source").returncode == 0
        assert int.from_bytes(insitu("run", made).stdout, "little") == nan


def test_limits_and_channels_that_it_asks_for(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    (directory / "program.toml").write_text('name = "reader"\nlimits = {fuel = 10}\nchannels = {inputs = ["mask"]}')
    assert insitu("program", "build", "source").returncode == 0
    done = insitu("run", "reader.zip")
    assert (done.returncode, done.stderr) == (125, b"insitu: program reader needs --in mask=FILE\n")
    done = insitu("run", "--in", "mask=reader.zip", "reader.zip", "etc/motd")
    assert done.returncode == 125
    assert b"limit fuel: 10 allowed" in done.stderr
    assert insitu("run", "--fuel", "100000", "--in", "mask=reader.zip", "reader.zip", "etc/motd").stdout == b"hi"


def test_a_recorded_bundle_replays(insitu: Insitu, directory: Path) -> None:
    assert insitu("program", "build", "source", "-o", "b.zip").returncode == 0
    assert insitu("run", "--record", "kept", "b.zip").stdout == b"hi"
    done = insitu("replay", "kept")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.zip", zipped(Part(b"../x", b"x")), "entry '../x': a path that leads out ('..')"),
        ("a.zip", b"PK\3\4", "no zip archive"),
        ("a.zip", zipped(Part(b"program.toml", b"name = 'a'")), "0 modules (.wasm) at its top"),
        ("a.zip", zipped(Part(b"program.toml", b"name = 'a'"), Part(b"a.wasm", b"x")), "neither wasm"),
        ("a.wasm", b"\0asm\1\0\0\0", "exports no function _start"),
        ("a.wasm", b"x", "neither wasm"),
    ],
)
def test_what_is_refused_is_a_line(insitu: Insitu, tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    done = insitu("program", "check", name)
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"Error: {name}: ")
    assert reason in line
    done = insitu("run", name)
    assert done.returncode == 125
    assert reason in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_mistakes(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    (directory / "program.toml").write_text("name = 'reader'\nlicense = 'MIT'")
    for command, reason in (
        (["program", "build", "source"], "'license' is not known; allowed: name, version"),
        (["program", "show", "nobody"], "no program 'nobody'"),
        (["program", "show", "nobody.zip"], "nobody.zip: No such file"),
        (["program", "list", "--programs", "nowhere"], "nowhere: no such directory"),
    ):
        done = insitu(*command)
        assert done.returncode in (1, 2)
        assert reason in done.stderr.decode()
        assert b"Traceback" not in done.stderr
    (directory / "program.toml").write_text("name = 'reader'")
    done = insitu("program", "build", "source", "-o", tmp_path / "no" / "where.zip")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"No such file" in done.stderr
    assert not os.path.exists(tmp_path / "no")


def test_check_refuses_what_a_node_would(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    names = ", ".join(f'"n{at}"' for at in range(15))
    (tmp_path / "many.wasm").write_bytes(b'(module (func (export "_start")))')
    (tmp_path / "many.toml").write_text(f"channels = {{inputs = [{names}]}}")
    memory = b'(module (memory (export "memory") 5000) (func (export "_start")))'
    table = b'(module (table 2000000 funcref) (func (export "_start")))'
    tables = b"(module " + b"(table 1 funcref) " * 9 + b'(func (export "_start")))'
    for name, text in (("memory", memory), ("table", table), ("tables", tables)):
        (tmp_path / f"{name}.wasm").write_bytes(text)
    for name, reason in (
        ("many.wasm", "15 named channels, and a launch on a node has 14 at most"),
        ("memory.wasm", "memory minimum size of 5000 pages exceeds"),
        ("table.wasm", "table minimum size of 2000000 elements exceeds"),
        ("tables.wasm", "cannot begin within the limits"),
    ):
        done = insitu("program", "check", name)
        assert (done.returncode, done.stdout) == (1, b""), name
        assert reason in done.stderr.decode()
    (tmp_path / "memory.toml").write_text('limits = {memory = "1GiB"}')
    assert insitu("program", "check", "memory.wasm").returncode == 0


def test_check_says_what_a_bundle_must_be_called(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    for name, said in (("reader@1.2.zip", False), ("reader.zip", False), ("writer.zip", True)):
        assert insitu("program", "build", "-o", name, "source").returncode == 0
        done = insitu("program", "check", name)
        assert done.returncode == 0
        assert (b"must be called reader@1.2.zip or reader.zip" in done.stderr) == said


def test_what_is_built_into_no_file_leaves_it_what_it_is(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert insitu("program", "build", "source", "-o", "pipe").returncode == 0
        assert os.read(reading, 2) == b"PK"
    finally:
        os.close(reading)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.zip").symlink_to("elsewhere/real.zip")
    assert insitu("program", "build", "source", "-o", "link.zip").returncode == 0
    assert (tmp_path / "link.zip").is_symlink()
    assert (tmp_path / "elsewhere" / "real.zip").is_file()


def test_what_a_manifest_says_cannot_steer_a_terminal(insitu: Insitu, tmp_path: Path) -> None:
    text = 'name = "a"\nsummary = "\\u001b[2J\\nforged"'
    (tmp_path / "a.zip").write_bytes(zipped(Part(b"program.toml", text.encode()), Part(b"a.wasm", b"\0asm\1\0\0\0")))
    for command in (["show", "a.zip"], ["list", "--programs", "."]):
        out = insitu("program", *command).stdout
        assert b"forged" in out
        assert b"\x1b" not in out
        assert not any(line.startswith(b"forged") for line in out.splitlines())
