"""What a measure of confinement is, and what it is told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

Role = Literal["spawner", "worker", "compiler", "storekeeper"]
ROLES: Final[tuple[Role, ...]] = ("spawner", "worker", "compiler", "storekeeper")


class Missing(Exception):
    """The measure cannot be had here; the message says why, in half a sentence."""


class NotAsked(Exception):
    """The measure has no object in this set-up; the message says why. No `strict` node minds."""


@dataclass(slots=True)
class Setup:
    """What measures are told: by the operator, and by the spawner of what it prepared for its children."""

    user: tuple[int, int] | None = None
    """User and group id that workers take on; None: they stay who the node is."""
    cache: str = ""
    """The directory of compiled programs, the only one that anything is written to."""
    reads: tuple[str, ...] = ()
    """Paths that a compiler reads."""
    parent: int = 0
    """Process id of the spawner."""
    nowhere: int = -1
    """Descriptor of a directory that is in no file system any more: a root with nothing in it."""
    closed: int = -1
    """Descriptor of the Landlock ruleset that allows nothing."""
    images: frozenset[int] = field(default_factory=frozenset)
    """The engine's descriptors, which it maps programs' data by at every launch."""


@dataclass(frozen=True, slots=True)
class Measure:
    """`take` takes it, for good, in the calling process; `prove` then tries what it is to hold back. Both raise
    `Missing`, and OSError where the kernel said no."""

    name: str
    holds_back: str
    take: Callable[[Setup], None]
    prove: Callable[[Setup], None] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one measure. `why` is empty when it holds."""

    role: Role
    measure: str
    state: Literal["holds", "missing", "not asked"]
    why: str = ""
