"""Where journals are, unless somebody says otherwise."""

import os
from pathlib import Path
from typing import Final

SUFFIX: Final = ".journal"


def state_directory() -> Path:
    """`$STATE_DIRECTORY` as systemd gives it; /var/lib/insitu for root; else the user's own place for state."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if os.geteuid() == 0 and "XDG_STATE_HOME" not in os.environ:
        return Path("/var/lib/insitu")
    return Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")) / "insitu"


def default_journal(node: str) -> Path:
    """Of the node of that name."""
    return state_directory() / (node.replace("/", "_") + SUFFIX)
