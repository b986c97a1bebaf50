"""What the size of a program does to its launch, connect → first byte, 1 KB in and out, in both isolations.

Ours: `cat` that brings 4 MB of code and 16 MB of data with it; and the same with its data in two parts 80 MB apart, of
which the engine keeps no image to be mapped, so that they are copied at each launch. Others': CPython 3.12, 26 MB, most
of whose launch is its own start; its yardstick is the native CPython that runs this.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks.daemon import running_node, wait_until_quiet
from benchmarks.interleave import Aim, Interleave
from benchmarks.load import both_loads
from benchmarks.programs import large_cat
from benchmarks.turns import WARM_AIM, launched, spawned
from insitu.runtime.cache import CompiledCache, user_cache
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import KIB, MIB
from tests.real.packages import CPYTHON, obtain
from tests.real.packages import load as load_program

LARGE, APART, PYTHON = "large", "apart", "python"
_CAT: Final = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
_ARGS: Final = ("-I", "-S", "-c", _CAT)


@pytest.fixture(scope="module")
def large(place: Path, programs: Path) -> None:
    """The programs, and the machine code of what takes long to compile."""
    for name, gap in ((LARGE, 0), (APART, 80 * MIB)):
        wasm = large_cat(64 * KIB, code=4 * MIB, data=16 * MIB, gap=gap)
        assert len(wasm) > 20 * MIB
        (programs / f"{name}.wasm").write_bytes(wasm)
    (programs / f"{PYTHON}.wasm").symlink_to(obtain(CPYTHON))
    digest = load_program(Runner(), CPYTHON).digest
    compiled = CompiledCache(user_cache()).find(digest)
    assert compiled is not None
    CompiledCache(place / "cache").store(digest, compiled.read_bytes())


@pytest.fixture(scope="module")
def node(place: Path, programs: Path, large: None, isolation: str) -> Iterator[str]:
    with running_node(place, "--isolation", isolation, programs=programs) as socket:
        yield socket


@both_loads
@pytest.mark.parametrize("program", [LARGE, APART])
def test_large(
    interleave: Interleave, node: str, isolation: str, load: str, program: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    dense = program == LARGE
    interleave(
        f"launch cat of 20 MB{'' if dense else ', data in two parts'}, {isolation}, warm{load} / native spawn",
        launched(node, kilobyte_file, kilobyte, lambda: program, lambda: wait_until_quiet(node)),
        spawned(kilobyte_file, kilobyte),
        pairs=300 if dense else 60,
        warm_up=30,
        aim=Aim(WARM_AIM[isolation]) if dense else None,
    )


@both_loads
def test_cpython(
    interleave: Interleave, node: str, isolation: str, load: str, kilobyte: bytes, kilobyte_file: int
) -> None:
    native = os.path.realpath(sys.executable)
    interleave(
        f"launch CPython of 26 MB, {isolation}, warm{load} / native spawn of CPython",
        launched(node, kilobyte_file, kilobyte, lambda: PYTHON, lambda: wait_until_quiet(node), _ARGS),
        spawned(kilobyte_file, kilobyte, path=native, words=("python", *_ARGS)),
        pairs=20,
        warm_up=3,
    )
