"""What a node is asked besides launches, over one connected socket: one question after the other.

    with Questions(sock) as node:                # any `wire.Socket`, an eventlet one too
        info = node.resolve("watermark@1.2")     # which program a launch would run, and its digest
        node.bring(digest, pieces)               # the bytes of one, where the node has none with that digest

Nothing that is asked here starts a launch.
"""

from collections.abc import Iterable
from contextlib import suppress

from insitu.runtime import wire
from insitu.runtime.client import PIECE, Connection
from insitu.runtime.errors import NodeUnavailable, ProtocolError
from insitu.runtime.programs import ProgramInfo


class Questions(Connection):
    def resolve(self, program: str) -> ProgramInfo:
        """The program that a launch of `NAME`, `NAME@VERSION` or `sha256:…` would run now.

        Raises `UnknownProgram`, `ProgramRejected` where its files are not what they should be, `BadRequest`,
        `NodeUnavailable`.
        """
        return _program(self._ask({"op": "resolve", "program": program}))

    def bring(self, digest: str, pieces: Iterable[bytes], *, prepare: bool = False, tenant: str = "") -> ProgramInfo:
        """See to it that the node has the program of that digest, `sha256:…`: `pieces`, of any size, are asked for and
        sent only where it has not. With `prepare` it is also compiled, in the tenant's turn, and loaded.

        Raises `ProgramRejected` where the bytes are others or, with `prepare`, no program that can be launched; `Busy`
        where it cannot be taken in, or is not compiled in the time that a launch may wait; `BadRequest`,
        `NodeUnavailable`, and what `pieces` raises. After any of them the connection is closed; what was not there
        whole and right is not there.
        """
        try:
            answer = self._ask({"op": "bring", "program": digest, "prepare": prepare, "tenant": tenant})
            if "need" in answer:
                self._send(pieces)
                answer = self._receive(NodeUnavailable, "before it had the program")
            return _program(answer)
        except BaseException:
            self.close()
            raise

    def _send(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            for at in range(0, len(piece), PIECE):
                if not self._sent({"data": piece[at : at + PIECE]}):
                    return
        self._sent({"data": b"", "last": True})

    def _sent(self, piece: wire.Message) -> bool:
        """False when the node hung up, having said why: that is read next."""
        with suppress(OSError):
            wire.send(self._sock, {"op": "bytes", "v": wire.VERSION, **piece})
            return True
        return False


def _program(answer: wire.Message) -> ProgramInfo:
    try:
        return ProgramInfo.from_wire(answer["program"])
    except (KeyError, TypeError, AttributeError) as why:
        raise ProtocolError(f"a program of another shape: {why}") from None
