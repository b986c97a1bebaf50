"""Where the supervisor answers questions: the other side of control.py, which shows the protocol."""

import json
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

PEER_PATIENCE: Final = 2.0  # seconds for a peer to say what it wants; nobody else is served meanwhile


class Desk:
    """A listening Unix socket. `answer` gives the answer to one request, or None to leave the line open to the end."""

    def __init__(self, path: Path, answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        self._answer = answer
        self._waiting: list[socket.socket] = []  # closed by the end of this process
        with suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(16)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def serve_one(self) -> None:
        """To be called when the socket is readable."""
        peer, _ = self._socket.accept()
        peer.settimeout(PEER_PATIENCE)
        try:
            with peer.makefile("rb") as lines:
                request = json.loads(lines.readline(4096) or b"{}")
            answer = self._answer(request if isinstance(request, dict) else {})
            if answer is None:
                self._waiting.append(peer)
                return
            peer.sendall(json.dumps(answer, default=str).encode() + b"\n")
        except (OSError, ValueError) as e:
            print(f"control: {e}", file=sys.stderr, flush=True)
        peer.close()
