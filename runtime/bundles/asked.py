"""The limits that a program asks for, and what it gets of them.

Whoever launches has the first word, below what the operator allows. A limit that the launch leaves at insitu's default
becomes what the program asks for, up to the operator's maximum; one that the launch sets can only become less. A limit
that nobody asks for is insitu's default, or the maximum where that is less.

The operator's maximum is `[limits]` in node.toml. A limit that is not there has none for launches, and for programs
insitu's default: a program's own word gets it no more than anybody gets who says nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from insitu.runtime.errors import BadRequest
from insitu.sandbox.limits import DEFAULT, TIMES, Limits
from insitu.sandbox.outcome import LimitHit

NO_MOST: Final[Mapping[str, Any]] = MappingProxyType({})


def check_within(given: Limits, most: Mapping[str, Any]) -> None:
    """That a launch asks for no more than the operator allows. Raises `BadRequest` with both figures."""
    for name, allowed in most.items():
        own = getattr(given, name)
        if own != getattr(DEFAULT, name) and _less(own, allowed) != own:
            hit = LimitHit(name, allowed, own)
            figures = hit.figures()
            if figures[0] == figures[1] and name in TIMES:
                figures = f"{allowed} s", f"{own} s"  # too near each other for rounded ones
            raise BadRequest(f"limit {name}: {figures[0]} allowed on this node, {figures[1]} asked for")


def granted(asked: Mapping[str, Any], given: Limits, most: Mapping[str, Any] = NO_MOST) -> Limits:
    """The launch's limits. `asked`: as in a manifest; `given`: the launch's own; `most`: the operator's maximum.

    None, where it stands for no limit at all, is more than any figure.
    """
    if not asked and not most:
        return given
    changed = {}
    for name in (*asked, *(name for name in most if name not in asked)):
        own, default = getattr(given, name), getattr(DEFAULT, name)
        allowed = most.get(name, default) if own == default else own
        changed[name] = _less(asked.get(name, own), allowed)
    return replace(given, **changed)


def _less(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
