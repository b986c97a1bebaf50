"""A worker that was taken over says what it likes to its node: every launch still has its one record, and the node goes
on. The words are spoken by real workers, through a hook outside the product."""

import sqlite3
from pathlib import Path

import pytest

from tests.runtime.conftest import NodeProcess, StartNode, alive, eventually

TALKS = """
import math, sys
from insitu.runtime import wire, worker
honest_run, honest_serve = worker._run, worker.serve
node = []

def serve(sock, *more):
    node.append(sock)
    honest_serve(sock, *more)

def run(runner, program, message, fds):
    words = message["argv"][1:]
    answer = honest_run(runner, program, message, fds)
    if words:
        exec(words[0], {"answer": answer, "outcome": answer["outcome"], "usage": answer["outcome"]["usage"],
                        "say": lambda **word: wire.send_packet(node[0], word), "raw": node[0].send, "math": math})
    return answer

worker._run, worker.serve = run, serve
"""

LIES = {
    "no outcome": "del answer['outcome']",
    "no beginning": "del answer['begun']",
    "a beginning that is text": "answer['begun'] = 'now'",
    "a beginning in the far future": "answer['begun'] = (1 << 64) - 1",
    "an outcome that is text": "answer['outcome'] = 'fine'",
    "an end that nobody knows": "outcome['end'] = 'glorious'",
    "an end that only the node gives": "outcome['end'] = 'cancelled'",
    "a damaged input that nobody was to check": "outcome.update(end='damaged', note='its MD5 is x')",
    "an exit code that is text": "outcome['exit_code'] = 'x'",
    "an exit code beyond all": "outcome['exit_code'] = 1 << 63",
    "CPU time that it gives back": "usage['cpu_us'] = -(10 ** 15)",
    "CPU time beyond any": "usage['cpu_us'] = (1 << 64) - 1",
    "CPU time that is no number": "usage['cpu_us'] = math.nan",
    "bytes that are text": "usage['bytes_in'] = 'x'",
    "usage that is a list": "outcome['usage'] = []",
    "a figure that nobody knows": "usage['colour'] = 1",
    "a limit that is text": "outcome['limit'] = 'x'",
    "a limit without figures": "outcome['limit'] = {'name': 'wall', 'allowed': math.nan, 'reached': 'x'}",
    "a limit that is none": "outcome['end'] = 'limit'",
    "stderr that is text": "outcome['stderr'] = 'x'",
    "a note that is bytes": "outcome['note'] = b'x'",
    "a trap that is a number": "outcome.update(end='trap', trap=3)",
    "channels that are a list": "outcome['channels'] = [1]",
    "a channel's figures below nothing": "outcome['channels'] = {'stdin': {'reads': -1}}",
    "channels that no launch has": "outcome['channels'] = {'in/../x': {}}",
    "more channels than there can be": "outcome['channels'] = {f'in/n{at}': {} for at in range(18)}",
    "a channel's digest that is none": "outcome['channels'] = {'stdin': {'digest': 'x' * 100_000}}",
    "no process time": "say(**answer)",
    "it is ready again": "say(ready=True, cpu_ns=0)",
    "a word that nobody knows": "say(colour='green')",
    "nothing at all": "say()",
    "no msgpack": "raw(b'\\xc1')",
    "more than a packet holds": "raw(b'x' * 180_000)",
    "the same twice": "say(**answer, cpu_ns=0)",
}


@pytest.fixture
def talking(start_node: StartNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str) -> NodeProcess:
    (tmp_path / "sitecustomize.py").write_text(TALKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return start_node("--workers", "2", "--isolation", isolation)


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_whatever_a_worker_says_there_is_one_record_and_the_node_goes_on(talking: NodeProcess) -> None:
    node = talking
    assert node.run("copy", "pass")[1].outcome.ok
    ends = {}
    for what, lie in LIES.items():
        with node.launching("copy", lie, tenant="AUTH_evil") as run:
            record = run.launch.outcome()
        ends[what] = record.outcome.sentence()
        assert record.id == run.accepted.id
        # It is ended, whether its answer was an honest one or not.
        eventually(lambda worker=record.worker: not alive(worker))  # type: ignore[misc]
    for what, sentence in ends.items():
        if what != "the same twice":
            assert "said what no worker says" in sentence, (what, sentence)
    node.still_serves()
    assert "internal error" not in node.log.read_text()
    ping = node.client.ping()
    assert (ping["running"], ping["queued"]) == (0, 0)
    with sqlite3.connect(node.journal) as journal:
        found = journal.execute("SELECT id, cpu_us FROM launches WHERE tenant = 'AUTH_evil'").fetchall()
    assert len({id_ for id_, _ in found}) == len(found) == len(LIES)
    assert all(0 <= cpu_us < 60_000_000 for _, cpu_us in found)
