"""What an account's owner has said about programs: policies, kept where no client can write.

    header of the container          kept as X-Container-Sysmeta-Insitu-Run-…
    X-Container-Run-On-Read          PROGRAM [ARG…]: what a plain GET of an object there answers
    X-Container-Run-On-Read-Suffix   .jpg, .png: only of objects named so, in any case
    X-Container-Run-On-Read-Type     image/*, text/plain: only of objects of these types; both may be given
    X-Container-Run-On-Write         PROGRAM [ARG…]: what becomes of what is written there; …-Suffix and …-Type likewise
    X-Container-Run-Allow            run requests, comma-separated, that whoever may read may run, also without a name
    X-Container-Run-Read             an ACL: who may read results of the named programs, though not the objects
    X-Container-Run-Derived          on, off: keep the results of all launches, not only of frozen ones
    X-Container-Run-Cache-Control    the Cache-Control of results
    X-Container-Programs             on, off: what is written there must be a program

    X-Account-Runs                   on, off: whether programs run in this account at all
    X-Account-Run-Derived-Bytes      500MiB: most that its derived objects may take
    X-Account-Run-Derived-Age        24h: how long they are kept

They come with what Swift caches of every container and account, so a request without a policy pays two look-ups. A
proxy whose cache is shared with the one that took the change follows at once, any other when its entry lapses (60 s).

What cannot be read (another version of insitu wrote it, or no container server answers) is never taken for nothing:
the policy may be what keeps the plain object from the caller.
"""

import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from swift.common.constraints import MAX_ACCOUNT_NAME_LENGTH, check_utf8, valid_api_version
from swift.common.middleware.acl import clean_acl
from swift.common.swob import wsgi_to_str
from swift.common.utils import config_true_value, split_path
from swift.proxy.controllers.base import get_account_info, get_container_info

from insitu.runtime.grammar import GrammarError, RunRequest, parse_run
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import parse_duration, parse_size
from insitu.storage_hooks.inside import Environ

SYSMETA: Final = "insitu-"
MAX_BYTES: Final = 4096
"""Of one header's value: the storage servers' own headers have room for twice that."""


class PolicyError(Exception):
    """What the owner has said cannot be known, so nothing may be answered. The message says why."""


class NeedType(Enum):
    """Whether a policy holds for an object depends on its content type."""

    NEED_TYPE = "the object's content type"


NEED_TYPE: Final = NeedType.NEED_TYPE


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of X-Container-Run-Allow."""

    request: RunRequest
    any_args: bool = False
    """It ended in `*`: further arguments are the caller's, but no inputs."""

    def admits(self, request: RunRequest) -> bool:
        named = self.request
        if not self.any_args:
            return request == named
        return replace(request, args=request.args[: len(named.args)]) == named


@dataclass(frozen=True, slots=True)
class Policy:
    """A container's."""

    on_read: RunRequest | None = None
    on_read_suffixes: tuple[str, ...] = ()
    """In lower case; empty for any."""
    on_read_types: tuple[str, ...] = ()
    """`image/png` or `image/`, for all of its subtypes, in lower case; empty for any."""
    on_write: RunRequest | None = None
    on_write_suffixes: tuple[str, ...] = ()
    on_write_types: tuple[str, ...] = ()
    allow: tuple[Allowed, ...] = ()
    run_read: str | None = None
    derived: bool = False
    cache_control: str | None = None
    programs: bool = False
    read_acl: str | None = None
    """X-Container-Read; told only beside `run_read`."""

    def for_read(self, name: str, content_type: str | None = None) -> RunRequest | NeedType | None:
        """What a plain read of the object `name` (text) runs. `NEED_TYPE`: say its content type and ask again."""
        return _applies(self.on_read, self.on_read_suffixes, self.on_read_types, name, content_type)

    def for_write(self, name: str, content_type: str | None = None) -> RunRequest | NeedType | None:
        """What is run on what is written to the object `name`, likewise (see `type_of_put`)."""
        return _applies(self.on_write, self.on_write_suffixes, self.on_write_types, name, content_type)


@dataclass(frozen=True, slots=True)
class AccountPolicy:
    """An account's."""

    runs: bool = True
    derived_bytes: int | None = None
    derived_age: float | None = None
    """Seconds."""


NONE: Final = Policy()
ACCOUNT_NONE: Final = AccountPolicy()


@dataclass(frozen=True, slots=True)
class Field:
    """One header, the name under which it is kept, and what its value means."""

    header: str
    name: str
    parse: Callable[[str], Any]
    """Raises ValueError (GrammarError, LimitsError) saying what is wrong."""

    @property
    def key(self) -> str:
        """As `get_container_info` calls it."""
        return SYSMETA + self.header.split("-", 2)[2].lower()


def container_policy(environ: Environ, app: Any) -> Policy:
    """Of the container in the request's path. `NONE` also for one that does not exist. Raises `PolicyError`."""
    info = get_container_info(environ, app, swift_source="INSITU")
    status = info["status"]
    if not 200 <= status < 300 and status not in (404, 410):
        _check_missing(environ, app)
    sysmeta = info["sysmeta"]
    if not sysmeta:
        return NONE
    return _container(tuple(map(sysmeta.get, _CONTAINER_KEYS)), info["read_acl"])


def account_policy(environ: Environ, app: Any) -> AccountPolicy:
    """Of the account in the request's path. Raises `PolicyError`."""
    info = get_account_info(environ, app, swift_source="INSITU")
    if not 200 <= info["status"] < 300 and info["status"] not in (404, 410):
        raise PolicyError("no server tells what this account's owner has said about programs")
    sysmeta = info["sysmeta"]
    return _account(tuple(map(sysmeta.get, _ACCOUNT_KEYS))) if sysmeta else ACCOUNT_NONE


def type_of_put(environ: Environ) -> str:
    """The content type that Swift will store with what a PUT brings."""
    given: str = environ.get("CONTENT_TYPE") or ""
    if given and not config_true_value(environ.get("HTTP_X_DETECT_CONTENT_TYPE", "")):
        return given
    return mimetypes.guess_type(environ["PATH_INFO"])[0] or "application/octet-stream"


def _check_missing(environ: Environ, app: Any) -> None:
    """Swift tells no status of a container whose account is missing, nor of one that it can have none of."""
    version, account, container, _ = split_path(environ["PATH_INFO"], 3, 4, True)
    if not valid_api_version(version) or len(account) > MAX_ACCOUNT_NAME_LENGTH:
        return
    if not check_utf8(wsgi_to_str(account), internal=True) or not check_utf8(wsgi_to_str(container), internal=True):
        return
    if get_account_info(environ, app)["status"] not in (404, 410):
        raise PolicyError("no server tells what this container's owner has said about programs")


def _applies(
    request: RunRequest | None, suffixes: tuple[str, ...], types: tuple[str, ...], name: str, content_type: str | None
) -> RunRequest | NeedType | None:
    if request is None or (suffixes and not name.lower().endswith(suffixes)):
        return None
    if not types:
        return request
    if content_type is None:
        return NEED_TYPE
    plain = content_type.partition(";")[0].strip().lower()
    return request if any(plain == one or (one[-1] == "/" and plain.startswith(one)) for one in types) else None


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it holds a control character, or is not UTF-8")
    return value


def _items(value: str) -> list[str]:
    items = [item.strip() for item in _text(value).split(",")]
    if "" in items:
        raise ValueError(f"item {items.index('') + 1} of the list is empty")
    return items


def parse_suffixes(value: str) -> tuple[str, ...]:
    """`.jpg, .png`. Raises ValueError."""
    return tuple(item.lower() for item in _items(value))


_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(\*|[a-z0-9!#$&^_.+-]+)")


def parse_types(value: str) -> tuple[str, ...]:
    """`image/*, text/plain`. Raises ValueError."""
    found = []
    for item in _items(value.lower()):
        if _TYPE.fullmatch(item) is None:
            raise ValueError(f"{item[:80]!r} is no content type; one is written image/png, or image/* for all of them")
        found.append(item.removesuffix("*"))
    return tuple(found)


def parse_allow(value: str) -> tuple[Allowed, ...]:
    """`thumbnail *, redact --names` (a comma in an argument is written %2C). Raises ValueError."""
    return tuple(_allowed(item) for item in _items(value))


def _allowed(item: str) -> Allowed:
    *before, last = item.rsplit(None, 1)
    if before and last == "*":
        return Allowed(parse_run(before[0]), any_args=True)
    return Allowed(parse_run(item))


def parse_switch(value: str) -> bool:
    if value.lower() not in ("on", "off"):
        raise ValueError(f"{value[:80]!r} is neither on nor off")
    return value.lower() == "on"


def parse_acl(value: str) -> str:
    cleaned: str = clean_acl("X-Container-Run-Read", _text(value))
    return cleaned


def _cache_control(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("it holds what no header may")
    return value


def _age(value: str) -> float:
    seconds = parse_duration(value)
    if not 1 <= seconds <= _AGE_MAX:
        raise ValueError(f"{value[:80]!r} is not between a second and ten years")
    return seconds


_AGE_MAX: Final = 10 * 365 * 24 * 3600.0
_C: Final = "X-Container-"
CONTAINER_FIELDS: Final = (
    Field(_C + "Run-On-Read", "on_read", parse_run),
    Field(_C + "Run-On-Read-Suffix", "on_read_suffixes", parse_suffixes),
    Field(_C + "Run-On-Read-Type", "on_read_types", parse_types),
    Field(_C + "Run-On-Write", "on_write", parse_run),
    Field(_C + "Run-On-Write-Suffix", "on_write_suffixes", parse_suffixes),
    Field(_C + "Run-On-Write-Type", "on_write_types", parse_types),
    Field(_C + "Run-Allow", "allow", parse_allow),
    Field(_C + "Run-Read", "run_read", parse_acl),
    Field(_C + "Run-Derived", "derived", parse_switch),
    Field(_C + "Run-Cache-Control", "cache_control", _cache_control),
    Field(_C + "Programs", "programs", parse_switch),
)
ACCOUNT_FIELDS: Final = (
    Field("X-Account-Runs", "runs", parse_switch),
    Field("X-Account-Run-Derived-Bytes", "derived_bytes", parse_size),
    Field("X-Account-Run-Derived-Age", "derived_age", _age),
)
_CONTAINER_KEYS: Final = tuple(field.key for field in CONTAINER_FIELDS)
_ACCOUNT_KEYS: Final = tuple(field.key for field in ACCOUNT_FIELDS)


# Values repeat: the containers that have a policy are few, and each is read often. An error is not kept.
@lru_cache(maxsize=1024)
def _container(values: tuple[str | None, ...], read_acl: str | None) -> Policy:
    found = _parsed(CONTAINER_FIELDS, values)
    if not found:
        return NONE
    return Policy(**found, read_acl=read_acl if "run_read" in found else None)


@lru_cache(maxsize=1024)
def _account(values: tuple[str | None, ...]) -> AccountPolicy:
    found = _parsed(ACCOUNT_FIELDS, values)
    return AccountPolicy(**found) if found else ACCOUNT_NONE


def _parsed(fields: tuple[Field, ...], values: tuple[str | None, ...]) -> Mapping[str, Any]:
    found = {}
    for field, value in zip(fields, values, strict=True):
        if value:
            try:
                found[field.name] = field.parse(value)
            except (GrammarError, LimitsError, ValueError) as why:
                raise PolicyError(
                    f"{field.header} was set to what this proxy cannot read ({why}); its owner can set it again"
                ) from None
    return found
