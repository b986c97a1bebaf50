"""What the filters say to each other: headers that no client can send or see.

Swift's gatekeeper strips `X-Backend-*` both ways at the proxy's front, and the run hook strips the request's once more.

    proxy → object server      X-Backend-Run            the client's X-Run, byte for byte
                               X-Backend-Run-Terms      JSON {"tenant": …, "limits": {…}}
                               X-Backend-Run-Signature  the run switch's (see signature.py)
                               the same three           with PUT: the bytes of a program (see bringing.py)
    object server → proxy      X-Backend-Run-Id         a launch was started; the body is frames (see frames.py)
                               X-Backend-Run-Program    digest of the program that ran
                               X-Backend-Run-Type       its content type, or "source": the object's own
                               X-Backend-Run-Node       name of the node
                               X-Backend-Run-Stated     what its results depend on besides (ProgramInfo.stated)
                               X-Backend-Run-Frozen     its launches are frozen: the result can be kept
                               X-Backend-Run-Refused    nothing was started: an error's code (see runtime.errors)
                               X-Backend-Run-Passed     nothing was started: Swift's own answer, whatever it is
                               X-Backend-Run-Reason     why, for people, percent-encoded
    run switch → run hook      none of them at all      the object itself: it cannot run on a storage node
                               X-Backend-Run-Where      node and replica, as the client sees it
                               X-Backend-Run-Meta       what the program said of its result (see metadata.py)
                               X-Backend-Run-Malformed  it said something malformed: why, percent-encoded; no body
                               X-Backend-Run-Outcome    it ended before the status was decided: base64 of msgpack
"""

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from insitu.runtime.client import Accepted
from insitu.runtime.grammar import RunRequest, parse_run
from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import Outcome
from insitu.storage_hooks.frames import pack_outcome, unpack_outcome

REQUEST = "X-Backend-Run"
TERMS = "X-Backend-Run-Terms"
SIGNATURE = "X-Backend-Run-Signature"
ENV_REQUEST = "HTTP_X_BACKEND_RUN"
ENV_TERMS = "HTTP_X_BACKEND_RUN_TERMS"
ENV_SIGNATURE = "HTTP_X_BACKEND_RUN_SIGNATURE"
ENV_PROVIDER = "insitu.provider"
"""In the environ of a marked request whose program is `sha256:…`: its `bringing.Provider`, for nodes that lack it."""

ID = "X-Backend-Run-Id"
PROGRAM = "X-Backend-Run-Program"
TYPE = "X-Backend-Run-Type"
NODE = "X-Backend-Run-Node"
REFUSED = "X-Backend-Run-Refused"
PASSED = "X-Backend-Run-Passed"
REASON = "X-Backend-Run-Reason"
FROZEN = "X-Backend-Run-Frozen"
STATED = "X-Backend-Run-Stated"
WHERE = "X-Backend-Run-Where"
OUTCOME = "X-Backend-Run-Outcome"
META = "X-Backend-Run-Meta"
MALFORMED = "X-Backend-Run-Malformed"

UNSUPPORTED = "unsupported"
"""The code of a refusal that is the hooks' own: the object is not whole on one node. The run switch then reads it."""

MISCONFIGURED = "hooks-misconfigured"
"""Likewise: the storage node does not take the proxy's signature, and has not even looked for the object."""


class TermsError(Exception):
    """The internal headers are malformed: the proxy and the object server do not run the same version of insitu."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On whose behalf a program runs, and with what limits: the proxy's word, not the client's."""

    tenant: str
    limits: Limits

    def encode(self) -> str:
        return json.dumps({"tenant": self.tenant, "limits": self.limits.to_wire()}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> "Terms":
        """Raises `TermsError`."""
        try:
            raw = json.loads(text)
            return cls(tenant=str(raw["tenant"]), limits=Limits.from_wire(raw["limits"]))
        except (ValueError, KeyError, TypeError, LimitsError) as why:
            raise TermsError(f"{TERMS}: {why!r}") from None


def unmark(environ: "Environ") -> None:
    """Make a request one that runs nothing."""
    for name in (ENV_REQUEST, ENV_TERMS, ENV_SIGNATURE, ENV_PROVIDER):
        environ.pop(name, None)


def parse_header(value: str) -> RunRequest:
    """`X-Run` as WSGI hands it over (each byte a character). Raises `GrammarError`."""
    return parse_run(value.encode("latin-1").decode("utf-8", "surrogateescape"))


def native(text: str) -> str:
    """A WSGI string (each byte a character) as text."""
    return text.encode("latin-1").decode("utf-8", "replace")


def quote_reason(text: str) -> str:
    """Any text as a header's value."""
    return quote(text, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")


def unquote_reason(value: str) -> str:
    return unquote(value)


def encode_outcome(outcome: Outcome) -> str:
    return base64.b64encode(pack_outcome(outcome)).decode("ascii")


def decode_outcome(value: str) -> Outcome:
    return unpack_outcome(base64.b64decode(value))


Headers = list[tuple[str, str]]


def result_of(accepted: Accepted) -> Headers:
    """What says whether a result can be kept, and what it depends on besides the program's digest."""
    return [(STATED, accepted.stated), *([(FROZEN, "1")] if accepted.frozen else [])]


def find(headers: Headers, name: str) -> str | None:
    """The first value of a header, whatever the case of its name."""
    name = name.lower()
    return next((value for key, value in headers if key.lower() == name), None)


Environ = dict[str, Any]
