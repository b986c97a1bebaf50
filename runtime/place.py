"""The node's socket in the file system: one node to a place, and only its own user may speak there."""

import fcntl
import os
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


class NodeFailed(Exception):
    """The node cannot serve; the message says why."""


@contextmanager
def claimed(path: str) -> Iterator[None]:
    """The socket's place, ours for as long as we serve. Raises `NodeFailed`."""
    if len(os.fsencode(path)) > 90:
        raise NodeFailed(f"socket {path}: {len(os.fsencode(path))} bytes long, and the kernel allows about 100")
    place = Path(path)
    lock = -1
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        # Looking and binding are two steps: of two nodes that start at once, both would find nobody there.
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if place.exists():
            if not place.is_socket():
                raise NodeFailed(f"socket {path}: something else stands there")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    place.unlink()  # left by a node that was killed
                else:
                    raise NodeFailed(f"socket {path}: a node serves there already")
    except BlockingIOError:
        os.close(lock)
        raise NodeFailed(f"socket {path}: a node serves there already") from None
    except (OSError, NodeFailed) as why:
        if lock >= 0:
            os.close(lock)
        if isinstance(why, NodeFailed):
            raise
        raise NodeFailed(f"socket {path}: {why.strerror or why}") from None
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(lock)


def listen(path: str, mode: int = 0o600) -> socket.socket:
    """Non-blocking. `mode`: who may connect; `is_friend` says who is answered. Raises `NodeFailed`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # Bound under another name first: when the socket is there, it is listening, and only we may use it.
    temporary = f"{path}.{os.getpid()}"
    try:
        Path(temporary).unlink(missing_ok=True)  # of one with our process id that was killed
        listener.bind(temporary)
        os.chmod(temporary, mode)
        listener.listen(1024)
        os.rename(temporary, path)
    except OSError as why:
        listener.close()
        Path(temporary).unlink(missing_ok=True)
        raise NodeFailed(f"socket {path}: {why.strerror or why}") from None
    return listener


def is_friend(sock: socket.socket, allowed: Collection[int] = ()) -> bool:
    """Whether the peer runs as our own user, as root, or as one of those `allowed`, by user id. Says nothing against a
    socket that such a peer hands on to somebody else."""
    uid = peer_uid(sock)
    return uid in (os.geteuid(), 0) or uid in allowed


def peer_uid(sock: socket.socket) -> int:
    """The user id of whoever connected."""
    return int(struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
