"""Talking to a cluster's supervisor at its control socket: one JSON object a line, one answer, then the line closes.

::

    {"do": "state"}                        -> {"state": {…}}           as in state.json, with the dead left out
    {"do": "stop-node", "node": 2}         -> {} or {"error": message}
    {"do": "start-node", "node": 2}        -> {} or {"error": message}
    {"do": "stop"}                         -> end of file, when everything has ended
"""

import json
import os
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any, Final

from insitu.storage_hooks.devcluster.errors import DevClusterError, NotRunning
from insitu.storage_hooks.devcluster.layout import Layout

ANSWER_PATIENCE: Final = 90.0  # seconds; starting a node is the slowest thing asked for
STOP_PATIENCE: Final = 20.0


def connect(layout: Layout) -> socket.socket:
    """Raises NotRunning when no supervisor listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_PATIENCE)
    try:
        connection.connect(str(layout.control))
    except OSError:
        connection.close()
        raise NotRunning(f"{layout.root}: no cluster runs here") from None
    return connection


def ask(layout: Layout, **request: object) -> dict[str, Any]:
    """The supervisor's answer. Raises NotRunning, or DevClusterError with what it says is wrong."""
    with connect(layout) as connection:
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        except OSError as e:
            raise DevClusterError(f"{layout.root}: the cluster's supervisor does not answer: {e}") from e
    if not line:
        raise NotRunning(f"{layout.root}: the cluster's supervisor went away")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise DevClusterError(str(answer["error"]))
    return answer


def stop(layout: Layout) -> bool:
    """Ends the cluster in that directory and returns when nothing of it runs. False when nothing did."""
    try:
        connection = connect(layout)
    except NotRunning:
        return wait_unlocked(layout) and False
    with connection:
        pid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        connection.settimeout(STOP_PATIENCE)
        try:
            connection.sendall(json.dumps({"do": "stop"}).encode() + b"\n")
            connection.recv(1)
        except ConnectionError:
            pass
        except TimeoutError:
            # It is stuck. The kernel ends its children with it.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_unlocked(layout)
    return True


def wait_unlocked(layout: Layout, patience: float = STOP_PATIENCE) -> bool:
    """Waits for the supervisor's lock to be free: a cluster may be starting or ending. Raises DevClusterError."""
    deadline = time.monotonic() + patience
    while layout.locked():
        if time.monotonic() > deadline:
            raise DevClusterError(f"{layout.root}: a supervisor that does not answer still holds {layout.lock}")
        time.sleep(0.05)
    return True
