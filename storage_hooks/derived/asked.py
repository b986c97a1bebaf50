"""One read through a program, as it is handed on from step to step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from insitu.storage_hooks.derived.names import name_of
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.policies import Policy
from insitu.storage_hooks.runs import Order


@dataclass(slots=True)
class Asked:
    """What is asked, and where the result would be stored, as far as that is known."""

    environ: Environ
    start_response: Callable[..., Any]
    order: Order
    policy: Policy
    name: str = ""

    @property
    def account(self) -> str:
        return self.order.tenant

    def named(self, key: str) -> bool:
        """Sets `name`. False where it would be too long: such a result is not kept."""
        _, _, container, obj = self.order.object.split("/", 3)
        self.name = name_of(container, obj, key) or ""
        return bool(self.name)
