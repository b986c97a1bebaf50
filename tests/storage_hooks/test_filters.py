"""The filters alone: plain requests pass as they are, and wrong settings are named when the server starts."""

import contextlib
import io
import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from swift.proxy.controllers.base import headers_to_account_info, headers_to_container_info

from insitu.runtime import wire
from insitu.sandbox.limits import Limits
from insitu.storage_hooks import inside, object_hook, run_hook, run_switch
from insitu.storage_hooks.object_hook import ObjectHook
from insitu.storage_hooks.run_application import RunApplication
from insitu.storage_hooks.run_hook import RunHook
from insitu.storage_hooks.signature import Statement, sign

KEY = "a key of forty characters and not a secret"
OBJECT_CONF = {"socket": "/nonexistent", "node": "object-1", "key": KEY}


@pytest.fixture(autouse=True)
def plain_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Swift's own open a socket to the system's log, and never close it."""
    for module in (object_hook, run_hook, run_switch):
        monkeypatch.setattr(module, "get_logger", lambda *_, **__: logging.getLogger("insitu"))


class App:
    """Answers nothing, remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.body = [b"plain"]

    def __call__(self, *arguments: Any) -> list[bytes]:
        self.seen.append(arguments)
        return self.body


@pytest.fixture
def switch() -> run_switch.RunSwitch:
    """Around a real proxy application, of which nothing is set up but what the filter reads at its start."""
    from swift.common.error_limiter import ErrorLimiter
    from swift.proxy.server import Application

    class Plain(Application):  # type: ignore[misc]
        def __init__(self) -> None:
            self.error_limiter = ErrorLimiter(60, 10)
            self.inner = App()

        def __call__(self, *arguments: Any) -> Any:
            return self.inner(*arguments)

    return run_switch.RunSwitch(Plain(), {"key": KEY})


def plain_request(method: str = "GET") -> dict[str, Any]:
    """With what Swift has looked up by then: a container and an account that have no policy."""
    known = {"container/a/c": headers_to_container_info({}, 204), "account/a": headers_to_account_info({}, 204)}
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": "/v1/a/c/o",
        "HTTP_RANGE": "bytes=0-1",
        "HTTP_X_NEWEST": "true",
        "swift.infocache": known,
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("make", [lambda app: RunHook(app, {}), lambda app: ObjectHook(app, OBJECT_CONF)])
def test_a_plain_request_passes_as_it_is(make: Any, method: str) -> None:
    app = App()
    environ = plain_request(method)
    before = dict(environ)

    def start_response(*_: Any) -> None: ...

    assert make(app)(environ, start_response) is app.body
    [(seen, passed_on)] = app.seen
    assert seen is environ
    assert passed_on is start_response
    assert environ == before


def test_a_plain_request_passes_the_switch_as_it_is(switch: run_switch.RunSwitch) -> None:
    environ = plain_request()
    before = dict(environ)
    assert switch(environ, lambda *_: None) is switch.app.inner.body
    assert environ == before


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("400 Bad Request", [(inside.REFUSED, inside.UNSUPPORTED)]),
        ("200 OK", [(inside.REFUSED, inside.UNSUPPORTED), ("Content-Length", "0")]),
        ("200 OK", [("Content-Length", "12")]),
    ],
    ids=["erasure coded", "not whole on its node", "no object hook there"],
)
def test_what_no_node_can_run_is_read_as_if_nothing_had_been_asked_for(
    switch: run_switch.RunSwitch, monkeypatch: pytest.MonkeyPatch, status: str, headers: inside.Headers
) -> None:
    unread = Unread()
    monkeypatch.setattr(RunApplication, "__call__", answering(status, headers, unread))
    plain = plain_request() | {"swift.trans_id": "tx1"}
    del plain["HTTP_RANGE"]
    environ = plain | {inside.ENV_REQUEST: "copy", inside.ENV_TERMS: "{}"}

    def start_response(*_: Any) -> None: ...

    assert switch(environ, start_response) is switch.app.inner.body
    assert switch.app.inner.seen == [(environ, start_response)]
    assert environ == plain  # with its X-Newest, without the mark
    assert unread.closed


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK", [("Content-Length", "0"), ("X-Object-Sysmeta-Symlink-Target", "c/o")]),
        ("200 OK", [("Content-Length", "0"), (inside.REFUSED, "unknown-program")]),
        ("304 Not Modified", []),
        ("404 Not Found", [("Content-Length", "9")]),
    ],
)
def test_other_answers_to_a_mark_pass_and_are_asked_for_once(
    switch: run_switch.RunSwitch, monkeypatch: pytest.MonkeyPatch, status: str, headers: inside.Headers
) -> None:
    body = Unread()
    monkeypatch.setattr(RunApplication, "__call__", answering(status, headers, body))
    seen: list[Any] = []
    environ = plain_request() | {inside.ENV_REQUEST: "copy", inside.ENV_TERMS: "{}"}
    assert switch(environ, lambda *arguments: seen.append(arguments[:2])) is body
    assert seen == [(status, headers)]
    assert switch.app.inner.seen == []
    assert not body.closed


class Response:
    """An object server's answer that is no success."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self._headers = headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        return self._headers.get(name.replace("-", "_"), default)


@pytest.mark.parametrize(
    ("response", "settled"),
    [
        (Response(500), True),
        (Response(503), False),
        (Response(500, X_Backend_Run_Passed="1"), False),
        (Response(503, X_Backend_Run_Refused="busy"), False),
        (Response(403, X_Backend_Run_Refused="hooks-misconfigured"), False),
        (Response(404), False),
    ],
)
def test_a_server_error_that_nobody_vouches_for_may_have_started_something(
    switch: run_switch.RunSwitch, response: Response, settled: bool
) -> None:
    """The hook says so of Swift's own errors, which come before it starts anything."""
    limiter = switch.error_limiter
    switch.app.logger = logging.getLogger("insitu")
    app = RunApplication.of(switch.app, 60, limiter)
    node = {"ip": "127.0.0.1", "port": 1, "device": "d1", "id": 0}
    app.check_response(node, "Object", response, "GET", "/a/c/o", b"")
    assert app.settled is settled
    assert app.error_limited(node) is settled


def answering(status: str, headers: inside.Headers, body: Any) -> Any:
    def call(_app: Any, _environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return body

    return call


class Unread:
    """A body that nobody may read."""

    closed = False

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("it was read")

    def close(self) -> None:
        self.closed = True


def test_a_forged_mark_is_stripped_without_x_run_too() -> None:
    app = App()
    environ = plain_request() | {inside.ENV_REQUEST: "args forged", inside.ENV_TERMS: "{}"}
    RunHook(app, {})(environ, lambda *_: None)
    assert inside.ENV_REQUEST not in app.seen[0][0]


def test_what_the_run_hook_sends_on_is_what_the_object_hook_understands() -> None:
    app = App()
    environ = plain_request() | {"HTTP_X_RUN": "copy %C3%A9", "HTTP_IF_RANGE": '"x"', "REMOTE_USER": "a:u"}
    with contextlib.suppress(TypeError):  # the app never calls start_response
        RunHook(app, {"memory": "64MiB", "wall": "2min", "output": "1KiB", "fuel": "5"})(environ, lambda *_: None)
    [(sent, _)] = app.seen
    assert not {"HTTP_X_RUN", "HTTP_RANGE", "HTTP_IF_RANGE"} & set(sent)
    assert inside.parse_header(sent[inside.ENV_REQUEST]).args == ("é",)
    terms = inside.Terms.decode(sent[inside.ENV_TERMS])
    assert terms.tenant == "a"
    assert terms.limits == Limits(memory=64 << 20, wall=120.0, output=1024, fuel=5)


@pytest.mark.parametrize("text", ["", "{}", "null", '{"tenant": "a", "limits": {"wall": -1}}', '{"limits": {}}'])
def test_terms_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(inside.TermsError):
        inside.Terms.decode(text)


@pytest.mark.parametrize(
    ("factory", "conf", "says"),
    [
        (object_hook.filter_factory, {"node": "object-1"}, "'socket' is missing"),
        (object_hook.filter_factory, {"socket": "/s"}, "'node' is missing"),
        (object_hook.filter_factory, OBJECT_CONF | {"beat": "0"}, "beat = '0'"),
        (object_hook.filter_factory, OBJECT_CONF | {"accept_timeout": "soon"}, "accept_timeout = 'soon'"),
        (run_hook.filter_factory, {"memory": "lots"}, "'lots' is not a size"),
        (run_hook.filter_factory, {"wal": "2s"}, "there is no setting wal; there are socket, "),
        (run_switch.filter_factory, {"secret": "s" * 40}, "there is no setting secret"),
        (object_hook.filter_factory, OBJECT_CONF | {"key_fil": "/k"}, "there is no setting key_fil"),
        (run_hook.filter_factory, {"wall": "0"}, "limit wall"),
        (run_hook.filter_factory, {"fuel": "x"}, "run_hook"),
        (run_hook.filter_factory, {"derived_bytes": "lots"}, "run_hook: .lots. is not a size"),
        (run_hook.filter_factory, {"derived_age": "soon"}, "run_hook"),
        (run_switch.filter_factory, {}, "immediately left of the proxy-server app"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(factory: Any, conf: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("'", ".")):
        factory({}, **conf)(App())


@pytest.mark.parametrize("lifetime", ["0", "-1", "1.5", "soon", "86401", ""])
def test_the_switch_names_a_wrong_lifetime(switch: run_switch.RunSwitch, lifetime: str) -> None:
    with pytest.raises(ValueError, match=f"lifetime = '{lifetime}'"):
        run_switch.RunSwitch(switch.app, {"key": KEY, "lifetime": lifetime})


def test_nobody_starts_without_a_key(switch: run_switch.RunSwitch) -> None:
    for make in (
        lambda: run_switch.RunSwitch(switch.app, {}),
        lambda: ObjectHook(App(), {"socket": "/nonexistent", "node": "object-1"}),
    ):
        with pytest.raises(ValueError, match=r"neither 'key' nor 'key_file' is set.*openssl rand"):
            make()


def test_the_switch_names_a_wrong_timeout(switch: run_switch.RunSwitch) -> None:
    with pytest.raises(ValueError, match="node_timeout"):
        run_switch.RunSwitch(switch.app, {"key": KEY, "node_timeout": "never"})


# -- a node that does not answer ---------------------------------------------------------------------------------------


class ObjectServer:
    """Has one object, and answers as Swift's object server does: with a reader that has an open file."""

    class Reader:
        def __init__(self, file: Any) -> None:
            self._fp = file

        def close(self) -> None:
            self._fp.close()

    def __init__(self) -> None:
        self.file: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Reader
        start_response("200 OK", [("Content-Length", "5"), ("X-Backend-Timestamp", "1.0"), ("Etag", "x")])
        return self.Reader(self.file)


@pytest.fixture
def deaf() -> Iterator[str]:
    """A socket on which somebody listens and nobody answers."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(directory, "s"))
        listener.bind(path)
        listener.listen()
        yield path


def run_request() -> dict[str, Any]:
    terms = json.dumps({"tenant": "a", "limits": {}})
    signed = Statement("GET", "/a/c/o", "copy", terms, "tx1")
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/d1/7/a/c/o",
        "HTTP_X_TRANS_ID": "tx1",
        "wsgi.input": io.BytesIO(),
        inside.ENV_REQUEST: "copy",
        inside.ENV_TERMS: terms,
        inside.ENV_SIGNATURE: sign(KEY.encode(), signed, time.time()),
    }


def asked(path: str) -> tuple[str, dict[str, str], ObjectServer]:
    server = ObjectServer()
    hook = ObjectHook(server, OBJECT_CONF | {"socket": path, "accept_timeout": "0.2"})
    seen: list[Any] = []
    environ = run_request()
    body = b"".join(hook(environ, lambda *arguments: seen.append(arguments)))
    assert body == b""
    status, headers = seen[0]
    return status, dict(headers), server


def test_a_node_that_never_accepts_is_no_reason_to_ask_another(deaf: str) -> None:
    """It may be starting the program at this very moment."""
    before = len(os.listdir("/proc/self/fd"))
    status, headers, server = asked(deaf)
    assert status == "200 OK"  # for Swift: no other replica is tried
    assert headers[inside.REFUSED] not in ("busy", "unavailable")
    assert "did not accept within 0.2 s" in inside.unquote_reason(headers[inside.REASON])
    assert server.file.closed
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the hub's own, made once


def test_the_hook_vouches_for_swift_s_own_errors() -> None:
    def broken(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("507 Insufficient Storage", [("X-Backend-Timestamp", "1.0")])
        return [b""]

    seen: list[Any] = []
    environ = run_request()
    assert ObjectHook(broken, OBJECT_CONF)(environ, lambda *arguments: seen.append(arguments)) == [b""]
    assert dict(seen[0][1])[inside.PASSED] == "1"


def test_a_node_that_is_not_there_is(deaf: str) -> None:
    status, headers, server = asked(deaf + "-not")
    assert status == "503 Service Unavailable"
    assert headers[inside.REFUSED] == "unavailable"
    assert headers["X-Backend-Timestamp"] == "1.0"
    assert server.file.closed


def test_a_node_without_room_is_neither_and_says_when_to_come_again(deaf: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(deaf + "-busy")
        listener.listen()
        node = threading.Thread(target=be_busy, args=(listener,))
        node.start()
        status, headers, server = asked(deaf + "-busy")
        node.join()
    assert status == "503 Service Unavailable"
    assert headers[inside.REFUSED] == "busy"
    assert headers["Retry-After"] == "7"
    assert inside.unquote_reason(headers[inside.REASON]) == "256 launches wait already"
    assert server.file.closed


def be_busy(listener: socket.socket) -> None:
    """Answer one launch as a node does whose queue is full."""
    peer, _ = listener.accept()
    with peer:
        _request, fds = wire.receive_with_fds(peer)
        wire.close_all(fds)
        wire.send(peer, {"error": "busy", "message": "256 launches wait already", "retry_after": 6.6})
