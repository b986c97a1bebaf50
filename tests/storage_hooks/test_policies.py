"""What the owner's words mean, apart from any server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.runtime.grammar import GrammarError, RunRequest, parse_run
from insitu.sandbox.errors import LimitsError
from insitu.storage_hooks.policies import (
    ACCOUNT_FIELDS,
    ACCOUNT_NONE,
    CONTAINER_FIELDS,
    NEED_TYPE,
    NONE,
    AccountPolicy,
    Allowed,
    Policy,
    PolicyError,
    account_policy,
    container_policy,
    type_of_put,
)


class Swift:
    """Where `get_container_info` and `get_account_info` look first: what the request knows already."""

    def __init__(self, container: dict[str, Any] | None, account: dict[str, Any] | None = None) -> None:
        self.environ: dict[str, Any] = {"PATH_INFO": "/v1/AUTH_a/c/o", "REQUEST_METHOD": "GET", "swift.infocache": {}}
        for key, sysmeta in (("container/AUTH_a/c", container), ("account/AUTH_a", account)):
            if sysmeta is not None:
                info = {"status": 200, "sysmeta": sysmeta, "read_acl": ".r:*", "bytes": 0, "object_count": 0}
                self.environ["swift.infocache"][key] = info | {"container_count": 0, "total_object_count": 0}
        self.logger = self

    def increment(self, name: str) -> None: ...

    def policy(self) -> Policy:
        return container_policy(self.environ, self)

    def account(self) -> AccountPolicy:
        return account_policy(self.environ, self)


def test_a_container_without_a_policy_costs_no_policy_of_its_own() -> None:
    assert Swift({}).policy() is NONE
    assert Swift({"versions-container": ""}).policy() is NONE
    assert Swift(None, {}).account() is ACCOUNT_NONE
    assert Swift(None, {"core-access-control": "{}"}).account() is ACCOUNT_NONE


def test_every_word_of_the_owner_s() -> None:
    kept = {
        "insitu-run-on-read": "watermark --text %E2%82%AC",
        "insitu-run-on-read-suffix": ".JPG, .png",
        "insitu-run-on-read-type": "image/*, Text/Plain",
        "insitu-run-on-write": "/programs/shrink@sha256:" + "0" * 64 + " in.logo=/brand/logo",
        "insitu-run-on-write-suffix": "-raw",
        "insitu-run-on-write-type": "application/octet-stream",
        "insitu-run-allow": "thumbnail *, redact --names a%2Cb,cat",
        "insitu-run-read": ".r:*,AUTH_b",
        "insitu-run-derived": "on",
        "insitu-run-cache-control": "public, max-age=60",
        "insitu-programs": "On",
    }
    assert set(kept) == {field.key for field in CONTAINER_FIELDS}
    assert Swift(kept).policy() == Policy(
        on_read=RunRequest("watermark", ("--text", "€")),
        on_read_suffixes=(".jpg", ".png"),
        on_read_types=("image/", "text/plain"),
        on_write=RunRequest("/programs/shrink", (), (("logo", "/brand/logo"),), "sha256:" + "0" * 64),
        on_write_suffixes=("-raw",),
        on_write_types=("application/octet-stream",),
        allow=(
            Allowed(RunRequest("thumbnail"), any_args=True),
            Allowed(RunRequest("redact", ("--names", "a,b"))),
            Allowed(RunRequest("cat")),
        ),
        run_read=".r:*,AUTH_b",
        derived=True,
        cache_control="public, max-age=60",
        programs=True,
        read_acl=".r:*",
    )
    account = {"insitu-runs": "off", "insitu-run-derived-bytes": "500MiB", "insitu-run-derived-age": "24h"}
    assert set(account) == {field.key for field in ACCOUNT_FIELDS}
    assert Swift(None, account).account() == AccountPolicy(False, 500 << 20, 86400.0)


@pytest.mark.parametrize("field", CONTAINER_FIELDS + ACCOUNT_FIELDS, ids=lambda field: field.header)
def test_a_policy_that_cannot_be_read_is_never_taken_for_none(field: Any) -> None:
    kept = {field.key: "' of another version"}
    if field.name in ("on_read_suffixes", "on_write_suffixes", "run_read", "cache_control"):
        kept = {field.key: "\x7f" if field.name != "run_read" else ".r:"}
    swift = Swift(kept, kept)
    with pytest.raises(PolicyError, match=f"{field.header} was set to what this proxy cannot read"):
        swift.account() if field in ACCOUNT_FIELDS else swift.policy()


@pytest.mark.parametrize(
    ("suffixes", "types", "name", "content_type", "applies"),
    [
        ((), (), "o", None, True),
        ((".jpg",), (), "a/b.JPG", None, True),
        ((".jpg",), (), "a.jpg/b", None, False),
        ((".jpg", "-x"), (), "a-x", None, True),
        ((), ("image/",), "o", None, None),
        ((), ("image/",), "o", "image/png", True),
        ((), ("image/",), "o", "Image/PNG; q=1", True),
        ((), ("image/",), "o", "text/plain", False),
        ((), ("text/plain",), "o", "text/plain ;charset=utf-8", True),
        ((), ("text/plain",), "o", "text/plain2", False),
        ((), ("text/plain",), "o", "", False),
        ((".jpg",), ("image/",), "a.txt", None, False),  # the type need not be known
        ((".jpg",), ("image/",), "a.jpg", None, None),
        ((".jpg",), ("image/",), "a.jpg", "text/plain", False),
        ((".jpg",), ("image/",), "a.jpg", "image/x", True),
    ],
)
def test_filters(suffixes: Any, types: Any, name: str, content_type: str | None, applies: bool | None) -> None:
    run = RunRequest("cat")
    expected = {True: run, False: None, None: NEED_TYPE}[applies]
    assert Policy(run, suffixes, types).for_read(name, content_type) is expected
    assert Policy(run, suffixes, types).for_write(name, content_type) is None
    writing = Policy(on_write=run, on_write_suffixes=suffixes, on_write_types=types)
    assert writing.for_write(name, content_type) is expected
    assert writing.for_read(name, content_type) is None


@pytest.mark.parametrize(
    ("entry", "request_", "admitted"),
    [
        ("cat", "cat", True),
        ("cat", "'cat'", True),
        ("cat", "cat x", False),
        ("cat", "cat ''", False),
        ("cat a", "cat a", True),
        ("cat a", "cat b", False),
        ("cat a", "cat a b", False),
        ("cat *", "cat", True),
        ("cat *", "cat a b", True),
        ("cat *", "dog a", False),
        ("cat *", "cat@1", False),
        ("cat *", "cat in.x=/c/o", False),
        ("cat *", "cat a in.x=/c/o", False),
        ("cat a *", "cat a", True),
        ("cat a *", "cat a b", True),
        ("cat a *", "cat b", False),
        ("cat a *", "cat", False),
        ("cat %2A", "cat %2A", True),
        ("cat %2A", "cat a", False),
        ("cat '*'", "cat a", False),
        ("cat in.x=/c/o", "cat in.x=/c/o", True),
        ("cat in.x=/c/o *", "cat in.x=/c/o a", True),
        ("cat in.x=/c/o *", "cat in.x=/c/p a", False),
        ("cat in.x=/c/o *", "cat a", False),
        ("cat", "cat@sha256:" + "0" * 64, False),
        ("/p/cat *", "/p/cat x", True),
        ("/p/cat *", "/q/cat x", False),
    ],
)
def test_entries_of_the_list_of_allowed_runs(entry: str, request_: str, admitted: bool) -> None:
    allow = Swift({"insitu-run-allow": entry}).policy().allow
    assert [one.admits(parse_run(request_)) for one in allow] == [admitted]


@pytest.mark.parametrize(
    ("header", "detect", "path", "expected"),
    [
        ("text/plain", None, "/v1/a/c/o.png", "text/plain"),
        ("", None, "/v1/a/c/o.png", "image/png"),
        (None, None, "/v1/a/c/o", "application/octet-stream"),
        ("text/plain", "true", "/v1/a/c/o.png", "image/png"),
        ("text/plain", "false", "/v1/a/c/o.png", "text/plain"),
    ],
)
def test_the_type_of_a_put(header: str | None, detect: str | None, path: str, expected: str) -> None:
    given = {"PATH_INFO": path, "CONTENT_TYPE": header, "HTTP_X_DETECT_CONTENT_TYPE": detect}
    assert type_of_put({key: value for key, value in given.items() if value is not None}) == expected


_words = st.lists(
    st.sampled_from(
        [".r:", "*", ".rlistings", "-", "a:b", ":", ",", " ", "/", "image", "%", "in.x=", "on", "1h", "9" * 400]
    )
    | st.text(max_size=5),
    max_size=8,
).map("".join)


@pytest.mark.parametrize("field", CONTAINER_FIELDS + ACCOUNT_FIELDS, ids=lambda field: field.header)
@given(value=_words)
def test_any_value_means_something_or_is_refused_by_its_own_error(field: Any, value: str) -> None:
    try:
        meant = field.parse(value)
    except (GrammarError, LimitsError, ValueError) as why:
        str(why).encode()
    else:
        # It is read again at every request, and then never differently.
        assert field.parse(value) == meant
        hash(meant)
        if field.name == "derived_age":
            assert 1 <= int(meant) < 1 << 31
        if field.name == "derived_bytes":
            assert meant >= 0
        if field.name == "cache_control":
            assert meant.isascii()
            assert meant.isprintable()
