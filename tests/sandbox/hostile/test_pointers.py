"""Pointers and lengths: to nowhere, over each other, over what is being read, into memory that was not there before."""

import pytest

from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module
from tests.sandbox.hostile.script import (
    BADF,
    CREATE,
    FAR,
    FAULT,
    INVAL,
    NAMETOOLONG,
    NOENT,
    NOSPC,
    READ,
    ROFS,
    SUCCESS,
    Attack,
    Attacks,
    Script,
    load,
)
from tests.sandbox.specification import FUNCTIONS

attacks = Attacks()
END = 131_072  # of two pages

# Which words of a call are pointers, in calls that are right but for them: a file is 4, a directory 5.
POINTERS: dict[str, list[tuple[int | str, ...]]] = {
    "args_get": [("*", 1000), (1000, "*")],
    "args_sizes_get": [("*", 1000), (1000, "*")],
    "environ_sizes_get": [("*", 1000), (1000, "*")],
    "clock_res_get": [(0, "*")],
    "clock_time_get": [(0, 0, "*")],
    "fd_fdstat_get": [(4, "*")],
    "fd_filestat_get": [(4, "*")],
    "fd_pread": [(4, "*", 1, 0, 1000), (4, 0, 1, 0, "*")],
    "fd_prestat_dir_name": [(3, "*", 1)],
    "fd_prestat_get": [(3, "*")],
    "fd_pwrite": [(4, "*", 1, 0, 1000), (4, 0, 1, 0, "*")],
    "fd_read": [(4, "*", 1, 1000), (4, 0, 1, "*")],
    "fd_readdir": [(5, "*", 100, 0, 1000), (5, 1000, 100, 0, "*")],
    "fd_seek": [(4, 0, 1, "*")],
    "fd_tell": [(4, "*")],
    "fd_write": [(4, "*", 1, 1000), (4, 0, 1, "*")],
    "path_create_directory": [(5, "*", 1)],
    "path_filestat_get": [(5, 0, "*", 1, 1000), (5, 0, 500, 1, "*")],
    "path_filestat_set_times": [(5, 0, "*", 1, 1, 1, 5)],
    "path_link": [(5, 0, "*", 1, 5, 500, 1), (5, 0, 500, 1, 5, "*", 1)],
    "path_open": [(5, 0, "*", 1, 0, READ, 0, 0, 1000), (5, 0, 500, 1, 0, READ, 0, 0, "*")],
    "path_readlink": [(5, "*", 1, 1000, 10, 1100), (5, 501, 1, "*", 10, 1100), (5, 501, 1, 1000, 10, "*")],
    "path_remove_directory": [(5, "*", 1)],
    "path_rename": [(5, "*", 1, 5, 500, 1), (5, 500, 1, 5, "*", 1)],
    "path_symlink": [("*", 1, 5, 510, 1), (500, 1, 5, "*", 1)],
    "path_unlink_file": [(5, "*", 1)],
    "poll_oneoff": [("*", 2000, 1, 1000), (1500, "*", 1, 1000), (1500, 2000, 1, "*")],
    "random_get": [("*", 1)],
}
# All but those with no pointer in them, of which two have none for a file: environ_get of nothing writes nothing.
WITHOUT = {
    "environ_get", "fd_advise", "fd_allocate", "fd_close", "fd_datasync", "fd_fdstat_set_flags", "fd_fdstat_set_rights",
    "fd_filestat_set_size", "fd_filestat_set_times", "fd_renumber", "fd_sync", "proc_exit", "proc_raise", "sched_yield",
    "sock_accept", "sock_recv", "sock_send", "sock_shutdown",
}  # fmt: skip


def test_every_pointer_of_every_function_is_attacked() -> None:
    assert set(POINTERS) | WITHOUT == set(FUNCTIONS)


def scene(s: Script) -> None:
    """4 is a file called f, 5 the directory it is in, which has a link l too; a vector at 0."""
    s.opens("tmp/f", flags=CREATE)
    s.opens_directory("tmp")
    s.do("path_symlink", s.text("f"), 5, s.text("l"))
    s.place(500, b"fl")
    s.place(510, b"n")
    s.vectors(0, (3000, 100))
    s.do("fd_write", 4, 0, 1, 1000)


def bad_pointers(s: Script, name: str, pointers: tuple[int, ...]) -> None:
    scene(s)
    for words in POINTERS[name]:
        for pointer in pointers:
            s.do(name, *[pointer if word == "*" else word for word in words], gives=FAULT)
    # It took nothing, moved nothing and made nothing.
    s.do("fd_seek", 4, 0, 1, 1000)
    s.holds(1000, 100)
    s.do("path_filestat_get", 5, 0, s.text("n"), 1000, gives=NOENT)
    s.do("path_filestat_get", 5, 0, s.text("f"), 1000)
    s.holds(1032, 100)


@pytest.mark.parametrize("name", POINTERS)
def test_pointers_to_nowhere(sandbox: Sandbox, name: str) -> None:
    def write(s: Script) -> None:
        bad_pointers(s, name, (END, FAR, FAR - 3, 0x80000000, 0x7FFFFFFF))

    Attack(name, write, "exit 0", Attacks.limits()).run(sandbox)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_word_at_its_largest(sandbox: Sandbox, name: str) -> None:
    """0xffffffff for each: a descriptor, a flag and a length that are none, and a pointer to the end."""
    words = ["(i32.const -1)" if letter == "i" else "(i64.const -1)" for letter in FUNCTIONS[name]]
    body = f"(call ${name} {' '.join(words)})"
    if name != "proc_exit":
        body = f"(call $proc_exit {body})"
    outcome = sandbox.run(module(body)).outcome
    expected = {"proc_exit": FAR, "sched_yield": SUCCESS, "proc_raise": 58}
    others = (BADF, FAULT, INVAL, NAMETOOLONG)
    assert outcome.end == "exit"
    assert outcome.exit_code in ((expected[name],) if name in expected else others)
    sandbox.still_serves()


@attacks()
def results_that_lie_half_beyond_the_end(s: Script) -> None:
    scene(s)
    for back, gives in ((4, SUCCESS), (3, FAULT), (1, FAULT)):
        s.do("fd_read", 4, 0, 1, END - back, gives=gives)
        s.do("path_open", 5, 0, (500, 1), 0, READ, 0, 0, END - back, gives=gives)
    for name, size in (("fd_filestat_get", 64), ("fd_fdstat_get", 24), ("fd_tell", 8)):
        s.do(name, 4, END - size)
        s.do(name, 4, END - size + 1, gives=FAULT)


@attacks()
def vectors_without_end(s: Script) -> None:
    scene(s)
    for count in (1025, 1_000_000, 0x10000000, 0x20000000, 0x7FFFFFFF, FAR):
        s.do("fd_read", 4, 0, count, 1000, gives=(INVAL, FAULT))
        s.do("fd_write", 4, 0, count, 1000, gives=(INVAL, FAULT))
        s.do("fd_pread", 4, 0, count, 0, 1000, gives=(INVAL, FAULT))
        s.do("fd_write", 2, 0, count, 1000, gives=(INVAL, FAULT))
    s.do("fd_seek", 4, 0, 1, 1000)
    s.holds(1000, 100)


@attacks()
def vectors_whose_lengths_run_over(s: Script) -> None:
    """Pointer and length that come to a small number when added in 32 bits."""
    scene(s)
    for pair in ((FAR, 2), (1000, FAR), (0x80000000, 0x80000000), (END - 1, 2), (FAR, FAR), (2, FAR - 1)):
        s.store(100, *pair)
        s.do("fd_read", 4, 100, 1, 1000, gives=FAULT)
        s.do("fd_write", 4, 100, 1, 1000, gives=FAULT)
        s.do("fd_write", 1, 100, 1, 1000, gives=FAULT)


@attacks()
def one_bad_vector_behind_good_ones(s: Script) -> None:
    """Nothing is read into the good ones, nor written from them."""
    scene(s)
    s.vectors(100, (3000, 10), (3000, 10), (END, 1))
    s.do("fd_pread", 4, 100, 3, 0, 1000, gives=FAULT)
    s.do("fd_pwrite", 4, 100, 3, 500, 1000, gives=FAULT)
    s.do("fd_filestat_get", 4, 2000)
    s.holds(2032, 100)


@attacks()
def the_table_of_vectors_as_its_own_buffer(s: Script) -> None:
    scene(s)
    s.vectors(100, (100, 16), (100, 16))
    s.do("fd_pread", 4, 100, 2, 0, 1000)  # a file of noughts over the table that says where to
    s.holds(1000, 32)
    s.holds(100, 0)
    s.holds(112, 0)


@attacks()
def the_result_over_the_table_and_the_buffer(s: Script) -> None:
    scene(s)
    s.vectors(100, (100, 8))
    s.do("fd_pread", 4, 100, 1, 0, 100)
    s.holds(100, 8)
    s.do("fd_pwrite", 4, 0, 1, 0, 0)  # how much was written, over the pointer to it
    s.holds(0, 100)


@attacks()
def buffers_over_each_other(s: Script) -> None:
    scene(s)
    s.place(3000, bytes(range(1, 101)))
    s.do("fd_pwrite", 4, 0, 1, 0, 1000)
    s.vectors(100, (5000, 50), (5010, 50))
    s.do("fd_pread", 4, 100, 2, 0, 1000)
    s.holds(1000, 100)
    s.check("(i32.eq (i32.load8_u (i32.const 5000)) (i32.const 1))")
    s.check("(i32.eq (i32.load8_u (i32.const 5010)) (i32.const 51))")
    s.check("(i32.eq (i32.load8_u (i32.const 5059)) (i32.const 100))")


@attacks()
def empty_buffers_at_the_end_of_memory(s: Script) -> None:
    scene(s)
    s.vectors(100, (END, 0), (0, 0), (FAR, 0))
    for name in ("fd_read", "fd_write"):
        s.do(name, 4, 100, 2, 1000)
        s.holds(1000, 0)
        s.do(name, 4, END, 0, 1000)
        s.holds(1000, 0)
    s.do("random_get", END, 0)


@attacks()
def memory_that_grows_in_a_sequence_of_calls(s: Script) -> None:
    """What the host saw of memory before is too short by then: it looks again, and no further."""
    s.memory = "1"
    s.opens("tmp/f", flags=CREATE)
    s.do("fd_tell", 4, 65_536, gives=FAULT)
    s.raw("(drop (memory.grow (i32.const 1)))")
    s.do("fd_tell", 4, 65_536)
    s.do("fd_tell", 4, 131_072 - 7, gives=FAULT)
    s.raw("(drop (memory.grow (i32.const 100)))")
    s.do("fd_tell", 4, 131_072 - 7)
    s.do("random_get", 65_536, 101 * 65_536)
    s.do("random_get", 65_536, 101 * 65_536 + 1, gives=FAULT)
    s.check("(i64.ne (i64.load (i32.const 6684664)) (i64.const 0))")


@attacks()
def a_read_into_memory_that_was_just_grown(s: Script) -> None:
    scene(s)
    s.raw("(drop (memory.grow (i32.const 1)))")
    s.vectors(100, (END - 50, 100))
    s.do("fd_pwrite", 4, 0, 1, 0, 1000)
    s.do("fd_pread", 4, 100, 1, 0, END + 1000)
    s.holds(END + 1000, 100)


@attacks("exit 0", memory=4 << 30)
def the_very_end_of_the_largest_memory(s: Script) -> None:
    """Its last byte is at 0xffffffff: pointers are right to the end, and wrap nowhere."""
    s.memory = "2"
    s.check("(i32.eq (memory.grow (i32.const 65534)) (i32.const 2))")
    s.do("random_get", 0xFFFFFFF0, 16)
    s.do("random_get", 0xFFFFFFF0, 17, gives=FAULT)
    s.do("random_get", FAR, 1)
    s.do("random_get", FAR, 2, gives=FAULT)
    s.do("clock_time_get", 0, 0, 0xFFFFFFF8)
    s.do("clock_time_get", 0, 0, 0xFFFFFFF9, gives=FAULT)
    s.do("path_create_directory", 3, 0xFFFFFFFF, 1, gives=(INVAL, ROFS))
    s.store(100, 0xFFFFFFF0, 16)
    s.do("fd_write", 2, 100, 1, 1000)
    s.do("fd_write", 2, 0xFFFFFFF8, 1, 1000, gives=(FAULT, SUCCESS))


@attacks("exit 0", memory=4 << 30)
def four_gigabytes_in_one_write(s: Script) -> None:
    """As long as a length can be, of memory that nobody ever touched."""
    s.memory = "2"
    s.raw("(drop (memory.grow (i32.const 65534)))")
    s.vectors(0, (16, FAR - 16))
    s.opens("tmp/f", flags=CREATE)
    s.do("fd_write", 4, 0, 1, 8)
    s.check(f"(i32.lt_u {load(8)} (i32.const {64 << 20}))")  # what fits the quota, and no more was taken
    s.do("fd_write", 4, 0, 1, 8, gives=NOSPC)


@attacks()
def names_that_lie_half_beyond_the_end(s: Script) -> None:
    s.do("path_create_directory", 3, END - 3, 4, gives=FAULT)
    s.do("path_create_directory", 3, END, 1, gives=FAULT)
    s.do("path_create_directory", 3, END, 0, gives=(NOENT, FAULT))
    s.do("path_symlink", END - 1, 2, 3, s.text("tmp/l"), gives=FAULT)
    s.do("path_rename", 3, s.text("tmp/x"), 3, END - 1, 2, gives=FAULT)


@attacks()
def a_preopened_name_into_too_little_room(s: Script) -> None:
    s.do("fd_prestat_dir_name", 3, 1000, 0, gives=NAMETOOLONG)
    s.do("fd_prestat_dir_name", 3, 1000, FAR)
    s.do("fd_prestat_dir_name", 3, END - 1, 1)
    s.do("fd_prestat_dir_name", 3, END, 1, gives=FAULT)


@pytest.mark.parametrize("attack", attacks.all, ids=str)
def test_of_pointers(sandbox: Sandbox, attack: Attack) -> None:
    attack.run(sandbox)
