"""A store over real HTTP with faults to order, for what a healthy cluster will not do: break off, refuse, forget.

Programs are Python functions here. What is about programs, sandboxes and Swift is tested on the real cluster.
"""

import hashlib
import json
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

Program = Callable[[bytes], bytes]


class Refusal(Exception):
    """A fake program's way to fail: becomes a 422 with this as stderr."""


def words(data: bytes) -> bytes:
    counts = Counter(data.split())
    return b"".join(b"%s\t%d\n" % (word, counts[word]) for word in sorted(counts))


def sum_(data: bytes) -> bytes:
    totals: Counter[bytes] = Counter()
    for line in data.split(b"\n")[:-1]:
        key, _, number = line.partition(b"\t")
        totals[key] += int(number)
    return b"".join(b"%s\t%d\n" % (key, totals[key]) for key in sorted(totals))


def fail(data: bytes) -> bytes:
    raise Refusal("no luck with this one")


class FakeStore:
    """Containers and objects in memory, one request a thread.

    `faults[(method, container/name)]` is a list of faults for the next such requests ("*": any name), first one first:
    an int (that status), "abort" (half of a chunked body, then the connection goes), "short" (less than the
    Content-Length says), "unframed" (HTTP/1.0 style: the body ends with the connection), "reset" (no answer at all),
    "plain" (the run is ignored), "wait" (answer only once `gate` is set).
    """

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {"words": words, "sum": sum_, "fail": fail, "cat": lambda data: data}
        self.containers: dict[str, dict[str, bytes]] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.faults: dict[tuple[str, str], list[int | str]] = defaultdict(list)
        self.requests: list[tuple[str, str]] = []
        self.runs: list[tuple[str, str]] = []
        self.tokens = 0
        self.page = 10000
        self.gate = threading.Event()
        self.waiting = threading.Event()
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def auth_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/auth/v1.0"

    @property
    def environment(self) -> dict[str, str]:
        return {"ST_AUTH": self.auth_url, "ST_USER": "test:tester", "ST_KEY": "testing"}

    def put(self, container: str, **objects: bytes) -> None:
        self.containers.setdefault(container, {}).update(objects)

    def put_all(self, container: str, objects: dict[str, bytes]) -> None:
        self.containers.setdefault(container, {}).update(objects)

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                store.serve(self)

            do_HEAD = do_PUT = do_DELETE = do_GET

        return Handler

    def serve(self, http: BaseHTTPRequestHandler) -> None:
        url = urlsplit(http.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        length = int(http.headers.get("Content-Length") or 0)
        body = http.rfile.read(length)
        if url.path == "/auth/v1.0":
            self.tokens += 1
            good = http.headers.get("X-Auth-User") == "test:tester" and http.headers.get("X-Auth-Key") == "testing"
            host, port = self._server.server_address[:2]
            self.answer(
                http,
                200 if good else 401,
                headers={"X-Storage-Url": f"http://{host!s}:{port}/v1/A", "X-Auth-Token": f"t{self.tokens}"},
            )
            return
        path = unquote(url.path).removeprefix("/v1/A").removeprefix("/")
        container, _, name = path.partition("/")
        with self.lock:
            self.requests.append((http.command, path))
            queue = self.faults.get((http.command, path)) or self.faults.get((http.command, "*"))
            fault = queue.pop(0) if queue else None
        if fault == "wait":
            self.waiting.set()
            self.gate.wait(30)
            fault = None
        if fault == "reset":
            self.hang_up(http)
        elif isinstance(fault, int):
            self.answer(http, fault, b"as ordered", {"Retry-After": "0"})
        elif not name:
            self.serve_container(http, container, query)
        elif http.command == "GET":
            self.serve_get(http, container, name, fault)
        else:
            self.serve_change(http, container, name, body)

    def serve_container(self, http: BaseHTTPRequestHandler, container: str, query: dict[str, str]) -> None:
        with self.lock:
            objects = self.containers.get(container)
            if http.command == "PUT":
                self.containers.setdefault(container, {})
                self.answer(http, 201)
            elif objects is None:
                self.answer(http, 404)
            elif http.command == "DELETE":
                if not objects:
                    del self.containers[container]
                self.answer(http, 409 if objects else 204)
            elif http.command == "HEAD":
                self.answer(http, 204)
            else:
                names = [n for n in sorted(objects) if n.startswith(query.get("prefix", ""))]
                names = [n for n in names if n > query.get("marker", "")][: self.page]
                listing = [{"name": n, "bytes": len(objects[n]), "hash": "", "content_type": "x/y"} for n in names]
                self.answer(http, 200, json.dumps(listing).encode())

    def serve_change(self, http: BaseHTTPRequestHandler, container: str, name: str, body: bytes) -> None:
        with self.lock:
            if container not in self.containers:
                self.answer(http, 404)
            elif http.command == "DELETE":
                gone = self.containers[container].pop(name, None) is None
                self.answer(http, 404 if gone else 204)
            elif http.command == "PUT":
                md5 = hashlib.md5(body).hexdigest()
                if http.headers.get("ETag") not in (None, md5):
                    self.answer(http, 422)
                    return
                self.containers[container][name] = body
                self.headers[f"{container}/{name}"] = {k.lower(): v for k, v in http.headers.items()}
                self.answer(http, 201, headers={"Etag": md5})

    def serve_get(self, http: BaseHTTPRequestHandler, container: str, name: str, fault: int | str | None) -> None:
        data = self.containers.get(container, {}).get(name)
        if data is None:
            self.answer(http, 404)
            return
        asked = http.headers.get("X-Run")
        if asked is None or fault == "plain":
            self.answer(http, 200, data)
            return
        program = asked.split()[0]
        with self.lock:
            self.runs.append((program, f"{container}/{name}"))
            run = {"X-Run-Id": f"r{len(self.runs)}", "X-Run-Program": f"sha256:{program}", "Content-Type": "text/plain"}
        if program not in self.programs:
            self.problem(http, 404, {"type": "urn:insitu:problem:unknown-program", "detail": f"no program {program}"})
            return
        try:
            result = self.programs[program](data)
        except Refusal as why:
            problem = {"status": 422, "title": "The program failed", "detail": "exit code 2", "stderr": f"{why}\n"}
            self.problem(http, 422, problem | {"run_id": run["X-Run-Id"], "program": run["X-Run-Program"]})
            return
        http.send_response(200)
        for key, value in run.items():
            http.send_header(key, value)
        if fault in ("short", "unframed"):
            if fault == "short":
                http.send_header("Content-Length", str(len(result) + 10))
            http.end_headers()
            http.wfile.write(result)
            self.hang_up(http)
            return
        http.send_header("Transfer-Encoding", "chunked")
        http.end_headers()
        cut = len(result) // 2 if fault == "abort" else len(result)
        for at in range(0, cut, 1000):
            piece = result[at : min(at + 1000, cut)]
            http.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if fault == "abort":
            self.hang_up(http)
        else:
            http.wfile.write(b"0\r\n\r\n")

    def problem(self, http: BaseHTTPRequestHandler, status: int, document: dict[str, object]) -> None:
        self.answer(http, status, json.dumps(document).encode(), {"Content-Type": "application/problem+json"})

    def answer(
        self, http: BaseHTTPRequestHandler, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        http.send_response(status)
        for key, value in (headers or {}).items():
            http.send_header(key, value)
        if status != 204:
            http.send_header("Content-Length", str(len(body)))
        http.end_headers()
        if http.command != "HEAD":
            http.wfile.write(body)

    def hang_up(self, http: BaseHTTPRequestHandler) -> None:
        http.close_connection = True
        http.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def store() -> Iterator[FakeStore]:
    fake = FakeStore()
    yield fake
    fake.close()
