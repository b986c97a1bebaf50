"""Channels beyond stdio: named inputs and outputs, what crossed them, what may, and its digest."""

import dataclasses
import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.sandbox.channels import FileInput, FileSource, Input, Wait, input_from_fd, make_pollable
from insitu.sandbox.channels.base import head, rest
from insitu.sandbox.channels.meter import Meter, MeteredSource, Quota
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.errno import GuestStop
from insitu.sandbox.errors import ChannelError, LimitsError
from insitu.sandbox.limits import GIB, Limits
from insitu.sandbox.outcome import ChannelStatistics, LimitHit, Outcome
from tests.sandbox.conftest import Sandbox, draining, pipe
from tests.sandbox.guests import COPY, FLOOD, IMAGE, Calls, module, script, vectors

Call = tuple[str | int, ...]
NOENT, ROFS, SPIPE, BADF, PIPE = 44, 69, 70, 8, 64
REGULAR = 4
EVERYTHING = (1 << 28) - 1
READING = EVERYTHING & ~(1 << 6 | 1 << 8 | 1 << 22)  # no write, allocate, resize

# How the puppet's memory is laid out: paths, then vectors, then buffers.
PATHS = {
    path: 32 * at for at, path in enumerate(["dev/in/one", "dev/in/two", "dev/out/one", "dev/out/two", "dev", "tmp/x"])
}
VECTOR, DATA, RESULT, OPENED = 512, 1024, 800, 900


def image(length: int, data: bytes = b"") -> bytes:
    """The paths, one vector of `length` bytes at DATA, and what is there."""
    memory = bytearray(DATA) + data
    for path, at in PATHS.items():
        memory[at : at + len(path)] = path.encode()
    memory[VECTOR : VECTOR + 8] = vectors((DATA, length))
    return bytes(memory)


def opened(path: str, *, rights: int | None = None, flags: int = 0) -> Call:
    """The first one that a guest opens is descriptor 4."""
    if rights is None:
        rights = READING if "/in/" in path else EVERYTHING
    return ("path_open", 3, 0, PATHS[path], len(path), flags, rights, 0, 0, OPENED)


def read(fd: int, at: int | None = None) -> Call:
    return ("fd_read", fd, VECTOR, 1, RESULT) if at is None else ("fd_pread", fd, VECTOR, 1, at, RESULT)


def write(fd: int, at: int | None = None) -> Call:
    return ("fd_write", fd, VECTOR, 1, RESULT) if at is None else ("fd_pwrite", fd, VECTOR, 1, at, RESULT)


@contextmanager
def file(data: bytes = b"") -> Iterator[int]:
    with tempfile.TemporaryFile() as made:
        made.write(data)
        made.flush()
        yield made.fileno()


def content(fd: int) -> bytes:
    return os.pread(fd, 1 << 24, 0)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


# Inputs.


def test_a_file_is_read_at_any_place(sandbox: Sandbox) -> None:
    with file(bytes(range(200))) as fd:
        os.lseek(fd, 17, os.SEEK_SET)  # where somebody else stands in it is nobody's business here
        found = sandbox.calls(
            opened("dev/in/one"),
            ("fd_seek", 4, -20, 2, RESULT),
            read(4),
            ("fd_tell", 4, RESULT + 8),
            ("fd_filestat_get", 4, 2048),
            image=image(10),
            channels=Channels(inputs={"one": input_from_fd(fd)}),
        )
        assert os.lseek(fd, 0, os.SEEK_CUR) == 17
    assert found.errnos == [0] * 5
    assert found.memory[DATA : DATA + 10] == bytes(range(180, 190))
    assert (found.u32(RESULT), found.u64(RESULT + 8)) == (10, 190)
    assert (found.memory[2048 + 16], found.u64(2048 + 32)) == (REGULAR, 200)
    assert found.outcome.channels["in/one"] == ChannelStatistics(reads=1, bytes_read=10)
    assert found.outcome.usage.bytes_in == 10 + found.outcome.channels["stdin"].bytes_read


@pytest.mark.parametrize(("at", "count"), [(0, 10), (195, 5), (200, 0), (1 << 62, 0)])
def test_a_file_ends_where_it_ended_as_the_launch_began(sandbox: Sandbox, at: int, count: int) -> None:
    with file(bytes(range(200))) as fd:
        found = sandbox.calls(
            opened("dev/in/one"),
            read(4, at),
            image=image(10),
            channels=Channels(inputs={"one": FileInput(fd)}),
        )
    assert (found.errnos, found.u32(RESULT)) == ([0, 0], count)


def test_an_input_may_begin_inside_a_file(sandbox: Sandbox) -> None:
    with file(bytes(range(200))) as fd:
        found = sandbox.calls(
            opened("dev/in/one"),
            read(4, 5),
            ("fd_seek", 4, 0, 2, RESULT + 8),
            image=image(10),
            channels=Channels(inputs={"one": FileInput(fd, 100)}),
        )
    assert found.memory[DATA : DATA + 10] == bytes(range(105, 115))
    assert found.u64(RESULT + 8) == 100


@pytest.mark.parametrize("place", [(1 << 32) - 5, 1 << 32, (5 << 30) + 1, (1 << 40) + 12345])
def test_places_past_four_gibibytes(sandbox: Sandbox, place: int) -> None:
    """A sparse file with ten bytes that are not zero."""
    with file() as fd:
        os.pwrite(fd, b"here it is", place)
        found = sandbox.calls(
            opened("dev/in/one"),
            ("fd_seek", 4, place, 0, RESULT),
            read(4),
            ("fd_seek", 4, 0, 1, RESULT + 8),
            read(4, place + 5),
            image=image(5),
            channels=Channels(inputs={"one": FileInput(fd)}, digests=True),
        )
    assert found.errnos == [0] * 5
    assert found.u64(RESULT + 8) == place + 5
    assert found.outcome.channels["in/one"] == ChannelStatistics(2, 10, digest=digest(b"here it is"))


@pytest.mark.parametrize("place", [(1 << 32) - 5, (6 << 30) + 1])
def test_an_output_is_written_past_four_gibibytes(sandbox: Sandbox, place: int) -> None:
    with file() as fd:
        found = sandbox.calls(
            opened("dev/out/one"),
            write(4, place),
            image=image(4, b"data"),
            channels=Channels(outputs={"one": fd}),
            limits=Limits(output=10 * GIB),
        )
        assert found.errnos == [0, 0]
        assert os.fstat(fd).st_size == place + 4
        assert os.pread(fd, 10, place) == b"data"


@contextmanager
def stream(kind: str, data: bytes) -> Iterator[tuple[int, Input]]:
    """The end to write to, which has written `data` and is closed by whoever wants the end to be seen; an input."""
    if kind == "pipe":
        source, target = os.pipe()
    else:
        ends = socket.socketpair()
        source, target = (end.detach() for end in ends)
    try:
        os.write(target, data)
        yield target, input_from_fd(source)
    finally:
        os.close(source)
        os.close(target)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_file_only_goes_on(sandbox: Sandbox, kind: str) -> None:
    with stream(kind, b"abcdefghij") as (_, given):
        found = sandbox.calls(
            opened("dev/in/one"),
            read(4),
            opened("dev/in/one"),
            read(5),
            read(4, 0),
            ("fd_seek", 4, 0, 0, RESULT + 8),
            ("fd_filestat_get", 4, 2048),
            image=image(4),
            channels=Channels(inputs={"one": given}, digests=True),
        )
    assert found.errnos == [0, 0, 0, 0, SPIPE, SPIPE, 0]
    assert found.memory[DATA : DATA + 4] == b"efgh", "all who open it have the same end of it"
    assert found.outcome.channels["in/one"] == ChannelStatistics(2, 8, digest=digest(b"abcdefgh"))


def test_a_silent_input_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    with stream("pipe", b"") as (_, given):
        limits = Limits(wall=0.1)
        channels = Channels(inputs={"one": given})
        outcome = sandbox.calls(opened("dev/in/one"), read(4), image=image(4), channels=channels, limits=limits).outcome
    assert outcome.limit is not None
    assert outcome.limit.name == "wall"


def test_inputs_are_not_written_and_outputs_are_not_read(sandbox: Sandbox) -> None:
    with file(b"in") as one, file(b"") as other, stream("pipe", b"x") as (_, two):
        found = sandbox.calls(
            opened("dev/in/one", rights=EVERYTHING),
            opened("dev/in/one"),
            ("fd_write", 4, VECTOR, 1, RESULT),
            opened("dev/in/two"),
            ("fd_write", 5, VECTOR, 1, RESULT),
            opened("dev/out/one"),
            ("fd_read", 6, VECTOR, 1, RESULT),
            image=image(1, b"!"),
            channels=Channels(inputs={"one": FileInput(one), "two": two}, outputs={"one": other}),
        )
        assert (content(one), content(other)) == (b"in", b"")
    assert found.errnos == [ROFS, 0, BADF, 0, BADF, 0, BADF]


# Outputs.


def test_a_file_is_written_at_any_place_and_has_a_size(sandbox: Sandbox) -> None:
    with file() as fd:
        found = sandbox.calls(
            opened("dev/out/one"),
            write(4),
            write(4),
            write(4, 1),
            write(4, 20),
            ("fd_filestat_get", 4, 2048),
            ("fd_seek", 4, 0, 2, RESULT + 8),
            image=image(4, b"wxyz"),
            channels=Channels(outputs={"one": fd}, digests=True),
        )
        assert found.errnos == [0] * 7
        assert content(fd) == b"wwxyzxyz" + bytes(12) + b"wxyz"
    assert (found.memory[2048 + 16], found.u64(2048 + 32), found.u64(RESULT + 8)) == (REGULAR, 24, 24)
    assert found.outcome.channels["out/one"] == ChannelStatistics(
        writes=4, bytes_written=16, digest=digest(b"wxyz" * 4)
    )
    assert found.outcome.usage.bytes_out == 16 + IMAGE


def test_opening_to_write_anew_empties_a_file_and_leaves_a_stream(sandbox: Sandbox) -> None:
    truncate = 8
    with file() as fd, pipe() as (result, end):
        make_pollable(end)
        found = sandbox.calls(
            opened("dev/out/one"),
            write(4),
            opened("dev/out/one", flags=truncate),
            write(5, 2),
            opened("dev/out/two", flags=truncate),
            write(6),
            image=image(4, b"wxyz"),
            channels=Channels(outputs={"one": fd, "two": end}),
        )
        assert found.errnos == [0] * 6
        assert content(fd) == b"\0\0wxyz"
        assert os.read(result, 100) == b"wxyz"


def test_a_file_is_cut_and_lengthened(sandbox: Sandbox) -> None:
    with file() as fd:
        found = sandbox.calls(
            opened("dev/out/one"),
            write(4),
            ("fd_filestat_set_size", 4, 2),
            ("fd_allocate", 4, 0, 6),
            image=image(4, b"wxyz"),
            channels=Channels(outputs={"one": fd}),
        )
        assert (found.errnos, content(fd)) == ([0] * 4, b"wx" + bytes(4))


def test_an_output_that_breaks_is_the_guests_to_see(sandbox: Sandbox) -> None:
    with pipe() as (_, end):
        reader, broken = os.pipe()
        os.close(reader)
        make_pollable(broken)
        make_pollable(end)
        try:
            found = sandbox.calls(
                opened("dev/out/one"),
                write(4),
                opened("dev/out/two"),
                write(5),
                image=image(4, b"wxyz"),
                channels=Channels(outputs={"one": broken, "two": end}, digests=True),
            )
        finally:
            os.close(broken)
    assert found.errnos == [0, PIPE, 0, 0]
    assert found.outcome.channels["out/one"] == ChannelStatistics(writes=1, digest=digest(b""))
    assert found.outcome.channels["out/two"].bytes_written == 4


# The tree that they are in.


def test_the_tree_has_channels_only_where_they_are(sandbox: Sandbox) -> None:
    assert sandbox.calls(opened("dev", rights=0), image=image(0)).errnos == [NOENT]
    with file() as fd:
        found = sandbox.calls(
            opened("dev", rights=0),
            opened("dev/out/one"),
            opened("dev/in/one", rights=0),
            ("path_unlink_file", 3, PATHS["dev/out/one"], 11),
            ("path_rename", 3, PATHS["dev/out/one"], 11, 3, PATHS["tmp/x"], 5),
            opened("dev/out/two", flags=1),
            image=image(0),
            channels=Channels(outputs={"one": fd}),
        )
    assert found.errnos == [0, 0, NOENT, ROFS, ROFS, ROFS]


def test_no_input_is_the_same_file_as_an_output(sandbox: Sandbox) -> None:
    """Programs refuse to copy a file on itself, and they tell by device and inode."""
    with file() as fd, file() as other:
        found = sandbox.calls(
            ("path_filestat_get", 3, 0, PATHS["dev/in/one"], 10, 2048),
            ("path_filestat_get", 3, 0, PATHS["dev/in/two"], 10, 2048 + 64),
            ("path_filestat_get", 3, 0, PATHS["dev/out/one"], 11, 2048 + 128),
            ("path_filestat_get", 3, 0, PATHS["dev"], 3, 2048 + 192),
            image=image(0),
            channels=Channels(inputs={"one": FileInput(fd), "two": FileInput(fd)}, outputs={"one": other}),
        )
    assert found.errnos == [0] * 4
    assert len({(found.u64(2048 + at), found.u64(2056 + at)) for at in (0, 64, 128, 192)}) == 4


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


# Figures and digests.


def test_figures_of_every_channel_are_there_when_asked_for(sandbox: Sandbox) -> None:
    assert sandbox.run(COPY, stdin=b"abc").outcome.channels == {}
    plain = sandbox.run(COPY, stdin=b"abc", channels=Channels()).outcome
    assert plain.channels == {
        "stdin": ChannelStatistics(reads=2, bytes_read=3),
        "stdout": ChannelStatistics(writes=1, bytes_written=3),
        "stderr": ChannelStatistics(),
    }
    exact = sandbox.run(COPY, stdin=b"abc", channels=Channels(digests=True)).outcome
    assert exact.channels["stdin"].digest == exact.channels["stdout"].digest == digest(b"abc")
    assert exact.channels["stderr"].digest == digest(b"")
    assert Outcome.from_wire(exact.to_wire()) == exact
    assert "channels" not in sandbox.run(COPY, stdin=b"abc").outcome.to_wire()
    with pytest.raises(dataclasses.FrozenInstanceError):
        exact.channels["stdin"].reads = 7  # type: ignore[misc]


def test_a_digest_is_of_what_crossed_through_a_slow_pipe(sandbox: Sandbox) -> None:
    data = os.urandom(1_000_000)
    with file(data) as fd, pipe() as (result, end), draining(result) as drained:
        make_pollable(end)
        outcome = sandbox.launch(COPY, FileSource(fd), end, channels=Channels(digests=True))
        assert drained(len(data)) == data
    assert outcome.channels["stdout"].digest == outcome.channels["stdin"].digest == digest(data)
    assert outcome.channels["stdout"].bytes_written == len(data)


def test_a_digest_is_of_what_was_allowed(sandbox: Sandbox) -> None:
    result = sandbox.run(COPY, stdin=bytes(100_000), channels=Channels(digests=True), limits=Limits(output=70_000))
    assert result.outcome.channels["stdout"] == ChannelStatistics(0, 0, 2, 70_000, digest(bytes(70_000)))


def test_a_guest_that_fails_has_figures_too(sandbox: Sandbox) -> None:
    outcome = sandbox.run(module("unreachable"), channels=Channels(digests=True)).outcome
    assert outcome.end == "trap"
    assert outcome.channels["stdout"] == ChannelStatistics(digest=digest(b""))


def test_channels_are_left_open_and_nothing_of_ours_is(sandbox: Sandbox) -> None:
    with file(b"1") as one, file() as other, stream("pipe", b"x") as (_, two):
        before = sorted(os.listdir("/proc/self/fd"))
        channels = Channels(inputs={"one": FileInput(one), "two": two}, outputs={"one": other}, digests=True)
        calls = [opened("dev/in/one"), opened("dev/in/two"), opened("dev/out/one")]
        for _ in range(20):
            assert sandbox.calls(*calls, image=image(1), channels=channels).errnos[1:] == [0, 0]
        assert sorted(os.listdir("/proc/self/fd")) == before


# What is no channel.


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "é", "x" * 65, "a\0b", "a=b"], ids=repr
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ChannelError, match="is no name of a channel"):
        Channels(inputs={name: FileInput(0)})
    with pytest.raises(ChannelError, match="is no name of a channel"):
        Channels(outputs={name: 1})


@pytest.mark.parametrize("name", ["a", "0", "x" * 64, "a..b", "A-b_c.d"])
def test_what_is_a_name(name: str) -> None:
    assert Channels(inputs={name: FileInput(0)}, outputs={name: 1}).names()[3:] == (f"in/{name}", f"out/{name}")


@pytest.mark.parametrize("name", ["one", "in/two", "out/one", "stdio", "in", ""])
def test_a_quota_of_a_channel_that_is_not_there(name: str) -> None:
    with pytest.raises(ChannelError, match=f"no channel '{name}'; there are stdin, stdout, stderr, in/one"):
        Channels(inputs={"one": FileInput(0)}, quotas={name: Quota(calls=1)})


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

    def read(self, views: list[memoryview], wait: Wait) -> int:
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

    source = MeteredSource(Trickle(data, sizes), Meter("stdin", Quota(bytes=allowed), stop, digest=True), fill=fill)  # type: ignore[arg-type]
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
