"""One launch: one fresh sandbox, from its making to its outcome.

runner = Runner()                                    once per process (and after its last fork)
program = runner.compile(wasm)                       once per program
outcome = runner.run(program, …)                     many times; one guest at a time
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from insitu.sandbox import raw
from insitu.sandbox.ahead import Ahead
from insitu.sandbox.alarm import Alarm, CpuTime
from insitu.sandbox.channels import Budget, Deadline, FdSink, Sink, Source, StderrSink, Wait
from insitu.sandbox.channels.wiring import Channels, Wiring
from insitu.sandbox.clocks import Clocks, Frozen, FrozenClocks, RealChance, RealClocks, SeededChance
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errno import GuestStop
from insitu.sandbox.errors import EngineError
from insitu.sandbox.files.nodes import Directory, Node
from insitu.sandbox.files.tree import NO_FILES, Files, memory_volume
from insitu.sandbox.limits import PAGE, Limits, format_size
from insitu.sandbox.outcome import ChannelStatistics, LimitHit, Outcome, Usage
from insitu.sandbox.program import Program, compile_program
from insitu.sandbox.wasi.guest import Guest
from insitu.sandbox.wasi.host import Host
from insitu.sandbox.wasi.table import OpenDirectory, Stream, Table

_NO_FUEL_LIMIT: Final = (1 << 63) - 1
_MINIMUM_TOO_LARGE: Final = re.compile(r"(memory|table) minimum size of (\d+) (?:pages|elements) exceeds")


class Launch:
    """What one launch is given: its words, channels and limits. `argv` begins with the program's name."""

    __slots__ = (
        "argv",
        "channels",
        "env",
        "files",
        "frozen",
        "instead",
        "limits",
        "on_start",
        "stderr",
        "stdin",
        "stdout",
        "words",
    )

    def __init__(
        self,
        argv: Sequence[str],
        stdin: Source,
        stdout: int,
        limits: Limits,
        *,
        env: Mapping[str, str] | None = None,
        stderr: StderrSink | None = None,
        channels: Channels | None = None,
        files: Files = NO_FILES,
        frozen: Frozen | None = None,
        on_start: Callable[[], object] | None = None,
        instead: Callable[[raw.Instance, Guest], raw.Failure | None] | None = None,
    ) -> None:
        """`stdout` is a host descriptor (see `channels.make_pollable`); `channels` has what is asked for beyond the
        standard three. `on_start` is called as the guest starts; `instead` does what is done then in place of a call
        of `_start`."""
        self.argv = [word.encode() for word in argv]
        self.env = [f"{name}={value}".encode() for name, value in (env or {}).items()]
        self.words = sum(map(len, self.argv), len(self.argv))
        if env:
            self.words += sum(map(len, self.env), len(self.env))
        self.stdin, self.stdout, self.limits = stdin, stdout, limits
        self.stderr = stderr or StderrSink()
        # A frozen launch's standard channels are read and written in a way of their own.
        self.channels = Channels() if channels is None and frozen is not None else channels
        self.files, self.frozen = files, frozen
        self.on_start, self.instead = on_start, instead


class Runner:
    """An engine, the host functions linked to it, and the alarm that interrupts guests."""

    def __init__(self, *, canonical_nans: bool = False, beside: "Runner | None" = None) -> None:
        """`canonical_nans`: see `raw.new_engine`; frozen launches need it. `beside`: another of this process, which
        never runs a guest while this one does: they have one alarm, and one sandbox made ahead, between them."""
        self.engine = raw.new_engine(canonical_nans=canonical_nans)
        self.canonical_nans = canonical_nans
        self.host = Host(self.engine)
        self._alarm: Alarm = Alarm() if beside is None else beside._alarm
        self._ahead: Ahead = Ahead() if beside is None else beside._ahead

    def start_threads(self) -> None:
        """The one that a launch needs, if it does not run yet: before the process can start none any more."""
        self._alarm.start()

    def refusal(self, program: Program, limits: Limits) -> str | None:
        """Why no launch of it could begin within these limits, in the engine's words; None when one could."""
        instance = raw.Instance(self.engine, limits.memory, 0, limits.table)
        try:
            failure = instance.instantiate(program.pre)
        finally:
            instance.close()
        if failure is None or failure.code == raw.OUT_OF_FUEL:  # a start function: it is not judged, and does not run
            return None
        return failure.text.partition("\n")[0]

    def make_ahead(self, program: Program) -> None:
        """Make what can be made of the next launch, if that will be one of this program."""
        self._ahead.make(self.engine, program)

    def compile(self, wasm: bytes, source: str = "program") -> Program:
        """Raises `ProgramError`."""
        return self.link(compile_program(self.engine, wasm, source), program_digest(wasm), source)

    def link(self, module: raw.Module, digest: str, source: str = "program") -> Program:
        """Raises `ProgramError`."""
        return Program(self.host.linker, module, digest, source)

    def run(self, program: Program, launch: Launch) -> Outcome:
        """Run it to its end. Whatever the guest does is an outcome.

        Raises `EngineError` when the host itself broke: then nothing can be said of the guest.
        """
        begun, cpu = time.monotonic(), time.thread_time_ns()
        if launch.frozen is not None and not self.canonical_nans:
            raise EngineError("a frozen launch needs a runner with canonical NaNs")
        self.host.make_ready()
        limits = launch.limits
        if launch.words > limits.arguments:
            return Outcome("limit", limit=LimitHit("arguments", limits.arguments, launch.words))
        fuel = limits.fuel or _NO_FUEL_LIMIT
        clocks = RealClocks() if launch.frozen is None else FrozenClocks(launch.frozen.clock)
        cpu_end = None if limits.cpu is None else cpu + int(limits.cpu * 1e9)
        budget, wait = Budget(limits.output, self._stop), Wait(begun + limits.wall, cpu_end)
        wiring = None if launch.channels is None else Wiring(launch.channels, clocks, budget, wait)
        made = self._ahead.take(program, limits, fuel)
        instance = made or raw.Instance(self.engine, limits.memory, fuel, limits.table)
        try:
            stdin, stdout, stderr = launch.stdin, FdSink(launch.stdout, budget), launch.stderr
            if wiring is None:
                guest = self._guest(launch, instance, stdin, stdout, stderr, {}, clocks, wait)
            else:
                standard = wiring.standard(stdin, stdout, stderr)
                try:
                    wiring.named()
                except Deadline:
                    elapsed = time.monotonic() - begun
                    usage = Usage(wall_us=int(elapsed * 1e6), cpu_us=(time.thread_time_ns() - cpu) // 1000)
                    return Outcome("limit", limit=LimitHit("wall", limits.wall, elapsed), usage=usage)
                guest = self._guest(launch, instance, *standard, wiring.nodes, clocks, wait)
            if self.host.guest is not None:
                raise EngineError("a runner runs one guest at a time")
            try:
                self.host.guest = guest
                self._alarm.set(self.engine, wait.end, None if limits.cpu is None else CpuTime(limits.cpu, cpu, wait))
                failure = None if made else instance.instantiate(program.pre)
                if failure is None:
                    if not made:
                        instance.find_memory()
                    if launch.on_start is not None:
                        launch.on_start()
                    failure = (launch.instead or _start)(instance, guest)
            finally:
                self.host.guest = None  # first: an interrupt may end what comes after
                self._alarm.clear()
                guest.table.close_all()
            elapsed = time.monotonic() - begun
            usage = Usage(
                fuel=fuel - instance.fuel_left(),
                cpu_us=(time.thread_time_ns() - cpu) // 1000,
                wall_us=int(elapsed * 1e6),
                memory_peak=instance.memory_size() if instance.has_memory else 0,
                bytes_in=stdin.bytes if wiring is None else wiring.bytes_in(),
                bytes_out=stdout.bytes if wiring is None else wiring.bytes_out(),
                bytes_err=stderr.bytes,
            )
            channels = {} if wiring is None else wiring.statistics()
            outcome = self._outcome(guest, failure, limits, usage, elapsed, stderr.kept(), channels)
            if budget.broken is not None:
                outcome = replace(outcome, broken=_broken(launch, *budget.broken))
            elif wiring is not None and (unreadable := wiring.unreadable()):
                outcome = replace(outcome, broken=unreadable)
            return outcome
        finally:
            instance.close()
            if wiring is not None:
                wiring.close()

    @staticmethod
    def _guest(
        launch: Launch,
        instance: raw.Instance,
        stdin: Source,
        stdout: Sink,
        stderr: Sink,
        nodes: Mapping[bytes, Mapping[bytes, Node]],
        clocks: Clocks,
        wait: Wait,
    ) -> Guest:
        frozen, limits = launch.frozen, launch.limits
        chance = RealChance() if frozen is None else SeededChance(frozen.seed)
        memory = memory_volume(limits.tmp, limits.tmp_files, clocks.stamp)

        def tree() -> Directory:
            return launch.files.tree(memory, nodes, None if frozen is None else frozen.clock)

        table = Table(
            limits.open_files,
            Stream(source=stdin),
            Stream(sink=stdout),
            Stream(sink=stderr),
            OpenDirectory(tree() if launch.files.is_copy else tree, name=b"/"),
        )
        guest = Guest(instance, launch.argv, launch.env, table, memory, limits, clocks, chance, wait)
        memory.refused = guest.refuse
        return guest

    def _stop(self, hit: LimitHit) -> GuestStop:
        if self.host.guest is not None:
            self.host.guest.limit = hit
        return GuestStop()

    @staticmethod
    def _outcome(
        guest: Guest,
        failure: raw.Failure | None,
        limits: Limits,
        usage: Usage,
        elapsed: float,
        stderr: bytes,
        channels: Mapping[str, ChannelStatistics],
    ) -> Outcome:
        limit = guest.limit
        if isinstance(guest.crash, Deadline) or (failure is not None and failure.code == raw.INTERRUPT):
            limit = LimitHit("wall", limits.wall, elapsed)
            if limits.cpu is not None and guest.wait.cpu_over:
                limit = LimitHit("cpu", limits.cpu, usage.cpu_us / 1e6)
        elif guest.crash is not None:
            if isinstance(guest.crash, Exception):
                raise EngineError(f"a host function broke: {guest.crash!r}") from guest.crash
            raise guest.crash
        if failure is not None and limit is None:
            if failure.code == raw.OUT_OF_FUEL:
                limit = LimitHit("fuel", limits.fuel or _NO_FUEL_LIMIT, usage.fuel)
            elif minimum := _MINIMUM_TOO_LARGE.match(failure.text):
                figures = (limits.memory, PAGE) if minimum[1] == "memory" else (limits.table, 1)
                limit = LimitHit(minimum[1], figures[0], int(minimum[2]) * figures[1])
        if limit is not None:
            return Outcome("limit", limit=limit, usage=usage, stderr=stderr, channels=channels)
        if failure is not None and failure.code is None and guest.exit_code is None:
            why = failure.text.partition("\n")[0]  # the engine's own words: names that a guest chose come later
            if why.endswith("(os error 12)"):
                raise EngineError(why)  # the host has no memory left for it
        trapped = guest.exit_code is None and failure is not None
        code = guest.exit_code or 0
        return Outcome(
            "trap" if trapped else "exit",
            exit_code=None if trapped else code,
            trap=failure.text if trapped and failure is not None else None,
            limit=guest.refused,
            note=_near(1 if trapped else code, limits, usage),
            usage=usage,
            stderr=stderr,
            channels=channels,
        )


def _start(instance: raw.Instance, guest: Guest) -> raw.Failure | None:
    return instance.call(b"_start")


def _broken(launch: Launch, fd: int, why: str) -> str:
    named = () if launch.channels is None else launch.channels.outputs.items()
    channel = next((f"out/{name}" for name, out in named if out == fd), "stdout")
    return f"{channel} could not be written: {why}"


def _near(code: int, limits: Limits, usage: Usage) -> str:
    """A failed guest that used much of its memory was probably refused more: say so, it is no proof.

    Allocators like to ask for as much again as they have, so half is much.
    """
    if code and usage.memory_peak >= limits.memory // 2:
        return f"memory stood at {format_size(usage.memory_peak)} of the {format_size(limits.memory)} allowed"
    return ""
