"""Swift's proxy application for one run: it asks one node at a time, and none after one that may have started.

Swift's reads are free to repeat: several replicas at once, the next one when a node is slow, a Range to resume a broken
body. A run is not. This is the operator's own proxy application, copied for one request (some sixty references, a few
microseconds) and changed where it matters:

    plain read                                        run
    node_timeout until another node is asked          long enough for any silence between two beats
    concurrent_gets: all replicas at once             one
    no answer after the request was sent: the next    it may have started there: nobody else is asked
    a 500: the next                                   likewise, unless its hook says that it is Swift's own
    body breaks: resume on another replica            likewise
    5xx counts against the node for plain reads       a count of its own; "no room now" does not count at all
    object_chunk_size bytes before they are passed    exactly one frame (see frames.py), so nothing is kept waiting

Swift calls the methods below at the moments their comments name; the tests with a real cluster keep that true.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from swift.common.storage_policy import REPL_POLICY
from swift.common.swob import HTTPBadRequest
from swift.proxy.server import Application

from insitu.runtime.errors import Busy, NodeUnavailable
from insitu.storage_hooks import inside
from insitu.storage_hooks.frames import HEADER_SIZE

_ELSEWHERE = frozenset((Busy.code, NodeUnavailable.code, inside.MISCONFIGURED))


@dataclass(frozen=True, slots=True)
class Refusal:
    """One node said that it started nothing."""

    code: str
    reason: str
    retry_after: str | None


Address = tuple[Any, ...]


def address(node: Any) -> Address:
    """Which storage node, whatever copy of the ring's entry it is."""
    return node["ip"], node["port"], node["device"]


class RunApplication(Application):  # one request's; never called twice
    """See the module. Made by `of`, never by its constructor."""

    node: dict[str, Any] | None
    """The node that was asked last, from the ring: with `index`, or `handoff_index`."""
    first: dict[str, Any] | None
    """The node to ask first, if it is one of the object's own."""
    avoided: Collection[Address]
    """Nodes not to ask."""
    refusals: list[Refusal]
    settled: bool
    """Nobody else may be asked: something may have started."""

    @classmethod
    def of(
        cls,
        app: Application,
        node_timeout: float,
        error_limiter: Any,
        first: dict[str, Any] | None = None,
        avoided: Collection[Address] = (),
    ) -> "RunApplication":
        """A copy of the proxy's application for one run."""
        made = cls.__new__(cls)
        made.__dict__.update(app.__dict__)
        made.node_timeout = made.recoverable_node_timeout = node_timeout
        made.error_limiter = error_limiter
        made.object_chunk_size = HEADER_SIZE
        made.node = None
        made.first, made.avoided = first, avoided
        made.refusals = []
        made.settled = False
        made._checking = False
        return made

    def get_policy_options(self, policy: Any) -> Any:
        """Before any node of a policy is asked."""
        options = copy.copy(super().get_policy_options(policy))
        options.concurrent_gets = False
        if policy is not None and policy.policy_type != REPL_POLICY:
            raise HTTPBadRequest(
                headers={
                    inside.REFUSED: inside.UNSUPPORTED,
                    inside.REASON: inside.quote_reason(
                        f"the container's policy {policy.name!r} stores no object whole on one node"
                    ),
                }
            )
        return options

    def sort_nodes(self, nodes: list[dict[str, Any]], policy: Any = None) -> list[dict[str, Any]]:
        """The order in which the object's own nodes are asked."""
        ordered: list[dict[str, Any]] = super().sort_nodes(nodes, policy)
        if self.first is not None:
            ordered.sort(key=lambda node: address(node) != address(self.first))
        return ordered

    def set_node_timing(self, node: dict[str, Any], timing: float) -> None:
        """After the request was sent to a node."""
        self.node = node
        super().set_node_timing(node, timing)

    def check_response(self, node: Any, server_type: str, response: Any, *args: Any, **kwargs: Any) -> bool:
        """After a node answered with a status that is no success."""
        code = response.getheader(inside.REFUSED)
        if code in _ELSEWHERE:
            reason = inside.unquote_reason(response.getheader(inside.REASON) or "")
            self.refusals.append(Refusal(code, reason, response.getheader("Retry-After")))
            return True
        if response.status == 500 and response.getheader(inside.PASSED) is None:
            # Not an error of Swift's, which the hook vouches for, but of whoever serves it: after the hook, maybe.
            self.settled = True
        self._checking = True
        try:
            ok: bool = super().check_response(node, server_type, response, *args, **kwargs)
            return ok
        finally:
            self._checking = False

    def exception_occurred(self, node: Any, typ: str, additional_info: Any, **kwargs: Any) -> None:
        """A node could not be asked, or did not answer."""
        if typ == "Object" and node is self.node:
            self.settled = True  # It was asked: what it started, if anything, is unknown.
        super().exception_occurred(node, typ, additional_info, **kwargs)

    def error_occurred(self, node: Any, msg: Any) -> None:
        """An answer was an error (from check_response), or a body broke and Swift is about to resume it."""
        if not self._checking:
            self.settled = True
        super().error_occurred(node, msg)

    def error_limited(self, node: Any) -> bool:
        """May this node be asked?"""
        if self.settled or (self.avoided and address(node) in self.avoided):
            return True
        limited: bool = super().error_limited(node)
        return limited
