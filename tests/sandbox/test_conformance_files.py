"""Preview1's files and directories by their descriptors: offsets, sizes, times, flags, names of one file, cookies."""

import struct
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.sandbox.guests import Calls, vectors
from tests.sandbox.scene import (
    APPEND,
    ATIM,
    ATIM_NOW,
    BADF,
    CREATE,
    CURRENT,
    DIRECTORY,
    END,
    EXIST,
    FILE,
    FIRST,
    FOLLOW,
    INVAL,
    IS_DIRECTORY,
    IS_FILE,
    IS_LINK,
    MTIM,
    MTIM_NOW,
    NOENT,
    NOTCAPABLE,
    NOTDIR,
    OK,
    READ,
    RESULT,
    ROFS,
    ROOM,
    ROOT,
    SET,
    TRUNCATE,
    WRITE,
    Scene,
    Step,
    Text,
    filestat,
    link,
    mkdir,
    opened,
    rename,
    rights,
    rmdir,
    stat,
    symlink,
    unlink,
)


def test_names_of_one_file(scene: Scene) -> None:
    calls = scene.play(
        link("file", "dir/other"),
        opened("dir/other", 0, FILE),
        ("fd_filestat_get", FIRST, ROOM),
        stat("file", ROOM + 64),
        stat("link", ROOM + 128),
        stat("link", ROOM + 192, FOLLOW),
        unlink("file"),
        stat("dir/other", ROOM + 256),
        stat("dir", ROOM + 320),
    )
    assert calls.errnos == [OK] * 9
    one = filestat(calls, ROOM)
    assert one[2:5] == (IS_FILE, 2, 10)
    assert one == filestat(calls, ROOM + 64) == filestat(calls, ROOM + 192)
    itself = filestat(calls, ROOM + 128)
    assert itself[2:5] == (IS_LINK, 1, len("file"))
    assert itself[1] != one[1]
    left = filestat(calls, ROOM + 256)
    assert left[:5] == (one[0], one[1], IS_FILE, 1, 10)
    assert filestat(calls, ROOM + 320)[2] == IS_DIRECTORY
    assert filestat(calls, ROOM + 320)[0] == one[0]
    assert 0 not in (one[1], itself[1], filestat(calls, ROOM + 320)[1])


def test_times_are_set_to_the_nanosecond_and_each_alone(scene: Scene) -> None:
    def times(path: str, atim: int, mtim: int, flags: int, follow: int = 0) -> Step:
        return ("path_filestat_set_times", ROOT, follow, Text(path), atim, mtim, flags)

    calls = scene.play(
        stat("file", ROOM),
        times("file", 11, 1_234_567_890_123_456_789, MTIM),
        stat("file", ROOM + 64),
        times("link", 22, 33, ATIM | MTIM),
        stat("link", ROOM + 128),
        stat("file", ROOM + 192),
        times("link", 44, 55, ATIM | MTIM, FOLLOW),
        stat("file", ROOM + 256),
        times("file", 0, 0, MTIM | MTIM_NOW),
        times("file", 0, 0, ATIM | ATIM_NOW),
        times("file", 0, 0, 16),
        stat("file", ROOM + 320),
        times("file", 0, 0, ATIM_NOW | MTIM_NOW),
        stat("file", ROOM + 384),
    )
    assert calls.errnos == [OK, OK, OK, OK, OK, OK, OK, OK, INVAL, INVAL, INVAL, OK, OK, OK]
    before = filestat(calls, ROOM)
    assert filestat(calls, ROOM + 64)[5:7] == (before[5], 1_234_567_890_123_456_789)
    assert filestat(calls, ROOM + 128)[5:7] == (22, 33)
    assert filestat(calls, ROOM + 192)[5:7] == (before[5], 1_234_567_890_123_456_789)
    assert filestat(calls, ROOM + 256)[5:7] == filestat(calls, ROOM + 320)[5:7] == (44, 55)
    now = filestat(calls, ROOM + 384)
    assert now[5] == now[6] > 1_600_000_000 * 10**9


def test_the_same_by_a_descriptor(scene: Scene) -> None:
    calls = scene.play(
        opened("file", 0, FILE),
        ("fd_filestat_set_times", FIRST, 7, 8, ATIM),
        ("fd_filestat_set_times", FIRST, 7, 8, MTIM),
        ("fd_filestat_set_times", FIRST, 9, 9, MTIM | MTIM_NOW),
        ("fd_filestat_get", FIRST, ROOM),
    )
    assert calls.errnos == [OK, OK, OK, INVAL, OK]
    assert filestat(calls, ROOM)[5:7] == (7, 8)


def test_offsets(scene: Scene) -> None:
    """Reads and writes move it, pread and pwrite do not; before the beginning there is nothing."""
    data, iov, at = ROOM + 256, ROOM, ROOM + 512
    calls = scene.play(
        opened("file", 0, FILE),
        ("fd_read", FIRST, iov, 1, RESULT),
        ("fd_tell", FIRST, at),
        ("fd_pread", FIRST, iov, 1, 8, at + 8),
        ("fd_tell", FIRST, at + 16),
        ("fd_seek", FIRST, -2, CURRENT, at + 24),
        ("fd_seek", FIRST, -3, CURRENT, RESULT),
        ("fd_seek", FIRST, 0, 3, RESULT),
        ("fd_tell", FIRST, at + 32),
        ("fd_seek", FIRST, 40, END, at + 40),
        ("fd_write", FIRST, iov, 0, RESULT),
        ("fd_filestat_get", FIRST, at + 64),
        ("fd_write", FIRST, iov, 1, RESULT),
        ("fd_filestat_get", FIRST, at + 128),
        ("fd_pread", FIRST, iov, 1, 1000, at + 48),
        image=vectors((data, 4)),
    )
    assert calls.errnos == [OK] * 6 + [INVAL, INVAL] + [OK] * 7
    assert calls.u64(at) == 4
    assert calls.u32(at + 8) == 2
    assert calls.u64(at + 16) == 4
    assert calls.u64(at + 24) == calls.u64(at + 32) == 2
    assert calls.u64(at + 40) == 50
    assert filestat(calls, at + 64)[4] == 10, "a write of nothing grew the file"
    assert filestat(calls, at + 128)[4] == 54
    assert calls.u32(at + 48) == 0
    assert calls.memory[data : data + 4] == b"8923"


def test_several_vectors_fill_in_order(scene: Scene) -> None:
    data = ROOM + 256
    image = vectors((data + 4, 2), (data, 0), (data, 3), (data + 8, 100))
    calls = scene.play(opened("file", 0, FILE), ("fd_read", FIRST, ROOM, 4, ROOM + 128), image=image)
    assert calls.errnos == [OK, OK]
    assert calls.u32(ROOM + 128) == 10
    assert calls.memory[data : data + 13] == b"234\x0001\0\x0056789"


def test_append(scene: Scene) -> None:
    """What is written goes to the end, wherever one is, until the flag is taken away; pwrite too, as on Linux."""
    data, at = ROOM + 256, ROOM + 512
    calls = scene.play(
        opened("file", 0, FILE, fdflags=APPEND),
        ("fd_write", FIRST, ROOM, 1, RESULT),
        ("fd_tell", FIRST, at),
        ("fd_seek", FIRST, 0, SET, RESULT),
        ("fd_write", FIRST, ROOM, 1, RESULT),
        ("fd_tell", FIRST, at + 8),
        ("fd_pwrite", FIRST, ROOM, 1, 0, RESULT),
        ("fd_tell", FIRST, at + 16),
        ("fd_filestat_get", FIRST, at + 64),
        ("fd_fdstat_set_flags", FIRST, 0),
        ("fd_seek", FIRST, 0, SET, RESULT),
        ("fd_write", FIRST, ROOM, 1, RESULT),
        ("fd_pread", FIRST, ROOM + 8, 1, 0, at + 24),
        image=vectors((data, 2), (data + 16, 64)) + bytes(256 - 16) + b"ab",
    )
    assert calls.errnos == [OK] * 13
    assert [calls.u64(at + step) for step in (0, 8, 16)] == [12, 14, 14]
    assert filestat(calls, at + 64)[4] == 16
    assert calls.memory[data + 16 : data + 16 + calls.u32(at + 24)] == b"ab23456789ababab"


def test_sizes(scene: Scene) -> None:
    """Growing fills with noughts, also what was cut off before; allocating never shrinks."""
    at, data = ROOM + 64, ROOM + 512
    calls = scene.play(
        opened("file", 0, FILE),
        ("fd_filestat_set_size", FIRST, 4),
        ("fd_filestat_set_size", FIRST, 8),
        ("fd_pread", FIRST, ROOM, 1, 0, RESULT),
        ("fd_allocate", FIRST, 2, 2),
        ("fd_filestat_get", FIRST, at),
        ("fd_allocate", FIRST, 6, 10),
        ("fd_filestat_get", FIRST, at + 64),
        ("fd_advise", FIRST, 100, 100, 3),
        ("fd_filestat_get", FIRST, at + 128),
        opened("file", TRUNCATE),
        ("fd_filestat_get", FIRST, at + 192),
        image=vectors((data, 64)) + bytes(504) + b"\xff" * 64,
    )
    assert calls.errnos == [OK] * 12
    assert [filestat(calls, at + step)[4] for step in (0, 64, 128, 192)] == [8, 16, 16, 0]
    assert calls.memory[data : data + 9] == b"0123\0\0\0\0\xff"


def test_two_descriptors_see_each_others_writes(scene: Scene) -> None:
    calls = scene.play(
        opened("new", CREATE, READ),
        opened("new", 0, WRITE),
        ("fd_read", FIRST, ROOM, 1, ROOM + 32),
        ("fd_write", FIRST + 1, ROOM, 1, RESULT),
        ("fd_read", FIRST, ROOM + 8, 1, ROOM + 36),
        image=vectors((ROOM + 64, 3), (ROOM + 96, 8)) + bytes(48) + b"xyz",
    )
    assert calls.errnos == [OK] * 5
    assert (calls.u32(ROOM + 32), calls.u32(ROOM + 36)) == (0, 3)
    assert calls.memory[ROOM + 96 : ROOM + 99] == b"xyz"


def entries(data: bytes) -> list[tuple[int, int, int, str]]:
    """(cookie, inode, type, name) of every entry that is there whole."""
    found, at = [], 0
    while at + 24 <= len(data):
        cookie, inode, length, kind = struct.unpack_from("<QQIB", data, at)
        if at + 24 + length > len(data):
            break
        found.append((cookie, inode, kind, data[at + 24 : at + 24 + length].decode()))
        at += 24 + length
    return found


def listing(calls: Calls, at: int, used: int) -> list[tuple[int, int, int, str]]:
    return entries(calls.memory[at : at + calls.u32(used)])


def test_an_empty_directory_has_itself_and_its_parent(scene: Scene) -> None:
    calls = scene.play(
        opened("dir", DIRECTORY, rights("fd_readdir", "fd_filestat_get")),
        ("fd_readdir", FIRST, ROOM + 256, 512, 0, ROOM),
        ("fd_filestat_get", FIRST, ROOM + 64),
        stat(".", ROOM + 128),
    )
    assert calls.errnos == [OK] * 4
    found = listing(calls, ROOM + 256, ROOM)
    assert sorted(entry[3] for entry in found) == [".", ".."]
    inodes = {name: inode for _, inode, _, name in found}
    assert inodes == {".": filestat(calls, ROOM + 64)[1], "..": filestat(calls, ROOM + 128)[1]}
    assert {kind for _, _, kind, _ in found} == {IS_DIRECTORY}


def test_a_cookie_goes_on_behind_its_entry(scene: Scene) -> None:
    whole = scene.play(("fd_readdir", ROOT, ROOM, 1024, 0, 8))
    found = listing(whole, ROOM, 8)
    names = [name for _, _, _, name in found]
    assert sorted(names) == [".", "..", "dangling", "dir", "dirlink", "file", "full", "link", "loop", "out"]
    kinds = {name: kind for _, _, kind, name in found}
    assert (kinds["file"], kinds["dir"], kinds["link"]) == (IS_FILE, IS_DIRECTORY, IS_LINK)
    for place, (cookie, _, _, _) in enumerate(found):
        rest = scene.play(("fd_readdir", ROOT, ROOM, 1024, cookie, 8))
        assert [name for _, _, _, name in listing(rest, ROOM, 8)] == names[place + 1 :]


def test_cookies_hold_while_the_directory_changes(scene: Scene) -> None:
    """What was there all the time is listed once, whatever is made and removed between two calls."""
    first = scene.play(("fd_readdir", ROOT, ROOM, 1024, 0, 8))
    found = listing(first, ROOM, 8)
    cookie, _, _, last_seen = found[4]
    gone = next(name for _, _, kind, name in found[2:5] if kind == IS_LINK)
    calls = scene.play(unlink(gone), opened("zzz", CREATE), ("fd_readdir", ROOT, ROOM, 1024, cookie, 8))
    assert calls.errnos == [OK] * 3
    rest = [name for _, _, _, name in listing(calls, ROOM, 8)]
    assert last_seen not in rest
    assert [name for name in rest if name != "zzz"] == [name for _, _, _, name in found[5:]]


@pytest.mark.parametrize("room", [0, 1, 23, 24, 25, 30, 52, 64])
def test_a_small_buffer_is_filled_to_its_last_byte(scene: Scene, room: int) -> None:
    whole = scene.play(("fd_readdir", ROOT, ROOM, 1024, 0, 8))
    calls = scene.play(("fd_readdir", ROOT, ROOM, room, 0, 8), image=b"\xee" * 128)
    assert calls.errnos == [OK]
    assert calls.u32(8) == room
    assert calls.memory[ROOM : ROOM + room] == whole.memory[ROOM : ROOM + room]
    assert calls.memory[ROOM + room : ROOM + 128] == b"\xee" * (128 - room)


@pytest.mark.parametrize("room", [0, 1, 3, 4, 5, 100])
def test_readlink_gives_what_fits(scene: Scene, room: int) -> None:
    calls = scene.play(("path_readlink", ROOT, Text("link"), ROOM, room, 8), image=b"\xee" * 128)
    assert calls.errnos == [OK]
    expected = b"file"[:room]
    assert calls.u32(8) == len(expected)
    assert calls.memory[ROOM : ROOM + 128] == expected.ljust(128, b"\xee")


def test_readlink_of_what_is_no_link(scene: Scene) -> None:
    asked: Sequence[tuple[str, int]] = [("file", INVAL), ("dir", INVAL), ("missing", NOENT), ("link/", NOTDIR)]
    scene.answers(*((("path_readlink", ROOT, Text(path), RESULT, 8, RESULT), errno) for path, errno in asked))


def test_a_regular_file_is_always_ready(scene: Scene) -> None:
    readable, writable = FIRST, FIRST + 1
    subscriptions = struct.pack("<QB7xI28x", 71, 1, readable) + struct.pack("<QB7xI28x", 72, 2, writable)
    subscriptions += struct.pack("<QB7xI28x", 73, 1, 99)
    calls = scene.play(
        opened("file", 0, FILE & ~WRITE),
        opened("new", CREATE, FILE & ~READ),
        ("poll_oneoff", ROOM, ROOM + 512, 3, 8),
        image=subscriptions,
    )
    assert calls.errnos == [OK] * 3
    events = [struct.unpack_from("<QHB5xQ", calls.memory, ROOM + 512 + 32 * index) for index in range(calls.u32(8))]
    assert sorted(events)[:2] == [(71, OK, 1, 10), (72, OK, 2, events[1][3])]
    assert sorted(events)[2][:3] == (73, BADF, 1)


def test_a_read_only_tree_cannot_be_changed(scene: Scene) -> None:
    times: Step = ("path_filestat_set_times", ROOT, 0, Text("file"), 0, 0, MTIM)
    changes: list[tuple[Step, int]] = [
        (opened("file", 0, READ | WRITE), ROFS),
        (opened("file", TRUNCATE), ROFS),
        (opened("new", CREATE), ROFS),
        (opened("file", CREATE, READ), OK),
        (mkdir("new"), ROFS),
        (mkdir("dir"), EXIST),
        (rmdir("dir"), ROFS),
        (rmdir("full"), ROFS),
        (unlink("file"), ROFS),
        (rename("file", "new"), ROFS),
        (link("file", "new"), ROFS),
        (symlink("any", "new"), ROFS),
        (times, ROFS),
        (("fd_filestat_set_times", FIRST, 0, 0, MTIM), NOTCAPABLE),
        (("fd_filestat_set_times", ROOT, 0, 0, MTIM), ROFS),
    ]
    replace(scene, read_only=True).answers(*changes)


def test_what_a_read_only_tree_holds(scene: Scene) -> None:
    calls = replace(scene, read_only=True).play(
        opened("file", 0, FILE & ~WRITE),
        ("fd_read", FIRST, ROOM, 1, RESULT),
        stat("file", ROOM + 128),
        stat("link", ROOM + 192),
        stat("dir", ROOM + 256),
        stat("dirlink/inner/file", ROOM + 320),
        ("fd_filestat_set_size", FIRST, 0),
        image=vectors((ROOM + 64, 16)),
    )
    assert calls.errnos == [OK] * 6 + [ROFS]
    assert calls.memory[ROOM + 64 : ROOM + 74] == b"0123456789"
    kinds = [filestat(calls, ROOM + at)[2:5] for at in (128, 192, 256, 320)]
    assert kinds == [(IS_FILE, 1, 10), (IS_LINK, 1, 4), (IS_DIRECTORY, 1, 0), (IS_FILE, 1, 4)]
