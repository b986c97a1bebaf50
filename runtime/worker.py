"""A worker: the process that guests live in, one at a time.

It is forked by the spawner with everything loaded, runs the programs in demand once on nothing (a fresh fork pays for
every page it touches first: better now than in a launch), says that it is ready, and then takes launches from the node
until the node closes the socket. It has no other descriptor than that socket and what a launch brings.
"""

import gc
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from insitu.runtime import wire
from insitu.sandbox.channels import EmptySource, make_pollable, source_from_fd
from insitu.sandbox.errors import SandboxError
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program

# A dry run may cost this much and no more: a program that does much with no input is not worth warming.
_DRY_RUN = Limits(fuel=20_000_000, wall=0.5, output=1 << 20)


def serve(sock: socket.socket, runner: Runner, programs: Mapping[str, Program], warm: Sequence[str]) -> None:
    """Until the node closes the socket."""
    gc.disable()  # the spawner froze what it had; a launch makes no cycles worth the copies of shared pages
    _warm_up(runner, programs, warm)
    wire.send_packet(sock, {"ready": True})
    while (packet := wire.receive_packet(sock)) is not None:
        message, fds = packet
        try:
            answer = _run(runner, programs[message["digest"]], message, fds)
        finally:
            # Before the answer: whoever reads the result sees its end, then what it came to.
            wire.close_all(fds)
        answer["cpu_ns"] = time.process_time_ns()
        wire.send_packet(sock, answer)


def _run(runner: Runner, program: Program, message: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    begun: list[int] = []
    try:
        stdin, stdout = fds
        make_pollable(stdout)
        launch = Launch(
            message["argv"],
            source_from_fd(stdin),
            stdout,
            Limits(**message["limits"]),
            env=message["env"],
            files=program.files,
            on_start=lambda: begun.append(time.monotonic_ns()),
        )
        outcome = runner.run(program, launch)
    except (SandboxError, OSError) as why:
        outcome = Outcome("lost", note=f"the host failed: {why}")
    return {"begun": begun[0] if begun else 0, "outcome": outcome.to_wire()}


def _warm_up(runner: Runner, programs: Mapping[str, Program], warm: Sequence[str]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for digest in warm:
            if digest in programs:
                program = programs[digest]
                runner.run(program, Launch(["warm-up"], EmptySource(), nowhere, _DRY_RUN, files=program.files))
    finally:
        os.close(nowhere)
