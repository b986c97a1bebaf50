"""The names of the filters' settings, so that one that is misspelt is not taken for its default."""

from collections.abc import Iterable, Mapping
from typing import Final

_LOCAL: Final = ("socket", "node", "connect_timeout", "accept_timeout", "beat", "verify")

RUN_HOOK: Final = (
    *_LOCAL,
    *("memory", "wall", "output", "fuel", "max_input"),
    *("derived_bytes", "derived_age", "derived_max_object", "derived_memory"),
)
RUN_SWITCH: Final = ("key", "key_file", "lifetime", "node_timeout")
OBJECT_HOOK: Final = (*_LOCAL, "key", "key_file", "old_key", "old_key_file")


def check(local_conf: Mapping[str, str], filter_name: str, known: Iterable[str]) -> None:
    """Of a filter's own section. Raises ValueError naming those that nobody knows; what Swift's logging reads, and
    what its loader adds, passes."""
    unknown = sorted(name for name in local_conf if name not in known and not name.startswith(("log_", "__")))
    if unknown:
        raise ValueError(f"{filter_name}: there is no setting {', '.join(unknown)}; there are {', '.join(known)}")
