"""Waiting as Swift's servers wait, in a real hub."""

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from insitu.storage_hooks import green


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Input:
    """What eventlet puts into a request's environment, as far as it is looked at."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def get_socket(self) -> Any:
        return self._sock


def test_waiting_returns_what_can_be_read(pair: tuple[socket.socket, socket.socket]) -> None:
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, b"x")
        assert green.wait_readable([pair[0].fileno(), read_end], 30) == {read_end}
        pair[1].close()
        os.read(read_end, 1)
        assert green.wait_readable([pair[0].fileno(), read_end], 30) == {pair[0].fileno()}
    finally:
        os.close(read_end)
        os.close(write_end)


def test_waiting_ends_when_the_time_is_up(pair: tuple[socket.socket, socket.socket]) -> None:
    before = time.monotonic()
    assert green.wait_readable([pair[0].fileno()], 0.05) == set()
    assert time.monotonic() - before >= 0.05


def test_others_run_meanwhile(pair: tuple[socket.socket, socket.socket]) -> None:
    from swift.common.concurrency import spawn

    other = spawn(lambda: pair[1].send(b"x"))
    assert green.wait_readable([pair[0].fileno()], 30) == {pair[0].fileno()}
    other.wait()


def test_a_descriptor_can_be_waited_for_again_and_again(pair: tuple[socket.socket, socket.socket]) -> None:
    for _ in range(100):
        pair[1].send(b"x")
        assert green.wait_readable([pair[0].fileno()], 30) == {pair[0].fileno()}
        pair[0].recv(1)


def test_a_closed_connection_is_told_from_an_open_one(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    assert not green.peer_gone(ours)
    theirs.send(b"more")
    assert not green.peer_gone(ours)
    assert ours.recv(10) == b"more"  # looking took nothing
    theirs.close()
    assert green.peer_gone(ours)


def test_a_client_that_goes_away_interrupts_a_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    from swift.common.concurrency import spawn

    ours, theirs = pair
    silent, _other = socket.socketpair()
    watch = green.ClientWatch({"eventlet.input": Input(ours)})
    with silent, _other:
        spawn(theirs.close)
        with pytest.raises(green.ClientGone), watch:
            green.wait_readable([silent.fileno()], 30)
        with pytest.raises(green.ClientGone), watch:
            pass
    watch.close()


def test_a_client_that_goes_away_between_waits_is_noticed_at_the_next(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    watch = green.ClientWatch({"eventlet.input": Input(ours)})
    theirs.close()
    green.wait_readable([], 0.01)  # outside of the watch: nobody is interrupted
    with pytest.raises(green.ClientGone), watch:
        pass
    watch.close()


def test_a_client_that_sends_its_next_request_already_is_not_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    watch = green.ClientWatch({"eventlet.input": Input(ours)})
    theirs.send(b"GET /")
    with watch:
        assert green.wait_readable([], 0.01) == set()
    watch.close()
    assert ours.recv(10) == b"GET /"


def test_without_a_connection_there_is_nothing_to_watch() -> None:
    with green.ClientWatch({}) as watch:
        watch.reset()
    watch.close()


def test_a_reset_is_no_orderly_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            watch = green.ClientWatch({"eventlet.input": Input(server)})
            watch.close()
            watch.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
