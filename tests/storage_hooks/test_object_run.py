"""From an open file to a stream of frames, with a real node."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socketpair
from typing import Any

import pytest

from insitu.runtime.client import LaunchRequest, NodeClient
from insitu.runtime.errors import UnknownProgram
from insitu.sandbox.limits import Limits
from insitu.storage_hooks import green, object_run
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.frames import (
    BEAT,
    DATA,
    END,
    MALFORMED,
    MAX_PAYLOAD,
    META,
    WHOLE,
    Deframer,
    Frame,
    unpack_outcome,
)
from insitu.storage_hooks.metadata import Metadata, parse
from insitu.storage_hooks.object_run import ObjectRun
from tests.storage_hooks.store import eventually

DATA_IN = os.urandom(3 << 20)


@pytest.fixture
def source() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(DATA_IN)
        file.flush()
        yield file.fileno()


def start(cluster: DevCluster, source: int, program: str, *args: str, client: Any = None, **limits: Any) -> ObjectRun:
    request = LaunchRequest(program, args, tenant="AUTH_frames", limits=Limits(**limits))
    return ObjectRun(green.connect(str(cluster.nodes[0].socket), 10), request, source, client=client, beat=0.2)


def frames(run: ObjectRun) -> list[Frame]:
    deframer = Deframer()
    found = [frame for piece in run for frame in deframer.feed(piece)]
    assert deframer.clean
    run.close()
    return found


def test_a_large_result_is_data_then_the_outcome(cluster: DevCluster, source: int) -> None:
    *data, end = [frame for frame in frames(start(cluster, source, "copy")) if frame.kind != BEAT]
    assert {frame.kind for frame in data} == {DATA}
    assert max(len(frame.payload) for frame in data) <= MAX_PAYLOAD
    assert b"".join(frame.payload for frame in data) == DATA_IN
    assert end.kind == END
    assert unpack_outcome(end.payload).ok


def test_a_small_result_is_whole_at_once(cluster: DevCluster, source: int) -> None:
    kinds = [frame.kind for frame in frames(start(cluster, source, "args")) if frame.kind != BEAT]
    assert kinds == [WHOLE, END]


def test_of_a_launch_that_failed_early_only_the_outcome_is_seen(cluster: DevCluster, source: int) -> None:
    [end] = [frame for frame in frames(start(cluster, source, "fail-early")) if frame.kind != BEAT]
    assert unpack_outcome(end.payload).exit_code == 3


def test_a_silent_guest_does_not_silence_its_node(cluster: DevCluster, source: int) -> None:
    *beats, end = frames(start(cluster, source, "loop", wall=1.0))
    assert len(beats) >= 3  # one early, then every 0.2 s for a second
    assert {frame.kind for frame in beats} == {BEAT}
    limit = unpack_outcome(end.payload).limit
    assert limit is not None
    assert limit.name == "wall"


def test_a_refusal_leaves_nothing_open(cluster: DevCluster, source: int) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnknownProgram):
        start(cluster, source, "no-such-program")
    assert len(os.listdir("/proc/self/fd")) <= len(before)


@pytest.mark.parametrize("program", ["loop", "stall", "flood"])
def test_the_proxys_going_ends_the_guest(cluster: DevCluster, source: int, program: str) -> None:
    ours, proxys = socketpair()
    with ours, proxys:
        run = start(cluster, source, program, client=ours)
        next(run)
        proxys.close()
        # A silent guest is noticed here, a busy one when its bytes meet the closed connection; both end in close().
        if program != "flood":
            with pytest.raises(BrokenPipeError):
                frames(run)
        run.close()
    record = eventually(lambda: NodeClient(str(cluster.nodes[0].socket)).run(run.accepted.id), "its record")
    assert record.outcome.end == "cancelled"


# -- what a program says of its result ---------------------------------------------------------------------------------

SAID = Metadata(201, "text/plain", {"colour": "blue"})


@contextmanager
def containing(data: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.fileno()


def told(run: ObjectRun) -> list[Frame]:
    return [frame for frame in frames(run) if frame.kind != BEAT]


def test_metadata_come_before_a_small_result_and_in_the_same_write(cluster: DevCluster) -> None:
    with containing(b"small") as file:
        run = start(cluster, file, "says", SAID.encode())
        deframer = Deframer()
        writes = [list(deframer.feed(piece)) for piece in run]
        run.close()
    meta, whole, end = writes[-1]
    assert [frame.kind for frame in (meta, whole, end)] == [META, WHOLE, END]
    assert parse(meta.payload) == SAID
    assert whole.payload == b"small"


def test_metadata_come_before_a_large_result(cluster: DevCluster, source: int) -> None:
    meta, *data, end = told(start(cluster, source, "says", SAID.encode()))
    assert parse(meta.payload) == SAID
    assert b"".join(frame.payload for frame in data) == DATA_IN
    assert unpack_outcome(end.payload).ok


def test_a_result_of_no_bytes_can_have_them_too(cluster: DevCluster) -> None:
    with containing(b"") as file:
        meta, end = told(start(cluster, file, "says", '{"status": 404}'))
    assert (meta.kind, end.kind) == (META, END)
    assert parse(meta.payload).status == 404


def test_who_says_nothing_costs_no_frame(cluster: DevCluster) -> None:
    with containing(b"small") as file:
        assert [frame.kind for frame in told(start(cluster, file, "says", "{}"))] == [WHOLE, END]


@pytest.mark.parametrize("size", [5, 3 << 20], ids=["decided at the end", "decided while it runs"])
def test_malformed_metadata_are_the_end_of_it(cluster: DevCluster, size: int) -> None:
    with containing(bytes(size)) as file:
        run = start(cluster, file, "says", '{"colour": "blue"}')
        malformed, end = told(run)
    assert malformed == (MALFORMED, b'unknown: "colour"; known are status, content_type and user')
    assert unpack_outcome(end.payload).ok is (size == 5)
    record = eventually(lambda: NodeClient(str(cluster.nodes[0].socket)).run(run.accepted.id), "its record")
    assert record.outcome.end == ("exit" if size == 5 else "cancelled")


@pytest.mark.parametrize("size", [16385, 64 << 10, 5 << 20])
def test_a_guest_that_fills_the_pipe_is_not_left_waiting(cluster: DevCluster, size: int) -> None:
    """It says "done" only once it was rid of all of it, some 80 times what a pipe holds."""
    with containing(b"{}".ljust(size)) as file:
        malformed, end = told(start(cluster, file, "confides"))
    assert malformed.kind == MALFORMED
    assert b"16384" in malformed.payload
    assert unpack_outcome(end.payload).ok


def test_16_kib_of_metadata_are_taken(cluster: DevCluster) -> None:
    with containing(b'{"status": 203}'.ljust(16 << 10)) as file:
        meta, whole, _end = told(start(cluster, file, "confides"))
    assert parse(meta.payload).status == 203
    assert whole.payload == b"done"


def test_of_a_launch_that_failed_nobody_hears_what_it_said(cluster: DevCluster) -> None:
    with containing(b"x") as file:
        [end] = told(start(cluster, file, "says", SAID.encode(), output=20))
    assert unpack_outcome(end.payload).end == "limit"


def test_a_refusal_leaves_no_pipe(cluster: DevCluster, source: int) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(UnknownProgram):
            start(cluster, source, "no-such-program")
    run = start(cluster, source, "says", SAID.encode())
    told(run)
    run.close()
    assert len(os.listdir("/proc/self/fd")) <= len(before)


# -- what goes wrong in the server itself ------------------------------------------------------------------------------


def test_a_node_that_hangs_after_the_guest_has_ended_is_given_up(
    cluster: DevCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_run, "SILENCE", 0.5)
    daemon = cluster.nodes[0].daemon_pid
    assert daemon is not None
    with containing(b"small") as file:
        run = start(cluster, file, "paced", "1000", "0")
        # It answers the next question once it is done with the launch's beginning: only the guest has the pipes then.
        NodeClient(str(cluster.nodes[0].socket)).ping()
        os.kill(daemon, signal.SIGSTOP)
        try:
            [end] = told(run)
        finally:
            os.kill(daemon, signal.SIGCONT)
    outcome = unpack_outcome(end.payload)
    assert outcome.end == "lost"
    assert "has not said how it ended" in outcome.note


def test_a_guest_that_is_silent_for_longer_than_that_is_not(
    cluster: DevCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_run, "SILENCE", 0.2)
    with containing(b"ab") as file:
        whole, end = told(start(cluster, file, "paced", "1000", "10"))
        assert (whole.payload, unpack_outcome(end.payload).ok) == (b"ab", True)
        *_data, end = told(start(cluster, file, "paced", "0", "1000"))
        assert unpack_outcome(end.payload).ok


def test_an_error_of_the_server_s_own_is_an_end_too(cluster: DevCluster, source: int) -> None:
    """An exception here would be a 500 to Swift, which asks the next replica then: it would run twice."""

    def repair(_seconds: float) -> bool:
        raise RuntimeError("of a kind that nobody thought of")

    request = LaunchRequest("copy", tenant="AUTH_frames", md5="0" * 32)
    sock = green.connect(str(cluster.nodes[0].socket), 10)
    with containing(b"small") as file:
        [end] = told(ObjectRun(sock, request, file, client=None, beat=0.2, damaged=repair))
    outcome = unpack_outcome(end.payload)
    assert outcome.end == "lost"
    assert "of a kind that nobody thought of" in outcome.note
