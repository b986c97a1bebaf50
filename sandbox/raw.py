"""The engine's C API, and the only file that touches it.

wasmtime's own Python classes cost about 150 µs a launch and its WASI threads do not survive a fork, so we bind the
C API ourselves: a private handle on the shared library that the `wasmtime` package ships (importing that package
costs more than a launch and is not needed). Everything is an address (`int`); who owns what is said at each function.
The major version is pinned in pyproject.toml because the layouts below follow that version's headers:

    wasmtime_instance_t   16 bytes { u64 store, usize index }
    wasmtime_extern_t     { u8 kind, 7 pad, union at offset 8 of func (16), memory (24), … }: 40 bytes hold any
    wasmtime_val_raw_t    16 bytes, i32 in the low 4, i64 in the low 8
    wasmtime_val_t        { u8 kind, 7 pad, union of 16 bytes at offset 8 }; of a function { u64 store, address }
    wasm_byte_vec_t       { usize size, u8 *data }

Errors of the API come back as owned `wasmtime_error_t*`: `_check` reads and frees them.
"""

import ctypes
import importlib.util
import platform
import re
import resource
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_int, c_int64, c_size_t, c_uint8, c_uint32, c_uint64
from ctypes import c_void_p as Ptr
from pathlib import Path
from typing import Any, Final, NewType

from insitu.sandbox.errors import EngineError, ProgramError

Engine = NewType("Engine", int)
Module = NewType("Module", int)
Linker = NewType("Linker", int)
InstancePre = NewType("InstancePre", int)

FEATURES: Final[dict[str, bool]] = {
    # On, each for a reason.
    "wasm_simd": True,  # codecs
    "wasm_bulk_memory": True,  # memcpy of every current toolchain
    "wasm_reference_types": True,  # current LLVM emits table operations that need them
    "wasm_multi_value": True,  # likewise
    "wasm_tail_call": True,  # interpreters' dispatch loops; no new authority
    "wasm_exceptions": True,  # setjmp and longjmp of C programs
    # Off: not deterministic, not countable, or nobody needs them yet.
    "wasm_threads": False,
    "shared_memory": False,
    "wasm_relaxed_simd": False,  # results differ by machine
    "wasm_multi_memory": False,  # the memory limit is per memory: one memory makes it a total
    "wasm_memory64": False,
    "wasm_gc": False,
    "wasm_function_references": False,
    "wasm_wide_arithmetic": False,
    "wasm_custom_page_sizes": False,
    "wasm_stack_switching": False,
}
MAX_WASM_STACK: Final = 3 << 20  # of the 8 MiB a thread has: CPython's own limit on recursion needs up to 2.6
LEAST_STACK: Final = MAX_WASM_STACK + (1 << 20)
"""Of a thread: a guest may use up its own part to the end, and call the host there."""
TABLES: Final = 8


def settings(*, canonical_nans: bool = False) -> str:
    """Everything that makes compiled programs of two engines differ, as one string: part of a cache's key."""
    features = [f"{name}={int(on)}" for name, on in sorted(FEATURES.items())]
    nans = ["nans"] if canonical_nans else []
    return ";".join([*features, f"stack={MAX_WASM_STACK}", "fuel", "epoch", "no-move", "speed", *nans])


class _ByteVec(Structure):
    _fields_ = (("size", c_size_t), ("data", Ptr))


class _PtrVec(Structure):
    _fields_ = (("size", c_size_t), ("data", POINTER(Ptr)))


def _library() -> Path:
    spec = importlib.util.find_spec("wasmtime")
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("the package wasmtime is not installed")
    path = Path(spec.submodule_search_locations[0]) / f"linux-{machine}" / "_libwasmtime.so"
    if not path.is_file():
        raise EngineError(f"wasmtime ships no engine for linux on {machine}")
    return path


_dll = ctypes.CDLL(str(_library()))


def _bind(name: str, result: Any, *args: Any) -> Any:
    function = getattr(_dll, name)
    function.restype, function.argtypes = result, list(args)
    return function


# Every pointer below, and why it is what it is. "Takes": the engine frees it, so we must not. "Gives": it is ours and
# has to be freed by the function named. "Lends": it lives in something else, and only as long as that. "Fills": it
# points to room of ours, that has to outlive the call and nothing more.

# Gives a config that only `_engine_new` is handed, which takes it and gives an engine; that is never freed.
_config_new = _bind("wasm_config_new", Ptr)
_engine_new = _bind("wasm_engine_new_with_config", Ptr, Ptr)
# Lent an engine; the one call here that another thread makes while a guest runs (the engine allows that).
_increment_epoch = _bind("wasmtime_engine_increment_epoch", None, Ptr)

# A vector that the engine filled is ours: `_take` copies its bytes out and frees it by `_vec_delete`.
_vec_delete = _bind("wasm_byte_vec_delete", None, POINTER(_ByteVec))
# Every `wasmtime_error_t*` that a call gives (null: no error) ends in `_message`, which fills a vector and frees it.
_error_message = _bind("wasmtime_error_message", None, Ptr, POINTER(_ByteVec))
_error_delete = _bind("wasmtime_error_delete", None, Ptr)

# Text and wasm are lent as Python's own bytes, with their length: the engine copies what it keeps.
_wat2wasm = _bind("wasmtime_wat2wasm", Ptr, c_char_p, c_size_t, POINTER(_ByteVec))
# Both fill a pointer with a module that is ours until `_module_delete`; what is linked of it holds it on its own
# account.
_module_new = _bind("wasmtime_module_new", Ptr, Ptr, c_char_p, c_size_t, POINTER(Ptr))
_deserialize_file = _bind("wasmtime_module_deserialize_file", Ptr, Ptr, c_char_p, POINTER(Ptr))  # a path
_module_delete = _bind("wasmtime_module_delete", None, Ptr)
_module_serialize = _bind("wasmtime_module_serialize", Ptr, Ptr, POINTER(_ByteVec))

# Fills a vector of export types that is ours until `_exporttypes_delete`. All that is asked of it (names, types,
# their parameters) is lent by it, so it is copied or counted before that.
_module_exports = _bind("wasmtime_module_exports", None, Ptr, POINTER(_PtrVec))
_exporttypes_delete = _bind("wasm_exporttype_vec_delete", None, POINTER(_PtrVec))
_exporttype_name = _bind("wasm_exporttype_name", POINTER(_ByteVec), Ptr)
_exporttype_type = _bind("wasm_exporttype_type", Ptr, Ptr)
_externtype_as_functype = _bind("wasm_externtype_as_functype_const", Ptr, Ptr)  # null: exports something else
_functype_params = _bind("wasm_functype_params", POINTER(_PtrVec), Ptr)
_functype_results = _bind("wasm_functype_results", POINTER(_PtrVec), Ptr)

# `_functype_new` takes the elements of both vectors, which `_valtype_vec_new` took from us; gives a type that
# `_functype_delete` frees once it is defined.
_valtype_new = _bind("wasm_valtype_new", Ptr, c_uint8)
_valtype_vec_new = _bind("wasm_valtype_vec_new", None, POINTER(_PtrVec), c_size_t, POINTER(Ptr))
_functype_new = _bind("wasm_functype_new", Ptr, POINTER(_PtrVec), POINTER(_PtrVec))
_functype_delete = _bind("wasm_functype_delete", None, Ptr)

# A linker lives as long as its engine. Two names with their lengths are lent; then the type, the callback (it has to
# live as long as the linker: `define` gives it to whoever keeps it), its environment and what would free that: null,
# none.
_linker_new = _bind("wasmtime_linker_new", Ptr, Ptr)
_define = _bind(
    "wasmtime_linker_define_func_unchecked",
    *(Ptr, Ptr, c_char_p, c_size_t, c_char_p, c_size_t, Ptr, Ptr, Ptr, Ptr),
)
# Fills a pointer with what is ours until `_pre_delete`.
_instantiate_pre = _bind("wasmtime_linker_instantiate_pre", Ptr, Ptr, Ptr, POINTER(Ptr))
_pre_delete = _bind("wasmtime_instance_pre_delete", None, Ptr)

# A store is ours until `_store_delete`, after which nothing of it may be touched: its context, its instance, its
# memory. The two nulls: no data of ours in it, and nothing to free that.
_store_new = _bind("wasmtime_store_new", Ptr, Ptr, Ptr, Ptr)
_store_delete = _bind("wasmtime_store_delete", None, Ptr)
_store_context = _bind("wasmtime_store_context", Ptr, Ptr)  # lent by the store, as every `context` below
_store_limiter = _bind("wasmtime_store_limiter", None, Ptr, c_int64, c_int64, c_int64, c_int64, c_int64)
_set_epoch_deadline = _bind("wasmtime_context_set_epoch_deadline", None, Ptr, c_uint64)
_set_fuel = _bind("wasmtime_context_set_fuel", Ptr, Ptr, c_uint64)
_get_fuel = _bind("wasmtime_context_get_fuel", Ptr, Ptr, Ptr)  # fills a u64

# (pre, context, fills an instance, fills a trap that is ours until `_trap_delete`)
_pre_instantiate = _bind("wasmtime_instance_pre_instantiate", Ptr, Ptr, Ptr, Ptr, Ptr)
# (context, instance, name, its length, fills an extern): externs of functions and memories own nothing.
_export_get = _bind("wasmtime_instance_export_get", c_bool, Ptr, Ptr, c_char_p, c_size_t, Ptr)
# The same through a caller, which the engine lends a callback for as long as that runs.
_caller_export_get = _bind("wasmtime_caller_export_get", c_bool, Ptr, c_char_p, c_size_t, Ptr)
# (context, function inside an extern, arguments: none, results: none, fills a trap)
_func_call = _bind("wasmtime_func_call", Ptr, Ptr, Ptr, Ptr, c_size_t, Ptr, c_size_t, Ptr)
# Lends the first byte of a memory inside an extern. It does not move while the store lives: `new_engine` sees to
# that.
_memory_data = _bind("wasmtime_memory_data", Ptr, Ptr, Ptr)
_memory_size = _bind("wasmtime_memory_data_size", c_size_t, Ptr, Ptr)

# (context, global inside an extern, fills a value) and (context, table, index, fills a value) → whether there is one.
# Values of numbers and functions own nothing.
_global_get = _bind("wasmtime_global_get", None, Ptr, Ptr, Ptr)
_table_size = _bind("wasmtime_table_size", c_uint64, Ptr, Ptr)
_table_get = _bind("wasmtime_table_get", c_bool, Ptr, Ptr, c_uint64, Ptr)

# `_trap_new` gives a trap to the callback, which gives it to the engine.
_trap_new = _bind("wasmtime_trap_new", Ptr, c_char_p, c_size_t)
_trap_code = _bind("wasmtime_trap_code", c_bool, Ptr, POINTER(c_uint8))  # fills a byte; false: a host function made it
_trap_message = _bind("wasm_trap_message", None, Ptr, POINTER(_ByteVec))
_trap_delete = _bind("wasm_trap_delete", None, Ptr)

Callback = Callable[[int, int, int, int], int]
"""(env, caller, address of the arguments, their count) → 0, or an owned trap from `new_trap`."""
_CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_size_t, c_size_t)

Args = c_uint32 * (4 * 10)
"""A host function's arguments as 32-bit words: argument k begins at word 4k; none has more than nine."""
args_at = Args.from_address

_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype, _view.argtypes = ctypes.py_object, [Ptr, ctypes.c_ssize_t, c_int]
_WRITABLE = 0x200

EXTERN_FUNC, EXTERN_GLOBAL, EXTERN_TABLE, EXTERN_MEMORY = range(4)
_BITS: Final = {0: 4, 1: 8, 2: 4, 3: 8, 4: 16}  # kind of a value (i32, i64, f32, f64, v128) → its bytes
_FUNCREF: Final = 5
_VALUE_SIZE: Final = 32
_LINE, _FRAMES = 240, 40  # of a trap's text: characters, and lines
_EXTERN_SIZE, _OF = 64, 8

# wasmtime_trap_code_enum
STACK_OVERFLOW, MEMORY_OUT_OF_BOUNDS, INTERRUPT, OUT_OF_FUEL = 0, 1, 10, 11
_INT32, _INT64 = 0, 1


def _take(vec: _ByteVec) -> bytes:
    try:
        return ctypes.string_at(vec.data, vec.size) if vec.size else b""
    finally:
        _vec_delete(byref(vec))


def _message(error: int) -> str:
    """The text of an owned error, which is freed."""
    vec = _ByteVec()
    _error_message(error, byref(vec))
    _error_delete(error)
    return _take(vec).decode("utf-8", "replace")


def _check(error: int | None, raising: type[Exception]) -> None:
    if error:
        raise raising(_message(error))


def new_engine(*, canonical_nans: bool = False) -> Engine:
    """An engine with our features, fuel and epochs on. 4 µs; starts no thread. Never freed: one lives per process.

    `canonical_nans`: every NaN that is computed is the same one, which costs code full of floats a third of its speed.

    Raises `EngineError` where threads have so little stack that a guest's recursion would end the process.
    """
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if stack != resource.RLIM_INFINITY and stack < LEAST_STACK:
        raise EngineError(f"the stack may be {stack >> 10} KiB here, and guests need {LEAST_STACK >> 10} (ulimit -s)")
    config = _config_new()
    _bind("wasmtime_config_cranelift_nan_canonicalization_set", None, Ptr, c_bool)(config, canonical_nans)
    for name, on in FEATURES.items():
        _bind(f"wasmtime_config_{name}_set", None, Ptr, c_bool)(config, on)
    for name in ("consume_fuel", "epoch_interruption"):
        _bind(f"wasmtime_config_{name}_set", None, Ptr, c_bool)(config, True)
    # The engine refuses a stack larger than those of its fibers, of which none is ever made.
    _bind("wasmtime_config_async_stack_size_set", None, Ptr, c_uint64)(config, MAX_WASM_STACK)
    _bind("wasmtime_config_max_wasm_stack_set", None, Ptr, c_size_t)(config, MAX_WASM_STACK)
    # A guest's memory never moves while it grows, so a view of it can only be too short, never stale.
    _bind("wasmtime_config_memory_may_move_set", None, Ptr, c_bool)(config, False)
    _bind("wasmtime_config_memory_reservation_set", None, Ptr, c_uint64)(config, 4 << 30)
    return Engine(_engine_new(config))


increment_epoch: Callable[[Engine], None] = _increment_epoch


def wat_to_wasm(text: bytes) -> bytes:
    """Raises `ProgramError` with the parser's words."""
    vec = _ByteVec()
    _check(_wat2wasm(text, len(text), byref(vec)), ProgramError)
    return _take(vec)


def compile_module(engine: Engine, wasm: bytes) -> Module:
    """Owned. Raises `ProgramError`. Starts threads: never in a process that forks afterwards."""
    out = Ptr()
    _check(_module_new(engine, wasm, len(wasm), byref(out)), ProgramError)
    return Module(out.value or 0)


def serialize(module: Module) -> bytes:
    vec = _ByteVec()
    _check(_module_serialize(module, byref(vec)), EngineError)
    return _take(vec)


def load_module(engine: Engine, path: bytes) -> Module:
    """Owned; maps the file. The file is machine code and is trusted: check where it comes from BEFORE this call."""
    out = Ptr()
    _check(_deserialize_file(engine, path, byref(out)), EngineError)
    return Module(out.value or 0)


delete_module: Callable[[Module], None] = _module_delete
delete_pre: Callable[[InstancePre], None] = _pre_delete


def export_signature(module: Module, name: str) -> tuple[int, int] | None:
    """How many parameters and results the function exported as `name` has; None when there is no such function."""
    vec = _PtrVec()
    _module_exports(module, byref(vec))
    try:
        for at in range(vec.size):
            found = _exporttype_name(vec.data[at]).contents
            if found.size == len(name) and ctypes.string_at(found.data, found.size) == name.encode():
                functype = _externtype_as_functype(_exporttype_type(vec.data[at]))
                if not functype:
                    return None
                return _functype_params(functype).contents.size, _functype_results(functype).contents.size
        return None
    finally:
        _exporttypes_delete(byref(vec))


def new_linker(engine: Engine) -> Linker:
    return Linker(_linker_new(engine))


def _types(letters: str) -> _PtrVec:
    vec = _PtrVec()
    items = (Ptr * max(1, len(letters)))(*(_valtype_new(_INT64 if c == "I" else _INT32) for c in letters))
    _valtype_vec_new(byref(vec), len(letters), items)
    return vec


def define(linker: Linker, module: bytes, name: bytes, params: str, results: str, callback: Callback) -> object:
    """Define one host function; `i` is an i32 and `I` an i64. The returned object must live as long as the linker.

    An exception that leaves `callback` would be read as success by the engine: it must catch every one.
    """
    pointer = _CALLBACK(callback)
    functype = _functype_new(byref(_types(params)), byref(_types(results)))
    error = _define(linker, module, len(module), name, len(name), functype, ctypes.cast(pointer, Ptr), None, None)
    _functype_delete(functype)
    _check(error, EngineError)
    return pointer


def instantiate_pre(linker: Linker, module: Module) -> InstancePre:
    """Owned. Raises `ProgramError` naming the first import that is not defined or has another type."""
    out = Ptr()
    _check(_instantiate_pre(linker, module, byref(out)), ProgramError)
    return InstancePre(out.value or 0)


def new_trap(message: bytes) -> int:
    return int(_trap_new(message, len(message)))


_CAUSE: Final = re.compile(r"^ +\d+: ", re.MULTILINE)


def _tidy(text: str) -> str:
    """The engine's words with the cause first, then the wasm backtrace, a frame a line.

    Functions may have names of megabytes: no line, and no number of them, is longer than people read. And names that
    mock the engine's words, or steer a terminal: the cause stands behind all names, and what cannot be printed goes.
    """
    where, _, cause = text.rpartition("\n\nCaused by:\n")
    frames = [line.strip() for line in where.splitlines()[1:] if line.strip()] if cause else []
    frames = [line for line in frames if not line.startswith("note: using the `WASMTIME")]
    # Several causes are numbered, the last of them the trap itself: it comes first, the others explain it.
    causes = [" ".join(one.split()) for one in _CAUSE.split(cause)] if cause else [" ".join(text.split())]
    causes = [one.removeprefix("wasm trap: ") for one in causes if one]
    first = causes[-1] + (f" ({'; '.join(causes[:-1])})" if len(causes) > 1 else "") if causes else "unknown"
    lines = (line[:_LINE] for line in [first, *frames[:_FRAMES]])
    return "\n".join("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)


class Failure:
    """A call that did not return: the trap's code (None for one that a host function made) and its words."""

    __slots__ = ("code", "text")

    def __init__(self, code: int | None, text: str) -> None:
        self.code, self.text = code, text


class Instance:
    """One store with one instance in it. Not reentrant; `close` frees everything."""

    __slots__ = ("_context", "_extern", "_instance", "_memory", "_store", "_trap", "has_memory", "view")

    def __init__(self, engine: Engine, memory_limit: int, fuel: int, table_limit: int = 1 << 20) -> None:
        """`memory_limit` in bytes, `table_limit` in elements, for each table; see `limit`."""
        store = _store_new(engine, None, None)
        self._store: int | None = store
        self._context = _store_context(store)
        self.limit(memory_limit, fuel, table_limit)
        self._instance = ctypes.create_string_buffer(16)
        self._extern = ctypes.create_string_buffer(_EXTERN_SIZE)
        self._memory = ctypes.create_string_buffer(_EXTERN_SIZE)
        self._trap = Ptr()
        self.has_memory = False
        self.view: memoryview = memoryview(b"")
        """The guest's memory as it was when last looked at: it may be shorter than it is by now, never longer."""

    def limit(self, memory_limit: int, fuel: int, table_limit: int) -> None:
        """From now on; what is larger already stays. The next `increment_epoch` interrupts whatever runs in it."""
        _store_limiter(self._store, memory_limit, table_limit, 1, TABLES, 1)
        _set_epoch_deadline(self._context, 1)
        _check(_set_fuel(self._context, fuel), EngineError)

    def instantiate(self, pre: InstancePre) -> Failure | None:
        """Also runs the module's start function. The memory is in `view` only after `find_memory`."""
        return self._failure(_pre_instantiate(pre, self._live(), self._instance, byref(self._trap)))

    def find_memory(self, caller: int | None = None) -> bool:
        """Whether the instance exports a memory called `memory`; if so `view` shows it from now on.

        While the module's start function runs there is no instance yet: a host function asks through its `caller`.
        """
        if caller is None:
            found = _export_get(self._live(), self._instance, b"memory", 6, self._memory)
        else:
            found = _caller_export_get(caller, b"memory", 6, self._memory)
        self.has_memory = bool(found) and self._memory.raw[0] == EXTERN_MEMORY
        self.refresh()
        return self.has_memory

    def refresh(self) -> memoryview:
        if not self.has_memory:  # the engine would abort the process over a handle that is none
            return self.view
        memory = ctypes.addressof(self._memory) + _OF
        size = _memory_size(self._context, memory)
        self.view = _view(_memory_data(self._context, memory), size, _WRITABLE) if size else memoryview(bytearray())
        return self.view

    def memory_size(self) -> int:
        return int(_memory_size(self._live(), ctypes.addressof(self._memory) + _OF)) if self.has_memory else 0

    def call(self, name: bytes) -> Failure | None:
        """Call an export that takes and gives nothing. Raises `ProgramError` when there is no such export."""
        function = ctypes.addressof(self._extern) + _OF
        found = _export_get(self._live(), self._instance, name, len(name), self._extern)
        if not found or self._extern.raw[0] != EXTERN_FUNC:
            raise ProgramError(f"exports no function {name.decode()!r}")
        return self._failure(_func_call(self._context, function, None, 0, None, 0, byref(self._trap)))

    def global_bits(self, name: bytes) -> bytes:
        """The value of an exported global of numbers, 4 to 16 bytes as they would lie in memory."""
        target = self._export(name, EXTERN_GLOBAL)
        value = ctypes.create_string_buffer(_VALUE_SIZE)
        _global_get(self._live(), target, value)
        return value.raw[_OF : _OF + _BITS[value.raw[0]]]

    def table_elements(self, name: bytes) -> bytes:
        """What an exported table of functions holds: 16 bytes each, the same ones as long as it is the same function.
        Half a microsecond each."""
        target = self._export(name, EXTERN_TABLE)
        value = ctypes.create_string_buffer(_VALUE_SIZE)
        elements = []
        for index in range(_table_size(self._live(), target)):
            if not _table_get(self._context, target, index, value) or value.raw[0] != _FUNCREF:
                raise EngineError("a table of what are no functions")
            elements.append(value.raw[_OF : _OF + 16])
        return b"".join(elements)

    def _export(self, name: bytes, kind: int) -> int:
        """Lent until the next look for one."""
        found = _export_get(self._live(), self._instance, name, len(name), self._extern)
        if not found or self._extern.raw[0] != kind:
            raise ProgramError(f"exports no {name.decode()!r}")
        return ctypes.addressof(self._extern) + _OF

    def fuel_left(self) -> int:
        out = c_uint64()
        _check(_get_fuel(self._live(), byref(out)), EngineError)
        return out.value

    def _failure(self, error: int | None) -> Failure | None:
        trap = self._trap.value
        if trap:
            self._trap.value = None
            code, vec = c_uint8(), _ByteVec()
            known = _trap_code(trap, byref(code))
            _trap_message(trap, byref(vec))
            text = _take(vec).rstrip(b"\0").decode("utf-8", "replace")
            _trap_delete(trap)
            return Failure(code.value if known else None, _tidy(text))
        return Failure(None, _tidy(_message(error))) if error else None

    def _live(self) -> int:
        """The store's context. The engine would read freed memory where this raises `EngineError`."""
        if self._store is None:
            raise EngineError("this instance is closed already")
        return int(self._context)

    def close(self) -> None:
        """For good; a second time does nothing. Nobody may look at any part of `view` that was handed out before."""
        if self._store is not None:
            store, self._store = self._store, None
            self.view, self.has_memory = memoryview(b""), False
            _store_delete(store)
