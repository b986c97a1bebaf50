"""What the operator says of derived objects, in the section of run_hook.

# The most that the derived objects of an account may take, and how long each is kept; owners can say less. With 0 bytes
# nothing is kept, and nobody looks for anything.
derived_bytes = 10GiB
derived_age = 720h
# Results above this are not kept.
derived_max_object = 256MiB
# What a proxy remembers of the small ones.
derived_memory = 32MiB
"""

from collections.abc import Mapping
from dataclasses import dataclass

from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import parse_duration, parse_size


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, and what follows from others."""

    bytes: int
    age: float
    """Seconds."""
    max_object: int
    memory: int
    patience: float
    """Seconds that somebody waits for a run that somebody else has begun."""

    @classmethod
    def of(cls, conf: Mapping[str, str], wall: float) -> "Settings":
        """`wall`: seconds that a run may take. Raises ValueError."""
        try:
            return cls(
                bytes=parse_size(conf.get("derived_bytes", "10GiB")),
                age=parse_duration(conf.get("derived_age", "720h")),
                max_object=parse_size(conf.get("derived_max_object", "256MiB")),
                memory=parse_size(conf.get("derived_memory", "32MiB")),
                patience=wall + 5.0,
            )
        except (LimitsError, ValueError) as why:
            raise ValueError(f"run_hook: {why}") from None
