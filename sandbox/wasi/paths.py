"""path_*: what is done by a name below an open directory."""

from insitu.sandbox import errno
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files import operations
from insitu.sandbox.files.nodes import Directory, StreamNode
from insitu.sandbox.files.paths import find
from insitu.sandbox.wasi import abi
from insitu.sandbox.wasi.abi import RIGHTS, Arguments, u32
from insitu.sandbox.wasi.descriptors import set_times, wide, write_filestat
from insitu.sandbox.wasi.guest import Guest
from insitu.sandbox.wasi.table import Descriptor, File, OpenDirectory, Stream

_PATH_OPEN = RIGHTS["path_open"]


def _directory(guest: Guest, fd: int, right: int) -> Directory:
    """An open directory that may be used so. ENOTDIR when it is none."""
    entry = guest.table[fd]
    directory = entry.directory()
    if entry.rights & right != right:
        raise GuestError(errno.NOTCAPABLE)
    return directory


def _follows(flags: int) -> bool:
    if flags & ~abi.FOLLOW:
        raise GuestError(errno.INVAL)
    return bool(flags)


def path_open(guest: Guest, a: Arguments) -> int:
    follow, flags, base, inheriting, fdflags = _follows(a[4]), a[16], wide(a, 5), wide(a, 6), a[28]
    entry = guest.table[a[0]]
    directory = entry.directory()
    if flags & ~0xF or fdflags & ~abi.ALL_FDFLAGS:
        return errno.INVAL
    base, inheriting = base & abi.ALL_RIGHTS, inheriting & abi.ALL_RIGHTS
    needed = _PATH_OPEN
    if flags & abi.CREATE:
        needed |= RIGHTS["path_create_file"]
    if flags & abi.TRUNCATE and not base & RIGHTS["fd_filestat_set_size"]:
        # Who gets a descriptor to resize the file by may as well have it emptied: Go opens its directories so.
        needed |= RIGHTS["path_filestat_set_size"]
    if entry.rights & needed != needed or (base | inheriting) & ~entry.inheriting:
        return errno.NOTCAPABLE
    result = guest.span(a[32], 4)
    path = guest.path(a[8], a[12])
    table = guest.table
    if table.full():
        guest.refuse("open_files", table.limit, table.limit + 1)
        return errno.MFILE
    node = operations.open_file(
        directory,
        path,
        follow=follow,
        create=bool(flags & abi.CREATE),
        exclusive=bool(flags & abi.EXCLUSIVE),
        truncate=bool(flags & abi.TRUNCATE),
        directory=bool(flags & abi.OF_DIRECTORY),
        writing=bool(base & abi.WRITE),
    )
    opened: Descriptor
    if isinstance(node, Directory):
        opened = OpenDirectory(node, base, inheriting, fdflags)
    elif isinstance(node, StreamNode):
        opened = Stream(node.source, node.sink)
        opened.rights &= base
    else:
        opened = File(node, base, inheriting, fdflags)
    u32(result, 0, table.add(opened))
    return 0


def path_create_directory(guest: Guest, a: Arguments) -> int:
    start = _directory(guest, a[0], RIGHTS["path_create_directory"])
    operations.make_directory(start, guest.path(a[4], a[8]))
    return 0


def path_remove_directory(guest: Guest, a: Arguments) -> int:
    start = _directory(guest, a[0], RIGHTS["path_remove_directory"])
    operations.remove_directory(start, guest.path(a[4], a[8]))
    return 0


def path_unlink_file(guest: Guest, a: Arguments) -> int:
    start = _directory(guest, a[0], RIGHTS["path_unlink_file"])
    operations.unlink(start, guest.path(a[4], a[8]))
    return 0


def path_filestat_get(guest: Guest, a: Arguments) -> int:
    start = _directory(guest, a[0], RIGHTS["path_filestat_get"])
    node = find(start, guest.path(a[8], a[12]), follow=_follows(a[4])).existing()
    return write_filestat(guest, a[16], node)


def path_filestat_set_times(guest: Guest, a: Arguments) -> int:
    start = _directory(guest, a[0], RIGHTS["path_filestat_set_times"])
    node = find(start, guest.path(a[8], a[12]), follow=_follows(a[4])).existing()
    return set_times(node, wide(a, 4), wide(a, 5), a[24])


def path_link(guest: Guest, a: Arguments) -> int:
    follow = _follows(a[4])
    old = _directory(guest, a[0], RIGHTS["path_link_source"])
    new = _directory(guest, a[16], RIGHTS["path_link_target"])
    operations.link(old, guest.path(a[8], a[12]), follow, new, guest.path(a[20], a[24]))
    return 0


def path_rename(guest: Guest, a: Arguments) -> int:
    old = _directory(guest, a[0], RIGHTS["path_rename_source"])
    new = _directory(guest, a[12], RIGHTS["path_rename_target"])
    operations.rename(old, guest.path(a[4], a[8]), new, guest.path(a[16], a[20]))
    return 0


def path_symlink(guest: Guest, a: Arguments) -> int:
    start = _directory(guest, a[8], RIGHTS["path_symlink"])
    target = guest.path(a[0], a[4])
    if target.startswith(b"/"):
        return errno.PERM  # a guest's own links lead nowhere but below where they stand
    operations.symlink(target, start, guest.path(a[12], a[16]))
    return 0


def path_readlink(guest: Guest, a: Arguments) -> int:
    """As much of the target as fits."""
    start = _directory(guest, a[0], RIGHTS["path_readlink"])
    result, span = guest.span(a[20], 4), guest.span(a[12], a[16])
    target = operations.read_link(start, guest.path(a[4], a[8]))[: len(span)]
    span[: len(target)] = target
    u32(result, 0, len(target))
    return 0
