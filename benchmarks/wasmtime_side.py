"""The yardstick for the sandbox: the same program through wasmtime's own Python classes and its own WASI.

The engine is set up as ours is, so that both sides run the same machine code and only the host differs.
"""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import wasmtime
from wasmtime._ffi import dll

from insitu.sandbox import raw


def engine(*, fuel: bool = True) -> wasmtime.Engine:
    """With every setting that `raw.new_engine` has; without metering where `fuel` is false."""
    config = wasmtime.Config()
    for name, on in raw.FEATURES.items():
        setattr(config, name, on)
    config.consume_fuel = fuel
    config.epoch_interruption = True
    # Of its own Python interface this setting is missing, and the engine refuses a larger stack without it.
    dll.wasmtime_config_async_stack_size_set(config.ptr(), ctypes.c_uint64(raw.MAX_WASM_STACK))
    config.max_wasm_stack = raw.MAX_WASM_STACK
    config.memory_may_move = False
    config.memory_reservation = 4 << 30
    return wasmtime.Engine(config)


class WasmtimeSide:
    """A program loaded once and linked once, to be launched many times."""

    def __init__(self, wasm: bytes, *, fuel: bool = True, compiled: Path | None = None) -> None:
        """`compiled`: what `insitu.runtime.cache` keeps of this program; else it is compiled here."""
        self.engine = engine(fuel=fuel)
        self._fuel = fuel
        self.module = (
            wasmtime.Module(self.engine, wasm)
            if compiled is None
            else wasmtime.Module.deserialize_file(self.engine, str(compiled))
        )
        self.linker = wasmtime.Linker(self.engine)
        self.linker.define_wasi()

    def store(self) -> wasmtime.Store:
        store = wasmtime.Store(self.engine)
        store.set_epoch_deadline(1)
        if self._fuel:
            store.set_fuel((1 << 63) - 1)
        return store

    def launch(
        self,
        argv: Sequence[str],
        *,
        stdin: Path,
        stdout: Path,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> int:
        """Runs it to its end; returns its exit code. `files`: directories of the host by their name in the guest."""
        store = self.store()
        try:
            wasi = wasmtime.WasiConfig()
            wasi.argv = list(argv)
            wasi.env = list((env or {}).items())
            wasi.stdin_file = str(stdin)
            wasi.stdout_file = str(stdout)
            for name, directory in (files or {}).items():
                wasi.preopen_dir(str(directory), name)
            store.set_wasi(wasi)
            instance = self.linker.instantiate(store, self.module)
            start = instance.exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            try:
                start(store)
            except wasmtime.ExitTrap as ended:
                return int(ended.code)
            return 0
        finally:
            store.close()
