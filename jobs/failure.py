"""Why one attempt failed, and whether another may come out better.

    kind      what happened                                                     another attempt?
    program   the program ended badly: exit code, trap or limit (status 422)    never
    output    the program's lines are not KEY<TAB>VALUE                         never
    refused   the storage said no (any other 4xx)                               never
    request   no run request like this one can succeed: unknown program,        never, and the stage ends: each further
              rejected program, malformed words, no insitu in the storage         task would fail in the same way
    storage   503 and other 5xx, no connection, a body that broke off           yes, a bounded number of times
    local     this process could not keep the bytes                             never, and the job ends

A body that breaks off may also mean that the program failed after its first output had been sent: HTTP has no other
way to say so by then. Such an input fails again on each attempt and is then listed as failed.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from insitu.jobs.names import shown

Kind = Literal["program", "output", "refused", "request", "storage", "local"]

STDERR_BYTES = 4096
"""Most of a program's stderr that a failure keeps: its end, where the reason stands."""

# Asking again is what these statuses ask for: a request timeout, a rate limit, a client that was taken for gone.
_TRY_AGAIN = frozenset({408, 429, 498, 499})

# The last word of a problem's type; see insitu/storage_hooks/problem.py.
_HOPELESS = frozenset({"unknown-program", "program-rejected", "malformed-run-request", "bad-run-request"})


@dataclass(frozen=True, slots=True)
class Launched:
    """One launch that the storage told of. `digest` is `sha256:…`, `where` such as `object-3; replica=1`."""

    run_id: str
    program: str
    digest: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt. `retry_after` is in seconds, `stderr` the tail of what the program said."""

    kind: Kind
    message: str
    status: int | None = None
    retry_after: float = 0.0
    stderr: str = ""
    launched: Launched | None = None

    @property
    def retry(self) -> bool:
        return self.kind == "storage"


class AttemptFailed(Exception):
    """Raised inside an attempt; the executor turns it into an event."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def from_response(
    status: int, reason: str, headers: dict[str, str], body: bytes, program: str | None = None
) -> Failure:
    """What an error response means. `headers` has lower-case names; `program` is set if a run was asked for."""
    problem = _problem(headers.get("content-type", ""), body)
    message = _text(problem.get("detail")) or _text(problem.get("title")) or f"{reason or 'no reason given'}"
    launched = None
    run_id = _text(problem.get("run_id")) or headers.get("x-run-id", "")
    if program is not None and run_id:
        digest = _text(problem.get("program")) or headers.get("x-run-program", "")
        launched = Launched(run_id, program, digest, headers.get("x-run-where", ""))
    if program is not None and _text(problem.get("type")).rpartition(":")[2] in _HOPELESS:
        kind: Kind = "request"
    elif program is not None and status == 422:
        kind = "program"
    elif status >= 500 or status in _TRY_AGAIN:
        kind = "storage"
    else:
        kind = "refused"
    return Failure(
        kind=kind,
        message=message,
        status=status,
        retry_after=_seconds(headers.get("retry-after", "")),
        stderr=_text(problem.get("stderr"))[-STDERR_BYTES:],
        launched=launched,
    )


def _problem(content_type: str, body: bytes) -> dict[str, Any]:
    if content_type.partition(";")[0].strip().lower() != "application/problem+json":
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: str) -> float:
    # Retry-After may also be a date; nobody in this path sends one, and the back-off stands in for it.
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0


def innermost(why: Exception) -> str:
    """The innermost reason of a network error, without the wrappings of three libraries."""
    inner: BaseException = why
    for _ in range(8):
        reason = getattr(inner, "reason", None)
        below = reason if isinstance(reason, BaseException) else inner.__cause__ or inner.__context__
        nested = [a for a in inner.args if isinstance(a, BaseException)]
        if nested:
            inner = nested[0]
        elif isinstance(below, BaseException):
            inner = below
        else:
            break
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return one_line(inner)


def one_line(why: BaseException) -> str:
    """Any exception in one harmless line."""
    return shown(" ".join(str(why).split()) or type(why).__name__, 300)
