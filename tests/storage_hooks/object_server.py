"""One storage node of the cluster, asked as a proxy asks it, or as somebody does who is none."""

import http.client
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from insitu.sandbox.limits import Limits
from insitu.storage_hooks import inside
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.devcluster.state import NodeInfo
from insitu.storage_hooks.inside import Terms
from insitu.storage_hooks.signature import Statement, sign
from tests.storage_hooks.store import PATIENCE, Store


def hook_key(cluster: DevCluster) -> bytes:
    """What the cluster's proxy signs runs with."""
    key: str = json.loads((cluster.directory / "identity.json").read_text())["hook_key"]
    return key.encode()


@dataclass(frozen=True)
class Replica:
    """One object's replica on one storage node."""

    cluster: DevCluster
    node: NodeInfo
    account: str
    container: str
    name: str
    policy: str = "three"

    @property
    def partition(self) -> int:
        bits, _ = self.cluster.state().hash_of(self.account, self.container, self.name)
        return bits >> (32 - self.cluster.state().rings[self.policy].part_power)

    @property
    def path(self) -> str:
        return f"/{self.account}/{self.container}/{self.name}"

    def _places(self, kind: str) -> list[Path]:
        index = list(self.cluster.state().rings).index(self.policy)
        top = "objects" if index == 0 else f"objects-{index}"
        base = self.cluster.directory / f"node{self.node.name.rpartition('-')[2]}" / self.node.device
        _, hashed = self.cluster.state().hash_of(self.account, self.container, self.name)
        if kind == "quarantined":
            return sorted(base.glob(f"quarantined/{top}/{hashed}*/*.data"))
        return sorted((base / top / str(self.partition) / hashed[-3:] / hashed).glob("*.data"))

    def files(self) -> list[Path]:
        """Its .data files on disk."""
        return self._places("data")

    def quarantined(self) -> list[Path]:
        """Its .data files that Swift has put aside."""
        return self._places("quarantined")

    def ask(
        self, method: str, headers: Mapping[str, str], body: bytes | None = None, *, path: str | None = None
    ) -> "Said":
        """Straight to the object server."""
        with closing(http.client.HTTPConnection(self.node.ip, self.node.port, timeout=PATIENCE)) as connection:
            place = f"/{self.node.device}/{self.partition}{quote(path or self.path)}"
            index = str(list(self.cluster.state().rings).index(self.policy))
            connection.request(method, place, body, {"X-Backend-Storage-Policy-Index": index, **headers})
            response = connection.getresponse()
            return Said(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@dataclass(frozen=True)
class Said:
    """An object server's answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes

    @property
    def started(self) -> bool:
        return inside.ID.lower() in self.headers

    @property
    def refused(self) -> str | None:
        return self.headers.get(inside.REFUSED.lower())

    @property
    def reason(self) -> str:
        return inside.unquote_reason(self.headers.get(inside.REASON.lower(), ""))


def replicas(store: Store, name: str, policy: str = "three") -> list[Replica]:
    """By replica's index."""
    return [
        Replica(store.cluster, node, store.account, store.container, name, policy)
        for node in store.cluster.primaries(store.account, store.container, name, policy)
    ]


def marked(
    replica: Replica, run: str, *, key: bytes | None = None, now: float | None = None, transaction: str = "tx-of-a-test"
) -> dict[str, str]:
    """What the proxy sends to have a program run there: the mark, signed."""
    terms = Terms(tenant=replica.account, limits=Limits()).encode()
    path = replica.path.encode().decode("latin-1")
    statement = Statement("GET", path, run, terms, transaction)
    return {
        inside.REQUEST: run,
        inside.TERMS: terms,
        "X-Trans-Id": transaction,
        inside.SIGNATURE: sign(key or hook_key(replica.cluster), statement, time.time() if now is None else now),
    }
