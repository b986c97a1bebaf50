"""The words of a run request, one grammar for hooks, jobs and the command line.

    X-Run: NAME [ARG…]          at most 4 KiB
    X-Run: NAME@VERSION …       that version of it
    X-Run: sha256:<64 hex> …    exactly these bytes

The value is split into words as a POSIX shell would (white space, '…', "…", backslash; nothing is expanded), then
each word is percent-decoded to UTF-8. So a plain word needs no care, and a word with any character at all can be
written with the ASCII that an HTTP header allows:  --text %E2%82%AC%2050  or  --text "%E2%82%AC 50".
A literal per cent sign is %25.
"""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

MAX_BYTES = 4096

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_PROGRAM = re.compile(rf"{_NAME.pattern}(?::[0-9a-f]{{64}}|@{_VERSION.pattern})?")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class GrammarError(ValueError):
    """The value is no run request; the message says what is wrong, where, and what is allowed."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A program (`NAME`, `NAME@VERSION` or `sha256:…`) and its arguments, the program's own name not among them."""

    program: str
    args: tuple[str, ...] = ()


def parse_run(value: str) -> RunRequest:
    """Parse the value of `X-Run`. Raises `GrammarError`."""
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
    program, *args = (_decode(word, at) for at, word in enumerate(words))
    check_name(program)
    return RunRequest(program, tuple(args))


def check_name(name: str) -> None:
    """What names a program: letters, digits, `.`, `_`, `-`, then perhaps `@VERSION`; or a digest `sha256:…`.

    Raises `GrammarError`.
    """
    if _PROGRAM.fullmatch(name) is None:
        raise GrammarError(
            f"run request: {name[:80]!r} is no program's name; allowed are up to 128 letters, digits, '.', '_' and '-' "
            "beginning with a letter or digit, with @ and a version behind them or not, "
            "or sha256: and 64 hexadecimal digits"
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
            f"run request: word {at + 1} has a '%' at position {stray.start()} that two hexadecimal digits do not "
            "follow; a literal per cent sign is %25"
        )
    try:
        # A hook hands over the header's bytes as UTF-8 with surrogateescape, so bytes that are no UTF-8 end here.
        raw = unquote_to_bytes(word.encode("utf-8", "surrogateescape"))
        text = raw.decode("utf-8")
    except UnicodeError:
        raise GrammarError(f"run request: word {at + 1} is not UTF-8 once percent-decoded") from None
    if "\0" in text:
        raise GrammarError(f"run request: word {at + 1} holds a NUL, which no argument can")
    return text


def format_run(program: str, args: Iterable[str] = ()) -> str:
    """The inverse of `parse_run`: an ASCII value for the header. Raises `GrammarError` if it would not parse."""
    try:
        value = " ".join(quote(word, safe="-._~/:=,+@#") or '""' for word in (program, *args))
    except UnicodeEncodeError as why:
        raise GrammarError(f"run request: {why.object[:80]!r} is not UTF-8") from None
    parse_run(value)
    return value
