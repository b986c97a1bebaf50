"""Reads through a program whose results are kept: what comes before a run.

    program     which digest does its name mean now?
    source HEAD, in the caller's name: 404, 403 and the like are no concern of this file, nor is what has no ETag
    inputs      HEAD of each
    key         ──▶ stored? that is the answer, with the client's own range and conditions
                ──▶ the first to ask runs it (making.py), the others wait for that (flight.py)

What is asked here only decides where to look: a result is stored under the key that the run itself reports.

A hit needs two answers of Swift's, and one of the node's, where a plain read needs one. So they are asked for at the
same time: where the same request was answered before, the result is read from where it was then, while it is still
being found out whether that is right. No byte of it goes out before.

A client that says `Cache-Control: no-store`, in a name of its own, gets a run of its own, and nothing is kept of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from swift.common.utils import close_if_possible
from swift.common.wsgi import WSGIContext

from insitu.runtime.programs import ProgramInfo
from insitu.storage_hooks import green, inside, problem, reading
from insitu.storage_hooks.derived.asked import Asked
from insitu.storage_hooks.derived.flight import ALONE, LEAD, STORED, Flights, Seat
from insitu.storage_hooks.derived.hit import hit, look
from insitu.storage_hooks.derived.making import Making
from insitu.storage_hooks.derived.memory import Memory
from insitu.storage_hooks.derived.programs import Programs
from insitu.storage_hooks.derived.settings import Settings
from insitu.storage_hooks.derived.store import Answer
from insitu.storage_hooks.extra_inputs import fetch
from insitu.storage_hooks.green import ClientGone, ClientWatch
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.policies import Policy
from insitu.storage_hooks.problem import Problem
from insitu.storage_hooks.refusing import Refused
from insitu.storage_hooks.rights import Caller
from insitu.storage_hooks.runs import Order, Runs, unconditional

_ROUNDS: Final = 3
"""So often a result that should be stored may be gone again before it is run for this reader alone."""

_REMEMBERED: Final = 4096
"""Requests of which is known where their results were."""


class Derived:
    """The derived objects of all accounts, as one proxy serves them."""

    def __init__(self, runs: Runs, settings: Settings) -> None:
        self._runs, self._app = runs, runs.app
        self._off = settings.bytes == 0
        self._patience = settings.patience
        self.memory = Memory(settings.memory)
        self._programs = Programs(runs.local)
        self._making = Making(runs, settings, self._programs)
        self._flights: Flights[Problem] = Flights()
        self._guesses: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def head(
        self, environ: Environ, start_response: Callable[..., Any], order: Order, policy: Policy
    ) -> Iterable[bytes]:
        """Answer a HEAD. Starts nothing: what is not stored has neither ETag nor length. As `reading.head`."""
        if self._off or _no_store(environ):
            return reading.head(self._runs, environ, start_response, order)
        asked = Asked(environ, start_response, order, policy)
        source, found = self._find(asked)
        if source is None or found is None:
            return reading.head(self._runs, environ, start_response, order)
        return hit(found, source, asked)

    def read(
        self, environ: Environ, start_response: Callable[..., Any], order: Order, policy: Policy
    ) -> Iterable[bytes]:
        """Answer a GET. As `reading.read`."""
        if self._off or _no_store(environ):
            return reading.read(self._runs, environ, start_response, order)
        asked = Asked(environ, start_response, order, policy)
        for _ in range(_ROUNDS):
            before = self._flights.stored
            source, found = self._find(asked)
            if source is None:
                break
            if found is not None:
                return hit(found, source, asked)
            key = (order.tenant, asked.name)
            seat = self._flights.board(key)
            news = LEAD if seat.leads else self._wait(seat, environ)
            if news is LEAD and self._flights.stored_since(key, before):
                # It was stored after this request had looked, and before it came aboard.
                seat.land(STORED)
                continue
            if news is LEAD:
                return self._making.lead(seat, asked)
            if news is ALONE:
                break
            if isinstance(news, Problem):
                raise Refused(news)
            # It is stored: once more from the beginning, for the source may be another by now.
        reading.check_conditions(environ)
        return self._making.run(None, asked)

    def _find(self, asked: Asked) -> tuple[Headers | None, Answer | None]:
        """The headers of the object that is to be read, and what is stored of it, in the name of `asked`.

        Without the first there is nothing to look for, and a run will say what is to be said.
        """
        request, environ = asked.order.request, asked.environ
        # All that the name of a result depends on, but for what may have changed since.
        words = (asked.order.object, environ.get("QUERY_STRING", ""), request.program, *request.args, "")
        key = words + tuple(word for pair in request.inputs for word in pair)
        guess = self._guesses.get(key)
        if guess is None:
            source = self._source(asked)
            found = None if source is None else self._look(asked)
        else:
            source, found = self._verified(asked, replace(asked, name=guess))
            if source is None or asked.name != guess:
                if found is not None:
                    found.close()
                found = None if source is None else self._look(asked)
        if found is not None:
            self._guesses[key] = asked.name
            self._guesses.move_to_end(key)
            while len(self._guesses) > _REMEMBERED:
                self._guesses.popitem(last=False)
        return source, found

    def _verified(self, asked: Asked, guess: Asked) -> tuple[Headers | None, Answer | None]:
        """The same, and what is stored under a name that is yet to be held against that of `asked`."""
        remembered = self.memory.get(guess, guess.name)
        if remembered is not None:
            return self._source(asked), remembered
        looking = green.begin(lambda: self._look(guess))
        try:
            source = self._source(asked)
        except BaseException:
            if (found := looking.result()) is not None:
                found.close()
            raise
        return source, looking.result()

    def _look(self, asked: Asked) -> Answer | None:
        found = look(self._app, asked)
        return None if found is None else self.memory.keep(asked, found)

    def _source(self, asked: Asked) -> Headers | None:
        """Its headers, with the name set; None as above."""
        environ, order = asked.environ, asked.order
        program = order.request.program
        resolving = None
        likely = self._programs.likely(program)
        if likely is False and not asked.policy.derived:
            # Should it be another by now, its run will say so, and be kept. Nobody is asked meanwhile.
            return None
        if asked.policy.derived or likely:
            resolving = green.begin(lambda: self._programs.which(program))
        elif not self._may_be_kept(asked, which := self._programs.which(program)):
            return None
        context = WSGIContext(self._app)
        try:
            close_if_possible(context._app_call(unconditional(environ) | {"REQUEST_METHOD": "HEAD"}))
        finally:
            if resolving is not None:
                which = resolving.result()
        source: Headers = context._response_headers
        etag = inside.find(source, "Etag")
        if not context._response_status.startswith("200 ") or not etag:
            return None
        if which is None or not self._may_be_kept(asked, which) or not asked.may_share(source):
            return None
        inputs = []
        for channel, path in order.request.inputs:
            response = fetch(self._app, environ, path, "HEAD", owners=order.owners)
            close_if_possible(response.app_iter)
            if response.status_int != 200 or not response.headers.get("Etag"):
                return None
            if not order.owners and not asked.may_share(list(response.headers.items())):
                return None
            inputs.append((channel, response.headers["Etag"]))
        return source if asked.named(etag, (which.digest, which.stated), inputs, self._runs.limits) else None

    def _may_be_kept(self, asked: Asked, which: ProgramInfo | None) -> bool:
        return which is not None and (which.frozen or asked.policy.derived)

    def _wait(self, seat: Seat[Problem], environ: Environ) -> Any:
        watch = ClientWatch(environ)
        try:
            with watch:
                return seat.wait(self._patience)
        except ClientGone:
            raise Refused(problem.client_gone()) from None
        finally:
            watch.close()


def _no_store(environ: Environ) -> bool:
    """Whether the caller wants a run of his own: which is another launch on the owner's account, so he needs a name."""
    said = environ.get("HTTP_CACHE_CONTROL")
    return said is not None and "no-store" in said.lower() and Caller.of(environ) is Caller.USER
