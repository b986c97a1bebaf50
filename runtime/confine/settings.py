"""How confined a node's processes are to be, as its operator says it and its spawner is told."""

import json
from dataclasses import asdict, dataclass
from typing import Final, Self

from insitu.runtime.confine.measure import Setup


@dataclass(frozen=True, slots=True)
class Confinement:
    """`user`: user and group id that workers take on, None for the node's own. `strict`: all measures or nothing."""

    user: tuple[int, int] | None = None
    strict: bool = False

    @classmethod
    def of(cls, user: str, strict: bool) -> Self:
        """From an operator's words. Raises ValueError for a user who cannot be had."""
        from insitu.runtime.confine import identity  # whoever only speaks to a node looks no users up

        return cls(identity.resolve(user), strict)

    def setup(self, cache: str) -> Setup:
        return Setup(user=self.user, cache=cache)

    def word(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_word(cls, word: str) -> Self:
        fields = json.loads(word)
        return cls(tuple(fields["user"]) if fields["user"] else None, fields["strict"])


DEFAULT: Final = Confinement()
