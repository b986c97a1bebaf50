"""Whose program is compiled next, and what becomes of one that is its compiler's end."""

import os
import signal
from pathlib import Path

import pytest

from insitu.runtime.compilers import COMPILERS
from insitu.runtime.compiling import LEAST, MOST, Compiling
from insitu.runtime.errors import Busy
from tests.runtime.conftest import NodeProcess, StartNode, alive, eventually
from tests.runtime.test_confine import large_program
from tests.runtime.test_node_tenants import Launches

# Whose turn it is, and who rests.


def test_no_tenant_has_all_compilers_and_tenants_take_turns() -> None:
    compiling = Compiling(3)
    waiting = [("A", f"a{at}") for at in range(5)] + [("B", "b0"), ("C", "c0"), ("B", "a4")]
    for _, digest in waiting:
        compiling.wanted(digest)
    assert [compiling.next(waiting) for _ in range(4)] == ["a0", "b0", "c0", None]
    compiling.done("b0", compiled=True)
    assert compiling.next(waiting) == "a1", "A's turn came longest ago"
    compiling.done("c0", compiled=True)
    assert compiling.next(waiting) == "a4", "A has two of three; this one B waits for as well"
    compiling.done("a4", compiled=False)
    assert compiling.next(waiting) is None
    compiling.done("a0", compiled=True)
    assert compiling.next(waiting) == "a2"
    assert compiling.next([]) is None


def test_with_a_single_compiler_everybody_gets_it_in_turn() -> None:
    compiling = Compiling(1)
    waiting = [("A", "a0"), ("A", "a1"), ("B", "b0")]
    order: list[str | None] = []
    for _, digest in waiting:
        compiling.wanted(digest)
    for _ in waiting:
        order.append(chosen := compiling.next(waiting))
        assert compiling.next(waiting) is None
        assert chosen is not None
        compiling.done(chosen, compiled=True)
    assert order == ["a0", "b0", "a1"]


def test_what_nobody_waits_for_is_not_begun() -> None:
    compiling = Compiling(1)
    compiling.wanted("a")
    compiling.wanted("b")
    assert compiling.unwanted([("B", "b")]) == ["a"]
    assert compiling.next([("A", "a"), ("B", "b")]) == "b"
    assert compiling.missing == frozenset()


def test_rests_grow_with_what_it_took_and_with_each_death() -> None:
    compiling = Compiling(1)
    assert compiling.died("quick", 0.1, 100.0).until == 100 + LEAST
    assert compiling.died("slow", 30.0, 100.0).until == 400.0
    assert compiling.died("slow", 30.0, 400.0).until == 1000.0
    for _ in range(100):
        rest = compiling.died("slow", 30.0, 0.0)
    assert (rest.deaths, rest.until) == (102, MOST)
    assert compiling.rest("slow", MOST - 1) == rest
    assert compiling.rest("slow", MOST) is None
    compiling.done("quick", compiled=True)
    assert compiling.rest("quick", 100.0) is None
    assert compiling.died("quick", 0.1, 100.0).deaths == 1
    for number in range(5000):
        compiling.died(str(number), 1.0, 0.0)
    assert len(compiling._rests) <= 1024


# In a node.


def compilers(node: NodeProcess) -> list[int]:
    """Process ids of those at work."""
    spawner = node.client.ping()["spawner"]
    found = []
    for pid in Path(f"/proc/{spawner}/task/{spawner}/children").read_text().split():
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "insitu-compile" and alive(int(pid)):
                found.append(int(pid))
        except OSError:
            pass  # it has ended
    return found


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    place = tmp_path / "programs"
    place.mkdir()
    large = large_program(9000)
    for name in ("large", "huge", "vast"):
        (place / f"{name}.wasm").write_bytes(large.replace(b"(module", f"(module ${name}".encode(), 1))
    for at in range(6):
        (place / f"small{at}.wasm").write_bytes(f'(module (func (export "_start") (drop (i32.const {at}))))'.encode())
    return place


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_a_compiler_that_is_killed_or_stopped_is_named_and_holds_up_nobody_else(
    start_node: StartNode, programs: Path, tmp_path: Path, fate: signal.Signals
) -> None:
    node = start_node("--workers", "2", programs=programs, cache=tmp_path / "cache")
    node.run("small0")
    launches = Launches(node)
    launches.start("large", "A")
    eventually(lambda: compilers(node))
    [compiler] = compilers(node)
    os.kill(compiler, fate)
    assert node.run("small0", tenant="B")[1].outcome.ok
    assert node.run("small1", tenant="B")[1].outcome.ok, "not even another program's compiler waits"
    if fate == signal.SIGSTOP:
        assert alive(compiler)
        assert not launches.ended
        os.kill(compiler, signal.SIGKILL)
    launches.join()
    [(_, why)] = launches.ended
    assert isinstance(why, Busy)
    assert "program large could not be compiled now: the compiler died (killed by SIGKILL after" in str(why)
    with pytest.raises(Busy, match="program large: its compiler died, 1 in a row; it is compiled again in") as caught:
        node.run("large", tenant="B")
    assert caught.value.retry_after > 0
    assert node.run("small0", tenant="A")[1].outcome.ok


def test_a_tenant_with_many_programs_leaves_a_compiler_for_the_others(
    start_node: StartNode, programs: Path, tmp_path: Path
) -> None:
    node = start_node("--workers", "2", programs=programs, cache=tmp_path / "cache")
    launches = Launches(node)
    for name in ("large", "huge", "vast"):
        launches.start(name, "A")
    stopped: set[int] = set()
    for _ in range(COMPILERS - 1):  # each would take as long as it may
        eventually(lambda: set(compilers(node)) - stopped)
        for pid in set(compilers(node)) - stopped:
            os.kill(pid, signal.SIGSTOP)
            stopped.add(pid)
    for at in range(6):
        assert node.run(f"small{at}", tenant="B")[1].outcome.ok
    assert set(compilers(node)) == stopped
    assert not launches.ended
    node.stop()
    launches.join()
    eventually(lambda: not any(alive(pid) for pid in stopped))


DEADLY = """
import os, sys
from insitu.runtime import stock
honest = stock.Stock.prepare

def prepare(self, path, digest, name, **more):
    if name == "deadly":
        os.abort()
    return honest(self, path, digest, name, **more)

stock.Stock.prepare = prepare
"""


def test_a_program_that_is_its_compilers_end_every_time_is_not_compiled_again_and_again(
    start_node: StartNode, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (programs / "deadly.wasm").write_bytes(b'(module (func $deadly (export "_start")))')
    node = start_node("--workers", "2", programs=programs, cache=tmp_path / "cache")
    rests = []
    for _ in range(200):
        with pytest.raises(Busy) as caught:
            node.run("deadly", tenant="A")
        rests.append(caught.value.retry_after)
    assert "killed by SIGABRT" in node.log.read_text()
    assert node.log.read_text().count("could not be compiled") + node.log.read_text().count("compiler died") <= 4
    assert all(0 < rest <= 2 * LEAST for rest in rests)
    assert node.run("small0", tenant="A")[1].outcome.ok


def test_with_its_spawner_a_compiler_ends_and_the_program_is_compiled_by_the_next(
    start_node: StartNode, programs: Path, tmp_path: Path
) -> None:
    node = start_node("--workers", "2", programs=programs, cache=tmp_path / "cache")
    launches = Launches(node)
    launches.start("large", "A")
    eventually(lambda: compilers(node))
    [compiler] = compilers(node)
    os.kill(compiler, signal.SIGSTOP)
    os.kill(node.client.ping()["spawner"], signal.SIGKILL)
    eventually(lambda: not alive(compiler))
    launches.join()
    [(_, record)] = launches.ended
    assert record.outcome.ok, "it was not the program's fault"


def test_an_entry_that_is_cut_short_while_it_is_loaded_is_made_again(
    start_node: StartNode, programs: Path, tmp_path: Path
) -> None:
    """It is mapped into every worker: they die of it, one by one, until it is looked at again."""
    cache = tmp_path / "cache"
    node = start_node("--workers", "2", programs=programs, cache=cache)
    assert node.run("small0", tenant="A")[1].outcome.ok
    node.calm()
    [entry] = cache.glob("*.cwasm")
    os.truncate(entry, 0)
    ends = [node.run("small0", tenant="A")[1].outcome for _ in range(4)]
    assert "killed by SIGBUS" in ends[0].sentence()
    assert ends[-1].ok, "it is compiled again"
    assert entry.stat().st_size
    assert sum(not end.ok for end in ends) <= 3
    assert node.run("small1", tenant="A")[1].outcome.ok
