"""Warming a worker up: the pages that a launch writes to are copied before it comes.

A fresh fork shares every page with its spawner until it writes to it, and Python writes to whatever it looks at. So a
worker goes the whole way once before it says that it is ready: a launch as the node would send it, through the same
functions, of each program in demand, from a file into a pipe, with the named channels that it was last given. Measured
by the page faults of the first launch after it, `cat` of 1 KB: 474 without, 83 after a run of the guest alone, 7 after
this, 3 in a worker that has served many.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from insitu.runtime import wire
from insitu.runtime.channels import NONE, Named
from insitu.sandbox.limits import DEFAULT, Limits

DRY_RUN: Final = Limits(fuel=20_000_000, wall=0.5, output=1 << 20)
"""What it may cost, and no more: a program that does much with no input is not worth warming."""

Run = Callable[[Mapping[str, Any], Sequence[int]], dict[str, Any]]
_GIVEN: Final = b"\n"
"""With nothing to read, nothing would be written: half of the way would stay cold."""


class Rehearsal:
    """Launches that wait in a socket, with descriptors of their own. Made before the worker is confined, for it opens
    nothing afterwards; held when it is, for guests run in it."""

    def __init__(self, programs: Sequence[str], named: Mapping[str, Named] = MappingProxyType({})) -> None:
        """Of each, by form, one launch. `named`: of those that are given them, their named channels."""
        self.programs = programs
        self._node, self._worker = wire.packet_pair()
        self._outputs: list[int] = []
        with open(os.memfd_create("warm-up", os.MFD_CLOEXEC), "wb", buffering=0) as given:
            given.write(_GIVEN)
            for form in programs:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                self._outputs.append(reading)
                has = named.get(form, NONE)
                message = launch_message(form, "warm-up", (), {}, DRY_RUN, stderr=1, last=False, named=has)
                fds = [given.fileno(), writing, *[given.fileno()] * len(has.inputs), *[writing] * len(has.outputs)]
                wire.send_packet(self._node, message, fds)
                os.close(writing)

    def fileno(self) -> int:
        """The worker's end of the socket."""
        return self._worker.fileno()

    def hold(self, run: Run) -> None:
        """Once. `run`: what the worker does with a launch's message and descriptors; it gives the answer."""
        with self._node, self._worker:
            for _ in self.programs:
                packet = wire.receive_packet(self._worker)
                assert packet is not None
                received, fds = packet
                try:
                    answer = run(received, fds)
                finally:
                    wire.close_all(fds)
                wire.send_packet(self._worker, answer)
        wire.close_all(self._outputs)


def launch_message(
    form: str,
    name: str,
    args: Sequence[str],
    env: Mapping[str, str],
    limits: Limits,
    *,
    stderr: int,
    last: bool,
    named: Named = NONE,
    md5: str = "",
    figures: bool = True,
) -> wire.Message:
    """A launch as a worker gets it. `stderr`: bytes kept of its beginning, and as many of its end. `last`: the worker's
    last. `md5`: of stdin, if that is to be checked. `figures`: whether those of every channel are told. What it names
    goes along only where it names something."""
    message: wire.Message = {
        "form": form,
        "argv": [name, *args],
        "env": dict(env),
        "limits": {} if limits is DEFAULT else limits.to_wire(),
        "stderr": stderr,
        "last": last,
    }
    if md5:
        message["md5"] = md5
    if not figures:
        message["figures"] = False
    return message if named is NONE else message | {"inputs": named.inputs, "outputs": named.outputs}
