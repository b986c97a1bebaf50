"""Listings: cookies from nowhere, buffers of every size, directories that change under the reader."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.sandbox.limits import Limits
from tests.sandbox.bare import CREAT, Bare, parse_entries
from tests.sandbox.conftest import Sandbox
from tests.sandbox.hostile.script import (
    BADF,
    CREATE,
    FAR,
    FAULT,
    NOTCAPABLE,
    NOTDIR,
    Attack,
    Attacks,
    Script,
    call,
    load,
)

attacks = Attacks()


def many(s: Script, count: int) -> str:
    """A directory with so many entries, 00 and on."""
    fd = s.opens_directory("tmp")
    for at in range(count):
        s.do("path_create_directory", fd, s.text(f"{at:02}"))
    return fd


@attacks()
def cookies_from_nowhere(s: Script) -> None:
    fd = many(s, 5)
    for cookie in (8, 9, 1000, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1):
        s.do("fd_readdir", fd, 1000, 500, cookie, 16)
        s.holds(16, 0)


@attacks()
def cookies_of_entries_that_are_gone(s: Script) -> None:
    fd = many(s, 5)
    s.do("path_remove_directory", fd, s.text("01"))
    s.do("path_remove_directory", fd, s.text("04"))
    s.do("fd_readdir", fd, 1000, 500, 4, 16)  # 4 was that of 01
    s.holds(16, 2 * 26)
    s.do("fd_readdir", fd, 1000, 500, 7, 16)
    s.holds(16, 0)
    s.do("path_create_directory", fd, s.text("01"))
    s.do("fd_readdir", fd, 1000, 500, 6, 16)  # it has a cookie of its own, behind all others
    s.holds(16, 26)


@attacks()
def cookies_of_another_directory(s: Script) -> None:
    many(s, 20)
    s.do("fd_readdir", 3, 1000, 500, 15, 16)
    s.holds(16, 0)


@attacks()
def buffers_that_are_not_there(s: Script) -> None:
    fd = many(s, 3)
    s.do("fd_readdir", fd, FAR, 100, 0, 16, gives=FAULT)
    s.do("fd_readdir", fd, 1000, FAR, 0, 16, gives=FAULT)
    s.do("fd_readdir", fd, 131_072 - 10, 11, 0, 16, gives=FAULT)
    s.do("fd_readdir", fd, 131_072 - 10, 10, 0, 16)
    s.holds(16, 10)
    s.do("fd_readdir", fd, 1000, 100, 0, FAR, gives=FAULT)
    s.do("fd_readdir", fd, 131_072, 0, 0, 16)
    s.holds(16, 0)


@attacks()
def a_listing_over_its_own_length(s: Script) -> None:
    fd = many(s, 3)
    s.do("fd_readdir", fd, 1000, 500, 0, 1010)
    s.holds(1010, 24 + 1 + 24 + 2 + 3 * 26)


@attacks()
def a_listing_of_what_is_no_directory(s: Script) -> None:
    fd = s.opens("tmp/f", flags=CREATE)
    for number in (0, 1, 2, fd):
        s.do("fd_readdir", number, 1000, 500, 0, 16, gives=(NOTDIR, BADF, NOTCAPABLE))
    s.do("fd_readdir", 77, 1000, 500, 0, 16, gives=BADF)


@attacks("exit 0", tmp_files=10_000)
def ten_thousand_entries_removed_while_they_are_listed(s: Script) -> None:
    """As `rm -r` does it: a page is read, what it names is removed, and the next is read behind it."""
    fd = s.opens_directory("tmp")
    s.place(1000, b"0000")
    digits = "".join(
        f"(i32.store8 (i32.const {1000 + place}) (i32.add (i32.const 48) (i32.and (i32.shr_u (local.get $n) (i32.const "
        f"{4 * place})) (i32.const 15))))"
        for place in range(4)
    )
    s.times(10_000, digits + f"(if {call('path_create_directory', fd, 1000, 4)} (then unreachable))")
    s.locals += "(local $cookie i64) (local $at i32) (local $end i32) (local $gone i32)"
    s.raw("(local.set $cookie (i64.const 2))")
    listing = call("fd_readdir", fd, 2000, 4096, "(local.get $cookie)", 16)
    s.raw(f"""
      (loop $page
        (if {listing} (then unreachable))
        (local.set $at (i32.const 2000))
        (local.set $end (i32.add (i32.const 2000) {load(16)}))
        (block $out (loop $entry
          (br_if $out (i32.gt_u (i32.add (local.get $at) (i32.const 28)) (local.get $end)))
          (local.set $cookie (i64.load (local.get $at)))
          (if {call("path_remove_directory", fd, "(i32.add (local.get $at) (i32.const 24))", 4)} (then unreachable))
          (local.set $gone (i32.add (local.get $gone) (i32.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const 28)))
          (br $entry)))
        (br_if $page (i32.eq {load(16)} (i32.const 4096))))""")
    s.check("(i32.eq (local.get $gone) (i32.const 10000))")


names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(names=st.sets(names, max_size=30), sizes=st.lists(st.integers(0, 400), min_size=1, max_size=20))
def test_buffers_of_any_sizes_give_every_entry_once(names: set[str], sizes: list[int]) -> None:
    """However the buffers are sized, and wherever an entry is cut; one too small for an entry is cut at its end too."""
    kept = {name.encode() for name in names if len(name.encode()) < 256 and name not in (".", "..")}
    bare = Bare(Limits())
    _, fd = bare.opendir(3, b"tmp")
    for name in kept:
        assert bare.open(fd, name, CREAT)[0] == 0
    found: list[bytes] = []
    cookie, turn = 0, 0
    while True:
        room = sizes[turn % len(sizes)] if turn % 2 else 400  # an entry takes at most 24 + 255: some progress is made
        turn += 1
        code, data = bare.readdir(fd, cookie, room)
        assert code == 0
        assert len(data) <= room
        entries = parse_entries(data)
        found += [name for _, _, _, name in entries]
        if entries:
            cookie = entries[-1][0]
        if len(data) < room:
            break
    assert sorted(found) == sorted([b".", b"..", *kept])


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("+-?"), st.integers(0, 12)), max_size=40))
def test_what_stays_is_listed_once_whatever_comes_and_goes_meanwhile(steps: list[tuple[str, int]]) -> None:
    bare = Bare(Limits())
    _, fd = bare.opendir(3, b"tmp")
    stays = {b"stays%d" % at for at in range(8)}
    for name in stays:
        bare.mkdir(fd, name)
    seen: list[bytes] = []
    cookie = 0
    for what, number in [*steps, *[("?", 0)] * 60]:
        if what == "+":
            bare.mkdir(fd, b"comes%d" % number)
        elif what == "-":
            bare.rmdir(fd, b"comes%d" % number)
        else:
            entries = parse_entries(bare.readdir(fd, cookie, 60)[1])
            seen += [name for _, _, _, name in entries]
            cookie = entries[-1][0] if entries else cookie
    assert sorted(name for name in seen if name in stays) == sorted(stays)


@pytest.mark.parametrize("attack", attacks.all, ids=str)
def test_of_listings(sandbox: Sandbox, attack: Attack) -> None:
    attack.run(sandbox)
