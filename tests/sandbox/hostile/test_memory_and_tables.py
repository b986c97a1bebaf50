"""Memories, tables, the stack and exceptions: more of them than is given, or to slip through what ends a guest."""

import pytest

from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module
from tests.sandbox.hostile.script import (
    FAULT,
    Attack,
    Attacks,
    Script,
)

attacks = Attacks()
PAGE = 65_536


@attacks("refused more than one memory")
def fifty_memories(s: Script) -> str:
    return f'(module {"(memory 250)" * 50} (func (export "_start")))'


@attacks("refused memory64")
def a_memory_of_64_bits(s: Script) -> str:
    return '(module (memory (export "memory") i64 1) (func (export "_start")))'


@attacks("refused shared memory")
def a_memory_that_threads_share(s: Script) -> str:
    return '(module (memory (export "memory") 1 2 shared) (func (export "_start")))'


@attacks("refused memory")
def a_memory_of_more_than_there_can_be(s: Script) -> str:
    return '(module (memory (export "memory") 65537) (func (export "_start")))'


@attacks("limit memory", memory=16 * PAGE)
def a_memory_that_begins_at_four_gigabytes(s: Script) -> str:
    return '(module (memory (export "memory") 65536) (func (export "_start")))'


@attacks("limit memory", memory=16 * PAGE)
def a_memory_that_nobody_sees(s: Script) -> str:
    return '(module (memory 17) (func (export "_start")))'


@attacks("exit 0", memory=16 * PAGE)
def a_memory_that_grows_by_all_there_is(s: Script) -> None:
    for pages in (-1, 0x7FFFFFFF, 65_536, 65_535, 65_534, 15):
        s.check(f"(i32.eq (memory.grow (i32.const {pages})) (i32.const -1))")
    s.check("(i32.eq (memory.grow (i32.const 14)) (i32.const 2))")
    s.check("(i32.eq (memory.grow (i32.const 1)) (i32.const -1))")
    s.check("(i32.eq (memory.grow (i32.const 0)) (i32.const 16))")


@attacks("limit wall", wall=0.1, memory=16 * PAGE)
def a_memory_that_asks_to_grow_for_ever(s: Script) -> None:
    s.for_ever("(drop (memory.grow (i32.const 1)))")


@attacks("exit 0")
def a_memory_of_nothing_that_grows_later(s: Script) -> None:
    s.memory = "0"
    s.do("clock_time_get", 0, 0, 0, gives=FAULT)
    s.do("random_get", 0, 0)
    s.check("(i32.eq (memory.grow (i32.const 1)) (i32.const 0))")
    s.do("clock_time_get", 0, 0, PAGE - 8)
    s.do("clock_time_get", 0, 0, PAGE - 7, gives=FAULT)


@attacks("limit table")
def a_table_that_begins_giant(s: Script) -> str:
    return module("", more="(table 4000000000 funcref)")


@attacks("limit table", table=1000)
def a_table_of_one_too_many(s: Script) -> str:
    return module("", more="(table 1001 funcref)")


@attacks("exit 0", table=1000)
def a_table_that_grows_giant(s: Script) -> None:
    s.more += "(table $t 1 funcref)"
    for count in (-1, 0x7FFFFFFF, 10_000_000, 1000):
        s.check(f"(i32.eq (table.grow $t (ref.null func) (i32.const {count})) (i32.const -1))")
    s.check("(i32.eq (table.grow $t (ref.null func) (i32.const 999)) (i32.const 1))")
    s.check("(i32.eq (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1))")


@attacks("trap table count")
def more_tables_than_are_given(s: Script) -> str:
    return module("", more="(table 1 funcref)" * 9)


@attacks("exit 0")
def eight_tables_as_large_as_they_may_be(s: Script) -> str:
    return module("", more="(table 1048576 funcref)" * 8)


@attacks("trap out of bounds table")
def an_element_beyond_its_table(s: Script) -> str:
    return module("", more="(table 1 funcref) (elem (i32.const 1) func $f) (func $f)")


@attacks("limit wall", wall=0.1)
def tables_filled_and_copied_for_ever(s: Script) -> None:
    s.more += "(table $t 1000000 funcref)"
    s.for_ever(
        "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1000000))"
        "(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 999999))"
    )


@attacks("limit wall", wall=0.1)
def memory_filled_and_copied_for_ever(s: Script) -> None:
    s.memory = "2000"
    s.for_ever(
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 131072000))"
        "(memory.copy (i32.const 1) (i32.const 0) (i32.const 131071999))"
    )


@attacks("trap out of bounds memory access")
def data_beyond_memory(s: Script) -> str:
    return module("", more=f'(data (i32.const {PAGE - 1}) "ab")')


@attacks("exit 0")
def megabytes_of_data_one_over_the_other(s: Script) -> None:
    s.memory = "20"
    text = "x" * 1_000_000
    s.more += "".join(f'(data (i32.const {at}) "{text}")' for at in range(6))
    s.check("(i32.eq (i32.load8_u (i32.const 1000004)) (i32.const 120))")
    s.check("(i32.eq (i32.load8_u (i32.const 1000005)) (i32.const 0))")


@attacks("trap call stack exhausted")
def the_stack_to_its_end(s: Script) -> str:
    return module("(call $deeper)", more="(func $deeper (call $deeper) (call $deeper))")


@attacks("trap call stack exhausted")
def the_stack_to_its_end_with_large_frames(s: Script) -> str:
    many = " ".join(["i64"] * 1000)
    values = " ".join(["(i64.const 1)"] * 1000)
    return module(f"(call $deeper {values})", more=f"(func $deeper (param {many}) (call $deeper {values}))")


@attacks("trap call stack exhausted")
def the_stack_to_its_end_through_a_table(s: Script) -> str:
    more = "(table 1 funcref) (elem (i32.const 0) func $f) (func $f (call_indirect (i32.const 0)) (call $g)) (func $g)"
    return module("(call $f)", more=more)


@attacks("trap call stack exhausted")
def the_stack_to_its_end_before_the_start(s: Script) -> str:
    return module("", more="(func $deeper (call $deeper) (call $deeper)) (start $deeper)")


@attacks("trap call stack exhausted")
def the_host_asked_at_every_depth_of_the_stack(s: Script) -> str:
    """Also at the very last, where hardly any of the stack is left."""
    ask = "(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))"
    ask += "(drop (call $path_filestat_get (i32.const 3) (i32.const 1) (i32.const 100) (i32.const 5) (i32.const 200)))"
    return module("(call $deeper)", more=f'(func $deeper {ask} (call $deeper) {ask}) (data (i32.const 100) "tmp/x")')


@attacks("exit 9")
def an_exit_at_the_end_of_the_stack(s: Script) -> str:
    """The frame that has no room left is caught by none: the one before it exits."""
    more = """
      (global $depth (mut i32) (i32.const 0))
      (func $deeper
        (if (i32.eq (global.get $depth) (i32.const 10000)) (then (call $proc_exit (i32.const 9))))
        (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
        (call $deeper) (call $deeper))"""
    return module("(call $deeper)", more=more)


@attacks("limit wall", wall=0.1)
def tail_calls_for_ever(s: Script) -> str:
    return module("(call $f)", more="(func $f (return_call $g)) (func $g (return_call $f))")


@attacks("limit fuel", fuel=1_000_000)
def tail_calls_that_cost_fuel(s: Script) -> str:
    return module("(call $f)", more="(func $f (return_call $g)) (func $g (return_call $f))")


CATCH = """
  (block $caught (try_table (catch_all $caught) {}) (call $proc_exit (i32.const 99)))
  (call $proc_exit (i32.const 98))"""


@attacks("exit 7")
def an_exit_that_is_caught_as_an_exception(s: Script) -> str:
    return module(CATCH.format("(call $proc_exit (i32.const 7))"))


@attacks("limit output", output=10)
def a_limit_that_is_caught_as_an_exception(s: Script) -> str:
    write = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    return module(CATCH.format(write), more='(data (i32.const 0) "\\10\\00\\00\\00\\00\\01\\00\\00")')


@attacks("limit wall", wall=0.05)
def the_end_of_time_that_is_caught_as_an_exception(s: Script) -> str:
    return module(CATCH.format("(loop $l (br $l))"))


@attacks("limit wall", wall=0.05)
def the_end_of_a_sleep_that_is_caught_as_an_exception(s: Script) -> str:
    sleep = "(drop (call $poll_oneoff (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))"
    subscription = "\\00" * 16 + "\\01" + "\\00" * 7 + "\\ff" * 8 + "\\00" * 16
    return module(CATCH.format(sleep), more=f'(data (i32.const 0) "{subscription}")')


@attacks("trap unreachable")
def a_trap_that_is_caught_as_an_exception(s: Script) -> str:
    return module(CATCH.format("unreachable"))


@attacks("trap call stack exhausted")
def the_end_of_the_stack_that_is_caught_as_an_exception(s: Script) -> str:
    return module(CATCH.format("(call $f)"), more="(func $f (call $f) (call $f))")


@attacks("limit fuel", fuel=10_000)
def the_end_of_fuel_that_is_caught_as_an_exception(s: Script) -> str:
    return module(CATCH.format("(loop $l (br $l))"))


@attacks("trap thrown Wasm exception")
def an_exception_that_nobody_catches(s: Script) -> str:
    return module("(throw $t (i64.const 1))", more="(tag $t (param i64))")


@attacks("trap thrown Wasm exception")
def an_exception_out_of_the_start_function(s: Script) -> str:
    return module("", more="(tag $t) (func $s (throw $t)) (start $s)")


@attacks("limit wall", wall=0.1)
def exceptions_for_ever(s: Script) -> None:
    s.more += "(tag $t (param i64))"
    s.for_ever("(block $h (result i64) (try_table (catch $t $h) (throw $t (i64.const 1))) unreachable) drop")


@attacks("limit wall", wall=0.1)
def exceptions_through_ten_thousand_frames_for_ever(s: Script) -> None:
    s.more += """(tag $t) (func $down (param $n i32)
      (if (i32.eqz (local.get $n)) (then (throw $t)))
      (call $down (i32.sub (local.get $n) (i32.const 1))) (drop (i32.const 0)))"""
    s.for_ever("(block $h (try_table (catch $t $h) (call $down (i32.const 10000))))")


@attacks("trap GC heap out of memory", memory=16 * PAGE)
def exceptions_that_are_kept_without_end(s: Script) -> None:
    """They live in memory of the engine's own, which the limit bounds too."""
    fields, values = " ".join(["i64"] * 100), " ".join(["(i64.const 7)"] * 100)
    s.more += f"(tag $t (param {fields})) (table $kept 100000 exnref)"
    s.locals += "(local $e exnref)"
    s.times(
        100_000,
        f"""(block $h (result exnref) (try_table (catch_all_ref $h) (throw $t {values})) unreachable)
        (local.set $e) (table.set $kept (local.get $n) (local.get $e))""",
    )


@pytest.mark.parametrize("attack", attacks.all, ids=str)
def test_of_memory(sandbox: Sandbox, attack: Attack) -> None:
    attack.run(sandbox)
