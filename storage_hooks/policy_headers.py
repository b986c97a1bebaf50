"""The owner's headers: how policies are set, removed and shown. See policies.py for what they mean.

    POST /v1/AUTH_a/photos   X-Container-Run-On-Read: thumbnail --width 200     also with PUT; accounts likewise
    POST /v1/AUTH_a/photos   X-Container-Run-On-Read:                           removes it, and so does
    POST /v1/AUTH_a/photos   X-Remove-Container-Run-On-Read: x
    HEAD /v1/AUTH_a/photos   shows them, and GET too, to the owner alone

    400  a value that does not parse, or a header that is none of them: nothing is changed
    403  set by somebody who is not the owner, whatever else they may write there

Who is an owner is Swift's to say: the authentication filter marks the request (`swift_owner`) while it authorizes it,
so it is asked in between. Values are kept as system metadata, which Swift takes from no client and shows to none.

S3 has no such headers: with them a request of its is refused, and none is ever shown there.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from swift.common.constraints import valid_api_version
from swift.common.swob import Response
from swift.common.utils import split_path
from swift.common.wsgi import WSGIContext

from insitu.runtime.grammar import GrammarError
from insitu.sandbox.errors import LimitsError
from insitu.storage_hooks import problem
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.policies import ACCOUNT_FIELDS, CONTAINER_FIELDS, MAX_BYTES, Field
from insitu.storage_hooks.problem import Problem

StartResponse = Callable[..., Any]


def policy_request(app: Any, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
    """Answer a request for an account or a container as far as it concerns policies.

    None: it does not, and whoever asked passes it on, unchanged. A path of something else concerns none.
    """
    method = environ["REQUEST_METHOD"]
    if method not in ("PUT", "POST", "GET", "HEAD"):
        return None
    try:
        version, _, container, name = split_path(environ["PATH_INFO"], 2, 4, True)
    except ValueError:
        return None
    if name or not valid_api_version(version):
        return None
    kind = CONTAINER if container else ACCOUNT
    if method in ("GET", "HEAD"):
        return None if environ.get("swift.source") == "S3" else _show(kind, app, environ, start_response)
    return _set(kind, app, environ, start_response)


class _Kind:
    """What can be said of an account, or of a container, in the terms of WSGI."""

    def __init__(self, word: str, fields: Iterable[Field], prefixes: tuple[str, ...]) -> None:
        self.fields = {_key(field.header): field for field in fields}
        self.sysmeta = f"X-{word}-Sysmeta-"
        self.shown = {self._kept(field).lower(): field.header for field in self.fields.values()}
        self._prefixes = tuple(_key(prefix) for prefix in prefixes)
        self._removals = tuple(_remove(prefix) for prefix in self._prefixes)
        self._ours = self._prefixes + self._removals

    def _kept(self, field: Field) -> str:
        return self.sysmeta + field.key

    def take(self, environ: Environ) -> dict[str, str]:
        """Take the owner's headers out of the request: field by field, "" for those to be removed.

        Raises `_Malformed`.
        """
        ours = [key for key in environ if key.startswith(self._ours)]
        # What is set wins over what is removed, as with Swift's own.
        found: dict[str, str] = {}
        for key in sorted(ours, key=lambda key: key.startswith(self._prefixes)):
            value = environ.pop(key)
            removal = key.startswith(self._removals)
            name = _key("X-") + key.removeprefix(_key("X-Remove-")) if removal else key
            if name not in self.fields:
                known = ", ".join(field.header for field in self.fields.values())
                raise _Malformed(f"there is no header {_header(name)}; there are {known}")
            found[name] = "" if removal else value.strip()
        for name, value in found.items():
            self._check(self.fields[name], value)
        return found

    def keep(self, found: Mapping[str, str], environ: Environ) -> None:
        for name, value in found.items():
            environ[_key(self._kept(self.fields[name]))] = value

    def _check(self, field: Field, value: str) -> None:
        if not value:
            return
        if len(value) > MAX_BYTES:
            raise _Malformed(f"{field.header}: {len(value)} bytes, and at most {MAX_BYTES} are allowed")
        try:
            field.parse(value.encode("latin-1").decode("utf-8", "surrogateescape"))
        except (GrammarError, LimitsError, ValueError) as why:
            raise _Malformed(f"{field.header}: {why}") from None


class _Malformed(Exception):
    pass


def _key(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def _remove(key: str) -> str:
    return key.replace("HTTP_X_", "HTTP_X_REMOVE_", 1)


def _header(key: str) -> str:
    return key.removeprefix("HTTP_").replace("_", "-").title()


CONTAINER: Final = _Kind("Container", CONTAINER_FIELDS, ("X-Container-Run-", "X-Container-Programs"))
ACCOUNT: Final = _Kind("Account", ACCOUNT_FIELDS, ("X-Account-Run-", "X-Account-Runs"))


def _set(kind: _Kind, app: Any, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
    try:
        found = kind.take(environ)
    except _Malformed as why:
        return problem.malformed_policy(str(why)).answer(environ, start_response, [])
    if not found:
        return None
    header = kind.fields[next(iter(found))].header
    if environ.get("swift.source") == "S3":
        return problem.malformed_policy(f"S3 has no {header}; it is set in Swift's own API").answer(
            environ, start_response, []
        )
    _owners_only(environ, problem.not_owner(header))
    kind.keep(found, environ)
    answer: Iterable[bytes] = app(environ, start_response)
    return answer


def _owners_only(environ: Environ, refusal: Problem) -> None:
    authorize = environ.get("swift.authorize")
    # Set for an earlier request that this one was made of, it says nothing of this one.
    environ.pop("swift_owner", None)

    def checked(req: Any) -> Any:
        denied = authorize(req) if authorize is not None else None
        if denied is not None or req.environ.get("swift_owner"):
            return denied
        return _response(refusal, req)

    environ["swift.authorize"] = checked


def _response(refusal: Problem, req: Any) -> Any:
    return Response(
        request=req,
        status=refusal.status,
        body=json.dumps(refusal.document()).encode() + b"\n",
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store"},
    )


def _show(kind: _Kind, app: Any, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    context = WSGIContext(app)
    body: Iterable[bytes] = context._app_call(environ)
    headers: Headers = context._response_headers
    if environ.get("swift_owner"):
        headers = headers + [
            (kind.shown[key.lower()], value) for key, value in headers if value and key.lower() in kind.shown
        ]
    start_response(context._response_status, headers, context._response_exc_info)
    return body
