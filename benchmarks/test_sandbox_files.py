"""What the files that come with a program cost: one small file, and a standard library of hundreds.

The yardstick is wasmtime's own WASI with the same directory opened beforehand, on the same machine code.
"""

import os
import time
import zipfile
from pathlib import Path
from typing import Final

import pytest

from benchmarks.interleave import Interleave, Turn
from benchmarks.processors import both_ways, processors
from benchmarks.programs import opener
from benchmarks.wasmtime_side import WasmtimeSide
from insitu.runtime.cache import CompiledCache, user_cache
from insitu.sandbox.channels import EmptySource
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from tests.real.packages import CPYTHON, load, obtain

OPENS: Final = 1000
EMBEDDED: Final = "import sys; sys.stdout.buffer.write(open('/usr/local/lib/python312.zip', 'rb').read())"
IMPORTS: Final = """
import argparse, ast, base64, calendar, collections, configparser, copy, csv, dataclasses, datetime, decimal, difflib
import dis, email.message, enum, fileinput, fnmatch, fractions, functools, glob, graphlib, gzip, hashlib, heapq
import html.parser, inspect, ipaddress, json, locale, logging, mimetypes, numbers, operator, optparse, pathlib, pickle
import pprint, queue, random, re, shelve, shlex, statistics, string, tarfile, tempfile, textwrap, tokenize, traceback
import typing, unittest, uuid, weakref, xml.etree.ElementTree, zipfile
print(json.__file__)
"""


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner()


@both_ways
def test_opening_a_small_file(interleave: Interleave, runner: Runner, place: Path, where: str) -> None:
    """path_open, fd_read and fd_close of one kilobyte, each a thousand times in one launch."""
    directory = place / "small"
    (directory / "data").mkdir(parents=True, exist_ok=True)
    (directory / "data" / "file").write_bytes(os.urandom(1024))
    wasm = opener("data/file", OPENS)
    program, theirs, files = runner.compile(wasm), WasmtimeSide(wasm), Files.read_only(directory)
    out = place / "none"
    out.touch()
    fd = os.open(out, os.O_WRONLY | os.O_CLOEXEC)

    def ours() -> Turn:
        yield None
        begun = time.perf_counter_ns()
        outcome = runner.run(program, Launch(["open"], EmptySource(), fd, Limits(), files=files))
        yield (time.perf_counter_ns() - begun) / 1000 / OPENS
        assert outcome.ok, outcome.sentence()

    def wasmtimes() -> Turn:
        yield None
        begun = time.perf_counter_ns()
        code = theirs.launch(["open"], stdin=out, stdout=out, files={"/": directory})
        yield (time.perf_counter_ns() - begun) / 1000 / OPENS
        assert code == 0

    with processors(where):
        interleave(f"open, read, close of a file, {where} / wasmtime's", ours, wasmtimes, pairs=40, warm_up=2)
    os.close(fd)


class Python:
    """CPython ready to import, with its own standard library unpacked in `library`."""

    def __init__(self, runner: Runner, place: Path) -> None:
        self._runner, self._program = runner, load(runner, CPYTHON)
        self._out, self._nothing, self._library = place / "imports", place / "nothing", place / "library"
        self._nothing.touch()
        compiled = CompiledCache(user_cache()).find(self._program.digest)
        assert compiled is not None
        self._theirs = WasmtimeSide(obtain(CPYTHON).read_bytes(), compiled=compiled)
        self._run(EMBEDDED, NO_FILES, {})
        with zipfile.ZipFile(self._out) as archive:
            archive.extractall(self._library / "lib")
        self._files = Files.read_only(self._library)

    def _run(self, script: str, files: Files, env: dict[str, str]) -> None:
        fd = os.open(self._out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        launch = Launch(["python", "-c", script], EmptySource(), fd, Limits(wall=60), env=env, files=files)
        outcome = self._runner.run(self._program, launch)
        os.close(fd)
        assert outcome.ok, outcome.stderr

    def from_files(self) -> Turn:
        yield None
        self._run(IMPORTS, self._files, {"PYTHONPATH": "/lib"})
        yield None
        assert self._out.read_text() == "/lib/json/__init__.pyc\n"

    def from_the_inside(self) -> Turn:
        yield None
        self._run(IMPORTS, NO_FILES, {})
        yield None
        assert self._out.read_text() == "/usr/local/lib/python312.zip/json/__init__.pyc\n"

    def by_wasmtime(self) -> Turn:
        words, env, files = ["python", "-c", IMPORTS], {"PYTHONPATH": "/lib"}, {"/": self._library}
        yield None
        code = self._theirs.launch(words, stdin=self._nothing, stdout=self._out, env=env, files=files)
        yield None
        assert code == 0
        assert self._out.read_text() == "/lib/json/__init__.pyc\n"


@pytest.fixture(scope="module")
def python(runner: Runner, place: Path) -> Python:
    return Python(runner, place)


def test_importing_a_library_from_files(interleave: Interleave, python: Python) -> None:
    interleave("CPython imports 60 modules / wasmtime's", python.from_files, python.by_wasmtime, pairs=8, warm_up=1)


def test_importing_a_library_from_the_inside(interleave: Interleave, python: Python) -> None:
    """Against the archive that the interpreter carries in its own memory."""
    interleave(
        "CPython imports from files / from inside", python.from_files, python.from_the_inside, pairs=8, warm_up=1
    )
