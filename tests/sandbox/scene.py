"""A guest with a tree of files, and the calls that a test has it make there."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from insitu.sandbox.channels import FileSource
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Launch
from insitu.sandbox.limits import Limits
from tests.sandbox.guests import IMAGE, Calls, puppet, script

if TYPE_CHECKING:
    from tests.sandbox.conftest import Sandbox

OK, BADF, BUSY, EXIST, ILSEQ, INVAL, ISDIR, LOOP, NAMETOOLONG, NOENT = 0, 8, 10, 20, 25, 28, 31, 32, 37, 44
NOTDIR, NOTEMPTY, NOTSOCK, PERM, ROFS, NOTCAPABLE = 54, 55, 57, 63, 69, 76
CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8
FOLLOW: Final = 1
APPEND, NONBLOCK, SYNC = 1, 4, 16
SET, CURRENT, END = 0, 1, 2
ATIM, ATIM_NOW, MTIM, MTIM_NOW = 1, 2, 4, 8
IS_DIRECTORY, IS_FILE, IS_LINK = 3, 4, 7
# The specification's `$rights`, lowest bit first.
RIGHTS: Final = [
    "fd_datasync",
    "fd_read",
    "fd_seek",
    "fd_fdstat_set_flags",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "fd_advise",
    "fd_allocate",
    "path_create_directory",
    "path_create_file",
    "path_link_source",
    "path_link_target",
    "path_open",
    "fd_readdir",
    "path_readlink",
    "path_rename_source",
    "path_rename_target",
    "path_filestat_get",
    "path_filestat_set_size",
    "path_filestat_set_times",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "path_symlink",
    "path_remove_directory",
    "path_unlink_file",
    "poll_fd_readwrite",
]


def rights(*names: str) -> int:
    return sum(1 << RIGHTS.index(name) for name in names)


READ, WRITE = rights("fd_read"), rights("fd_write")
FILE: Final = rights(*(name for name in RIGHTS if name.startswith(("fd_", "poll_")) and name != "fd_readdir"))
ROOT: Final = 3
FIRST: Final = 4
"""The number of the first descriptor that a guest opens."""
RESULT: Final = 0
"""Where results go that nobody looks at: 64 bytes."""
ROOM: Final = 1024
"""Where a test finds results that it does look at."""
_STRINGS: Final = 8192


class Text(str):
    """A path, or what else is passed as a pointer and a length."""


Step = tuple[str | int | Text, ...]


def opened(path: str, oflags: int = 0, base: int = 0, *, inherit: int = 0, fdflags: int = 0, follow: int = 0,
           fd: int = ROOT, at: int = RESULT) -> Step:  # fmt: skip
    return ("path_open", fd, follow, Text(path), oflags, base, inherit, fdflags, at)


def mkdir(path: str) -> Step:
    return ("path_create_directory", ROOT, Text(path))


def rmdir(path: str) -> Step:
    return ("path_remove_directory", ROOT, Text(path))


def unlink(path: str) -> Step:
    return ("path_unlink_file", ROOT, Text(path))


def rename(old: str, new: str) -> Step:
    return ("path_rename", ROOT, Text(old), ROOT, Text(new))


def link(old: str, new: str, follow: int = 0) -> Step:
    return ("path_link", ROOT, follow, Text(old), ROOT, Text(new))


def symlink(target: str, path: str) -> Step:
    return ("path_symlink", Text(target), ROOT, Text(path))


def stat(path: str, at: int = RESULT, follow: int = 0) -> Step:
    return ("path_filestat_get", ROOT, follow, Text(path), at)


def plant(root: Path) -> None:
    """Make the tree that a `Scene` speaks of."""
    (root / "file").write_bytes(b"0123456789")
    (root / "dir").mkdir()
    (root / "full" / "inner").mkdir(parents=True)
    (root / "full" / "inner" / "file").write_bytes(b"deep")
    links = {"link": "file", "dirlink": "full", "dangling": "nowhere", "loop": "loop", "out": "../file"}
    for name, target in links.items():
        (root / name).symlink_to(target)


@dataclass(frozen=True)
class Scene:
    """A guest with a tree of its own:

    file (10 digits), dir/ (empty), full/inner/file, link -> file, dirlink -> full, dangling -> nowhere, loop -> loop,
    out -> ../file
    """

    sandbox: "Sandbox"
    root: Path
    read_only: bool = False
    """Instead of a copy that is the guest's own."""

    def play(self, *steps: Step, image: bytes = b"") -> Calls:
        """Make the calls on an image that has these bytes from `ROOM` on, and the texts from 8192 on."""
        laid = bytearray(_STRINGS)
        laid[ROOM : ROOM + len(image)] = image
        calls: list[tuple[str | int, ...]] = []
        for name, *arguments in steps:
            call: list[str | int] = [str(name)]
            for argument in arguments:
                if isinstance(argument, Text):
                    data = argument.encode("utf-8", "surrogateescape")
                    call += [len(laid), len(data)]
                    laid += data
                else:
                    call.append(argument)
            calls.append(tuple(call))
        assert len(laid) <= IMAGE
        with TemporaryFile() as source, TemporaryFile() as target:
            source.write(script(calls, bytes(laid)))
            source.flush()
            launch = Launch(
                ["guest"],
                FileSource(source.fileno()),
                target.fileno(),
                Limits(),
                files=Files.read_only(self.root) if self.read_only else Files.private_copy(self.root),
            )
            outcome = self.sandbox.runner.run(self.sandbox.program(puppet()), launch)
            output = os.pread(target.fileno(), 1 << 20, 0)
        assert len(output) == IMAGE, outcome.sentence()
        return Calls(list(struct.unpack(f"<{len(steps)}I", outcome.stderr)), output, b"", outcome)

    def answers(self, *expected: tuple[Step, int]) -> None:
        errnos = self.play(*(step for step, _ in expected)).errnos
        assert errnos == [errno for _, errno in expected]


def fdstat(calls: Calls, at: int) -> tuple[int, int, int, int]:
    """type, flags, rights, inheriting."""
    kind, flags, base, inheriting = struct.unpack_from("<BxHxxxxQQ", calls.memory, at)
    return kind, flags, base, inheriting


def filestat(calls: Calls, at: int) -> tuple[int, int, int, int, int, int, int, int]:
    """device, inode, type, links, size, atim, mtim, ctim."""
    fields: tuple[int, int, int, int, int, int, int, int] = struct.unpack_from("<QQB7xQQQQQ", calls.memory, at)
    return fields
