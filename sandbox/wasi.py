"""Our own WASI preview1 host: what a guest can ask of us, and nothing else.

All 46 functions of `wasi_snapshot_preview1` are defined. This sandbox has no files: a guest has its arguments, its
environment, clocks, randomness and the three standard channels, and every call about anything else answers the error
number that the specification gives for such a descriptor. Pointers, lengths and numbers from the guest are hostile:
each reaches memory through `Host._span` alone, which checks it against the memory's true size.

A callback never lets an exception out, since the engine would read that as success: `Host._entry` keeps it in the
guest's state and answers a trap.
"""

import os
import select
import struct
import time
from collections.abc import Callable, Sequence
from ctypes import Array, c_uint32
from typing import Final

from insitu.sandbox import errno, raw
from insitu.sandbox.channels import Deadline, Sink, Source, Wait
from insitu.sandbox.errno import GuestError, GuestStop
from insitu.sandbox.outcome import LimitHit
from insitu.sandbox.preview1 import DESCRIPTOR_AT, MODULE, ON_A_STREAM, SIGNATURES

IOV_MAX: Final = 1024  # POSIX's own bound on one readv or writev
SUBSCRIPTIONS_MAX: Final = 1024
RIGHT_READ, RIGHT_WRITE = 1 << 1, 1 << 6
_RIGHTS_ALWAYS: Final = 1 << 3 | 1 << 21 | 1 << 27  # fdstat_set_flags, filestat_get, poll_fd_readwrite
_FLAG_APPEND: Final = 1
_RANDOM_PIECE: Final = 64 << 10
_REALTIME, _MONOTONIC, _PROCESS_CPU, _THREAD_CPU = range(4)

_u32 = struct.Struct("<I").pack_into
_u64 = struct.Struct("<Q").pack_into
_two_u32 = struct.Struct("<II").unpack_from
_fdstat = struct.Struct("<BxHxxxxQQ").pack_into
_filestat = struct.Struct("<QQBxxxxxxxQQQQQ").pack_into
_subscription = struct.Struct("<QB7xI4xQQH6x").unpack_from  # userdata, tag, clock or fd, timeout, precision, flags
_event = struct.Struct("<QHB5xQH6x").pack_into

Arguments = Array[c_uint32]


class _NoMemory(Exception):
    """No memory is known: the module exports none, or its start function is running and it has to be asked for."""


class Descriptor:
    """An entry of the guest's table: a source or a sink, and what may be done with it."""

    __slots__ = ("flags", "rights", "sink", "source")

    def __init__(self, source: Source | None = None, sink: Sink | None = None) -> None:
        self.source, self.sink, self.flags = source, sink, 0
        self.rights = _RIGHTS_ALWAYS | (RIGHT_READ if source else 0) | (RIGHT_WRITE if sink else 0)


class Guest:
    """The state of one running guest, as the host functions see it."""

    __slots__ = ("args", "crash", "env", "exit_code", "fds", "instance", "limit", "started", "wait")

    def __init__(
        self,
        instance: raw.Instance,
        args: Sequence[bytes],
        env: Sequence[bytes],
        stdin: Source,
        stdout: Sink,
        stderr: Sink,
        wait: Wait,
    ) -> None:
        self.instance, self.args, self.env, self.wait = instance, args, env, wait
        self.fds = {0: Descriptor(source=stdin), 1: Descriptor(sink=stdout), 2: Descriptor(sink=stderr)}
        self.started = time.monotonic_ns()
        self.exit_code: int | None = None
        self.limit: LimitHit | None = None
        self.crash: BaseException | None = None


class Host:
    """The host functions, linked once for an engine; they serve one guest at a time, `guest`."""

    def __init__(self, engine: raw.Engine) -> None:
        self.linker = raw.new_linker(engine)
        self.guest: Guest | None = None
        self._keep = [
            raw.define(
                self.linker,
                MODULE,
                name.encode(),
                params,
                "" if name == "proc_exit" else "i",
                self._entry(self._function(name)),
            )
            for name, params in SIGNATURES.items()
        ]

    def _function(self, name: str) -> Callable[[Arguments], int]:
        if name not in ON_A_STREAM:
            return getattr(self, name)  # type: ignore[no-any-return]
        answer, at = ON_A_STREAM[name], DESCRIPTOR_AT.get(name, 0)
        return lambda a: answer if a[at] in self._guest().fds else errno.BADF

    def _entry(self, function: Callable[[Arguments], int]) -> raw.Callback:
        args_at = raw.args_at

        def entry(_env: int, caller: int, address: int, _count: int) -> int:
            a = args_at(address)
            try:
                try:
                    a[0] = function(a)
                except _NoMemory:
                    # Nothing is done before the first look at memory, so it can be done again.
                    a[0] = function(a) if self._guest().instance.find_memory(caller) else errno.FAULT
                return 0
            except GuestError as error:
                a[0] = error.code
                return 0
            except GuestStop:
                return raw.new_trap(b"stopped by the host")
            except BaseException as crash:  # noqa: BLE001 - see the module's docstring; Deadline comes here too
                if self.guest is not None and self.guest.crash is None:
                    self.guest.crash = crash
                return raw.new_trap(b"stopped by the host")

        return entry

    def _guest(self) -> Guest:
        if self.guest is None:
            raise RuntimeError("a host function was called while no guest runs")
        return self.guest

    # Memory: nothing below touches the guest's memory but through these.

    def _span(self, pointer: int, length: int) -> memoryview:
        """The guest's bytes [pointer, pointer + length), or EFAULT."""
        instance = self._guest().instance
        view, end = instance.view, pointer + length
        if end > len(view):
            if not instance.has_memory:
                raise _NoMemory
            view = instance.refresh()
            if end > len(view):
                raise GuestError(errno.FAULT)
        return view[pointer:end]

    def _vectors(self, pointer: int, count: int) -> list[memoryview]:
        """The buffers of an iovec array, those of no length left out."""
        if count > IOV_MAX:
            raise GuestError(errno.INVAL)
        table = self._span(pointer, 8 * count)
        views = []
        for at in range(0, 8 * count, 8):
            start, length = _two_u32(table, at)
            if length:
                views.append(self._span(start, length))
        return views

    # Arguments and environment.

    def _sizes(self, items: Sequence[bytes], a: Arguments) -> int:
        count, size = self._span(a[0], 4), self._span(a[4], 4)
        _u32(count, 0, len(items))
        _u32(size, 0, sum(len(item) + 1 for item in items))
        return 0

    def _strings(self, items: Sequence[bytes], a: Arguments) -> int:
        pointers, at = self._span(a[0], 4 * len(items)), a[4]
        for index, item in enumerate(items):
            self._span(at, len(item) + 1)[:] = item + b"\0"
            _u32(pointers, 4 * index, at)
            at += len(item) + 1
        return 0

    def args_sizes_get(self, a: Arguments) -> int:
        return self._sizes(self._guest().args, a)

    def args_get(self, a: Arguments) -> int:
        return self._strings(self._guest().args, a)

    def environ_sizes_get(self, a: Arguments) -> int:
        return self._sizes(self._guest().env, a)

    def environ_get(self, a: Arguments) -> int:
        return self._strings(self._guest().env, a)

    # Streams.

    def fd_read(self, a: Arguments) -> int:
        guest = self._guest()
        entry = guest.fds.get(a[0])
        if entry is None or entry.source is None or not entry.rights & RIGHT_READ:
            return errno.BADF
        result = self._span(a[12], 4)
        views = self._vectors(a[4], a[8])
        _u32(result, 0, entry.source.read(views, guest.wait) if views else 0)
        return 0

    def fd_write(self, a: Arguments) -> int:
        guest = self._guest()
        entry = guest.fds.get(a[0])
        if entry is None or entry.sink is None or not entry.rights & RIGHT_WRITE:
            return errno.BADF
        result = self._span(a[12], 4)
        views = self._vectors(a[4], a[8])
        _u32(result, 0, entry.sink.write(views, guest.wait) if views else 0)
        return 0

    # Descriptors.

    def _descriptor(self, fd: int) -> Descriptor:
        entry = self._guest().fds.get(fd)
        if entry is None:
            raise GuestError(errno.BADF)
        return entry

    def fd_close(self, a: Arguments) -> int:
        return 0 if self._guest().fds.pop(a[0], None) else errno.BADF

    def fd_renumber(self, a: Arguments) -> int:
        source, _target = self._descriptor(a[0]), self._descriptor(a[4])
        fds = self._guest().fds
        del fds[a[0]]
        fds[a[4]] = source
        return 0

    def fd_fdstat_get(self, a: Arguments) -> int:
        entry = self._descriptor(a[0])
        # Of an unknown type: preview1 has none for pipes, and a character device would make libc line-buffer it.
        _fdstat(self._span(a[4], 24), 0, 0, entry.flags, entry.rights, 0)
        return 0

    def fd_fdstat_set_flags(self, a: Arguments) -> int:
        entry = self._descriptor(a[0])
        if a[4] & ~_FLAG_APPEND:
            return errno.NOTSUP  # non-blocking, sync: a channel has neither
        entry.flags = a[4]
        return 0

    def fd_fdstat_set_rights(self, a: Arguments) -> int:
        entry = self._descriptor(a[0])
        base, inheriting = a[4] | a[5] << 32, a[8] | a[9] << 32
        if base & ~entry.rights or inheriting:
            return errno.NOTCAPABLE
        entry.rights = base
        return 0

    def fd_filestat_get(self, a: Arguments) -> int:
        self._descriptor(a[0])
        _filestat(self._span(a[4], 64), 0, 0, 0, 0, 1, 0, 0, 0, 0)
        return 0

    # Clocks, chance, waiting, ending.

    def _now(self, clock: int) -> int:
        """Nanoseconds. The monotonic clock begins with the launch: the machine's uptime is nobody's business."""
        if clock == _REALTIME:
            return time.time_ns()
        if clock == _MONOTONIC:
            return time.monotonic_ns() - self._guest().started
        if clock in (_PROCESS_CPU, _THREAD_CPU):
            return time.thread_time_ns()
        raise GuestError(errno.INVAL)

    def clock_res_get(self, a: Arguments) -> int:
        self._now(a[0])
        _u64(self._span(a[4], 8), 0, 1)
        return 0

    def clock_time_get(self, a: Arguments) -> int:
        now = self._now(a[0])
        _u64(self._span(a[8], 8), 0, now)
        return 0

    def random_get(self, a: Arguments) -> int:
        span = self._span(a[0], a[4])
        wait = self._guest().wait
        for at in range(0, len(span), _RANDOM_PIECE):
            piece = span[at : at + _RANDOM_PIECE]
            piece[:] = os.urandom(len(piece))
            if time.monotonic() > wait.end:
                raise Deadline
        return 0

    def sched_yield(self, a: Arguments) -> int:
        return 0

    def proc_exit(self, a: Arguments) -> int:
        self._guest().exit_code = a[0]
        raise GuestStop

    def proc_raise(self, a: Arguments) -> int:
        return errno.NOTSUP  # there is nobody to signal

    def poll_oneoff(self, a: Arguments) -> int:
        """Wait for the first of some clocks and channels."""
        count = a[8]
        if not 0 < count <= SUBSCRIPTIONS_MAX:
            return errno.INVAL
        table, events, result = self._span(a[0], 48 * count), self._span(a[4], 32 * count), self._span(a[12], 4)
        subscriptions = [_subscription(table, 48 * index) for index in range(count)]
        timers: list[tuple[float, int]] = []  # (end on time.monotonic, userdata)
        fired: list[tuple[int, int, int]] = []  # (userdata, error number, tag)
        watched: dict[int, list[tuple[int, int]]] = {}  # host descriptor → (userdata, tag)
        poller = select.poll()
        begun = time.monotonic()
        for userdata, tag, subject, timeout, _precision, flags in subscriptions:
            if tag == 0:
                try:
                    left = timeout - self._now(subject) if flags & 1 else timeout
                except GuestError as error:
                    fired.append((userdata, error.code, tag))
                else:
                    timers.append((begun + max(0, left) / 1e9, userdata))
            elif tag in (1, 2):
                entry = self._guest().fds.get(subject)
                channel = entry and (entry.source if tag == 1 else entry.sink)
                fd = channel.ready() if channel else None
                if channel is None:
                    fired.append((userdata, errno.BADF, tag))
                elif fd is None:
                    fired.append((userdata, 0, tag))
                else:
                    watched.setdefault(fd, []).append((userdata, tag))
                    asked = {kind for _, kind in watched[fd]}
                    poller.register(fd, (1 in asked) * select.POLLIN | (2 in asked) * select.POLLOUT)
            else:
                return errno.INVAL
        self._wait(poller, watched, timers, fired)
        for index, (userdata, number, tag) in enumerate(fired):
            _event(events, 32 * index, userdata, number, tag, 1 if tag else 0, 0)
        _u32(result, 0, len(fired))
        return 0

    def _wait(
        self,
        poller: "select.poll",
        watched: dict[int, list[tuple[int, int]]],
        timers: list[tuple[float, int]],
        fired: list[tuple[int, int, int]],
    ) -> None:
        """Until something is in `fired`, or the launch's time is over."""
        wall = self._guest().wait.end
        end = min([wall, *(at for at, _ in timers)])
        while True:
            left = 0.0 if fired else max(0.0, end - time.monotonic())
            for fd, happened in poller.poll(left * 1000 + (left > 0)) if watched else ():
                broken = happened & ~(select.POLLIN | select.POLLOUT)
                for userdata, tag in watched[fd]:
                    if broken or happened & (select.POLLIN if tag == 1 else select.POLLOUT):
                        fired.append((userdata, 0, tag))
            if not watched and left:
                time.sleep(left)
            now = time.monotonic()
            fired.extend((userdata, 0, 0) for at, userdata in timers if at <= now)
            if fired:
                return
            if now >= wall:
                raise Deadline
