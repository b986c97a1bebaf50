"""How many spare workers there should be, and what each is warmed with. Pure: it learns from launches and shortages.

The number goes up by one for each launch that found no spare, to the most; every `calm` period it goes down by half of
the spares that stood idle all through it (of all of them, when there was no launch), to the least.

What a program is asked for is counted, and halved each `HALF` launches: so what was asked for once is soon forgotten. A
spare is warmed with the programs for which there are the fewest warm spares by what is asked for. What was asked for
more than once lately is *in demand*: a spare that cannot run it is replaced, one that misses another program is kept.
"""

from collections.abc import Iterable
from typing import Final

HALF: Final = 64  # launches
WARM: Final = 4
"""Programs that one spare is warmed with."""
_FORGOTTEN: Final = 0.2
_IN_DEMAND: Final = 1.0


class Demand:
    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most
        self.spares = least
        """How many there should be."""
        self._lowest: int | None = None
        self._quiet = True
        self._asked: dict[str, float] = {}
        self._generations: dict[str, int] = {}
        self._launches = 0

    # Events.

    def asked(self, program: str, generation: int) -> None:
        """A launch of it was given a worker, as which it needs one of that generation."""
        self._generations[program] = generation
        self._quiet = False
        self._asked[program] = self._asked.get(program, 0.0) + 1.0
        self._launches += 1
        if self._launches >= HALF:
            self._launches = 0
            self._asked = {name: count / 2 for name, count in self._asked.items() if count / 2 > _FORGOTTEN}
            self._generations = {name: self._generations.get(name, 0) for name in self._asked}

    def short(self) -> None:
        """A launch found no spare."""
        self.spares = min(self._most, self.spares + 1)
        self._lowest, self._quiet = 0, False

    def idle(self, spares: int) -> None:
        """So many stand idle now."""
        self._lowest = spares if self._lowest is None else min(self._lowest, spares)

    def restart(self) -> None:
        """Generations are counted anew."""
        self._generations.clear()

    def calm(self) -> None:
        """A period is over."""
        unused = self.spares if self._quiet else self._lowest or 0
        self.spares = max(self._least, self.spares - (unused + 1) // 2)
        self._lowest, self._quiet = None, True

    # Decisions.

    @property
    def generation(self) -> int:
        """What a spare needs to run whatever is in demand."""
        needed = 0
        for name, count in self._asked.items():
            if count > _IN_DEMAND and self._generations.get(name, 0) > needed:
                needed = self._generations[name]
        return needed

    def warm(self, spares: Iterable[Iterable[str]]) -> tuple[str, ...]:
        """What one more is to be warmed with, given what the others are."""
        have: dict[str, int] = {}
        for programs in spares:
            for program in programs:
                have[program] = have.get(program, 0) + 1
        first = sorted(self._asked, key=lambda name: self._asked[name] / (1 + have.get(name, 0)), reverse=True)
        return tuple(first[:WARM])
