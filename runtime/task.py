"""A launch on its way through the node, and the checks that a peer's words pass before they are one."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from insitu.runtime import wire
from insitu.runtime.bundles.asked import NO_MOST, check_within, granted
from insitu.runtime.channels import NONE, Named, check_given, check_places, named
from insitu.runtime.errors import BadRequest
from insitu.runtime.form import form_of
from insitu.runtime.grammar import MAX_BYTES, GrammarError, check_name
from insitu.runtime.keep import Held
from insitu.runtime.loop import Timer
from insitu.runtime.peer import Peer
from insitu.runtime.programs import ProgramInfo, ProgramStore
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome

MAX_ENV: Final = 64 << 10
MAX_TEXT: Final = 4096  # a thousand records of such texts are kept
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_TEXT: Final = ("program", "tenant", "request_id", "object")


@dataclass(slots=True, eq=False)
class Task:
    """A launch on its way through the node."""

    id: str
    peer: Peer
    info: ProgramInfo
    args: tuple[str, ...]
    tenant: str
    request_id: str
    object: str
    limits: Limits
    env: dict[str, str]
    fds: list[int]
    started: float
    begun: int
    named: Named = NONE
    md5: str = ""
    """What stdin has, if it is undamaged; empty: nobody knows."""
    isolation: str = "process"
    figures: bool = True
    """Whether its record has those of every channel, if it has named ones or is frozen."""
    frozen: bool = False
    accepted: bool = False
    worker: int | None = None
    pid: int = 0
    timer: Timer | None = None
    slot: int = 0
    """Its place among the launches under way (see `journal`), once it is accepted."""
    looks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """How its inputs looked before it began, where it may have to be kept."""
    held: Held | None = None
    """What it was given, while it may have to be kept."""
    unread: bool = False
    """Frozen, and whoever read what it wrote went away."""
    killed: Outcome | None = None
    """Why the node killed its worker, if it did."""

    @property
    def form(self) -> str:
        """What its workers must have loaded."""
        return form_of(self.info.digest, frozen=self.frozen)

    @property
    def memory(self) -> int:
        return self.limits.memory


def parse(
    peer: Peer,
    message: wire.Message,
    fds: list[int],
    store: ProgramStore,
    started: float,
    begun: int,
    most: Mapping[str, Any] = NO_MOST,
    most_of: Callable[[str], Mapping[str, Any]] = lambda _: NO_MOST,
) -> Task:
    """A peer's launch. `most`: the operator's maximum of its limits; `most_of`: of what a
    tenant's gets that asks for nothing.

    Raises `BadRequest` naming what is wrong with it, `UnknownProgram`, `ProgramRejected`.
    """
    for name in _TEXT:
        text(message, name)
    args, env, limits = message.get("args"), message.get("env"), message.get("limits")
    if not isinstance(args, list) or not all(_is_word(word) for word in args):
        raise BadRequest("args: not a list of strings without NUL")
    if not isinstance(env, dict) or not all(_is_word(word) for pair in env.items() for word in pair):
        raise BadRequest("env: not a map of strings without NUL")
    if sum(len(word.encode()) + 1 for word in args) > MAX_BYTES:
        raise BadRequest(f"args: over {MAX_BYTES} bytes")
    if sum(len(k.encode()) + len(v.encode()) + 2 for k, v in env.items()) > MAX_ENV:
        raise BadRequest(f"env: over {MAX_ENV} bytes")
    if not isinstance(limits, dict):
        raise BadRequest("limits: not a map")
    for name in ("frozen", "figures"):
        if not isinstance(message.get(name, False), bool):
            raise BadRequest(f"{name}: {repr(message[name])[:200]} is neither true nor false")
    channels = named(message, fds)
    name = program(message)
    try:
        found = Limits.from_wire(limits)
    except LimitsError as why:
        raise BadRequest(str(why)) from None
    check_within(found, most)
    info = store.find(name)
    check_given(info, channels)
    frozen = info.frozen or message.get("frozen", False)
    if frozen:
        check_places(channels, fds)
    return Task(
        id=secrets.token_hex(16),
        peer=peer,
        info=info,
        args=tuple(args) or info.arguments,
        tenant=message["tenant"],
        request_id=message["request_id"],
        object=message["object"],
        limits=granted(info.limits, found, most_of(message["tenant"])),
        env=env,
        fds=fds,
        started=started,
        begun=begun,
        named=channels,
        md5=_md5(message.get("md5", "")),
        figures=message.get("figures", True),
        frozen=frozen,
    )


def _md5(given: object) -> str:
    if given == "":
        return ""
    if not isinstance(given, str) or not _MD5.fullmatch(given):
        raise BadRequest(f"md5: {repr(given)[:200]} is not 32 hexadecimal digits, lower case")
    return given


def program(message: wire.Message) -> str:
    """The name or digest of one that a request is about. Raises `BadRequest`."""
    name = text(message, "program")
    try:
        check_name(name)
    except GrammarError as why:
        raise BadRequest(str(why)) from None
    return name


def text(message: wire.Message, name: str) -> str:
    """One of a request's words. Raises `BadRequest`."""
    given = message.get(name)
    if not isinstance(given, str):
        raise BadRequest(f"{name}: {repr(given)[:200]} is not a string")
    if len(given.encode()) > MAX_TEXT:
        raise BadRequest(f"{name}: over {MAX_TEXT} bytes")
    return given


def _is_word(given: object) -> bool:
    return isinstance(given, str) and "\0" not in given
