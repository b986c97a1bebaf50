"""What a cluster keeps when it is started anew in the same directory: without it, its data could not be read again."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from insitu.storage_hooks.devcluster.configs import GROUPS
from insitu.storage_hooks.devcluster.errors import OptionRefused


@dataclass(frozen=True)
class Identity:
    nodes: int
    hash_prefix: str
    hash_suffix: str
    users: dict[str, str]
    token_key: str
    hook_key: str

    @classmethod
    def make(cls, nodes: int) -> "Identity":
        """Random keys: other users of the machine can reach a loopback port too."""
        return cls(
            nodes=nodes,
            hash_prefix=secrets.token_hex(8),
            hash_suffix=secrets.token_hex(8),
            users={user: secrets.token_hex(12) for user in GROUPS},
            token_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
            hook_key=secrets.token_hex(32),
        )

    @staticmethod
    def nodes_at(path: Path) -> int | None:
        """The number of nodes of the identity kept at `path`, None when none is kept there."""
        try:
            return int(json.loads(path.read_text())["nodes"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def keep(cls, path: Path, nodes: int) -> "Identity":
        """The one kept at `path`, or a new one, kept there. Raises OptionRefused for another number of nodes."""
        try:
            # A directory of an earlier version has no key for the hooks: data does not depend on it.
            kept = cls(**{"hook_key": secrets.token_hex(32)} | json.loads(path.read_text()))
        except FileNotFoundError:
            made = cls.make(nodes)
            path.write_text(json.dumps(asdict(made)))
            return made
        if kept.nodes != nodes:
            raise OptionRefused(
                f"--nodes {nodes}: the data in {path.parent} is spread over {kept.nodes}; "
                f"start it with --nodes {kept.nodes}, or remove it first (insitu cluster down)"
            )
        return kept
