"""What may cross a channel, and all outputs together: cut exactly there, and named."""

import os
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.sandbox.channels import Budget, Deadline, FdSink, FileInput, StreamSource, Views, Wait, make_pollable
from insitu.sandbox.channels.base import PIECE, head, rest
from insitu.sandbox.channels.meter import NO_QUOTA, Meter, MeteredSink, MeteredSource, Quota
from insitu.sandbox.channels.named import InputContents, OutputFile
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.errno import GuestStop
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.files.volume import Volume
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import ChannelStatistics, LimitHit, Outcome
from tests.sandbox.conftest import Sandbox, pipe
from tests.sandbox.guests import COPY, FLOOD, IMAGE, Calls, script
from tests.sandbox.named import Call, content, digest, file, image, opened, read, write

# Quotas.


def stdio(sandbox: Sandbox, quotas: Mapping[str, Quota], size: int = 100_000) -> tuple[Outcome, bytes]:
    """COPY with these quotas, from 65,536 bytes a read: two reads of data, one of the end, two writes."""
    result = sandbox.run(COPY, stdin=b"q" * size, channels=Channels(quotas=quotas))
    return result.outcome, result.output


@pytest.mark.parametrize("channel", ["stdin", "stdout"])
@pytest.mark.parametrize("allowed", [0, 1, 65_535, 65_536, 65_537, 99_999])
def test_bytes_of_a_stream_are_cut_exactly(sandbox: Sandbox, channel: str, allowed: int) -> None:
    outcome, output = stdio(sandbox, {channel: Quota(bytes=allowed)})
    reached = allowed + 1 if channel == "stdin" else 65_536 if allowed < 65_536 else 100_000
    assert (outcome.end, outcome.limit) == ("limit", LimitHit(f"{channel} bytes", allowed, reached))
    assert len(output) == allowed
    figures = outcome.channels[channel]
    assert figures.bytes_read + figures.bytes_written == allowed


@pytest.mark.parametrize("channel", ["stdin", "stdout"])
@pytest.mark.parametrize("over", [0, 1])
def test_all_that_is_allowed_is_no_failure(sandbox: Sandbox, channel: str, over: int) -> None:
    outcome, output = stdio(sandbox, {channel: Quota(bytes=100_000 + over)})
    assert outcome.ok
    assert len(output) == 100_000


@pytest.mark.parametrize(("channel", "needed"), [("stdin", 3), ("stdout", 2)])
def test_calls_are_counted_exactly(sandbox: Sandbox, channel: str, needed: int) -> None:
    for allowed in range(needed):
        outcome, output = stdio(sandbox, {channel: Quota(calls=allowed)})
        assert outcome.limit == LimitHit(f"{channel} calls", allowed, allowed + 1)
        assert outcome.sentence() == f"limit {channel} calls: {allowed} allowed, {allowed + 1} reached"
        assert len(output) == min(allowed * 65_536, 100_000)
        figures = outcome.channels[channel]
        assert figures.reads + figures.writes == allowed
    assert stdio(sandbox, {channel: Quota(calls=needed)})[0].ok


def test_a_quota_of_stderr(sandbox: Sandbox) -> None:
    flood = FLOOD.replace("(call $fd_write (i32.const 1)", "(call $fd_write (i32.const 2)")
    outcome = sandbox.run(flood, channels=Channels(quotas={"stderr": Quota(bytes=2500)}, digests=True)).outcome
    assert outcome.limit == LimitHit("stderr bytes", 2500, 3000)
    assert len(outcome.stderr) == outcome.usage.bytes_err == 2500
    assert outcome.channels["stderr"] == ChannelStatistics(writes=3, bytes_written=2500, digest=digest(outcome.stderr))


def test_quotas_of_a_file_that_is_read_at_any_place(sandbox: Sandbox) -> None:
    with file(b"0123456789") as fd:

        def run(quota: Quota) -> Calls:
            channels = Channels(inputs={"one": FileInput(fd)}, quotas={"in/one": quota}, digests=True)
            calls = [opened("dev/in/one"), read(4, 2), read(4, 2), read(4, 8), read(4, 10)]
            return sandbox.calls(*calls, image=image(4), channels=channels)

        whole = ChannelStatistics(4, 10, digest=digest(b"2345234589"))
        assert run(Quota(calls=4, bytes=10)).outcome.channels["in/one"] == whole
        assert run(Quota(calls=3)).outcome.limit == LimitHit("in/one calls", 3, 4)
        short = run(Quota(bytes=9)).outcome
        assert (short.ok, short.channels["in/one"].bytes_read) == (True, 9), "a short read, and then nothing is read on"
        over = run(Quota(bytes=8)).outcome
        assert over.limit == LimitHit("in/one bytes", 8, 9)
        assert over.channels["in/one"] == ChannelStatistics(3, 8, digest=digest(b"23452345"))


def test_quotas_of_a_file_that_is_written_at_any_place(sandbox: Sandbox) -> None:
    with file() as fd:

        def run(quota: Quota) -> Calls:
            os.ftruncate(fd, 0)
            channels = Channels(outputs={"one": fd}, quotas={"out/one": quota}, digests=True)
            calls = [opened("dev/out/one"), write(4, 6), write(4, 0)]
            return sandbox.calls(*calls, image=image(4, b"wxyz"), channels=channels)

        assert run(Quota(calls=2, bytes=8)).outcome.ok
        over = run(Quota(bytes=7)).outcome
        assert over.limit == LimitHit("out/one bytes", 7, 8)
        assert content(fd) == b"wxy\0\0\0wxyz"
        assert over.channels["out/one"] == ChannelStatistics(writes=2, bytes_written=7, digest=digest(b"wxyzwxy"))
        assert run(Quota(calls=1)).outcome.limit == LimitHit("out/one calls", 1, 2)
        assert content(fd) == bytes(6) + b"wxyz"


# The limit of all outputs together.


@pytest.mark.parametrize("limit", [0, 3, 4, 7, 8, 11, 12, 13])
def test_the_output_limit_is_over_all_outputs(sandbox: Sandbox, limit: int) -> None:
    with file() as fd, pipe() as (result, end):
        make_pollable(end)
        found = sandbox.calls(
            write(1),
            opened("dev/out/one"),
            write(4),
            opened("dev/out/two"),
            write(5),
            image=image(4, b"wxyz"),
            channels=Channels(outputs={"one": fd, "two": end}),
            limits=Limits(output=limit),
        )
        outcome = found.outcome
        assert outcome.limit is not None
        assert (outcome.limit.name, outcome.limit.allowed) == ("output", limit)
        assert outcome.limit.reached == (12 + IMAGE if limit >= 12 else limit // 4 * 4 + 4)
        assert outcome.usage.bytes_out == limit
        assert len(content(fd)) == min(4, max(0, limit - 4))
        if limit > 8:
            assert os.read(result, 100) == b"wxyz"[: limit - 8]


@pytest.mark.parametrize(
    "grow", [write(4, 1001), ("fd_filestat_set_size", 4, 1001), ("fd_allocate", 4, 0, 1001)], ids=lambda call: call[0]
)
def test_a_hole_is_output_too(sandbox: Sandbox, grow: Call) -> None:
    """A guest must not leave a file of a terabyte behind by writing its last byte."""
    with file() as fd:
        channels, limits = Channels(outputs={"one": fd}), Limits(output=1000)
        outcome = sandbox.calls(opened("dev/out/one"), grow, image=image(4), channels=channels, limits=limits).outcome
        assert outcome.limit is not None
        assert (outcome.limit.name, outcome.limit.allowed) == ("output", 1000)
        assert outcome.limit.reached >= 1001
        assert os.fstat(fd).st_size == 0


@pytest.mark.parametrize("size", [(1 << 62) + 1, (1 << 63) - 1])
def test_a_file_larger_than_files_can_be(sandbox: Sandbox, size: int) -> None:
    with file() as fd:
        channels, limits = Channels(outputs={"one": fd}), Limits(output=1 << 62)
        found = sandbox.calls(opened("dev/out/one"), write(4, size), image=image(4), channels=channels, limits=limits)
        assert found.outcome.limit is not None or found.errnos[1] != 0
        assert os.fstat(fd).st_size == 0
    sandbox.still_serves()


@pytest.mark.parametrize("value", [-1, (1 << 62) + 1, 1.5, True, "1"])
def test_what_is_no_quota(value: int) -> None:
    for unit in ("calls", "bytes"):
        with pytest.raises(LimitsError, match=f"{unit}|number"):
            Quota(**{unit: value})


# Parts of buffers.


_parts = st.lists(st.binary(min_size=1, max_size=20), max_size=6)


@given(_parts, st.integers(0, 130))
def test_the_head_and_the_rest_are_the_whole(parts: list[bytes], count: int) -> None:
    views = [memoryview(part) for part in parts]
    whole = b"".join(parts)
    assert b"".join(head(views, count)) == whole[:count]
    assert b"".join(rest(views, count)) == whole[count:]
    assert all(len(view) for view in [*head(views, count), *rest(views, count)])


class Trickle:
    """A source that gives `data` in pieces of these sizes, then one byte at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self.bytes = data, sizes, 0

    def read(self, views: Views, wait: Wait) -> int:
        size = self._sizes.pop(0) if self._sizes else 1
        count = 0
        for view in head(views, size):
            piece = self._data[self.bytes : self.bytes + len(view)]
            view[: len(piece)] = piece
            self.bytes += len(piece)
            count += len(piece)
        return count

    def ready(self) -> int | None:
        return None

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(bytes_read=self.bytes)


@given(
    st.binary(max_size=100),
    st.lists(st.integers(1, 30), max_size=8),
    st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=4), min_size=1, max_size=12),
    st.none() | st.integers(0, 120),
    st.booleans(),
)
def test_a_metered_source_gives_what_there_is_and_no_more_than_is_allowed(
    data: bytes, sizes: list[int], reads: list[list[int]], allowed: int | None, fill: bool
) -> None:
    hits: list[LimitHit] = []

    def stop(hit: LimitHit) -> GuestStop:
        hits.append(hit)
        return GuestStop()

    source = MeteredSource(Trickle(data, sizes), Meter("stdin", Quota(bytes=allowed), stop, digest=True), fill=fill)
    most = len(data) if allowed is None else min(len(data), allowed)
    got, wait = b"", Wait(float("inf"))
    for lengths in reads:
        buffers = [bytearray(length) for length in lengths]
        try:
            count = source.read([memoryview(buffer) for buffer in buffers], wait)
        except GuestStop:
            assert allowed is not None
            assert len(got) == allowed < len(data)
            assert hits == [LimitHit("stdin bytes", allowed, allowed + 1)]
            break
        got += b"".join(buffers)[:count]
        if fill:
            assert count == min(sum(lengths), most - len(got) + count)
        elif not count:
            assert got == data
    assert got == data[: len(got)]
    assert source.statistics().digest == digest(got)
    assert source.statistics().bytes_read == len(got) <= most


def test_the_puppets_script_is_what_its_stdin_counts(sandbox: Sandbox) -> None:
    """The figures above stand on it."""
    found = sandbox.calls(("sched_yield",), channels=Channels())
    assert found.outcome.channels["stdin"].bytes_read == len(script([("sched_yield",)]))


# Calls that name gigabytes.


def meter() -> Meter:
    return Meter("stdin", NO_QUOTA, lambda hit: GuestStop(), digest=False)


def test_a_single_call_ends_with_the_time_that_there_is() -> None:
    """Not after all that it names: the time is looked at between pieces."""
    views, over = [memoryview(bytearray(1 << 20))] * (PIECE // (1 << 20) + 1), Wait(0)
    budget = Budget(1 << 40, lambda hit: GuestStop())
    with file() as fd:
        os.truncate(fd, 2 * PIECE)
        source = InputContents(FileInput(fd), meter(), over)
        assert source.read(views[1:], 0) == PIECE
        with pytest.raises(Deadline):
            source.read(views, 0)
    with file() as fd, pytest.raises(Deadline):
        OutputFile(Volume(5), fd, budget, meter(), over).write(views, 0)
    nowhere, zeros = os.open(os.devnull, os.O_WRONLY), os.open("/dev/zero", os.O_RDONLY)
    try:
        sink = FdSink(nowhere, budget)
        with pytest.raises(Deadline):
            sink.write(views, over)
        assert sink.bytes == PIECE, "a part of it was taken"
        with pytest.raises(Deadline):
            MeteredSink(sink, meter()).write(views, over)
        with pytest.raises(Deadline):
            FdSink(nowhere, Budget(PIECE + 1, lambda hit: GuestStop())).write(views, over)
        trickle = Trickle(b"ab", [1])
        with pytest.raises(Deadline):
            MeteredSource(trickle, meter(), fill=True).read(views, over)
        assert trickle.bytes == 1
        assert MeteredSource(StreamSource(zeros), meter(), fill=True).read(views, over) == PIECE + (1 << 20)
    finally:
        os.close(nowhere)
        os.close(zeros)
