"""The owner's headers, on the real cluster: who sets them, who sees them, what is kept."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.store import Answer, Store, s3_client

POLICIES = {
    "X-Container-Run-On-Read": "copy",
    "X-Container-Run-On-Read-Suffix": ".Redacted, -x",
    "X-Container-Run-On-Read-Type": "text/*",
    "X-Container-Run-On-Write": "copy",
    "X-Container-Run-On-Write-Suffix": ".Written",
    "X-Container-Run-On-Write-Type": "application/x-odd",
    "X-Container-Run-Allow": "args *, copy",
    "X-Container-Run-Read": "test2:tester2,.r:*",
    "X-Container-Run-Derived": "on",
    "X-Container-Run-Cache-Control": "public, max-age=60",
    "X-Container-Programs": "off",
}
ACCOUNT_POLICIES = {
    "X-Account-Runs": "on",
    "X-Account-Run-Derived-Bytes": "500MiB",
    "X-Account-Run-Derived-Age": "24h",
}


class Owner(Store):
    """Of the container, and what it asks about it."""

    def of(self, path: str, method: str = "HEAD", **headers: str) -> Answer:
        return self.ask(method, f"/v1/{self.account}{path}", headers)

    @property
    def there(self) -> str:
        return f"/v1/{self.account}/{self.container}"

    def shown(self, method: str = "HEAD", path: str | None = None) -> dict[str, str]:
        """The owner's headers, by name in lower case."""
        answer = self.ask(method, path or self.there, {})
        assert answer.status in (200, 204), answer
        return {
            k: v
            for k, v in answer.headers.items()
            if k.startswith(("x-container-run", "x-container-prog", "x-account-run"))
        }

    def post(self, headers: dict[str, str], path: str | None = None, method: str = "POST") -> Answer:
        return self.ask(method, path or self.there, headers)


@pytest.fixture
def owner(cluster: DevCluster, container: str) -> Owner:
    return Owner(cluster, container)


@pytest.fixture
def stranger(cluster: DevCluster, container: str, owner: Owner) -> Owner:
    """The owner of another account, who speaks of the same container."""
    made = Owner(cluster, container, "test2:tester2")
    made.account = owner.account
    return made


@pytest.fixture
def colleague(cluster: DevCluster, container: str) -> Owner:
    """A user of the same account, and no owner of it."""
    return Owner(cluster, container, "test:tester3")


@contextmanager
def account_acl(owner: Owner, acl: dict[str, list[str]]) -> Iterator[None]:
    """tempauth's own ACL of the whole account."""
    account = f"/v1/{owner.account}"
    assert owner.post({"X-Account-Access-Control": json.dumps(acl)}, account).status == 204
    try:
        yield
    finally:
        assert owner.post({"X-Account-Access-Control": ""}, account).status == 204


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_is_set_is_shown_and_can_be_removed(owner: Owner, method: str) -> None:
    answer = owner.post({**POLICIES, "X-Container-Meta-Mine": "too"}, method=method)
    assert answer.status in (202, 204)
    assert owner.shown() == owner.shown("GET") == lower(POLICIES)
    # What is not named stays, as with Swift's own.
    assert owner.post({"X-Container-Run-Derived": "", "X-Remove-Container-Run-Allow": "x"}, method=method).status < 300
    rest = {k: v for k, v in POLICIES.items() if k not in ("X-Container-Run-Derived", "X-Container-Run-Allow")}
    assert owner.shown() == lower(rest)
    assert owner.ask("HEAD", owner.there, {}).headers["x-container-meta-mine"] == "too"
    assert owner.post({f"X-Remove-{header[2:]}": "x" for header in rest}, method=method).status < 300
    assert owner.shown() == {}


def test_words_in_any_script_are_kept(owner: Owner) -> None:
    said = "args 'ü €' %E2%82%AC".encode().decode("latin-1")
    assert (
        owner.post(
            {"X-Container-Run-On-Read": said, "X-Container-Run-On-Read-Suffix": ".é".encode().decode("latin-1")}
        ).status
        == 204
    )
    assert owner.shown()["x-container-run-on-read"] == said
    owner.put("o.É", b"x")
    assert owner.get("o.É").body.split(b"\0")[1:-1] == ["ü €".encode(), "€".encode()]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"X-Container-Run-On-Read": "copy '"}, "X-Container-Run-On-Read: run request: no closing quotation"),
        ({"X-Container-Run-On-Read": "../copy"}, "'../copy' is no program's name"),
        ({"X-Container-Run-On-Write": "copy %"}, "X-Container-Run-On-Write: run request: word 2 has a '%'"),
        ({"X-Container-Run-On-Read": "copy \xff"}, "word 2 is not UTF-8"),
        ({"X-Container-Run-On-Read": "copy " + "x" * 4096}, "4101 bytes, and at most 4096"),
        ({"X-Container-Run-On-Read": "-"}, "'-' is no program's name"),
        ({"X-Container-Run-On-Read-Suffix": ".jpg,,.png"}, "item 2 of the list is empty"),
        ({"X-Container-Run-On-Read-Type": "image"}, "'image' is no content type"),
        ({"X-Container-Run-On-Read-Type": "*/*"}, "'*/*' is no content type"),
        ({"X-Container-Run-Allow": "copy, args '"}, "X-Container-Run-Allow: run request: no closing quotation"),
        ({"X-Container-Run-Allow": "*"}, "'*' is no program's name"),
        ({"X-Container-Run-Allow": "copy,"}, "item 2 of the list is empty"),
        ({"X-Container-Run-Read": ".r:"}, "X-Container-Run-Read: "),
        ({"X-Container-Run-Read": ".x:*"}, "X-Container-Run-Read: "),
        ({"X-Container-Run-Derived": "yes"}, "X-Container-Run-Derived: 'yes' is neither on nor off"),
        ({"X-Container-Programs": "1"}, "X-Container-Programs: '1' is neither on nor off"),
        ({"X-Container-Run-Cache-Control": "\xc3\xa9"}, "X-Container-Run-Cache-Control: "),
        ({"X-Container-Run-On-Reed": "copy"}, "there is no header X-Container-Run-On-Reed; there are X-Container-Run-"),
        ({"X-Remove-Container-Run-On-Reed": "x"}, "there is no header X-Container-Run-On-Reed"),
        ({"X-Container-Run-On-Read": "copy", "X-Container-Run-Derived": "of"}, "'of' is neither on nor off"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_policy_that_makes_no_sense_is_refused_and_nothing_is_changed(
    owner: Owner, headers: dict[str, str], says: str
) -> None:
    for method in ("POST", "PUT"):
        answer = owner.post({**headers, "X-Container-Meta-Mine": "too"}, method=method)
        assert answer.status == 400
        assert answer.problem["type"] == "urn:insitu:problem:malformed-policy"
        assert says in answer.problem["detail"]
    assert owner.shown() == {}
    assert "x-container-meta-mine" not in owner.ask("HEAD", owner.there, {}).headers


def test_accounts_have_theirs(owner: Owner) -> None:
    account = f"/v1/{owner.account}"
    try:
        assert owner.post(ACCOUNT_POLICIES, account).status == 204
        assert owner.shown(path=account) == owner.shown("GET", account) == lower(ACCOUNT_POLICIES)
        for header, value in (
            ("X-Account-Runs", "no"),
            ("X-Account-Run-Derived-Bytes", "many"),
            ("X-Account-Run-Derived-Age", "0s"),
            ("X-Account-Run-Derived-Age", "soon"),
            ("X-Account-Run-Allow", "copy"),
        ):
            answer = owner.post({header: value}, account)
            assert (answer.status, answer.problem["type"]) == (400, "urn:insitu:problem:malformed-policy")
            assert header in answer.problem["detail"]
        assert owner.shown(path=account) == lower(ACCOUNT_POLICIES)
    finally:
        assert owner.post(dict.fromkeys(ACCOUNT_POLICIES, ""), account).status == 204
    assert owner.shown(path=account) == {}


def test_only_the_owner_sets_them(owner: Owner, stranger: Owner, colleague: Owner) -> None:
    assert (
        owner.post({"X-Container-Write": "test2:tester2,test:tester3", "X-Container-Read": ".r:*,.rlistings"}).status
        == 204
    )
    said = {"X-Container-Run-On-Read": "copy", "X-Container-Meta-Mine": "too"}
    for other in (stranger, colleague):
        for method in ("POST", "PUT"):
            assert other.post(said, method=method).status == 403
    assert owner.ask("POST", owner.there, said, anonymous=True).status == 401
    assert owner.shown() == {}


def test_who_may_write_all_of_the_account_is_no_owner_yet(owner: Owner, stranger: Owner) -> None:
    account = f"/v1/{owner.account}"
    with account_acl(owner, {"read-write": ["test2:tester2"]}):
        assert stranger.post({"X-Container-Meta-Mine": "too"}).status == 204
        for header in ("X-Container-Run-On-Read", "X-Remove-Container-Run-On-Read"):
            answer = stranger.post({header: "copy", "X-Container-Meta-Mine": "instead"})
            assert (answer.status, answer.problem["type"]) == (403, "urn:insitu:problem:not-the-owner")
            assert "X-Container-Run-On-Read" in answer.problem["detail"]
        answer = stranger.post({"X-Container-Run-On-Read": "copy"}, f"{owner.there}-new", "PUT")
        assert answer.status == 403
        assert owner.ask("HEAD", f"{owner.there}-new", {}).status == 404
        assert stranger.post({"X-Account-Runs": "off"}, account).status == 403
        assert owner.ask("HEAD", owner.there, {}).headers["x-container-meta-mine"] == "too"
        assert owner.shown() == {}
        assert owner.shown(path=account) == {}
        # Not even to see.
        assert owner.post({"X-Container-Run-Allow": "copy"}).status == 204
        assert stranger.shown() == stranger.shown("GET") == {}
    with account_acl(owner, {"read-only": ["test2:tester2"]}):
        assert stranger.shown() == stranger.shown("GET") == {}
    with account_acl(owner, {"admin": ["test2:tester2"]}):
        assert stranger.shown() == {"x-container-run-allow": "copy"}
        assert stranger.post({"X-Container-Run-On-Read": "copy"}).status == 204
    assert owner.shown() == {"x-container-run-allow": "copy", "x-container-run-on-read": "copy"}


def test_whoever_may_list_does_not_see_them(owner: Owner, stranger: Owner, colleague: Owner) -> None:
    assert owner.post({**POLICIES, "X-Container-Read": ".r:*,.rlistings,test2:tester2"}).status == 204
    for other in (stranger, colleague):
        assert other.shown() == other.shown("GET") == {}
    answer = owner.ask("GET", owner.there, {}, anonymous=True)
    assert answer.status in (200, 204)
    assert not [name for name in answer.headers if "run" in name]


def test_system_metadata_comes_from_no_client(owner: Owner) -> None:
    for method in ("POST", "PUT"):
        for header in ("X-Container-Sysmeta-Insitu-Run-On-Read", "X-Remove-Container-Sysmeta-Insitu-Run-Allow"):
            assert owner.post({"X-Container-Run-Allow": "copy", header: "copy"}, method=method).status < 300
        assert owner.shown() == {"x-container-run-allow": "copy"}
        answer = owner.ask("HEAD", owner.there, {})
        assert not [name for name in answer.headers if "sysmeta" in name]
    account = f"/v1/{owner.account}"
    assert owner.post({"X-Account-Sysmeta-Insitu-Runs": "off"}, account).status == 204
    assert owner.shown(path=account) == {}


def test_s3_has_no_such_headers(cluster: DevCluster, owner: Owner) -> None:
    from botocore.exceptions import ClientError

    with s3_client(cluster) as client:
        assert owner.post(POLICIES).status == 204
        seen = client.head_bucket(Bucket=owner.container)["ResponseMetadata"]["HTTPHeaders"]
        assert not [name for name in seen if "run" in name]

        def with_policy(request: Any, **_: Any) -> None:
            request.headers.add_header("X-Container-Run-On-Read", "args")

        client.meta.events.register("before-sign.s3.CreateBucket", with_policy)
        name = f"{owner.container}-s3"
        with pytest.raises(ClientError) as refused:
            client.create_bucket(Bucket=name)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert owner.ask("HEAD", f"/v1/{owner.account}/{name}", {}).status == 404
    assert owner.shown() == lower(POLICIES)


def test_a_change_holds_at_once(owner: Owner) -> None:
    owner.put("o.txt", b"as it is", Content_Type="text/plain")
    for _ in range(5):
        assert owner.get("o.txt").body == b"as it is"
        assert owner.post({"X-Container-Run-On-Read": "args made"}).status == 204
        assert owner.get("o.txt").body.endswith(b"\0made\0")
        assert owner.post({"X-Container-Run-On-Read-Suffix": ".jpg"}).status == 204
        assert owner.get("o.txt").body == b"as it is"
        assert (
            owner.post({"X-Container-Run-On-Read-Suffix": ".TXT", "X-Container-Run-On-Read-Type": "image/*"}).status
            == 204
        )
        assert owner.get("o.txt").body == b"as it is"
        assert owner.post({"X-Container-Run-On-Read-Type": "text/plain"}).status == 204
        assert owner.get("o.txt").body.endswith(b"\0made\0")
        removed = ("On-Read", "On-Read-Suffix", "On-Read-Type")
        assert owner.post({f"X-Remove-Container-Run-{name}": "x" for name in removed}).status == 204
