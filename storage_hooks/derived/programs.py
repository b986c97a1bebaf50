"""Which program a run request means just now, and whether its results may be kept.

The proxy's own node is asked at each request: what a replaced program gave, or one whose manifest has changed, is found
no more. Only whether it is worth asking is remembered.
"""

from collections import OrderedDict
from typing import Final

from insitu.runtime.errors import NodeError
from insitu.runtime.programs import ProgramInfo
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
        """By what requests call them."""

    def which(self, program: str) -> ProgramInfo | None:
        """What the node says of it. None when that cannot be known before it runs."""
        if self._local is None:
            return None
        try:
            with Timeout(_PATIENCE), Questions(self._local.connect()) as node:
                info = node.resolve(program)
        except (NodeError, OSError, Timeout):
            return None
        self.learn(program, info.frozen)
        return info

    def likely(self, program: str) -> bool | None:
        """Whether its launches were frozen when it was last asked for, or last ran; None: not known yet."""
        return self._frozen.get(program)

    def learn(self, program: str, frozen: bool) -> None:
        """What a run has told."""
        self._frozen[program] = frozen
        while len(self._frozen) > _REMEMBERED:
            self._frozen.popitem(last=False)
