"""How a cluster is to be: the choices that are made before it starts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from insitu.storage_hooks.devcluster.errors import OptionRefused

MAX_NODES: Final = 16
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Options:
    """Choices for one cluster. `checked()` raises OptionRefused for those that make no sense."""

    nodes: int = 4
    """Object servers, 1 to 16, on 127.0.0.1, 127.0.0.2, …; objects have min(3, nodes) replicas."""
    programs: tuple[Path, ...] = ()
    """Directories of programs that the nodes serve by name, besides the shipped ones."""
    hooks: bool = True
    """insitu's filters stand in the pipelines. Without them it is plain Swift, for comparison."""
    daemons: bool = True
    """An insitu node runs beside each object server."""
    log_level: str = "INFO"
    cache: Path | None = None
    """Where the nodes keep compiled programs; in the cluster's own directory unless told."""
    apart: bool = False
    """Each node has a cache of its own, as on machines of their own: it knows only the programs that came to it."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More lines of configuration, or other ones: name and value by "SERVER/SECTION", as "proxy/app:proxy-server"."""
    temporary: bool = False
    """The directory goes away with the cluster."""
    fresh: bool = False
    """The directory was made for this start: it goes away when the start is broken off."""

    def checked(self) -> "Options":
        if not 1 <= self.nodes <= MAX_NODES:
            raise OptionRefused(f"--nodes {self.nodes}: allowed are 1 to {MAX_NODES}")
        if self.log_level not in LOG_LEVELS:
            raise OptionRefused(f"log level {self.log_level!r}: allowed are {', '.join(LOG_LEVELS)}")
        for directory in self.programs:
            if not directory.is_dir():
                raise OptionRefused(f"--programs {directory}: no such directory")
        return self

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Options":
        raw: Mapping[str, Any] = json.loads(text)
        return cls(
            **{
                **raw,
                "programs": tuple(Path(p) for p in raw["programs"]),
                "cache": None if raw["cache"] is None else Path(raw["cache"]),
            }
        )
