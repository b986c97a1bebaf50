"""Preview1's paths, case by case, where hosts are wont to differ: slashes, links, ways out, names that are taken.

What is expected is what the specification says, and where it names a POSIX function, what Linux does. Where programs
of others that test hosts accept several answers, one that all of them accept is expected here.
"""

from typing import Final

import pytest

from tests.sandbox.scene import (
    BADF,
    CREATE,
    CURRENT,
    DIRECTORY,
    EXCLUSIVE,
    EXIST,
    FILE,
    FIRST,
    FOLLOW,
    ILSEQ,
    INVAL,
    ISDIR,
    LOOP,
    NAMETOOLONG,
    NOENT,
    NONBLOCK,
    NOTCAPABLE,
    NOTDIR,
    NOTEMPTY,
    NOTSOCK,
    OK,
    PERM,
    READ,
    RESULT,
    ROOM,
    ROOT,
    SET,
    TRUNCATE,
    WRITE,
    Scene,
    Step,
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

OPENINGS: Final[list[tuple[Step, int]]] = [
    (opened("file"), OK),
    (opened("dir"), OK),
    (opened("dir/"), OK),
    (opened("dir///"), OK),
    (opened(".", fdflags=NONBLOCK), OK),
    (opened("full/.//inner/../../full/inner/../inner///./file"), OK),
    (opened("missing"), NOENT),
    (opened(""), NOENT),
    (opened("missing/../file"), NOENT),
    (opened("file/../file"), NOTDIR),
    (opened("file/"), NOTDIR),
    (opened("file///"), NOTDIR),
    (opened("file/."), NOTDIR),
    (opened("link/", follow=FOLLOW), NOTDIR),
    (opened("/file"), PERM),
    (opened(".."), PERM),
    (opened("full/inner/../../../file"), PERM),
    (opened("out", follow=FOLLOW), PERM),
    (opened("file\0"), INVAL),
    (opened("fi\0le"), INVAL),
    (opened("\udcff"), ILSEQ),
    (opened("x" * 256), NAMETOOLONG),
    (opened("x" * 256, CREATE), NAMETOOLONG),
    (opened("x" * 255), NOENT),
    (opened("file", DIRECTORY), NOTDIR),
    (opened("link", DIRECTORY, follow=FOLLOW), NOTDIR),
    (opened("dirlink", DIRECTORY, follow=FOLLOW), OK),
    (opened("link"), LOOP),
    (opened("dirlink"), LOOP),
    (opened("dangling"), LOOP),
    (opened("loop"), LOOP),
    (opened("loop", follow=FOLLOW), LOOP),
    (opened("loop/x"), LOOP),
    (opened("dangling", follow=FOLLOW), NOENT),
    (opened("dirlink/inner/file"), OK),
    (opened("file", CREATE | EXCLUSIVE), EXIST),
    (opened("dir", CREATE | EXCLUSIVE), EXIST),
    (opened("dangling", CREATE | EXCLUSIVE, follow=FOLLOW), EXIST),
    (opened("file", CREATE), OK),
    (opened("new", CREATE | EXCLUSIVE), OK),
    (opened("dir/new", CREATE), OK),
    (opened("missing/new", CREATE), NOENT),
    (opened(".", DIRECTORY, READ), OK),
    (opened(".", DIRECTORY, READ | WRITE), ISDIR),
    (opened("dir", 0, WRITE), ISDIR),
    (opened("dir", TRUNCATE), ISDIR),
    (opened("file", fdflags=32), INVAL),
    (opened("file", 16), INVAL),
    (opened("file", follow=2), INVAL),
]


@pytest.mark.parametrize(
    ("step", "errno"), OPENINGS, ids=[f"{step[3]!r:.24}-{step[4]}-{step[2]}" for step, _ in OPENINGS]
)
def test_path_open(scene: Scene, step: Step, errno: int) -> None:
    scene.answers((step, errno))


NAMES: Final[dict[str, list[tuple[Step, int]]]] = {
    "a directory's name may end in slashes": [(mkdir("a/"), OK), (rmdir("a/"), OK), (mkdir("a"), OK), (rmdir("a"), OK)],
    "mkdir of what is there": [(mkdir("dir"), EXIST), (mkdir("file"), EXIST), (mkdir("dangling"), EXIST)],
    "rmdir of a full directory": [(rmdir("full"), NOTEMPTY), (rmdir("full/inner"), NOTEMPTY)],
    "rmdir of a file": [(rmdir("file"), NOTDIR), (rmdir("file/"), NOTDIR), (rmdir("link"), NOTDIR)],
    "unlink of a directory": [(unlink("dir"), ISDIR), (unlink("dir/"), ISDIR)],
    "unlink of a file with a slash": [(unlink("file/"), NOTDIR), (unlink("file"), OK), (unlink("file"), NOENT)],
    "unlink takes the link and not what it leads to": [(unlink("link"), OK), (stat("file"), OK)],
    "an open file's name is free at once": [
        (opened("file", 0, READ), OK),
        (unlink("file"), OK),
        (opened("file", CREATE | EXCLUSIVE), OK),
        (("fd_filestat_get", FIRST, RESULT), NOTCAPABLE),
    ],
    "an open directory's name is free at once": [
        (opened("dir", DIRECTORY), OK),
        (rmdir("dir"), OK),
        (mkdir("dir"), OK),
        (opened("x", CREATE, fd=FIRST), NOTCAPABLE),
    ],
    "rename of a directory": [
        (mkdir("a"), OK),
        (rename("a", "b"), OK),
        (stat("a"), NOENT),
        (rename("b/", "c"), OK),
        (rename("c", "d/"), OK),
        (rename("d/", "e/"), OK),
        (rename("e", "dir"), OK),
        (stat("dir", ROOM), OK),
    ],
    "rename over what will not do": [
        (rename("dir", "full"), NOTEMPTY),
        (rename("dir", "file"), NOTDIR),
        (rename("file", "dir"), ISDIR),
        (rename("full", "full/inner/x"), INVAL),
        (rename("missing", "x"), NOENT),
    ],
    "rename of a file": [
        (opened("other", CREATE), OK),
        (rename("file", "other"), OK),
        (stat("file"), NOENT),
        (rename("other/", "x"), NOTDIR),
        (rename("other", "x/"), NOTDIR),
        (rename("other/", "x/"), NOTDIR),
        (rename("link", "moved"), OK),
        (stat("link"), NOENT),
    ],
    "link to a name that is taken": [(link("file", name), EXIST) for name in ("file", "dir", "link", "dangling")],
    "link of what has no links": [
        (link("dir", "x"), PERM),
        (link("file", "x/"), NOENT),
        (link("file/", "x"), NOTDIR),
        (link("missing", "x"), NOENT),
    ],
    "a symbolic link can be linked itself": [
        (link("dangling", "x"), OK),
        (link("loop", "y"), OK),
        (unlink("dangling"), OK),
        (stat("x"), OK),
        (link("x", "z", FOLLOW), NOENT),
    ],
    "a symbolic link's name": [
        (symlink("any", "x/"), NOENT),
        (symlink("any", "dir/"), EXIST),
        (symlink("any", "dir"), EXIST),
        (symlink("any", "file/"), NOTDIR),
        (symlink("any", "file"), EXIST),
        (symlink("any", "x"), OK),
    ],
    "a symbolic link leads nowhere else": [(symlink("/", "x"), PERM), (symlink("/file", "x"), PERM)],
    "descriptors below a directory end there": [
        (opened("full", DIRECTORY, rights("path_open"), inherit=READ), OK),
        (opened("inner/file", 0, READ, fd=FIRST), OK),
        (opened("../file", fd=FIRST), PERM),
        (opened("inner/../../file", fd=FIRST), PERM),
    ],
    "a file is no directory": [(opened("file"), OK), (opened("x", CREATE, fd=FIRST), NOTDIR)],
    "closing and renumbering": [
        (opened("file", 0, READ), OK),
        (opened("dir", DIRECTORY), OK),
        (("fd_renumber", FIRST, FIRST + 1), OK),
        (("fd_close", FIRST), BADF),
        (("fd_renumber", FIRST + 1, FIRST), BADF),
        (("fd_renumber", FIRST + 1, 99), BADF),
        (("fd_renumber", FIRST + 1, FIRST + 1), OK),
        (("fd_fdstat_get", FIRST + 1, RESULT), OK),
    ],
    "the preopened directory is closed like any other": [
        (opened(".", DIRECTORY, rights("path_open")), OK),
        (("fd_close", ROOT), OK),
        (("fd_fdstat_get", ROOT, RESULT), BADF),
        (("fd_prestat_get", ROOT, RESULT), BADF),
        (opened("file", fd=FIRST), OK),
    ],
    "a directory put in its place is not preopened": [
        (opened("dir", DIRECTORY), OK),
        (("fd_renumber", FIRST, ROOT), OK),
        (("fd_fdstat_get", FIRST, RESULT), BADF),
        (("fd_fdstat_get", ROOT, RESULT), OK),
        (("fd_prestat_get", ROOT, RESULT), BADF),
    ],
    "what is not done with a directory": [
        (opened("dir", DIRECTORY, FILE & ~WRITE), OK),
        *(
            (step, BADF)
            for step in (
                ("fd_read", FIRST, 0, 0, RESULT),
                ("fd_write", FIRST, 0, 0, RESULT),
                ("fd_pread", FIRST, 0, 0, 0, RESULT),
                ("fd_pwrite", FIRST, 0, 0, 0, RESULT),
                ("fd_seek", FIRST, 0, SET, RESULT),
                ("fd_seek", FIRST, 0, CURRENT, RESULT),
                ("fd_tell", FIRST, RESULT),
                ("fd_allocate", FIRST, 0, 1),
                ("fd_advise", FIRST, 0, 0, 0),
                ("fd_filestat_set_size", FIRST, 0),
            )
        ),
    ],
    "no descriptor is a socket": [
        (opened("file"), OK),
        *((("sock_shutdown", fd, 1), NOTSOCK) for fd in (0, 1, ROOT, FIRST)),
        (("sock_shutdown", 99, 1), BADF),
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_sequence(scene: Scene, name: str) -> None:
    scene.answers(*NAMES[name])
