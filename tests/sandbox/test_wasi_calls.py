"""What each host function answers, judged by the specification and not by the code."""

import os
import re
import struct
import time

import pytest

from insitu.sandbox.channels import EmptySource
from insitu.sandbox.limits import Limits
from insitu.sandbox.wasi.abi import SIGNATURES
from tests.sandbox.conftest import Sandbox
from tests.sandbox.guests import module, vectors
from tests.sandbox.specification import (
    BADF,
    FAULT,
    FUNCTIONS,
    INVAL,
    NOTCAPABLE,
    NOTDIR,
    NOTSOCK,
    NOTSUP,
    PIPE,
    SPIPE,
    SUCCESS,
    wat_type,
)

FAR = 0xFFFFFFFF
# What is asked about a standard stream that only makes sense of something else. (fd_prestat_get must be EBADF: libc's
# start-up asks descriptor after descriptor for preopened directories until it hears that.)
ON_STREAMS = {
    **dict.fromkeys(("fd_seek", "fd_tell", "fd_pread", "fd_pwrite", "fd_advise", "fd_allocate"), SPIPE),
    **dict.fromkeys(("fd_prestat_get", "fd_prestat_dir_name"), BADF),
    **dict.fromkeys([name for name in FUNCTIONS if name.startswith("path_")], NOTDIR),
    **dict.fromkeys([name for name in FUNCTIONS if name.startswith("sock_")], NOTSOCK),
    "fd_readdir": NOTDIR,
    "fd_datasync": INVAL,
    "fd_sync": INVAL,
    "fd_filestat_set_size": INVAL,
    "fd_filestat_set_times": NOTCAPABLE,
}
WITH_DESCRIPTOR = sorted(set(ON_STREAMS) | {n for n in FUNCTIONS if n.startswith("fd_")})


def with_fd(name: str, fd: int) -> tuple[str | int, ...]:
    """A call about that descriptor, all other arguments nought."""
    arguments = [0] * len(FUNCTIONS[name])
    arguments[2 if name == "path_symlink" else 0] = fd
    return (name, *arguments)


def test_every_function_of_preview1_can_be_imported_with_its_own_signature(sandbox: Sandbox) -> None:
    assert len(FUNCTIONS) == 46
    assert set(SIGNATURES) == set(FUNCTIONS)
    everything = "".join(f'(import "wasi_snapshot_preview1" "{n}" (func {wat_type(n)}))\n' for n in FUNCTIONS)
    assert sandbox.run(f'(module {everything} (func (export "_start")))').outcome.ok


@pytest.mark.parametrize("name", WITH_DESCRIPTOR)
def test_a_descriptor_that_is_not_open_is_bad(sandbox: Sandbox, name: str) -> None:
    assert sandbox.calls(with_fd(name, 4), with_fd(name, FAR)).errnos == [BADF, BADF]


@pytest.mark.parametrize("name", sorted(ON_STREAMS))
def test_what_a_stream_cannot_do(sandbox: Sandbox, name: str) -> None:
    assert sandbox.calls(*(with_fd(name, fd) for fd in (0, 1, 2))).errnos == [ON_STREAMS[name]] * 3


def test_streams_have_one_direction(sandbox: Sandbox) -> None:
    image = vectors((64, 4))
    calls = [("fd_write", 0, 0, 1, 32), ("fd_read", 1, 0, 1, 32), ("fd_read", 2, 0, 1, 32)]
    assert sandbox.calls(*calls, image=image).errnos == [BADF] * 3


@pytest.mark.parametrize(
    "call",
    [
        ("args_get", FAR, 0),
        ("args_get", 0, FAR),
        ("args_sizes_get", FAR, 0),
        ("args_sizes_get", 0, 65533),  # one byte too far for four
        ("environ_get", FAR, 0),
        ("environ_get", 0, FAR),
        ("environ_sizes_get", FAR, 0),
        ("environ_sizes_get", 0, FAR),
        ("clock_res_get", 0, FAR),
        ("clock_res_get", 0, 65529),
        ("clock_time_get", 0, 0, FAR),
        ("fd_fdstat_get", 0, FAR),
        ("fd_fdstat_get", 0, 65536 - 23),
        ("fd_filestat_get", 0, FAR),
        ("fd_filestat_get", 0, 65536 - 63),
        ("fd_read", 0, FAR, 1, 0),
        ("fd_read", 0, 0, 1, FAR),
        ("fd_read", 0, 65529, 1, 0),
        ("fd_write", 1, FAR, 1, 0),
        ("fd_write", 1, 0, 1, FAR),
        ("fd_write", 2, 0, 1, FAR),
        ("poll_oneoff", FAR, 0, 1, 0),
        ("poll_oneoff", 0, FAR, 1, 0),
        ("poll_oneoff", 0, 0, 1, FAR),
        ("random_get", FAR, 1),
        ("random_get", 0, FAR),
        ("random_get", 65536, 1),
        ("random_get", FAR, FAR),
    ],
    ids=str,
)
def test_memory_that_is_not_there_is_a_fault(sandbox: Sandbox, call: tuple[str | int, ...]) -> None:
    image = vectors((1024, 4))
    assert sandbox.calls(call, image=image, args=["one"], env={"A": "b"}).errnos == [FAULT]


@pytest.mark.parametrize("pair", [(FAR, 1), (0, FAR), (FAR, FAR), (65536, 1), (65535, 2)], ids=str)
@pytest.mark.parametrize("call", [("fd_read", 0, 0, 2, 32), ("fd_write", 1, 0, 2, 32)], ids=str)
def test_a_buffer_outside_memory_is_a_fault_and_moves_nothing(
    sandbox: Sandbox, call: tuple[str | int, ...], pair: tuple[int, int]
) -> None:
    image = vectors((64, 4), pair)
    before = ("fd_read", 0, 128, 1, 40)  # proves that the failed read took nothing
    found = sandbox.calls(call, before, image=image.ljust(128, b".") + vectors((64, 4)), stdin=b"abcdefgh")
    assert found.errnos == [FAULT, SUCCESS]
    assert found.output == b""
    assert found.memory[64:68] == b"abcd"


def test_the_last_bytes_of_memory_can_be_used(sandbox: Sandbox) -> None:
    found = sandbox.calls(("random_get", 65536 - 8, 8), ("random_get", 65536, 0), ("clock_res_get", 0, 65528))
    assert found.errnos == [SUCCESS] * 3


def test_a_result_that_cannot_be_told_takes_no_input(sandbox: Sandbox) -> None:
    image = vectors((64, 4))
    found = sandbox.calls(("fd_read", 0, 0, 1, FAR), ("fd_read", 0, 0, 1, 32), image=image, stdin=b"abcdefgh")
    assert found.errnos == [FAULT, SUCCESS]
    assert found.memory[64:68] == b"abcd"


def test_a_read_fills_its_buffers_in_order_and_says_how_much(sandbox: Sandbox) -> None:
    image = vectors((300, 3), (400, 0), (500, 100))
    found = sandbox.calls(("fd_read", 0, 0, 3, 32), ("fd_read", 0, 0, 3, 36), image=image, stdin=b"abcdefgh")
    assert found.errnos == [SUCCESS, SUCCESS]
    assert (found.u32(32), found.u32(36)) == (8, 0)  # all there is, then the end
    assert found.memory[300:303] + found.memory[500:505] == b"abcdefgh"


def test_overlapping_buffers_are_the_guests_own_affair(sandbox: Sandbox) -> None:
    image = vectors((300, 4), (302, 4)).ljust(300, b"\0") + b"abcdef"
    found = sandbox.calls(("fd_write", 1, 0, 2, 32), ("fd_read", 0, 0, 2, 36), image=image, stdin=b"12345678")
    assert found.errnos == [SUCCESS, SUCCESS]
    assert found.output == b"abcdcdef"
    assert found.memory[300:306] == b"125678"


def test_a_read_over_its_own_vectors_and_result_does_no_harm(sandbox: Sandbox) -> None:
    found = sandbox.calls(("fd_read", 0, 0, 1, 4), image=vectors((0, 16)), stdin=b"\xff" * 16)
    assert found.errnos == [SUCCESS]
    assert found.u32(4) == 16


@pytest.mark.parametrize("call", [("fd_read", 0), ("fd_write", 1), ("fd_write", 2)], ids=str)
def test_no_buffers_and_empty_buffers_move_nothing(sandbox: Sandbox, call: tuple[str | int, ...]) -> None:
    image = vectors((300, 0), (FAR, 0)).ljust(32, b"\0") + b"\xff" * 8
    found = sandbox.calls((*call, 0, 0, 32), (*call, 0, 2, 36), image=image, stdin=b"abc")
    assert found.errnos == [SUCCESS, SUCCESS]
    assert (found.u32(32), found.u32(36)) == (0, 0)


@pytest.mark.parametrize("fd", [1, 2])
def test_1024_vectors_are_taken_and_1025_are_not(sandbox: Sandbox, fd: int) -> None:
    image = vectors(*[(16000 + at % 8, 1) for at in range(1025)]).ljust(16000, b"\0") + b"abcdefgh"
    found = sandbox.calls(("fd_write", fd, 0, 1024, 16100), ("fd_write", fd, 0, 1025, 16104), image=image)
    written = found.output if fd == 1 else found.outcome.stderr[:-8]
    assert found.outcome.exit_code == INVAL
    assert found.u32(16100) == 1024
    assert written == b"abcdefgh" * 128


def test_1025_vectors_of_a_read_take_no_input(sandbox: Sandbox) -> None:
    image = vectors(*[(16000, 1)] * 1025)
    found = sandbox.calls(("fd_read", 0, 0, 1025, 16100), ("fd_read", 0, 0, 1024, 16104), image=image, stdin=b"abc")
    assert found.errnos == [INVAL, SUCCESS]
    assert found.u32(16104) == 3


def test_the_same_megabytes_a_thousand_times_over_to_stderr(sandbox: Sandbox) -> None:
    """A total that no 32-bit result can tell."""
    body = """
      (local $at i32)
      (loop $next
        (i32.store offset=4 (local.get $at) (i32.const 16777216))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 8192))))
      (call $proc_exit (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1024) (i32.const 8192)))"""
    outcome = sandbox.run(module(body, memory="256")).outcome
    assert outcome.end == "exit"
    assert outcome.exit_code == INVAL
    assert outcome.usage.bytes_err == 0


def test_closed_is_closed(sandbox: Sandbox) -> None:
    image = vectors((64, 4))
    found = sandbox.calls(("fd_close", 0), ("fd_read", 0, 0, 1, 32), ("fd_close", 0), ("fd_fdstat_get", 0, 64))
    assert found.errnos == [SUCCESS, BADF, BADF, BADF]
    found = sandbox.calls(("fd_close", 1), ("fd_write", 1, 0, 1, 32), image=image)
    assert found.errnos == [SUCCESS, BADF]
    assert found.memory == b""  # the puppet could not write it either
    sandbox.still_serves()


def test_renumber_moves_a_descriptor_onto_another(sandbox: Sandbox) -> None:
    image = vectors((64, 4)).ljust(64, b"\0") + b"abcd"
    found = sandbox.calls(
        ("fd_renumber", 1, 2),  # what was stdout is 2 now
        ("fd_write", 2, 0, 1, 32),
        ("fd_write", 1, 0, 1, 32),
        image=image,
    )
    assert found.outcome.exit_code == BADF
    assert found.outcome.stderr == b""
    assert found.outcome.usage.bytes_out == 4 + 12  # abcd, and the puppet's three results
    assert sandbox.calls(("fd_renumber", 0, 4), ("fd_renumber", 4, 0), ("fd_renumber", 0, FAR)).errnos == [BADF] * 3
    same = sandbox.calls(("fd_renumber", 0, 0), ("fd_read", 0, 0, 1, 32), image=vectors((64, 4)), stdin=b"data")
    assert same.errnos == [SUCCESS, SUCCESS]
    assert same.memory[64:68] == b"data"


def test_rights_can_only_be_given_up(sandbox: Sandbox) -> None:
    read, write = 1 << 1, 1 << 6
    found = sandbox.calls(
        ("fd_fdstat_get", 0, 64),
        ("fd_fdstat_get", 1, 128),
        ("fd_fdstat_set_rights", 0, write, 0),
        ("fd_fdstat_set_rights", 0, 0, 1),
        ("fd_fdstat_set_rights", 0, FAR << 32, 0),
        ("fd_fdstat_set_rights", 0, 0, 0),
        ("fd_read", 0, 0, 1, 32),
        ("fd_fdstat_set_rights", 0, read, 0),
        image=vectors((300, 4)),
        stdin=b"data",
    )
    refused = NOTCAPABLE
    assert found.errnos == [SUCCESS, SUCCESS, refused, refused, refused, SUCCESS, found.errnos[6], refused]
    assert found.errnos[6] in (BADF, NOTCAPABLE)
    assert found.u64(64 + 8) & (read | write) == read
    assert found.u64(128 + 8) & (read | write) == write
    assert found.memory[300:304] == bytes(4)


def test_flags_of_a_stream(sandbox: Sandbox) -> None:
    append, nonblock = 1, 4
    found = sandbox.calls(
        ("fd_fdstat_set_flags", 1, append),
        ("fd_fdstat_get", 1, 64),
        ("fd_fdstat_set_flags", 1, nonblock),
        ("fd_fdstat_set_flags", 1, FAR),
    )
    assert found.errnos == [SUCCESS, SUCCESS, NOTSUP, INVAL]
    assert struct.unpack_from("<H", found.memory, 66) == (append,)


def test_filestat_of_a_stream_tells_nothing_of_the_host(sandbox: Sandbox) -> None:
    found = sandbox.calls(("fd_filestat_get", 0, 64), image=b"\xff" * 256, stdin=b"x" * 1000)
    assert found.errnos == [SUCCESS]
    device, inode, kind, links, size = struct.unpack_from("<QQB7xQQ", found.memory, 64)
    assert (device, inode, kind, size) == (0, 0, 0, 0)
    assert links == 1
    assert found.memory[64 + 64 :][:128] == b"\xff" * 128


@pytest.mark.parametrize("words", [[], ["one"], ["", "two words", "€", "x" * 3000]], ids=str)
def test_arguments_and_environment_arrive(sandbox: Sandbox, words: list[str]) -> None:
    env = {f"NAME_{at}": word for at, word in enumerate(words)}
    calls = [
        ("args_sizes_get", 0, 4),
        ("args_get", 16, 64),
        ("environ_sizes_get", 8, 12),
        ("environ_get", 5000, 6000),
    ]
    found = sandbox.calls(*calls, args=words, env=env)
    assert found.errnos == [SUCCESS] * 4

    def strings(count_at: int, size_at: int, pointers: int, at: int) -> list[str]:
        texts = found.memory[at : at + found.u32(size_at)].split(b"\0")
        assert texts.pop() == b""
        expected = at
        for index, text in enumerate(texts):
            assert found.u32(pointers + 4 * index) == expected
            expected += len(text) + 1
        assert len(texts) == found.u32(count_at)
        return [text.decode() for text in texts]

    assert strings(0, 4, 16, 64) == ["guest", *words]
    assert strings(8, 12, 5000, 6000) == [f"{name}={value}" for name, value in env.items()]


def test_randomness_is_random_and_exactly_as_long_as_asked(sandbox: Sandbox) -> None:
    found = sandbox.calls(("random_get", 0, 32), ("random_get", 64, 32), ("random_get", 128, 0))
    assert found.errnos == [SUCCESS] * 3
    first, second = found.memory[:32], found.memory[64:96]
    assert first != second
    assert bytes(32) not in (first, second)
    assert found.memory[32:64] == bytes(32)
    assert found.memory[96:160] == bytes(64)


def test_a_host_that_fills_megabytes_at_once(sandbox: Sandbox) -> None:
    body = "(call $proc_exit (call $random_get (i32.const 0) (i32.const 67108864)))"
    assert sandbox.run(module(body, memory="1024")).outcome.exit_code == SUCCESS


def test_clocks(sandbox: Sandbox) -> None:
    before = time.time_ns()
    found = sandbox.calls(
        ("clock_time_get", 0, 1, 0),
        ("clock_time_get", 1, 1, 8),
        ("clock_time_get", 1, 1, 16),
        ("clock_time_get", 2, 1, 24),
        ("clock_time_get", 3, 1, 32),
        ("clock_res_get", 0, 40),
        ("clock_res_get", 1, 48),
        ("clock_time_get", 4, 1, 56),
        ("clock_res_get", FAR, 56),
    )
    assert found.errnos == [SUCCESS] * 7 + [INVAL] * 2
    assert before <= found.u64(0) <= time.time_ns()
    assert found.u64(8) <= found.u64(16) < 10**10  # since the launch, not since the machine was started
    assert 0 < found.u64(24) <= found.u64(32)
    assert found.u64(40) > 0
    assert found.u64(48) > 0


def test_raising_signals_is_not_supported_and_yielding_is(sandbox: Sandbox) -> None:
    assert sandbox.calls(("proc_raise", 9), ("sched_yield",)).errnos == [NOTSUP, SUCCESS]


def test_a_guest_without_memory(sandbox: Sandbox) -> None:
    """The engine would abort the whole process over a memory that is not there."""
    body = "(call $proc_exit (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    assert sandbox.run(module(body, memory=None)).outcome.exit_code == FAULT
    other = module(body, memory=None, more='(func (export "memory"))')
    assert sandbox.run(other).outcome.exit_code == FAULT
    empty = module(body, memory="0")
    assert sandbox.run(empty).outcome.exit_code == FAULT
    sandbox.still_serves()


def test_memory_that_grew_is_seen_and_keeps_its_content(sandbox: Sandbox) -> None:
    body = """
      (drop (call $random_get (i32.const 0) (i32.const 8)))
      (drop (memory.grow (i32.const 3)))
      (if (call $random_get (i32.const 262136) (i32.const 8)) (then (call $proc_exit (i32.const 10))))
      (if (i64.eqz (i64.load (i32.const 262136))) (then (call $proc_exit (i32.const 11))))
      (if (i64.eqz (i64.load (i32.const 0))) (then (call $proc_exit (i32.const 12))))
      (if (i32.ne (call $random_get (i32.const 262137) (i32.const 8)) (i32.const 21))
        (then (call $proc_exit (i32.const 13))))"""
    outcome = sandbox.run(module(body)).outcome
    assert outcome.exit_code == 0
    assert outcome.usage.memory_peak == 4 * 65536


def test_a_reader_that_went_away_is_a_broken_pipe(sandbox: Sandbox) -> None:
    body = "(call $proc_exit (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))"
    wat = module(body, more='(data (i32.const 0) "\\40\\00\\00\\00\\04\\00\\00\\00")')
    read, write = os.pipe()
    os.close(read)
    try:
        assert sandbox.launch(wat, EmptySource(), write).exit_code == PIPE
    finally:
        os.close(write)


def subscription(userdata: int, tag: int, subject: int, timeout: int = 0, flags: int = 0) -> bytes:
    if tag == 0:
        return struct.pack("<QB7xI4xQQH6x", userdata, tag, subject, timeout, 0, flags)
    return struct.pack("<QB7xI28x", userdata, tag, subject)


def events(memory: bytes, at: int, count: int) -> list[tuple[int, int, int]]:
    """(userdata, error number, type) each."""
    return [struct.unpack_from("<QHB", memory, at + 32 * index) for index in range(count)]


MONOTONIC = 1


def test_poll_waits_for_a_clock_and_no_shorter(sandbox: Sandbox) -> None:
    image = subscription(77, 0, MONOTONIC, 30_000_000)
    found = sandbox.calls(("poll_oneoff", 0, 1000, 1, 2000), image=image)
    assert found.errnos == [SUCCESS]
    assert found.u32(2000) == 1
    assert events(found.memory, 1000, 1) == [(77, 0, 0)]
    assert found.outcome.usage.wall_us >= 30_000


@pytest.mark.parametrize(("clock", "moment"), [(MONOTONIC, 20_000_000), (0, None)])
def test_poll_for_a_moment(sandbox: Sandbox, clock: int, moment: int | None) -> None:
    begun = time.time_ns()
    image = subscription(5, 0, clock, moment or begun + 30_000_000, flags=1)
    found = sandbox.calls(("poll_oneoff", 0, 1000, 1, 2000), ("clock_time_get", clock, 0, 3000), image=image)
    assert found.errnos == [SUCCESS, SUCCESS]
    assert found.u64(3000) >= (moment or begun + 30_000_000)


def test_a_moment_that_is_past_comes_at_once(sandbox: Sandbox) -> None:
    image = subscription(5, 0, 0, 1, flags=1) + subscription(6, 0, MONOTONIC, 3600 * 10**9)
    found = sandbox.calls(("poll_oneoff", 0, 1000, 2, 2000), image=image)
    assert events(found.memory, 1000, found.u32(2000)) == [(5, 0, 0)]


def test_poll_for_channels(sandbox: Sandbox) -> None:
    image = subscription(1, 1, 0) + subscription(2, 2, 1) + subscription(3, 1, 9) + subscription(4, 2, 0)
    found = sandbox.calls(("poll_oneoff", 0, 1000, 4, 2000), image=image)
    assert found.errnos == [SUCCESS]
    assert sorted(events(found.memory, 1000, found.u32(2000))) == [(1, 0, 1), (2, 0, 2), (3, BADF, 1), (4, BADF, 2)]


def test_poll_on_a_silent_pipe_ends_by_its_clock(sandbox: Sandbox) -> None:
    image = subscription(1, 1, 0) + subscription(2, 0, MONOTONIC, 20_000_000)
    found = sandbox.calls_on_pipe(("poll_oneoff", 0, 1000, 2, 2000), image=image)
    assert events(found.memory, 1000, found.u32(2000)) == [(2, 0, 0)]


def test_poll_for_an_unknown_clock_is_told_in_its_event(sandbox: Sandbox) -> None:
    found = sandbox.calls(("poll_oneoff", 0, 1000, 1, 2000), image=subscription(9, 0, 1234, 5, flags=1))
    assert found.errnos == [SUCCESS]
    assert events(found.memory, 1000, 1) == [(9, INVAL, 0)]


@pytest.mark.parametrize("count", [0, 1025, FAR])
def test_poll_for_nothing_or_for_too_much(sandbox: Sandbox, count: int) -> None:
    assert sandbox.calls(("poll_oneoff", 0, 0, count, 2000)).errnos == [INVAL]


def test_poll_for_an_unknown_kind(sandbox: Sandbox) -> None:
    assert sandbox.calls(("poll_oneoff", 0, 1000, 1, 2000), image=subscription(1, 3, 0)).errnos == [INVAL]


def test_poll_whose_events_lie_over_its_subscriptions(sandbox: Sandbox) -> None:
    image = subscription(1, 1, 0) + subscription(2, 2, 1)
    found = sandbox.calls(("poll_oneoff", 0, 0, 2, 64), image=image)
    assert found.errnos == [SUCCESS]
    assert found.u32(64) == 2


@pytest.mark.parametrize("nanoseconds", [1 << 63, (1 << 64) - 1])
def test_a_sleep_of_centuries_ends_with_the_launch(sandbox: Sandbox, nanoseconds: int) -> None:
    found = sandbox.calls(
        ("poll_oneoff", 0, 1000, 1, 2000),
        image=subscription(1, 0, MONOTONIC, nanoseconds),
        limits=Limits(wall=0.1),
    )
    assert found.outcome.end == "limit"
    assert found.outcome.limit is not None
    sentence = found.outcome.sentence()
    assert re.match(r"limit wall: 100 ms allowed, 1\d\d(\.\d)? ms reached", sentence), sentence
    sandbox.still_serves()
