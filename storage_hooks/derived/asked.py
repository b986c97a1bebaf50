"""One read through a program, as it is handed on from step to step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from insitu.sandbox.limits import Limits
from insitu.storage_hooks import inside
from insitu.storage_hooks.derived.key import key_of, told
from insitu.storage_hooks.derived.names import name_of
from insitu.storage_hooks.inside import Environ, Headers
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

    def may_share(self, source: Headers) -> bool:
        """Whether a stored result of this object may be this caller's. A large object's segments have rights of their
        own, which only reading them asks for; to the account's owner they are all open."""
        large = inside.find(source, "X-Static-Large-Object") or inside.find(source, "X-Object-Manifest")
        return not large or bool(self.environ.get("swift_owner"))

    @property
    def account(self) -> str:
        return self.order.tenant

    def named(self, etag: str, program: tuple[str, str], inputs: Sequence[tuple[str, str]], limits: Limits) -> bool:
        """Sets `name`: of what came of these bytes by that program (its digest, and what else is
        stated of it: see `ProgramInfo.stated`). False where it would be too long: such a result is
        not kept."""
        request = self.order.request
        key = key_of(etag, " ".join(program), (request.program, *request.args), inputs, told(limits))
        _, _, container, obj = self.order.object.split("/", 3)
        self.name = name_of(container, obj, key) or ""
        return bool(self.name)
