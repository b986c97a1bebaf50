"""Is a server up? A health check that waits to be answered instead of asking again and again."""

import socket
from pathlib import Path


class Probe:
    """One health check: `open()` sends it to a port that is bound already; `read()` once it is readable."""

    def __init__(self, name: str, address: tuple[str, int]) -> None:
        self.name = name
        self._address = address
        self._socket: socket.socket | None = None

    def open(self) -> int:
        """Gives the descriptor to wait on."""
        self._socket = socket.create_connection(self._address, timeout=5)
        self._socket.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return self._socket.fileno()

    def fileno(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def read(self) -> int | None:
        """The status of the answer, None when there was none. Closes the connection."""
        assert self._socket is not None
        with self._socket as connection:
            try:
                line = connection.makefile("rb").readline(256)
            except OSError:
                return None
        parts = line.split()
        return int(parts[1]) if len(parts) > 1 and parts[0].startswith(b"HTTP/") and parts[1].isdigit() else None


def healthy(ip: str, port: int) -> bool:
    """Asks now, and waits at most five seconds."""
    probe = Probe("", (ip, port))
    try:
        probe.open()
    except OSError:
        return False
    return probe.read() == 200


def accepts(path: Path) -> bool:
    """Somebody listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(1.0)
        try:
            attempt.connect(str(path))
        except OSError:
            return False
    return True
