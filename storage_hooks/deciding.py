"""From what was asked to an `Order`: may they, and which program is it.

In this order, so that nobody learns of a program, and nothing is read for anybody, who may not read the object:

1. Swift's own authorization: may the caller read, or write, the object (rights.py: and whom the owner let in besides)
2. the account's owner has not turned programs off
3. anonymous callers and holders of a temporary URL: only what the container's owner named
4. the program: a name, or a digest, or an object that the caller may read, too, and that becomes its digest
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from swift.common.http import is_success
from swift.common.swob import HTTPNotFound, Request
from swift.proxy.controllers.base import get_container_info

from insitu.runtime.grammar import RunRequest
from insitu.storage_hooks import inside, policies, rights
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.policies import Policy
from insitu.storage_hooks.refusing import Denied, Refused
from insitu.storage_hooks.runs import Order
from insitu.storage_hooks.stored_programs import StoredPrograms

Where = tuple[str, str, str]


class Deciding:
    """How one proxy decides. `where` is account, container and object, as in the path."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._stored = StoredPrograms(app)

    def plain(self, environ: Environ, policy: Policy) -> None:
        """The object as it is, although its container may have a policy (`-`). Raises `Refused`."""
        self._may(environ, policy, None)

    def reading(self, environ: Environ, where: Where, request: RunRequest, policy: Policy) -> Order:
        """For a run on an object that is read. From then on `environ` reads it for whom the owner let in, too.

        Raises `Refused`, `Denied`.
        """
        named = rights.named(policy, request)
        widening = rights.widen(environ, policy, *where) if named else None
        self.authorize(environ, "read_acl")
        self._may(environ, policy, request)
        let_in = widening is not None and widening.used
        if let_in:
            # Of the object's result, and not of its manifest, or of a symlink itself.
            query = parse_qsl(environ.get("QUERY_STRING") or "", keep_blank_values=True)
            environ["QUERY_STRING"] = urlencode([(name, value) for name, value in query if name == "version-id"])
        # Extra inputs and the program are no part of what the owner opened: only of what he named.
        return self._order(environ, where, request, owners=named, let_in=let_in)

    def writing(self, environ: Environ, where: Where, request: RunRequest, policy: Policy) -> Order:
        """For a run on what is written. Raises `Refused`, `Denied`."""
        self.authorize(environ, "write_acl")
        owners = request == policy.on_write
        self._may(environ, policy, request, owners=owners)
        return self._order(environ, where, request, owners=owners, let_in=False)

    def authorize(self, environ: Environ, acl: str) -> None:
        """Swift's own say: "read_acl" or "write_acl" of the container. Raises `Denied`."""
        authorize = environ.get("swift.authorize")
        if authorize is None:
            return
        request = Request(environ)
        info = get_container_info(environ, self._app, swift_source="INSITU")
        request.acl = info.get(acl)
        denied = authorize(request)
        if denied:
            raise Denied(denied)
        if acl == "write_acl" and not is_success(info["status"]):
            # Swift would say so too, but only to the PUT of a result.
            raise Denied(HTTPNotFound(request=request))

    def _may(self, environ: Environ, policy: Policy, request: RunRequest | None, *, owners: bool = False) -> None:
        """`owners`: it is the owner's own word (X-Container-Run-On-Write), whoever comes."""
        account = policies.account_policy(environ, self._app)
        caller = rights.Caller.USER if owners else rights.Caller.of(environ)
        if why := rights.may(caller, policy, account, request):
            raise Refused(why)

    def _order(self, environ: Environ, where: Where, request: RunRequest, *, owners: bool, let_in: bool) -> Order:
        settled, provider = self._stored.settle(environ, where[0], request, owners=owners)
        return Order(
            request=settled,
            tenant=inside.native(where[0]),
            object=inside.native("/" + "/".join(where)),
            provider=provider,
            owners=owners,
            let_in=let_in,
        )
