"""The cluster as a client sees it, byte for byte, and as an operator does: what ran where, and what was left behind."""

import http.client
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from insitu.runtime.client import NodeClient
from insitu.runtime.errors import NodeUnavailable
from insitu.runtime.record import Record
from insitu.storage_hooks.devcluster import DevCluster

PATIENCE = 30.0
"""Seconds after which something that should happen soon counts as never. Longer than any limit of the cluster's."""


@dataclass(frozen=True)
class Answer:
    """One response, and whether its body came to its end."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    whole: bool

    @property
    def problem(self) -> dict[str, Any]:
        import json

        assert self.headers["content-type"] == "application/problem+json", (self.status, self.headers, self.body[:500])
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document

    @property
    def request_id(self) -> str:
        return self.headers["x-trans-id"]


class Store:
    """Raw HTTP/1.1 to one container of the cluster, as one user."""

    def __init__(self, cluster: DevCluster, container: str, user: str | None = None) -> None:
        self.cluster = cluster
        self.container = container
        with closing(cluster.connection(user or cluster.user)) as connection:
            url, self.token = connection.get_auth()
        self.account = urlsplit(url).path.rpartition("/")[2]

    def path(self, name: str) -> str:
        return f"/v1/{self.account}/{self.container}/{quote(name)}"

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.cluster.endpoint)
        return http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)

    def put(self, name: str, data: bytes, **headers: str) -> Answer:
        answer = self.ask("PUT", self.path(name), headers, data)
        assert answer.status == 201, answer
        return answer

    def run(self, name: str, run: str, **headers: str) -> Answer:
        """GET with `X-Run`. Underscores in the names of `headers` stand for dashes."""
        return self.ask("GET", self.path(name), {"X-Run": run, **headers})

    def get(self, name: str, **headers: str) -> Answer:
        return self.ask("GET", self.path(name), headers)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, *, anonymous: bool = False
    ) -> Answer:
        with closing(self.connect()) as connection:
            return self.over(connection, method, path, headers, body, anonymous=anonymous)

    def over(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        anonymous: bool = False,
    ) -> Answer:
        """Over a connection of the caller's."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if not anonymous:
            sent["X-Auth-Token"] = self.token
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        parts: list[bytes] = []
        whole = True
        try:
            while part := response.read1(1 << 20):
                parts.append(part)
            response.read()  # nothing more, but only this frees the connection for the next request
        except (http.client.IncompleteRead, ConnectionError):
            whole = False
        answer_headers = {k.lower(): v for k, v in response.getheaders()}
        content = b"".join(parts)
        length = answer_headers.get("content-length")
        if length is not None and method != "HEAD":
            whole = whole and len(content) == int(length)
        return Answer(response.status, answer_headers, content, whole)

    @contextmanager
    def open(self, name: str, run: str) -> Iterator[http.client.HTTPConnection]:
        """A connection over which a run was asked for; the test reads the answer, or does not."""
        with closing(self.connect()) as connection:
            connection.request("GET", self.path(name), headers={"X-Run": run, "X-Auth-Token": self.token})
            yield connection


@contextmanager
def s3_client(cluster: DevCluster, **config: Any) -> Iterator[Any]:
    """boto3's own, as it is configured for a Swift; `config` is botocore's."""
    import boto3
    from botocore.config import Config

    access = cluster.s3
    client = boto3.client(
        "s3",
        endpoint_url=access.endpoint,
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        region_name=access.region,
        config=Config(s3={"addressing_style": "path"}, **config),
    )
    try:
        yield client
    finally:
        client.close()


def records(cluster: DevCluster, request_id: str) -> list[Record]:
    """What all nodes recorded of one request."""
    found: list[Record] = []
    for node in cluster.nodes:
        try:
            found += [record for record in NodeClient(str(node.socket)).runs(1000) if record.request_id == request_id]
        except NodeUnavailable:
            continue  # A test has stopped it.
    return found


def runs_of(cluster: DevCluster, program: str, after: float) -> list[Record]:
    """What all nodes recorded of a program since `after`, Unix time."""
    return [
        record
        for node in cluster.nodes
        for record in NodeClient(str(node.socket)).runs(1000)
        if record.program == program and record.started >= after
    ]


def running(cluster: DevCluster) -> int:
    """How many launches run now, on all nodes."""
    counts: list[int] = [NodeClient(str(node.socket)).ping()["running"] for node in cluster.nodes]
    return sum(counts)


def eventually(what: Callable[[], Any], why: str) -> Any:
    """The first true value of `what`; fails when there is none in time."""
    until = time.monotonic() + PATIENCE
    while not (value := what()):
        assert time.monotonic() < until, f"never happened: {why}"
        time.sleep(0.02)
    return value


def children(pid: int) -> list[int]:
    """Process ids of all that descend from a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # it has ended meanwhile
            for child in task.read_text().split():
                found += [int(child), *children(int(child))]
    return found


def open_descriptors(pid: int) -> int:
    """Open descriptors, but for epoll's: each thread in which Swift writes to disk makes one at its first use."""
    count = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(fd) != "anon_inode:[eventpoll]"
        except FileNotFoundError:
            pass  # closed since it was listed
    return count


@dataclass(frozen=True)
class Footprint:
    """What the cluster's processes hold."""

    descriptors: Mapping[str, int]
    """Open descriptors by process. A node's are counted without the two that each of its workers costs it: how many
    workers it keeps follows the demand."""
    astray: Mapping[str, int]
    """By node: launches that run or wait, and descendants that it knows nothing of."""

    @classmethod
    def of(cls, cluster: DevCluster) -> "Footprint":
        # The supervisor is the dev cluster's, and none of the hooks' concern.
        pids = {name: pid for name, pid in cluster.pids().items() if name != "supervisor"}
        descriptors = {name: open_descriptors(pid) for name, pid in pids.items()}
        astray: dict[str, int] = {}
        for node in cluster.nodes:
            if node.daemon_pid is None:
                continue
            name = node.name.replace("object", "node")
            descriptors[name], astray[name] = cls._of_node(NodeClient(str(node.socket)), node.daemon_pid)
        return cls(descriptors, astray)

    @staticmethod
    def _of_node(client: NodeClient, pid: int) -> tuple[int, int]:
        """Both figures. Its workers come and go: they are counted while none does."""

        def staff() -> dict[str, Any]:
            return {key: value for key, value in client.ping().items() if key in ("spawner", "workers", "forking")}

        while True:
            facts = client.ping()
            counted, processes = open_descriptors(pid), set(children(pid))
            if not facts["forking"] and staff() == {key: facts[key] for key in ("spawner", "workers", "forking")}:
                break
            time.sleep(0.02)
        strangers = processes - {facts["spawner"], *facts["workers"]}
        return counted - 2 * len(facts["workers"]), facts["running"] + facts["queued"] + len(strangers)

    def exceeds(self, other: "Footprint") -> list[str]:
        """What this holds more of, for people."""
        return [
            f"{name}: {count} {kind}, before {before.get(name, 0)}"
            for kind, now, before in (
                ("descriptors", self.descriptors, other.descriptors),
                ("launches and processes astray", self.astray, dict.fromkeys(self.astray, 0)),
            )
            for name, count in now.items()
            if count > before.get(name, 0)
        ]


@contextmanager
def unharmed(store: Store) -> Iterator[None]:
    """Whatever happens inside, afterwards the cluster serves as before, and nothing is left of it."""
    store.put("still here", b"as ever")
    assert store.run("still here", "copy").body == b"as ever"
    before = Footprint.of(store.cluster)
    yield
    assert store.get("still here").body == b"as ever"
    answer = store.run("still here", "copy")
    assert (answer.status, answer.body) == (200, b"as ever"), answer
    assert store.cluster.dead() == []
    left: list[str] = []

    def clean() -> bool:
        # Swift's own connections may hang in reference cycles of the proxy: only work makes it collect them.
        store.get("still here")
        left[:] = Footprint.of(store.cluster).exceeds(before)
        return not left

    try:
        eventually(clean, "a clean cluster")
    except AssertionError:
        raise AssertionError(f"left behind: {'; '.join(left)}") from None
