"""Names: ways out of the tree, links that lead round, bytes that are no names, trees that are too deep or too wide."""

import pytest

from tests.sandbox.conftest import Sandbox
from tests.sandbox.hostile.script import (
    ALL,
    BUSY,
    CREATE,
    DIRECTORY,
    EXCLUSIVE,
    EXIST,
    FAR,
    ILSEQ,
    INVAL,
    ISDIR,
    LOOP,
    MLINK,
    NAMETOOLONG,
    NOENT,
    NOSPC,
    NOTEMPTY,
    OUT,
    PERM,
    READ,
    ROFS,
    SUCCESS,
    TREE,
    TRUNCATE,
    WRITE,
    XDEV,
    Attack,
    Attacks,
    Script,
    call,
    load,
)

attacks = Attacks()

OUTWARD = (
    "..", "../", "../..", "./..", ".//..//", "../etc/passwd", "tmp/../..", "tmp/../../etc", "tmp/./../../tmp",
    "tmp/d/../../..", "tmp/d/../../../tmp", "../tmp", "..//tmp/d", "tmp/d/..//..//..",
)  # fmt: skip


def refuses_all(s: Script, path: str, start: str | int, gives: int) -> None:
    """Every path_ function, about `path`, gives this."""
    p = s.text(path)
    s.do("path_open", start, 0, p, 0, READ, 0, 0, OUT + 32, gives=gives)
    s.do("path_open", start, 1, p, DIRECTORY, 0, 0, 0, OUT + 32, gives=gives)
    s.do("path_open", start, 1, p, CREATE, WRITE, 0, 0, OUT + 32, gives=gives)
    s.do("path_create_directory", start, p, gives=gives)
    s.do("path_remove_directory", start, p, gives=gives)
    s.do("path_unlink_file", start, p, gives=gives)
    s.do("path_filestat_get", start, 0, p, 1000, gives=gives)
    s.do("path_filestat_get", start, 1, p, 1000, gives=gives)
    s.do("path_filestat_set_times", start, 1, p, 1, 1, 5, gives=gives)
    s.do("path_readlink", start, p, 1000, 100, 16, gives=gives)
    s.do("path_symlink", s.text("x"), start, p, gives=gives)
    s.do("path_link", start, 0, p, start, s.text("x"), gives=gives)
    s.do("path_link", start, 0, s.text("f"), start, p, gives=gives)
    s.do("path_rename", start, p, start, s.text("x"), gives=gives)
    s.do("path_rename", start, s.text("f"), start, p, gives=gives)


@attacks()
def upwards_from_the_root(s: Script) -> None:
    s.do("path_create_directory", 3, s.text("tmp/d"))
    s.do("path_symlink", s.text("x"), 3, s.text("tmp/f"))
    for path in OUTWARD:
        s.do("path_open", 3, 1, s.text(path), 0, READ, 0, 0, OUT, gives=PERM)
        s.do("path_filestat_get", 3, 1, s.text(path), 1000, gives=PERM)


@attacks()
def upwards_from_a_directory_by_every_function(s: Script) -> None:
    """Also within the tree: a descriptor gives a right to what is below it."""
    s.do("path_create_directory", 3, s.text("tmp/d"))
    fd = s.opens_directory("tmp/d")
    s.opens("f", start=fd, flags=CREATE, at=OUT + 4)
    for path in ("..", "../d", "../d/f", "./../../tmp"):
        refuses_all(s, path, fd, PERM)


@attacks()
def absolute_paths_by_every_function(s: Script) -> None:
    fd = s.opens_directory("tmp")
    s.opens("f", start=fd, flags=CREATE, at=OUT + 4)
    for path in ("/", "//", "/tmp", "/etc/passwd", "/../tmp", "/proc/self/fd/0"):
        refuses_all(s, path, fd, PERM)
    s.do("path_symlink", s.text("/etc/passwd"), fd, s.text("l"), gives=PERM)
    s.do("path_symlink", s.text("/"), fd, s.text("l"), gives=PERM)


@attacks()
def nothing_of_the_host_has_a_letters(s: Script) -> None:
    for path in ("etc", "etc/passwd", "proc", "proc/self/environ", "dev/null", "home", "root", "sys", "tmp/.X11-unix"):
        s.do("path_open", 3, 1, s.text(path), 0, READ, 0, 0, OUT, gives=NOENT)


@attacks()
def links_that_lead_upwards(s: Script) -> None:
    s.do("path_create_directory", 3, s.text("tmp/d"))
    fd = s.opens_directory("tmp/d")
    for at, target in enumerate(("..", "../..", "../../..", "../d/../..", "a/../..", "./../x", "../../../../etc")):
        s.do("path_symlink", s.text(target), fd, s.text(f"l{at}"))
        s.do("path_filestat_get", fd, 1, s.text(f"l{at}"), 1000, gives=(PERM, NOENT))
        s.do("path_open", fd, 0, s.text(f"l{at}/x"), CREATE, WRITE, 0, 0, OUT + 4, gives=(PERM, NOENT))
        s.do("path_create_directory", fd, s.text(f"l{at}/x"), gives=(PERM, NOENT))
    s.do("path_symlink", s.text("l0"), fd, s.text("chain"))
    s.do("path_create_directory", fd, s.text("chain/x"), gives=PERM)
    s.do("path_symlink", s.text("chain/l0/l0"), fd, s.text("chain2"))
    s.do("path_create_directory", fd, s.text("chain2/x"), gives=PERM)
    s.do("path_filestat_get", 3, 0, s.text("tmp/x"), 1000, gives=NOENT)
    s.do("path_filestat_get", 3, 1, s.text("tmp/d/l0/d/l0"), 1000)  # the same from above stays inside: it may
    s.do("path_filestat_get", 3, 1, s.text("tmp/d/l1/../.."), 1000, gives=PERM)


@attacks()
def links_that_lead_round(s: Script) -> None:
    fd = s.opens_directory("tmp")
    s.do("path_symlink", s.text("self"), fd, s.text("self"))
    s.do("path_symlink", s.text("b"), fd, s.text("a"))
    s.do("path_symlink", s.text("a"), fd, s.text("b"))
    s.do("path_symlink", s.text("deep/x"), fd, s.text("deep"))
    s.do("path_symlink", s.text("./wide/../wide"), fd, s.text("wide"))
    for name in ("self", "a", "b", "deep", "wide"):
        for path in (name, f"{name}/", f"{name}/x", f"{name}/.", f"{name}/..", f"./{name}/{name}"):
            s.do("path_filestat_get", fd, 1, s.text(path), 1000, gives=LOOP)
            s.do("path_open", fd, 1, s.text(path), CREATE, WRITE, 0, 0, OUT + 4, gives=(LOOP, ISDIR))
        s.do("path_create_directory", fd, s.text(f"{name}/x"), gives=LOOP)
        s.do("path_rename", fd, s.text(f"{name}/x"), fd, s.text("y"), gives=LOOP)
        s.do("path_link", fd, 1, s.text(name), fd, s.text("y"), gives=LOOP)
    for name in ("self", "a", "b", "deep", "wide"):
        s.do("path_unlink_file", fd, s.text(name))


def letters(value: str, at: int) -> str:
    """Wat that writes a number as four letters to `at`."""
    return "".join(
        f"(i32.store8 (i32.const {at + place}) (i32.add (i32.const 97) (i32.rem_u (i32.div_u {value} (i32.const "
        f"{26**place})) (i32.const 26))))"
        for place in range(4)
    )


@attacks()
def a_chain_of_ten_thousand_links(s: Script) -> None:
    """Link n leads to link n - 1, their names are four letters: 40 are followed, and no more."""
    fd = s.opens_directory("tmp")
    s.do("path_create_directory", fd, s.text("aaaa"))
    s.raw("(local.set $n (i32.const 0))")
    body = letters("(local.get $n)", 100) + letters("(i32.add (local.get $n) (i32.const 1))", 200)
    s.times(9_900, body + f"(if {call('path_symlink', 100, 4, fd, 200, 4)} (then unreachable))")
    s.do("path_filestat_get", fd, 1, (200, 4), 1000, gives=LOOP)
    s.raw(letters("(i32.const 40)", 200))
    s.do("path_filestat_get", fd, 1, (200, 4), 1000)
    s.raw(letters("(i32.const 41)", 200))
    s.do("path_filestat_get", fd, 1, (200, 4), 1000, gives=LOOP)


NO_NAMES: dict[bytes, int] = {
    b"\0": INVAL, b"a\0b": INVAL, b"a/b\0": INVAL, b"tmp/\0": INVAL, b"\xff": ILSEQ, b"tmp/\xc3": ILSEQ,
    b"tmp/\xc0\xaf..": ILSEQ, b"\xed\xa0\x80": ILSEQ, b"\xf4\x90\x80\x80": ILSEQ, b"\xe2\x82": ILSEQ, b"": NOENT,
}  # fmt: skip


@attacks()
def names_that_are_none(s: Script) -> None:
    """NUL, bytes that are no UTF-8 (a slash written long among them), nothing at all."""
    fd = s.opens_directory("tmp")
    for name, gives in NO_NAMES.items():
        p = s.text(name)
        s.do("path_open", 3, 0, p, CREATE, WRITE, 0, 0, OUT + 4, gives=gives)
        s.do("path_create_directory", fd, p, gives=gives)
        s.do("path_symlink", s.text("x"), fd, p, gives=gives)
        s.do("path_symlink", p, fd, s.text("x"), gives=gives)
        s.do("path_unlink_file", fd, p, gives=gives)
        s.do("path_rename", fd, p, fd, s.text("x"), gives=gives)
        s.do("path_link", fd, 0, p, fd, s.text("x"), gives=gives)
        s.do("path_readlink", fd, p, 1000, 10, 16, gives=gives)


@attacks()
def names_of_every_awkward_length(s: Script) -> None:
    fd = s.opens_directory("tmp")
    for length, gives in ((1, SUCCESS), (254, SUCCESS), (255, SUCCESS), (256, NAMETOOLONG), (4096, NAMETOOLONG)):
        s.do("path_create_directory", fd, s.text("n" * length), gives=gives)
    s.do("path_create_directory", fd, s.text("é" * 128), gives=NAMETOOLONG)  # 256 bytes
    s.do("path_filestat_get", fd, 0, s.text("./" * 2047 + "n/"), 1000)  # 4,096 bytes
    s.do("path_filestat_get", fd, 0, s.text("./" * 2048 + "n"), 1000, gives=NAMETOOLONG)
    s.do("path_symlink", s.text("./" * 2048), fd, s.text("l"))
    s.do("path_symlink", s.text("./" * 2048 + "."), fd, s.text("m"), gives=NAMETOOLONG)
    for length in (4097, 65_536, 0x7FFFFFFF, 0x80000000, FAR):
        s.do("path_filestat_get", fd, 0, 0, length, 1000, gives=NAMETOOLONG)
        s.do("path_rename", fd, s.text("n"), fd, 0, length, gives=NAMETOOLONG)


@attacks("exit 0", tmp_files=12_000)
def directories_ten_thousand_deep(s: Script) -> None:
    """No path reaches so far down: it goes there descriptor by descriptor, and up again none leads."""
    d = s.text("d")
    s.opens_directory("tmp", at=OUT)
    step = (
        f"(if {call('path_create_directory', load(OUT), *d)} (then unreachable))"
        f"(if {call('path_open', load(OUT), 0, *d, DIRECTORY, TREE, ALL, 0, OUT + 4)} (then unreachable))"
        f"(if {call('fd_close', load(OUT))} (then unreachable))"
        f"(i32.store (i32.const {OUT}) {load(OUT + 4)})"
    )
    s.times(10_000, step)
    s.do("path_create_directory", load(OUT), s.text("../x"), gives=PERM)
    s.do("path_rename", 3, s.text("tmp/d"), load(OUT), s.text("x"), gives=INVAL)  # into its own depth
    s.do("path_rename", 3, s.text("tmp/d"), 3, s.text("tmp/e"))
    s.do("path_filestat_get", 3, 0, s.text("tmp/e/d" + "/d" * 2040), 1000)


@attacks()
def directories_moved_into_themselves(s: Script) -> None:
    for path in ("tmp/a", "tmp/a/b", "tmp/a/b/c", "tmp/z"):
        s.do("path_create_directory", 3, s.text(path))
    s.do("path_rename", 3, s.text("tmp/a"), 3, s.text("tmp/a/"))  # where it is already
    for to in ("tmp/a/x", "tmp/a/b/x", "tmp/a/b/c", "tmp/a/b/c/x", "tmp/./a/../a/b/x"):
        s.do(
            "path_rename",
            3,
            s.text("tmp/a"),
            3,
            s.text(to),
            gives=INVAL,
        )
    s.do("path_rename", 3, s.text("tmp/a/b/c"), 3, s.text("tmp/a"), gives=NOTEMPTY)
    s.do("path_rename", 3, s.text("tmp/a"), 3, s.text("tmp"), gives=(BUSY, NOTEMPTY, ROFS))
    s.do("path_rename", 3, s.text("tmp/a/.."), 3, s.text("tmp/x"), gives=(BUSY, INVAL))
    s.do("path_rename", 3, s.text("."), 3, s.text("tmp/x"), gives=(BUSY, INVAL))
    inner = s.opens_directory("tmp/a/b/c")
    s.do("path_rename", 3, s.text("tmp/a"), inner, s.text("x"), gives=INVAL)
    s.do("path_filestat_get", 3, 0, s.text("tmp/a/b/c"), 1000)


@attacks()
def directories_moved_from_under_an_open_one(s: Script) -> None:
    """Wherever the one above it goes, ".." of the open one stays a way out."""
    for path in ("tmp/a", "tmp/a/b", "tmp/z"):
        s.do("path_create_directory", 3, s.text(path))
    b = s.opens_directory("tmp/a/b")
    for before, after in (("tmp/a", "tmp/z/a"), ("tmp/z/a/b", "tmp/b"), ("tmp/b", "tmp/z/b"), ("tmp/z/b", "tmp/q")):
        s.do("path_rename", 3, s.text(before), 3, s.text(after))
        s.do("path_create_directory", b, s.text("../x"), gives=PERM)
        s.do("path_open", b, 0, s.text(".."), DIRECTORY, TREE, 0, 0, OUT + 4, gives=PERM)
        s.do("path_filestat_get", b, 1, s.text("./"), 1000)
    s.opens("f", start=b, flags=CREATE, at=OUT + 4)
    s.do("path_filestat_get", 3, 0, s.text("tmp/q/f"), 1000)


@attacks()
def the_places_where_something_is_mounted(s: Script) -> None:
    s.do("path_remove_directory", 3, s.text("tmp"), gives=(BUSY, ROFS))
    s.do("path_unlink_file", 3, s.text("tmp"), gives=ISDIR)
    s.do("path_rename", 3, s.text("tmp"), 3, s.text("other"), gives=(BUSY, ROFS))
    s.do("path_create_directory", 3, s.text("tmp/d"))
    s.do("path_rename", 3, s.text("tmp/d"), 3, s.text("tmp"), gives=(BUSY, ROFS, NOTEMPTY))
    s.do("path_rename", 3, s.text("tmp/d"), 3, s.text("d"), gives=(ROFS, XDEV))
    s.do("path_create_directory", 3, s.text("d"), gives=ROFS)
    s.do("path_symlink", s.text("tmp"), 3, s.text("l"), gives=ROFS)
    s.do("path_open", 3, 0, s.text("f"), CREATE, WRITE, 0, 0, OUT, gives=ROFS)
    s.opens("tmp/f", flags=CREATE)
    s.do("path_link", 3, 0, s.text("tmp/f"), 3, s.text("f"), gives=(ROFS, XDEV))
    s.do("path_filestat_set_times", 3, 0, s.text("."), 1, 1, 5, gives=ROFS)
    s.do("fd_filestat_set_times", 3, 1, 1, 5, gives=ROFS)


@attacks()
def a_link_in_the_place_of_a_file_to_be_made(s: Script) -> None:
    fd = s.opens_directory("tmp")
    s.do("path_symlink", s.text("../../x"), fd, s.text("out"))
    s.do("path_symlink", s.text("in"), fd, s.text("l"))
    s.do("path_open", fd, 1, s.text("out"), CREATE, WRITE, 0, 0, OUT + 4, gives=PERM)
    s.do("path_open", fd, 1, s.text("out"), CREATE | TRUNCATE, WRITE, 0, 0, OUT + 4, gives=PERM)
    s.do("path_open", fd, 1, s.text("l"), CREATE | EXCLUSIVE, WRITE, 0, 0, OUT + 4, gives=EXIST)
    s.do("path_open", fd, 0, s.text("l"), CREATE, WRITE, 0, 0, OUT + 4, gives=LOOP)
    s.do("path_filestat_get", fd, 0, s.text("in"), 1000, gives=NOENT)
    s.do("path_open", fd, 1, s.text("l"), CREATE, WRITE, 0, 0, OUT + 4)
    s.do("path_filestat_get", fd, 0, s.text("in"), 1000)


@attacks("exit 0", tmp_files=66_000, tmp=1 << 24)
def names_of_one_file_without_end(s: Script) -> None:
    s.opens("tmp/f", flags=CREATE)
    s.place(1000, b"tmp/0000")
    digits = "".join(
        f"(i32.store8 (i32.const {1004 + place}) (i32.add (i32.const 48) (i32.and (i32.shr_u (local.get $n) (i32.const "
        f"{4 * place})) (i32.const 15))))"
        for place in range(4)
    )
    s.times(64_999, digits + f"(if {call('path_link', 3, 0, *s.text('tmp/f'), 3, 1000, 8)} (then unreachable))")
    s.do("path_link", 3, 0, s.text("tmp/f"), 3, s.text("tmp/more"), gives=MLINK)
    s.do("fd_filestat_get", load(OUT), 2000)
    s.holds(2024, 65_000)


@attacks("exit 0", tmp_files=5)
def files_without_end(s: Script) -> None:
    for at in range(5):
        s.do("path_create_directory", 3, s.text(f"tmp/{at}"))
    s.do("path_create_directory", 3, s.text("tmp/5"), gives=NOSPC)
    s.opens("tmp/5", flags=CREATE, gives=NOSPC)
    s.do("path_symlink", s.text("x"), 3, s.text("tmp/5"), gives=NOSPC)
    s.do("path_rename", 3, s.text("tmp/0"), 3, s.text("tmp/5"))
    s.do("path_remove_directory", 3, s.text("tmp/5"))
    s.do("path_symlink", s.text("x"), 3, s.text("tmp/5"))
    s.do("path_link", 3, 0, s.text("tmp/5"), 3, s.text("tmp/6"), gives=NOSPC)


@attacks("exit 0", tmp=1000)
def names_and_targets_count_as_bytes(s: Script) -> None:
    fd = s.opens_directory("tmp")
    s.do("path_symlink", s.text("t" * 700), fd, s.text("l"))
    s.do("path_symlink", s.text("t" * 700), fd, s.text("m"), gives=NOSPC)
    s.do("path_create_directory", fd, s.text("n" * 200), gives=NOSPC)
    s.do("path_rename", fd, s.text("l"), fd, s.text("n" * 250), gives=NOSPC)
    s.do("path_filestat_get", fd, 0, s.text("l"), 1000)
    s.do("path_unlink_file", fd, s.text("l"))
    s.do("path_create_directory", fd, s.text("n" * 200))


@pytest.mark.parametrize("attack", attacks.all, ids=str)
def test_of_paths(sandbox: Sandbox, attack: Attack) -> None:
    attack.run(sandbox)
