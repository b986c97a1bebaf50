"""What an import of a module says that CPython has and a guest has not: the last finder that is asked.

In the guest this is the module `insitu_absent`. An import that succeeds never comes here, and one that fails is still a
ModuleNotFoundError of that name, so `try: import ssl` goes on as ever; only its words are more.
"""

import importlib
import sys
from types import CodeType
from typing import Any


class Absent:
    def __init__(self) -> None:
        bootstrap: Any = importlib._bootstrap
        self._importing: CodeType = bootstrap._find_and_load_unlocked.__code__

    def find_spec(self, name: str, *_: object) -> None:
        # Who only asks (`importlib.util.find_spec`) is answered as ever, and so are finders that a script adds behind.
        if name.partition(".")[0] not in sys.stdlib_module_names or sys.meta_path[-1] is not self:
            return
        if sys._getframe(2).f_code is self._importing:
            raise ModuleNotFoundError(f"No module named {name!r}: {WHY}", name=name)


WHY = "it is not in insitu's Python (docs/python.md tells what is not, and what to do instead)"


def install() -> None:
    """At the end of `sys.meta_path`. Tracebacks leave its frame out, as they do importlib's own."""
    find: Any = Absent.find_spec
    find.__code__ = find.__code__.replace(co_filename="<frozen importlib._bootstrap>")
    sys.meta_path.append(Absent())
