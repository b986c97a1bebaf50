"""The command as a user's shell starts it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Insitu = Callable[..., "subprocess.CompletedProcess[bytes]"]
COMMAND = [sys.executable, "-m", "insitu"]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With a cache of compiled programs that only these tests use."""
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "COLUMNS": "100"}


@pytest.fixture
def insitu(environment: Mapping[str, str], tmp_path: Path) -> Insitu:
    """Run `insitu …` to its end, in an empty directory; no standard input unless one is given."""

    def run(*words: str | Path, **options: Any) -> "subprocess.CompletedProcess[bytes]":
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        command = [*COMMAND, *(str(word) for word in words)]
        return subprocess.run(command, env=environment, cwd=tmp_path, timeout=60, check=False, **options)

    return run


@pytest.fixture(scope="session")
def programs(test_programs: Path) -> Path:
    return test_programs
