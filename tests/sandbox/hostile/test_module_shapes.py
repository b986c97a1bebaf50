"""Programs of odd shapes: memories and starts that are none, imports of what there is not, names without end."""

from functools import partial
from itertools import pairwise

import pytest

from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module
from tests.sandbox.hostile.script import (
    FAR,
    FAULT,
    Attack,
    Attacks,
    Script,
)

attacks = Attacks()
WASI = '(import "wasi_snapshot_preview1" "{0}" (func ${0} {1}))'
CLOCK = WASI.format("clock_time_get", "(param i32 i64 i32) (result i32)")
EXIT = WASI.format("proc_exit", "(param i32)")
WRITE_OUT = WASI.format("fd_write", "(param i32 i32 i32 i32) (result i32)")
ASK = "(call $proc_exit (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))"


def asks(rest: str) -> str:
    """Exits with what the host answers about a pointer of nought."""
    return f'(module {CLOCK} {EXIT} {rest} (func (export "_start") {ASK}))'


def imports(name: str, what: str) -> str:
    return f'(module (import "wasi_snapshot_preview1" "{name}" {what}) (func (export "_start")))'


@attacks(f"exit {FAULT}")
def no_memory_at_all(s: Script) -> str:
    return asks("")


@attacks(f"exit {FAULT}")
def a_memory_of_another_name(s: Script) -> str:
    return asks('(memory (export "Memory") 1) (export "memory\\00" (memory 0)) (export "" (memory 0))')


@attacks(f"exit {FAULT}")
def a_memory_that_is_not_exported(s: Script) -> str:
    return asks("(memory 1)")


@attacks(f"exit {FAULT}")
def a_function_in_the_place_of_memory(s: Script) -> str:
    return asks('(memory 1) (func (export "memory"))')


@attacks(f"exit {FAULT}")
def a_host_function_in_the_place_of_memory(s: Script) -> str:
    return asks('(memory 1) (export "memory" (func $clock_time_get))')


@attacks(f"exit {FAULT}")
def a_global_in_the_place_of_memory(s: Script) -> str:
    return asks('(memory 1) (global (export "memory") i64 (i64.const -1))')


@attacks(f"exit {FAULT}")
def a_table_in_the_place_of_memory(s: Script) -> str:
    return asks('(memory 1) (table (export "memory") 10 funcref)')


@attacks(f"exit {FAULT}")
def a_tag_in_the_place_of_memory(s: Script) -> str:
    return asks('(memory 1) (tag (export "memory"))')


@attacks("exit 0")
def a_memory_of_two_names(s: Script) -> str:
    return asks('(memory (export "memory") (export "memory2") 1)')


@attacks(f"exit {FAULT}")
def a_memory_of_no_pages(s: Script) -> str:
    return asks('(memory (export "memory") 0 0)')


@attacks("refused unknown import env.memory")
def a_memory_from_outside(s: Script) -> str:
    return '(module (import "env" "memory" (memory 1)) (func (export "_start")))'


@attacks("refused unknown import env.table")
def a_table_from_outside(s: Script) -> str:
    return '(module (import "env" "table" (table 1 funcref)) (func (export "_start")))'


@attacks("refused unknown import env.g")
def a_global_from_outside(s: Script) -> str:
    return '(module (import "env" "g" (global i32)) (func (export "_start")))'


@attacks("refused unknown import env.t")
def a_tag_from_outside(s: Script) -> str:
    return '(module (import "env" "t" (tag)) (func (export "_start")))'


@attacks("refused imports wasi_snapshot_preview1.system")
def a_function_that_is_not_ours(s: Script) -> str:
    return imports("system", "(func (param i32) (result i32))")


@attacks("refused imports wasi_snapshot_preview1.fd_read as")
def a_function_with_another_type(s: Script) -> str:
    return imports("fd_read", "(func (param i64) (result i32))")


@attacks("refused imports wasi_snapshot_preview1.proc_exit as")
def the_exit_with_a_result(s: Script) -> str:
    return imports("proc_exit", "(func (param i32) (result i32))")


@attacks("refused expected memory")
def a_memory_by_the_name_of_a_host_function(s: Script) -> str:
    return imports("fd_read", "(memory 1)")


@attacks("refused unknown import mmmm")
def an_import_with_a_name_of_megabytes(s: Script) -> str:
    return f'(module (import "{"m" * 90_000}" "{"n" * 90_000}" (func)) (func (export "_start")))'


def shaped(text: str, s: Script) -> str:
    return f"(module {text})"


for shape, text, why in (
    ("that_takes_a_parameter", '(func (export "_start") (param i32))', "takes arguments or gives results"),
    ("that_gives_a_result", '(func (export "_start") (result i32) (i32.const 0))', "takes arguments or gives results"),
    ("that_is_a_memory", '(memory (export "_start") 1)', "exports no function _start"),
    ("that_is_a_global", '(global (export "_start") i32 (i32.const 0))', "exports no function _start"),
    ("that_is_a_table", '(table (export "_start") 1 funcref)', "exports no function _start"),
    ("that_is_missing", "", "exports no function _start"),
    ("that_has_a_nul_behind_it", '(func (export "_start\\00"))', "exports no function _start"),
    ("that_is_no_utf8", '(func (export "\\ff_start"))', "malformed UTF-8"),
):
    attacks.all.append(Attack(f"a_start_{shape}", partial(shaped, text), f"refused {why}", Attacks.limits()))


@attacks("exit 0")
def a_start_that_is_exported_under_a_thousand_names(s: Script) -> str:
    exports = "".join(f'(export "f{at}" (func $f))' for at in range(1000))
    return f'(module (func $f) {exports} (export "_start" (func $f)))'


@attacks("trap call stack exhausted")
def a_start_that_starts_itself(s: Script) -> str:
    return '(module (func $f (export "_start") (call $f) (call $f)))'


@attacks("exit 0")
def a_start_that_is_the_start_function_too(s: Script) -> str:
    return '(module (func $f (export "_start")) (start $f))'


@attacks("refused invalid start function")
def a_start_function_that_is_the_hosts(s: Script) -> str:
    return f'(module {EXIT} (func (export "_start")) (start $proc_exit))'


@attacks("limit wall", wall=0.05)
def a_start_function_that_never_returns(s: Script) -> str:
    return '(module (func $s (loop $l (br $l))) (start $s) (func (export "_start") unreachable))'


@attacks("limit fuel", fuel=10_000)
def a_start_function_that_burns_all_the_fuel(s: Script) -> str:
    return '(module (func $s (loop $l (br $l))) (start $s) (func (export "_start") unreachable))'


@attacks("exit 255")
def a_start_function_that_exits(s: Script) -> str:
    return (
        f'(module {EXIT} (func $s (call $proc_exit (i32.const 255))) (start $s) (func (export "_start") unreachable))'
    )


@attacks("trap unreachable")
def a_start_function_that_traps(s: Script) -> str:
    return '(module (func $s unreachable) (start $s) (func (export "_start")))'


@attacks("limit output", output=1000)
def a_start_function_that_floods(s: Script) -> str:
    body = "(loop $l (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))) (br $l))"
    memory = '(memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\64\\00\\00\\00")'
    return f'(module {WRITE_OUT} {memory} (func $s {body}) (start $s) (func (export "_start")))'


@attacks("exit 0")
def a_start_function_that_grows_memory_between_its_calls(s: Script) -> str:
    """There is no instance yet: the host asks its caller for the memory, and again once it has grown."""

    def body(end: int) -> str:
        ask = "(call $clock_time_get (i32.const 0) (i64.const 0) (i32.const {}))"
        return f"""
          (if {ask.format(0)} (then unreachable))
          (drop (memory.grow (i32.const 2)))
          (if {ask.format(end - 8)} (then unreachable))
          (if (i32.ne {ask.format(end - 7)} (i32.const {FAULT})) (then unreachable))
          (if (i64.eqz (i64.load (i32.const {end - 8}))) (then unreachable))"""

    memory, start = '(memory (export "memory") 1)', f"(func $s {body(3 * 65_536)}) (start $s)"
    return f'(module {CLOCK} {memory} {start} (func (export "_start") {body(5 * 65_536)}))'


@attacks(f"exit {FAULT}")
def a_start_function_without_a_memory(s: Script) -> str:
    return f'(module {CLOCK} {EXIT} (func $s {ASK}) (start $s) (func (export "_start") unreachable))'


@attacks("trap out of bounds memory access")
def a_start_function_behind_data_that_do_not_fit(s: Script) -> str:
    """It never runs: what comes before it has failed."""
    rest = '(memory (export "memory") 1) (data (i32.const 65536) "x") (func $s (call $proc_exit (i32.const 1)))'
    return f'(module {EXIT} {rest} (start $s) (func (export "_start")))'


@attacks("exit 5")
def host_functions_through_a_table(s: Script) -> str:
    more = "(table 1 funcref) (elem (i32.const 0) func $proc_exit) (type $t (func (param i32)))"
    return module("(call_indirect (type $t) (i32.const 5) (i32.const 0)) (call $proc_exit (i32.const 6))", more=more)


@attacks("trap indirect call type mismatch")
def host_functions_through_a_table_with_another_type(s: Script) -> str:
    more = "(table 1 funcref) (elem (i32.const 0) func $proc_exit) (type $t (func (param i64)))"
    return module("(call_indirect (type $t) (i64.const 5) (i32.const 0))", more=more)


@attacks("exit 0")
def host_functions_by_tail_calls(s: Script) -> str:
    more = """(func $f (param i32) (result i32) (return_call $clock_time_get (i32.const 0) (i64.const 0) (local.get 0)))
      (func $out (param i32) (return_call $proc_exit (local.get 0)))"""
    body = """(if (call $f (i32.const 0)) (then unreachable))
      (if (i32.ne (call $f (i32.const -1)) (i32.const 21)) (then unreachable))
      (if (i64.eqz (i64.load (i32.const 0))) (then unreachable)) (call $out (i32.const 0))"""
    return module(body, more=more)


@attacks("exit 0")
def host_functions_exported_as_ones_own(s: Script) -> str:
    exports = '(export "memory2" (func $proc_exit)) (export "_initialize" (func $proc_exit))'
    return f'(module {EXIT} {exports} (func (export "_start")))'


@attacks("exit 0")
def ten_thousand_functions(s: Script) -> str:
    return "(module " + "(func)" * 10_000 + '(func (export "_start")))'


@attacks("refused too many locals")
def a_function_of_a_hundred_thousand_locals(s: Script) -> str:
    return f'(module (func (export "_start") (local {"i64 " * 100_000})))'


@attacks("refused function params")
def a_function_of_two_thousand_parameters(s: Script) -> str:
    return f'(module (func (param {"i64 " * 2_000})) (func (export "_start")))'


@attacks("refused unknown import")
def an_import_with_a_name_that_steers_a_terminal(s: Script) -> str:
    return '(module (import "\\1b[31m" "\\r\\n\\1b[2J" (func)) (func (export "_start")))'


@attacks("trap unreachable")
def a_backtrace_of_names_of_megabytes(s: Script) -> str:
    names = [f"{letter}" * 90_000 for letter in "abcdefghij"]
    functions = "".join(f"(func ${name} (call ${after}) nop)" for name, after in pairwise(names))
    return f'(module {functions} (func ${names[-1]} unreachable) (func (export "_start") (call ${names[0]}) nop))'


MOCKING = "x\\n\\nCaused by:\\n    memory minimum size of 7 pages exceeds memory limits\\n\\1b[31m"


@attacks("trap wasm `unreachable` instruction executed")
def a_backtrace_of_names_that_mock_a_limit(s: Script) -> str:
    return f'(module (func $f (@name "{MOCKING}") unreachable) (func (export "_start") (call $f) nop))'


@attacks("trap thrown Wasm exception")
def an_exception_behind_names_that_mock_a_limit(s: Script) -> str:
    return f'(module (tag $t) (func $f (@name "{MOCKING}") (throw $t)) (func (export "_start") (call $f) nop))'


@attacks("trap unreachable")
def a_trap_behind_a_hundred_thousand_frames(s: Script) -> str:
    more = """(func $down (param $n i32)
      (if (i32.eqz (local.get $n)) (then unreachable))
      (call $down (i32.sub (local.get $n) (i32.const 1))) (drop (i32.const 0)))"""
    return module("(call $down (i32.const 15000))", more=more)


@attacks("exit 0")
def words_behind_the_code_that_nobody_knows(s: Script) -> str:
    return '(module (@custom "name" "\\ff\\ff\\ff\\ff\\ff") (@custom "\\00" "x") (func (export "_start")))'


@pytest.mark.parametrize("code", [0, 1, 42, 124, 125, 126, 127, 128, 254, 255, 256, 257, 0x7FFFFFFF, 0x80000000, FAR])
@pytest.mark.parametrize("moment", ["the start function", "the end", "the stack's depth", "an exception's handler"])
def test_exit_codes_from_anywhere(sandbox: Sandbox, code: int, moment: str) -> None:
    leave = f"(call $proc_exit (i32.const {code if code < 1 << 31 else code - (1 << 32)}))"
    deeper = "(call $f (i32.sub (local.get 0) (i32.const 1)))"
    deep = f"(func $f (param i32) (if (local.get 0) (then {deeper}) (else {leave})))"
    thrown = f"(block $h (try_table (catch_all $h) (throw $t)) unreachable) {leave}"
    wat = {
        "the start function": module("unreachable", more=f"(func $s {leave}) (start $s)"),
        "the end": module(leave),
        "the stack's depth": module("(call $f (i32.const 9000)) nop", more=deep),
        "an exception's handler": module(thrown, more="(tag $t)"),
    }[moment]
    outcome = sandbox.run(wat).outcome
    assert (outcome.end, outcome.exit_code) == ("exit", code)


@pytest.mark.parametrize("attack", attacks.all, ids=str)
def test_of_shapes(sandbox: Sandbox, attack: Attack) -> None:
    attack.run(sandbox)
