"""Which programs the spawner has loaded, and which of them have to go. Pure."""

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

COUNT: Final = 256
"""Programs loaded at once, however small: each is a descriptor in the spawner and in every worker forked after it."""


class Loaded:
    def __init__(self, most: int, count: int = COUNT) -> None:
        """`most`: bytes of machine code that all of them may come to together."""
        self._most, self._count = most, count
        self._programs: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """Generation and bytes, by form; the least recently used first."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._programs)

    def generation(self, form: str) -> int | None:
        """None when it is not loaded."""
        found = self._programs.get(form)
        return None if found is None else found[0]

    def add(self, form: str, generation: int, size: int, *, wanted: bool = True) -> None:
        """`wanted`: by a launch. What nobody launches yet is the first to go: whoever has many programs prepared takes
        nobody else's away."""
        self._forget(form)
        self._programs[form] = (generation, size)
        self._programs.move_to_end(form, last=wanted)
        self.bytes += size

    def used(self, form: str) -> None:
        if form in self._programs:
            self._programs.move_to_end(form)

    def drop(self, form: str) -> None:
        """It is not loaded any more."""
        self._forget(form)

    def make_room(self, needed: Collection[str]) -> list[str]:
        """Those that are to be unloaded: the least recently used, none that is `needed`, and never the latest."""
        gone: list[str] = []
        for form in list(self._programs)[:-1]:
            if self.bytes <= self._most and len(self) <= self._count:
                break
            if form not in needed:
                self._forget(form)
                gone.append(form)
        return gone

    def clear(self) -> None:
        self._programs.clear()
        self.bytes = 0

    def _forget(self, form: str) -> None:
        self.bytes -= self._programs.pop(form, (0, 0))[1]
