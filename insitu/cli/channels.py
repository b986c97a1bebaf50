"""What a command's words make of channels: files, pipes and terminals as a guest's inputs and outputs.

A named file that is written is made beside its place and renamed: it is there whole or not at all.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from insitu.cli.guests import Ours
from insitu.sandbox.channels import (
    Budget,
    EmptySource,
    FdSink,
    FileInput,
    FileSource,
    Input,
    Source,
    StreamSource,
    input_from_fd,
    make_pollable,
)
from insitu.sandbox.channels.meter import Quota
from insitu.sandbox.channels.named import check_name
from insitu.sandbox.errno import GuestStop
from insitu.sandbox.errors import ChannelError, LimitsError
from insitu.sandbox.limits import OUTPUT_BOUNDS, parse_size
from insitu.sandbox.outcome import Outcome

_AGAIN: Final = 0.005  # seconds between two looks for a named pipe's reader
_QUOTA: Final = re.compile(r"(.+)\.(calls|bytes)=(.*)")


class NamedFile(click.ParamType[tuple[str, str]]):
    """`NAME=FILE` → both."""

    name = "NAME=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, path = value.partition("=")
        if not equals or not path:
            self.fail(f"{value!r} is not NAME=FILE", param, ctx)
        try:
            check_name(name)
        except ChannelError as why:
            self.fail(str(why), param, ctx)
        return name, path


class QuotaWords(click.ParamType[tuple[str, str, int]]):
    """`CHANNEL.calls=N` or `CHANNEL.bytes=SIZE` → channel, what is counted, how many."""

    name = "CHANNEL.calls=N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, int]:
        if isinstance(value, tuple):
            return value
        match = _QUOTA.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is neither CHANNEL.calls=N nor CHANNEL.bytes=SIZE", param, ctx)
        channel, unit, text = match.groups()
        try:
            if unit == "calls" and not (text.isascii() and text.isdigit() and len(text) < 20):
                raise LimitsError(f"{text!r} is not a number of calls")
            return channel, unit, int(text) if unit == "calls" else parse_size(text)
        except LimitsError as why:
            self.fail(str(why), param, ctx)


def quotas(words: Sequence[tuple[str, str, int]]) -> dict[str, Quota]:
    """Raises `LimitsError`."""
    found: dict[str, dict[str, int]] = {}
    for channel, unit, count in words:
        if found.setdefault(channel, {}).setdefault(unit, count) != count:
            raise LimitsError(f"--quota {channel}.{unit}: given twice, and not the same")
    return {channel: Quota(**units) for channel, units in found.items()}


def by_name(option: str, words: Iterable[tuple[str, str]]) -> dict[str, str]:
    """No name twice."""
    found: dict[str, str] = {}
    for name, path in words:
        if name in found:
            raise Ours(f"{option} {name}: given twice")
        found[name] = path
    return found


def stdin(stack: ExitStack, name: str) -> Source:
    """`name`: a file, or "-" for our own stdin. Whatever it is, the guest's stdin only goes on."""
    given = named_input(stack, name)
    return FileSource(given.fd, given.start) if isinstance(given, FileInput) else given


def named_input(stack: ExitStack, name: str) -> Input:
    if name == "-":
        if stat.S_ISREG(os.fstat(0).st_mode):
            # As any command would: from where the shell's descriptor stands.
            return FileInput(0, os.lseek(0, 0, os.SEEK_CUR))
        return StreamSource(_reopened(stack, 0, os.O_RDONLY))
    try:
        # Non-blocking, so that a named pipe nobody writes to is the guest's to wait for, within its wall time.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as why:
        raise Ours(f"{name}: {_strerror(why)}") from None
    stack.callback(os.close, fd)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise Ours(f"{name}: is a directory, not a file")
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        return StreamSource(fd, patient=True)
    return input_from_fd(fd)


def inputs(stack: ExitStack, given: str | None, named: dict[str, str]) -> tuple[str, Source, dict[str, Input]]:
    """The name of the guest's stdin, it, and the named inputs. Our own stdin, "-", is the guest's unless it is one of
    those, or another is given; nobody can read it twice."""
    if [given, *named.values()].count("-") > 1:
        raise Ours("- is given to two inputs, and our own stdin can only be one of them")
    if given is None:
        given = "" if "-" in named.values() else "-"
    source = stdin(stack, given) if given else EmptySource()
    return given or os.devnull, source, {name: named_input(stack, path) for name, path in named.items()}


def _strerror(why: OSError | ValueError) -> str:
    return (why.strerror or str(why)) if isinstance(why, OSError) else str(why)


def _reopened(stack: ExitStack, fd: int, flags: int) -> int:
    """The same pipe or terminal, non-blocking for us alone: the flag is shared with whoever shares the description."""
    try:
        mine = os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        # A socket cannot be opened anew. Its flag is put back at the end.
        if not os.get_blocking(fd):
            return fd
        stack.callback(os.set_blocking, fd, True)
        os.set_blocking(fd, False)
        return fd
    stack.callback(os.close, mine)
    return mine


class Target:
    """Where stdout or a named output goes: a file, or "-" for our own stdout."""

    def __init__(self, stack: ExitStack, name: str, until: float) -> None:
        """`until`: on the clock of `time.monotonic`; a named pipe's reader is waited for so long."""
        self._final: Path | None = None
        if name == "-":
            self.fd = 1 if stat.S_ISREG(os.fstat(1).st_mode) else _reopened(stack, 1, os.O_WRONLY)
            return
        check_file_name(name)
        path = Path(name)
        try:
            if path.exists() and not path.is_file():
                if path.is_dir():
                    raise IsADirectoryError(21, "is a directory, not a file")
                self.fd = opened_to_write(name, os.O_WRONLY, until)  # a device or named pipe
                make_pollable(self.fd)
            else:
                path = path.resolve()
                self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
                self.fd = self._create(name)
                stack.callback(self._temporary.unlink, missing_ok=True)
                if path.exists():
                    os.fchmod(self.fd, stat.S_IMODE(path.stat().st_mode))  # who may read it stays as it was
                self._final = path
        except (OSError, ValueError) as why:
            raise Ours(f"{name}: {_strerror(why)}") from None
        stack.callback(os.close, self.fd)

    def _create(self, name: str) -> int:
        try:
            return os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            raise Ours(f"{name}: two outputs cannot be the same file") from None

    def finish(self, outcome: Outcome) -> None:
        """What a guest that failed has written is not kept."""
        if self._final is not None and outcome.ok:
            try:
                os.replace(self._temporary, self._final)
            except OSError as why:
                raise Ours(f"{self._final}: {why.strerror}") from None


def outputs(stack: ExitStack, named: dict[str, str], until: float) -> dict[str, Target]:
    for name, path in named.items():
        if path == "-":
            raise Ours(f"--out {name}=-: stdout is the guest's stdout; name a file")
    return {name: Target(stack, path, until) for name, path in named.items()}


def opened_to_write(name: str, flags: int, until: float) -> int:
    """Its descriptor. Opening a named pipe waits for whoever reads it, but not beyond `until`. Raises OSError, Ours."""
    while True:
        try:
            return os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as why:
            if why.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(name).st_mode):
                raise
        if time.monotonic() >= until:
            raise Ours(f"{name}: nobody reads it, a named pipe, and the wall time is over")
        time.sleep(_AGAIN)


def check_file_name(name: str) -> None:
    """What ends like a directory's name means a directory, there or not."""
    if os.path.basename(name) in ("", ".", "..") and not os.path.isdir(name):
        raise Ours(f"{name}: is a directory's name, not a file's")


def check_apart(option: str, path: str | None, others: Iterable[tuple[str, str]]) -> None:
    """That a file which is written when all is over is none of the others, each with the option that names it: by
    their paths, links followed, and by what is there. Devices are never the same."""
    if path is None:
        return
    check_file_name(path)
    mine = _identity(path)
    for other, name in others:
        if mine is not None and _identity(name, own={"-i": 0, "--in": 0}.get(other.split()[0], 1)) == mine:
            raise Ours(f"{path}: {option} and {other} cannot be the same file")


def _identity(name: str, own: int = -1) -> tuple[int, int] | str | None:
    """`own`: what "-" is. None: a device, or what cannot be told."""
    try:
        status = os.fstat(own) if name == "-" and own >= 0 else os.stat(name)
    except FileNotFoundError:
        return os.path.realpath(name)
    except (OSError, ValueError):
        return None  # whoever opens it says what is wrong
    return None if stat.S_ISCHR(status.st_mode) else (status.st_dev, status.st_ino)


def stderr(stack: ExitStack) -> FdSink:
    """Ours, waited for no longer than the guest may run: a pipe that nobody empties must not hold it beyond that."""
    fd = 2 if stat.S_ISREG(os.fstat(2).st_mode) else _reopened(stack, 2, os.O_WRONLY)
    return FdSink(fd, Budget(OUTPUT_BOUNDS[1], lambda hit: GuestStop()))
