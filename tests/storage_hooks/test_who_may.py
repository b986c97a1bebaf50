"""Who gets what, on the real cluster: the owner's words against all who try to get round them."""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from insitu.storage_hooks.devcluster import DevCluster
from tests.storage_hooks.store import Answer, Store, eventually, records
from tests.storage_hooks.test_stored_programs import says

SECRET = b"there is somebody in the attic"
META = "of the owner's alone"
RUN = "args redacted"
REDACTED = b"\0redacted\0"


class Somebody:
    """What one who asks can do to the owner's container."""

    def __init__(self, owner: Store, user: str | None) -> None:
        self.owner = owner
        self.own = None if user is None else Store(owner.cluster, f"{owner.container}-own", user)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        headers = headers or {}
        return (self.own or self.owner).ask(method, path, headers, body, anonymous=self.own is None)

    def get(self, query: str = "", name: str = "secret", **headers: str) -> Answer:
        return self.ask("GET", self.owner.path(name) + query, headers)

    def run(self, run: str, name: str = "secret") -> Answer:
        return self.ask("GET", self.owner.path(name), {"X-Run": run})


@pytest.fixture
def owner(cluster: DevCluster, container: str) -> Store:
    store = Store(cluster, container)
    store.put("secret", SECRET, Content_Type="text/plain", X_Object_Meta_Patient=META)
    return store


@contextmanager
def own_container(somebody: Somebody) -> Iterator[Store]:
    own = somebody.own
    assert own is not None
    path = f"/v1/{own.account}/{own.container}"
    assert own.ask("PUT", path, {}).status == 201
    try:
        yield own
    finally:
        for entry in json.loads(own.ask("GET", path + "?format=json", {}).body):
            own.ask("DELETE", own.path(entry["name"]), {})
        assert own.ask("DELETE", path, {}).status == 204


def say(owner: Store, **headers: str) -> None:
    """The owner's headers of the container; `X_Container_` goes without saying."""
    said = {f"X-Container-{name.replace('_', '-')}": value for name, value in headers.items()}
    assert owner.ask("POST", f"/v1/{owner.account}/{owner.container}", said).status == 204


def keeps_the_secret(owner: Store, answer: Answer) -> None:
    """Nothing of the object is in the answer: no byte, and nothing that says what it is."""
    assert b"attic" not in answer.body
    digest = hashlib.md5(SECRET, usedforsecurity=False).hexdigest()
    for name, value in answer.headers.items():
        assert digest not in value
        assert META not in value
        if answer.headers.get("x-run-where") != "derived":  # which has its own
            assert name not in ("etag", "last-modified", "x-timestamp", "accept-ranges"), answer
    length = answer.headers.get("content-length")
    assert length != str(len(SECRET))


def refused(owner: Store, answer: Answer, status: int = 403, kind: str | None = None) -> None:
    assert answer.status == status, answer
    keeps_the_secret(owner, answer)
    if kind is not None:
        assert answer.problem["type"] == f"urn:insitu:problem:{kind}"
    assert records(owner.cluster, answer.request_id) == []


# -- readable only through a named program -----------------------------------------------------------------------------


@pytest.fixture(params=["test2:tester2", "test:tester3", None], ids=["foreigner", "colleague", "anonymous"])
def reader(request: pytest.FixtureRequest, owner: Store) -> Somebody:
    """One whom X-Container-Run-Read names, and X-Container-Read does not."""
    say(owner, Run_On_Read=RUN, Run_Allow="args allowed *", Run_Read="test2:tester2,test:tester3,.r:*,.rlistings")
    return Somebody(owner, request.param)


@pytest.fixture(params=["made", "stored"])
def kept(request: pytest.FixtureRequest, owner: Store) -> bool:
    """Whether results are stored: those of named programs, and one that the owner alone may ask for."""
    if request.param == "made":
        return False
    say(owner, Run_Derived="on")

    def stored() -> bool:
        return all(
            owner.run("secret", run).headers["x-run-where"] == "derived" for run in (RUN, "args allowed", "copy")
        )

    eventually(stored, "stored results")
    return True


def test_results_of_named_programs_can_be_read_without_the_object(owner: Store, reader: Somebody, kept: bool) -> None:
    for answer in (reader.get(), reader.run(RUN), reader.get("?run=args+redacted"), reader.run("'args' redacte%64")):
        assert answer.status == 200
        assert answer.body.endswith(REDACTED)
        keeps_the_secret(owner, answer)
        assert (answer.headers["x-run-where"] == "derived") is kept
        assert [record.tenant for record in records(owner.cluster, answer.request_id)] == [owner.account] * (not kept)
    assert reader.run("args allowed 1 2").body.endswith(b"\0allowed\x001\x002\0")


def test_what_a_program_says_while_it_fails_is_the_owner_s_to_read(owner: Store, reader: Somebody) -> None:
    say(owner, Run_Allow="fail, trap")
    for run in ("fail", "trap"):
        answer = reader.run(run)
        assert answer.status == 422
        keeps_the_secret(owner, answer)
        assert "stderr" not in answer.problem
        assert "stderr" in owner.run("secret", run).problem


def test_a_copy_that_fails_says_as_little(owner: Store) -> None:
    say(owner, Run_Allow="fail", Run_Read="test2:tester2")
    stranger = Somebody(owner, "test2:tester2")
    with own_container(stranger) as own:
        target = {"Destination": f"{own.container}/x", "Destination-Account": own.account}
        answer = stranger.ask("COPY", owner.path("secret"), {**target, "X-Run": "fail"})
        assert answer.status == 422
        assert "stderr" not in answer.problem
        assert own.get("x").status == 404


def test_the_head_of_a_result_says_nothing_of_the_object(owner: Store, reader: Somebody, kept: bool) -> None:
    for headers in ({}, {"X-Run": RUN}, {"X-Run": "args allowed"}):
        answer = reader.ask("HEAD", owner.path("secret"), headers)
        assert answer.status == 200
        assert ("etag" in answer.headers) is kept
        keeps_the_secret(owner, answer)


@pytest.mark.parametrize(
    "run",
    [
        "copy",
        "args",
        "args other",
        "args allowed2",
        "args@1 redacted",
        "args redacted in.x=/{0}/secret",
        "args allowed in.x=/{0}/secret",
        "copy in.x=/{0}/secret",
        "/{0}/secret",
        "args@sha256:" + "0" * 64 + " redacted",
    ],
)
def test_nothing_else_runs_there(owner: Store, reader: Somebody, kept: bool, run: str) -> None:
    run = run.format(owner.container)
    status = 401 if reader.own is None else 403  # Swift's own word: the object is not theirs
    for answer in (reader.run(run), reader.get("?run=" + quote(run))):
        refused(owner, answer, status)
    refused(owner, reader.ask("HEAD", owner.path("secret"), {"X-Run": run}), status)


@pytest.mark.parametrize("query", ["", "?multipart-manifest=get", "?symlink=get", "?format=raw", "?version-id=null"])
def test_the_object_itself_is_refused(owner: Store, reader: Somebody, query: str) -> None:
    for headers in ({"X-Run": "-"}, {"X-Run": "-", "Range": "bytes=0-5"}):
        for method in ("GET", "HEAD"):
            answer = reader.ask(method, owner.path("secret") + query, headers)
            assert answer.status in (401, 403), answer
            keeps_the_secret(owner, answer)
    answer = reader.get(f"{query}{'&' if query else '?'}run=-")
    assert answer.status in (401, 403)
    keeps_the_secret(owner, answer)


def test_conditions_and_ranges_tell_nothing_of_the_object(owner: Store, reader: Somebody, kept: bool) -> None:
    digest = hashlib.md5(SECRET, usedforsecurity=False).hexdigest()
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1000))
    for name, value in (
        ("If-None-Match", f'"{digest}"'),
        ("If-Match", f'"{digest}"'),
        ("If-Modified-Since", later),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Range", "bytes=0-2"),
        ("Range", "bytes=100000-"),
    ):
        wrong = value.replace(digest, "0" * 32)
        for method in ("GET", "HEAD"):
            answers = [reader.ask(method, owner.path("secret"), {name: text}) for text in (value, wrong)]
            assert answers[0].status == answers[1].status
            for answer in answers:
                keeps_the_secret(owner, answer)


def test_who_may_read_results_may_nothing_else(owner: Store, reader: Somebody) -> None:
    there = f"/v1/{owner.account}/{owner.container}"
    for method, path, headers in (
        ("GET", there, {}),
        ("HEAD", there, {}),
        ("GET", f"{there}?prefix=secret", {}),
        ("PUT", owner.path("other"), {}),
        ("PUT", owner.path("secret"), {"X-Run": RUN}),
        ("POST", owner.path("secret"), {"X-Object-Meta-Patient": "mine"}),
        ("DELETE", owner.path("secret"), {}),
        ("POST", there, {"X-Container-Run-Read": ".r:*"}),
        ("COPY", owner.path("secret"), {"Destination": f"{owner.container}/copied"}),
    ):
        answer = reader.ask(method, path, headers, b"x" if method == "PUT" else None)
        assert answer.status in (401, 403), (method, path, answer)
        keeps_the_secret(owner, answer)
    assert owner.get("secret").body.endswith(REDACTED)
    assert owner.get("secret", X_Run="-").body == SECRET
    assert owner.get("other", X_Run="-").status == 404


@pytest.mark.parametrize("user", ["test2:tester2", "test:tester3"])
def test_copies_of_it_are_refused_and_copies_of_results_are_results(owner: Store, user: str) -> None:
    say(owner, Run_On_Read=RUN, Run_Read="test2:tester2,test:tester3")
    somebody = Somebody(owner, user)
    keeper = Somebody(owner, "test2:tester2")
    with own_container(keeper) as own:
        assert own.ask("POST", f"/v1/{own.account}/{own.container}", {"X-Container-Write": user}).status == 204
        source = f"{owner.container}/secret"
        for run, status in ((None, 403), ("-", 403), ("copy", 403), (f"copy in.x=/{source}", 403), (RUN, 201)):
            asked = {} if run is None else {"X-Run": run}
            for method, path, headers in (
                ("PUT", own.path("copied"), {"X-Copy-From": source, "X-Copy-From-Account": owner.account}),
                (
                    "COPY",
                    owner.path("secret"),
                    {"Destination": f"{own.container}/copied", "Destination-Account": own.account},
                ),
            ):
                answer = somebody.ask(method, path, headers | asked, b"" if method == "PUT" else None)
                assert answer.status == status, (run, method, answer)
                copied = own.get("copied")
                if status == 403:
                    assert copied.status == 404
                else:
                    assert copied.body.endswith(REDACTED)
                    assert not [name for name in copied.headers if name.startswith("x-object-meta")]
                    own.ask("DELETE", own.path("copied"), {})


def test_a_symlink_of_one_s_own_leads_to_nothing(owner: Store) -> None:
    say(owner, Run_On_Read=RUN, Run_Allow="copy", Run_Read="test2:tester2")
    stranger = Somebody(owner, "test2:tester2")
    with own_container(stranger) as own:
        target = {"X-Symlink-Target": f"{owner.container}/secret", "X-Symlink-Target-Account": owner.account}
        assert own.ask("PUT", own.path("link"), {**target, "Content-Type": "application/symlink"}, b"").status == 201
        there = f"/v1/{own.account}/{own.container}"
        # What its own container says of it changes nothing.
        for said in ({}, {"X-Container-Run-Read": ".r:*,test2:tester2", "X-Container-Run-On-Read": "copy"}):
            assert own.ask("POST", there, said).status == 204
            for headers in ({}, {"X-Run": "copy"}, {"X-Run": RUN}, {"X-Run": "-"}):
                for method in ("GET", "HEAD"):
                    refused(owner, own.ask(method, own.path("link"), headers))


@pytest.fixture
def open_container(owner: Store) -> Iterator[Store]:
    """Another one of the owner's, which everybody may read and the colleague may write."""
    store = Store(owner.cluster, f"{owner.container}-open")
    there = f"/v1/{store.account}/{store.container}"
    said = {"X-Container-Read": "test:tester3,test2:tester2,.r:*", "X-Container-Write": "test:tester3"}
    assert store.ask("PUT", there, said).status == 201
    yield store
    for entry in json.loads(store.ask("GET", there + "?format=json", {}).body):
        store.ask("DELETE", store.path(entry["name"]), {})
    assert store.ask("DELETE", there, {}).status == 204


def test_large_objects_that_name_it_do_not_show_it(owner: Store, open_container: Store) -> None:
    say(owner, Run_On_Read=RUN, Run_Allow="copy", Run_Read="test:tester3")
    colleague = Somebody(owner, "test:tester3")
    manifest = json.dumps([{"path": f"/{owner.container}/secret"}]).encode()
    slo, dlo = open_container.path("slo"), open_container.path("dlo")
    # Swift asks for the segments in the name of who writes the manifest.
    mine = colleague.ask("PUT", slo + "-mine?multipart-manifest=put", {}, manifest)
    assert mine.status == 400
    keeps_the_secret(owner, mine)
    assert open_container.ask("PUT", slo + "?multipart-manifest=put", {}, manifest).status == 201
    assert colleague.ask("PUT", dlo, {"X-Object-Manifest": f"{owner.container}/sec"}, b"").status == 201
    assert open_container.ask("GET", slo, {}).body == SECRET
    for path in (slo, dlo):
        for headers in ({}, {"X-Run": "copy"}, {"X-Run": RUN}, {"X-Run": "-"}):
            answer = colleague.ask("GET", path, headers)
            assert b"attic" not in answer.body, (path, headers)
            assert answer.status >= 400 or not answer.whole or answer.body.endswith(REDACTED)


def test_inputs_and_programs_are_read_with_the_caller_s_rights(owner: Store, open_container: Store) -> None:
    say(owner, Run_On_Read=RUN, Run_Allow="copy", Run_Read="test:tester3,test2:tester2")
    open_container.put("o", b"open to all")
    for user in ("test:tester3", "test2:tester2"):
        somebody = Somebody(owner, user)
        for run in (f"copy in.x=/{owner.container}/secret", f"/{owner.container}/secret"):
            answer = somebody.ask("GET", open_container.path("o"), {"X-Run": run})
            refused(owner, answer)
            assert "may not read" in answer.problem["detail"]


def test_what_the_owner_named_may_lie_where_nobody_else_reads(owner: Store, open_container: Store) -> None:
    name = open_container.container
    owner.put("program.wasm", says(f"made of {name}"))
    program, given = f"/{owner.container}/program.wasm", f"args given in.x=/{owner.container}/secret"
    open_container.put("o", b"open to all")
    say(open_container, Read="", Run_Read="test2:tester2,.r:*", Run_On_Read=program, Run_Allow=f"{given}, {program} *")
    for user in ("test2:tester2", None):
        somebody = Somebody(open_container, user)
        assert somebody.get(name="o").body == f"made of {name}".encode()
        assert somebody.run(f"{program} with arguments", "o").body == f"made of {name}".encode()
        assert somebody.run(given, "o").body.endswith(b"\0given\0")
        # The same in other words is not what was named.
        for run in (
            f"copy in.x=/{owner.container}/secret",
            f"{given} more",
            f"{program} in.x=/{owner.container}/secret",
        ):
            refused(owner, somebody.run(run, "o"), 401 if user is None else 403)
        # And it is closed as it was.
        refused(owner, somebody.ask("GET", owner.path("program.wasm")), 401 if user is None else 403)


def test_who_writes_runs_with_rights_of_their_own_and_the_owner_s_policy_with_the_owner_s(
    owner: Store, open_container: Store
) -> None:
    colleague, secret = Somebody(owner, "test:tester3"), f"/{owner.container}/secret"
    there = open_container.path("written")
    for run in (f"copy in.x={secret}", secret):
        answer = colleague.ask("PUT", there, {"X-Run": run}, b"x")
        refused(owner, answer)
        assert "may not read" in answer.problem["detail"]
    for user in ("test2:tester2", None):
        answer = Somebody(owner, user).ask("PUT", there, {"X-Run": "copy"}, b"x")
        refused(owner, answer, 401 if user is None else 403)
    assert open_container.get("written").status == 404
    assert colleague.ask("PUT", there, {"X-Run": "args mine"}, b"x").status == 201
    assert open_container.get("written").body.endswith(b"\0mine\0")
    # What the owner named, the owner's rights are for.
    say(open_container, Run_On_Write=f"args named in.x={secret}")
    assert colleague.ask("PUT", there, {}, b"x").status == 201
    assert open_container.get("written").body.endswith(b"\0named\0")
    for run in ("-", "copy", f"args named in.x={secret} more"):
        answer = colleague.ask("PUT", there, {"X-Run": run}, b"x")
        refused(owner, answer, 409, "against-policy")
    assert open_container.get("written").body.endswith(b"\0named\0")


def test_a_large_object_there_shows_its_segments_to_those_who_may_read_them(
    owner: Store, open_container: Store
) -> None:
    say(owner, Run_On_Read="copy", Run_Read="test:tester3")
    closed = Store(owner.cluster, owner.container)
    closed.put("part", b"a part")
    open_container.put("part", b"an open part")
    for name, container in (("closed", owner.container), ("open", open_container.container)):
        manifest = json.dumps([{"path": f"/{container}/part"}]).encode()
        assert owner.ask("PUT", owner.path(name) + "?multipart-manifest=put", {}, manifest).status == 201
    colleague = Somebody(owner, "test:tester3")
    assert colleague.get(name="open").body == b"an open part"
    # Its manifest is no result, and neither is a symlink itself.
    assert colleague.get("?multipart-manifest=get", "open").body == b"an open part"
    assert colleague.get("?format=raw&multipart%2Dmanifest=get", "open").body == b"an open part"
    answer = colleague.get(name="closed")
    assert b"a part" not in answer.body
    assert answer.status >= 400 or not answer.whole
    assert owner.get("closed").body == b"a part"


def test_older_versions_are_for_those_who_may_read_the_object(owner: Store) -> None:
    there = f"/v1/{owner.account}/{owner.container}"
    assert owner.ask("POST", there, {"X-Versions-Enabled": "true"}).status == 204
    try:
        first = owner.put("versioned", SECRET).headers["x-object-version-id"]
        owner.put("versioned", b"later")
        say(owner, Run_Allow="copy", Run_Read="test2:tester2")
        stranger = Somebody(owner, "test2:tester2")
        old = owner.path("versioned") + f"?version-id={first}"
        assert stranger.run("copy", "versioned").body == b"later"
        for headers in ({}, {"X-Run": "-"}, {"X-Run": "copy"}, {"X-Run": "args"}):
            for method in ("GET", "HEAD"):
                refused(owner, stranger.ask(method, old, headers))
    finally:
        assert owner.ask("POST", there, {"X-Versions-Enabled": "false"}).status == 204
        for entry in json.loads(owner.ask("GET", there + "?versions&format=json", {}).body):
            owner.ask("DELETE", owner.path(entry["name"]) + f"?version-id={entry['version_id']}", {})


def test_filters_by_type_hold_for_those_who_may_read_results_only(owner: Store) -> None:
    say(owner, Run_On_Read=RUN, Run_On_Read_Type="text/*", Run_Read="test2:tester2")
    stranger = Somebody(owner, "test2:tester2")
    assert stranger.get().body.endswith(REDACTED)
    owner.put("image", b"an image", Content_Type="image/png")
    refused(owner, stranger.get(name="image"))
    assert owner.get("image").body == b"an image"
    assert stranger.get(name="nothing").status in (403, 404)


# -- without a name of one's own ---------------------------------------------------------------------------------------


def test_anonymous_callers_run_what_is_named_and_nothing_else(owner: Store) -> None:
    anonymous = Somebody(owner, None)
    say(owner, Read=".r:*")
    assert anonymous.get().body == SECRET
    assert anonymous.run("-").body == SECRET
    for run in ("copy", "args", f"/{owner.container}/secret"):
        refused(owner, anonymous.run(run), kind="not-named")
        refused(owner, anonymous.get("?run=" + quote(run)), kind="not-named")
    say(owner, Run_Allow="args, args a *")
    assert anonymous.run("args").status == anonymous.run("args a").status == anonymous.run("args a b").status == 200
    for run in ("args b", "copy", f"args in.x=/{owner.container}/secret", "args a b in.x=/c/o"):
        refused(owner, anonymous.run(run), kind="not-named")
    say(owner, Run_On_Read=RUN)
    assert anonymous.get().body.endswith(REDACTED)
    for query in ("?run=-", "?multipart-manifest=get&run=-"):
        refused(owner, anonymous.get(query), kind="not-named")
    refused(owner, anonymous.run("-"), kind="not-named")
    assert b"attic" not in anonymous.get("?multipart-manifest=get").body
    # Who comes in a name of their own and may read the object, may ask for it.
    say(owner, Read=".r:*,test2:tester2")
    assert Somebody(owner, "test2:tester2").run("-").body == SECRET


def test_a_container_closed_to_all_stays_closed_to_runs(owner: Store) -> None:
    say(owner, Run_On_Read=RUN, Run_Allow="args *")
    for user in (None, "test2:tester2", "test:tester3"):
        somebody = Somebody(owner, user)
        status = 401 if user is None else 403
        for answer in (somebody.get(), somebody.run(RUN), somebody.run("args x")):
            refused(owner, answer, status)


@pytest.fixture
def signed(owner: Store) -> Iterator[Callable[..., Answer]]:
    """Ask with a temporary URL."""
    account = f"/v1/{owner.account}"
    key = "a key of this test's"
    assert owner.ask("POST", account, {"X-Account-Meta-Temp-URL-Key": key}).status == 204

    def ask(method: str = "GET", more: str = "", **headers: str) -> Answer:
        path, expires = owner.path("secret"), int(time.time()) + 1000
        signature = hmac.new(key.encode(), f"{method}\n{expires}\n{path}".encode(), hashlib.sha256).hexdigest()
        query = f"?temp_url_sig={signature}&temp_url_expires={expires}{more}"
        return owner.ask(method, path + query, headers, b"put" if method == "PUT" else None, anonymous=True)

    yield ask
    assert owner.ask("POST", account, {"X-Account-Meta-Temp-URL-Key": ""}).status == 204


def test_a_temporary_url_runs_what_is_named_and_nothing_else(owner: Store, signed: Callable[..., Answer]) -> None:
    assert signed().body == SECRET
    assert signed(X_Run="-").body == SECRET
    refused(owner, signed(X_Run="copy"), kind="not-named")
    refused(owner, signed(X_Run=f"args in.x=/{owner.container}/secret"), kind="not-named")
    say(owner, Run_Allow="args *")
    assert signed(X_Run="args x").body.endswith(b"\0x\0")
    refused(owner, signed(X_Run="copy"), kind="not-named")
    refused(owner, signed(X_Run=f"args in.x=/{owner.container}/secret"), kind="not-named")
    say(owner, Run_On_Read=RUN)
    assert signed().body.endswith(REDACTED)
    refused(owner, signed(X_Run="-"), kind="not-named")
    refused(owner, signed(X_Run="copy"), kind="not-named")
    # tempurl leaves nothing of the query but its own: what is added to the URL is not even seen.
    for more in ("&run=-", "&run=copy", "&multipart-manifest=get"):
        assert signed(more=more).body.endswith(REDACTED)
    for headers in ({}, {"X-Run": RUN}):
        keeps_the_secret(owner, signed("HEAD", **headers))


def test_a_temporary_url_for_writing_runs_nothing(owner: Store, signed: Callable[..., Answer]) -> None:
    for run in ("copy", "args x"):
        refused(owner, signed("PUT", X_Run=run), kind="not-named")
    assert owner.get("secret").body == SECRET
    assert signed("PUT").status == 201
    assert owner.get("secret").body == b"put"


@pytest.fixture
def s3(cluster: DevCluster) -> Iterator[Callable[..., Any]]:
    """Make S3 clients."""
    import boto3
    from botocore.config import Config

    access = cluster.s3
    made: list[Any] = []

    def make(version: str) -> Any:
        config = Config(s3={"addressing_style": "path"}, signature_version=version)
        made.append(
            boto3.client(
                "s3",
                endpoint_url=access.endpoint,
                aws_access_key_id=access.access_key,
                aws_secret_access_key=access.secret_key,
                region_name=access.region,
                config=config,
            )
        )
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_presigned_url_of_s3_runs_what_is_named_and_nothing_else(
    owner: Store, s3: Callable[..., Any], version: str
) -> None:
    url = s3(version).generate_presigned_url("get_object", Params={"Bucket": owner.container, "Key": "secret"})
    path = "/" + url.split("/", 3)[3]
    signature = url.rpartition("ignature=")[2]

    def ask(run: str | None, **headers: str) -> Answer:
        return owner.ask("GET", path, headers if run is None else {"X-Run": run, **headers}, anonymous=True)

    assert ask(None).body == SECRET
    say(owner, Run_Allow="args *", Run_On_Read=RUN)
    assert ask(None).body.endswith(REDACTED)
    assert ask("args x").body.endswith(b"\0x\0")
    # A header beside it makes nobody a user.
    scope = f"AWS4-HMAC-SHA256 Credential={owner.cluster.s3.access_key}/x, SignedHeaders=host, Signature={signature}"
    for more in ({}, {"Authorization": f"AWS {owner.cluster.s3.access_key}:{signature}"}, {"Authorization": scope}):
        for run in ("-", "copy", f"args in.x=/{owner.container}/secret"):
            answer = ask(run, **more)
            assert answer.status in (400, 403), (run, more, answer)
            assert b"attic" not in answer.body
            assert records(owner.cluster, answer.request_id) == []


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_an_s3_client_that_signs_its_requests_has_a_name(owner: Store, s3: Callable[..., Any], version: str) -> None:
    client = s3(version)
    say(owner, Run_On_Read=RUN)
    runs = iter(["-", "copy"])
    client.meta.events.register(
        "before-sign.s3.GetObject", lambda request, **_: request.headers.add_header("X-Run", next(runs))
    )
    for _ in range(2):
        assert client.get_object(Bucket=owner.container, Key="secret")["Body"].read() == SECRET


# -- names that are nobody's -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["test:tester", "test2:tester2", "admin:admin", None])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/.expiring_objects/1/o",
        "/v1/.misplaced_objects/1/o",
        "/v1/AUTH_.x/c/o",
        "/v1/AUTH_test/%00insitu-derived/o",
        "/v1/AUTH_test/%00insitu-derived/%00o",
        "/v1/AUTH_test/c/%00o",
        "/v1/AUTH_nobody/c/o",
    ],
)
def test_nothing_runs_on_what_is_nobody_s(owner: Store, user: str | None, path: str) -> None:
    somebody = Somebody(owner, user)
    for method in ("GET", "HEAD"):
        for headers in ({"X-Run": "copy"}, {"X-Run": "-"}, {}):
            answer = somebody.ask(method, path, headers | {"X-Backend-Allow-Reserved-Names": "true"})
            assert 400 <= answer.status < 500, answer
            assert records(owner.cluster, answer.request_id) == []


@pytest.mark.parametrize(
    "path",
    [
        "AUTH_test/%ff/o",
        "AUTH_test/{0}/%ff",
        "AUTH_%ff/c/o",
        "AUTH_" + "x" * 300 + "/c/o",
        "AUTH_test/" + "c" * 300 + "/o",
    ],
)
def test_a_path_that_swift_refuses_is_refused_by_swift(owner: Store, path: str) -> None:
    """A 503 would be repeated by clients."""
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        for somebody in (Somebody(owner, "test:tester"), Somebody(owner, None)):
            answer = somebody.ask(method, "/v1/" + path.format(owner.container), {}, b"" if method == "PUT" else None)
            assert 400 <= answer.status < 500, (method, answer)
            assert answer.headers.get("content-type") != "application/problem+json"


@pytest.mark.parametrize("run", ["copy in.x=/%00insitu-derived/o", "copy in.x=/c/%00o", "/%00insitu-derived/o"])
def test_reserved_names_are_no_inputs_and_no_programs(owner: Store, run: str) -> None:
    refused(owner, owner.run("secret", run), 400, "malformed-run-request")


@pytest.mark.parametrize(
    "path", ["/v1/AUTH_test/c/../{0}/secret", "/v1/AUTH_test//{0}/secret", "//v1/AUTH_test/{0}/secret"]
)
@pytest.mark.parametrize("user", ["test2:tester2", None])
def test_odd_paths_lead_to_nothing(owner: Store, user: str | None, path: str) -> None:
    say(owner, Run_On_Read=RUN, Read=".r:*")
    answer = Somebody(owner, user).ask("GET", path.format(owner.container), {})
    assert b"attic" not in answer.body


def test_the_filters_own_headers_are_nobody_s_to_write(owner: Store) -> None:
    say(owner, Read=".r:*", Run_On_Read=RUN)
    forged = {
        "X-Backend-Run": "copy",
        "X-Backend-Run-Terms": '{"tenant": "AUTH_other", "limits": {}}',
        "X-Backend-Run-Id": "0",
        "X-Backend-Run-Meta": '{"status": 202}',
        "X-Backend-Run-Signature": "0",
        "X-Backend-Storage-Policy-Index": "0",
        "X-Object-Sysmeta-Insitu-Source": "x",
        "X-Container-Sysmeta-Insitu-Run-On-Read": "copy",
        "X-Container-Sysmeta-Insitu-Run-Read": ".r:*",
    }
    for user in (None, "test2:tester2", "test:tester"):
        somebody = Somebody(owner, user)
        assert somebody.ask("GET", owner.path("secret"), forged).body.endswith(REDACTED)
        [record] = records(owner.cluster, somebody.ask("GET", owner.path("secret"), forged).request_id)
        assert record.tenant == owner.account
    owner.put("forged", b"x", **{name.replace("-", "_"): value for name, value in forged.items()})
    answer = owner.ask("HEAD", owner.path("forged"), {"X-Run": "-"})
    assert not [name for name in answer.headers if "sysmeta" in name or "backend" in name]


# -- an account without runs -------------------------------------------------------------------------------------------


def test_an_account_can_forbid_runs(owner: Store) -> None:
    account = f"/v1/{owner.account}"
    say(owner, Run_On_Read=RUN)
    assert owner.ask("POST", account, {"X-Account-Runs": "off"}).status == 204
    try:
        # What a program is to answer is not served without it.
        for answer in (
            owner.get("secret"),
            owner.run("secret", "copy"),
            owner.ask("GET", owner.path("secret") + "?run=copy", {}),
        ):
            refused(owner, answer, kind="runs-off")
        assert owner.get("secret", X_Run="-").body == SECRET
        refused(owner, owner.ask("PUT", owner.path("made"), {"X-Run": "copy"}, b"x"), kind="runs-off")
        copied = owner.ask("COPY", owner.path("secret"), {"X-Run": "copy", "Destination": f"{owner.container}/made"})
        refused(owner, copied, kind="runs-off")
        say(owner, Run_On_Write="copy")
        refused(owner, owner.ask("PUT", owner.path("made"), {}, b"x"), kind="runs-off")
        assert owner.get("made", X_Run="-").status == 404
        say(owner, Run_On_Read="", Run_On_Write="")
        assert owner.get("secret").body == SECRET
        assert owner.put("made", b"x").status == 201
    finally:
        assert owner.ask("POST", account, {"X-Account-Runs": ""}).status == 204
    assert owner.run("secret", "copy").body == SECRET


# -- when it cannot be known what the owner said -----------------------------------------------------------------------


def test_a_policy_that_another_version_wrote_is_not_taken_for_none(owner: Store) -> None:
    say(owner, Read=".r:*", Run_On_Read=RUN)
    set_behind_the_proxy(owner, "X-Container-Sysmeta-Insitu-Run-On-Read", "copy | args 'of the year 2031")
    for somebody in (Somebody(owner, "test:tester"), Somebody(owner, None)):
        for answer in (
            somebody.get(),
            somebody.run("-"),
            somebody.run("copy"),
            somebody.ask("HEAD", owner.path("secret")),
        ):
            assert answer.status == 503
            keeps_the_secret(owner, answer)
            assert answer.headers["retry-after"]
        answer = somebody.get()
        assert answer.problem["type"] == "urn:insitu:problem:unknown-policy"
        assert "X-Container-Run-On-Read was set to what this proxy cannot read" in answer.problem["detail"]
    assert owner.ask("PUT", owner.path("new"), {}, b"x").status == 503
    # What no policy is about goes on.
    assert owner.ask("POST", owner.path("secret"), {"X-Object-Meta-Patient": META}).status == 202
    assert owner.ask("DELETE", owner.path("new"), {}).status == 404
    # The owner sees it, and sets it again.
    there = f"/v1/{owner.account}/{owner.container}"
    assert "2031" in owner.ask("HEAD", there, {}).headers["x-container-run-on-read"]
    say(owner, Run_On_Read=RUN)
    assert owner.get("secret").body.endswith(REDACTED)


def test_with_no_server_that_tells_the_policy_the_object_is_not_served(owner: Store) -> None:
    say(owner, Read=".r:*", Run_On_Read=RUN)  # and the proxy has forgotten what it knew
    server = owner.cluster.pids()["container"]
    os.kill(server, signal.SIGSTOP)
    try:
        answer = owner.get("secret")  # it waits for that server as long as Swift does
        assert answer.status == 503
        keeps_the_secret(owner, answer)
        assert answer.problem["type"] == "urn:insitu:problem:unknown-policy"
    finally:
        os.kill(server, signal.SIGCONT)
    assert owner.get("secret").body.endswith(REDACTED)


def set_behind_the_proxy(owner: Store, header: str, value: str) -> None:
    """Metadata of a container, as only its servers can write them."""
    # In a process of its own: Swift's ring wants Swift's configuration, once per process.
    script = (
        "import sys, swift.common.utils as u\n"
        "root, account, container, header, value = sys.argv[1:]\n"
        "u.SWIFT_CONF_FILE = root + '/etc/swift.conf'\n"
        "u.validate_hash_conf()\n"
        "from swift.common.ring import Ring\n"
        "from swift.common.direct_client import direct_post_container\n"
        "part, nodes = Ring(root + '/etc', ring_name='container').get_nodes(account, container)\n"
        "for node in nodes:\n"
        "    direct_post_container(node, part, account, container, headers={header: value})\n"
    )
    words = [str(owner.cluster.directory), owner.account, owner.container, header, value]
    subprocess.run([sys.executable, "-c", script, *words], check=True, timeout=60)


# -- all of it at once -------------------------------------------------------------------------------------------------

ALLOWED = "args allowed *"


@dataclass(frozen=True)
class Rules:
    """What the owner said, and what follows from it: the rules in as few words as they can be said."""

    read: str
    run_read: str
    on_read: bool
    allow: bool

    def named(self, run: str) -> bool:
        return (run == RUN and self.on_read) or (run == "args allowed x" and self.allow)

    def expect(self, caller: str, asked: str | None) -> str:
        """`secret` (the object), `result`, or `refused`."""
        may_read = caller in ("owner", "signed") or self._admits(self.read, caller)
        nameless = caller in ("signed", "anonymous")
        run = RUN if asked is None and self.on_read else asked
        if run is None or run == "-":
            return "secret" if may_read and not (run and nameless and self.on_read) else "refused"
        if self.named(run):
            return "result" if may_read or self._admits(self.run_read, caller) else "refused"
        return "result" if may_read and not nameless else "refused"

    @staticmethod
    def _admits(acl: str, caller: str) -> bool:
        return acl == ".r:*" or (acl == "test2:tester2" and caller == "stranger")


@pytest.mark.parametrize("allow", [False, True], ids=["", "allow"])
@pytest.mark.parametrize("on_read", [False, True], ids=["", "on-read"])
@pytest.mark.parametrize("run_read", ["", "test2:tester2", ".r:*"], ids=["", "results-to-one", "results-to-all"])
@pytest.mark.parametrize("read", ["", "test2:tester2", ".r:*"], ids=["", "read-by-one", "read-by-all"])
def test_the_rules(
    owner: Store, signed: Callable[..., Answer], read: str, run_read: str, on_read: bool, allow: bool
) -> None:
    rules = Rules(read, run_read, on_read, allow)
    said = {
        "Read": read,
        "Run_Read": run_read,
        "Run_On_Read": RUN if on_read else "",
        "Run_Allow": ALLOWED if allow else "",
    }
    say(owner, **said)
    people = {user: Somebody(owner, name) for user, name in CALLERS.items()}

    def ask(caller: str, method: str, headers: dict[str, str]) -> Answer:
        if caller == "signed":
            return signed(method, **headers)
        return people[caller].ask(method, owner.path("secret"), headers)

    for caller in (*CALLERS, "signed"):
        for asked in (None, "-", RUN, "args allowed x", "copy"):
            headers = {} if asked is None else {"X-Run": asked}
            expected = rules.expect(caller, asked)
            answer = ask(caller, "GET", headers)
            case = (rules, caller, asked, answer)
            if expected == "refused":
                assert answer.status in (401, 403), case
                keeps_the_secret(owner, answer)
            else:
                assert (answer.status, answer.body == SECRET) == (200, expected == "secret" or asked == "copy"), case
                assert ("x-run-id" in answer.headers) is (expected == "result"), case
            head = ask(caller, "HEAD", headers)
            assert head.status == answer.status, (*case, head)
            assert ("etag" in head.headers) is (expected == "secret"), (*case, head)


CALLERS = {"owner": "test:tester", "stranger": "test2:tester2", "anonymous": None}
