"""One run on the node: from the open file of an object to a stream of frames.

    object's file ──fd──▶ node ─▶ worker ─▶ guest
                                            │   │ pipes: stdout, and /dev/out/meta
    proxy ◀── frames ── ObjectRun ◀─────────┴───┘
                            ▲ the launch's socket: its outcome, or the node's death

It waits for all of them at once: bytes in a pipe, the outcome, and the connection to the proxy. When that connection
closes, the launch is closed, and with it the guest, at once and not at its next write.

The proxy's own runs (local_run.py) are such a stream too; their stdin may be a pipe that another green thread fills.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from insitu.runtime.client import Accepted, Launch, LaunchRequest
from insitu.runtime.errors import NodeError, NodeLost
from insitu.sandbox.outcome import Outcome
from insitu.storage_hooks import green
from insitu.storage_hooks.bounds import BOUNDS
from insitu.storage_hooks.frames import BEAT, DATA, MALFORMED, META, WHOLE, encode, encode_end
from insitu.storage_hooks.hold_back import HoldBack
from insitu.storage_hooks.meta_pipe import MetaPipe
from insitu.storage_hooks.metadata import CHANNEL, NONE, MetadataError, parse

PIPE_SIZE = 1 << 20
"""Bytes the kernel may hold between guest and hook. 1 MiB is the most an ordinary user may ask for."""

READ_SIZE = 1 << 18
"""Bytes to one frame at most. Larger ones win nothing: the copies dominate."""


FIRST_BEAT = 0.05
"""Seconds of silence until the first beat: with it the proxy gets the headers, and knows that the run was started."""

SILENCE = 60.0
"""Seconds for a node to tell the outcome of a guest that has closed all its outputs. Only one that hangs takes them."""

_NO_INPUTS: Final[Mapping[str, int]] = MappingProxyType({})


class ObjectRun:
    """The WSGI body of one run; iterating it yields frames. Raises `NodeError` when nothing could be started.

    `close()` is safe at any time and ends the guest if it still runs.
    """

    def __init__(
        self,
        sock: Any,
        request: LaunchRequest,
        stdin: int,
        inputs: Mapping[str, int] = _NO_INPUTS,
        *,
        client: Any | None,
        beat: float,
        damaged: Callable[[float], bool] | None = None,
    ) -> None:
        """`sock`: a connected socket to the node, taken over. `stdin` and `inputs`: files, or what else can be read;
        they stay the caller's to close. `client`: a socket whose closing ends the run. `beat`: seconds.
        `damaged`: what is to be done when stdin is not what `request.md5` says, before that is told; it is called with
        seconds to wait, again and again until it answers True."""
        self._client = client
        self._beat = beat
        self._damaged = damaged
        self._pipe = -1
        self._launch = Launch(sock)
        self._meta = MetaPipe()
        try:
            self._pipe, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                _enlarge(self._pipe)
                self.accepted: Accepted = self._launch.start(
                    request, stdin, write_end, inputs=inputs, outputs={CHANNEL: self._meta.open()}
                )
            finally:
                os.close(write_end)
                self._meta.launched()
        except BaseException:
            self.close()
            raise
        self._frames = self._run()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._frames)
        except (StopIteration, BrokenPipeError):
            raise  # its end, and a proxy that does not listen
        except NodeLost as why:
            self.close()
            return encode_end(Outcome(end="lost", note=str(why)))
        except Exception as why:  # noqa: BLE001 - as an exception it would be a 500 to Swift, which asks the next replica
            self.close()
            return encode_end(Outcome(end="lost", note=f"the storage server failed: {why!r}"))

    def close(self) -> None:
        """Close the launch, which ends a guest that still runs, and the pipes."""
        self._launch.close()
        self._meta.close()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _run(self) -> Iterator[bytes]:
        held = HoldBack()
        for chunk in self._output(held):
            if chunk is None:
                yield encode(BEAT)
            elif chunk and held.holding:
                held.add(chunk, time.monotonic())
            elif chunk:
                yield encode(DATA, chunk)
            if held.holding and held.due(time.monotonic()):
                try:
                    said = self._said()
                except MetadataError as why:
                    self.close()
                    outcome = Outcome(end="cancelled", note="what it said of its result is malformed")
                    yield encode(MALFORMED, str(why).encode()) + encode_end(outcome)
                    return
                if said:
                    yield said
                yield from _pieces(held.release())
        yield from self._until_it_ends()
        outcome = self._outcome()
        if outcome.end == "damaged" and self._damaged is not None:
            while not self._damaged(self._beat):
                yield encode(BEAT)
        if held.holding and outcome.ok:
            try:
                whole = held.release()
                # One write for all: the proxy then knows the length before it answers.
                yield self._said() + (encode(WHOLE, whole) if whole else b"") + encode_end(outcome)
            except MetadataError as why:
                yield encode(MALFORMED, str(why).encode()) + encode_end(outcome)
        else:
            # What was held back of a launch that failed is dropped: its status says so.
            yield encode_end(outcome)
        self.close()

    def _said(self) -> bytes:
        """The frame of what the guest has said of its result until now. Raises `MetadataError`."""
        said = parse(self._meta.said(), BOUNDS)
        return b"" if said == NONE else encode(META, said.encode().encode("ascii"))

    def _until_it_ends(self) -> Iterator[bytes]:
        launch = self._launch.fileno()
        now = time.monotonic()
        beat_at = now + self._beat
        # A guest that has closed one output may work on for the other; one that has closed both is at its end.
        silent_since = now
        while launch not in self._wait([launch, *self._meta.watched], beat_at - now):
            self._meta.take()
            now = time.monotonic()
            if now >= beat_at:
                yield encode(BEAT)
                beat_at = now + self._beat
            if self._meta.watched:
                silent_since = now
            elif now - silent_since > SILENCE:
                raise NodeLost(f"its outputs are closed, and {SILENCE:g} s later the node has not said how it ended")

    def _output(self, held: HoldBack) -> Iterator[bytes | None]:
        """What the guest writes, until it ends. None: it was silent for a beat. b"": the deadline of `held` is here."""
        launch = self._launch.fileno()
        ended = False
        beat_at = time.monotonic() + min(FIRST_BEAT, self._beat)
        while True:
            try:
                chunk = os.read(self._pipe, READ_SIZE)
            except BlockingIOError:
                # All that the guest wrote was in the pipe before its outcome was sent: if that is here, so was this.
                if ended:
                    return
            else:
                if not chunk:
                    return
                yield chunk
                beat_at = time.monotonic() + self._beat
                continue
            wake_at = beat_at if held.deadline is None else min(beat_at, held.deadline)
            ready = self._wait([self._pipe, launch, *self._meta.watched], wake_at - time.monotonic())
            ended = launch in ready
            if not ready.isdisjoint(self._meta.watched):
                self._meta.take()
            now = time.monotonic()
            if held.deadline is not None and now >= held.deadline:
                yield b""
            if now >= beat_at:
                yield None
                beat_at = now + self._beat

    def _wait(self, fds: list[int], timeout: float) -> set[int]:
        """Wait for `fds`, and meanwhile for the proxy to go away. Raises `BrokenPipeError` when it has."""
        watched = [] if self._client is None else [self._client.fileno()]
        ready = green.wait_readable(fds + watched, timeout)
        if ready & set(watched):
            if green.peer_gone(self._client):
                raise BrokenPipeError("the proxy closed the connection")
            # Bytes that nobody asked for: they would wake us for ever.
            self._client = None
        return ready - set(watched)

    def _outcome(self) -> Outcome:
        try:
            return self._launch.outcome().outcome
        except NodeLost as why:
            return Outcome(end="lost", note=str(why))
        except NodeError as why:
            return Outcome(end="lost", note=f"the node's report is unusable: {why}")


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), READ_SIZE):
        yield encode(DATA, data[at : at + READ_SIZE])


def _enlarge(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass  # The user's pipes may hold no more in all; 64 KiB do as well, only slower.
