"""docs/programs.md, tried: of each language everything that the page writes and runs, from an empty folder.

A fence with a path after its language is a file, one of `sh` is run, and the `text` behind it is all that it may print.
What has to be installed is told in the text; the tests have it already.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.devcluster.layout import Layout
from tests.languages import toolchains
from tests.python.guest import kept_for_nodes

PAGE = (Path(__file__).parents[2] / "docs" / "programs.md").read_text()
PATIENCE = 250.0  # seconds: cold, compilers make their libraries
CONTAINERS = ("my-programs", "my-texts")


@dataclass(frozen=True)
class Fence:
    language: str
    path: str
    text: str


def part(heading: str) -> str:
    _, _, rest = PAGE.partition(f"\n## {heading}\n")
    assert rest, heading
    return rest.partition("\n## ")[0]


def fences(heading: str) -> list[Fence]:
    found = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", part(heading), re.MULTILINE | re.DOTALL)
    return [Fence(*one) for one in found]


@pytest.fixture
def environment(cluster: DevCluster) -> Iterator[dict[str, str]]:
    """A shell's: with the commands of this environment, and the cluster that the page begins with."""
    yield {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ST_AUTH": cluster.auth_url,
        "ST_USER": cluster.user,
        "ST_KEY": cluster.key,
    }
    with closing(cluster.connection()) as connection:
        for container in CONTAINERS:
            for entry in connection.get_container(container, full_listing=True)[1]:
                connection.delete_object(container, entry["name"])
            connection.delete_container(container)


@pytest.mark.parametrize("language", ["C", "Go", "JavaScript", "Python"])
def test_from_an_empty_folder_to_an_object(
    language: str, environment: dict[str, str], cluster: DevCluster, tmp_path: Path
) -> None:
    if language == "Go":
        environment = {**environment, **toolchains.environment()}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    steps, told = fences(language), 0
    for step, behind in zip(steps, [*steps[1:], None], strict=True):
        if step.path:
            (tmp_path / step.path).parent.mkdir(exist_ok=True)
            (tmp_path / step.path).write_text(step.text)
        elif step.language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", step.text]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE
            )
            assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
            if behind is not None and behind.language == "text":
                assert done.stdout == behind.text, step.text
                told += 1
            if (built := tmp_path / "spread.zip").is_file():
                kept_for_nodes(built, Layout(cluster.directory).cache)
    assert told >= 2


def test_what_is_to_be_installed_is_what_was_tried() -> None:
    assert f"pip install {toolchains.GO.name}=={toolchains.GO.version}" in part("Go")
