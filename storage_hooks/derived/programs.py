"""Which program a run request means just now, and whether its results may be kept.

A name becomes a digest at the proxy's own node, at each request: what a replaced program gave is found no more. What a
digest is never changes, so whether its launches are frozen is asked once.
"""

from collections import OrderedDict
from typing import Final

from insitu.runtime.errors import NodeError
from insitu.runtime.questions import Questions
from insitu.storage_hooks.green import Timeout
from insitu.storage_hooks.local_node import LocalNode

_REMEMBERED: Final = 4096
_PATIENCE: Final = 2.0
"""Seconds for the node's answer; without one the program is run, and says then which it is."""


class Programs:
    """What one proxy knows of them."""

    def __init__(self, local: LocalNode | None) -> None:
        self._local = local
        self._frozen: OrderedDict[str, bool] = OrderedDict()
        """By digest, and, as a guess for next time, by name."""

    def which(self, program: str) -> tuple[str, bool] | None:
        """Digest, and whether its launches are frozen. None when that cannot be known before it runs."""
        if program.startswith("sha256:") and (frozen := self._frozen.get(program)) is not None:
            self._frozen.move_to_end(program)
            return program, frozen
        if self._local is None:
            return None
        try:
            with Timeout(_PATIENCE), Questions(self._local.connect()) as node:
                info = node.resolve(program)
        except (NodeError, OSError, Timeout):
            return None
        frozen = info.frozen
        self.learn(program, frozen)
        self.learn(info.digest, frozen)
        return info.digest, frozen

    def likely(self, program: str) -> bool | None:
        """Whether its launches were frozen when it was last asked for, or last ran; None: not known yet."""
        return self._frozen.get(program)

    def learn(self, digest: str, frozen: bool) -> None:
        """What a run has told."""
        self._frozen[digest] = frozen
        while len(self._frozen) > _REMEMBERED:
            self._frozen.popitem(last=False)
