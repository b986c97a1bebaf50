"""A client behind a slow link: programs to the data against data to the programs. Run by test_link.py, in a network
namespace of its own:

    unshare -Urn python -m benchmarks.link PHOTO PAIRS

All of the cluster stands in that namespace, on its loopback. What goes to or from 127.0.0.100, where a relay listens
in the proxy's place, is held to 100 Mbit/s each way; all else is not. The relay counts the bytes. One line of JSON a
pair: seconds and bytes of both sides.
"""

import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import swiftclient
from PIL import Image

from benchmarks.test_watermark import TEXT, by_pillow
from insitu.storage_hooks.devcluster import DevCluster

LINK: Final = "127.0.0.100"
RATE: Final = "100mbit"


def shape() -> None:
    """The link, on this namespace's loopback."""
    for command in (
        "ip link set lo up",
        "tc qdisc add dev lo root handle 1: htb default 10",
        "tc class add dev lo parent 1: classid 1:10 htb rate 40gbit quantum 60000",
        f"tc class add dev lo parent 1: classid 1:20 htb rate {RATE} quantum 60000",
        f"tc class add dev lo parent 1: classid 1:30 htb rate {RATE} quantum 60000",
        f"tc filter add dev lo protocol ip parent 1: u32 match ip dst {LINK}/32 flowid 1:20",
        f"tc filter add dev lo protocol ip parent 1: u32 match ip src {LINK}/32 flowid 1:30",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)


class Relay:
    """Listens at the link's end, passes everything on to the proxy, and counts."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server((LINK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.moved = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(self._target)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 18):
                with self._lock:
                    self.moved += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def measured(what: Callable[[], None], relay: Relay) -> dict[str, float]:
    before, begun = relay.moved, time.perf_counter()
    what()
    return {"seconds": time.perf_counter() - begun, "bytes": relay.moved - before}


def main(file: str, pairs: int) -> None:
    shape()
    photo = Path(file).read_bytes()
    with Image.open(file) as picture:
        size = min(picture.size) // 20  # the guest's default
    with DevCluster() as cluster:
        address = urlsplit(cluster.endpoint)
        relay = Relay(address.hostname or "", address.port or 0)
        with closing(cluster.connection()) as connection:
            connection.put_container("photos")
            connection.put_object("photos", "photo.jpg", photo, content_type="image/jpeg")
            url, token = connection.get_auth()
        url = url.replace(f"{address.hostname}:{address.port}", f"{LINK}:{relay.port}")
        http: Any = swiftclient.http_connection(url)

        def on_the_node() -> None:
            headers = {"X-Run": f"watermark --text {TEXT}", "Destination": "photos/marked.jpg"}
            request(http, "COPY", f"{url}/photos/photo.jpg", token, headers)

        def by_the_client() -> None:
            _, data = swiftclient.get_object(url, token, "photos", "photo.jpg", http_conn=http)
            marked = by_pillow(data, size)
            swiftclient.put_object(
                url,
                token,
                "photos",
                "marked.jpg",
                io.BytesIO(marked),
                len(marked),
                content_type="image/jpeg",
                http_conn=http,
            )

        on_the_node()
        by_the_client()
        for pair in range(pairs):
            order = (on_the_node, by_the_client) if pair % 2 else (by_the_client, on_the_node)
            found = {side.__name__: measured(side, relay) for side in order}
            print(json.dumps(found | {"photo": len(photo)}), flush=True)


def request(http: Any, method: str, url: str, token: str, headers: dict[str, str]) -> None:
    _, connection = http
    connection.request(method, urlsplit(url).path, b"", {"X-Auth-Token": token, **headers})
    response = connection.getresponse()
    response.read()
    if response.status // 100 != 2:
        raise SystemExit(f"{method} {url}: {response.status}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
