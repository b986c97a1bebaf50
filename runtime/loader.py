"""How a program gets to where workers can run it: loaded if it can be, else compiled first, else refused by name.

    wanted ─▶ loaded? ──yes──▶ a worker takes the launch
                 └─no─▶ load ─▶ missing? ─▶ compile, one after the other ─▶ load ─▶ loaded
                          └─▶ rejected       └─▶ rejected, failed, its compiler died: refused, and it rests

Each is asked for once in each form (`form.py`), however many wait. What is loaded is bounded: the least recently used
goes.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar

from insitu.runtime.compilers import COMPILERS
from insitu.runtime.compiling import Compiling
from insitu.runtime.errors import Busy, NodeError, ProgramRejected
from insitu.runtime.loaded import Loaded
from insitu.runtime.programs import ProgramInfo
from insitu.sandbox.limits import format_duration

log = logging.getLogger("insitu.node")
_REJECTED: Final = 1000
"""Programs known to be none."""


class Waits(Protocol):
    """Whoever waits for a program: a launch, or a peer that wants it prepared."""

    @property
    def info(self) -> ProgramInfo: ...
    @property
    def form(self) -> str: ...
    @property
    def tenant(self) -> str: ...


Waiter = TypeVar("Waiter", bound=Waits)


class Orders(Protocol):
    """What the node's processes can be asked for."""

    def load(self, info: ProgramInfo, form: str) -> None: ...
    def unload(self, form: str) -> None: ...
    def compile(self, info: ProgramInfo, form: str) -> None: ...


class Loader(Generic[Waiter]):
    def __init__(
        self,
        orders: Orders,
        most: int,
        waiting: Callable[[], Iterable[Waiter]],
        refuse: Callable[[Waiter, NodeError], None],
    ) -> None:
        """`most`: bytes of machine code that are kept loaded. `waiting`: those who wait now. `refuse`: one of
        them gets no program."""
        self._orders, self._waiting, self._refuse = orders, waiting, refuse
        self.loaded: Final = Loaded(most)
        self._loading: dict[str, ProgramInfo] = {}
        """By form, as all else here."""
        self._compiled: set[str] = set()
        """Of those being loaded: compiled on the way."""
        self._compiling = Compiling(COMPILERS)
        self._rejected: dict[str, str] = {}

    def check(self, info: ProgramInfo, form: str) -> None:
        """Raises `ProgramRejected` for what is known to be no program, and `Busy` for one that would have to be
        compiled, and was its compiler's end lately."""
        if form in self._rejected:
            raise ProgramRejected(self._rejected[form])
        now = time.monotonic()
        rest = self._compiling.rest(form, now)
        if rest is not None and self.loaded.generation(form) is None:
            wait = rest.until - now
            what = f"program {info.name}: its compiler died, {rest.deaths} in a row"
            raise Busy(f"{what}; it is compiled again in {format_duration(wait)}", retry_after=wait)

    def is_loaded(self, waiter: Waits) -> bool:
        """If not, it will be."""
        form = waiter.form
        if self.loaded.generation(form) is not None:
            return True
        if form not in self._loading:
            self._loading[form] = waiter.info
            self._orders.load(waiter.info, form)
        return False

    def held_by(self, waiter: Waits) -> str | None:
        """What it waits for here, for people."""
        name, form = waiter.info.name, waiter.form
        if form in self._compiling.missing:
            return f"program {name} still waits to be compiled"
        return f"program {name} is still being compiled" if form in self._loading else None

    # What comes of it.

    def program_loaded(self, form: str, generation: int, size: int, *, prepared: bool = False) -> None:
        """`prepared`: for whoever wanted no more than that."""
        self._loading.pop(form, None)
        self._compiled.discard(form)
        needed = {waiter.form for waiter in self._waiting()}
        self.loaded.add(form, generation, size, wanted=not prepared or form in needed)
        for gone in self.loaded.make_room(needed):
            self._orders.unload(gone)

    def program_missing(self, form: str) -> None:
        if form not in self._loading:
            return
        if form in self._compiled:
            # Compiled, kept, and yet not there: again would be for ever.
            return self.program_compiled(form, "what was compiled did not stay in the cache")
        self._compiling.wanted(form)
        return self._compile_next()

    def program_compiled(self, form: str, failure: str | None) -> None:
        self._compiling.done(form, compiled=failure is None)
        info = self._loading.get(form)
        if info is not None:  # else rejected
            if failure is None:
                self._compiled.add(form)
                self._orders.load(info, form)
            else:
                self._uncompiled(form, info, failure, retry_after=5.0)
        self._compile_next()

    def compiler_died(self, form: str, how: str, seconds: float) -> None:
        now = time.monotonic()
        rest = self._compiling.died(form, seconds, now)
        if (info := self._loading.get(form)) is not None:
            self._uncompiled(form, info, f"the compiler died ({how})", retry_after=rest.until - now)
        self._compile_next()

    def program_rejected(self, form: str, message: str) -> None:
        self._loading.pop(form, None)
        self._compiled.discard(form)
        if len(self._rejected) > _REJECTED:
            self._rejected.clear()
        self._rejected[form] = message
        self._refuse_all(form, ProgramRejected(message))

    def doubt(self, info: ProgramInfo, form: str, how: str) -> None:
        """A worker died of what it had mapped: somebody has cut the cache's entry short, which was whole when it was
        loaded. It is held against its sum again before it is used again."""
        if "SIGBUS" in how and self.loaded.generation(form) is not None:
            log.error("program %s: its entry in the cache is damaged, or was while it was used", info.name)
            self.loaded.drop(form)
            self._orders.unload(form)

    def spawner_ready(self) -> None:
        """What an earlier spawner was asked, it took along."""
        self._loading.clear()
        self._compiling.restart()

    def spawner_lost(self) -> None:
        self.loaded.clear()
        self._compiled.clear()
        self.spawner_ready()

    def _compile_next(self) -> None:
        waiting = [(waiter.tenant, waiter.form) for waiter in self._waiting()]
        for form in self._compiling.unwanted(waiting):
            del self._loading[form]
        while (chosen := self._compiling.next(waiting)) is not None:
            self._orders.compile(self._loading[chosen], chosen)

    def _uncompiled(self, form: str, info: ProgramInfo, failure: str, retry_after: float) -> None:
        self._compiled.discard(form)
        log.error("program %s: %s", info.name, failure)
        del self._loading[form]
        self._refuse_all(form, Busy(f"program {info.name} could not be compiled now: {failure}", retry_after))

    def _refuse_all(self, form: str, why: NodeError) -> None:
        for waiter in [waiter for waiter in self._waiting() if waiter.form == form]:
            self._refuse(waiter, why)
