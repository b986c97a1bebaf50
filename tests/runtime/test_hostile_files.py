"""What somebody puts where programs and settings are looked for, and what becomes of it meanwhile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from insitu.runtime.errors import Busy, NodeError, ProgramRejected, UnknownProgram
from insitu.sandbox.limits import MAX_PROGRAM
from tests.runtime.conftest import StartNode

SMALL = b'(module (func (export "_start")))'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    place = tmp_path / "programs"
    place.mkdir()
    (place / "fine.wasm").write_bytes(SMALL)
    return place


ODD = [
    "a pipe",
    "a pipe beside it",
    "a pipe in a bundle's name",
    "a directory",
    "a loop of links",
    "a link to a device",
    "3 GB",
    "a manifest of 3 GB",
    "a manifest that is a device",
    "nested brackets",
    "a number of 5000 digits",
]


@pytest.mark.parametrize("what", ODD)
def test_whatever_lies_among_the_programs_is_refused_and_holds_up_nobody(
    start_node: StartNode, programs: Path, what: str
) -> None:
    odd, beside = programs / "odd.wasm", programs / "odd.toml"
    if "beside" in what or "manifest" in what or what in ("nested brackets", "a number of 5000 digits"):
        odd.write_bytes(SMALL)
    match what:
        case "a pipe":
            os.mkfifo(odd)
        case "a pipe beside it":
            os.mkfifo(beside)
        case "a pipe in a bundle's name":
            os.mkfifo(programs / "odd.zip")
        case "a directory":
            odd.mkdir()
        case "a loop of links":
            odd.symlink_to(odd)
        case "a link to a device":
            odd.symlink_to("/dev/zero")
        case "a manifest that is a device":
            beside.symlink_to("/dev/zero")
        case "3 GB":
            odd.touch()
            os.truncate(odd, 3 << 30)
        case "a manifest of 3 GB":
            beside.touch()
            os.truncate(beside, 3 << 30)
        case "nested brackets":
            beside.write_text("summary = " + "[" * 30_000)
        case "a number of 5000 digits":
            beside.write_text("summary = " + "1" * 5000)
    node = start_node("--workers", "2", programs=programs)
    for _ in range(2):
        with pytest.raises((UnknownProgram, ProgramRejected)) as caught:
            node.run("odd")
        assert "internal" not in str(caught.value)
        assert node.run("fine")[1].outcome.ok
    with pytest.raises(UnknownProgram):  # all are looked at
        node.run("sha256:" + "0" * 64)
    assert "internal error" not in node.log.read_text()


REPLACES = """
import os
from insitu.runtime import {where} as module
honest = {what}

def late(self, path, *more, **named):
    path = str(path)
    if path.endswith("odd.wasm"):
        os.rename(path, path + ".old")
        if os.path.exists(path + ".pipe"):
            os.rename(path + ".pipe", path)
        elif os.path.exists(path + ".other"):
            os.rename(path + ".other", path)
    return honest(self, path, *more, **named)

{what} = late
"""


@pytest.mark.parametrize("where", ["programs", "stock"])
@pytest.mark.parametrize("by", ["pipe", "other", "nothing"])
def test_a_program_that_is_another_thing_when_it_is_opened(
    start_node: StartNode, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, by: str
) -> None:
    """Between the look at it and the reading of it, by node and compiler."""
    what = {"programs": "module.ProgramStore._looked_at", "stock": "module.Stock.prepare"}[where]
    (tmp_path / "sitecustomize.py").write_text(REPLACES.format(where=where, what=what))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    odd = programs / "odd.wasm"
    odd.write_bytes(b'(module (func $odd (export "_start")))')
    if by == "pipe":
        os.mkfifo(f"{odd}.pipe")
    elif by == "other":
        Path(f"{odd}.other").write_bytes(b'(module (func $other (export "_start")))')
    node = start_node("--workers", "2", programs=programs, cache=tmp_path / "cache")
    try:
        node.run("odd")
    except NodeError as why:
        assert isinstance(why, (Busy, ProgramRejected, UnknownProgram)), repr(why)  # noqa: PT017 - it may be served
    assert node.run("fine")[1].outcome.ok
    assert "internal error" not in node.log.read_text()


def test_a_directory_of_programs_that_goes_and_comes_back(start_node: StartNode, programs: Path) -> None:
    node = start_node("--workers", "2", programs=programs)
    assert node.run("fine")[1].outcome.ok
    digest = next(info.digest for info in node.client.programs() if info.name == "fine")
    shutil.move(programs, f"{programs}.away")
    for name in ("fine", "fine@1", digest):
        with pytest.raises(UnknownProgram):
            node.run(name)
    assert node.run("cat", stdin=b"x")[0] == b"x"
    shutil.move(f"{programs}.away", programs)
    assert node.run(digest)[1].outcome.ok
    assert "internal error" not in node.log.read_text()


def test_what_grew_beyond_all_measure_is_not_read(start_node: StartNode, programs: Path) -> None:
    node = start_node("--workers", "2", programs=programs)
    assert node.run("fine")[1].outcome.ok
    os.truncate(programs / "fine.wasm", MAX_PROGRAM + 1)
    with pytest.raises(ProgramRejected, match="at most"):
        node.run("fine")


SETTINGS = {
    "nested brackets": "workers = " + "[" * 30_000,
    "a number of 5000 digits": "workers = " + "1" * 5000,
    "NUL in the socket": 'socket = "a\\u0000b"',
    "NUL in the cache": 'cache = "/tmp/a\\u0000b"',
    "NUL in the journal": 'journal = "/tmp/a\\u0000b"',
    "NUL in a user": 'user = "a\\u0000b"',
    "NUL in the name": 'name = "a\\u0000b"',
    "NUL in a program's place": 'programs = ["a\\u0000b"]',
    "NUL in where failures go": 'keep_failed = "/tmp/a\\u0000b"',
    "no cache": 'cache = ""',
    "a name of a megabyte": f'name = "{"x" * (1 << 20)}"',
    "bytes that are no text": "\udcff\udcfe",
    "a date for workers": "workers = 2026-11-22",
    "infinite patience": "queue_seconds = inf",
    "no number": "queue_seconds = nan",
    "a table for workers": "[workers]\na = 1",
    "a tenant that is a number": "tenant = 3",
    "fewer than none": "workers = -1",
    "a truth": "workers = true",
}


@pytest.mark.parametrize("what", SETTINGS)
def test_settings_that_are_none_are_refused_in_a_line(short_path: Path, what: str) -> None:
    file = short_path / "node.toml"
    file.write_bytes(SETTINGS[what].encode("utf-8", "surrogateescape"))
    command = [sys.executable, "-m", "insitu", "node", "--config", str(file)]
    for option in ("socket", "cache", "journal"):
        if not SETTINGS[what].startswith(option):
            command += [f"--{option}", str(short_path / option)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr
    assert 0 < len(done.stderr) < 2000
