"""The client of a node, for hooks and tools.

    with Launch.connect(path) as launch:
        accepted = launch.start(LaunchRequest("cat", tenant="AUTH_test"), stdin=fd, stdout=pipe_write_end)
        os.close(pipe_write_end)         # the node has its own; read the result from the pipe's other end
        record = launch.outcome()

Closing a launch before its outcome cancels it: the guest is ended at once.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from insitu.runtime import wire
from insitu.runtime.errors import BY_CODE, BadRequest, Busy, NodeError, NodeLost, NodeUnavailable, ProtocolError
from insitu.runtime.programs import ProgramInfo
from insitu.runtime.record import Record
from insitu.sandbox.limits import DEFAULT, Limits

PIECE: Final = 256 << 10
"""Bytes of a program in one frame."""
SOCKET_VARIABLE: Final = "INSITU_SOCKET"


def default_socket() -> str:
    """`$INSITU_SOCKET`, else a node's usual place in the user's runtime directory."""
    base = os.environ.get("XDG_RUNTIME_DIR") or "/run"
    return os.environ.get(SOCKET_VARIABLE) or os.path.join(base, "insitu", "node.sock")


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What to run, for whom. `object` and `request_id` are for the record alone."""

    program: str
    args: tuple[str, ...] = ()
    tenant: str = ""
    request_id: str = ""
    object: str = ""
    limits: Limits = DEFAULT
    env: Mapping[str, str] = field(default_factory=dict)
    isolation: str = ""
    """"process" for a worker of its own, whatever the node gives otherwise; "shared" for no less than that."""
    md5: str = ""
    """What stdin has if it is undamaged, 32 hexadecimal digits: a guest that has read all of it, and it has another, is
    ended, and the outcome's end is "damaged"."""
    frozen: bool = False
    """The same output, stderr and fuel for the same input, whenever and wherever; a program may also ask for that
    itself. Its named inputs must then be regular files."""
    figures: bool = True
    """Whether the record of a launch with named channels, or of a frozen one, has the figures of every channel. Their
    sums it has anyway; without, it is smaller and made sooner."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A worker has the launch. `content_type` is a media type, or "source": that of the object that is read."""

    id: str
    digest: str
    content_type: str
    frozen: bool = False
    """Whether it is a frozen launch, and its result the only one that there can be."""
    stated: str = ""
    """See `ProgramInfo.stated`."""


class Connection:
    """One to a node, over a connected stream socket (see `wire.Socket` for what is asked of it)."""

    def __init__(self, sock: wire.Socket) -> None:
        self._sock = sock
        self._decoder = wire.Decoder()

    @classmethod
    def connect(cls, path: str, timeout: float | None = None) -> Self:
        """Raises `NodeUnavailable` when nobody listens there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if timeout is not None:
            sock.settimeout(timeout)
        try:
            sock.connect(path)
        except BlockingIOError:
            sock.close()
            raise NodeUnavailable(f"the node at {path} has more connections waiting than it can take now") from None
        except OSError as why:
            sock.close()
            raise NodeUnavailable(f"no node answers at {path}: {why.strerror or why}") from None
        return cls(sock)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, question: Mapping[str, Any]) -> wire.Message:
        try:
            wire.send(self._sock, {**question, "v": wire.VERSION})
        except ValueError as why:
            raise BadRequest(f"the request cannot be written: {why}") from None
        except OSError:
            pass  # it hung up, and may have said why: that is read next
        return self._receive(NodeUnavailable, "before it answered")

    def _receive(self, gone: type[NodeError], when: str) -> wire.Message:
        try:
            message = wire.receive(self._sock, self._decoder)
        except OSError as why:
            raise gone(f"the node went away {when}: {why}") from None
        if message is None:
            raise gone(f"the node went away {when}")
        if "error" in message:
            raise _error(message)
        return message


def _error(message: wire.Message) -> NodeError:
    kind, text = BY_CODE.get(message["error"], NodeError), str(message.get("message", ""))
    return Busy(text, float(message.get("retry_after", 1.0))) if kind is Busy else kind(text)


class Launch(Connection):
    """One launch over one connection."""

    def start(
        self,
        request: LaunchRequest,
        stdin: int,
        stdout: int,
        provider: Callable[[str], bytes | None] | None = None,
        *,
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, int] | None = None,
    ) -> Accepted:
        """Hand over; returns once a worker has it. The caller keeps, and closes, its own copies of the descriptors.

        `stdin` is a file, read with pread from its beginning, or a stream; `stdout` should be a pipe's write end. Pipes
        and sockets become non-blocking, for all who share the description.
        `provider` is asked for the bytes of a program that was named by its digest, `sha256:…`, when the node does not
        have it; None from it: it has none either. They are sent, and the node holds them against the digest.
        `inputs` and `outputs`: descriptors by the names of channels, `channels.MAX_NAMED` of them at most. A regular
        file is read, or written, at any place, from its beginning; anything else only goes on.
        Raises `Busy`, `UnknownProgram`, `ProgramRejected`, `BadRequest`, `NodeUnavailable`: then nothing was started.
        """
        message = {
            "op": "launch",
            "v": wire.VERSION,
            "program": request.program,
            "args": list(request.args),
            "tenant": request.tenant,
            "request_id": request.request_id,
            "object": request.object,
            "limits": {} if request.limits is DEFAULT else request.limits.to_wire(),
            "env": dict(request.env),
            "brings": provider is not None,
        }
        if request.isolation:
            message["isolation"] = request.isolation
        if request.md5:
            message["md5"] = request.md5
        if not request.figures:
            message["figures"] = False
        if request.frozen:
            message["frozen"] = True
        fds = [stdin, stdout]
        for way, given in (("inputs", inputs), ("outputs", outputs)):
            if given:
                message[way] = list(given)
                fds += given.values()
        if len(fds) > wire.MAX_FDS:
            raise BadRequest(f"{len(fds) - 2} named channels, and a launch on a node has {wire.MAX_FDS - 2} at most")
        try:
            wire.send(self._sock, message, fds)
        except ValueError as why:
            raise BadRequest(f"the request cannot be written: {why}") from None
        except OSError:
            pass  # it hung up, and may have said why: that is read next
        answer = self._receive(NodeUnavailable, "before it accepted")
        if "need" in answer and provider is not None:
            self._provide(provider(str(answer["need"])))
            answer = self._receive(NodeUnavailable, "before it accepted")
        try:
            frozen = answer.get("frozen") is True
            return Accepted(
                answer["id"], answer["digest"], answer["content_type"], frozen, str(answer.get("stated", ""))
            )
        except KeyError as missing:
            raise ProtocolError(f"an acceptance without {missing}") from None

    def _provide(self, data: bytes | None) -> None:
        pieces = [{"absent": True}] if data is None else _pieces(data)
        try:
            for piece in pieces:
                wire.send(self._sock, {"op": "bytes", "v": wire.VERSION, **piece})
        except OSError:
            pass  # the node hung up, having said why: that is read next

    def outcome(self) -> Record:
        """Wait for the end. Raises `NodeLost` when the node went away: the launch was started, its end is unknown."""
        message = self._receive(NodeLost, "before the launch had ended")
        try:
            return Record.from_wire(message["record"])
        except (KeyError, TypeError, ValueError) as why:
            raise ProtocolError(f"a record of another shape: {why}") from None


def _pieces(data: bytes) -> Iterator[dict[str, Any]]:
    for at in range(0, max(1, len(data)), PIECE):
        yield {"data": data[at : at + PIECE], "last": at + PIECE >= len(data)}


class NodeClient:
    """Questions to a node, each over a connection of its own. All raise `NodeUnavailable`."""

    def __init__(self, path: str, timeout: float | None = 10.0) -> None:
        self._path, self._timeout = path, timeout

    def ping(self) -> dict[str, Any]:
        """The node's name, version, process ids and figures."""
        return self._ask({"op": "ping"})

    def programs(self) -> list[ProgramInfo]:
        return [ProgramInfo.from_wire(raw) for raw in self._ask({"op": "programs"})["programs"]]

    def runs(self, limit: int = 20) -> list[Record]:
        """The latest records, newest first; the node keeps a bounded number, in memory."""
        return [Record.from_wire(raw) for raw in self._ask({"op": "runs", "limit": limit})["runs"]]

    def run(self, id_: str) -> Record | None:
        raw = self._ask({"op": "run", "id": id_})["run"]
        return None if raw is None else Record.from_wire(raw)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with Connection.connect(self._path, self._timeout) as connection:
            return connection._ask(question)
