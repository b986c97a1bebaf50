"""Snapshots: a module that begins where another's initialisation ended, and what cannot be one."""

import os
import re
import tempfile
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guests.store import Store
from guests.toolchain import Zig
from insitu.sandbox.channels import EmptySource
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import MIB, PAGE, Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import to_wasm
from insitu.sandbox.snapshot import SnapshotError, snapshot
from tests.sandbox.guests import module


@cache
def runner() -> Runner:
    return Runner()


@cache
def frozen_runner() -> Runner:
    return Runner(canonical_nans=True)


def run(wasm: bytes, *words: str, files: Files = NO_FILES, limits: Limits | None = None) -> tuple[Outcome, bytes]:
    program = runner().compile(wasm)
    try:
        with tempfile.TemporaryFile() as target:
            launch = Launch(["guest", *words], EmptySource(), target.fileno(), limits or Limits(), files=files)
            return runner().run(program, launch), os.pread(target.fileno(), 1 << 20, 0)
    finally:
        program.close()


def output(wasm: bytes, *words: str) -> bytes:
    outcome, out = run(wasm, *words)
    assert outcome.ok, (outcome.sentence(), outcome.stderr)
    return out


def snap(wat: str | bytes, **options: object) -> bytes:
    wasm = wat if isinstance(wat, bytes) else to_wasm(wat.encode())
    return snapshot(wasm, "mine", runner=frozen_runner(), **options)  # type: ignore[arg-type]


def initialising(body: str, start: str = "", *, more: str = "", memory: str = "1") -> str:
    """A module whose initialisation is `body`, and whose `_start` is `start`."""
    return module(start, memory=memory, more=f'(func (export "wizer-initialize") {body}) {more}')


WRITE = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"


def writing(at: int, count: int) -> str:
    return f"(i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {count})) {WRITE}"


C_GUEST = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct node { struct node *next; char word[32]; } node;
static node *words;
static int (*told)(const char *, ...) = NULL;
static double ratio;
static char kept[200000];

static int add(const char *word) {
    node *one = malloc(sizeof *one);
    one->next = words;
    strcpy(one->word, word);
    words = one;
    return 0;
}

__attribute__((export_name("wizer-initialize"))) void initialise(void) {
    FILE *file = fopen("/words", "r");
    char word[32];
    while (file && fscanf(file, "%31s", word) == 1) add(word);
    if (file) fclose(file);
    told = printf;
    ratio = 1.0 / 3;
    kept[150000] = 'k';
    free(malloc(3 << 20));
}

int main(int argc, char **argv) {
    if (!told) initialise();
    for (int i = 1; i < argc; i++) add(argv[i]);
    for (node *one = words; one; one = one->next) told("%s ", one->word);
    told("%.17g %c\n", ratio, kept[150000]);
    return 0;
}
"""


@pytest.fixture(scope="module")
def c_guest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("c")
    (folder / "guest.c").write_text(C_GUEST)
    Zig(folder, Store().root / "zig").cc("-O3", "-s", "guest.c", "-o", "guest.wasm", what="the guest")
    return (folder / "guest.wasm").read_bytes()


def test_a_c_program_begins_where_its_initialisation_ended(c_guest: bytes) -> None:
    files = Files.held({"words": b"one two three"})
    made = snap(c_guest, files=files)
    expected = b"three two one 0.33333333333333331 k\n"
    assert run(c_guest, files=files)[1] == expected, "without a snapshot it reads the file each time"
    assert output(made) == expected
    assert output(made, "four") == b"four " + expected, "the words are those of the run"


def test_a_snapshot_can_be_snapshotted(c_guest: bytes) -> None:
    once = snap(c_guest, files=Files.held({"words": b"one"}))
    assert output(snap(once, files=Files.held({"words": b"two"}))) == b"two one 0.33333333333333331 k\n"


def test_the_same_gives_the_same_bytes(c_guest: bytes) -> None:
    files = Files.held({"words": b"one two three"})
    made = snap(c_guest, files=files)
    assert snapshot(c_guest, "other name", files=Files.held({"words": b"one two three"})) == made
    assert snap(c_guest, files=Files.held({"words": b"one two"})) != made


def test_time_and_chance_are_frozen() -> None:
    wat = initialising(
        "(drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 64)))"
        "(drop (call $random_get (i32.const 72) (i32.const 8)))",
        writing(64, 16),
    )
    first = snap(wat)
    assert snap(wat) == first
    assert output(first) != bytes(16)
    assert snap(wat, frozen=Frozen(seed=1)) != first


@settings(deadline=None, max_examples=30)
@given(
    i32=st.integers(-(2**31), 2**31 - 1),
    i64=st.integers(-(2**63), 2**63 - 1),
    f32=st.integers(0, 2**32 - 1).filter(lambda bits: (bits & 0x7F800000) != 0x7F800000),
    f64=st.integers(0, 2**64 - 1).filter(lambda bits: (bits >> 52) & 0x7FF != 0x7FF),
    v128=st.integers(0, 2**128 - 1),
)
def test_globals_have_the_values_that_they_had(i32: int, i64: int, f32: int, f64: int, v128: int) -> None:
    """Infinities and NaNs are in the next test: the words of the text format are not theirs."""
    wide = " ".join(str(v128 >> 32 * part & 0xFFFFFFFF) for part in range(4))
    wat = initialising(
        f"(global.set $a (i32.const {i32})) (global.set $b (i64.const {i64}))"
        f"(global.set $c (f32.reinterpret_i32 (i32.const {f32})))"
        f"(global.set $d (f64.reinterpret_i64 (i64.const {f64})))"
        f"(global.set $e (v128.const i32x4 {wide}))",
        "(i32.store (i32.const 64) (global.get $a)) (i64.store (i32.const 68) (global.get $b))"
        "(f32.store (i32.const 76) (global.get $c)) (f64.store (i32.const 80) (global.get $d))"
        "(v128.store (i32.const 88) (global.get $e)) (i32.store (i32.const 104) (global.get $f))" + writing(64, 44),
        more="(global $a (mut i32) (i32.const 1)) (global $f i32 (i32.const 7)) (global $b (mut i64) (i64.const 1))"
        "(global $c (mut f32) (f32.const 1)) (global $d (mut f64) (f64.const 1))"
        "(global $e (mut v128) (v128.const i32x4 0 0 0 0))",
    )
    mask = (i32 % 2**32, 4), (i64 % 2**64, 8), (f32, 4), (f64, 8), (v128, 16), (7, 4)
    assert output(snap(wat)) == b"".join(value.to_bytes(count, "little") for value, count in mask)


@pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345])
def test_a_global_may_hold_an_infinity_or_any_nan(bits: int) -> None:
    wat = initialising(
        f"(global.set $c (f32.reinterpret_i32 (i32.const {bits})))",
        "(i32.store (i32.const 64) (i32.reinterpret_f32 (global.get $c)))" + writing(64, 4),
        more="(global $c (mut f32) (f32.const 1))",
    )
    assert output(snap(wat)) == bits.to_bytes(4, "little")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(128, 3 * PAGE - 100), st.binary(min_size=1, max_size=90)), max_size=12))
def test_memory_is_what_it_was(pieces: list[tuple[int, bytes]]) -> None:
    """Written at any places, over data that was there and zeros; all of it is compared."""
    expected = bytearray(3 * PAGE)
    expected[1000:1005] = b"there"
    stores = ""
    for at, data in pieces:
        expected[at : at + len(data)] = data
        stores += "".join(f"(i32.store8 (i32.const {at + n}) (i32.const {byte}))" for n, byte in enumerate(data))
    wat = initialising(
        f"(drop (memory.grow (i32.const 2))) {stores}",
        writing(128, 3 * PAGE - 128),
        more='(data (i32.const 1000) "there")',
        memory="1 8",
    )
    assert output(snap(wat)) == expected[128:]


def test_memory_begins_as_large_as_it_became() -> None:
    made = snap(initialising("(drop (memory.grow (i32.const 99)))", memory="1 200"))
    assert run(made)[0].usage.memory_peak == 100 * PAGE
    refused = run(made, limits=Limits(memory=99 * PAGE))[0]
    assert refused.limit is not None
    assert refused.limit.name == "memory"
    assert len(made) < 1000, "zeros are not kept"


def test_what_lies_far_up_is_kept() -> None:
    """Addresses above 2 GiB are negative numbers in the format."""
    wat = initialising(
        "(i64.store (i32.const 0x80000008) (i64.const 0x2122232425262728))", writing(0x80000008, 8), memory="32769"
    )
    roomy = Limits(memory=32769 * PAGE)
    assert run(snap(wat, limits=roomy), limits=roomy)[1] == bytes(range(0x28, 0x20, -1))


def test_a_start_function_runs_once_and_first() -> None:
    wat = initialising(
        "(i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.load8_u (i32.const 64))))",
        writing(64, 1),
        more="(func $s (i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.const 5)))) (start $s)",
    )
    once = snap(wat)
    assert output(once) == b"\x0a"
    assert output(snap(once)) == b"\x14"


def test_names_that_are_taken_are_left_alone() -> None:
    """A module may export what it likes; the result exports just that."""
    wat = initialising(
        "(global.set $a (i32.const 65))",
        "(i32.store (i32.const 64) (global.get $a))" + writing(64, 1),
        more='(global $a (mut i32) (i32.const 1)) (func (export "snapshot global 0")) (func (export "snapshot\'x"))',
    )
    made = snap(wat)
    assert output(made) == b"A"
    assert made.count(b"snapshot") == 3, "those two, and the end of wasi_snapshot"


def test_calls_through_a_table_go_where_they_went() -> None:
    wat = initialising(
        "(i32.store (i32.const 64) (i32.const 1))",
        "(call_indirect (param i32) (i32.const 72) (i32.load (i32.const 64)))" + writing(72, 1),
        more="(table 3 5 funcref) (elem (i32.const 0) func $f $g) (elem declare func $f)"
        "(func $f (param i32) (i32.store8 (local.get 0) (i32.const 70)))"
        "(func $g (param i32) (i32.store8 (local.get 0) (i32.const 71)))",
    )
    assert output(snap(wat)) == b"G"


REF = "(func $f) (table $t 2 9 funcref) (elem declare func $f)"
REFUSED = {
    "no entry": (module(""), "exports no function wizer-initialize"),
    "an entry with arguments": (
        module("", more='(func (export "wizer-initialize") (param i32))'),
        "exports with arguments or results a function wizer-initialize",
    ),
    "no memory": (
        module("", memory=None, more='(func (export "wizer-initialize"))'),
        "has no memory",
    ),
    "a memory that nobody sees": (
        module("", memory=None, more='(memory 1) (func (export "wizer-initialize"))'),
        "exports no memory called memory",
    ),
    "a reference in a global": (
        initialising("", more="(global (mut funcref) (ref.null func))"),
        "a mutable global, number 0, that holds a reference",
    ),
    "a table of externrefs": (initialising("", more="(table 1 externref)"), "table, number 0, of what are no func"),
    "a passive data segment": (initialising("", more='(data "x")'), "data segment, number 0, that it can drop"),
    "a passive element segment": (
        initialising("", more="(func $f) (elem func $f)"),
        "element segment, number 0, that it can drop",
    ),
    "a passive element segment of expressions": (
        initialising("", more="(func $f) (elem funcref (ref.func $f))"),
        "element segment, number 0, that it can drop",
    ),
    "a table that is set": (
        initialising("(table.set $t (i32.const 1) (ref.func $f))", more=REF),
        "leaves what no module can hold: a table that changed",
    ),
    "a table that has grown": (
        initialising("(drop (table.grow $t (ref.null func) (i32.const 1)))", more=REF),
        "leaves what no module can hold: a table that changed",
    ),
    "a table that its start function sets": (
        initialising("", more=REF + "(func $s (table.set $t (i32.const 0) (ref.func $f))) (start $s)"),
        "leaves what no module can hold: a table that changed",
    ),
    "a trap": (initialising("unreachable"), "initialisation failed: trap: wasm `unreachable` instruction executed"),
    "an exit": (initialising("(call $proc_exit (i32.const 3))"), r"failed: exit code 3 \(it has to return\)"),
    "an exit with success": (initialising("(call $proc_exit (i32.const 0))"), r"exit code 0 \(it has to return\)"),
    "a loop": (initialising("(loop $again (br $again))"), "failed: limit wall: 200 ms allowed"),
    "output": (initialising(writing(64, 5)), "failed: limit output: 0 B allowed, 5 B reached"),
    "a file that stays open": (
        initialising(
            "(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 0)"
            "(i64.const 2) (i64.const 0) (i32.const 0) (i32.const 80)))",
            more='(data (i32.const 64) "words")',
        ),
        r"leaves what no module can hold: open files \(1\)",
    ),
    "a file that it made": (
        initialising(
            "(drop (call $path_create_directory (i32.const 3) (i32.const 64) (i32.const 5)))",
            more='(data (i32.const 64) "tmp/x")',
        ),
        r"leaves what no module can hold: files written \(1\)",
    ),
    "a stdin that is closed": (
        initialising("(drop (call $fd_close (i32.const 0)))"),
        "leaves what no module can hold: a standard descriptor that is closed",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name(what: str) -> None:
    wat, why = REFUSED[what]
    with pytest.raises(ProgramError, match=why) as error:
        snap(wat, files=Files.held({"words": b""}), limits=Limits(wall=0.2))
    assert str(error.value).startswith("mine: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ('(import "env" "memory" (memory 1))', "imports its memory"),
        ('(import "env" "g" (global (mut i32)))', "imports a global"),
        ('(import "env" "t" (table 1 funcref))', "imports a table"),
    ],
)
def test_state_that_is_imported(what: str, why: str) -> None:
    with pytest.raises(ProgramError, match=f"mine: no snapshot of it can be made: it {why}"):
        snap(f'(module {what} (func (export "_start")) (func (export "wizer-initialize")))')


def test_what_a_failed_initialisation_wrote_to_stderr_is_told() -> None:
    wat = initialising(
        writing(64, 4).replace("$fd_write (i32.const 1)", "$fd_write (i32.const 2)") + "unreachable",
        more='(data (i32.const 64) "why\\0a")',
    )
    with pytest.raises(SnapshotError) as error:
        snap(wat)
    assert error.value.outcome.stderr == b"why\n"


def test_limits_hold_for_it() -> None:
    wat = initialising("(drop (memory.grow (i32.const 99)))" + "(loop $again (br $again))")
    with pytest.raises(SnapshotError, match="limit fuel: 1000 allowed"):
        snap(wat, limits=Limits(fuel=1000))
    small = snap(initialising("(drop (memory.grow (i32.const 99)))"), limits=Limits(memory=MIB))
    assert run(small)[0].usage.memory_peak == PAGE, "growing was refused, as the module was told"


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_whatever_is_changed_in_a_module_it_is_refused_or_runs(data: st.DataObject) -> None:
    """Never anything but `ProgramError`, however its lengths and counts lie."""
    wasm = bytearray(_SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        wasm[data.draw(st.integers(8, len(wasm) - 1))] = data.draw(st.integers(0, 255))
    try:
        made = snap(bytes(wasm[: data.draw(st.integers(8, len(wasm)))]), limits=Limits(wall=0.5, memory=MIB))
    except ProgramError as why:
        told = str(why)
    else:
        runner().compile(made).close()
        told = "mine: it is sound"
    assert re.match(r"mine: \S", told)


_SOUND = to_wasm(
    initialising(
        "(global.set $a (i32.const 5))",
        more='(global $a (mut i32) (i32.const 1)) (global i64 (i64.const 7)) (data (i32.const 64) "there")'
        "(table 2 funcref) (func $f) (elem (i32.const 0) func $f) (func $s) (start $s)",
    ).encode()
)
