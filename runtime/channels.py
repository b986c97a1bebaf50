"""The named channels of a launch on a node: what a peer may say of them, and what a program must be given.

    {…, "inputs": ["logo", "mask"], "outputs": ["meta"]}     + descriptors: stdin, stdout, logo, mask, meta

The guest has them as /dev/in/logo, /dev/in/mask and /dev/out/meta. Names keep the one rule of the sandbox; how many
there may be is what a message can carry besides stdin and stdout. Of the descriptors themselves only the flags are
looked at: to ask a file anything would wait for its file system, which may be somebody's own and never answer.
"""

import fcntl
import os
import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

from insitu.runtime import wire
from insitu.runtime.errors import BadRequest, ProgramRejected
from insitu.sandbox.channels.named import NAME, check_name
from insitu.sandbox.errors import ChannelError

STANDARD: Final = ("stdin", "stdout")
MAX_NAMED: Final = wire.MAX_FDS - len(STANDARD)
"""Named channels of one launch, inputs and outputs together."""


@dataclass(frozen=True, slots=True)
class Named:
    """Names of inputs and outputs, each in the order of their descriptors behind stdin and stdout."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def channels(self) -> tuple[str, ...]:
        """As figures and bundles call them: "in/NAME", then "out/NAME"."""
        return (*(f"in/{name}" for name in self.inputs), *(f"out/{name}" for name in self.outputs))


NONE: Final = Named()
_FIGURED: Final = re.compile(rf"stdin|stdout|stderr|(?:in|out)/(?:{NAME.pattern})")


def can_have_figures(channels: Collection[str]) -> bool:
    """Whether these are the names and the number of channels that one launch may have."""
    return len(channels) <= len(STANDARD) + 1 + MAX_NAMED and all(
        isinstance(name, str) and _FIGURED.fullmatch(name) for name in channels
    )


class Declares(Protocol):
    """A program that says what it must be given."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...


def named(message: wire.Message, fds: Sequence[int]) -> Named:
    """What a launch brings besides stdin and stdout. Raises `BadRequest` naming what is wrong with it."""
    found = NONE
    if "inputs" in message or "outputs" in message:
        inputs, outputs = _words(message, "inputs"), _words(message, "outputs")
        if (count := len(inputs) + len(outputs)) > MAX_NAMED:
            raise BadRequest(f"{count} named channels, and a launch on a node has {MAX_NAMED} at most")
        found = _checked(inputs, outputs)
    names = found.channels()
    if len(fds) != len(STANDARD) + len(names):
        channels = (*STANDARD, *names)
        what = " and ".join(channels) if found is NONE else ", ".join(channels)
        raise BadRequest(f"{len(fds)} descriptors came with the launch, and it takes {len(channels)}: {what}")
    for channel, fd in zip(names, fds[len(STANDARD) :], strict=True):
        _check_flags(channel, fcntl.fcntl(fd, fcntl.F_GETFL))
    return found


def check_count(program: Declares) -> None:
    """That a launch could have as many. Raises `ProgramRejected`."""
    if (count := len(program.inputs) + len(program.outputs)) > MAX_NAMED:
        raise ProgramRejected(
            f"program {program.name} declares {count} named channels, and a launch on a node has {MAX_NAMED} at most"
        )


def check_given(program: Declares, given: Named) -> None:
    """That it gets all that it declares; what it does not declare it may have as well, as with `insitu run`. Raises
    `BadRequest` naming all that is missing, `ProgramRejected` where no launch could have as many."""
    check_count(program)
    missing = [
        f"{way} {name}"
        for way, declared, there in (
            ("input", program.inputs, given.inputs),
            ("output", program.outputs, given.outputs),
        )
        for name in declared
        if name not in there
    ]
    if missing:
        raise BadRequest(
            f"program {program.name} needs named channels that the launch has not got: {', '.join(missing)}"
        )


def check_places(given: Named, fds: Sequence[int]) -> None:
    """Of a frozen launch: that its named inputs can be read at any place, as far as that can be told without asking
    a file; a worker finds the rest (devices). Raises `BadRequest`."""
    for name, fd in zip(given.inputs, fds[len(STANDARD) :], strict=False):
        if (kind := _stream(fd)) is not None:
            raise BadRequest(
                f"channel in/{name}: its descriptor is a {kind}, and in a frozen launch a named input must be a "
                "regular file (or a memfd): what only goes on could not be read at any place"
            )


def _stream(fd: int) -> str | None:
    """What it is if it is one of those that everybody has; neither question waits for anybody."""
    try:
        fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        pass
    else:
        return "pipe"
    try:
        socket.socket(fileno=fd).detach()
    except OSError:
        return None
    return "socket"


def _words(message: wire.Message, way: str) -> tuple[str, ...]:
    given: Any = message.get(way, [])
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise BadRequest(f"{way}: not a list of strings")
    return tuple(given)


@lru_cache(256)  # one hook names the same ones in every launch
def _checked(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Named:
    """Raises `BadRequest`, each time anew."""
    _check_names(inputs, "inputs")
    _check_names(outputs, "outputs")
    return Named(inputs, outputs)


def _check_names(given: tuple[str, ...], way: str) -> None:
    known = set[str]()
    for name in given:
        try:
            check_name(name)
        except ChannelError as why:
            raise BadRequest(f"{way}: {why}") from None
        if name in known:
            raise BadRequest(f"{way}: {name} is there twice")
        known.add(name)


def _check_flags(channel: str, flags: int) -> None:
    mode = flags & os.O_ACCMODE
    if flags & os.O_PATH:
        raise BadRequest(f"channel {channel}: its descriptor is only a path's (O_PATH)")
    if channel.startswith("in/") and mode == os.O_WRONLY:
        raise BadRequest(f"channel {channel}: its descriptor cannot be read")
    if channel.startswith("out/"):
        if mode == os.O_RDONLY:
            raise BadRequest(f"channel {channel}: its descriptor cannot be written")
        if flags & os.O_APPEND:
            # The kernel would put every byte at the end, wherever the guest wrote it.
            raise BadRequest(f"channel {channel}: its descriptor appends (O_APPEND), and an output is written anywhere")
