"""The one place that knows how Swift does many things at once.

Swift's servers run every request in a green thread of one hub (eventlet, on its way out upstream). All that the hooks
need of it is here: a socket that yields while it waits, one wait for several descriptors, a time limit, and a look at
whether a client is still there. When Swift changes its concurrency, this file changes with it and no other.
"""

import socket as plain_socket
from collections.abc import Iterable
from typing import Any

from swift.common.concurrency import Timeout, getcurrent, hubs, socket

__all__ = ["Timeout", "client_socket", "connect", "peer_gone", "wait_readable"]


def connect(path: str, timeout: float) -> Any:
    """A connected Unix stream socket. Raises OSError (TimeoutError when the peer's backlog stays full)."""
    sock = socket.socket(plain_socket.AF_UNIX, plain_socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def wait_readable(fds: Iterable[int], timeout: float) -> set[int]:
    """Let other requests run until one of `fds` can be read (or is at its end), or `timeout` seconds have passed.

    Returns those that can, at least one unless the time was up.
    """
    hub = hubs.get_hub()
    current = getcurrent()
    ready: set[int] = set()
    waiting = True

    # Two descriptors can become ready in one round of the hub: only the first may switch here, for when the second's
    # turn comes this green thread already waits for something else.
    def wake(fd: int | None = None) -> None:
        nonlocal waiting
        if fd is not None:
            ready.add(fd)
        if waiting:
            waiting = False
            current.switch()

    def broken(*_why: object) -> None:
        wake()

    timer = hub.schedule_call_global(max(timeout, 0.0), wake)
    listeners: list[Any] = []
    try:
        for fd in fds:
            listeners.append(hub.add(hub.READ, fd, wake, broken, broken))
        hub.switch()
    finally:
        waiting = False
        for listener in listeners:
            hub.remove(listener)
        timer.cancel()
    return ready


def client_socket(environ: dict[str, Any]) -> Any | None:
    """The connection that a WSGI request came in on; None when there is none to look at."""
    # Middleware may have replaced wsgi.input; eventlet keeps its own under this name.
    source = environ.get("eventlet.input")
    get_socket = getattr(source, "get_socket", None)
    if get_socket is None:
        return None
    sock = get_socket()
    return sock if sock is not None and sock.fileno() >= 0 else None


def peer_gone(sock: Any) -> bool:
    """Has the other side closed the connection? Never waits, takes no bytes. Bytes that wait to be read hide it."""
    # A green socket's own recv would wait; the socket inside never does. (There is no peeking into TLS.)
    inner = getattr(sock, "fd", sock)
    try:
        seen: bytes = inner.recv(1, plain_socket.MSG_PEEK | plain_socket.MSG_DONTWAIT)
        return seen == b""
    except BlockingIOError:
        return False
    except ValueError:
        return False
    except OSError:
        return True
