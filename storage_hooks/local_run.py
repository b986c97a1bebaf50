"""Runs at the proxy's own node: of what is not whole on one storage node, of several inputs, and of what comes in.

    GET of a large object, of an erasure-coded or an encrypted one, with extra inputs, or with no storage node left
        Swift's answer to a plain GET ──▶ Feed ──▶ stdin of a launch on this machine's node
    PUT
        the client's bytes, laid aside until they are whole ──▶ likewise

What comes back looks as the run switch's answers do: see framed.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from insitu.runtime.client import LaunchRequest
from insitu.storage_hooks import inside
from insitu.storage_hooks.feed import Feed, Here
from insitu.storage_hooks.framed import RunAborted, frames_of, unframed
from insitu.storage_hooks.inside import Headers
from insitu.storage_hooks.local_node import LocalNode
from insitu.storage_hooks.object_run import ObjectRun


def run_here(
    node: LocalNode, request: LaunchRequest, feed: Feed | Here, inputs: Mapping[str, int], logger: Any
) -> tuple[Headers, "LocalBody"]:
    """Start it, and wait until its status is decided: the headers of a run's answer, and the body. The feed is closed
    with the body, or when this raises: `NodeError` when nothing was started, `RunAborted` when the input broke off.
    """
    try:
        run = node.launch(request, feed.read_end, feed.broken, inputs)
        feed.start()
        headers = [
            (inside.ID, run.accepted.id),
            (inside.PROGRAM, run.accepted.digest),
            (inside.TYPE, run.accepted.content_type),
            *inside.result_of(run.accepted),
            (inside.WHERE, f"{node.name}; proxy"),
        ]
        try:
            headers, body = unframed(headers, frames_of(_Sizes(), run), run, logger)
        except BaseException:
            run.close()
            raise
        if feed.failure is not None:
            run.close()
            raise feed.failure
        return headers, LocalBody(body, run, feed)
    except BaseException:
        feed.close()
        raise


class LocalBody:
    """A run's output. Raises `RunAborted` when it is not whole, or what went in was not."""

    def __init__(self, body: Any, run: ObjectRun, feed: Feed | Here) -> None:
        self._body, self._run, self.feed = iter(body), run, feed

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk: bytes = next(self._body)
            return chunk
        except (StopIteration, RunAborted):
            if self.feed.failure is not None:
                raise self.feed.failure from None
            raise

    def close(self) -> None:
        self._run.close()
        self.feed.close()


class _Sizes:
    object_chunk_size = 0
    """What `frames_of` keeps for Swift's sake: nobody reads it here."""
