"""Preview1's rights: what is asked for, passed on, dropped, given up, and missed."""

from typing import Final

import pytest

from tests.sandbox.scene import (
    APPEND,
    BADF,
    CREATE,
    CURRENT,
    DIRECTORY,
    FILE,
    FIRST,
    IS_DIRECTORY,
    IS_FILE,
    MTIM,
    NAMETOOLONG,
    NOTCAPABLE,
    OK,
    READ,
    RESULT,
    RIGHTS,
    ROOM,
    ROOT,
    SET,
    SYNC,
    TRUNCATE,
    WRITE,
    Scene,
    Step,
    Text,
    fdstat,
    opened,
    rights,
)

RIGHTS_STEPS: Final[dict[str, list[tuple[Step, int]]]] = {
    "no more can be asked for than a directory passes on": [
        (opened("full", DIRECTORY, rights("path_open"), inherit=READ), OK),
        (opened("inner/file", 0, READ | WRITE, fd=FIRST), NOTCAPABLE),
        (opened("inner/file", 0, READ, inherit=WRITE, fd=FIRST), NOTCAPABLE),
        (opened("inner/file", 0, READ, inherit=READ, fd=FIRST), OK),
    ],
    "a directory without the right to open": [
        (opened("full", DIRECTORY, 0, inherit=READ), OK),
        (opened("inner/file", 0, READ, fd=FIRST), NOTCAPABLE),
    ],
    "making a file takes a right": [
        (opened("dir", DIRECTORY, rights("path_open")), OK),
        (opened("x", CREATE, fd=FIRST), NOTCAPABLE),
        (opened("dir", DIRECTORY, rights("path_open", "path_create_file")), OK),
        (opened("x", CREATE, fd=FIRST + 1), OK),
    ],
    "so does emptying one": [
        (opened(".", DIRECTORY, rights("path_open"), inherit=FILE), OK),
        (opened("file", TRUNCATE, fd=FIRST), NOTCAPABLE),
        (opened("file", TRUNCATE, READ | WRITE, fd=FIRST), NOTCAPABLE),
        (opened("file", TRUNCATE, rights("fd_filestat_set_size"), fd=FIRST), OK),
        (opened(".", DIRECTORY, rights("path_open", "path_filestat_set_size")), OK),
        (opened("file", TRUNCATE, fd=FIRST + 2), OK),
    ],
    "rights can be given up but not taken": [
        (opened("file", 0, READ | WRITE), OK),
        (("fd_fdstat_set_rights", FIRST, READ, 0), OK),
        (("fd_write", FIRST, 0, 0, RESULT), BADF),
        (("fd_read", FIRST, 0, 0, RESULT), OK),
        (("fd_fdstat_set_rights", FIRST, READ | WRITE, 0), NOTCAPABLE),
        (("fd_fdstat_set_rights", FIRST, READ, READ), NOTCAPABLE),
        (("fd_fdstat_set_rights", FIRST, READ, 0), OK),
    ],
    "a file can do what it was opened for": [
        (opened("file"), OK),
        *(
            (step, NOTCAPABLE)
            for step in (
                ("fd_seek", FIRST, 0, SET, RESULT),
                ("fd_tell", FIRST, RESULT),
                ("fd_allocate", FIRST, 0, 1),
                ("fd_advise", FIRST, 0, 0, 0),
                ("fd_sync", FIRST),
                ("fd_datasync", FIRST),
                ("fd_filestat_get", FIRST, RESULT),
                ("fd_filestat_set_size", FIRST, 0),
                ("fd_filestat_set_times", FIRST, 0, 0, MTIM),
                ("fd_fdstat_set_flags", FIRST, APPEND),
            )
        ),
    ],
    "to seek is to tell": [
        (opened("file", 0, rights("fd_seek")), OK),
        (("fd_seek", FIRST, 1, SET, RESULT), OK),
        (("fd_seek", FIRST, 0, CURRENT, RESULT), OK),
        (opened("file", 0, rights("fd_tell")), OK),
        (("fd_tell", FIRST + 1, RESULT), OK),
        (("fd_seek", FIRST + 1, 0, CURRENT, RESULT), OK),
        (("fd_seek", FIRST + 1, 1, CURRENT, RESULT), NOTCAPABLE),
    ],
}


@pytest.mark.parametrize("name", RIGHTS_STEPS)
def test_rights(scene: Scene, name: str) -> None:
    scene.answers(*RIGHTS_STEPS[name])


def test_every_path_function_needs_its_right(scene: Scene) -> None:
    asked: list[Step] = [
        ("path_create_directory", FIRST, Text("x")),
        ("path_remove_directory", FIRST, Text("dir")),
        ("path_unlink_file", FIRST, Text("file")),
        ("path_filestat_get", FIRST, 0, Text("file"), RESULT),
        ("path_filestat_set_times", FIRST, 0, Text("file"), 0, 0, MTIM),
        ("path_readlink", FIRST, Text("link"), RESULT, 8, RESULT),
        ("path_symlink", Text("any"), FIRST, Text("x")),
        ("path_link", FIRST, 0, Text("file"), ROOT, Text("x")),
        ("path_link", ROOT, 0, Text("file"), FIRST, Text("x")),
        ("path_rename", FIRST, Text("file"), ROOT, Text("x")),
        ("path_rename", ROOT, Text("file"), FIRST, Text("x")),
        ("fd_readdir", FIRST, RESULT, 24, 0, RESULT),
    ]
    scene.answers((opened(".", DIRECTORY, rights("path_open")), OK), *((step, NOTCAPABLE) for step in asked))


def test_rights_that_do_not_go_with_the_kind_are_dropped(scene: Scene) -> None:
    everything = rights(*RIGHTS)
    calls = scene.play(
        opened("dir", DIRECTORY, everything & ~WRITE, inherit=everything),
        ("fd_fdstat_get", FIRST, ROOM),
        opened("file", 0, everything, inherit=everything),
        ("fd_fdstat_get", FIRST + 1, ROOM + 24),
        opened("file", 0, READ),
        ("fd_fdstat_get", FIRST + 2, ROOM + 48),
        opened("file", 0, WRITE, fdflags=APPEND | SYNC),
        ("fd_fdstat_get", FIRST + 3, ROOM + 72),
        ("fd_fdstat_get", ROOT, ROOM + 96),
    )
    assert calls.errnos == [OK] * 9
    kind, flags, base, inheriting = fdstat(calls, ROOM)
    assert (kind, flags, inheriting) == (IS_DIRECTORY, 0, everything)
    assert base & rights("fd_seek", "fd_tell", "fd_allocate", "fd_filestat_set_size", "fd_read", "fd_write") == 0
    assert base & rights("path_open", "fd_readdir", "path_filestat_set_size") == rights(
        "path_open", "fd_readdir", "path_filestat_set_size"
    )
    assert fdstat(calls, ROOM + 24) == (IS_FILE, 0, FILE, everything)
    assert fdstat(calls, ROOM + 48) == (IS_FILE, 0, READ, 0)
    assert fdstat(calls, ROOM + 72) == (IS_FILE, APPEND | SYNC, WRITE, 0)
    # What the root passes on is everything; what it has itself is what it passes on to a directory.
    assert fdstat(calls, ROOM + 96) == (IS_DIRECTORY, 0, base, everything)


def test_the_root_can_be_opened_anew_with_the_rights_it_has(scene: Scene) -> None:
    _, _, base, inheriting = fdstat(scene.play(("fd_fdstat_get", ROOT, ROOM)), ROOM)
    calls = scene.play(opened(".", DIRECTORY, base, inherit=inheriting), ("fd_fdstat_get", FIRST, ROOM))
    assert calls.errnos == [OK, OK]
    assert fdstat(calls, ROOM) == (IS_DIRECTORY, 0, base, inheriting)


def test_the_preopened_root_has_a_name(scene: Scene) -> None:
    calls = scene.play(
        ("fd_prestat_get", ROOT, ROOM),
        ("fd_prestat_dir_name", ROOT, ROOM + 8, 0),
        ("fd_prestat_dir_name", ROOT, ROOM + 8, 9),
        ("fd_prestat_get", FIRST, ROOM),
        image=b"\xff" * 64,
    )
    assert calls.errnos == [OK, NAMETOOLONG, OK, BADF]
    assert calls.memory[ROOM] == 0
    assert calls.u32(ROOM + 4) == 1
    assert calls.memory[ROOM + 8 : ROOM + 18] == b"/" + b"\xff" * 9
