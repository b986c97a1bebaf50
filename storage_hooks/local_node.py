"""The insitu node on this machine, as a Swift server reaches it.

Settings, of object_hook and run_hook alike:

    # The socket of the insitu node on this machine (insitu node --socket …).
    socket = /run/insitu/node.sock
    # How clients see this node in X-Run-Where.
    node = object-1
    # Seconds to wait for the node to take a connection, and to accept a launch (a program that it has never seen is
    # compiled first).
    connect_timeout = 2
    accept_timeout = 45
    # A sign of life while a program is silent, seconds.
    beat = 5
    # Whether what a program has read to its end is held against the object's ETag, as Swift does.
    verify = yes
"""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from swift.common.utils import config_true_value

from insitu.runtime.client import LaunchRequest
from insitu.runtime.errors import NodeError, NodeUnavailable
from insitu.runtime.programs import ProgramInfo
from insitu.runtime.questions import Questions
from insitu.storage_hooks import green, inside
from insitu.storage_hooks.inside import Headers
from insitu.storage_hooks.object_run import ObjectRun

_MD5 = re.compile("[0-9a-f]{32}")
_OF_MANIFESTS = ("X-Static-Large-Object", "X-Object-Manifest")

_NO_INPUTS: Final[Mapping[str, int]] = MappingProxyType({})


class LocalNode:
    """Where it is and how long it is waited for."""

    def __init__(self, conf: Mapping[str, str], filter_name: str) -> None:
        """Raises ValueError for a setting that is missing or malformed."""
        self.socket, self.name = conf.get("socket", ""), conf.get("node", "")
        if not self.socket:
            raise ValueError(f"{filter_name}: the setting 'socket' is missing; it names the insitu node's socket")
        if not self.name:
            raise ValueError(f"{filter_name}: the setting 'node' is missing; clients see it in X-Run-Where")
        self.connect_timeout = seconds(conf, "connect_timeout", 2.0, filter_name)
        self.accept_timeout = seconds(conf, "accept_timeout", 45.0, filter_name)
        self.verify = config_true_value(conf.get("verify", "yes"))
        self.beat = seconds(conf, "beat", 5.0, filter_name)

    def md5_of(self, headers: Headers) -> str:
        """What the object of these headers has, as its ETag says; empty where that is of something else, or where
        nothing is to be verified."""
        if not self.verify or any(inside.find(headers, name) for name in _OF_MANIFESTS):
            return ""
        etag = (inside.find(headers, "Etag") or "").strip('"').lower()
        return etag if _MD5.fullmatch(etag) else ""

    def connect(self) -> Any:
        """A green socket. Raises `NodeUnavailable`."""
        try:
            return green.connect(self.socket, self.connect_timeout)
        except OSError as why:
            raise NodeUnavailable(f"no insitu node answers on {self.name}: {why.strerror or why}") from None

    def bring(self, digest: str, pieces: Iterable[bytes], *, prepare: bool = False, tenant: str = "") -> ProgramInfo:
        """See to it that the node has a program, compiled with `prepare`. Raises `NodeError`, or what `pieces` does."""
        sock = self.connect()
        limit = green.Timeout(self.accept_timeout)
        try:
            with Questions(sock) as node:
                return node.bring(digest, pieces, prepare=prepare, tenant=tenant)
        except green.Timeout as late:
            if late is not limit:
                raise
            raise NodeUnavailable(f"{self.name} did not take the program within {self.accept_timeout:g} s") from None
        finally:
            limit.cancel()

    def launch(
        self,
        request: LaunchRequest,
        source: int,
        client: Any | None,
        inputs: Mapping[str, int] = _NO_INPUTS,
        *,
        damaged: Callable[[float], bool] | None = None,
    ) -> ObjectRun:
        """Start it. `source`: a file, or what else is stdin; `inputs`: the same by the names of channels; `client`: a
        socket whose closing ends the run; `damaged`: see `ObjectRun`.

        Raises `NodeError`: `Busy` and `NodeUnavailable` say that nothing was started and another node may be asked.
        """
        sock = self.connect()
        limit = green.Timeout(self.accept_timeout)
        try:
            return ObjectRun(sock, request, source, inputs, client=client, beat=self.beat, damaged=damaged)
        except green.Timeout as late:
            if late is not limit:
                raise
            # It may be accepting at this very moment: nobody else may be asked.
            raise NodeError(f"{self.name} did not accept within {self.accept_timeout:g} s") from None
        except OSError as why:
            raise NodeError(f"{self.name} could not be asked: {why.strerror or why}") from None
        finally:
            limit.cancel()


def seconds(conf: Mapping[str, str], name: str, default: float, filter_name: str) -> float:
    """A setting that is a number of seconds above 0. Raises ValueError."""
    text = conf.get(name, default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ValueError(f"{filter_name}: {name} = {text!r} is not a number of seconds above 0")
    return value
