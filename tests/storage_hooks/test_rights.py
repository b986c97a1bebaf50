"""Who may run what, decided with Swift's own tempauth in the place of authentication."""

from collections.abc import Mapping
from typing import Any

import pytest
from swift.common.middleware import keystoneauth, tempauth
from swift.common.swob import Request

from insitu.runtime.grammar import RunRequest, parse_run
from insitu.storage_hooks.policies import ACCOUNT_NONE, NONE, AccountPolicy, Policy, parse_allow
from insitu.storage_hooks.rights import Caller, Widening, may, named, widen

REDACT = RunRequest("redact", ("--names",))
POLICY = Policy(on_read=REDACT, allow=parse_allow("thumbnail *, words"), run_read="AUTH_b,c:reader", read_acl="d:all")


@pytest.mark.parametrize(
    ("environ", "caller"),
    [
        ({}, Caller.ANONYMOUS),
        ({"REMOTE_USER": ""}, Caller.ANONYMOUS),
        ({"REMOTE_USER": None}, Caller.ANONYMOUS),
        ({"REMOTE_USER": ".wsgi.tempurl"}, Caller.TEMPURL),
        ({"REMOTE_USER": ".wsgi.formpost"}, Caller.TEMPURL),
        ({"REMOTE_USER": ".wsgi.pre_authed"}, Caller.TEMPURL),
        ({"REMOTE_USER": "test,test:tester,AUTH_test"}, Caller.USER),
        ({"REMOTE_USER": ("id", "name")}, Caller.USER),  # keystoneauth's
        (
            {"REMOTE_USER": "test,test:tester,AUTH_test", "swift.source": "S3"},
            Caller.TEMPURL,
        ),  # how signed is not known
    ],
)
def test_in_whose_name_a_request_comes(environ: dict[str, Any], caller: Caller) -> None:
    assert Caller.of(environ) is caller


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("redact --names", True),
        ("redact", False),
        ("redact --names x", False),
        ("redact --names in.x=/c/o", False),
        ("redact@1 --names", False),
        ("thumbnail", True),
        ("thumbnail 1 2", True),
        ("thumbnail in.x=/c/o", False),
        ("words", True),
        ("words x", False),
        ("cat", False),
    ],
)
def test_only_what_the_owner_named_runs_without_a_name(request_: str, expected: bool) -> None:
    request = parse_run(request_)
    assert named(POLICY, request) is expected
    for caller in (Caller.ANONYMOUS, Caller.TEMPURL):
        refusal = may(caller, POLICY, ACCOUNT_NONE, request)
        assert (refusal is None) is expected
        assert refusal is None or (refusal.status, refusal.kind) == (403, "not-named")
    assert may(Caller.USER, POLICY, ACCOUNT_NONE, request) is None


def test_the_object_as_it_is() -> None:
    for caller in (Caller.ANONYMOUS, Caller.TEMPURL):
        assert may(caller, NONE, ACCOUNT_NONE, None) is None
        assert may(caller, Policy(allow=POLICY.allow), ACCOUNT_NONE, None) is None
        refusal = may(caller, POLICY, ACCOUNT_NONE, None)
        assert refusal is not None
        assert (refusal.status, refusal.kind) == (403, "not-named")
    assert may(Caller.USER, POLICY, ACCOUNT_NONE, None) is None


def test_an_account_without_runs() -> None:
    off = AccountPolicy(runs=False)
    for caller in Caller:
        refusal = may(caller, POLICY, off, REDACT)
        assert refusal is not None
        assert (refusal.status, refusal.kind) == (403, "runs-off")
    assert may(Caller.USER, POLICY, off, None) is None


USERS = {
    "a:owner": "a,a:owner,AUTH_a",
    "a:other": "a,a:other",
    "b:owner": "b,b:owner,AUTH_b",
    "b:other": "b,b:other",
    "c:owner": "c,c:owner,AUTH_c",
    "c:reader": "c,c:reader",
    "d:all": "d,d:all",
    "reader": "r,r:reader,.reseller_reader",
    "": "",
}


class Silence:
    """A logger: Swift's own would open a socket to syslog, and leave it open."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_words, **_more: None


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tempauth, keystoneauth.swift_utils):
        monkeypatch.setattr(module, "get_logger", lambda *_words, **_more: Silence())


class Door:
    """A request on its way in, with tempauth's own `authorize`."""

    def __init__(self, user: str, policy: Policy = POLICY, method: str = "GET", path: str = "/v1/AUTH_a/c/o") -> None:
        self.environ: dict[str, Any] = Request.blank(path, environ={"REQUEST_METHOD": method}).environ
        self.environ["REMOTE_USER"] = USERS[user]
        self.environ["swift.authorize"] = self._authorize
        info = {"status": 200, "sysmeta": {}, "bytes": 0, "container_count": 0, "total_object_count": 0}
        self.environ["swift.infocache"] = {f"account/AUTH_{one}": info for one in "abc"}
        self._tempauth = tempauth.TempAuth(self, {})
        self.logger = Silence()
        self.policy = policy

    def _authorize(self, req: Any) -> Any:
        return self._tempauth.authorize(req)

    def widen(self) -> Widening | None:
        return widen(self.environ, self.policy, "AUTH_a", "c", "o")

    def ask(self, path: str = "/v1/AUTH_a/c/o", method: str = "GET", acl: str | None = None, **more: str) -> Any:
        """As the proxy-server does: None when admitted, else a status."""
        environ = self.environ | {"PATH_INFO": path, "REQUEST_METHOD": method} | more
        request = Request(environ)
        if acl is not None:
            request.acl = acl
        denied = environ["swift.authorize"](request)
        assert request.acl == acl
        return denied and denied.status_int


ADMITTED: Mapping[str, tuple[bool, bool, bool]] = {
    # may read the object: may read a result: because of run_read
    "a:owner": (True, True, False),
    "a:other": (False, False, False),
    "b:owner": (False, True, True),
    "b:other": (False, False, False),
    "c:owner": (False, False, False),
    "c:reader": (False, True, True),
    "d:all": (True, True, False),
    "reader": (True, True, False),
    "": (False, False, False),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("user", USERS)
def test_whom_run_read_admits(user: str, method: str) -> None:
    plain, result, used = ADMITTED[user]
    door = Door(user)
    assert (door.ask(method=method, acl="d:all") is None) is plain
    widening = door.widen()
    assert widening is not None
    # Swift asks at first without the container's ACL, then with it.
    assert (door.ask(method=method) is None) is result
    assert (door.ask(method=method, acl="d:all") is None) is result
    assert widening.used is used
    widening.undo()
    assert (door.ask(method=method, acl="d:all") is None) is plain


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/AUTH_a/c/o2", "GET"),
        ("/v1/AUTH_a/c/o/", "GET"),
        ("/v1/AUTH_a/c/O", "GET"),
        ("/v1/AUTH_a/c", "GET"),
        ("/v1/AUTH_a/c/", "GET"),
        ("/v1/AUTH_a", "GET"),
        ("/v1/AUTH_a/c2/o", "GET"),
        ("/v1/AUTH_c/c/o", "GET"),
        ("/v1/.AUTH_a/c/o", "GET"),
        ("/v1/AUTH_a//c/o", "GET"),
        ("/v1", "GET"),
        ("/", "GET"),
        ("/v1/AUTH_a/c/o", "PUT"),
        ("/v1/AUTH_a/c/o", "POST"),
        ("/v1/AUTH_a/c/o", "DELETE"),
        ("/v1/AUTH_a/c/o", "COPY"),
    ],
)
@pytest.mark.parametrize("user", ["c:reader", "b:owner", ""])
def test_run_read_admits_to_one_object_and_to_read_it(user: str, path: str, method: str) -> None:
    door = Door(user, Policy(on_read=REDACT, run_read="AUTH_b,c:reader,.r:*,.rlistings"))
    before = door.ask(path, method)
    widening = door.widen()
    assert widening is not None
    assert before is not None
    assert door.ask(path, method) == before
    assert not widening.used


def test_a_result_for_everybody() -> None:
    door = Door("", Policy(on_read=REDACT, run_read=".r:*,.r:-.thief.com"))
    widening = door.widen()
    assert widening is not None
    assert door.ask() is None
    assert widening.used
    assert door.ask(HTTP_REFERER="http://a.thief.com/x") == 401


def test_names_that_are_not_ascii_are_compared_as_they_travel() -> None:
    path = "/v1/AUTH_a/\xc3\xa7/\xe2\x82\xac"  # ç, €: each byte a character
    door = Door("c:reader", path=path)
    assert widen(door.environ, POLICY, "AUTH_a", "\xc3\xa7", "\xe2\x82\xac") is not None
    assert door.ask(path) is None
    assert door.ask("/v1/AUTH_a/\xc3\xa7/\xe2\x82\xad") == 403


def test_nobody_to_admit() -> None:
    door = Door("c:reader", Policy(on_read=REDACT))
    assert door.widen() is None
    assert door.ask() == 403
    del door.environ["swift.authorize"]
    assert widen(door.environ, POLICY, "AUTH_a", "c", "o") is None


def test_tempurl_s_own_word_is_not_widened() -> None:
    door = Door("")
    door.environ["REMOTE_USER"] = ".wsgi.tempurl"
    denied = Request.blank("/").get_response(lambda environ, start: start("401 No", []) and [b""])
    door.environ["swift.authorize"] = lambda req: denied
    assert door.widen() is not None
    assert door.ask() == 401


class KeystoneDoor(Door):
    """The same with keystoneauth, as it is behind keystonemiddleware: it says who came in headers of its own."""

    def __init__(self, project: str | None, user: str = "u", role: str = "member") -> None:
        super().__init__("", Policy(on_read=REDACT, run_read="b:*,c:reader", read_acl="d:all"))
        del self.environ["swift.authorize"], self.environ["REMOTE_USER"]
        for info in self.environ["swift.infocache"].values():
            info["sysmeta"] = {"project-domain-id": "default"}
        if project is not None:
            self.environ |= {
                "HTTP_X_IDENTITY_STATUS": "Confirmed",
                "HTTP_X_PROJECT_ID": project,
                "HTTP_X_PROJECT_NAME": project,
                "HTTP_X_USER_ID": user,
                "HTTP_X_USER_NAME": user,
                "HTTP_X_ROLES": role,
            }
        keystoneauth.KeystoneAuth(lambda environ, _start: [], {"operator_roles": "admin"})(self.environ, None)


@pytest.mark.parametrize(
    ("who", "plain", "result", "used", "caller"),
    [
        (("a", "u", "admin"), True, True, False, Caller.USER),
        (("a", "u", "member"), False, False, False, Caller.USER),
        (("b", "u", "member"), False, True, True, Caller.USER),
        (("c", "reader", "member"), False, True, True, Caller.USER),
        (("c", "u", "admin"), False, False, False, Caller.USER),
        (("d", "all", "member"), True, True, False, Caller.USER),
        ((None,), False, False, False, Caller.ANONYMOUS),
    ],
)
def test_keystone_s_users_are_asked_about_in_the_same_way(
    who: tuple[Any, ...], plain: bool, result: bool, used: bool, caller: Caller
) -> None:
    door = KeystoneDoor(*who)
    assert Caller.of(door.environ) is caller
    assert (door.ask(acl="d:all") is None) is plain
    widening = door.widen()
    assert widening is not None
    assert (door.ask() is None) is result
    assert (door.ask(acl="d:all") is None) is result
    assert widening.used is used
    assert door.ask("/v1/AUTH_a/c/o2") is not None or plain
    assert door.ask(method="PUT") is not None or who[-1] == "admin"


def test_keystone_s_anonymous_readers_of_results() -> None:
    door = KeystoneDoor(None)
    door.policy = Policy(on_read=REDACT, run_read=".r:*")
    assert door.ask() == 401
    widening = door.widen()
    assert widening is not None
    assert door.ask() is None
    assert widening.used
    assert door.ask("/v1/AUTH_a/c/o2") == 401
