"""Namespaces of its own: a network without a single interface, and none of the machine's shared memory and queues.

Holds back: the network and abstract sockets, for spawner, workers and compilers alike: all that they have of it are the
descriptors they are given. Made once, when the spawner starts. A node that is not root needs a user namespace for it.
"""

import os
from typing import Final

from insitu.runtime.confine import system
from insitu.runtime.confine.measure import Missing, Setup

_NEWUTS, _NEWIPC, _NEWUSER, _NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x40000000
_WANTED: Final = _NEWNET | _NEWIPC | _NEWUTS


def take(_: Setup) -> None:
    before = _network()
    try:
        system.call("unshare", _WANTED)
    except PermissionError:
        _with_user_namespace()
    if _network() == before:
        raise Missing("the network is the same as before")


def _with_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        system.call("unshare", _WANTED | _NEWUSER)
    except OSError as why:
        raise Missing(f"neither root nor allowed a user namespace: {why.strerror}") from None
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError as why:
        # There is no way back, and nobody is who he was.
        raise SystemExit(f"user namespace: {why}") from None


def _network() -> int:
    return os.stat("/proc/self/ns/net").st_ino


def prove(_: Setup) -> None:
    with open("/proc/self/net/dev") as file:
        names = [line.split(":")[0].strip() for line in file if ":" in line]
    if names not in ([], ["lo"]):
        raise Missing(f"interfaces {', '.join(names)} are there")
