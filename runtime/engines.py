"""The engines of a spawner and of whoever it forks: each with its runner, and its part of the cache.

The second one, that of frozen launches, is made when the first program is compiled or loaded for it; always by the
spawner, since a confined child could not. A node that has no frozen launches has one engine, and forks no more than
that. Runs no two guests at once.
"""

from collections.abc import Iterable
from pathlib import Path

from insitu.runtime.cache import CompiledCache
from insitu.runtime.form import is_frozen
from insitu.runtime.stock import Stock
from insitu.sandbox.launch import Runner
from insitu.sandbox.program import Program


class Engines:
    def __init__(self, cache: CompiledCache) -> None:
        """Raises `EngineError`."""
        self._cache = cache
        self.real = Runner()
        self._stock = Stock(self.real, cache)
        self._frozen: tuple[Runner, Stock] | None = None

    def runner(self, form: str) -> Runner:
        """That of a program's form. Raises `EngineError` when it had to be made and could not be."""
        return self._of_frozen()[0] if is_frozen(form) else self.real

    def stock(self, form: str) -> Stock:
        """Likewise."""
        return self._of_frozen()[1] if is_frozen(form) else self._stock

    def entries(self, programs: Iterable[tuple[str, Program]]) -> set[Path]:
        """Of the cache, those of programs that are loaded, by form."""
        return {entry for form, program in programs for entry in self.stock(form).entries(program)}

    def _of_frozen(self) -> tuple[Runner, Stock]:
        if self._frozen is None:
            runner = Runner(canonical_nans=True, beside=self.real)
            self._frozen = runner, Stock(runner, self._cache.of(canonical_nans=True))
        return self._frozen
