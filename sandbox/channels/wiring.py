"""From what a launch asks for of its channels to what its guest gets: streams, and files under /dev.

Only launches that ask for more than stdin, stdout and stderr come here.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from insitu.sandbox.channels.base import Sink, Source, Wait
from insitu.sandbox.channels.meter import NO_QUOTA, Meter, MeteredSink, MeteredSource, Quota
from insitu.sandbox.channels.named import InputContents, OutputFile, check_name, spooled
from insitu.sandbox.channels.sinks import Budget, FdSink
from insitu.sandbox.channels.sources import FileInput, Input
from insitu.sandbox.clocks import Clocks
from insitu.sandbox.errors import ChannelError
from insitu.sandbox.files.nodes import Node, ReadOnlyFile, StreamNode
from insitu.sandbox.files.volume import Volume
from insitu.sandbox.outcome import ChannelStatistics

_INPUTS, _OUTPUTS = 4, 5  # device numbers: what is read is never the same file as what is written
STANDARD = ("stdin", "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Channels:
    """What a launch asks for beside its three standard channels.

    `inputs` by name, seen as /dev/in/NAME; `outputs` by name, host descriptors seen as /dev/out/NAME: a regular file is
    written at any place, anything else (see `make_pollable`) only goes on. `quotas` by channel: "stdin", "stdout",
    "stderr", "in/NAME", "out/NAME". `digests`: of all of them. Asking for any of it, or for `Channels()`, gives an
    outcome the figures of every channel, unless `figures` says not.

    Raises `ChannelError` for a malformed name, or a quota of a channel that is not there.
    """

    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, int] = field(default_factory=dict)
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    digests: bool = False
    figures: bool = True

    def __post_init__(self) -> None:
        for name in (*self.inputs, *self.outputs):
            check_name(name)
        known = self.names()
        for name in self.quotas:
            if name not in known:
                raise ChannelError(f"quota: there is no channel {name!r}; there are {', '.join(known)}")

    def names(self) -> tuple[str, ...]:
        return (*STANDARD, *(f"in/{name}" for name in self.inputs), *(f"out/{name}" for name in self.outputs))


class Wiring:
    """One launch's channels, ready for its guest. `close` when that has ended."""

    def __init__(self, asked: Channels, clocks: Clocks, budget: Budget, wait: Wait) -> None:
        self._asked, self._clocks, self._budget, self._wait = asked, clocks, budget, wait
        self._keep: ExitStack | None = None
        self._inputs: list[tuple[str, Meter]] = []
        self._channels: dict[str, Source | Sink | InputContents | OutputFile] = {}
        self.nodes: dict[bytes, dict[bytes, Node]] = {}
        """"in" and "out" → name → node: what `Files.tree` mounts."""

    def standard(self, stdin: Source, stdout: Sink, stderr: Sink) -> tuple[Source, Sink, Sink]:
        return self._source("stdin", stdin), self._sink("stdout", stdout), self._sink("stderr", stderr)

    def named(self) -> None:
        """Make the nodes. In a frozen launch every input is made a file first. Raises `Deadline`, `ChannelError`."""
        inputs, outputs, stamp = self._asked.inputs, self._asked.outputs, self._clocks.stamp
        if not inputs and not outputs:
            return
        self.nodes = {b"in": {}, b"out": {}}
        if inputs:
            volume, nodes = Volume(_INPUTS, read_only=True, stamp=stamp), self.nodes[b"in"]
            for name, given in inputs.items():
                nodes[name.encode()] = self._input(volume, f"in/{name}", given)
        if outputs:
            volume, nodes = Volume(_OUTPUTS, stamp=stamp), self.nodes[b"out"]
            for name, fd in outputs.items():
                nodes[name.encode()] = self._output(volume, f"out/{name}", fd)

    def _is_metered(self, name: str) -> bool:
        return self._asked.digests or name in self._asked.quotas

    def _meter(self, name: str) -> Meter:
        asked = self._asked
        return Meter(name, asked.quotas.get(name, NO_QUOTA), self._budget.stop, digest=asked.digests)

    def _input_meter(self, name: str) -> Meter:
        meter = self._meter(name)
        self._inputs.append((name, meter))
        return meter

    def _source(self, name: str, source: Source) -> Source:
        if self._clocks.frozen or self._is_metered(name):
            source = MeteredSource(source, self._input_meter(name), fill=self._clocks.frozen)
        self._channels[name] = source
        return source

    def _sink(self, name: str, sink: Sink) -> Sink:
        if self._is_metered(name):
            sink = MeteredSink(sink, self._meter(name))
        self._channels[name] = sink
        return sink

    def _input(self, volume: Volume, name: str, given: Input) -> Node:
        time = self._clocks.stamp()
        if not isinstance(given, FileInput):
            if not self._clocks.frozen:
                return StreamNode(volume, time, source=self._source(name, given))
            self._keep = self._keep or ExitStack()
            given = spooled(given, self._wait, self._keep)
        contents = InputContents(given, self._input_meter(name), self._wait)
        self._channels[name] = contents
        return ReadOnlyFile(volume, contents, time)

    def _output(self, volume: Volume, name: str, fd: int) -> Node:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return StreamNode(volume, self._clocks.stamp(), sink=self._sink(name, FdSink(fd, self._budget)))
        node = OutputFile(volume, fd, self._budget, self._meter(name), self._wait)
        self._channels[name] = node
        return node

    def unreadable(self) -> str:
        """Of a frozen launch, which input is not what another launch with the same would read, and why; else empty."""
        found = (f"{name} {meter.unreadable}" for name, meter in self._inputs if meter.unreadable)
        return next(found, "") if self._clocks.frozen else ""

    def bytes_in(self) -> int:
        return sum(one.bytes for name, one in self._channels.items() if name == "stdin" or name.startswith("in/"))

    def bytes_out(self) -> int:
        return sum(one.bytes for name, one in self._channels.items() if name == "stdout" or name.startswith("out/"))

    def statistics(self) -> dict[str, ChannelStatistics]:
        """Of every channel, if that was asked for."""
        if not self._asked.figures:
            return {}
        return {name: channel.statistics() for name, channel in self._channels.items()}

    def close(self) -> None:
        if self._keep is not None:
            self._keep.close()
