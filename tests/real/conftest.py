"""The interpreters, ready to run: fetched and compiled once, then kept (see packages.py)."""

import zipfile
from pathlib import Path

import pytest

from tests.real.interpreter import Interpreter
from tests.real.packages import CPYTHON, QUICKJS

STDLIB = "/usr/local/lib/python312.zip"
"""Where CPython carries its standard library, inside itself."""


@pytest.fixture(scope="session")
def cpython() -> Interpreter:
    return Interpreter(CPYTHON)


@pytest.fixture(scope="session")
def quickjs() -> Interpreter:
    return Interpreter(QUICKJS)


@pytest.fixture(scope="session")
def stdlib(cpython: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `lib/`, CPython's own standard library as single files: the interpreter hands out what it
    carries, byte for byte the modules that belong to it."""
    directory = tmp_path_factory.mktemp("stdlib")
    result = cpython.run("-c", f"import sys; sys.stdout.buffer.write(open({STDLIB!r}, 'rb').read())")
    assert result.outcome.ok, result.errors
    (directory / "stdlib.zip").write_bytes(result.output)
    with zipfile.ZipFile(directory / "stdlib.zip") as archive:
        archive.extractall(directory / "lib")
    return directory
