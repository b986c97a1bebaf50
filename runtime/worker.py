"""A worker: the process that guests live in, one at a time.

It is forked by the spawner with everything loaded, is confined (`confine/`: from then on it opens and starts nothing),
runs the programs in demand once (see `warm`), says that it is ready, and then takes launches from the node until the
node closes the socket or says that one was the last. It has no other descriptor than that socket and what a launch
brings.
"""

import gc
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from insitu.runtime import wire
from insitu.runtime.channels import Named
from insitu.runtime.engines import Engines
from insitu.runtime.form import is_frozen
from insitu.runtime.warm import Rehearsal
from insitu.sandbox.channels import FileInput, StderrSink, checked, input_from_fd, make_pollable, source_from_fd
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.errors import ChannelError, SandboxError
from insitu.sandbox.launch import Launch
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.program import Program

FROZEN: Final = Frozen()
"""What all frozen launches are fixed to: on any node, on any day."""


def prepare(
    engines: Engines, programs: Mapping[str, Program], warm: Sequence[str], named: Mapping[str, Named]
) -> Rehearsal:
    """What takes rights that a confined worker has not: its other thread, and what it rehearses with. `programs`,
    `warm`, `named`: by form."""
    engines.real.start_threads()
    return Rehearsal([form for form in warm if form in programs], named)


def serve(sock: socket.socket, engines: Engines, programs: Mapping[str, Program], rehearsal: Rehearsal) -> None:
    """Until the node closes the socket, or a launch was to be the last. `programs`: by form."""

    def make_ahead(form: str) -> None:
        engines.runner(form).make_ahead(programs[form])

    gc.disable()  # the spawner froze what it had; a launch makes no cycles worth the copies of shared pages
    rehearsal.hold(lambda launch, fds: _run(engines, programs, launch, fds))
    if rehearsal.programs:
        make_ahead(rehearsal.programs[0])  # the one that is asked for most
    wire.send_packet(sock, {"ready": True, "cpu_ns": time.process_time_ns()})
    while (packet := wire.receive_packet(sock)) is not None:
        message, fds = packet
        try:
            answer = _run(engines, programs, message, fds)
        finally:
            # Before the answer: whoever reads the result sees its end, then what it came to.
            wire.close_all(fds)
        answer["cpu_ns"] = time.process_time_ns()
        wire.send_packet(sock, answer)
        if message["last"]:  # isolation `process`: whatever this launch has left here, nobody else meets it
            return
        make_ahead(message["form"])


def _run(
    engines: Engines, programs: Mapping[str, Program], message: Mapping[str, Any], fds: Sequence[int]
) -> dict[str, Any]:
    begun: list[int] = []
    more: dict[str, Any] = {}
    try:
        form = message["form"]
        program, frozen = programs[form], is_frozen(form)
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
            channels=_channels(message, named, frozen=frozen) if named else None,
            files=program.files,
            frozen=FROZEN if frozen else None,
            on_start=lambda: begun.append(time.monotonic_ns()),
        )
        outcome = engines.runner(form).run(program, launch)
        if check is not None:
            outcome = check.judged(outcome)
        if frozen and _unread([stdout, *named[len(message.get("inputs", ())) :]]):
            more["unread"] = True
    except (SandboxError, OSError) as why:
        outcome = Outcome("lost", note=f"the host failed: {why}")
    return {"begun": begun[0] if begun else 0, "outcome": outcome.to_wire(), **more}


def _unread(outputs: Sequence[int]) -> bool:
    """Whether somebody who read one of them went away: that is told to the guest, and is no part of its input."""
    poller = select.poll()
    for fd in outputs:
        poller.register(fd, 0)
    return any(events & select.POLLERR for _, events in poller.poll(0))


def _channels(message: Mapping[str, Any], fds: Sequence[int], *, frozen: bool) -> Channels:
    """The named ones. A file is read and written at any place; anything else only goes on, which a frozen launch's
    inputs cannot: they would be laid aside in a file first, and here none can be made. Raises `ChannelError`."""
    inputs, outputs = message["inputs"], message["outputs"]
    given, taken = fds[: len(inputs)], fds[len(inputs) :]
    for fd in taken:
        make_pollable(fd)
    sources = {name: input_from_fd(fd) for name, fd in zip(inputs, given, strict=True)}
    if frozen:
        for name, source in sources.items():
            if not isinstance(source, FileInput):
                raise ChannelError(f"in/{name} is no regular file, which it must be in a frozen launch")
    return Channels(
        inputs=sources,
        outputs=dict(zip(outputs, taken, strict=True)),
        figures=message.get("figures", True),
    )
