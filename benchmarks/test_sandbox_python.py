"""CPython 3.12, as its authors published it: our host against wasmtime's own WASI, on the same machine code."""

import os
from pathlib import Path
from typing import Final

from benchmarks.interleave import Aim, Interleave, Turn
from benchmarks.wasmtime_side import WasmtimeSide
from insitu.runtime.cache import CompiledCache, user_cache
from insitu.sandbox.channels import EmptySource
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from tests.real.packages import CPYTHON, load, obtain

WORDS: Final = ["python", "-c", "print('hello')"]


def test_hello(interleave: Interleave, place: Path) -> None:
    runner = Runner()
    program = load(runner, CPYTHON)
    compiled = CompiledCache(user_cache()).find(program.digest)
    assert compiled is not None
    theirs = WasmtimeSide(obtain(CPYTHON).read_bytes(), compiled=compiled)
    out, nothing = place / "hello", place / "nothing"
    nothing.touch()

    def ours() -> Turn:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        yield None
        outcome = runner.run(program, Launch(WORDS, EmptySource(), fd, Limits()))
        yield None
        os.close(fd)
        assert outcome.ok, outcome.stderr
        assert out.read_text() == "hello\n"

    def wasmtimes() -> Turn:
        yield None
        code = theirs.launch(WORDS, stdin=nothing, stdout=out)
        yield None
        assert code == 0
        assert out.read_text() == "hello\n"

    interleave("CPython 3.12 hello / wasmtime's", ours, wasmtimes, pairs=40, warm_up=2, aim=Aim(1.2))
