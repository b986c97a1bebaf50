"""The storage policies of a development cluster, and the rings that place their objects.

Needs Swift; imported by the supervisor only, after it has told Swift where its swift.conf is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from insitu.storage_hooks.devcluster.state import RingTable

PART_POWER: Final = 8
SEED: Final = "1"  # the same nodes get the same partitions, also when a kept directory is started anew


@dataclass(frozen=True)
class Device:
    """One disk of one server, as a ring knows it."""

    ip: str
    port: int
    name: str


@dataclass(frozen=True)
class Policy:
    index: int
    name: str
    replicas: int
    erasure: tuple[int, int] | None = None
    """Data and parity fragments; None for plain replicas."""

    def section(self) -> str:
        """Its section of swift.conf."""
        lines = [f"[storage-policy:{self.index}]", f"name = {self.name}"]
        if self.index == 0:
            lines.append("default = yes")
        if self.erasure is not None:
            data, parity = self.erasure
            lines += [
                "policy_type = erasure_coding",
                "ec_type = liberasurecode_rs_vand",
                f"ec_num_data_fragments = {data}",
                f"ec_num_parity_fragments = {parity}",
                "ec_object_segment_size = 1048576",
            ]
        return "\n".join(lines) + "\n"

    @property
    def ring(self) -> str:
        return "object" if self.index == 0 else f"object-{self.index}"


def policies(nodes: int) -> list[Policy]:
    """The default "three", then "one", and where there are nodes enough an erasure-coded "ec21"."""
    found = [Policy(0, "three", min(3, nodes)), Policy(1, "one", 1)]
    if nodes >= 3:
        found.append(Policy(2, "ec21", 3, erasure=(2, 1)))
    return found


def write_ring(path: Path, replicas: int, devices: Sequence[Device]) -> RingTable:
    """Balances and saves a ring with one zone per device, and gives its table."""
    from swift.common.ring import RingBuilder

    builder: Any = RingBuilder(PART_POWER, replicas, 0)
    for index, device in enumerate(devices):
        builder.add_dev(
            {
                "id": index,
                "region": 1,
                "zone": index + 1,
                "ip": device.ip,
                "port": device.port,
                "replication_ip": device.ip,
                "replication_port": device.port,
                "device": device.name,
                "weight": 100.0,
                "meta": "",
            }
        )
    builder.rebalance(seed=SEED)
    ring = builder.get_ring()
    ring.save(str(path))
    return RingTable(PART_POWER, [[int(index) for index in row] for row in ring._replica2part2dev_id])
