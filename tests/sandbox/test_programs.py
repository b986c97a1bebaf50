"""What is a program here and what is not, and why, in words that name the reason."""

import pytest

from insitu.sandbox.digest import is_digest, program_digest
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.sandbox.program import to_wasm
from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module

THREADS = "uses threads or shared memory, which are off here: programs are single-threaded"
NOBODY = "programs get wasi_snapshot_preview1 and nothing else"
COMPONENT = "is a component (WASI 0.2); only core modules with WASI preview1 run here: build it for wasm32-wasip1"
NO_START = "exports no function _start: it is no command, and only commands run here (WASI programs with a main)"
GC = "uses WebAssembly GC, which is off here: what its collector takes could not be counted"
MEMORY64 = "has a 64-bit memory or table (memory64), which is off here: build it for wasm32"


def importing(what: str, start: str = '(func (export "_start"))') -> str:
    return f"(module (import {what}) {start})"


# What → the program, and the whole of what is said of it.
REFUSED = {
    "64-bit memory": ('(module (memory i64 1) (func (export "_start")))', MEMORY64),
    "64-bit table": ('(module (table i64 1 funcref) (func (export "_start")))', MEMORY64),
    "shared memory": ('(module (memory 1 1 shared) (func (export "_start")))', THREADS),
    "imported shared memory": (importing('"env" "memory" (memory 1 1 shared)'), THREADS),
    "atomics": (module("(drop (i32.atomic.load (i32.const 0)))"), THREADS),
    "a fence": (module("(atomic.fence)"), THREADS),
    "threads of wasi": (importing('"wasi" "thread-spawn" (func (param i32) (result i32))'), THREADS),
    "two memories": (
        '(module (memory 1) (memory 1) (func (export "_start")))',
        "has more than one memory (multi-memory), which is off here: the limit of memory is that of one",
    ),
    "relaxed simd": (
        module("(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))"),
        "uses relaxed SIMD, which is off here, since its results differ by machine: plain SIMD is on",
    ),
    "gc": ('(module (type (struct)) (func (export "_start")))', GC),
    "arrays of gc": ('(module (type (array i32)) (func (export "_start")))', GC),
    "integers of gc": (module("(drop (ref.i31 (i32.const 1)))"), GC),
    "function references": (
        '(module (type $f (func)) (func (export "_start") (local (ref null $f))))',
        "uses typed function references, which are off here",
    ),
    "wide arithmetic": (
        module("(i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)) drop drop"),
        "uses wide arithmetic, which is off here",
    ),
    "pages of its own size": (
        '(module (memory 1 (pagesize 1)) (func (export "_start")))',
        "has memory pages of its own size, which are off here",
    ),
    "stack switching": (
        '(module (type $f (func)) (type $c (cont $f)) (func (export "_start")))',
        "uses stack switching, which is off here",
    ),
    "old exceptions": (
        '(module (func (export "_start") try catch_all end))',
        "uses exceptions in their old form, which is off here: build it with those of the standard"
        " (clang: -mllvm -wasm-use-legacy-eh=false)",
    ),
    "a component as text": ("(component)", COMPONENT),
    "an import nobody provides": (importing('"env" "puts" (func)'), f"unknown import env.puts: {NOBODY}"),
    "an imported memory": (importing('"env" "memory" (memory 1)'), f"unknown import env.memory: {NOBODY}"),
    "an imported table": (importing('"env" "t" (table 1 funcref)'), f"unknown import env.t: {NOBODY}"),
    "an imported global": (importing('"env" "g" (global i32)'), f"unknown import env.g: {NOBODY}"),
    "an import of another host": (
        importing('"wasix_32v1" "fd_dup" (func)'),
        f"unknown import wasix_32v1.fd_dup: {NOBODY}",
    ),
    "an import whose name is no text": (
        importing('"e\\1b[2Jv" "a\\0ab" (func)'),
        f"unknown import e\\x1b[2Jv.a\\nb: {NOBODY}",
    ),
    "an import whose name is long": (
        importing(f'"env" "{"x" * 500}" (func)'),
        f"unknown import env.{'x' * 100}…: {NOBODY}",
    ),
    "a host function of another type": (
        importing('"wasi_snapshot_preview1" "fd_close" (func (param i64))'),
        "imports wasi_snapshot_preview1.fd_close as (func (param i64)), and here it is (func (param i32) (result i32))",
    ),
    "a function preview1 does not have": (
        importing('"wasi_snapshot_preview1" "fd_fly" (func)'),
        "imports wasi_snapshot_preview1.fd_fly, a function that preview1 does not have",
    ),
    "an older preview": (
        importing('"wasi_unstable" "sched_yield" (func (result i32))'),
        "imports wasi_unstable.sched_yield, of a WASI before preview1,"
        " and only wasi_snapshot_preview1 is here: build it anew",
    ),
    "a core module of WASI 0.2": (
        importing('"wasi:cli/exit@0.2.0" "exit" (func (param i32))'),
        "imports wasi:cli/exit@0.2.0 (exit), of WASI 0.2,"
        " and only wasi_snapshot_preview1 is here: build it for wasm32-wasip1",
    ),
    "no _start": ('(module (func (export "main")))', NO_START),
    "a _start that is no function": ('(module (memory (export "_start") 1))', NO_START),
    "a reactor": (
        '(module (func (export "_initialize")))',
        "exports no function _start: it is a reactor (a library), and only commands run here"
        " (WASI programs with a main)",
    ),
    "a _start that takes something": (
        '(module (func (export "_start") (param i32)))',
        NO_START.replace("no function _start", "a _start that takes arguments or gives results"),
    ),
    "a _start that gives something": (
        '(module (func (export "_start") (result i32) (i32.const 0)))',
        NO_START.replace("no function _start", "a _start that takes arguments or gives results"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name(sandbox: Sandbox, what: str) -> None:
    wat, reason = REFUSED[what]
    with pytest.raises(ProgramError) as caught:
        sandbox.runner.compile(to_wasm(wat.encode(), "mine"), "mine")
    assert str(caught.value) == f"mine: {reason}"
    sandbox.still_serves()


MALFORMED = {
    "nonsense in text": ("(module (func $))", "empty identifier"),
    "a type error": ('(module (func (export "_start") (i32.const 1)))', "type mismatch"),
    "a name that speaks of features": (
        '(module (func $threads-must-be-enabled (export "_start") (i32.const 1)))',
        "type mismatch",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_wrong_is_said_in_the_engines_words(sandbox: Sandbox, what: str) -> None:
    wat, reason = MALFORMED[what]
    with pytest.raises(ProgramError, match=reason) as caught:
        sandbox.runner.compile(to_wasm(wat.encode(), "mine"), "mine")
    text = str(caught.value)
    assert text.startswith("mine: ")
    assert "\n" not in text
    sandbox.still_serves()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither wasm"),
        (b"\x7fELF\x02\x01\x01", "neither wasm"),
        (b"#!/bin/sh\n", "neither wasm"),
        (b"\0asm\x0d\0\x01\0" + bytes(20), "a component"),
        (b"\0asm\x02\0\0\0", "unknown version"),
        (b"\0asm", "unknown version"),
        (b"(component)", "component|expected"),
        (b"(" * 1_000_000, "expected"),
        (b"(module (func " + b"(block " * 100_000, "."),
        (b"(module \xff\xfe)", "."),
        (b"(module \0)", "."),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bytes_that_are_no_program(sandbox: Sandbox, data: bytes, reason: str) -> None:
    with pytest.raises(ProgramError, match=reason) as caught:
        sandbox.runner.compile(to_wasm(data, "mine"), "mine")
    assert len(str(caught.value)) < 3000


def test_a_module_that_breaks_off_is_refused(sandbox: Sandbox) -> None:
    wasm = to_wasm(module("").encode())
    for end in range(8, len(wasm)):
        with pytest.raises(ProgramError):
            sandbox.runner.compile(wasm[:end])


def test_names_of_megabytes_are_not_repeated_in_full(sandbox: Sandbox) -> None:
    wat = f'(module (import "env" "{"x" * 1_000_000}" (func)) (func (export "_start")))'
    with pytest.raises(ProgramError) as caught:
        sandbox.runner.compile(to_wasm(wat.encode()))
    assert len(str(caught.value)) < 3000


def test_too_large() -> None:
    with pytest.raises(ProgramError, match=f"at most {MAX_PROGRAM}"):
        to_wasm(bytes(MAX_PROGRAM + 1))


ACCEPTED = {
    "simd": module("(call $proc_exit (i32x4.extract_lane 2 (i32x4.splat (i32.const 7))))"),
    "bulk memory": module(
        "(memory.fill (i32.const 0) (i32.const 7) (i32.const 9))"
        "(memory.copy (i32.const 99) (i32.const 0) (i32.const 9))"
        "(call $proc_exit (i32.load8_u (i32.const 107)))"
    ),
    "reference types": module(
        "(table.set $t (i32.const 0) (ref.null func))"
        "(call $proc_exit (i32.mul (i32.const 7) (ref.is_null (table.get $t (i32.const 0)))))",
        more="(table $t 1 funcref)",
    ),
    "multi-value": module(
        "(call $two) (drop) (call $proc_exit)", more="(func $two (result i32 i32) (i32.const 7) (i32.const 8))"
    ),
    "tail calls": module(
        "(call $down (i32.const 1000000))",
        more="""(func $down (param i32)
          (if (i32.eqz (local.get 0)) (then (call $proc_exit (i32.const 7))))
          (return_call $down (i32.sub (local.get 0) (i32.const 1))))""",
    ),
    "exceptions": module(
        "(block $caught (result i32) (try_table (catch $e $caught) (throw $e (i32.const 7))) unreachable)"
        "(call $proc_exit)",
        more="(tag $e (param i32))",
    ),
    "sign extension": module("(call $proc_exit (i32.add (i32.extend8_s (i32.const 255)) (i32.const 8)))"),
    "saturating conversion": module("(call $proc_exit (i32.add (i32.trunc_sat_f32_s (f32.const nan)) (i32.const 7)))"),
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_accepted(sandbox: Sandbox, what: str) -> None:
    assert sandbox.run(ACCEPTED[what]).outcome.exit_code == 7


def test_an_exit_cannot_be_caught_as_an_exception(sandbox: Sandbox) -> None:
    wat = module(
        "(block $caught (try_table (catch_all $caught) (call $proc_exit (i32.const 7))))(call $proc_exit (i32.const 9))"
    )
    assert sandbox.run(wat).outcome.exit_code == 7


def test_an_uncaught_exception_is_a_trap(sandbox: Sandbox) -> None:
    assert sandbox.run(module("(throw $e)", more="(tag $e)")).outcome.end == "trap"


def test_text_and_binary_are_the_same_program(sandbox: Sandbox) -> None:
    wasm = to_wasm(b"  ;; a comment\n" + module("").encode())
    assert wasm.startswith(b"\0asm\x01")
    assert to_wasm(wasm) is wasm
    program = sandbox.runner.compile(wasm)
    assert program.digest == program_digest(wasm)
    assert is_digest(program.digest)


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha256:" + "0" * 64 + "\n"]
)
def test_what_is_no_digest(text: str) -> None:
    assert not is_digest(text)
