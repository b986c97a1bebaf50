"""From an open file to a stream of frames, with a real node."""

import os
import tempfile
from collections.abc import Iterator
from socket import socketpair
from typing import Any

import pytest

from insitu.runtime.client import LaunchRequest, NodeClient
from insitu.runtime.errors import UnknownProgram
from insitu.sandbox.limits import Limits
from insitu.storage_hooks import green
from insitu.storage_hooks.devcluster import DevCluster
from insitu.storage_hooks.frames import BEAT, DATA, END, MAX_PAYLOAD, WHOLE, Deframer, Frame, unpack_outcome
from insitu.storage_hooks.object_run import ObjectRun
from tests.storage_hooks.store import eventually

DATA_IN = os.urandom(3 << 20)


@pytest.fixture
def source() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(DATA_IN)
        file.flush()
        yield file.fileno()


def start(cluster: DevCluster, source: int, program: str, *, client: Any = None, **limits: Any) -> ObjectRun:
    request = LaunchRequest(program, tenant="AUTH_frames", limits=Limits(**limits))
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
