"""A node is asked over a green socket, as hooks do, while other requests go on."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from swift.common.concurrency import socket as green_socket

from insitu.runtime import wire
from insitu.runtime.errors import ProgramRejected, UnknownProgram
from insitu.runtime.questions import Questions
from insitu.sandbox.digest import program_digest
from insitu.storage_hooks import green
from insitu.storage_hooks.devcluster import DevCluster
from tests.runtime.zips import Part, zipped


def ask(cluster: DevCluster) -> Questions:
    return Questions(green.connect(str(cluster.nodes[0].socket), 10))


def test_questions_over_a_green_socket(cluster: DevCluster, test_programs: Path) -> None:
    with ask(cluster) as questions:
        copy = questions.resolve("copy")
        assert copy.digest == program_digest((test_programs / "copy.wasm").read_bytes())
        with pytest.raises(UnknownProgram):
            questions.resolve("no-such-program")
        assert questions.resolve(copy.digest) == copy


def test_a_program_is_brought_over_a_green_socket(cluster: DevCluster, test_programs: Path) -> None:
    wasm = (test_programs / "readme.wasm").read_bytes()
    data = zipped(
        Part(b"program.toml", b"name = 'r'"), Part(b"r.wasm", wasm), Part(b"files/big", os.urandom(2_000_000))
    )
    digest = program_digest(data)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(data), 1 << 16):
            green.wait_readable([], 0.001)  # as if it came from a client: others run meanwhile
            yield data[at : at + (1 << 16)]

    with ask(cluster) as questions:
        with pytest.raises(UnknownProgram):
            questions.resolve(digest)
        assert questions.bring(digest, pieces(), prepare=True, tenant="AUTH_test").digest == digest
        assert questions.resolve(digest).name == "r"
    with ask(cluster) as questions, pytest.raises(ProgramRejected, match=r"wasm|module"):
        questions.bring(program_digest(b"rubbish"), [b"rub", b"bish"], prepare=True)


def test_a_full_socket_is_waited_for() -> None:
    """A node that takes a program slowly is not one that hung up: a green socket's sendmsg() would say so."""
    ours, theirs = socket.socketpair()
    taken: list[bytes] = []

    def take() -> None:
        with theirs:
            decoder = wire.Decoder()
            time.sleep(0.3)  # until no further message goes in
            while (message := wire.receive(theirs, decoder)) is not None:
                taken.append(message["data"])

    taker = threading.Thread(target=take)
    pieces = [number.to_bytes(2) * 500 for number in range(5000)]
    sending = green_socket.socket(fileno=ours.detach())
    taker.start()
    try:
        for piece in pieces:
            wire.send(sending, {"data": piece})
    finally:
        sending.close()
        taker.join(30)
    assert taken == pieces
