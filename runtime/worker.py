"""A worker: the process that guests live in, one at a time.

It is forked by the spawner with everything loaded, is confined (`confine/`: from then on it opens and starts nothing),
runs the programs in demand once (see `warm`), says that it is ready, and then takes launches from the node until the
node closes the socket or says that one was the last. It has no other descriptor than that socket and what a launch
brings.
"""

import gc
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from insitu.runtime import wire
from insitu.runtime.channels import Named
from insitu.runtime.warm import Rehearsal
from insitu.sandbox.channels import StderrSink, checked, input_from_fd, make_pollable, source_from_fd
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.errors import SandboxError
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program


def prepare(
    runner: Runner, programs: Mapping[str, Program], warm: Sequence[str], named: Mapping[str, Named]
) -> Rehearsal:
    """What takes rights that a confined worker has not: its other thread, and what it rehearses with."""
    runner.start_threads()
    return Rehearsal([digest for digest in warm if digest in programs], named)


def serve(sock: socket.socket, runner: Runner, programs: Mapping[str, Program], rehearsal: Rehearsal) -> None:
    """Until the node closes the socket, or a launch was to be the last."""
    gc.disable()  # the spawner froze what it had; a launch makes no cycles worth the copies of shared pages
    rehearsal.hold(lambda launch, fds: _run(runner, programs, launch, fds))
    if rehearsal.programs:
        runner.make_ahead(programs[rehearsal.programs[0]])  # the one that is asked for most
    wire.send_packet(sock, {"ready": True, "cpu_ns": time.process_time_ns()})
    while (packet := wire.receive_packet(sock)) is not None:
        message, fds = packet
        try:
            answer = _run(runner, programs, message, fds)
        finally:
            # Before the answer: whoever reads the result sees its end, then what it came to.
            wire.close_all(fds)
        answer["cpu_ns"] = time.process_time_ns()
        wire.send_packet(sock, answer)
        if message["last"]:  # isolation `process`: whatever this launch has left here, nobody else meets it
            return
        runner.make_ahead(programs[message["digest"]])


def _run(
    runner: Runner, programs: Mapping[str, Program], message: Mapping[str, Any], fds: Sequence[int]
) -> dict[str, Any]:
    begun: list[int] = []
    try:
        program = programs[message["digest"]]
        stdin, stdout, *named = fds
        make_pollable(stdout)
        source = source_from_fd(stdin)
        check = checked(source, stdin, message["md5"]) if "md5" in message else None
        launch = Launch(
            message["argv"],
            check or source,
            stdout,
            Limits.from_wire(message["limits"]),
            env=message["env"],
            stderr=StderrSink(message["stderr"]),
            channels=_channels(message, named) if named else None,
            files=program.files,
            on_start=lambda: begun.append(time.monotonic_ns()),
        )
        outcome = runner.run(program, launch)
        if check is not None:
            outcome = check.judged(outcome)
    except (SandboxError, OSError) as why:
        outcome = Outcome("lost", note=f"the host failed: {why}")
    return {"begun": begun[0] if begun else 0, "outcome": outcome.to_wire()}


def _channels(message: Mapping[str, Any], fds: Sequence[int]) -> Channels:
    """The named ones. A file is read and written at any place; anything else only goes on."""
    inputs, outputs = message["inputs"], message["outputs"]
    given, taken = fds[: len(inputs)], fds[len(inputs) :]
    for fd in taken:
        make_pollable(fd)
    return Channels(
        inputs={name: input_from_fd(fd) for name, fd in zip(inputs, given, strict=True)},
        outputs=dict(zip(outputs, taken, strict=True)),
    )
