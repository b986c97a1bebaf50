"""fd_*: what is done by a descriptor's number. And sock_*, of which there are none."""

from insitu.sandbox import errno
from insitu.sandbox.channels import Wait
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files.nodes import Directory, Node
from insitu.sandbox.wasi import abi
from insitu.sandbox.wasi.abi import RIGHTS, Arguments, u32, u64
from insitu.sandbox.wasi.guest import Guest
from insitu.sandbox.wasi.table import Descriptor, OpenDirectory

_FILESTAT = 64
_S64 = 1 << 63


def wide(a: Arguments, at: int) -> int:
    """The 64-bit argument `at`."""
    return a[4 * at] | a[4 * at + 1] << 32


def permitted(guest: Guest, fd: int, right: int) -> Descriptor:
    """The descriptor. EBADF when it is not open; ENOTCAPABLE when its kind could do that, and it may not."""
    entry = guest.table[fd]
    if not entry.rights & right and entry.can & right:
        raise GuestError(errno.NOTCAPABLE)
    return entry


def fd_read(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    if not entry.rights & abi.READ:
        return errno.BADF
    result = guest.span(a[12], 4)
    u32(result, 0, entry.read(guest.vectors(a[4], a[8]), guest.wait))
    return 0


def fd_write(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    if not entry.rights & abi.WRITE:
        return errno.BADF
    result = guest.span(a[12], 4)
    u32(result, 0, entry.write(guest.vectors(a[4], a[8]), guest.wait))
    return 0


def fd_pread(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    if entry.can and not entry.rights & abi.READ:
        return errno.BADF
    result = guest.span(a[16], 4)
    u32(result, 0, entry.read_at(guest.vectors(a[4], a[8]), wide(a, 3)))
    return 0


def fd_pwrite(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    if entry.can and not entry.rights & abi.WRITE:
        return errno.BADF
    result = guest.span(a[16], 4)
    u32(result, 0, entry.write_at(guest.vectors(a[4], a[8]), wide(a, 3)))
    return 0


def fd_seek(guest: Guest, a: Arguments) -> int:
    offset, whence = wide(a, 1), a[8]
    offset -= (offset & _S64) << 1
    entry = guest.table[a[0]]
    # To ask where one is, the right to tell is enough.
    needed = abi.SEEK if offset or whence != 1 else abi.SEEK | abi.TELL
    permitted(guest, a[0], needed)
    result = guest.span(a[12], 8)
    u64(result, 0, entry.seek(offset, whence))
    return 0


def fd_tell(guest: Guest, a: Arguments) -> int:
    entry = permitted(guest, a[0], abi.TELL)
    result = guest.span(a[4], 8)
    u64(result, 0, entry.seek(0, 1))
    return 0


def fd_close(guest: Guest, a: Arguments) -> int:
    guest.table.close(a[0])
    return 0


def fd_renumber(guest: Guest, a: Arguments) -> int:
    guest.table.renumber(a[0], a[4])
    return 0


def fd_fdstat_get(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    # A stream's type is unknown: preview1 has none for pipes, and a character device would make libc line-buffer it.
    abi.fdstat(guest.span(a[4], 24), 0, entry.filetype, entry.flags, entry.rights, entry.inheriting)
    return 0


def fd_fdstat_set_flags(guest: Guest, a: Arguments) -> int:
    entry = permitted(guest, a[0], RIGHTS["fd_fdstat_set_flags"])
    if a[4] & ~abi.ALL_FDFLAGS:
        return errno.INVAL
    entry.set_flags(a[4])
    return 0


def fd_fdstat_set_rights(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    base, inheriting = wide(a, 1), wide(a, 2)
    if base & ~entry.rights or inheriting & ~entry.inheriting:
        return errno.NOTCAPABLE
    entry.rights, entry.inheriting = base, inheriting
    return 0


def write_filestat(guest: Guest, pointer: int, node: Node | None) -> int:
    span = guest.span(pointer, _FILESTAT)
    if node is None:
        abi.filestat(span, 0, 0, 0, 0, 1, 0, 0, 0, 0)
    else:
        abi.filestat(
            span, 0, node.volume.device, node.inode, node.filetype, node.links, node.size,
            node.atim, node.mtim, node.ctim,
        )  # fmt: skip
    return 0


def fd_filestat_get(guest: Guest, a: Arguments) -> int:
    return write_filestat(guest, a[4], permitted(guest, a[0], RIGHTS["fd_filestat_get"]).node())


def fd_filestat_set_size(guest: Guest, a: Arguments) -> int:
    entry = permitted(guest, a[0], RIGHTS["fd_filestat_set_size"])
    guest.wait.check()
    entry.resize(wide(a, 1))
    return 0


def set_times(node: Node, atim: int, mtim: int, flags: int) -> int:
    both_a, both_m = abi.SET_ATIM | abi.SET_ATIM_NOW, abi.SET_MTIM | abi.SET_MTIM_NOW
    if flags & both_a == both_a or flags & both_m == both_m or flags & ~(both_a | both_m):
        return errno.INVAL
    node.volume.writable()
    now = node.volume.stamp()
    if flags & both_a:
        node.atim = atim if flags & abi.SET_ATIM else now
    if flags & both_m:
        node.mtim = mtim if flags & abi.SET_MTIM else now
    node.ctim = now
    return 0


def fd_filestat_set_times(guest: Guest, a: Arguments) -> int:
    node = permitted(guest, a[0], RIGHTS["fd_filestat_set_times"]).node()
    if node is None:
        return errno.NOTCAPABLE
    return set_times(node, wide(a, 1), wide(a, 2), a[12])


def fd_allocate(guest: Guest, a: Arguments) -> int:
    entry = permitted(guest, a[0], RIGHTS["fd_allocate"])
    guest.wait.check()
    entry.allocate(wide(a, 1), wide(a, 2))
    return 0


def fd_advise(guest: Guest, a: Arguments) -> int:
    entry = permitted(guest, a[0], RIGHTS["fd_advise"])
    entry.advise()
    return errno.INVAL if a[12] > 5 else 0


def fd_sync(guest: Guest, a: Arguments) -> int:
    permitted(guest, a[0], RIGHTS["fd_sync"]).sync()
    return 0


def fd_datasync(guest: Guest, a: Arguments) -> int:
    permitted(guest, a[0], RIGHTS["fd_datasync"]).sync()
    return 0


def fd_prestat_get(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    if not isinstance(entry, OpenDirectory) or entry.name is None:
        return errno.BADF  # libc looks for preopened directories at start-up and stops at the first EBADF
    span = guest.span(a[4], 8)
    span[:] = bytes(8)
    u32(span, 4, len(entry.name))
    return 0


def fd_prestat_dir_name(guest: Guest, a: Arguments) -> int:
    entry = guest.table[a[0]]
    if not isinstance(entry, OpenDirectory) or entry.name is None:
        return errno.BADF
    if a[8] < len(entry.name):
        return errno.NAMETOOLONG
    guest.span(a[4], len(entry.name))[:] = entry.name
    return 0


def fd_readdir(guest: Guest, a: Arguments) -> int:
    """Entries behind the cookie until the buffer is full; the last one may be cut anywhere."""
    directory = permitted(guest, a[0], RIGHTS["fd_readdir"]).directory()
    result, span = guest.span(a[16], 4), guest.span(a[4], a[8])
    u32(result, 0, _list(directory, wide(a, 3), span, guest.wait))
    return 0


def _list(directory: Directory, cookie: int, span: memoryview, wait: Wait) -> int:
    used, room = 0, len(span)
    wait.check()
    if directory.gone:
        return 0
    for number, name, node in directory.after(cookie):
        if used == room:
            break
        if number & 0xFFF == 0:
            wait.check()
        entry = (abi.dirent(number, node.inode, len(name), node.filetype) + name)[: room - used]
        span[used : used + len(entry)] = entry
        used += len(entry)
    return used


def _no_socket(guest: Guest, a: Arguments) -> int:
    guest.table[a[0]]  # EBADF when it is not open
    return errno.NOTSOCK


sock_accept = sock_recv = sock_send = sock_shutdown = _no_socket
