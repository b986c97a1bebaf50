"""What each shipped program weighs: its module, its compiled form, and the CPU time that compiling takes, which a node,
or `insitu run`, does once for each program."""

import time
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.interleave import Interleave
from insitu.sandbox import raw

PROGRAMS: Final = sorted((Path(__file__).parent.parent / "insitu" / "programs").glob("*.wasm"))
ROUNDS: Final = 3


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_compile(benchmark: Any, interleave: Interleave, path: Path) -> None:
    engine, wasm = raw.new_engine(), path.read_bytes()
    took: list[float] = []

    def compiled() -> bytes:
        begun = time.process_time()  # of all threads
        module = raw.compile_module(engine, wasm)
        took.append(time.process_time() - begun)
        return raw.serialize(module)

    size = len(benchmark.pedantic(compiled, rounds=ROUNDS))
    assert size > len(wasm) / 2
    interleave.note(f"{path.stem}: {len(wasm):,} bytes, compiled {size:,}, in {min(took) * 1000:.0f} ms of CPU")
