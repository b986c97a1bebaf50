"""What is a program here and what is not, and why, in words that name the reason."""

import pytest

from insitu.sandbox.digest import is_digest, program_digest
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.sandbox.program import to_wasm
from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module

REFUSED = {
    "64-bit memory": ('(module (memory i64 1) (func (export "_start")))', "memory64"),
    "shared memory": ('(module (memory 1 1 shared) (func (export "_start")))', "threads|shared"),
    "atomics": (module("(drop (i32.atomic.load (i32.const 0)))"), "threads|atomic"),
    "two memories": ('(module (memory 1) (memory 1) (func (export "_start")))', "multi-memory|multiple memories"),
    "relaxed simd": (
        module("(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))"),
        "relaxed",
    ),
    "gc": ('(module (type (struct)) (func (export "_start")))', "gc"),
    "function references": (
        '(module (type $f (func)) (func (export "_start") (local (ref null $f))))',
        "function.references|typed|index",
    ),
    "an import nobody provides": ('(module (import "env" "puts" (func)) (func (export "_start")))', "env.*puts"),
    "an imported memory": ('(module (import "env" "memory" (memory 1)) (func (export "_start")))', "env.*memory"),
    "a host function of another type": (
        '(module (import "wasi_snapshot_preview1" "fd_close" (func (param i64))) (func (export "_start")))',
        "fd_close",
    ),
    "a function preview1 does not have": (
        '(module (import "wasi_snapshot_preview1" "fd_fly" (func)) (func (export "_start")))',
        "fd_fly",
    ),
    "an older preview": ('(module (import "wasi_unstable" "sched_yield" (func (result i32))))', "_start|wasi_unstable"),
    "no _start": ('(module (func (export "main")))', "no function _start"),
    "a _start that takes something": ('(module (func (export "_start") (param i32)))', "takes arguments"),
    "a _start that gives something": ('(module (func (export "_start") (result i32) (i32.const 0)))', "gives results"),
    "a _start that is no function": ('(module (memory (export "_start") 1))', "no function _start"),
    "nonsense in text": ("(module (func $))", "."),
    "a type error": ('(module (func (export "_start") (i32.const 1)))', "."),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name(sandbox: Sandbox, what: str) -> None:
    wat, reason = REFUSED[what]
    with pytest.raises(ProgramError, match=f"(?i){reason}") as caught:
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
