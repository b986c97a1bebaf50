"""The limits that a program asks for, and what it gets of them.

Whoever launches has the first word. A limit that the launch leaves at insitu's default becomes what the program asks
for, up to the operator's maximum; one that the launch sets can only become less. A limit that nobody asks for stays.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from insitu.sandbox.limits import Limits

_DEFAULT: Final = Limits()


def granted(asked: Mapping[str, Any], given: Limits, most: Limits = _DEFAULT) -> Limits:
    """The launch's limits. `asked`: as in a manifest; `given`: the launch's own; `most`: the operator's maximum.

    None, where it stands for no limit at all, is more than any figure.
    """
    if not asked:
        return given
    changed = {}
    for name, wish in asked.items():
        own = getattr(given, name)
        changed[name] = _less(wish, getattr(most, name) if own == getattr(_DEFAULT, name) else own)
    return replace(given, **changed)


def _less(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
