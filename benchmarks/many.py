"""How much memory a sandbox takes: a process that holds many at once and says what they cost.

    python -m benchmarks.many insitu|wasmtime COUNT      → resident bytes of each, on stdout

Each of them has run: its guest's stack page and one page of its data have been written to. All are alive until the
last is made, and the figure is what the process's resident memory grew by, divided by their number.
"""

import os
import sys
from collections.abc import Callable

import wasmtime

from benchmarks.programs import toucher
from benchmarks.wasmtime_side import WasmtimeSide
from insitu.sandbox import raw
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import MIB

_PAGE = os.sysconf("SC_PAGE_SIZE")
_WARM_UP = 100


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE


def _insitu() -> Callable[[], object]:
    runner = Runner()
    program = runner.compile(toucher())

    def make() -> raw.Instance:
        instance = raw.Instance(runner.engine, 64 * MIB, 1 << 40)
        assert instance.instantiate(program.pre) is None
        assert instance.find_memory()
        assert instance.call(b"_start") is None
        return instance

    return make


def _wasmtime() -> Callable[[], object]:
    side = WasmtimeSide(toucher())

    def make() -> wasmtime.Store:
        store = side.store()
        store.set_wasi(wasmtime.WasiConfig())
        start = side.linker.instantiate(store, side.module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
        return store

    return make


def main() -> None:
    make = {"insitu": _insitu, "wasmtime": _wasmtime}[sys.argv[1]]()
    count = int(sys.argv[2])
    alive = [make() for _ in range(_WARM_UP)]
    before = _resident()
    alive += [make() for _ in range(count)]
    print((_resident() - before) / count, flush=True)
    os._exit(0)  # they need not be taken down one by one


if __name__ == "__main__":
    main()
