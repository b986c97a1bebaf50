"""From frames (see frames.py) to an answer: what is made of the bytes that an `ObjectRun` sends."""

from collections.abc import Iterable, Iterator
from typing import Any

from swift.common.utils import close_if_possible

from insitu.sandbox.outcome import Outcome
from insitu.storage_hooks import inside
from insitu.storage_hooks.bounds import BOUNDS
from insitu.storage_hooks.frames import (
    BEAT,
    DATA,
    END,
    MALFORMED,
    META,
    WHOLE,
    Deframer,
    Frame,
    FrameError,
    unpack_outcome,
)
from insitu.storage_hooks.green import Timeout
from insitu.storage_hooks.inside import Headers
from insitu.storage_hooks.metadata import MetadataError, parse


class RunAborted(Exception):
    """A run failed after its status was decided. Raised into the WSGI server, which then aborts the body.

    `outcome` is what the run came to; None: that it failed is all that is known.
    """

    def __init__(self, why: str, outcome: Outcome | None = None) -> None:
        super().__init__(why)
        self.outcome = outcome


def unframed(headers: Headers, frames: Iterator[Frame], body: Any, logger: Any) -> tuple[Headers, Iterable[bytes]]:
    """The headers of a 200 and its body, once the run's status is decided: `inside.OUTCOME` among the headers when it
    has ended already without a result, Content-Length when the result is whole, `inside.META` when the program said
    something of it, and `inside.MALFORMED` instead of all that when what it said is none."""
    frame, broken = _first(frames)
    if frame is not None and frame.kind == META:
        try:
            # Written anew: what comes from elsewhere becomes no header as it is.
            headers = [*headers, (inside.META, parse(frame.payload, BOUNDS).encode())]
            frame, broken = _first(frames)
        except MetadataError as why:
            frame, broken = None, f"the storage node's word of the metadata is unusable: {why}"
    if frame is not None and frame.kind == MALFORMED:
        _drain(frames)
        close_if_possible(body)
        reason = inside.quote_reason(frame.payload.decode("utf-8", "replace"))
        return [*headers, (inside.MALFORMED, reason), ("Content-Length", "0")], [b""]
    if frame is None or frame.kind == END:
        _drain(frames)
        close_if_possible(body)
        try:
            outcome = Outcome(end="lost", note=broken) if frame is None else unpack_outcome(frame.payload)
        except FrameError as why:
            outcome = Outcome(end="lost", note=str(why))
        return [*headers, (inside.OUTCOME, inside.encode_outcome(outcome)), ("Content-Length", "0")], [b""]
    if frame.kind == WHOLE:
        return [*headers, ("Content-Length", str(len(frame.payload)))], WholeBody(frame.payload, frames, body)
    return headers, RunBody(frame, frames, body, logger, inside.find(headers, inside.ID) or "?")


class WholeBody:
    """A result that is here already. What is left to read of the node's answer is read when the client has it."""

    def __init__(self, payload: bytes, frames: Iterator[Frame], body: Any) -> None:
        self._payload: bytes | None = payload
        self._frames, self._body = frames, body

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        payload, self._payload = self._payload, None
        if payload is None:
            raise StopIteration
        return payload

    def close(self) -> None:
        """Read to the end, so that Swift sees it end well."""
        _drain(self._frames)
        close_if_possible(self._body)


class RunBody:
    """A program's output as it comes. Raises `RunAborted` when it is not, or not known to be, whole."""

    def __init__(self, first: Frame, frames: Iterator[Frame], body: Any, logger: Any, run_id: str) -> None:
        self._frames = frames
        self._first: Frame | None = first
        self._body = body
        self._logger = logger
        self._run_id = run_id

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        outcome = None
        try:
            frame, self._first = self._first or next(self._frames), None
            if frame.kind == DATA:
                return frame.payload
            _drain(self._frames)
            outcome = unpack_outcome(frame.payload)
            sentence = None if outcome.ok else outcome.sentence()
        except (StopIteration, FrameError) as why:
            sentence = str(why) or "the storage node's answer stops in the middle"
        if sentence is not None:
            self._logger.warning("run %s: body aborted: %s", self._run_id, sentence)
            raise RunAborted(f"run {self._run_id}: {sentence}", outcome)
        raise StopIteration

    def close(self) -> None:
        """Close the connection to the node, which ends a guest that still runs."""
        close_if_possible(self._body)


def frames_of(app: Any, body: Iterable[bytes]) -> Iterator[Frame]:
    """The frames but for the beats. Raises `FrameError` when the body breaks or is none.

    `app.object_chunk_size` is kept at the bytes that complete the frame under way: what Swift asks for at once.
    """
    deframer = Deframer()
    try:
        for piece in body:
            for frame in deframer.feed(piece):
                # Swift asks for this many bytes when it goes on: no more than what is under way.
                app.object_chunk_size = deframer.wanted
                if frame.kind != BEAT:
                    yield frame
            app.object_chunk_size = deframer.wanted
    except FrameError:
        raise
    except Timeout as why:
        raise FrameError(f"the storage node was silent for {why.seconds:g} s") from None
    except Exception as why:  # noqa: BLE001 - whatever Swift raises for a broken body
        raise FrameError(f"the connection to the storage node broke ({type(why).__name__})") from None
    if not deframer.clean:
        raise FrameError("the storage node's answer stops in the middle of a frame")


def _first(frames: Iterator[Frame]) -> tuple[Frame | None, str]:
    """The first frame; or None, and what is known of why there is none."""
    try:
        return next(frames), ""
    except StopIteration:
        return None, "the storage node's answer stops before it began"
    except FrameError as why:
        return None, str(why)


def _drain(frames: Iterator[Frame]) -> None:
    """Read to the end of the body, so that Swift sees it end well. What comes after the outcome is of no interest."""
    try:
        for _frame in frames:
            pass
    except FrameError:
        pass
