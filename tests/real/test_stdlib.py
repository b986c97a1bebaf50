"""A standard library from `--files`: CPython's own, as 460 single files, instead of the archive that it carries."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from insitu.sandbox.files.tree import Files
from tests.real.interpreter import Interpreter

IMPORTS = """
import argparse, ast, base64, bisect, calendar, collections, colorsys, configparser, contextlib, copy, csv
import dataclasses, datetime, decimal, difflib, dis, email.message, enum, fileinput, fnmatch, fractions, functools
import gettext, glob, graphlib, gzip, hashlib, heapq, hmac, html.parser, inspect, ipaddress, itertools, json, locale
import logging, mimetypes, numbers, operator, optparse, pathlib, pickle, pprint, queue, random, re, shelve, shlex
import statistics, string, tarfile, tempfile, textwrap, tokenize, traceback, typing, unittest, uuid, weakref
import xml.etree.ElementTree, zipfile, zlib
import sys
specs = {name: getattr(module, "__spec__", None) for name, module in sys.modules.items()}
print(json.dumps({name: spec.origin for name, spec in specs.items() if spec}))
"""


@pytest.fixture(scope="module")
def files(stdlib: Path) -> Files:
    return Files.read_only(stdlib)


def test_all_of_it_is_read_from_the_files(cpython: Interpreter, files: Files, stdlib: Path) -> None:
    found = json.loads(cpython.run("-c", IMPORTS, files=files, env={"PYTHONPATH": "/lib"}).expect())
    # A few that it needs to start with are part of it, as machine code or frozen.
    read = {name: path for name, path in found.items() if path not in ("built-in", "frozen", None)}
    assert len(read) > 120
    assert {"json", "re", "csv", "typing", "email.message", "xml.etree.ElementTree"} <= set(read)
    for name, path in read.items():
        assert path.startswith("/lib/"), (name, path)
        assert (stdlib / path.removeprefix("/")).is_file(), (name, path)


def test_what_it_imports_is_what_it_would_import_of_its_own(cpython: Interpreter, files: Files) -> None:
    ours = json.loads(cpython.run("-c", IMPORTS, files=files, env={"PYTHONPATH": "/lib"}).expect())
    own = json.loads(cpython.run("-c", IMPORTS).expect())
    assert set(ours) - set(own) <= {"encodings.cp437"}
    assert set(own) - set(ours) <= {"zipimport"}


def test_every_file_can_be_read_and_none_written(cpython: Interpreter, files: Files, stdlib: Path) -> None:
    script = """
import hashlib, json, os
sums = {}
for where, _, names in os.walk("/lib"):
    for name in names:
        path = os.path.join(where, name)
        with open(path, "rb") as file: sums[path] = [hashlib.sha256(file.read()).hexdigest(), os.stat(path).st_size]
errors = []
for do in (lambda: open("/lib/json/decoder.pyc", "r+b"), lambda: open("/lib/new", "w"), lambda: os.mkdir("/lib/new"),
           lambda: os.remove("/lib/os.pyc"), lambda: os.rename("/lib/os.pyc", "/tmp/os.pyc"),
           lambda: os.utime("/lib/os.pyc", (0, 0)), lambda: os.truncate("/lib/os.pyc", 0),
           lambda: os.rmdir("/lib/json")):
    try: do()
    except OSError as why: errors.append(why.strerror)
    else: errors.append("no error")
print(json.dumps([sums, errors]))
"""
    sums, errors = json.loads(cpython.run("-c", script, files=files).expect())
    there = [path for path in stdlib.rglob("*") if path.is_file() and path.parent != stdlib]
    assert sums == {
        f"/{path.relative_to(stdlib)}": [hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size]
        for path in there
    }
    assert len(sums) > 400
    assert len(errors) == 8
    assert set(errors) <= {"Read-only file system", "Cross-device link"}, errors


def test_a_program_of_many_modules_runs_from_files(cpython: Interpreter, tmp_path: Path) -> None:
    package = tmp_path / "app" / "shapes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from shapes.circle import area\n")
    (package / "circle.py").write_text("import math\ndef area(radius): return round(math.pi * radius ** 2, 3)\n")
    (package / "data.json").write_text('{"radius": 2}\n')
    (tmp_path / "app" / "main.py").write_text(
        "import json, sys, importlib.resources\nimport shapes\n"
        "radius = json.loads(importlib.resources.files('shapes').joinpath('data.json').read_text())['radius']\n"
        "print(shapes.area(radius), sys.argv, __file__)\n"
    )
    files = Files.read_only(tmp_path)
    for _ in range(2):  # it may not keep bytecode beside its sources
        assert cpython.run("/app/main.py", "x", files=files).expect() == "12.566 ['/app/main.py', 'x'] /app/main.py\n"
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_library_as_one_archive(cpython: Interpreter, files: Files) -> None:
    script = "import json, csv; print(json.__file__, csv.__file__)"
    expected = "/stdlib.zip/json/__init__.pyc /stdlib.zip/csv.pyc\n"
    assert cpython.run("-c", script, files=files, env={"PYTHONPATH": "/stdlib.zip"}).expect() == expected


def test_a_private_copy_can_be_written(cpython: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "tool.py").write_text("value = 42\n")
    script = """
import os, sys
sys.path.insert(0, "/app")
import tool
print(tool.value, sorted(os.listdir("/app")), os.listdir("/app/__pycache__"))
os.rename("/app", "/moved"); open("/moved/new", "w").write("x"); print(sorted(os.listdir("/")))
"""
    # A copy of one's own for every launch: the second finds nothing of the first.
    for _ in range(2):
        assert cpython.run("-c", script, files=Files.private_copy(tmp_path)).expect() == (
            "42 ['__pycache__', 'tool.py'] ['tool.cpython-312.pyc']\n['moved']\n"
        )
    assert [path.name for path in tmp_path.rglob("*")] == ["app", "tool.py"]
    shutil.rmtree(tmp_path / "app")
