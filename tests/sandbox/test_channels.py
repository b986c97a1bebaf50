"""Channels beyond stdio: named inputs and outputs, what crossed them, and its digest."""

import dataclasses
import os

import pytest

from insitu.sandbox.channels import FileInput, FileSource, input_from_fd, make_pollable
from insitu.sandbox.channels.meter import Quota
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.errors import ChannelError
from insitu.sandbox.limits import GIB, Limits
from insitu.sandbox.outcome import ChannelStatistics, Outcome
from tests.sandbox.conftest import Sandbox, draining, pipe
from tests.sandbox.guests import COPY, IMAGE, module
from tests.sandbox.named import (
    BADF,
    DATA,
    EVERYTHING,
    NOENT,
    PATHS,
    PIPE,
    REGULAR,
    RESULT,
    ROFS,
    SPIPE,
    VECTOR,
    content,
    digest,
    file,
    image,
    opened,
    read,
    stream,
    write,
)

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
