"""Programs that are objects: `X-Run: /programs/redact.wasm`.

A node knows a program by its digest, so the path becomes one first: the object is read, its SHA-256 taken, and its
bytes given to the proxy's own node. Later requests ask Swift only whether the object is still the same (a HEAD, in the
caller's name, which also says whether he may read it); storage nodes that lack the digest are brought the bytes.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from swift.common.utils import close_if_possible

from insitu.runtime.grammar import RunRequest, is_path
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.storage_hooks import problem
from insitu.storage_hooks.extra_inputs import fetch
from insitu.storage_hooks.inside import Environ
from insitu.storage_hooks.refusing import Refused, unavailable

_REMEMBERED: Final = 4096
_TOO_LARGE: Final = f"over {MAX_PROGRAM} bytes, and no program is allowed more"


class StoredPrograms:
    """What one proxy knows of them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._digests: OrderedDict[tuple[str, ...], str] = OrderedDict()
        """By account, path, ETag and time of the object: what is another object has another time."""

    def settle(
        self, environ: Environ, account: str, request: RunRequest, *, owners: bool
    ) -> tuple[RunRequest, "Bytes | None"]:
        """The same run with a program that a node can look for, and where its bytes are if nodes may lack them.

        `owners`: read it in the owner's name. Raises `Refused`: no such program, not allowed, or not as pinned.
        """
        if not is_path(request.program):
            if not request.digest:
                return request, None
            # By a name and a digest: the digest says it all, and a node that has another version under the name
            # does not have this one.
            return replace(request, program=request.digest, digest=""), None
        path = request.program
        digest = self._digest(environ, account, path, owners)
        if request.digest and request.digest != digest:
            raise Refused(
                problem.program_changed(f"{path} has the digest {digest}, and the request pins {request.digest}")
            )
        return replace(request, program=digest, digest=""), Bytes(self._app, environ, path)

    def _digest(self, environ: Environ, account: str, path: str, owners: bool) -> str:
        response = fetch(self._app, environ, path, "HEAD", owners=owners)
        close_if_possible(response.app_iter)
        if response.status_int in (401, 403):
            raise Refused(problem.forbidden(f"you may not read the program {path}"))
        if response.status_int == 404:
            raise Refused(problem.no_such_program(f"there is no object {path} in this account"))
        if response.status_int // 100 != 2:
            raise unavailable(f"the program {path}: Swift answers {response.status}", [])
        key = (account, path, response.headers.get("Etag", ""), response.headers.get("X-Timestamp", ""))
        digest = self._digests.get(key)
        if digest is None:
            summed = hashlib.sha256()
            for chunk in Bytes(self._app, environ, path):
                summed.update(chunk)
            # Of what was read just now. If that was overwritten since the HEAD, the next one has another key.
            digest = f"sha256:{summed.hexdigest()}"
            self._digests[key] = digest
            while len(self._digests) > _REMEMBERED:
                self._digests.popitem(last=False)
        else:
            self._digests.move_to_end(key)
        return digest


class Bytes:
    """The bytes of a program that somebody may run; read in the owner's name, as often as they are iterated."""

    def __init__(self, app: Any, environ: Environ, path: str) -> None:
        self._app, self._environ, self._path = app, environ, path

    def __call__(self) -> Iterable[bytes]:
        return self

    def __iter__(self) -> Iterator[bytes]:
        response = fetch(self._app, self._environ, self._path, "GET", owners=True)
        try:
            if response.status_int != 200:
                raise unavailable(f"the program {self._path}: Swift answers {response.status}", [])
            if (response.content_length or 0) > MAX_PROGRAM:
                raise Refused(problem.no_such_program(f"{self._path}: {_TOO_LARGE}"))
            size = 0
            for chunk in response.app_iter:
                size += len(chunk)
                if size > MAX_PROGRAM:
                    raise Refused(problem.no_such_program(f"{self._path}: {_TOO_LARGE}"))
                yield chunk
            if response.content_length is not None and size != response.content_length:
                raise unavailable(f"the program {self._path} broke off after {size} bytes", [])
        finally:
            close_if_possible(response.app_iter)
