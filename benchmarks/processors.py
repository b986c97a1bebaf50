"""Where things run: all on one processor, or on any.

wasmtime's WASI hands every file operation to a thread of its own. Waking that up on another processor is most of a
short launch's time, on the same one it is next to nothing. So what is short is measured both ways.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

WHERE: Final = ("one processor", "all")
both_ways: Final = pytest.mark.parametrize("where", WHERE)


@contextmanager
def processors(where: str) -> Iterator[None]:
    """Meanwhile all threads of this process run on one processor, or on any."""
    before = os.sched_getaffinity(0)
    chosen = {min(before)} if where == WHERE[0] else before
    _place(chosen)
    try:
        yield
    finally:
        _place(before)


def _place(chosen: set[int]) -> None:
    # A thread that is made later is where the one is that makes it.
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), chosen)
        except ProcessLookupError:
            pass  # it has ended meanwhile
