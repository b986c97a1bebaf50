"""The object store as a job sees it: listings, run requests, uploads. The only file that imports swiftclient.

swiftclient's own retries are off (`retries=0`): it would resume a broken body with a Range, and a run's result cannot
be resumed, only run again. Whether to try again is the state machine's to say. (An expired token is still renewed.)

A body counts as whole only if HTTP says where it ends (chunks, or a Content-Length): a result that merely stops is
indistinguishable from one that broke off, and is refused.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Protocol, TypeVar

import requests
import swiftclient
import urllib3
from swiftclient.service import process_options

from insitu.jobs.credentials import gather
from insitu.jobs.errors import StorageUnusable
from insitu.jobs.failure import AttemptFailed, Failure, Launched, from_response, innermost, one_line
from insitu.jobs.names import has_dots, shown
from insitu.jobs.plan import ObjectInfo

CHUNK = 64 * 1024
TIMEOUT = 120.0
"""Seconds without a byte after which a connection is given up. Above a run's wall limit: a program may be silent."""

_BROKEN = (OSError, HTTPException, requests.RequestException, urllib3.exceptions.HTTPError)
_T = TypeVar("_T")


def connection_options(given: Mapping[str, str | bool | None], environ: Mapping[str, str]) -> dict[str, Any]:
    """What swiftclient's `Connection` is made with, from options and environment, as the swift command reads them.

    `given` has the swift command's option names (`auth`, `os_auth_url`, …). Raises `StorageUnusable`.
    """
    options = gather(given, environ)
    process_options(options)
    has_token = options["os_storage_url"] and options["os_auth_token"]
    has_application = options["os_application_credential_id"] and options["os_application_credential_secret"]
    has_password = options["auth"] and options["key"] and (options["user"] or options["os_user_id"])
    if not (has_token or has_password or (has_application and options["auth"])):
        raise StorageUnusable(
            "no credentials for the storage: set ST_AUTH, ST_USER and ST_KEY (or give -A, -U and -K), or the OS_* "
            "variables that the swift command reads"
        )
    return {
        "authurl": options["auth"],
        "user": options["user"],
        "key": options["key"],
        "auth_version": options["auth_version"],
        "os_options": options["os_options"],
        "cacert": options["os_cacert"],
        "cert": options["os_cert"],
        "cert_key": options["os_key"],
        "insecure": options["insecure"],
    }


class Readable(Protocol):
    """What an upload reads from."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RunReply:
    """A run request's answer: iterate `chunks` to its end to have a whole result. Raises `AttemptFailed` on the way."""

    launched: Launched
    content_type: str
    chunks: Iterator[bytes]
    close: Callable[[], None]


class Store:
    """One account. Safe to use from several threads: each has a connection of its own."""

    def __init__(self, options: Mapping[str, Any], timeout: float = TIMEOUT, retries: int = 3) -> None:
        self._options = dict(options)
        self._timeout = timeout
        self._retries = retries
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[swiftclient.Connection] = []
        self._auth: tuple[str, str] | None = None

    def connect(self) -> str:
        """Ask for a token, once for all threads; returns the account's URL. Raises `StorageUnusable`."""
        conn = self._new()
        try:
            self._auth = conn.get_auth() if not (conn.url and conn.token) else (conn.url, conn.token)
        except swiftclient.ClientException as why:
            status = why.http_status
            hint = "; check user and key" if status in (401, 403) else ""
            answer = f"answered {status} {why.http_reason or ''}".rstrip() if status else one_line(why)
            raise StorageUnusable(f"{self._options['authurl']}: {answer}{hint}") from None
        except _BROKEN as why:
            raise StorageUnusable(f"{self._options['authurl']}: {innermost(why)}") from None
        except ValueError as why:  # requests: a URL that is none
            raise StorageUnusable(f"{self._options['authurl']}: {one_line(why)}") from None
        finally:
            conn.close()
        return self._auth[0]

    def close(self) -> None:
        with self._lock:
            for conn in self._open:
                conn.close()
            self._open.clear()

    # --- listings and containers: tried again here, since no task stands for them ---

    def listing(self, container: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects of a container, page by page. Raises `StorageUnusable`."""
        marker = ""
        while True:

            def page(at: str = marker) -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = self._conn().get_container(container, prefix=prefix, marker=at)[1]
                return found

            entries = self._patiently(f"container {shown(container)}", page)
            for entry in entries:
                yield ObjectInfo(entry["name"], int(entry["bytes"]))
            if not entries:
                return
            marker = entries[-1]["name"]

    def ensure_container(self, container: str) -> None:
        """Make it if it is missing. Raises `StorageUnusable`."""

        def ensure() -> None:
            try:
                self._conn().head_container(container)
            except swiftclient.ClientException as why:
                if why.http_status != 404:
                    raise
                self._conn().put_container(container)

        self._patiently(f"container {shown(container)}", ensure)

    def has_container(self, container: str) -> bool:
        """Raises `StorageUnusable`."""

        def has() -> bool:
            try:
                self._conn().head_container(container)
            except swiftclient.ClientException as why:
                if why.http_status == 404:
                    return False
                raise
            return True

        return self._patiently(f"container {shown(container)}", has)

    def delete(self, container: str, name: str) -> None:
        """Delete an object; one that is gone already is fine. Raises `StorageUnusable`."""

        def delete() -> None:
            try:
                self._conn().delete_object(container, name)
            except swiftclient.ClientException as why:
                if why.http_status != 404:
                    raise

        self._patiently(f"object {shown(f'{container}/{name}')}", delete)

    def remove_if_empty(self, container: str) -> bool:
        """Remove a container unless something lies in it. Raises `StorageUnusable`."""

        def remove() -> bool:
            try:
                self._conn().delete_container(container)
            except swiftclient.ClientException as why:
                if why.http_status == 409:
                    return False
                if why.http_status != 404:
                    raise
            return True

        return self._patiently(f"container {shown(container)}", remove)

    def _patiently(self, what: str, ask: Callable[[], _T]) -> _T:
        for attempt in range(self._retries + 1):
            try:
                return ask()
            except (swiftclient.ClientException, *_BROKEN) as why:
                failure = _failure(why)
                if not failure.retry or attempt == self._retries:
                    hint = "; it does not exist" if failure.status == 404 else ""
                    status = f"{failure.status} " if failure.status else ""
                    raise StorageUnusable(f"{what}: {status}{failure.message}{hint}") from None
                time.sleep(min(max(0.5 * 2**attempt, failure.retry_after), 30.0))
        raise AssertionError("unreachable")

    # --- what attempts do: one try each, `AttemptFailed` says how it went ---

    def run(self, container: str, name: str, run: str, program: str) -> RunReply:
        """GET with `X-Run`. The caller reads the chunks to the end, and closes the reply. Raises `AttemptFailed`."""
        if has_dots(name):
            # requests would ask for another object: it takes the segments away before it sends the path.
            raise AttemptFailed(
                Failure("refused", "its name has a segment '.' or '..', which HTTP clients take out of a path")
            )
        # Not kept as a derived object: what a task reads is read once, and its launch is the job's.
        asked = {"X-Run": run, "Cache-Control": "no-store"}
        try:
            headers, body = self._conn().get_object(container, name, resp_chunk_size=CHUNK, headers=asked)
        except (swiftclient.ClientException, *_BROKEN) as why:
            raise AttemptFailed(_failure(why, program)) from None
        run_id = headers.get("x-run-id")
        if not run_id:
            body.close()
            raise AttemptFailed(
                Failure(
                    "request", "the storage answered with plain bytes and ran nothing: it has no insitu in its proxy"
                )
            )
        launched = Launched(run_id, program, headers.get("x-run-program", ""), headers.get("x-run-where", ""))
        if "chunked" not in headers.get("transfer-encoding", "").lower() and "content-length" not in headers:
            body.close()
            raise AttemptFailed(
                Failure(
                    "refused",
                    "the answer does not say where it ends, so a broken one would look whole (a proxy that speaks "
                    "HTTP/1.0 in between?)",
                    launched=launched,
                )
            )
        return RunReply(launched, headers.get("content-type", ""), _chunks(body, launched), body.close)

    def put(
        self,
        container: str,
        name: str,
        contents: Readable,
        length: int,
        md5: str,
        content_type: str,
        expires: int | None = None,
    ) -> None:
        """Store an object, whole and with this MD5 or not at all. `expires` is in seconds. Raises `AttemptFailed`."""
        headers = {"Content-Type": content_type or "application/octet-stream"}
        if expires is not None:
            headers["X-Delete-After"] = str(expires)
        try:
            self._conn().put_object(
                container,
                name,
                contents if length else b"",  # requests would send an empty reader in chunks, with a length besides
                content_length=length,
                etag=md5,
                headers=headers,
            )
        except (swiftclient.ClientException, *_BROKEN) as why:
            failure = _failure(why)
            if failure.status == 422:  # not our MD5: the bytes were damaged on their way
                failure = Failure("storage", f"stored bytes differ from those sent: {failure.message}", 422)
            raise AttemptFailed(failure) from None

    def _conn(self) -> Any:
        conn = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self._new()
            with self._lock:
                self._open.append(conn)
        return conn

    def _new(self) -> Any:
        url, token = self._auth or (None, None)
        return swiftclient.Connection(
            **self._options, preauthurl=url, preauthtoken=token, retries=0, timeout=self._timeout
        )


def from_environment(given: Mapping[str, str | bool | None], timeout: float = TIMEOUT) -> Store:
    """The store that options and the process's environment name. Raises `StorageUnusable`."""
    return Store(connection_options(given, os.environ), timeout)


def _chunks(body: Any, launched: Launched) -> Iterator[bytes]:
    while True:
        try:
            chunk = body.read(CHUNK)
        except _BROKEN as why:
            raise AttemptFailed(
                Failure("storage", f"the result broke off before its end: {innermost(why)}", launched=launched)
            ) from None
        if not chunk:
            return
        yield chunk


def _failure(why: Exception, program: str | None = None) -> Failure:
    if isinstance(why, swiftclient.ClientException):
        if not why.http_status:
            return Failure("refused", one_line(why))
        headers = {str(k).lower(): str(v) for k, v in dict(why.http_response_headers or {}).items()}
        content = why.http_response_content or b""
        body = content if isinstance(content, bytes) else str(content).encode()
        return from_response(int(why.http_status), str(why.http_reason or ""), headers, body, program)
    return Failure("storage", innermost(why))
