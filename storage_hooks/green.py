"""The one place that knows how Swift does many things at once.

Swift's servers run every request in a green thread of one hub (eventlet, on its way out upstream). All that the hooks
need of it is here: a socket that yields while it waits, one wait for several descriptors, a time limit, word of a
client that went away, and for what goes on beside a request a green thread, a queue and an event. When Swift changes
its concurrency, this file changes with it and no other.
"""

import ctypes
import os
import socket as plain_socket
import struct
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from swift.common.concurrency import Event, Timeout, getcurrent, hubs, socket
from swift.common.concurrency import LightQueue as Queue
from swift.common.concurrency import greenthread_spawn as _spawn
from swift.common.concurrency import queue as _queue
from swift.common.concurrency import trampoline as _trampoline

__all__ = [
    "ClientGone",
    "ClientWatch",
    "Event",
    "Pending",
    "Queue",
    "QueueFull",
    "Timeout",
    "begin",
    "client_socket",
    "connect",
    "peer_gone",
    "spawn",
    "speaks_http_1_0",
    "wait_readable",
    "write_all",
    "write_through",
]

QueueFull: type[Exception] = _queue.Full
"""What `Queue.put` raises when there was no room in time."""


T = TypeVar("T")

_AT_ONCE = "eventlet.minimum_write_chunk_size"
_connect = ctypes.CDLL(None, use_errno=True).connect


class ClientGone(BaseException):
    """The client closed its connection. Like a Timeout no Exception: Swift's own handlers are not to swallow it."""


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


def spawn(what: Callable[[], None]) -> Any:
    """Run `what` in a green thread of its own; it must let no exception out. The result's `kill()` ends it at once, by
    an exception (no `Exception`) where it waits."""
    return _spawn(what)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to a non-blocking descriptor, letting other requests run meanwhile.

    Raises OSError: BrokenPipeError when nobody reads from it any more.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _trampoline(fd, write=True)


class Pending(Generic[T]):
    """Something that is under way; see `begin`."""

    def __init__(self, thread: Any) -> None:
        self._thread = thread

    def result(self) -> T:
        """Wait for it. Raises what it raised."""
        found: T = self._thread.wait()
        return found


def begin(what: Callable[[], T]) -> Pending[T]:
    """Begin `what` now, in a green thread of its own, and get its result later."""
    return Pending(_spawn(what))


def client_socket(environ: dict[str, Any]) -> Any | None:
    """The connection that a WSGI request came in on; None when there is none to look at."""
    # Middleware may have replaced wsgi.input; eventlet keeps its own under this name.
    source = environ.get("eventlet.input")
    get_socket = getattr(source, "get_socket", None)
    if get_socket is None:
        return None
    sock = get_socket()
    return sock if sock is not None and sock.fileno() >= 0 else None


def speaks_http_1_0(environ: dict[str, Any]) -> bool:
    """Is the end of a connection how this client knows the end of a body? False where that cannot be found out.

    (The server's SERVER_PROTOCOL is always HTTP/1.0.)
    """
    handler = _handler(environ)
    return handler is not None and handler.request_version != "HTTP/1.1"


def write_through(environ: dict[str, Any]) -> None:
    """Have the server send each piece of the body as it comes, instead of 4 KiB and more at once.

    It looks for that word in the environment that it made, and s3api hands on another one.
    """
    environ[_AT_ONCE] = 0
    handler = _handler(environ)
    if handler is not None:
        handler.environ[_AT_ONCE] = 0


def _handler(environ: dict[str, Any]) -> Any | None:
    """The server's own object for this request, to which one of the functions is bound that it puts into the
    environment; None where there is no such function."""
    for cell in getattr(environ.get("eventlet.set_idle"), "__closure__", None) or ():
        found = cell.cell_contents
        if hasattr(found, "request_version") and hasattr(found, "environ"):
            return found
    return None


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


class ClientWatch:
    """Word of a client that goes away while a request waits for something else.

    A server notices that only when it writes, and a run may have nothing to write for long. Inside `with watch:` the
    waiting green thread gets a `ClientGone` as soon as the client's connection is closed. Until `close()`, nobody else
    may read from that connection; an eventlet server does not before it has closed the response's body.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._sock = client_socket(environ)
        self._gone = False
        self._waiting: Any = None
        self._timer: Any = None
        self._listener: Any = None
        if self._sock is not None:
            hub = hubs.get_hub()
            fd = self._sock.fileno()
            self._listener = hub.add(hub.READ, fd, self._readable, self._readable, self._readable)

    def __enter__(self) -> Self:
        if self._gone:
            raise ClientGone
        self._waiting = getcurrent()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._waiting = None

    def close(self) -> None:
        """Watch no longer. May be called again."""
        if self._listener is not None:
            hubs.get_hub().remove(self._listener)
            self._listener = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reset(self) -> None:
        """Reset the client's connection (RST): whatever its protocol, it cannot take that for an end."""
        if self._sock is not None:
            # Dissolving a TCP connection is connecting it to nowhere; Python has no words for it. An error here leaves
            # the orderly close that follows anyway.
            nowhere = ctypes.create_string_buffer(struct.pack("=H14x", plain_socket.AF_UNSPEC))
            _connect(self._sock.fileno(), nowhere, len(nowhere.raw))

    def _readable(self, *_why: object) -> None:
        # In the hub. Whatever it is, it would be reported for ever; and bytes that nobody asked for (a client that
        # sends its next request already) hide the end of the connection.
        gone = peer_gone(self._sock)
        self.close()
        if gone:
            self._gone = True
            # Not from here: the hub may be about to wake the very same green thread for something else.
            self._timer = hubs.get_hub().schedule_call_global(0, self._throw)

    def _throw(self) -> None:
        self._timer = None
        if self._waiting is not None:
            self._waiting.throw(ClientGone)
