"""What a node is asked besides launches: which program a name means, and to take one in, real node and real bytes."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from threading import Barrier, Thread

import pytest

from insitu.runtime import programs as programs_module
from insitu.runtime import wire
from insitu.runtime.errors import BadRequest, Busy, NodeError, NodeUnavailable, ProgramRejected, UnknownProgram
from insitu.runtime.preparing import MOST_OF_ONE
from insitu.runtime.programs import ProgramInfo, ProgramStore
from insitu.runtime.questions import Questions
from insitu.runtime.wants import MAX_WANTS
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import MAX_PROGRAM
from tests.runtime.conftest import NodeProcess, StartNode, eventually
from tests.runtime.test_arrivals import asked, descriptors, stored
from tests.runtime.zips import Part, zipped

NOBODYS = b"\0asm\1\0\0\0\1\4\1`\0\0\2\7\1\1x\1y\0\0"
"""A module whose one import, x.y, nobody provides."""


@pytest.fixture
def fresh(tmp_path: Path, start_node: StartNode) -> NodeProcess:
    """A node without programs of anybody's."""
    (tmp_path / "programs").mkdir()
    return start_node("--workers", "2", programs=tmp_path / "programs", cache=tmp_path / "cache")


@pytest.fixture
def copy(test_programs: Path) -> bytes:
    return (test_programs / "copy.wasm").read_bytes()


def ask(node: NodeProcess) -> Questions:
    return Questions.connect(node.path, timeout=60)


def bring(node: NodeProcess, data: bytes, *, digest: str = "", prepare: bool = False, tenant: str = "") -> str:
    with ask(node) as questions:
        info = questions.bring(digest or program_digest(data), [data], prepare=prepare, tenant=tenant)
    return info.digest


def never() -> Iterator[bytes]:
    pytest.fail("it was asked for bytes of a program that it has")
    yield b""


# Which program a launch would run.


def test_a_name_a_version_and_a_digest_mean_what_they_mean_to_a_launch(
    tmp_path: Path, start_node: StartNode, copy: bytes, test_programs: Path
) -> None:
    wasm = (test_programs / "readme.wasm").read_bytes()
    for version in ("1.9", "1.10"):
        text = f"name = 'reader'\nversion = '{version}'\ncontent_type = 'text/plain'\narguments = ['README']".encode()
        data = zipped(Part(b"program.toml", text), Part(b"r.wasm", wasm), Part(b"files/README", version.encode()))
        (tmp_path / f"reader@{version}.zip").write_bytes(data)
    (tmp_path / "copy.wasm").write_bytes(copy)
    node = start_node("--workers", "2", programs=tmp_path)
    with ask(node) as questions:  # one after the other, over one connection
        for words in ("copy", "reader", "reader@1.9", "reader@1.10", program_digest(copy)):
            info = questions.resolve(words)
            with node.launching(words) as run:
                assert (info.digest, info.content_type) == (run.accepted.digest, run.accepted.content_type)
                assert run.finish()[1].program == info.name
        assert questions.resolve("reader").version == "1.10"
        (tmp_path / "copy.wasm").write_bytes(wasm)
        assert questions.resolve("copy").digest == program_digest(wasm)
        (tmp_path / "copy.wasm").write_bytes(copy + b"\0")
        assert questions.resolve("copy").digest == program_digest(copy + b"\0")


@pytest.mark.parametrize("program", ["nope", "copy@9", "sha256:" + "0" * 64])
def test_what_is_unknown(node: NodeProcess, program: str) -> None:
    with ask(node) as questions:
        for _ in range(3):
            with pytest.raises(UnknownProgram, match="no program"):
                questions.resolve(program)
        assert questions.resolve("copy").name == "copy"  # which is an answer, and no end


def test_what_is_no_question(node: NodeProcess) -> None:
    with ask(node) as questions:
        for words in ("", "../copy", "/copy", "copy\0", "ä", "sha256:" + "A" * 64, "sha1:" + "0" * 40):
            with pytest.raises(BadRequest, match="run request: "):
                questions.resolve(words)
        with pytest.raises(BadRequest, match="program: over 4096 bytes"):
            questions.resolve("x" * 5000)
        with pytest.raises(BadRequest, match="cannot be written"):
            questions.resolve("x" * (1 << 20))
        for given in (3, None, ["copy"], b"copy"):
            with pytest.raises(BadRequest, match=r"program: .* is not a string"):
                questions._ask({"op": "resolve", "program": given})
    with ask(node) as questions, pytest.raises(BadRequest, match="'copy' is no digest"):
        questions.bring("copy", never())
    with ask(node) as questions, pytest.raises(BadRequest, match="tenant: 3 is not a string"):
        questions.bring(program_digest(b""), never(), tenant=3)  # type: ignore[arg-type]
    with pytest.raises(NodeUnavailable):
        Questions.connect(node.path + "-not")


def test_a_digest_that_is_not_there_is_looked_for_once(
    tmp_path: Path, copy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[None] = []
    real = ProgramStore.all

    def watched(store: ProgramStore) -> list[ProgramInfo]:
        looked.append(None)
        return real(store)

    monkeypatch.setattr(ProgramStore, "all", watched)
    monkeypatch.setattr(programs_module, "_AGAIN", 3600.0)
    place = tmp_path / "programs"
    place.mkdir()
    (place / "one.wasm").write_bytes(b"one")
    os.utime(place, (1000, 1000))
    store = ProgramStore([place])
    for _ in range(5):
        with pytest.raises(UnknownProgram):
            store.find(program_digest(copy))
    assert len(looked) == 1
    (place / "two.wasm").write_bytes(copy)  # which changes the directory
    assert store.find(program_digest(copy)).name == "two"
    assert len(looked) == 2
    for _ in range(5):
        assert store.find(program_digest(copy)).name == "two"
    assert len(looked) == 2
    os.utime(place, (1000, 1000))
    with pytest.raises(UnknownProgram):
        store.find(program_digest(b"three"))
    (place / "one.wasm").write_bytes(b"three")  # which does not
    monkeypatch.setattr(programs_module, "_AGAIN", 0.0)
    assert store.find(program_digest(b"three")).name == "one"
    assert store.find(program_digest(copy)).name == "two"
    (place / "two.wasm").unlink()
    with pytest.raises(UnknownProgram):
        store.find(program_digest(copy))


# To take one in.


@pytest.mark.parametrize("size", [1, 7, 1 << 16, 1 << 20])
def test_it_is_sent_once_in_pieces_of_any_size(fresh: NodeProcess, tmp_path: Path, copy: bytes, size: int) -> None:
    data = zipped(Part(b"program.toml", b"name = 'big'"), Part(b"b.wasm", copy), Part(b"files/a", os.urandom(900_000)))
    if size < 1 << 16:
        data = copy  # the other one is large
    digest = program_digest(data)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    with ask(fresh) as questions:
        info = questions.bring(digest, [b"", *pieces, b""])
        assert info.digest == digest
        assert info == questions.bring(digest, never()) == questions.resolve(digest)
        assert info == questions.bring(digest, never(), prepare=True)
    assert len(stored(tmp_path)) == 1
    assert fresh.run(digest, stdin=b"x")[0] == b"x"


def test_without_prepare_nothing_is_compiled_and_with_it_nothing_is_left_to_do(
    fresh: NodeProcess, tmp_path: Path, copy: bytes
) -> None:
    digest = bring(fresh, copy)
    assert (fresh.client.ping()["loaded"], list((tmp_path / "cache").glob("*.cwasm"))) == (0, [])
    assert bring(fresh, copy, prepare=True) == digest
    assert fresh.client.ping()["loaded"] == 1
    assert len(list((tmp_path / "cache").glob("*.cwasm"))) == 1
    fresh.client.ping()
    assert fresh.run(digest, stdin=b"x")[0] == b"x"


@pytest.mark.parametrize(
    "data",
    [b"rubbish", b"", b"PK\3\4rubbish", NOBODYS, zipped(Part(b"program.toml", b"name = 'x'"), Part(b"x.wasm", b"no"))],
    ids=["rubbish", "nothing", "no zip", "imports", "no module in it"],
)
def test_a_broken_one_is_refused_as_a_launch_of_it_is(fresh: NodeProcess, data: bytes) -> None:
    with pytest.raises(ProgramRejected) as brought:
        bring(fresh, data, prepare=True)
    with pytest.raises(ProgramRejected) as launched:
        fresh.run(program_digest(data))
    assert str(brought.value) == str(launched.value)
    with pytest.raises(ProgramRejected) as again:
        bring(fresh, data, prepare=True)
    assert str(again.value) == str(brought.value)


@pytest.mark.parametrize("prepare", [False, True])
def test_other_bytes_than_the_digest_says(fresh: NodeProcess, tmp_path: Path, copy: bytes, *, prepare: bool) -> None:
    for data in (b"", copy[:-1], copy + b"\0", bytes(600_000)):
        with pytest.raises(ProgramRejected, match=f"{program_digest(copy)}: what was sent has the digest sha256:"):
            bring(fresh, data, digest=program_digest(copy), prepare=prepare)
    assert stored(tmp_path) == []
    assert bring(fresh, copy, prepare=prepare) == program_digest(copy)


def test_bytes_without_an_end(fresh: NodeProcess, tmp_path: Path, copy: bytes) -> None:
    with ask(fresh) as questions, pytest.raises(ProgramRejected, match=f"over {MAX_PROGRAM} bytes"):
        questions.bring(program_digest(copy), repeat(bytes(1 << 20)))
    assert stored(tmp_path) == []
    fresh.calm()


def test_who_has_no_more_halfway_leaves_nothing(fresh: NodeProcess, tmp_path: Path, copy: bytes) -> None:
    fresh.calm()
    before = descriptors(fresh)

    def half() -> Iterator[bytes]:
        yield copy[:10]
        eventually(lambda: len(stored(tmp_path)) == 1)
        raise KeyError("gone")

    for _ in range(MAX_WANTS + 2):
        questions = ask(fresh)
        with pytest.raises(KeyError):
            questions.bring(program_digest(copy), half(), prepare=True)
        assert questions.fileno() == -1  # nobody takes the next word for bytes of the program
        eventually(lambda: stored(tmp_path) == [])
    eventually(lambda: descriptors(fresh) <= before)
    assert bring(fresh, copy) == program_digest(copy)


def test_a_flood_of_brings_by_one_tenant_leaves_room(fresh: NodeProcess, copy: bytes) -> None:
    with ExitStack() as stack:
        for at in range(MAX_WANTS // 2):
            stack.enter_context(asked(fresh, program_digest(b"%d" % at), "greedy"))
        with pytest.raises(Busy, match="4 of them the tenant's"):
            bring(fresh, copy, tenant="greedy")
        assert bring(fresh, copy, prepare=True, tenant="other") == program_digest(copy)


def both_at_once(first: Callable[[], object], second: Callable[[], object]) -> list[object]:
    found: list[object] = []

    def run(call: Callable[[], object]) -> None:
        try:
            found.append(call())
        except (NodeError, AssertionError) as why:
            found.append(why)

    threads = [Thread(target=run, args=(call,)) for call in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.parametrize("prepare", [False, True])
def test_two_may_bring_the_same_at_once(fresh: NodeProcess, tmp_path: Path, copy: bytes, *, prepare: bool) -> None:
    digest, together = program_digest(copy), Barrier(2, timeout=30)

    def pieces() -> Iterator[bytes]:  # each has been asked for it before either has sent it
        yield copy[:10]
        together.wait()
        yield copy[10:]

    def brought() -> str:
        with ask(fresh) as questions:
            return questions.bring(digest, pieces(), prepare=prepare).digest

    assert both_at_once(brought, brought) == [digest, digest]
    assert len(stored(tmp_path)) == 1
    assert fresh.run(digest, stdin=b"x")[0] == b"x"


def test_right_and_wrong_bytes_of_the_same_at_once(fresh: NodeProcess, copy: bytes) -> None:
    digest, together = program_digest(copy), Barrier(2, timeout=30)

    def brought(data: bytes) -> str:
        def pieces() -> Iterator[bytes]:
            yield data[:10]
            together.wait()
            yield data[10:]

        with ask(fresh) as questions:
            return questions.bring(digest, pieces(), prepare=True).digest

    found = both_at_once(lambda: brought(copy), lambda: brought(copy[:-1] + b"!"))
    assert digest in found
    assert [type(why) for why in found if why != digest] == [ProgramRejected]
    assert fresh.run(digest, stdin=b"x")[0] == b"x"


# What waits to be compiled.


class Waiting(Questions):
    """A peer that wants a program prepared, and does other things meanwhile."""

    def want(self, digest: str, tenant: str) -> None:
        wire.send(self._sock, {"op": "bring", "v": 1, "program": digest, "prepare": True, "tenant": tenant})

    def is_answered(self) -> bool:
        return bool(select.select([self], [], [], 0.2)[0])

    def answer(self) -> wire.Message:
        return self._receive(NodeUnavailable, "before it answered")


def test_a_tenant_does_not_fill_the_line_and_who_leaves_it_is_forgotten(fresh: NodeProcess, copy: bytes) -> None:
    digest, spawner = bring(fresh, copy), fresh.client.ping()["spawner"]
    os.kill(spawner, signal.SIGSTOP)  # nothing is loaded or compiled meanwhile
    try:
        with ExitStack() as stack:

            def waits(tenant: str) -> Waiting:
                waiting = stack.enter_context(Waiting.connect(fresh.path, timeout=60))
                waiting.want(digest, tenant)
                return waiting

            greedy = [waits("greedy") for _ in range(MOST_OF_ONE)]
            eventually(lambda: waits("greedy").is_answered())
            with pytest.raises(Busy, match="16 programs wait to be compiled already, 16 of them the tenant's"):
                bring(fresh, copy, prepare=True, tenant="greedy")
            other = waits("other")
            other.want(digest, "other")
            with pytest.raises(BadRequest, match="a second program on a connection"):
                other.answer()
            greedy.pop().close()
            eventually(lambda: not waits("greedy").is_answered())
            os.kill(spawner, signal.SIGCONT)
            for waiting in (*greedy, other):
                assert waiting.answer()["program"]["digest"] == digest
    finally:
        os.kill(spawner, signal.SIGCONT)
    fresh.calm()
    assert fresh.run(digest, stdin=b"x")[0] == b"x"


def test_it_waits_no_longer_than_a_launch_may(tmp_path: Path, start_node: StartNode, copy: bytes) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "node.toml").write_text("queue_seconds = 0.5")
    node = start_node("--config", str(tmp_path / "node.toml"), programs=tmp_path / "programs", cache=tmp_path / "cache")
    spawner = node.client.ping()["spawner"]
    os.kill(spawner, signal.SIGSTOP)
    try:
        with pytest.raises(Busy, match=r"is still being compiled after 0\.5 s"):
            bring(node, copy, prepare=True)
    finally:
        os.kill(spawner, signal.SIGCONT)
    assert bring(node, copy, prepare=True) == program_digest(copy)


def test_with_the_spawner_goes_nobody_who_waits(fresh: NodeProcess, copy: bytes) -> None:
    digest, spawner = bring(fresh, copy), fresh.client.ping()["spawner"]
    os.kill(spawner, signal.SIGSTOP)
    with Waiting.connect(fresh.path, timeout=60) as waiting:
        waiting.want(digest, "t")
        assert not waiting.is_answered()
        os.kill(spawner, signal.SIGKILL)
        assert waiting.answer()["program"]["digest"] == digest
    assert fresh.run(digest, stdin=b"x")[0] == b"x"


def test_programs_that_are_prepared_push_out_none_that_is_launched(
    tmp_path: Path, start_node: StartNode, copy: bytes
) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "node.toml").write_text("loaded_bytes = 1")  # room for no more than one
    options = ("--workers", "2", "--config", str(tmp_path / "node.toml"))
    node = start_node(*options, programs=tmp_path / "programs", cache=tmp_path / "cache")
    digest = bring(node, copy)
    assert node.run(digest, stdin=b"x")[0] == b"x"
    spawner = node.client.ping()["spawner"]
    for at in range(5):
        other = copy + b"\0\2\1%d" % at  # the same with a section of its own
        brought = bring(node, other, prepare=True)
        assert node.client.ping()["loaded"] == 1
    node.calm()
    os.kill(spawner, signal.SIGSTOP)  # now nothing can be loaded, and a launch has to do with what is
    try:
        assert node.run(digest, stdin=b"y")[0] == b"y"
    finally:
        os.kill(spawner, signal.SIGCONT)
    assert node.run(brought, stdin=b"z")[0] == b"z"
