"""Failures as clients see them: `application/problem+json` (RFC 9457), and what S3 clients can make of it.

    {"detail": "exit code 2", "title": "The program failed", "status": 422, "type": "urn:insitu:problem:program-failed",
     "run_id": "…", "program": "sha256:…", "exit_code": 2, "stderr": "watermark: …"}

A 4xx is the caller's to fix and no client retries it; a 503 means that nothing was started; a 500 that something was
started and its end is unknown.

An S3 client gets XML from Swift's s3api, which passes on only a few statuses: a 422 or a 404 of ours would become a 500
(which S3 clients retry) or NoSuchKey. So on that way in every 4xx is a 400, whose text s3api hands to the client.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from insitu.runtime.errors import BadRequest, Busy, NodeLost, NodeUnavailable, ProgramRejected, UnknownProgram
from insitu.sandbox.outcome import Outcome
from insitu.storage_hooks import inside
from insitu.storage_hooks.inside import Environ, Headers

STDERR_TAIL = 8 * 1024
"""Characters of stderr that a problem shows at most, the last ones."""

# XML has no way to write these, and s3api takes a 400 whose text names this header for something else.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_S3_TRAP = re.compile("X-Delete-", re.IGNORECASE)

_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    422: "Unprocessable Entity",
    499: "Client Disconnect",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure: `kind` ends its type URN, `extra` holds members of its own."""

    status: int
    kind: str
    title: str
    detail: str
    extra: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        # What went wrong comes first: swiftclient shows the first 60 characters and no more.
        return {
            "detail": self.detail,
            "title": self.title,
            "status": self.status,
            "type": f"urn:insitu:problem:{self.kind}",
            **self.extra,
        }

    def answer(self, environ: Environ, start_response: Callable[..., Any], headers: Headers) -> Iterable[bytes]:
        """Answer the request with it; `headers` go out too."""
        status = self.status
        if environ.get("swift.source") == "S3":
            status = 400 if status < 500 and status != 403 else status
            body = self._text().encode()
            kind = "text/plain; charset=utf-8"
        else:
            body = json.dumps(self.document()).encode() + b"\n"
            kind = "application/problem+json"
        headers = [*headers, ("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response(f"{status} {_REASONS[status]}", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def discreet(self) -> "Problem":
        """For those who may read results, and not the object: without what a program said that has read it, nor what
        else is known of it."""
        extra = {key: value for key, value in self.extra.items() if key != "stderr"}
        return replace(self, extra=extra, detail=self.title if self.status >= 500 else self.detail)

    def _text(self) -> str:
        run = f" (run {self.extra['run_id']})" if "run_id" in self.extra else ""
        stderr = f": {self.extra['stderr'].strip()}" if self.extra.get("stderr") else ""
        return _S3_TRAP.sub("X Delete ", _NOT_XML.sub("\ufffd", f"{self.title}: {self.detail}{run}{stderr}"))


def malformed(why: str) -> Problem:
    """`X-Run` does not parse."""
    return Problem(400, "malformed-run-request", "The run request is malformed", why)


def wrong_method(method: str) -> Problem:
    return Problem(
        400,
        "not-a-read",
        "Programs run on reads and writes only",
        f"X-Run came with {method}, and only GET, PUT and COPY run a program",
    )


def not_an_object(path: str) -> Problem:
    return Problem(
        400,
        "not-an-object",
        "Programs run on objects only",
        f"X-Run came with {path}, which names no object; one is named /v1/ACCOUNT/CONTAINER/OBJECT",
    )


def no_such_object(path: str) -> Problem:
    """Swift found no such object, or container."""
    return Problem(404, "no-such-object", "There is no such object", f"{path} does not exist")


def unsupported_object(why: str) -> Problem:
    """The object's bytes are not whole on one node, so no program can be given them there."""
    return Problem(400, "unsupported-object", "Programs cannot run on this object", why)


def malformed_policy(why: str) -> Problem:
    """A header of the owner's does not parse."""
    return Problem(400, "malformed-policy", "The policy is malformed", why)


def unknown_policy(why: str) -> Problem:
    """It cannot be known what the owner has said, so nothing is answered."""
    return Problem(503, "unknown-policy", "The policy cannot be read", why)


def not_owner(header: str) -> Problem:
    return Problem(403, "not-the-owner", "Only the owner may", f"{header} is for the account's owner alone to set")


def not_named(what: str) -> Problem:
    """Without a name of one's own, only what the container's owner named can be had."""
    return Problem(
        403, "not-named", "The owner has not named this", f"without a token of one's own, {what} cannot be had here"
    )


def runs_off() -> Problem:
    return Problem(403, "runs-off", "No program runs here", "this account's owner has turned programs off")


def forbidden(why: str) -> Problem:
    """Somebody else may, or nobody."""
    return Problem(403, "forbidden", "This run is not allowed", why)


def against_policy() -> Problem:
    """The container's owner has said what becomes of all that is written there."""
    why = "the container's owner has said what runs on all that is written here (X-Container-Run-On-Write)"
    return Problem(409, "against-policy", "The container's policy says otherwise", why)


def not_bytes(what: str) -> Problem:
    """Something is written that is no bytes for a program."""
    return Problem(
        400, "not-bytes", "Programs run on bytes only", f"this request stores {what}, which no program can transform"
    )


def not_a_program(why: str) -> Problem:
    """Something else is stored where programs are to be."""
    return Problem(422, "not-a-program", "This is no program; nothing was stored", why)


def malformed_copy(why: str) -> Problem:
    return Problem(400, "malformed-copy", "The copy is malformed", why)


def no_such_program(why: str) -> Problem:
    return Problem(404, UnknownProgram.code, "There is no such program", why)


def program_changed(why: str) -> Problem:
    """The digest that the request pins is not the program's."""
    return Problem(412, "program-changed", "The program is another one", why)


def bad_input(channel: str, path: str, why: str) -> Problem:
    """An extra input that cannot be read."""
    return Problem(400, "bad-input", "An input of the run cannot be had", f"input {channel}, {path[:200]}: {why}")


def input_broken(why: str) -> Problem:
    """What the storage gave a guest broke off: the guest was ended."""
    return Problem(500, "input-broken", "The run's input broke off", why)


def upload_broken(why: str, *, short: bool) -> Problem:
    """What the client sent is not what it said. Nothing was stored."""
    status = 499 if short else 422
    return Problem(status, "upload-broken", "The upload is not what it should be; nothing was stored", why)


def client_gone() -> Problem:
    return Problem(499, "client-gone", "The client went away", "nobody is there to read the result")


def no_match(why: str) -> Problem:
    return Problem(412, "no-match", "A condition of the request does not hold", why)


def malformed_listing(why: str) -> Problem:
    """`?derived` of an account."""
    return Problem(400, "malformed-listing", "The request for derived objects is malformed", why)


def derived_unavailable(why: str) -> Problem:
    return Problem(503, "derived-unavailable", "The derived objects cannot be reached now", why)


def refused(code: str, reason: str) -> Problem:
    """Nothing was started (but for "lost", of which that is not known)."""
    status, title = {
        BadRequest.code: (400, "The node refused the run request"),
        UnknownProgram.code: (404, "There is no such program"),
        ProgramRejected.code: (422, "The program cannot run"),
        Busy.code: (503, "No storage node has room for a run now"),
        NodeUnavailable.code: (503, "No storage node can run programs now"),
        inside.MISCONFIGURED: (503, "The storage's hooks are misconfigured"),
        inside.UNSUPPORTED: (400, "Programs cannot run on this object"),
        NodeLost.code: (500, "The run was lost"),
    }.get(code, (500, "The run was lost"))
    kind = {inside.UNSUPPORTED: "unsupported-object", BadRequest.code: "bad-run-request"}.get(code, code)
    return Problem(status, kind, title, reason)


def malformed_metadata(reason: str, run_id: str, program: str) -> Problem:
    """A program wrote something to /dev/out/meta that is no metadata. Its result is nobody's."""
    return Problem(
        422,
        "malformed-metadata",
        "The program's metadata are malformed",
        f"the program's metadata are malformed: {reason}",
        {"run_id": run_id, "program": program},
    )


def ended(outcome: Outcome, run_id: str, program: str) -> Problem:
    """A launch that did not end well."""
    extra: dict[str, Any] = {"run_id": run_id, "program": program}
    if outcome.end == "exit":
        extra["exit_code"] = outcome.exit_code
    if outcome.trap is not None:
        extra["trap"] = outcome.trap
    if outcome.limit is not None:
        limit = outcome.limit
        extra["limit"] = {"name": limit.name, "allowed": limit.allowed, "reached": limit.reached}
    extra["stderr"] = outcome.stderr.decode("utf-8", "replace")[-STDERR_TAIL:]
    if outcome.end in ("exit", "trap", "limit"):
        return Problem(422, "program-failed", "The program failed", outcome.sentence(), extra)
    if outcome.end == "damaged":
        sentence = f"the replica of the object that was read is damaged, and another is asked next time: {outcome.note}"
        return Problem(500, "damaged-replica", "The object's replica is damaged", sentence, extra)
    # It is not always the guest's process that died: the note says what did, as far as that is known.
    return Problem(500, "lost", "The run was lost", outcome.note or outcome.sentence(), extra)
