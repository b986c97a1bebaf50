"""What can be done to a tree, with the error numbers of POSIX. Each takes hold whole or not at all."""

from insitu.sandbox import errno
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files.nodes import Directory, Link, MemoryFile, Node, StreamNode
from insitu.sandbox.files.paths import Place, check, find

_LINKS_MAX = 65_000  # names of one file, as ext4 has it


def open_file(start: Directory, path: bytes, *, follow: bool, create: bool, exclusive: bool, truncate: bool,
              directory: bool, writing: bool) -> Node:  # fmt: skip
    """The node to open: a directory, or a file, made if `create`. A symbolic link at the end that is not to be
    followed is ELOOP, or ENOTDIR where a directory was asked for."""
    names = create and (exclusive or path.endswith(b"/"))
    place = find(start, path, follow=follow and not names, naming=names)
    node = place.node
    if create and place.slash and place.name and not directory:
        raise GuestError(errno.ISDIR)
    if node is None:
        if not create:
            raise GuestError(errno.NOENT)
        if directory:
            raise GuestError(errno.INVAL)
        place.parent.volume.writable()
        node = MemoryFile(place.parent.volume)
        place.parent.add(place.name, node)
        return node
    if create and exclusive:
        raise GuestError(errno.EXIST)
    if isinstance(node, Link):
        raise GuestError(errno.NOTDIR if directory else errno.LOOP)
    if isinstance(node, Directory):
        if (create and not directory) or truncate or writing:
            raise GuestError(errno.ISDIR)
        return node
    if place.slash or directory:
        raise GuestError(errno.NOTDIR)
    if truncate or writing:
        node.volume.writable()
    if truncate and not isinstance(node, StreamNode):
        node.resize(0)
    return node


def make_directory(start: Directory, path: bytes) -> None:
    place = find(start, path, naming=True)
    if place.node is not None:
        raise GuestError(errno.EXIST)
    place.parent.volume.writable()
    place.parent.add(place.name, Directory(place.parent.volume))


def _removable(place: Place) -> Node:
    node = place.node
    if node is None:
        raise GuestError(errno.NOENT)
    if not place.name:
        raise GuestError(errno.INVAL)  # "." of whatever it is
    if place.parent.volume is not node.volume:
        raise GuestError(errno.ROFS if place.parent.volume.read_only else errno.BUSY)  # something is mounted there
    node.volume.writable()
    return node


def remove_directory(start: Directory, path: bytes) -> None:
    place = find(start, path, naming=True)
    if place.node is not None and not isinstance(place.node, Directory):
        raise GuestError(errno.NOTDIR)
    node = _removable(place)
    assert isinstance(node, Directory)
    if node.entries:
        raise GuestError(errno.NOTEMPTY)
    place.parent.remove(place.name)
    node.gone = True


def unlink(start: Directory, path: bytes) -> None:
    place = find(start, path, naming=True)
    if isinstance(place.node, Directory):
        raise GuestError(errno.ISDIR)
    node = _removable(place)
    if place.slash:
        raise GuestError(errno.NOTDIR)
    place.parent.remove(place.name)
    node.ctim = node.volume.stamp()
    node.let_go()


def rename(old_start: Directory, old_path: bytes, new_start: Directory, new_path: bytes) -> None:
    old, new = find(old_start, old_path, naming=True), find(new_start, new_path, naming=True)
    if not old.name or not new.name:
        raise GuestError(errno.BUSY)
    node = old.existing()
    if new.slash and not isinstance(node, Directory):
        raise GuestError(errno.NOTDIR)
    _removable(old)
    if isinstance(node, Directory) and _within(new.parent, node):
        raise GuestError(errno.INVAL)
    if new.node is not None:
        if new.node is node:
            return  # two names of one file: POSIX says that both stay
        _removable(new)
    if new.parent.volume is not node.volume:
        raise GuestError(errno.XDEV)
    if isinstance(node, Directory):
        if new.node is not None and not isinstance(new.node, Directory):
            raise GuestError(errno.NOTDIR)
        if isinstance(new.node, Directory) and new.node.entries:
            raise GuestError(errno.NOTEMPTY)
    elif isinstance(new.node, Directory):
        raise GuestError(errno.NOTEMPTY if _within(old.parent, new.node) else errno.ISDIR)
    replaced = None if new.node is None else new.parent.remove(new.name)
    old.parent.move(old.name, new.parent, new.name)
    if isinstance(replaced, Directory):
        replaced.gone = True
    elif replaced is not None:
        replaced.let_go()


def _within(directory: Directory, above: Directory) -> bool:
    while directory is not above:
        if directory.parent is directory:
            return False
        directory = directory.parent
    return True


def link(old_start: Directory, old_path: bytes, follow: bool, new_start: Directory, new_path: bytes) -> None:
    node = find(old_start, old_path, follow=follow).existing()
    new = find(new_start, new_path, naming=True)
    if new.node is not None:
        raise GuestError(errno.EXIST)
    if new.slash:
        raise GuestError(errno.NOENT)
    new.parent.volume.writable()
    if isinstance(node, Directory):
        raise GuestError(errno.PERM)
    if new.parent.volume is not node.volume:
        raise GuestError(errno.XDEV)
    if node.links >= _LINKS_MAX:
        raise GuestError(errno.MLINK)
    new.parent.add(new.name, node)
    node.ctim = node.volume.stamp()


def symlink(target: bytes, start: Directory, path: bytes) -> None:
    check(target)
    place = find(start, path, naming=True)
    if place.node is not None:
        raise GuestError(errno.NOTDIR if place.slash and not isinstance(place.node, Directory) else errno.EXIST)
    if place.slash:
        raise GuestError(errno.NOENT)
    volume = place.parent.volume
    volume.writable()
    node = Link(volume, target)
    try:
        place.parent.add(place.name, node)
    except GuestError:
        node.let_go()
        raise


def read_link(start: Directory, path: bytes) -> bytes:
    node = find(start, path).existing()
    if not isinstance(node, Link):
        raise GuestError(errno.INVAL)
    return node.target
