"""`insitu program`, `insitu node runs`, and help everywhere."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from insitu.cli import COMMANDS
from insitu.runtime.programs import SHIPPED
from insitu.sandbox.limits import Limits
from tests.cli.conftest import COMMAND, Insitu
from tests.runtime.conftest import NodeProcess


@pytest.fixture(scope="module")
def node(test_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with tempfile.TemporaryDirectory(prefix="it-") as directory:
        node = NodeProcess(Path(directory), test_programs, tmp_path_factory.mktemp("compiled"))
        try:
            node.wait_until_it_serves()
            yield node
        finally:
            node.stop()


def test_the_shipped_programs_are_listed_with_what_they_do(insitu: Insitu) -> None:
    done = insitu("program", "list")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == sorted([*(path.stem for path in SHIPPED.glob("*.wasm")), "python"])
    assert {"cat", "watermark"} <= {line.split()[0] for line in lines}
    assert all(len(line.split()) > 1 for line in lines)


COMMAND_LINES = [
    [],
    *[[name] for name in COMMANDS],
    ["program", "build"],
    ["program", "check"],
    ["program", "list"],
    ["program", "show"],
    ["node", "runs"],
    ["job", "run"],
    ["cluster", "up"],
    ["cluster", "status"],
    ["cluster", "down"],
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_help(insitu: Insitu, words: list[str]) -> None:
    done = insitu(*words, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"Usage: insitu")
    assert max(map(len, done.stdout.decode().splitlines())) <= 100


def test_version_and_mistakes(insitu: Insitu) -> None:
    assert insitu("--version").stdout.startswith(b"insitu, version ")
    for words in (["nonsense"], ["--nonsense"], ["program", "nonsense"], ["node", "runs", "--nonsense"]):
        done = insitu(*words)
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr
        assert b"nonsense" in done.stderr


def test_without_a_node(insitu: Insitu, tmp_path: Path) -> None:
    done = insitu("node", "--socket", tmp_path / "none", "runs")
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: no node answers at ")
    assert len(done.stderr.splitlines()) == 1
    done = insitu("node", "--programs", "nowhere", "--socket", tmp_path / "s")
    assert done.returncode == 2
    assert b"nowhere: no such directory" in done.stderr


def test_the_latest_outcomes(insitu: Insitu, node: NodeProcess) -> None:
    assert insitu("node", "--socket", node.path, "runs").stderr == b"no runs yet\n"
    _, first = node.run("copy", stdin=b"x" * 2048, object_="/AUTH_test/c/o")
    _, second = node.run("fail", tenant="other")
    _, third = node.run("loop", limits=Limits(fuel=1000))
    done = insitu("node", "--socket", node.path, "runs")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == [record.id[:12] for record in (third, second, first)]
    assert "limit fuel: 1000 allowed, 1000 reached" in lines[0]
    assert "exit code 3" in lines[1]
    assert "in 2 KiB, out 2 KiB" in lines[2]
    assert lines[2].endswith("/AUTH_test/c/o")
    done = insitu("node", "runs", "--socket", node.path, "-n", "2", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["id"] for record in found] == [third.id, second.id]
    assert found[1]["outcome"]["exit_code"] == 3
    done = insitu("node", "--socket", node.path, "runs", second.id[:10])
    assert done.returncode == 0
    assert second.id in done.stdout.decode()
    assert "other" in done.stdout.decode()
    done = insitu("node", "--socket", node.path, "runs", "zzz")
    assert done.returncode == 1
    assert b"no run 'zzz'" in done.stderr


def test_what_a_guest_says_cannot_steer_the_operators_terminal(insitu: Insitu, node: NodeProcess) -> None:
    _, record = node.run("copy", object_="/AUTH_x/c/\x1b[2J\x1b]0;mine\x07\r\nforged line")
    for words in (["runs"], ["runs", record.id]):
        text = insitu("node", "--socket", node.path, *words).stdout
        assert b"forged line" in text
        assert not set(text) & (set(range(32)) - {10} | {127})
        assert not any(line.startswith(b"forged") for line in text.splitlines())


def test_the_socket_may_stand_in_the_environment(node: NodeProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "insitu", "node", "runs"],
        env=os.environ | {"INSITU_SOCKET": node.path},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0


def test_a_full_stdout_is_a_line_and_no_traceback(environment: Mapping[str, str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "program", "list"], env=dict(environment), stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == b"insitu: cannot write the output: no space left on device\n"
