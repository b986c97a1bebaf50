"""Which of our own sources go into a guest: its folder, what of common/ it names, and what these include.

A change in common/ makes anew only the guests that have it inside.
"""

import os
import re
from pathlib import Path

from guests.recipes import HERE, Recipe

_INCLUDE = re.compile(r'(?m)^\s*#\s*include\s*"([^"\n]+)"')
_OURS = "-Iown/"  # as command.py lays them out


def own_sources(plan: Recipe) -> list[Path]:
    """Their paths, in order. A header that is not ours is a third party's, or the C library's."""
    found: set[Path] = set()
    left = [path for path in (HERE / plan.name).rglob("*") if path.suffix in (".c", ".h")]
    left += [HERE / "common" / unit for unit in plan.shared]
    # Headers of ours that a third party's sources are given.
    folders = {flag.removeprefix(_OURS) for part in plan.parts for flag in part.flags if flag.startswith(_OURS)}
    left += [path for folder in folders for path in (HERE / folder).glob("*.h")]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        names = _INCLUDE.findall(path.read_text(encoding="utf-8"))
        # Not resolved: a checkout may be reached by a link, and HERE then has it in its name.
        included = [Path(os.path.normpath(path.parent / name)) for name in names]
        left += [one for one in included if one.is_file() and one.is_relative_to(HERE)]
    return sorted(found)
