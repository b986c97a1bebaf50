"""A sandbox made before its launch is known: its store, instance and memory are there, and nothing has run in it.

None of it depends on what a launch brings but the limits, which are set when it comes. Measured in turns with a node
that does not do so, `cat` of 1 KB in isolation `shared`: 463 µs to the first byte instead of 518, some of that by
limits that are not sent when nobody changed them.
"""

from typing import Final

from insitu.sandbox import raw
from insitu.sandbox.limits import DEFAULT, Limits
from insitu.sandbox.program import Program

_REFUSALS: Final = 1024


class Ahead:
    """At most one, of whatever engine."""

    def __init__(self) -> None:
        self._program: Program | None = None
        self._instance: raw.Instance | None = None
        self._cannot: set[str] = set()

    def make(self, engine: raw.Engine, program: Program) -> None:
        """For the next launch of `program`, which is of `engine`, if it is one that can be made so. What was made for
        another goes."""
        if self._program is program or program.digest in self._cannot:
            return
        self.drop()
        # Without fuel nothing runs: a program with a start function ends here, before its first instruction, and is
        # left to its launches.
        instance = raw.Instance(engine, DEFAULT.memory, 0, DEFAULT.table)
        if instance.instantiate(program.pre) is None:
            instance.find_memory()
            self._program, self._instance = program, instance
            return
        instance.close()
        if len(self._cannot) < _REFUSALS:
            self._cannot.add(program.digest)

    def take(self, program: Program, limits: Limits, fuel: int) -> raw.Instance | None:
        """The one that was made, with these limits; None when there is none, or it might be none under them."""
        instance = self._instance
        if instance is None or self._program is not program:
            return None
        size = instance.memory_size() if instance.has_memory else DEFAULT.memory
        if limits.memory < size or limits.table < DEFAULT.table:
            return None
        self._program = self._instance = None
        instance.limit(limits.memory, fuel, limits.table)
        return instance

    def drop(self) -> None:
        if self._instance is not None:
            self._instance.close()
        self._program = self._instance = None
