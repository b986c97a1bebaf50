"""From a directory and a path to a name in some directory, without ever leaving the directory it began at.

Links, `..` and all, a lookup stays below its beginning: that is all its descriptor gives a right to. A link to an
absolute path, which trees that come with a program may hold, is followed where the lookup began at the root.
"""

from dataclasses import dataclass
from typing import Final

from insitu.sandbox import errno
from insitu.sandbox.errno import GuestError
from insitu.sandbox.files.nodes import NAME_MAX, Directory, Link, Node

MAX_LINKS: Final = 40
"""Symbolic links followed in one lookup, as Linux has it."""


@dataclass(slots=True)
class Place:
    """Where a path leads: `name` in `parent`, and what is there (None: nothing yet).

    For a path that ends at a directory without naming it (".", "..", "/"), `name` is empty and `node` that directory.
    `slash`: the path ended in one, so only a directory will do.
    """

    parent: Directory
    name: bytes
    node: Node | None
    slash: bool

    def existing(self) -> Node:
        """Raises ENOENT, or ENOTDIR for a slash behind what is no directory."""
        if self.node is None:
            raise GuestError(errno.NOENT)
        if self.slash and not isinstance(self.node, Directory):
            raise GuestError(errno.NOTDIR)
        return self.node


def find(start: Directory, path: bytes, *, follow: bool = False, naming: bool = False) -> Place:
    """Resolve `path` from `start`; `follow`: a symbolic link at its very end is followed too.

    A slash behind a link has it followed as well, unless the path is `naming` what is to be made, moved or removed: for
    Linux, the name of a link is then that of the link, slash or not.

    Raises ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EILSEQ, EINVAL, and EPERM for a way out of `start`.
    """
    check(path)
    if path.startswith(b"/"):
        raise GuestError(errno.PERM)
    trail = [start]
    ahead = _parts(path)
    slash = path.endswith(b"/")
    links = 0
    while ahead:
        name = ahead.pop()
        here = trail[-1]
        if name == b".":
            continue
        if name == b"..":
            if len(trail) == 1:
                raise GuestError(errno.PERM)
            trail.pop()
            continue
        if len(name) > NAME_MAX:
            raise GuestError(errno.NAMETOOLONG)
        node = here.entries.get(name)
        last = not ahead
        if isinstance(node, Link) and (follow or not last or (slash and not naming)):
            links += 1
            if links > MAX_LINKS:
                raise GuestError(errno.LOOP)
            target = node.target
            if target.startswith(b"/"):
                if not start.is_root:
                    raise GuestError(errno.PERM)
                del trail[1:]
            slash = slash or (last and target.endswith(b"/"))
            ahead.extend(_parts(target))
            continue
        if last:
            if node is None and here.gone:
                raise GuestError(errno.NOENT)
            return Place(here, name, node, slash)
        if node is None:
            raise GuestError(errno.NOENT)
        if not isinstance(node, Directory):
            raise GuestError(errno.NOTDIR)
        trail.append(node)
    return Place(trail[-1], b"", trail[-1], True)


def _parts(path: bytes) -> list[bytes]:
    """The names in it, the first one last; "." only where it ends the path: what it stands behind is a directory."""
    parts = [part for part in path.split(b"/") if part]
    parts = [part for part in parts[:-1] if part != b"."] + parts[-1:]
    parts.reverse()
    return parts


def check(path: bytes) -> None:
    """Raises EINVAL for a NUL, EILSEQ for what is no UTF-8, ENOENT for no path at all."""
    if not path:
        raise GuestError(errno.NOENT)
    if b"\0" in path:
        raise GuestError(errno.INVAL)
    if not path.isascii():
        try:
            path.decode()
        except UnicodeDecodeError:
            raise GuestError(errno.ILSEQ) from None
