"""The tree in memory against a real one: whatever is done to both, both answer the same and are the same.

The real one is a directory of this machine. Linux is told to look names up below their descriptor only
(`openat2` with RESOLVE_BENEATH), which is all that a guest's descriptor gives a right to.
"""

import ctypes
import errno
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from insitu.sandbox.files.nodes import Directory
from insitu.sandbox.limits import Limits
from tests.sandbox import bare
from tests.sandbox.bare import APPEND, CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE, Bare, counted, parse_entries

# The host's error numbers, as preview1 calls them. EXDEV is openat2's word for a way out of the directory.
ERRNO: Final = {
    errno.EBADF: 8, errno.EBUSY: 10, errno.EEXIST: 20, errno.EINVAL: 28, errno.EISDIR: 31, errno.ELOOP: 32,
    errno.ENAMETOOLONG: 37, errno.ENOENT: 44, errno.ENOTDIR: 54, errno.ENOTEMPTY: 55, errno.EPERM: 63, errno.EXDEV: 63,
}  # fmt: skip
BADF, EXIST, INVAL, ISDIR, LOOP, NOENT, NOTDIR, NOTEMPTY, PERM = 8, 20, 28, 31, 32, 44, 54, 55, 63

_libc = ctypes.CDLL(None, use_errno=True)
_OPENAT2, _BENEATH = 437, 0x08
_OTHER_RIGHTS = bare.ALL & ~(3 << 28) & ~(READ | WRITE)


def open_beneath(fd: int, path: bytes, flags: int) -> int:
    mode = 0o777 if flags & os.O_CREAT else 0
    how = struct.pack("<QQQ", flags | os.O_CLOEXEC, mode, _BENEATH)
    found = _libc.syscall(_OPENAT2, fd, path, how, len(how))
    if found < 0:
        raise OSError(ctypes.get_errno(), path)
    return int(found)


class Real:
    """The calls of preview1, made of Linux's. Each raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def parent(self, fd: int, path: bytes) -> tuple[int, bytes]:
        """(descriptor to close, last name with the slashes behind it)"""
        if not path:
            raise OSError(errno.ENOENT, "")
        bodied = path.rstrip(b"/")
        head, _, last = bodied.rpartition(b"/")
        if last == b"..":
            os.close(open_beneath(fd, path, os.O_PATH))  # is it a way out?
        inside = open_beneath(fd, (head or b"."), os.O_PATH | os.O_DIRECTORY)
        return inside, last + path[len(bodied) :]

    def at(self, call: Callable[[int, bytes], object], fd: int, path: bytes) -> object:
        inside, name = self.parent(fd, path)
        try:
            return call(inside, name)
        finally:
            os.close(inside)


_names = st.sampled_from([b"a", b"b", b"c"])
_parts = st.lists(st.one_of(_names, _names, _names, st.sampled_from([b".", b"..", b""])), min_size=1, max_size=4)


@st.composite
def paths(draw: st.DrawFn) -> bytes:
    # An absolute one is refused before anything is looked at.
    return (b"/".join(draw(_parts)) + draw(st.sampled_from([b"", b"", b"", b"", b"/", b"//", b"/."]))).lstrip(b"/")


handles = st.integers(0, 5)
data = st.binary(min_size=1, max_size=40)
offsets = st.integers(0, 100)


class Pair:
    """The same thing open here and there."""

    def __init__(self, ours: int, theirs: int, *, readable: bool = False) -> None:
        self.ours, self.theirs, self.readable = ours, theirs, readable


class Trees(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        shm = Path("/dev/shm")
        self.where = tempfile.mkdtemp(dir=shm if shm.is_dir() else None)
        self.real = Real(self.where)
        self.bare = Bare(Limits(tmp=1 << 20, tmp_files=1000))
        code, top = self.bare.opendir(3, b"tmp")
        assert code == 0
        tmp = self.bare.root.entries[b"tmp"]
        assert isinstance(tmp, Directory)
        self.top = tmp
        self.directories = [Pair(top, self.real.root)]
        self.files: list[Pair] = []

    def teardown(self) -> None:
        """With everything removed and closed, nothing is counted any more."""
        if not hasattr(self, "real"):
            return
        for pair in self.files + self.directories:
            os.close(pair.theirs)
        shutil.rmtree(self.where)
        top = self.directories[0].ours
        self._remove_all(top)
        assert self.bare.volume.count == 0
        for pair in self.files:
            assert self.bare.close(pair.ours) == 0
        assert self.bare.volume.bytes == 0

    def _remove_all(self, fd: int) -> None:
        _, data = self.bare.readdir(fd, 0, 1 << 16)
        for _, _, kind, name in parse_entries(data):
            if name in (b".", b".."):
                continue
            if kind == 3:
                code, inside = self.bare.opendir(fd, name)
                assert code == 0
                self._remove_all(inside)
                assert self.bare.close(inside) == 0
                assert self.bare.rmdir(fd, name) == 0
            else:
                assert self.bare.unlink(fd, name) == 0

    def pick(self, number: int) -> Pair:
        return self.directories[number % len(self.directories)]

    def same(
        self, ours: int, theirs: Callable[[], object], allowed: dict[int, tuple[int, ...]] | None = None
    ) -> object:
        """Both did it, or both refused it for the same reason. `allowed`: Linux's reason → others that will do."""
        result, code = None, 0
        try:
            result = theirs()
        except OSError as why:
            code = ERRNO[why.errno or 0]
        assert ours == code or ours in (allowed or {}).get(code, ())
        return result

    @rule(at=handles, path=paths(), oflags=st.integers(0, 15), ways=st.integers(0, 3), follow=st.booleans(),
          append=st.booleans())  # fmt: skip
    def open(self, at: int, path: bytes, oflags: int, ways: int, follow: bool, append: bool) -> None:
        if oflags & DIRECTORY and oflags & CREAT:
            return  # Linux has changed its mind about what that means
        start = self.pick(at)
        rights = (READ, WRITE, READ | WRITE, 0)[ways]
        code, fd = self.bare.open(
            start.ours, path, oflags, rights | _OTHER_RIGHTS, follow=follow, flags=APPEND if append else 0
        )
        flags = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY)[ways]
        for bit, flag in ((CREAT, os.O_CREAT), (DIRECTORY, os.O_DIRECTORY), (EXCL, os.O_EXCL), (TRUNC, os.O_TRUNC)):
            flags |= flag if oflags & bit else 0
        if oflags & EXCL and not oflags & CREAT:
            flags &= ~os.O_EXCL  # undefined on Linux
        flags |= 0 if follow else os.O_NOFOLLOW
        flags |= os.O_APPEND if append else 0
        theirs = self.same(
            code,
            lambda: open_beneath(start.theirs, path, flags),
            {NOTDIR: (LOOP,), ISDIR: (LOOP, NOTDIR, EXIST, NOENT)},
        )
        if theirs is None:
            return
        assert isinstance(theirs, int)
        directory = stat.S_ISDIR(os.fstat(theirs).st_mode)
        pair = Pair(fd, theirs, readable=bool(rights & READ))
        kept = self.directories if directory else self.files
        kept.append(pair)
        if len(kept) > 6:
            self.drop(kept, 1)

    def drop(self, kept: list[Pair], number: int) -> None:
        pair = kept.pop(number)
        assert self.bare.close(pair.ours) == 0
        assert self.bare.fstat(pair.ours)[0] == 8
        os.close(pair.theirs)

    @rule(number=st.integers(0, 5), files=st.booleans())
    def close(self, number: int, files: bool) -> None:
        kept = self.files if files else self.directories
        if number < len(kept) and (files or number):
            self.drop(kept, number)

    @rule(at=handles, path=paths())
    def mkdir(self, at: int, path: bytes) -> None:
        start = self.pick(at)
        self.same(
            self.bare.mkdir(start.ours, path),
            lambda: self.real.at(lambda fd, name: os.mkdir(name, dir_fd=fd), start.theirs, path),
        )

    @rule(at=handles, path=paths())
    def rmdir(self, at: int, path: bytes) -> None:
        start = self.pick(at)
        self.same(
            self.bare.rmdir(start.ours, path),
            lambda: self.real.at(lambda fd, name: os.rmdir(name, dir_fd=fd), start.theirs, path),
            {NOTEMPTY: (INVAL,)},  # of "..", which is no name to remove
        )

    @rule(at=handles, path=paths())
    def unlink(self, at: int, path: bytes) -> None:
        start = self.pick(at)
        self.same(
            self.bare.unlink(start.ours, path),
            lambda: self.real.at(lambda fd, name: os.unlink(name, dir_fd=fd), start.theirs, path),
        )

    @rule(at=handles, path=paths(), to=handles, new=paths())
    def rename(self, at: int, path: bytes, to: int, new: bytes) -> None:
        start, end = self.pick(at), self.pick(to)

        def theirs() -> None:
            fd, name = self.real.parent(start.theirs, path)
            try:
                to_fd, to_name = self.real.parent(end.theirs, new)
                try:
                    os.rename(name, to_name, src_dir_fd=fd, dst_dir_fd=to_fd)
                finally:
                    os.close(to_fd)
            finally:
                os.close(fd)

        self.same(self.bare.rename(start.ours, path, end.ours, new), theirs, {NOTDIR: (ISDIR,)})

    @rule(at=handles, path=paths(), to=handles, new=paths(), follow=st.booleans())
    def link(self, at: int, path: bytes, to: int, new: bytes, follow: bool) -> None:
        start, end = self.pick(at), self.pick(to)

        def theirs() -> None:
            source = open_beneath(start.theirs, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
            try:
                to_fd, to_name = self.real.parent(end.theirs, new)
                try:
                    os.link(f"/proc/self/fd/{source}".encode(), to_name, dst_dir_fd=to_fd, follow_symlinks=True)
                finally:
                    os.close(to_fd)
            finally:
                os.close(source)

        self.same(self.bare.link(start.ours, path, end.ours, new, follow=follow), theirs)

    @rule(to=paths(), at=handles, path=paths())
    def symlink(self, to: bytes, at: int, path: bytes) -> None:
        start = self.pick(at)
        ours = self.bare.symlink(to, start.ours, path)
        if not to:
            assert ours != 0
            return
        self.same(
            ours,
            lambda: self.real.at(lambda fd, name: os.symlink(to, name, dir_fd=fd), start.theirs, path),
            {EXIST: (NOTDIR,)},
        )

    @rule(at=handles, path=paths())
    def readlink(self, at: int, path: bytes) -> None:
        start = self.pick(at)
        code, target = self.bare.readlink(start.ours, path)

        def theirs() -> bytes:
            fd = open_beneath(start.theirs, path, os.O_PATH | os.O_NOFOLLOW)
            try:
                if not stat.S_ISLNK(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, path)
                return os.readlink(b"", dir_fd=fd)
            finally:
                os.close(fd)

        found = self.same(code, theirs)
        assert found is None or found == target

    @rule(at=handles, path=paths(), follow=st.booleans())
    def stat(self, at: int, path: bytes, follow: bool) -> None:
        start = self.pick(at)
        code, found = self.bare.stat(start.ours, path, follow=follow)
        fd = self.same(code, lambda: open_beneath(start.theirs, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW)))
        if fd is not None:
            assert isinstance(fd, int)
            theirs = os.fstat(fd)
            os.close(fd)
            assert found.type == {stat.S_IFDIR: 3, stat.S_IFREG: 4, stat.S_IFLNK: 7}[stat.S_IFMT(theirs.st_mode)]
            if found.type != 3:
                assert (found.size, found.links) == (theirs.st_size, theirs.st_nlink)

    # What is open

    @rule(number=st.integers(0, 5), count=st.integers(0, 50), at=st.none() | offsets)
    def read(self, number: int, count: int, at: int | None) -> None:
        if number < len(self.files):
            pair = self.files[number]
            code, found = self.bare.read(pair.ours, count, at)
            if not pair.readable:
                assert code == BADF
                return
            assert (code, found) == (
                0, os.read(pair.theirs, count) if at is None else os.pread(pair.theirs, count, at),
            )  # fmt: skip

    @rule(number=st.integers(0, 5), data=data, at=st.none() | offsets)
    def write(self, number: int, data: bytes, at: int | None) -> None:
        if number < len(self.files):
            pair = self.files[number]
            code, count = self.bare.write(pair.ours, data, at)
            theirs = self.same(
                code, lambda: os.write(pair.theirs, data) if at is None else os.pwrite(pair.theirs, data, at)
            )
            assert theirs is None or theirs == count

    @rule(number=st.integers(0, 5), offset=st.integers(-60, 100), whence=st.integers(0, 3))
    def seek(self, number: int, offset: int, whence: int) -> None:
        if number < len(self.files):
            pair = self.files[number]
            code, position = self.bare.seek(pair.ours, offset, whence)
            if whence == 3:
                assert code == INVAL
                return
            theirs = self.same(code, lambda: os.lseek(pair.theirs, offset, whence))
            assert theirs is None or theirs == position

    @rule(number=st.integers(0, 5), size=offsets)
    def resize(self, number: int, size: int) -> None:
        if number < len(self.files):
            pair = self.files[number]
            path = f"/proc/self/fd/{pair.theirs}"
            assert self.bare.call("fd_filestat_set_size", pair.ours, size) == 0
            os.truncate(path, size)  # whichever way it is open: preview1 has a right of its own for it

    @invariant()
    def both_are_the_same(self) -> None:
        if hasattr(self, "real"):
            assert self.ours() == self.theirs()

    @invariant()
    def the_quota_counts_what_is_there(self) -> None:
        if hasattr(self, "real"):
            held = [self.bare.table[pair.ours].node() for pair in self.files]
            size, names = counted(self.top, [node for node in held if node is not None])
            assert (self.bare.volume.bytes, self.bare.volume.count) == (size, names)

    def ours(self) -> dict[bytes, object]:
        found: dict[bytes, object] = {}
        stack = [(b"", self.directories[0].ours)]
        while stack:
            above, fd = stack.pop()
            for name in self.bare.names(fd, 1000):
                if name in (b".", b".."):
                    continue
                _, status = self.bare.stat(fd, name)
                path = above + b"/" + name
                if status.type == 3:
                    code, inside = self.bare.opendir(fd, name)
                    assert code == 0
                    found[path] = "directory"
                    stack.append((path, inside))
                elif status.type == 7:
                    found[path] = self.bare.readlink(fd, name)[1]
                else:
                    code, file = self.bare.open(fd, name, 0, READ)
                    assert code == 0
                    found[path] = (self.bare.read(file, 1000)[1], status.links)
                    assert self.bare.close(file) == 0
            if above:
                assert self.bare.close(fd) == 0
        return found

    def theirs(self) -> dict[bytes, object]:
        found: dict[bytes, object] = {}
        stack = [b""]
        while stack:
            above = stack.pop()
            for entry in os.scandir(os.fsencode(self.where) + above):
                path = above + b"/" + entry.name
                if entry.is_symlink():
                    found[path] = os.readlink(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    found[path] = "directory"
                    stack.append(path)
                else:
                    found[path] = (Path(os.fsdecode(entry.path)).read_bytes(), entry.stat().st_nlink)
        return found


Trees.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestTrees = Trees.TestCase
