"""A user id of its own: a worker of a node that was started as root is somebody who owns nothing.

Holds back: whatever root or the node's user may do: its files, its processes, its cache of machine code. Best is a user
that nothing else runs as.
"""

import os
import pwd
from collections.abc import Iterable
from typing import Final

from insitu.runtime.confine.measure import Missing, NotAsked, Setup

DEFAULT: Final = "nobody"


def resolve(user: str) -> tuple[int, int] | None:
    """User and group id of a name or number; of `nobody` for an empty one. None when this process is not root and
    nobody in particular was asked for.

    Raises ValueError for a user who does not exist, is root, or cannot be taken on.
    """
    if os.geteuid() != 0:
        if user:
            raise ValueError(f"user {user}: only a node that is started as root can have workers of another user")
        return None
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user or DEFAULT)
        found = entry.pw_uid, entry.pw_gid
    except (KeyError, OverflowError):
        if not user.isdecimal() or not 0 < int(user) < (1 << 32) - 1:
            raise ValueError(f"user {user or DEFAULT}: there is no such user") from None
        found = int(user), int(user)  # a number needs no entry
    if not found[0] or not found[1]:
        raise ValueError(f"user {user}: workers do not run as root or in its group")
    return found


def ids(users: Iterable[str]) -> frozenset[int]:
    """User ids of names or numbers. Raises ValueError for a user who does not exist."""
    found = set()
    for user in users:
        try:
            found.add(int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid)
        except KeyError:
            raise ValueError(f"user {user}: there is no such user") from None
    return frozenset(found)


def take(setup: Setup) -> None:
    if setup.user is None:
        raise NotAsked("the node was not started as root: workers are its own user")
    uid, gid = setup.user
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def prove(setup: Setup) -> None:
    assert setup.user is not None
    uid, gid = setup.user
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or os.getgroups():
        raise Missing(f"runs as {os.getresuid()}, {os.getresgid()}")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise Missing("the way back to root is open")
