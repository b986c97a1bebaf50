"""A node's settings: what there is, what may stand there, and how `node.toml` is read.

    workers = 16                        settings of the node, by the names of `Settings`' fields
    [limits]                            the most that any launch is granted, by the names of `sandbox.limits.Limits`
    [tenants]                           limits of every tenant, by the names of `TenantLimits`' fields
    [tenant."AUTH_x"]                   what is otherwise for one

A field's type says how it is written: `Size` and `Seconds` are numbers or words with a unit ("512MiB", "1min"), and
where None is possible "none" is written for it. Every setting has a line in docs/node.md; a test sees to that. An
option of `insitu node` wins over the file, the file over what stands here.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from insitu.runtime.cache import CACHE_BYTES
from insitu.runtime.errors import BadRequest
from insitu.runtime.journal.journal import DAYS
from insitu.runtime.keep import BYTES_MOST
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import GIB, KIB, Limits, in_figures, parse_duration, parse_size

ISOLATIONS: Final = ("shared", "process")
"""From the laxest to the strictest."""


class SettingsError(Exception):
    """A setting is unknown, of another kind, or contradicts another; the message names it and what is allowed."""


@dataclass(frozen=True, slots=True)
class Count:
    least: int = 0
    most: int = 1 << 31


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes."""

    least: int = 0
    most: int = 1 << 50


@dataclass(frozen=True, slots=True)
class Seconds:
    least: float = 0.0
    most: float = 1e9


@dataclass(frozen=True, slots=True)
class Choice:
    of: tuple[str, ...]


Kind = Count | Size | Seconds | Choice


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What one tenant may have of a node. What is over `queued`, or begins while the CPU of a minute is used up, is
    refused; what is over `running` or `memory` waits."""

    running: Annotated[int, Count(0, 4096)] = 0
    """Launches that run at once; 0 for three quarters of `workers`, so that no tenant can hold all of them."""
    queued: Annotated[int, Count(0, 100_000)] = 0
    """Launches that wait; 0 for half of `queue`."""
    memory: Annotated[int | None, Size(64 * KIB)] = None
    """Bytes that the memory limits of its running launches may come to together."""
    cpu_per_minute: Annotated[float | None, Seconds(0.001)] = None
    """CPU seconds a minute, saved up for at most a minute. What a launch used is known at its end: until then a tenant
    can be over, and has to wait the longer for it."""
    stderr: Annotated[int, Size(2, 64 * KIB)] = 16 * KIB
    """Bytes of what a launch writes to stderr that its record keeps: half from its beginning, half from its end."""


def _workers() -> int:
    return max(8, 4 * (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class Settings:
    """How a node is set up. Raises `SettingsError` for values that are none or contradict each other."""

    socket: str
    cache: str
    cache_bytes: Annotated[int, Size()] = CACHE_BYTES
    """Bytes that the cache may take; what was used longest ago goes first."""
    name: str = field(default_factory=lambda: os.uname().nodename)
    programs: tuple[str, ...] = ()
    isolation: Annotated[str, Choice(ISOLATIONS)] = "process"
    """`process`: a worker serves one launch and ends. `shared`: many, all of one tenant. A launch may ask for more."""
    workers: Annotated[int, Count(1, 4096)] = field(default_factory=_workers)
    """Workers alive at once, and so launches that run at once."""
    spares_min: Annotated[int, Count(0, 4096)] = 2
    """Of them, kept ready for whoever comes, at the least."""
    spares_max: Annotated[int, Count(0, 4096)] = 8
    """And at the most: there are as many as demand has lately asked for."""
    queue: Annotated[int, Count(1, 100_000)] = 512
    """Launches that may wait for a worker; one more is refused as busy."""
    queue_seconds: Annotated[float, Seconds(0.01, 3600)] = 30.0
    """How long a launch may wait for one."""
    launches: Annotated[int, Count(1)] = 1000
    """Isolation `shared`: launches after which a worker is replaced."""
    loaded_bytes: Annotated[int, Size()] = GIB
    """Bytes of machine code of the programs that are kept loaded, the latest used; one may be larger by itself."""
    records: Annotated[int, Count(0, 1_000_000)] = 1000
    """Latest records kept, in memory."""
    journal: str = ""
    """File of the usage records; empty: in the state directory, under the node's name (see `journal.places`)."""
    journal_days: Annotated[int, Count(1, 36500)] = DAYS
    """Days after which a usage record is deleted."""
    keep_failed: str = ""
    """Directory for bundles of failed launches; none are kept when it is empty."""
    keep_failed_size: Annotated[int, Size()] = BYTES_MOST
    """Bytes that they may take all together."""
    user: str = ""
    """User that workers run as, by name or number, if the node is started as root; empty: `nobody`."""
    strict: bool = False
    """Do not start where a measure of confinement is missing (`insitu node --check` says which)."""
    allow_uid: tuple[str, ...] = ()
    """Users, by name or number, who may speak to the node besides its own and root."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """The most that any launch and any program is granted, by the names of `Limits`; what is not there has no maximum
    (see `bundles.asked`)."""
    tenants: TenantLimits = field(default_factory=TenantLimits)
    """Of every tenant."""
    tenant: Mapping[str, TenantLimits] = field(default_factory=dict)
    """Of some."""

    def __post_init__(self) -> None:
        _hold(self)
        try:
            Limits.from_wire(self.limits)
        except LimitsError as why:
            raise SettingsError(f"limits: {why}") from None
        for name, limits in (("tenants", self.tenants), *((f'tenant."{n}"', t) for n, t in self.tenant.items())):
            _hold(limits, f"{name}.")
        for what in ("socket", "cache"):
            if not getattr(self, what):
                raise SettingsError(f"{what}: empty, and it has to be a path")
        if not 0 < len(self.name) <= 255 or not self.name.isprintable():
            raise SettingsError(f"name: {self.name[:80]!r} is not 1 to 255 printable characters")
        if self.spares_min > self.spares_max:
            raise SettingsError(f"spares_min {self.spares_min} is above spares_max {self.spares_max}")

    def of_tenant(self, name: str) -> TenantLimits:
        """What holds for a tenant, with figures for all that stands open."""
        limits = self.tenant.get(name, self.tenants)
        running = limits.running or max(1, self.workers * 3 // 4)
        return replace(limits, running=running, queued=limits.queued or max(1, self.queue // 2))

    def most_of(self, name: str) -> Mapping[str, Any]:
        """What a launch of a tenant is granted at the most: nobody who asks for nothing is to be refused for it."""
        memory = self.tenant.get(name, self.tenants).memory
        if memory is None or memory >= self.limits.get("memory", memory + 1):
            return self.limits
        return {**self.limits, "memory": memory}

    def isolation_of(self, asked: object) -> str:
        """The stricter of what a launch asks for and what is so here: a launch that asks for the laxer one gets no
        less than it asked for. Raises `BadRequest`."""
        if asked is None or asked == "":
            return self.isolation
        if asked not in ISOLATIONS:
            raise BadRequest(f"isolation {asked!r}: {' or '.join(ISOLATIONS)} is")
        return max(self.isolation, str(asked), key=ISOLATIONS.index)


def kinds(of: type[Settings] | type[TenantLimits]) -> dict[str, tuple[Kind | type, bool]]:
    """By a field's name: what may stand there, and whether none may. Tables are left out."""
    found: dict[str, tuple[Kind | type, bool]] = {}
    for name, hint in get_type_hints(of, include_extras=True).items():
        plain, kind = (get_args(hint)[0], get_args(hint)[1]) if get_origin(hint) is Annotated else (hint, None)
        optional = isinstance(plain, UnionType) and NoneType in get_args(plain)
        if optional:
            plain = next(part for part in get_args(plain) if part is not NoneType)
        if kind is None:
            if plain is TenantLimits or get_origin(plain) is get_origin(Mapping[str, str]):
                continue
            # A plain type says enough.
            kind = Count() if plain is int else Seconds() if plain is float else get_origin(plain) or plain
        found[name] = (kind, optional)
    return found


def read(path: str | Path) -> dict[str, Any]:
    """What stands in a `node.toml`, as arguments of `Settings`. Raises `SettingsError`."""
    try:
        with open(path, "rb") as file:
            raw = tomllib.load(file)
    except OSError as why:
        raise SettingsError(f"{path}: {why.strerror or why}") from None
    except RecursionError:
        raise SettingsError(f"{path}: too deeply nested") from None
    except ValueError as why:  # no TOML, no text, a number that is too long to be one
        raise SettingsError(f"{path}: {why}") from None
    try:
        return _from_file(raw)
    except SettingsError as why:
        raise SettingsError(f"{path}: {why}") from None


def _from_file(raw: dict[str, Any]) -> dict[str, Any]:
    most = _table(raw.pop("limits", {}), "limits")
    of_all = _table(raw.pop("tenants", {}), "tenants")
    of_some = _table(raw.pop("tenant", {}), "tenant")
    given = _values(Settings, raw, "", ("limits", "tenants", "tenant"))
    try:
        limits = in_figures(most)
    except LimitsError as why:
        raise SettingsError(f"limits: {why}") from None
    tenants = TenantLimits(**_values(TenantLimits, of_all, "tenants."))
    some = {}
    for name, values in of_some.items():
        where = f'tenant."{name}"'
        some[name] = replace(tenants, **_values(TenantLimits, _table(values, where), f"{where}."))
    return {**given, "limits": limits, "tenants": tenants, "tenant": some}


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: {value!r} is no table")
    return value


def _values(
    of: type[Settings] | type[TenantLimits], raw: Mapping[str, Any], where: str, tables: tuple[str, ...] = ()
) -> dict[str, Any]:
    known = kinds(of)
    for name in raw:
        if name not in known:
            raise SettingsError(f"unknown setting {where}{name}; allowed: {', '.join([*known, *tables])}")
    return {name: _value(f"{where}{name}", value, *known[name]) for name, value in raw.items()}


def _value(name: str, value: Any, kind: Kind | type, optional: bool) -> Any:
    """From TOML's types to the field's."""
    if optional and value == "none":
        return None
    try:
        if isinstance(kind, Size) and isinstance(value, str):
            return parse_size(value)
        if isinstance(kind, Seconds):
            return parse_duration(value) if isinstance(value, str) else float(value) if _is_number(value) else value
    except LimitsError as why:
        raise SettingsError(f"{name}: {why}") from None
    return tuple(value) if kind is tuple and isinstance(value, list) else value


def _hold(settings: Settings | TenantLimits, where: str = "") -> None:
    for name, (kind, optional) in kinds(type(settings)).items():
        value = getattr(settings, name)
        if value is None and optional:
            continue
        if (wanted := _fault(value, kind)) is not None:
            none = ", or none" if optional else ""
            raise SettingsError(f"{where}{name}: {value!r} is not {wanted}{none}")


def _fault(value: object, kind: Kind | type) -> str | None:
    """What it should have been, if it is not that."""
    match kind:
        case Count() | Size():
            fits = isinstance(value, int) and not isinstance(value, bool) and kind.least <= value <= kind.most
            what = "a whole number" if isinstance(kind, Count) else 'a size, such as 512 or "512MiB",'
            return None if fits else f"{what} from {kind.least} to {kind.most}"
        case Seconds():
            fits = _is_number(value) and kind.least <= value <= kind.most  # type: ignore[operator]
            return None if fits else f'a time, such as 2.5 or "1min", from {kind.least:g} to {kind.most:g} seconds'
        case Choice():
            return None if value in kind.of else " or ".join(kind.of)
    if kind is tuple:
        words = isinstance(value, tuple) and all(isinstance(word, str) and "\0" not in word for word in value)
        return None if words else "a list of words in quotes, without NUL"
    if isinstance(value, str) and "\0" in value:
        return "a word without NUL"
    return None if isinstance(value, kind) else {str: "a word in quotes", bool: "true or false"}.get(kind, str(kind))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
