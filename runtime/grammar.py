"""The words of a run request, one grammar for hooks, jobs and the command line.

    X-Run: NAME [ARG…]              at most 4 KiB
    X-Run: NAME@VERSION …           that version of it
    X-Run: sha256:<64 hex> …        exactly these bytes
    X-Run: /CONTAINER/OBJECT …      an object of the same account is the program

    …@sha256:<64 hex> …             the pin, behind a name, version or path: only if it has this digest
    … in.NAME=/CONTAINER/OBJECT …   one more input of the program, its channel NAME: an object of the same account

The value is split into words as a POSIX shell would (white space, '…', "…", backslash; nothing is expanded), then
each word is percent-decoded to UTF-8. So a plain word needs no care, and a word with any character at all can be
written with the ASCII that an HTTP header allows:  --text %E2%82%AC%2050  or  --text "%E2%82%AC 50".
A literal per cent sign is %25.

What a word means is seen before it is decoded: an argument that looks like an input is written %69n.NAME=/…, and an
object's name that ends as a pin does is written with %40.
"""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

MAX_BYTES = 4096
MAX_INPUTS: Final = 12
"""Inputs that one request can name. A launch on a node has few channels, and each input is a request to the storage."""

Inputs = tuple[tuple[str, str], ...]
"""Channels and the paths of what they hold."""

_CONTAINER_BYTES: Final = 256
_OBJECT_BYTES: Final = 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_PROGRAM = re.compile(rf"{_NAME.pattern}(?::[0-9a-f]{{64}}|@{_VERSION.pattern})?")
_PIN = "@sha256:"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INPUT = re.compile(r"in\.([^=/]*)=(?=/)")
_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class GrammarError(ValueError):
    """The value is no run request; the message says what is wrong, where, and what is allowed."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is to run, on what besides the object itself."""

    program: str
    """`NAME`, `NAME@VERSION`, `sha256:…` or `/CONTAINER/OBJECT`."""
    args: tuple[str, ...] = ()
    """The program's own name not among them."""
    inputs: Inputs = ()
    """In the order in which they were named; no channel twice."""
    digest: str = ""
    """The pin, `sha256:…`: the program must have this digest. Empty for none, and where `program` is a digest."""


def parse_run(value: str) -> RunRequest:
    """Parse a run request. Raises `GrammarError`."""
    first, *rest = _words(value)
    named, digest = _unpin(first)
    program = _decode(named, 1)
    if is_path(program):
        check_path(program, "the program")
    else:
        check_name(program)
        if digest and program.startswith("sha256:"):
            raise GrammarError("run request: the program is a digest already; it has no pin")
    args: list[str] = []
    inputs: dict[str, str] = {}
    for at, word in enumerate(rest, 2):
        if (match := _INPUT.match(word)) is None:
            args.append(_decode(word, at))
            continue
        channel = _decode(match[1], at)
        if channel in inputs:
            raise GrammarError(f"run request: input {channel} is given twice")
        path = _decode(word[match.end() :], at)
        _check_input(channel, path)
        inputs[channel] = path
    if len(inputs) > MAX_INPUTS:
        raise GrammarError(f"run request: {len(inputs)} inputs, and at most {MAX_INPUTS} are allowed")
    return RunRequest(program, tuple(args), tuple(inputs.items()), digest)


def _check_input(channel: str, path: str) -> None:
    if _CHANNEL.fullmatch(channel) is None:
        raise GrammarError(
            f"run request: {channel[:80]!r} is no name of a channel: letters, digits, '.', '_' and '-', at most 64, a "
            "letter or digit first; an argument that begins in.…=/ is written %69n.…=/"
        )
    check_path(path, f"input {channel}")


def _words(value: str) -> list[str]:
    """One or more, as they stand there."""
    try:
        size = len(value.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as why:
        raise GrammarError(f"run request: position {why.start} is no character that UTF-8 has") from None
    if size > MAX_BYTES:
        raise GrammarError(f"run request: {size} bytes, and at most {MAX_BYTES} are allowed")
    if bad := _CONTROL.search(value):
        raise GrammarError(f"run request: control character {bad[0]!r} at position {bad.start()}; percent-encode it")
    try:
        words = shlex.split(value, comments=False, posix=True)
    except ValueError as why:
        raise GrammarError(f"run request: {str(why).lower()}; quote as in a shell, or percent-encode") from None
    if not words:
        raise GrammarError("run request: empty; it is NAME [ARG…]")
    return words


def _unpin(word: str) -> tuple[str, str]:
    """The program's word without its pin, and the pin."""
    if _PIN not in word:
        return word, ""
    named, _, digest = word.rpartition("@")
    if _DIGEST.fullmatch(digest) is None:
        raise GrammarError(
            f"run request: {word[-80:]!r} ends in no digest: a pin is @sha256: and 64 hexadecimal digits in lower "
            "case; an '@' of an object's name is written %40"
        )
    return named, digest


def is_path(program: str) -> bool:
    """Whether the program is an object of the account, `/CONTAINER/OBJECT`."""
    return program.startswith("/")


def split_path(path: str) -> tuple[str, str]:
    """`/CONTAINER/OBJECT` → container and object."""
    _, container, name = path.split("/", 2)
    return container, name


def check_path(path: str, what: str = "the path") -> None:
    """`/CONTAINER/OBJECT` by Swift's own rules for names. Raises `GrammarError`, which calls it `what`."""
    if "\0" in path:
        raise GrammarError(f"run request: {what} holds a NUL, which no object's name can")
    slash, _, both = path.partition("/")
    container, _, name = both.partition("/")
    if slash or not container or not name:
        raise GrammarError(f"run request: {what}, {path[:80]!r}, names no object; one is named /CONTAINER/OBJECT")
    for part, text, most in (("container", container, _CONTAINER_BYTES), ("object", name, _OBJECT_BYTES)):
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise GrammarError(f"run request: {what}, {path[:80]!r}, is not UTF-8") from None
        if size > most:
            raise GrammarError(
                f"run request: {what}: the {part}'s name has {size} bytes, and at most {most} are allowed"
            )


def check_name(name: str) -> None:
    """What names a program: letters, digits, `.`, `_`, `-`, then perhaps `@VERSION`; or a digest `sha256:…`.

    Raises `GrammarError`.
    """
    if _PROGRAM.fullmatch(name) is None:
        raise GrammarError(
            f"run request: {name[:80]!r} is no program's name; allowed are up to 128 letters, digits, '.', '_' and '-' "
            "beginning with a letter or digit, with @ and a version behind them or not, "
            "or sha256: and 64 hexadecimal digits; an object is named /CONTAINER/OBJECT"
        )
    if ":" in name and not name.startswith("sha256:"):
        raise GrammarError(f"run request: {name[:80]!r} names a digest other than sha256")


def is_name(text: str) -> bool:
    """Whether a program can be called so: no version, no digest."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def _decode(word: str, at: int) -> str:
    if stray := _STRAY_PERCENT.search(word):
        raise GrammarError(
            f"run request: word {at} has a '%' at position {stray.start()} that two hexadecimal digits do not "
            "follow; a literal per cent sign is %25"
        )
    try:
        # A hook hands over the header's bytes as UTF-8 with surrogateescape, so bytes that are no UTF-8 end here.
        raw = unquote_to_bytes(word.encode("utf-8", "surrogateescape"))
        text = raw.decode("utf-8")
    except UnicodeError:
        raise GrammarError(f"run request: word {at} is not UTF-8 once percent-decoded") from None
    if "\0" in text:
        raise GrammarError(f"run request: word {at} holds a NUL, which no argument can")
    return text


def format_run(program: str, args: Iterable[str] = (), inputs: Iterable[tuple[str, str]] = (), digest: str = "") -> str:
    """The inverse of `parse_run`: an ASCII value for the header. Raises `GrammarError` where that cannot be."""
    wanted = RunRequest(program, tuple(args), tuple(inputs), digest)
    if is_path(program):
        check_path(program, "the program")
    else:
        check_name(program)
    for channel, path in wanted.inputs:
        _check_input(channel, path)
    if digest and _DIGEST.fullmatch(digest) is None:
        raise GrammarError(f"run request: {digest[:80]!r} is no pin; one is sha256: and 64 hexadecimal digits")
    try:
        words = [_quote(program)]
        if is_path(program) and _PIN in words[0]:
            words[0] = words[0].replace("@", "%40")
        if digest:
            words[0] += f"@{digest}"
        words += [f"in.{_quote(channel)}={_quote(path)}" for channel, path in wanted.inputs]
        words += [_quote(word) or '""' for word in wanted.args]
    except UnicodeEncodeError as why:
        raise GrammarError(f"run request: {why.object[:80]!a} is not UTF-8") from None
    first_argument = 1 + len(wanted.inputs)
    for at in range(first_argument, len(words)):
        if _INPUT.match(words[at]):
            words[at] = "%69" + words[at][1:]
    value = " ".join(words)
    parse_run(value)
    return value


def _quote(word: str) -> str:
    return quote(word, safe="-._~/:=,+@#")
