"""The Go guest of these tests, compiled once a session; with a warm cache of Go's own in a fifth of a second."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.languages import toolchains

SOURCE = Path(__file__).parent / "guest"
PATIENCE = 300.0  # seconds: cold, Go compiles its library


@pytest.fixture(scope="session")
def go_guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("go") / "guest.wasm"
    environment = {**os.environ, **toolchains.environment(), "GOOS": "wasip1", "GOARCH": "wasm"}
    command = ["go", "build", "-trimpath", "-ldflags=-s", "-o", str(built), "main.go"]
    done = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    for form in ((), ("--frozen",)):  # that it is being compiled is said on the stderr that tests look at
        command = [sys.executable, "-m", "insitu", "run", *form, str(built), "exit", "0"]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    return built
