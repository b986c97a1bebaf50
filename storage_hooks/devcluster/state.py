"""What a running cluster is: the supervisor writes it down, everyone else reads it."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class NodeInfo:
    """One storage node: an object server and the insitu node beside it."""

    name: str
    """"object-1", …"""
    ip: str
    port: int
    device: str
    socket: Path
    """Where its insitu node listens, whether one runs or not."""
    server_pid: int | None
    """The object server's process; None when it is dead."""
    daemon_pid: int | None
    """The insitu node's process; None when none runs."""


@dataclass(frozen=True)
class RingTable:
    """A Swift ring, as plain lists: `rows[replica][partition]` is an index into the cluster's nodes."""

    part_power: int
    rows: list[list[int]]


@dataclass(frozen=True)
class State:
    """Everything about a running cluster that its users may want to know."""

    supervisor: int
    addresses: dict[str, tuple[str, int]]
    """Ip and port by Swift server."""
    users: dict[str, str]
    """Key by user, such as "test:tester"."""
    hash_prefix: str
    hash_suffix: str
    processes: dict[str, int]
    """Pid by process name; a dead one is missing."""
    expected: list[str]
    """The names of the processes that should live."""
    nodes: list[NodeInfo]
    rings: dict[str, RingTable]
    """By storage policy."""

    @property
    def endpoint(self) -> str:
        ip, port = self.addresses["proxy"]
        return f"http://{ip}:{port}"

    def primaries(self, account: str, container: str, obj: str, policy: str) -> list[NodeInfo]:
        """The nodes that should hold an object, by replica, as Swift's own ring gives them (without importing Swift).

        Raises KeyError for an unknown policy.
        """
        ring = self.rings[policy]
        partition = self.hash_of(account, container, obj)[0] >> (32 - ring.part_power)
        return [self.nodes[row[partition]] for row in ring.rows]

    def hash_of(self, account: str, container: str, obj: str) -> tuple[int, str]:
        """Where Swift files an object: its hash's first 32 bits, of which a partition is the first few; the hash."""
        text = f"{self.hash_prefix}/{account}/{container}/{obj}{self.hash_suffix}"
        digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:4], "big"), digest.hex()

    def write(self, path: Path) -> None:
        """Readers see the old file or the new one, never half of one."""
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self), default=str))
        os.replace(scratch, path)

    @classmethod
    def read(cls, path: Path) -> "State":
        """Raises OSError, or ValueError, KeyError or TypeError for a file of another shape."""
        raw: Mapping[str, Any] = json.loads(path.read_text())
        return cls(
            **{
                **raw,
                "addresses": {name: (ip, port) for name, (ip, port) in raw["addresses"].items()},
                "nodes": [NodeInfo(**{**n, "socket": Path(n["socket"])}) for n in raw["nodes"]],
                "rings": {name: RingTable(**ring) for name, ring in raw["rings"].items()},
            }
        )
