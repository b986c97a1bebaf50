"""An input held against its MD5: every way to read it, and what may be said of it."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.sandbox.channels import CheckedSource, Deadline, FileSource, Wait, checked, source_from_fd
from insitu.sandbox.channels.meter import NO_QUOTA, Meter, MeteredSource
from insitu.sandbox.errno import GuestStop
from insitu.sandbox.outcome import LimitHit, Outcome, Usage


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def soon() -> Wait:
    return Wait(time.monotonic() + 30)


def memfd(data: bytes) -> int:
    fd = os.memfd_create("input")
    os.write(fd, data)
    return fd


def pipe(data: bytes) -> int:
    read, write = os.pipe()
    assert os.write(write, data) == len(data)
    os.close(write)
    return read


@pytest.fixture(params=[memfd, pipe])
def given_as(request: pytest.FixtureRequest) -> Callable[[bytes], int]:
    make: Callable[[bytes], int] = request.param
    return make


def read_all(source: CheckedSource, sizes: Iterator[list[int]]) -> bytes:
    """As a guest does, with so many buffers of such sizes at each call, until the end is found."""
    data = bytearray()
    while True:
        buffers = [bytearray(size) for size in next(sizes)]
        count = source.read([memoryview(buffer) for buffer in buffers], soon())
        data += b"".join(buffers)[:count]
        if not count:
            return bytes(data)


DATA = st.binary(max_size=3000)
SIZES = st.lists(st.lists(st.integers(1, 700), min_size=1, max_size=4), min_size=1, max_size=5)


def again(sizes: list[list[int]]) -> Iterator[list[int]]:
    while True:
        yield from sizes


@given(data=DATA, sizes=SIZES, make=st.sampled_from([memfd, pipe]))
def test_what_is_right_is_read_as_it_is(data: bytes, sizes: list[list[int]], make: Callable[[bytes], int]) -> None:
    fd = make(data)
    try:
        source = checked(source_from_fd(fd), fd, md5(data))
        assert read_all(source, again(sizes)) == data
        assert source.bytes == source.statistics().bytes_read == len(data)
        assert source.judged(Outcome("exit", exit_code=0)).ok
    finally:
        os.close(fd)


@given(data=DATA, other=DATA, sizes=SIZES, make=st.sampled_from([memfd, pipe]))
def test_what_is_wrong_is_never_read_to_its_end(
    data: bytes, other: bytes, sizes: list[list[int]], make: Callable[[bytes], int]
) -> None:
    fd = make(data)
    try:
        source = checked(source_from_fd(fd), fd, md5(other))
        if data == other:
            assert read_all(source, again(sizes)) == data
            return
        with pytest.raises(GuestStop):
            read_all(source, again(sizes))
        outcome = source.judged(Outcome("exit", exit_code=0, usage=Usage(bytes_in=len(data))))
        assert (outcome.end, outcome.exit_code, outcome.usage.bytes_in) == ("damaged", None, len(data))
        words = f"the input is damaged: its MD5 is {md5(data)}, and {md5(other)} was expected"
        assert outcome.sentence() == words
        assert not outcome.ok
    finally:
        os.close(fd)


@given(data=st.binary(min_size=2, max_size=3000), stop=st.integers(0), make=st.sampled_from([memfd, pipe]))
def test_of_what_was_not_read_nothing_is_said(data: bytes, stop: int, make: Callable[[bytes], int]) -> None:
    fd = make(data)
    try:
        source = checked(source_from_fd(fd), fd, md5(b"other"))
        for _ in range(stop % len(data)):
            assert source.read([memoryview(bytearray(1))], soon()) == 1
        assert source.judged(Outcome("exit", exit_code=0)).ok
    finally:
        os.close(fd)


def test_a_file_is_known_by_its_last_byte_and_a_stream_by_its_end() -> None:
    wrong = md5(b"other")
    file = memfd(b"abc")
    with pytest.raises(GuestStop):
        checked(source_from_fd(file), file, wrong).read([memoryview(bytearray(3))], soon())
    stream = pipe(b"abc")
    source = checked(source_from_fd(stream), stream, wrong)
    assert source.read([memoryview(bytearray(3))], soon()) == 3  # there might be more
    with pytest.raises(GuestStop):
        source.read([memoryview(bytearray(3))], soon())
    os.close(file)
    os.close(stream)


def test_buffers_that_overlap(given_as: Callable[[bytes], int]) -> None:
    data = os.urandom(1000)
    fd, memory = given_as(data), memoryview(bytearray(300))
    source = checked(source_from_fd(fd), fd, md5(data))
    while source.read([memory[0:200], memory[100:300], memory[50:60]], soon()):
        pass
    assert source.damage == ""
    os.close(fd)


def test_an_empty_input(given_as: Callable[[bytes], int]) -> None:
    fd = given_as(b"")
    assert checked(source_from_fd(fd), fd, md5(b"")).read([memoryview(bytearray(3))], soon()) == 0
    with pytest.raises(GuestStop):
        checked(source_from_fd(fd), fd, md5(b"x")).read([memoryview(bytearray(3))], soon())
    os.close(fd)


def test_a_file_that_grows_or_shrinks_while_it_is_read() -> None:
    fd = memfd(b"abc")
    source = checked(source_from_fd(fd), fd, md5(b"abc"))
    assert source.read([memoryview(bytearray(3))], soon()) == 3
    os.pwrite(fd, b"d", 3)
    with pytest.raises(GuestStop):
        source.read([memoryview(bytearray(3))], soon())
    source = checked(source_from_fd(fd), fd, md5(b"abcd"))
    assert source.read([memoryview(bytearray(1))], soon()) == 1
    os.ftruncate(fd, 2)
    assert source.read([memoryview(bytearray(1))], soon()) == 1
    with pytest.raises(GuestStop):
        source.read([memoryview(bytearray(1))], soon())
    os.close(fd)


def test_an_input_that_cannot_be_read_is_no_shorter_one() -> None:
    fd = os.open("/", os.O_RDONLY)
    source = CheckedSource(FileSource(fd), md5(b""), None)
    with pytest.raises(GuestStop):
        source.read([memoryview(bytearray(1))], soon())
    assert source.judged(Outcome("exit", exit_code=0)).sentence() == (
        "the input is damaged: it cannot be read to its end"
    )
    os.close(fd)


def test_large_pieces_and_the_time_that_ends_meanwhile() -> None:
    data = bytes(65 << 20)  # more than is digested at once
    fd = memfd(data)
    buffer = memoryview(bytearray(len(data)))
    assert checked(source_from_fd(fd), fd, md5(data)).read([buffer], soon()) == len(data)
    with pytest.raises(Deadline):
        checked(source_from_fd(fd), fd, md5(data)).read([buffer], Wait(time.monotonic() - 1))
    os.close(fd)


@pytest.mark.parametrize("fill", [False, True])
def test_under_a_meter(given_as: Callable[[bytes], int], fill: bool) -> None:
    data = os.urandom(5000)
    for expected, right in ((md5(data), True), (md5(b"other"), False)):
        fd = given_as(data)

        def never(hit: LimitHit) -> GuestStop:
            raise AssertionError(hit)

        meter = Meter("stdin", NO_QUOTA, never, digest=True)
        source = MeteredSource(check := checked(source_from_fd(fd), fd, expected), meter, fill=fill)
        buffers = [memoryview(bytearray(size)) for size in (1000, 24)]
        with suppress(GuestStop):
            while source.read(buffers, soon()):
                pass
            assert right
        assert (check.damage == "") is right
        assert source.bytes == (len(data) if right or given_as is pipe else source.bytes)
        os.close(fd)


def test_what_the_host_broke_stays_lost() -> None:
    source = CheckedSource(FileSource(0), md5(b""), None)
    source.damage = "x"
    lost = Outcome("lost", note="the host failed")
    assert source.judged(lost) is lost
    hit = LimitHit("wall", 1, 1)
    assert source.judged(Outcome("limit", limit=hit)) == Outcome("damaged", note="x")
    assert Outcome.from_wire(Outcome("damaged", note="x").to_wire()) == Outcome("damaged", note="x")
