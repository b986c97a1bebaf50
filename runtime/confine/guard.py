"""Takes the measures: in the spawner once, then in each child it forks.

What can be had is found out when the spawner starts: it takes its own, and lets a child try each of the others'. What
failed there is left out from then on, with one warning. What held there and fails later ends the child: a worker that
is confined less than was said serves nobody.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Final, NoReturn, Protocol, TypeVar

from insitu.runtime import process
from insitu.runtime.confine import descriptors, landlock, last_words, root, system
from insitu.runtime.confine.measure import ROLES, Finding, Measure, Missing, NotAsked, Role, Setup
from insitu.runtime.confine.roles import AFTER_THREADS, BEFORE_THREADS, FILTERS, SECCOMP
from insitu.runtime.confine.seccomp import Filter


class HasSocket(Protocol):
    def fileno(self) -> int: ...


Prepared = TypeVar("Prepared", bound=HasSocket)


class NotConfined(Exception):
    """A strict node does not start; the message names what is missing."""


def findings_of(role: Role, measures: Iterable[Measure], setup: Setup) -> Iterator[Finding]:
    """Take and prove each."""
    for measure in measures:
        try:
            measure.take(setup)
            if measure.prove is not None:
                measure.prove(setup)
        except NotAsked as why:
            yield Finding(role, measure.name, "not asked", str(why))
        except Missing as why:
            yield Finding(role, measure.name, "missing", str(why))
        except OSError as why:
            yield Finding(role, measure.name, "missing", why.strerror or str(why))
        else:
            yield Finding(role, measure.name, "holds")


class Guard:
    """Of one spawner. `setup` says who workers are and where the cache is; the rest is found here."""

    def __init__(self, setup: Setup) -> None:
        self._setup: Final = setup
        self._filters: dict[Role, Filter] = {}
        self._held: dict[Role, frozenset[str]] = {}
        self._before: frozenset[int] = frozenset()
        """The spawner's own descriptors."""

    # In the spawner.

    def enter_spawner(self) -> list[Finding]:
        """Take the spawner's measures, and find out about its children's. Needs to be the only thread."""
        setup = self._setup
        setup.parent = os.getpid()
        try:
            setup.nowhere = root.prepare()
        except OSError:
            pass  # `root` will say so
        try:
            setup.closed = landlock.ruleset({})
        except (Missing, OSError):
            pass  # `landlock` will
        unknown: dict[Role, Finding] = {}
        for role in ROLES:
            try:
                self._filters[role] = Filter(*FILTERS[role])
            except Missing as why:
                unknown[role] = Finding(role, SECCOMP, "missing", str(why))
        found = list(findings_of("spawner", BEFORE_THREADS["spawner"], setup))
        if "spawner" in self._filters:
            found += self._install("spawner") or self._tried("spawner", ())
        for role in ROLES[1:]:
            found += self._tried(role, BEFORE_THREADS[role] + AFTER_THREADS[role])
        found += unknown.values()
        for role in ROLES:
            self._held[role] = frozenset(f.measure for f in found if f.role == role and f.state == "holds")
        self._before = descriptors.opened()
        return found

    def enter_spawner_and_say(self, *, strict: bool) -> None:
        """The same; what is missing is a warning each on stderr. Raises `NotConfined` if `strict`."""
        missing: dict[tuple[str, str], list[str]] = {}
        for finding in self.enter_spawner():
            if finding.state == "missing":
                missing.setdefault((finding.measure, finding.why), []).append(finding.role)
        lines = [f"{measure} ({', '.join(roles)}): {why}" for (measure, why), roles in missing.items()]
        if strict and lines:
            raise NotConfined(
                f"confinement is strict, and this machine lacks {'; '.join(lines)}; see insitu node --check"
            )
        for line in lines:
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"{when} insitu.confine WARNING not confined by {line}", file=sys.stderr, flush=True)

    def _install(self, role: Role) -> list[Finding]:
        """Nothing if that worked: then it is proved by dying of it."""
        try:
            self._filters[role].install(os.getpid())
        except (Missing, OSError) as why:
            return [Finding(role, SECCOMP, "missing", str(why))]
        return []

    def _tried(self, role: Role, measures: Iterable[Measure]) -> list[Finding]:
        """A child takes all of them, tells, and then does what seccomp forbids."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._try(role, measures, write)
        os.close(write)
        with open(read, "rb") as told:
            found = [Finding(**json.loads(line)) for line in told]
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == -signal.SIGSYS:
            found.append(Finding(role, SECCOMP, "holds"))
        elif not any(finding.measure == SECCOMP for finding in found) and role in self._filters:
            found.append(Finding(role, SECCOMP, "missing", f"whoever tried it ended with {status}"))
        return found

    def _try(self, role: Role, measures: Iterable[Measure], tell: int) -> NoReturn:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            setup = replace(self._setup, images=frozenset({tell}))
            for finding in findings_of(role, measures, setup):
                os.write(tell, json.dumps(asdict(finding)).encode() + b"\n")
            if role in self._filters:
                for finding in self._install(role):
                    os.write(tell, json.dumps(asdict(finding)).encode() + b"\n")
                system.call("socket", 1, 1, 0)
        finally:
            os._exit(0)

    # In a child of the spawner's.

    def loaded(self) -> None:
        """The spawner has loaded or unloaded something: what is open now and was not before is the engine's."""
        self._setup.images = descriptors.opened() - self._before

    def enter_worker(self, prepare: Callable[[], Prepared]) -> Prepared:
        """All that can be had. `prepare` is called when threads would have the measures too and can still be made; its
        result's `fileno` is the one socket besides the node's that may be used afterwards."""
        self._take("worker", BEFORE_THREADS["worker"])
        process.die_with_parent(self._setup.parent)  # the kernel forgets that with a change of user
        system.one_arena()
        last_words.instead_of_tracebacks()
        prepared = prepare()
        self._take("worker", AFTER_THREADS["worker"])
        self._filter("worker", prepared.fileno())
        return prepared

    def enter_compiler(self, *reads: str) -> None:
        """All that can be had. `reads`: the paths that it reads."""
        self._setup.reads = reads
        self._setup.images = frozenset()  # it runs nothing, so it maps none of them
        self._enter("compiler")

    def enter_storekeeper(self, fds: Iterable[int]) -> None:
        """All that can be had. `fds`: what it is to store."""
        self._setup.images = frozenset(fds)
        self._enter("storekeeper")

    def _enter(self, role: Role) -> None:
        self._take(role, BEFORE_THREADS[role])
        last_words.instead_of_tracebacks()
        self._filter(role)

    def _take(self, role: Role, measures: Iterable[Measure]) -> None:
        for measure in measures:
            if measure.name in self._held[role]:
                measure.take(self._setup)

    def _filter(self, role: Role, rehearsal: int = process.NODE_FD) -> None:
        if SECCOMP in self._held[role]:
            self._filters[role].install(os.getpid(), rehearsal)
