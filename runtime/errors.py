"""Errors of the runtime, each named for what its reader can do about it.

`NodeUnavailable`, `Busy`, `UnknownProgram`, `ProgramRejected` and `BadRequest` promise that nothing was started.
"""


class NodeError(Exception):
    """Base of all of them. The message is one line for people."""

    code = "node-error"
    """How the error is named on the wire."""


class NodeUnavailable(NodeError):
    """Nobody answers at the socket, or the node went away before it accepted. Try another node, or later."""

    code = "unavailable"


class Busy(NodeError):
    """The node has no room now. Try again after `retry_after` seconds, or another node."""

    code = "busy"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnknownProgram(NodeError):
    """The node has no program of that name or digest. Fix the name, or bring the program to the node."""

    code = "unknown-program"


class ProgramRejected(NodeError):
    """The program cannot run: not wasm, an import nobody provides, a feature that is off. Fix the program."""

    code = "program-rejected"


class BadRequest(NodeError):
    """The request is malformed or asks for more than is allowed. Fix the request."""

    code = "bad-request"


class NodeLost(NodeError):
    """The node went away after it had accepted: the launch was started, its end is unknown."""

    code = "lost"


class ProtocolError(NodeError):
    """The peer does not speak this protocol; the connection is of no further use."""

    code = "protocol"


BY_CODE: dict[str, type[NodeError]] = {
    e.code: e for e in (NodeUnavailable, Busy, UnknownProgram, ProgramRejected, BadRequest, NodeLost, ProtocolError)
}
