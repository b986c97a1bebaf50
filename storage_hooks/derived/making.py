"""Runs whose results are kept.

A first reader gets the result while it is made, and it is stored in the same stroke. One who asks for a part of it, or
has a condition on its ETag, or speaks HTTP/1.0, gets it once it is whole, from the store; where it cannot be stored,
all of it from here.

What is stored has the key that the run itself reports: of the bytes that it really read (their ETag came with them),
and of the program that really ran.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from insitu.runtime.grammar import format_run
from insitu.storage_hooks import green, inside, policies, reading
from insitu.storage_hooks.derived.about import META, About
from insitu.storage_hooks.derived.asked import Asked
from insitu.storage_hooks.derived.bounds import Sweeper
from insitu.storage_hooks.derived.flight import ALONE, STORED, Seat
from insitu.storage_hooks.derived.hit import hit, look
from insitu.storage_hooks.derived.keeping import Storing, Tee
from insitu.storage_hooks.derived.programs import Programs
from insitu.storage_hooks.derived.settings import Settings
from insitu.storage_hooks.derived.store import StoreError, put
from insitu.storage_hooks.framed import RunAborted
from insitu.storage_hooks.green import Timeout
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.problem import Problem
from insitu.storage_hooks.refusing import Refused
from insitu.storage_hooks.result_headers import SOURCE, said_by
from insitu.storage_hooks.runs import Ran, Runs, ended
from insitu.storage_hooks.whole import Whole

_FINAL: Final = frozenset(("program-failed", "program-rejected"))
_OF_THE_MOMENT: Final = frozenset(("wall", "cpu"))
"""Limits that a run meets because its reader is slow, or the machine is."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Where and how one result is kept."""

    environ: Environ
    app: Any
    account: str
    name: str
    about: About
    length: int | None
    """Of the result, if it is known."""
    most: int
    """Bytes of a result."""
    bound: int
    """Bytes of all of the account's."""

    def put(self, source: Any) -> None:
        """Store what `source` reads, to its end. Raises `StoreError`."""
        put(self.environ, self.app, self.account, self.name, self.about, source, self.length)


class Making:
    """How one proxy makes derived objects."""

    def __init__(self, runs: Runs, settings: Settings, programs: Programs) -> None:
        self._runs, self._settings, self._programs = runs, settings, programs
        self._sweeper = Sweeper(runs.app, runs.logger)

    def lead(self, seat: Seat[Problem], asked: Asked) -> Iterable[bytes]:
        """Run it for all who wait in the same flight; the seat lands, sooner or later. Raises as `run`."""
        try:
            return self.run(seat, asked)
        except Refused as why:
            seat.land(why.problem if _is_everybodys(why.problem) else None)
            raise
        except BaseException:
            seat.land(None)
            raise

    def run(self, seat: Seat[Problem] | None, asked: Asked) -> Iterable[bytes]:
        """Run it, and keep the result where that may be. Raises `Refused`, `Answered`."""
        environ, order = asked.environ, asked.order
        ran = self._runs.read(environ, order)
        try:
            self._programs.learn(order.request.program, ran.frozen)
            keep = self._keep(ran, asked)
            if keep is None:
                if seat is not None:
                    seat.land(ALONE)
                reading.check_conditions(environ)
                return reading.answer(ran, environ, asked.start_response, order)
            if _wants_it_whole(environ):
                return self._whole(seat, ran, keep, asked)
            return reading.answer(ran, environ, asked.start_response, order, self._tee(seat, ran, keep))
        except BaseException:
            ran.close()
            raise

    def _keep(self, ran: Ran, asked: Asked) -> Keep | None:
        """How the result is to be kept; None when it is not."""
        etag = inside.find(ran.source, "Etag")
        if not etag or not (ran.frozen or asked.policy.derived) or not asked.may_share(ran.source):
            return None
        try:
            owners = policies.account_policy(asked.environ, self._runs.app)
        except policies.PolicyError:
            return None
        bound, age = self._settings.bytes, self._settings.age
        bound = bound if owners.derived_bytes is None else min(bound, owners.derived_bytes)
        age = age if owners.derived_age is None else min(age, owners.derived_age)
        most = min(self._settings.max_object, bound)
        if most <= 0 or (ran.length or 0) > most:
            return None
        if not asked.named(etag, (ran.digest, ran.stated), ran.inputs, self._runs.limits):
            return None
        about = _about(ran, etag, asked, age)
        # Storing may outlast the request, whose environment is the server's.
        return Keep(dict(asked.environ), self._runs.app, asked.account, asked.name, about, ran.length, most, bound)

    def _tee(self, seat: Seat[Problem] | None, ran: Ran, keep: Keep) -> Tee:
        def done(why_not: str | None) -> None:
            if tee.broken is None:
                self._landed(seat, keep, why_not)
            elif seat is not None:
                # What a failed run comes to, everybody else would see, too; a client that goes away is its own affair.
                broken = tee.broken
                answer = ended(ran, broken) if isinstance(broken, RunAborted) and broken.outcome is not None else None
                seat.land(answer if answer is not None and _is_everybodys(answer) else None)

        tee = Tee(ran.body, Storing(keep.put, max_bytes=keep.most, done=done))
        return tee

    def _whole(self, seat: Seat[Problem] | None, ran: Ran, keep: Keep, asked: Asked) -> Iterable[bytes]:
        """Store it first, then answer from the store."""
        try:
            whole = Whole.of(ran.body)
        except RunAborted as why:
            raise Refused(ended(ran, why), ran.run) from None
        try:
            why_not = _store(whole, keep)
            self._landed(seat, keep, why_not)
            found = None if why_not else look(self._runs.app, asked)
            if found is not None:
                whole.close()
                return hit(found, ran.source, asked)
            # Not stored, or gone again. But the program has run, and this is its result.
            reading.check_conditions(asked.environ)
            whole.rewind()
            ran.length = whole.length
            return reading.answer(ran, asked.environ, asked.start_response, asked.order, whole)
        except BaseException:
            whole.close()
            raise

    def _landed(self, seat: Seat[Problem] | None, keep: Keep, why_not: str | None) -> None:
        if why_not is None:
            self._sweeper.stored(keep.environ, keep.account, keep.bound)
        else:
            self._runs.logger.warning(
                "a result of %s for %s is not kept: %s", keep.about.program, keep.account, why_not
            )
        if seat is not None:
            seat.land(STORED if why_not is None else ALONE)


def _store(whole: Whole, keep: Keep) -> str | None:
    """Why it is not stored; None when it is."""
    if whole.length > keep.most:
        return "it is larger than what is kept"
    try:
        keep.put(whole)
    except (StoreError, Timeout) as why:
        return str(why)
    return None


def _about(ran: Ran, etag: str, asked: Asked, age: float) -> About:
    said, request = said_by(ran), asked.order.request
    kind = said.content_type or ran.content_type
    if of_source := kind == SOURCE:
        kind = inside.find(ran.source, "Content-Type") or "application/octet-stream"
    now = int(time.time())
    return About(
        source_etag=etag.strip('"'),
        program=request.program,
        digest=ran.digest,
        args=format_run(request.program, request.args, request.inputs).partition(" ")[2],
        content_type=kind,
        of_source=of_source,
        status=said.status,
        made=now,
        expires=now + max(1, int(age)),
        metadata={name.removeprefix(META): value for name, value in said.user_headers()},
    )


def _is_everybodys(problem: Problem) -> bool:
    """Whether everybody who asks for the same would be told the same."""
    limit = problem.extra.get("limit")
    return problem.kind in _FINAL and not (limit and limit["name"] in _OF_THE_MOMENT)


def _wants_it_whole(environ: Environ) -> bool:
    """Whether the answer depends on the ETag or the length of a result that is not made yet."""
    return (
        "HTTP_RANGE" in environ
        or environ.get("HTTP_IF_MATCH", "*").strip() != "*"
        or "HTTP_IF_NONE_MATCH" in environ
        or green.speaks_http_1_0(environ)
    )
