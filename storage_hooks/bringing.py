"""How a storage node gets a program that it lacks: the proxy that asked it for a run brings the bytes.

    run switch                                  object hook                                 node
       │ GET, marked: run sha256:… ────────────────▶│ launch ──────────────────────────────────▶│
       │ ◀──────────── refused: unknown program ────│ ◀─────────────────────── unknown program ─│
       │ PUT /DEVICE/0/.insitu/programs/sha256:… ──▶│ bring ───────────────────────────────────▶│
       │ ◀────────────────────── 100 Continue ──────│ ◀──────────────── (it lacks it) need it ──│
       │ the bytes, chunked ───────────────────────▶│ ─────────────────────────────────────────▶│ holds them against
       │ ◀─────────────────────────────── 201 ──────│ ◀────────────────────────────── it is in ─│ the digest
       │ GET, marked: as before ───────────────────▶│

The PUT carries the same mark and the same signature as a run, for a path that is no object's; the object server never
sees it. Two proxies that bring the same at once do no harm: what is there already is not asked for, and what arrives
twice is the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Final

from swift.common.bufferedhttp import http_connect
from swift.common.utils import close_if_possible

from insitu.runtime.client import PIECE
from insitu.runtime.errors import BY_CODE, NodeError, NodeUnavailable, ProgramRejected
from insitu.runtime.questions import Questions
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.storage_hooks import inside
from insitu.storage_hooks.green import Timeout
from insitu.storage_hooks.local_node import LocalNode

Provider = Callable[[], Iterable[bytes] | None]
"""Gives a program's bytes anew, in pieces of any size; None when they cannot be had."""

METHOD: Final = "PUT"
PATIENCE: Final = 120.0
"""Seconds that a storage node takes for one program."""


def path_of(digest: str) -> str:
    """Behind /DEVICE/PARTITION, where an object's account would be."""
    return f"/.insitu/programs/{digest}"


# -- at the proxy ------------------------------------------------------------------------------------------------------


def bring(
    node: Mapping[str, Any],
    digest: str,
    pieces: Iterable[bytes],
    headers: Mapping[str, str],
    timeouts: tuple[float, float],
) -> None:
    """Bring `pieces` to a storage node of the ring. `headers`: the mark and its signature. `timeouts`: seconds to
    connect, and for each step after that.

    Raises `NodeUnavailable`, `Busy` and `ProgramRejected` (the bytes are others, or too many): it has nothing then.
    """
    to_connect, to_wait = timeouts
    where = f"{node['ip']}:{node['port']}"
    connection = None
    try:
        with Timeout(to_connect):
            connection = http_connect(
                node["ip"],
                node["port"],
                node["device"],
                0,
                METHOD,
                path_of(digest),
                {**headers, "Transfer-Encoding": "chunked", "Expect": "100-continue"},
            )
        with Timeout(to_wait):
            answer = connection.getexpect()
        if answer.status == 100:
            # Who hangs up before the end has said why.
            with suppress(OSError):
                for chunk in _chunked(_bounded(pieces, digest)):
                    with Timeout(to_wait):
                        connection.send(chunk)
            with Timeout(to_wait):
                answer = connection.getresponse()
    except (OSError, HTTPException, Timeout) as why:
        raise NodeUnavailable(f"program {digest} could not be brought to {where}: {why!r}") from None
    finally:
        if connection is not None:
            connection.close()
    code = answer.getheader(inside.REFUSED)
    reason = inside.unquote_reason(answer.getheader(inside.REASON) or "")
    if code is not None:
        kind = BY_CODE.get(code, NodeUnavailable)
        raise kind(reason) if kind is not NodeError else NodeUnavailable(reason)
    if answer.status != 201:
        raise NodeUnavailable(f"program {digest} could not be brought to {where}: it answers {answer.status}")


def _bounded(pieces: Iterable[bytes], digest: str) -> Iterator[bytes]:
    size = 0
    source = iter(pieces)
    try:
        while True:
            try:
                piece = next(source, None)
            except Exception as why:  # noqa: BLE001 - wherever it comes from
                raise NodeUnavailable(f"program {digest} could not be read: {why!r}") from None
            if piece is None:
                return
            size += len(piece)
            if size > MAX_PROGRAM:
                raise ProgramRejected(f"program {digest}: over {MAX_PROGRAM} bytes, and no more are allowed")
            yield piece
    finally:
        close_if_possible(source)


def _chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if piece:  # one without bytes would be the end
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


# -- at the storage node -----------------------------------------------------------------------------------------------


def take_in(local: LocalNode, digest: str, source: Any) -> None:
    """Hand a program on to the node here. `source`: the request's body, of which nothing is read unless it is needed.

    Raises `NodeError`: it has nothing then.
    """
    limit = Timeout(PATIENCE)
    try:
        with Questions(local.connect()) as node:
            node.bring(digest, iter(lambda: source.read(PIECE), b""))
    except Timeout as late:
        if late is not limit:
            raise
        raise NodeUnavailable(f"{local.name} did not take {digest} in within {PATIENCE:g} s") from None
    except (OSError, ValueError) as why:
        raise NodeUnavailable(f"{local.name} could not take {digest} in: {why}") from None
    finally:
        limit.cancel()
