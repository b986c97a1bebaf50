"""--files and --root: what of a host's directory a guest gets, and that nothing else of the host is behind it."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from insitu.sandbox.channels import EmptySource
from insitu.sandbox.errors import FilesError
from insitu.sandbox.files import host_tree
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Launch
from insitu.sandbox.limits import Limits
from tests.sandbox.bare import CREAT, DIRECTORY, READ, TRUNC, WRITE, Bare
from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module

ACCES, BUSY, EXIST, INVAL, IO, ISDIR, LOOP, NOENT, NOSPC, NOTDIR, PERM, ROFS, XDEV = (
    2, 10, 20, 28, 29, 31, 32, 44, 51, 54, 63, 69, 75
)  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """dir/ with files and links in it, and a secret beside it."""
    (tmp_path / "secret").write_bytes(b"secret")
    top = tmp_path / "dir"
    (top / "sub/deep").mkdir(parents=True)
    (top / "file").write_bytes(b"contents")
    (top / "sub/file").write_bytes(b"inner")
    (top / "sub/deep/bytes").write_bytes(bytes(range(256)) * 1000)
    (top / "link").symlink_to("sub/file")
    (top / "dirlink").symlink_to("sub")
    (top / "rooted").symlink_to("/sub/file")  # as a tree made for a root of its own has them
    (top / "sub/up").symlink_to("../file")
    (top / "out").symlink_to("../secret")
    (top / "abs").symlink_to(tmp_path / "secret")
    (top / "etc").symlink_to("/etc")
    (top / "far").symlink_to("../../../../../../../../etc/passwd")
    (top / "loop").symlink_to("loop")
    os.link(top / "file", top / "hard")
    os.utime(top / "file", ns=(5_000_000_123, 7_000_000_456))
    return top


def trees(scene: Path) -> list[Bare]:
    return [Bare(files=Files.read_only(scene)), Bare(files=Files.private_copy(scene))]


def content(bare: Bare, path: bytes, *, follow: bool = True) -> bytes | int:
    code, fd = bare.open(3, path, 0, READ, follow=follow)
    if code:
        return code
    found = b""
    while data := bare.read(fd, 100_000)[1]:
        found += data
    assert bare.close(fd) == 0
    return found


def test_files_are_there_and_links_stay_inside(scene: Path) -> None:
    for bare in trees(scene):
        assert content(bare, b"file") == b"contents"
        assert content(bare, b"sub/deep/bytes") == bytes(range(256)) * 1000
        assert content(bare, b"link") == b"inner"
        assert content(bare, b"dirlink/file") == b"inner"
        assert content(bare, b"sub/up") == b"contents"
        assert content(bare, b"rooted") == b"inner"  # the tree is the root, whatever the host's is
        assert content(bare, b"hard") == b"contents"


def test_links_out_of_the_directory_lead_nowhere(scene: Path) -> None:
    """Not to the host's files, which are there, and not by way of a directory that is open."""
    for bare in trees(scene):
        for path in (b"out", b"far", b"sub/../out", b"dirlink/../out"):
            assert content(bare, path) == PERM
        assert content(bare, b"abs") == NOENT
        assert content(bare, b"etc/passwd") == LOOP  # /etc is that very link
        assert content(bare, b"loop") == LOOP
        code, sub = bare.opendir(3, b"sub")
        assert code == 0
        assert bare.open(sub, b"up", 0, READ, follow=True)[0] == PERM  # only below the descriptor
        assert bare.open(sub, b"../file", 0, READ)[0] == PERM
        assert bare.open(sub, b"deep/../../../secret", 0, READ)[0] == PERM
        assert bare.readlink(3, b"out") == (0, b"../secret")


def test_an_absolute_link_is_followed_from_the_root_alone(scene: Path) -> None:
    (scene / "sub/rooted").symlink_to("/file")
    for bare in trees(scene):
        assert content(bare, b"sub/rooted") == b"contents"
        _, sub = bare.opendir(3, b"sub")
        assert bare.open(sub, b"rooted", 0, READ, follow=True)[0] == PERM
        assert bare.close(3) == 0
        assert bare.open(sub, b"rooted", 0, READ, follow=True)[0] == PERM  # nor with the root closed


def test_nothing_is_written_to_a_read_only_tree(scene: Path) -> None:
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in scene.rglob("*")}
    bare = Bare(files=Files.read_only(scene))
    assert bare.open(3, b"file", 0, WRITE)[0] == ROFS
    assert bare.open(3, b"file", TRUNC, READ)[0] == ROFS
    assert bare.open(3, b"new", CREAT, WRITE)[0] == ROFS
    assert bare.open(3, b"sub/new", CREAT, READ)[0] == ROFS
    assert bare.mkdir(3, b"new") == ROFS
    assert bare.unlink(3, b"file") == ROFS
    assert bare.rmdir(3, b"sub/deep") in (ROFS, 55)
    assert bare.rename(3, b"file", 3, b"other") == ROFS
    assert bare.rename(3, b"file", 3, b"tmp/other") in (ROFS, XDEV)
    assert bare.link(3, b"file", 3, b"other") in (ROFS, XDEV)
    assert bare.link(3, b"file", 3, b"tmp/other") in (ROFS, XDEV)
    assert bare.symlink(b"x", 3, b"new") == ROFS
    assert bare.call("path_filestat_set_times", 3, 0, *bare.put(b"file"), 1, 1, 5) == ROFS
    code, fd = bare.open(3, b"file")[0], bare.open(3, b"file", 0, READ | 1 << 22 | 1 << 23 | 1 << 8)[1]
    assert code == ROFS
    assert bare.call("fd_filestat_set_size", fd, 0) == ROFS
    assert bare.call("fd_filestat_set_times", fd, 1, 1, 5) == ROFS
    assert bare.call("fd_allocate", fd, 0, 1000) in (ROFS, INVAL)
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in scene.rglob("*")} == before


def test_a_copy_is_the_guests_own(scene: Path) -> None:
    files = Files.private_copy(scene)
    one, other = Bare(files=files), Bare(files=files)
    _, fd = one.open(3, b"file", TRUNC)
    assert one.write(fd, b"changed") == (0, 7)
    assert one.unlink(3, b"sub/file") == 0
    assert one.rename(3, b"sub/deep", 3, b"shallow") == 0
    assert content(one, b"file") == b"changed"
    assert content(other, b"file") == (scene / "file").read_bytes() == b"contents"
    assert (scene / "sub/file").read_bytes() == content(other, b"sub/file") == b"inner"


def test_times_and_sizes_are_told(scene: Path) -> None:
    for bare in trees(scene):
        code, status = bare.stat(3, b"file")
        assert (code, status.size, status.mtim) == (0, 8, 7_000_000_456)


@pytest.mark.parametrize("nanoseconds", [-1, -(10**18), 0, 1 << 62])
def test_times_before_1970_are_no_end_of_the_host(scene: Path, nanoseconds: int) -> None:
    """preview1 has no time before that."""
    os.utime(scene / "file", ns=(nanoseconds, nanoseconds))
    os.utime(scene / "sub", ns=(nanoseconds, nanoseconds))
    os.utime(scene / "link", ns=(nanoseconds, nanoseconds), follow_symlinks=False)
    told = max(0, (scene / "file").stat().st_mtime_ns)
    for bare in trees(scene):
        for path in (b"file", b"sub", b"link"):
            code, status = bare.stat(3, path)
            assert (code, status.mtim) == (0, told)
        _, fd = bare.open(3, b"file", 0, READ | 1 << 21)
        assert bare.fstat(fd)[1].mtim == told


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = os.getcwd()
        os.chdir(path.parent)  # a socket's path may be no longer than about a hundred bytes
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.parametrize("make", [fifo, sock])
def test_what_is_no_file_is_named(scene: Path, make: Callable[[Path], None]) -> None:
    make(scene / "sub/odd")
    with pytest.raises(FilesError, match=r"sub/odd: neither a file"):
        Files.read_only(scene)
    with pytest.raises(FilesError, match=r"sub/odd: neither a file"):
        Bare(files=Files.private_copy(scene))


def test_a_directory_that_is_none_is_named(scene: Path) -> None:
    for path, words in ((scene / "nowhere", "No such file"), (scene / "file", "Not a directory")):
        with pytest.raises(FilesError, match=words):
            Files.read_only(path)
        with pytest.raises(FilesError, match=words):
            Bare(files=Files.private_copy(path))


def test_a_name_that_is_no_utf8_is_named(scene: Path) -> None:
    (Path(os.fsdecode(os.fsencode(scene) + b"/sub/\xff\xfe"))).write_bytes(b"")
    with pytest.raises(FilesError, match="no UTF-8"):
        Files.read_only(scene)


def test_directories_too_deep_are_named(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(205):
        path = path / "d"
        path.mkdir()
    with pytest.raises(FilesError, match="200 deep"):
        Files.read_only(tmp_path)


def test_more_files_than_there_may_be_are_named(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_tree, "MAX_ENTRIES", 5)
    with pytest.raises(FilesError, match="more than 5 files"):
        Files.read_only(scene)


def test_a_copy_over_the_quota_is_named(scene: Path) -> None:
    for limits in (Limits(tmp=1000), Limits(tmp_files=3)):
        with pytest.raises(FilesError, match="over what a guest's may be"):
            Bare(limits, files=Files.private_copy(scene))


def test_a_failed_or_finished_walk_leaves_no_descriptor_open(scene: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    Files.read_only(scene)
    Bare(files=Files.private_copy(scene))
    os.mkfifo(scene / "sub/deep/fifo")
    for files in (Files.read_only, lambda path: Bare(files=Files.private_copy(path))):
        with pytest.raises(FilesError):
            files(scene)
    assert len(os.listdir("/proc/self/fd")) == before


# The host's directory changes after it was looked at.


def test_a_file_replaced_by_a_link_is_not_followed(scene: Path) -> None:
    bare = Bare(files=Files.read_only(scene))
    (scene / "file").unlink()
    (scene / "file").symlink_to("../secret")
    assert content(bare, b"file") in (IO, LOOP)


def test_a_directory_replaced_by_a_link_gives_nothing_else(scene: Path) -> None:
    bare = Bare(files=Files.read_only(scene))
    (scene / "sub").rename(scene.parent / "away")
    elsewhere = scene.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"secret")
    (scene / "sub").symlink_to("../elsewhere")
    assert content(bare, b"sub/file") == IO


def test_a_file_replaced_by_another_is_an_error(scene: Path) -> None:
    bare = Bare(files=Files.read_only(scene))
    (scene / "new").write_bytes(b"another")
    (scene / "new").rename(scene / "file")
    assert content(bare, b"file") == IO


def test_a_file_replaced_by_a_fifo_blocks_nobody(scene: Path) -> None:
    bare = Bare(files=Files.read_only(scene))
    (scene / "file").unlink()
    os.mkfifo(scene / "file")
    assert content(bare, b"file") == IO


def test_a_file_that_went_is_an_error(scene: Path) -> None:
    bare = Bare(files=Files.read_only(scene))
    (scene / "file").unlink()
    assert content(bare, b"file") == IO
    assert content(bare, b"hard") == b"contents"


def test_a_file_that_grew_ends_where_it_was_said_to_end(scene: Path) -> None:
    """Its size was told once: what a guest finds in it must not be more."""
    bare = Bare(files=Files.read_only(scene))
    with (scene / "file").open("ab") as file:
        file.write(b" and more")
    assert content(bare, b"file") == b"contents"
    os.truncate(scene / "file", 3)
    assert content(bare, b"file") == b"con"


@contextmanager
def somebody() -> Iterator[None]:
    """Not root, to whom nothing is closed."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_nobody_may_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        (top / "file").write_bytes(b"x")
        (top / "closed").write_bytes(b"x")
        top.chmod(0o755)
        (top / "closed").chmod(0)
        with somebody():
            bare = Bare(files=Files.read_only(top))
            assert content(bare, b"closed") == ACCES
            assert content(bare, b"file") == b"x"
            with pytest.raises(FilesError, match=r"closed: Permission denied"):
                Bare(files=Files.private_copy(top))
        (top / "closed").unlink()
        (top / "sub").mkdir(0)
        with somebody():
            for files in (Files.read_only, lambda path: Bare(files=Files.private_copy(path))):
                with pytest.raises(FilesError, match=r"sub: Permission denied"):
                    files(top)


# Descriptors of the host


def test_a_file_open_many_times_takes_one_descriptor_and_leaves_none(scene: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    bare = Bare(files=Files.read_only(scene))
    fds = [bare.open(3, b"file", 0, READ)[1] for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) == before + 1
    for fd in fds[:25]:
        bare.close(fd)
    bare.call("fd_renumber", fds[25], fds[26])
    assert bare.read(fds[26], 100) == (0, b"contents")
    bare.table.close_all()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_guest_that_ends_with_files_open_leaves_none(sandbox: Sandbox, scene: Path) -> None:
    files = Files.read_only(scene)
    opens = "".join(
        f"(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 2)"
        f"(i64.const 0) (i32.const 0) (i32.const {100 + at})))"
        for at in range(20)
    )
    ends = {"exit": "(call $proc_exit (i32.const 3))", "trap": "unreachable", "limit": "(loop $l (br $l))"}
    for end, wat in ends.items():
        program = sandbox.program(module(opens + wat, more='(data (i32.const 0) "file")'))
        for _ in range(2):
            before = len(os.listdir("/proc/self/fd"))
            launch = Launch(["guest"], EmptySource(), 1, Limits(wall=0.1), files=files)
            assert sandbox.runner.run(program, launch).end == end
        assert len(os.listdir("/proc/self/fd")) == before


def test_directories_open_as_directories_alone(scene: Path) -> None:
    for bare in trees(scene):
        assert bare.open(3, b"file", DIRECTORY, READ)[0] == NOTDIR
        assert bare.open(3, b"sub", 0, READ | WRITE)[0] == ISDIR
        assert bare.open(3, b"sub/file/", 0, READ)[0] == NOTDIR
