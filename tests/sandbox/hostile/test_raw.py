"""The raw layer: what is closed stays closed, and memory that grows stays where it is."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from insitu.sandbox import raw
from insitu.sandbox.errors import EngineError
from insitu.sandbox.program import to_wasm
from insitu.sandbox.wasi.host import Host
from tests.sandbox.guests import module

GROWS = module("(drop (memory.grow (i32.const 2000))) (i64.store (i32.const 100000000) (i64.const 7))")


def instance(wat: str) -> raw.Instance:
    engine = raw.new_engine()
    made = raw.compile_module(engine, to_wasm(wat.encode()))
    pre = raw.instantiate_pre(Host(engine).linker, made)
    found = raw.Instance(engine, 256 << 20, 1 << 40)
    assert found.instantiate(pre) is None
    assert found.find_memory()
    return found


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_memory_stays_where_it_is_as_it_grows() -> None:
    """So a view from before is too short, never stale: what is written through it is what the guest reads."""
    live = instance(GROWS)
    before = live.view
    before[:4] = b"abcd"
    assert live.call(b"_start") is None
    after = live.refresh()
    assert (len(before), len(after)) == (65_536, 2001 * 65_536)
    assert address(before) == address(after)
    assert bytes(after[:4]) == b"abcd"
    assert after[100_000_000] == 7
    before[:4] = b"efgh"
    assert bytes(after[:4]) == b"efgh"
    live.close()


_RECURSION = """
import sys
from insitu.sandbox.channels import EmptySource
from insitu.sandbox.errors import EngineError
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
try:
    runner = Runner()
except EngineError as why:
    sys.exit(str(why))
program = runner.compile(open(sys.argv[1], "rb").read())
print(runner.run(program, Launch(["guest"], EmptySource(), 1, Limits())).sentence())
"""


@pytest.mark.parametrize("kib", [512, 2048, 4095, 4096, 8192])
def test_a_stack_that_a_guest_would_break_is_refused(tmp_path: Path, kib: int) -> None:
    """Its recursion would end the process: the engine believes that its part of the stack is there."""
    ask = "(drop (call $path_filestat_get (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 5) (i32.const 200)))"
    wat = module("(call $deeper)", more=f'(func $deeper {ask} (call $deeper) {ask}) (data (i32.const 0) "tmp/x")')
    program = tmp_path / "program.wasm"
    program.write_bytes(to_wasm(wat.encode()))
    command = ["/bin/sh", "-c", f'ulimit -s {kib}; exec "$0" "$@"', sys.executable, "-c", _RECURSION, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if kib < 4096:
        assert done.stderr == f"the stack may be {kib} KiB here, and guests need 4096 (ulimit -s)\n"
    else:
        assert done.stdout == "trap: call stack exhausted\n"


def test_what_is_closed_is_closed() -> None:
    """The engine would read freed memory."""
    closed = instance(GROWS)
    closed.close()
    closed.close()
    assert len(closed.view) == len(closed.refresh()) == 0
    assert not closed.has_memory
    assert closed.memory_size() == 0
    for use in (closed.fuel_left, closed.find_memory, lambda: closed.call(b"_start")):
        with pytest.raises(EngineError, match="closed already"):
            use()
