"""COPY with a program: the source is read through it, on the node that holds the source, and the result is stored.

    COPY /v1/a/c/o  Destination: d/p        PUT /v1/a/d/p  X-Copy-From: c/o

both become one GET with a run, whose body is one PUT. As with Swift's own copies the source's metadata come along
unless `X-Fresh-Metadata: true` says no, and what the request itself says wins; but the content type is the program's.
"""

from swift.common.constraints import check_account_format
from swift.common.request_helpers import check_path_header
from swift.common.swob import HTTPPreconditionFailed, Request, wsgi_quote, wsgi_unquote
from swift.common.utils import config_true_value

from insitu.storage_hooks import problem
from insitu.storage_hooks.inside import Environ, Headers
from insitu.storage_hooks.refusing import Refused

_BROUGHT = frozenset(("content-type", "content-encoding", "content-disposition", "content-language", "x-delete-at"))
_BROUGHT_PREFIX = "x-object-meta-"


def is_copy(environ: Environ) -> bool:
    method = environ["REQUEST_METHOD"]
    return method == "COPY" or (method == "PUT" and bool(environ.get("HTTP_X_COPY_FROM")))


class Copy:
    """One copy as two requests."""

    def __init__(self, environ: Environ) -> None:
        """Raises `HTTPException`, Swift's own words for a malformed copy."""
        request = Request(environ)
        version, account, container, name = request.split_path(4, 4, True)
        if environ["REQUEST_METHOD"] == "COPY":
            if not request.headers.get("Destination"):
                raise HTTPPreconditionFailed(request=request, body="Destination header required")
            target = account
            if "Destination-Account" in request.headers:
                target = check_account_format(request, wsgi_unquote(request.headers["Destination-Account"]))
            self.source = (account, container, name)
            self.target = (target, *_path_in(request, "Destination"))
        else:
            source = account
            if "X-Copy-From-Account" in request.headers:
                source = check_account_format(request, wsgi_unquote(request.headers["X-Copy-From-Account"]))
            self.source = (source, *_path_in(request, "X-Copy-From"))
            self.target = (account, container, name)
        self._environ, self._version = environ, version
        self.moves = self.target[:2] != (account, container)
        """The container that is written is not the one that the request's path names."""
        self._fresh = config_true_value(environ.get("HTTP_X_FRESH_METADATA", "false"))

    def check_whole(self) -> None:
        """That a program can be run on what is copied. Raises `Refused`."""
        if self._environ.get("HTTP_RANGE"):
            raise Refused(problem.malformed_copy("a Range and a run do not go together"))
        if (self._environ.get("CONTENT_LENGTH") or "0") != "0":
            raise Refused(problem.malformed_copy("it has a body, and a copy has none of its own"))

    def reading(self) -> Environ:
        """The GET of the source, with the caller's rights."""
        sent = dict(self._environ)
        for name in ("CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_ETAG"):
            sent.pop(name, None)
        for name in [n for n in sent if n.startswith(("HTTP_X_OBJECT_META_", "HTTP_X_COPY_", "HTTP_DESTINATION"))]:
            del sent[name]
        return sent | {"REQUEST_METHOD": "GET", "PATH_INFO": self._path(self.source), "SCRIPT_NAME": ""}

    def writing(self, source: Headers) -> Environ:
        """The PUT of the target, without a body: `source` are the headers of what was read."""
        sent = dict(self._environ) | {"REQUEST_METHOD": "PUT", "PATH_INFO": self._path(self.target), "SCRIPT_NAME": ""}
        sent["QUERY_STRING"] = ""
        for name in [n for n in sent if n.startswith(("HTTP_X_COPY_", "HTTP_DESTINATION", "HTTP_IF_"))]:
            del sent[name]
        if not self._fresh:
            for key, value in source:
                lower = key.lower()
                if lower in _BROUGHT or lower.startswith(_BROUGHT_PREFIX):
                    sent.setdefault(_variable(lower), value)
        return sent

    def answer_headers(self) -> Headers:
        """What Swift tells of a copy."""
        account, container, name = self.source
        return [
            ("X-Copied-From", f"{wsgi_quote(container)}/{wsgi_quote(name)}"),
            ("X-Copied-From-Account", wsgi_quote(account)),
        ]

    def _path(self, where: tuple[str, str, str]) -> str:
        return "/".join(("", self._version, *where))


def _path_in(request: Request, header: str) -> tuple[str, str]:
    """Container and object. Raises `HTTPException`."""
    form = f"{header} header must be of the form <container name>/<object name>"
    container, name = check_path_header(request, header, 2, form)
    return container, name


def _variable(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name == "CONTENT_TYPE" else f"HTTP_{name}"
