"""Descriptors: stale ones, renumbered ones, too many of them, and rights that were given up."""

import pytest

from insitu.sandbox.channels import StderrSink
from insitu.sandbox.files.nodes import Node, StreamNode
from insitu.sandbox.files.volume import Volume
from tests.sandbox.bare import Bare
from tests.sandbox.conftest import Sandbox
from tests.sandbox.hostile.script import (
    ALL,
    BADF,
    CREATE,
    DIRECTORY,
    FAR,
    FILE,
    MFILE,
    NOENT,
    NOSPC,
    NOTCAPABLE,
    NOTDIR,
    NOTSOCK,
    OUT,
    PERM,
    READ,
    TREE,
    WRITE,
    Attack,
    Attacks,
    Script,
    call,
    load,
)  # fmt: skip
from tests.sandbox.specification import FUNCTIONS

attacks = Attacks()
DIRECTORY_AT = {"path_symlink": 2}
WITH_FD = [name for name in FUNCTIONS if name.startswith(("fd_", "path_", "sock_"))]


def on(name: str, fd: str | int) -> str:
    """The call, about `fd`, with nought for all else."""
    words: list[str | int] = [0] * len(FUNCTIONS[name])
    words[DIRECTORY_AT.get(name, 0)] = fd
    return call(name, *words)


@attacks()
def every_call_on_a_descriptor_that_was_closed(s: Script) -> None:
    fd = s.opens("tmp/a", flags=CREATE)
    s.do("fd_close", fd)
    for name in WITH_FD:
        s.check(f"(i32.eq {on(name, fd)} (i32.const {BADF}))")
    again = s.opens("tmp/a", at=OUT + 4)
    s.check(f"(i32.eq {fd} {again})")  # the lowest number that is free


@attacks()
def every_call_on_a_descriptor_that_was_renumbered_away(s: Script) -> None:
    fd = s.opens("tmp/a", flags=CREATE)
    s.do("fd_renumber", fd, 0)
    for name in WITH_FD:
        s.check(f"(i32.eq {on(name, fd)} (i32.const {BADF}))")


@attacks()
def descriptors_that_never_were(s: Script) -> None:
    for fd in (5, 255, 256, 65_536, 0x7FFFFFFF, 0x80000000, FAR):
        for name in WITH_FD:
            s.check(f"(i32.eq {on(name, fd)} (i32.const {BADF}))")
        s.do("fd_renumber", 0, fd, gives=BADF)
        s.do("fd_renumber", fd, 0, gives=BADF)


@attacks()
def a_socket_of_every_descriptor(s: Script) -> None:
    s.opens("tmp/a", flags=CREATE)
    for fd in range(5):
        for name in FUNCTIONS:
            if name.startswith("sock_"):
                s.check(f"(i32.eq {on(name, fd)} (i32.const {NOTSOCK}))")


@attacks("exit 0", output=0)
def a_file_in_the_place_of_stdout(s: Script) -> None:
    """Its output limit is nought: a single byte to the real one would end it."""
    fd = s.opens("tmp/a", flags=CREATE)
    s.do("fd_renumber", fd, 1)
    s.vectors(0, s.text("hello"))
    s.do("fd_write", 1, 0, 1, 16)
    s.do("fd_seek", 1, 0, 1, 24)
    s.holds(24, 5)


@attacks()
def a_directory_in_the_place_of_stdin(s: Script) -> None:
    fd = s.opens_directory("tmp")
    s.do("fd_renumber", fd, 0)
    s.vectors(0, (100, 10))
    s.do("fd_read", 0, 0, 1, 16, gives=BADF)
    s.do("path_create_directory", 0, s.text("d"))


@attacks()
def a_file_in_the_place_of_the_root(s: Script) -> None:
    fd = s.opens("tmp/a", flags=CREATE)
    s.do("fd_renumber", fd, 3)
    s.do("fd_prestat_get", 3, 200, gives=BADF)
    s.opens("tmp/a", gives=NOTDIR)
    s.do("path_create_directory", 3, s.text("d"), gives=NOTDIR)


@attacks()
def a_subdirectory_in_the_place_of_the_root(s: Script) -> None:
    """It is no root by its number: nothing leads out of it, and nobody takes it for preopened."""
    s.do("path_create_directory", 3, s.text("tmp/d"))
    fd = s.opens_directory("tmp/d")
    s.do("fd_renumber", fd, 3)
    s.do("fd_prestat_get", 3, 200, gives=BADF)
    s.do("path_create_directory", 3, s.text("../e"), gives=PERM)
    s.do("path_create_directory", 3, s.text("/tmp/e"), gives=PERM)
    s.do("path_create_directory", 3, s.text("e"))


@attacks()
def the_root_closed_while_a_directory_of_it_is_open(s: Script) -> None:
    s.do("path_create_directory", 3, s.text("tmp/d"))
    s.do("path_symlink", s.text("../x"), 3, s.text("tmp/d/up"))
    fd = s.opens_directory("tmp/d")
    s.do("fd_close", 3)
    s.do("fd_close", 3, gives=BADF)
    s.do("path_create_directory", 3, s.text("tmp/e"), gives=BADF)
    s.do("path_create_directory", fd, s.text("e"))
    s.do("path_create_directory", fd, s.text(".."), gives=PERM)
    s.do("path_create_directory", fd, s.text("up/e"), gives=PERM)
    s.do("fd_readdir", fd, 1000, 1000, 0, 16)


@attacks("exit 0", output=0)
def all_of_the_standard_ones_closed_and_their_numbers_reused(s: Script) -> None:
    for fd in range(3):
        s.do("fd_close", fd)
    s.vectors(0, s.text("not the host's"))
    for fd in range(3):
        opened = s.opens(f"tmp/{fd}", flags=CREATE, at=OUT + 4 * fd)
        s.check(f"(i32.eq {opened} (i32.const {fd}))")
        s.do("fd_write", fd, 0, 1, 16)


@attacks("exit 0", open_files=16)
def descriptors_until_there_are_no_more(s: Script) -> None:
    s.opens("tmp/a", flags=CREATE)
    for _ in range(11):
        s.opens("tmp/a")
    s.opens("tmp/a", gives=MFILE)
    s.opens("tmp/new", flags=CREATE, gives=MFILE)
    s.do("path_filestat_get", 3, 0, s.text("tmp/new"), 200, gives=NOENT)  # and no file was made on the way
    s.do("fd_close", 9)
    s.opens("tmp/a")
    s.holds(OUT, 9)
    s.opens("tmp/a", gives=MFILE)


@attacks("exit 0", open_files=8)
def a_hundred_thousand_opens_and_closes(s: Script) -> None:
    path = s.text("tmp/a")
    opening = call("path_open", 3, 0, *path, CREATE, FILE, 0, 0, OUT)
    s.times(100_000, f"(if (i32.or {opening} {call('fd_close', load(OUT))}) (then unreachable))")
    s.holds(OUT, 4)


@attacks("exit 0", open_files=8)
def a_hundred_thousand_renumberings(s: Script) -> None:
    path = s.text("tmp/a")
    opening = call("path_open", 3, 0, *path, CREATE, FILE, 0, 0, OUT)
    s.times(100_000, f"(if (i32.or {opening} {call('fd_renumber', load(OUT), 0)}) (then unreachable))")
    s.holds(OUT, 4)


@attacks("exit 0", tmp=100_000)
def files_that_are_removed_but_open_still_count(s: Script) -> None:
    fd = s.opens("tmp/a", flags=CREATE)
    s.do("fd_filestat_set_size", fd, 90_000)
    s.do("path_unlink_file", 3, s.text("tmp/a"))
    other = s.opens("tmp/b", flags=CREATE, at=OUT + 4)
    s.do("fd_filestat_set_size", other, 90_000, gives=NOSPC)
    s.do("fd_close", fd)
    s.do("fd_filestat_set_size", other, 90_000)


@attacks("exit 0", tmp=100_000)
def files_that_are_renamed_over_while_open_still_count(s: Script) -> None:
    fd = s.opens("tmp/a", flags=CREATE)
    s.do("fd_filestat_set_size", fd, 90_000)
    s.opens("tmp/b", flags=CREATE, at=OUT + 4)
    s.do("path_rename", 3, s.text("tmp/b"), 3, s.text("tmp/a"))
    s.do("fd_filestat_set_size", load(OUT + 4), 90_000, gives=NOSPC)
    s.do("fd_renumber", load(OUT + 4), fd)
    s.do("fd_filestat_set_size", fd, 90_000)


@attacks()
def rights_that_were_given_up(s: Script) -> None:
    fd = s.opens("tmp/a", flags=CREATE)
    s.vectors(0, s.text("x"))
    s.do("fd_fdstat_set_rights", fd, READ, 0)
    for more in (READ | WRITE, ALL, FAR << 32 | READ, 1 << 63):
        s.do("fd_fdstat_set_rights", fd, more, 0, gives=NOTCAPABLE)
        s.do("fd_fdstat_set_rights", fd, READ, more, gives=NOTCAPABLE)
    s.do("fd_write", fd, 0, 1, 16, gives=(BADF, NOTCAPABLE))
    s.do("fd_filestat_set_size", fd, 5, gives=NOTCAPABLE)
    s.do("fd_renumber", fd, 1)
    s.do("fd_write", 1, 0, 1, 16, gives=(BADF, NOTCAPABLE))


@attacks()
def rights_to_be_had_again_by_opening_it_anew(s: Script) -> None:
    """A directory that passes on only reading gives no way to write, however it is asked."""
    s.opens("tmp/a", flags=CREATE)
    s.do("path_open", 3, 0, s.text("tmp"), DIRECTORY, TREE, READ, 0, OUT)
    narrow = load(OUT)
    s.opens("a", start=narrow, rights=READ | WRITE, at=OUT + 4, gives=NOTCAPABLE)
    s.opens(".", start=narrow, rights=TREE, at=OUT + 4, gives=NOTCAPABLE)
    s.do("path_open", narrow, 0, s.text("a"), 0, READ, READ, 0, OUT + 4)
    s.do("path_open", narrow, 0, s.text("a"), 0, READ, READ | WRITE, 0, OUT + 4, gives=NOTCAPABLE)
    s.do("path_open", 3, 0, s.text("tmp"), DIRECTORY, 0, 0, 0, OUT)
    for name in WITH_FD:
        if name.startswith("path_"):
            s.check(f"(i32.eq {on(name, load(OUT))} (i32.const {NOTCAPABLE}))")


@attacks()
def a_directory_that_is_gone_but_open(s: Script) -> None:
    s.do("path_create_directory", 3, s.text("tmp/d"))
    fd = s.opens_directory("tmp/d")
    s.do("path_remove_directory", 3, s.text("tmp/d"))
    s.do("path_create_directory", fd, s.text("x"), gives=NOENT)
    s.opens("x", start=fd, flags=CREATE, at=OUT + 4, gives=NOENT)
    s.do("path_symlink", s.text("y"), fd, s.text("x"), gives=NOENT)
    s.opens("tmp/f", flags=CREATE, at=OUT + 4)
    s.do("path_link", 3, 0, s.text("tmp/f"), fd, s.text("x"), gives=NOENT)
    s.do("path_rename", 3, s.text("tmp/f"), fd, s.text("x"), gives=NOENT)
    s.do("fd_readdir", fd, 1000, 1000, 0, 16)
    s.do("path_create_directory", 3, s.text("tmp/d"))  # another one, of the same name
    s.do("path_create_directory", fd, s.text("x"), gives=NOENT)
    s.do("fd_filestat_get", fd, 1000)


@attacks()
def results_written_over_the_name_that_is_being_opened(s: Script) -> None:
    s.place(1000, b"tmp/a")
    s.do("path_open", 3, 0, (1000, 5), CREATE, FILE, 0, 0, 1000)
    s.do("fd_filestat_get", load(1000), 1000)
    s.do("path_filestat_get", 3, 0, s.text("tmp/a"), 1000)


def test_a_channel_is_opened_with_the_rights_that_were_asked_for() -> None:
    """A directory that passes on only reading gives no way to write to a named pipe either."""
    kept = StderrSink()
    outputs: dict[bytes, Node] = {b"log": StreamNode(Volume(4), 0, sink=kept)}
    bare = Bare(channels={b"out": outputs})
    code, reading = bare.open(3, b"dev/out/log", 0, READ)
    assert code == 0
    assert bare.write(reading, b"x")[0] in (BADF, NOTCAPABLE)
    code, narrow = bare.open(3, b"dev/out", DIRECTORY, TREE, READ)
    assert bare.open(narrow, b"log", 0, WRITE)[0] == NOTCAPABLE
    code, writing = bare.open(3, b"dev/out/log", 0, WRITE)
    assert code == 0
    assert bare.write(writing, b"x") == (0, 1)
    assert bare.read(writing, 1)[0] in (BADF, NOTCAPABLE)
    assert kept.bytes == 1


@pytest.mark.parametrize("attack", attacks.all, ids=str)
def test_of_descriptors(sandbox: Sandbox, attack: Attack) -> None:
    attack.run(sandbox)
