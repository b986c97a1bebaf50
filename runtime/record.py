"""The one record that every launch leaves: who asked for what, where it ran, what it came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from insitu.sandbox.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Record:
    """One launch on one node."""

    id: str
    """Unique for ever: 32 hexadecimal digits."""
    request_id: str
    """Whoever asked names its own request so; Swift's transaction id for hooks."""
    tenant: str
    object: str
    """What was read, for people: `/account/container/object`, or empty."""
    program: str
    """The name that was asked for."""
    digest: str
    args: tuple[str, ...]
    node: str
    worker: int
    """Process id of the worker it ran in."""
    started: float
    """Unix time at which the node had the whole request, seconds."""
    launch_us: int
    """From then until the sandbox stood and the guest's first instruction ran, microseconds."""
    outcome: Outcome
    bundle: str = ""
    """Where the node has kept it for `insitu replay`, which may be some time after its end; empty when it has not."""

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"outcome": self.outcome.to_wire()}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> "Record":
        """From a peer's mapping; raises TypeError, KeyError or ValueError when it has another shape."""
        return cls(**{**raw, "args": tuple(raw["args"]), "outcome": Outcome.from_wire(raw["outcome"])})
