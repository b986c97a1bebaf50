"""What a proxy remembers of stored results: their bytes, whole, for a minute at most."""

from collections.abc import Iterator
from typing import Any

import pytest

from insitu.runtime.grammar import RunRequest
from insitu.storage_hooks.derived.about import About
from insitu.storage_hooks.derived.asked import Asked
from insitu.storage_hooks.derived.memory import LARGEST, SECONDS, Memory
from insitu.storage_hooks.derived.store import Answer
from insitu.storage_hooks.policies import NONE
from insitu.storage_hooks.runs import Order

ABOUT = About(source_etag="e", program="p", digest="d", expires=10**6)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Body:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield self._data[:3]
        yield self._data[3:]

    def close(self) -> None:
        self.closed = True


def asked(name: str = "n", account: str = "a", method: str = "GET", **variables: str) -> Asked:
    order = Order(RunRequest("p"), account, f"/{account}/c/o")
    return Asked({"REQUEST_METHOD": method, **variables}, lambda *_: None, order, NONE, name)


def stored(data: bytes, about: About = ABOUT, status: int = 200) -> Answer:
    return Answer(status, [*about.headers(), ("Content-Length", str(len(data)))], Body(data))


def read(memory: Memory, what: Asked, answer: Answer) -> bytes:
    """As a client reads it who gets it from the store."""
    body = memory.keep(what, answer).body
    return b"".join(body)


def remembered(memory: Memory, what: Asked) -> bytes | None:
    found = memory.get(what, what.name)
    return None if found is None else b"".join(found.body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Memory:
    return Memory(16 * LARGEST, clock)


def test_what_was_read_is_remembered_with_its_headers(memory: Memory) -> None:
    assert remembered(memory, asked()) is None
    answer = stored(b"a result")
    assert read(memory, asked(), answer) == b"a result"
    found = memory.get(asked(), "n")
    assert found is not None
    assert (found.status, found.headers, b"".join(found.body)) == (200, answer.headers, b"a result")
    assert remembered(memory, asked("other")) is None
    assert remembered(memory, asked(account="other")) is None


def test_for_a_minute_however_often_it_is_asked_for(memory: Memory, clock: Clock) -> None:
    read(memory, asked(), stored(b"x"))
    for _ in range(10):
        assert remembered(memory, asked()) == b"x"
        clock.now += SECONDS / 10
    assert remembered(memory, asked()) is None


def test_no_longer_than_it_is_kept(memory: Memory, clock: Clock) -> None:
    about = About(source_etag="e", program="p", digest="d", expires=int(clock.now) + 5)
    read(memory, asked(), stored(b"x", about))
    clock.now += 4
    assert remembered(memory, asked()) == b"x"
    clock.now += 1
    assert remembered(memory, asked()) is None


@pytest.mark.parametrize("name", ["HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"])
def test_parts_and_conditions_are_the_stores(memory: Memory, name: str) -> None:
    read(memory, asked(), stored(b"x"))
    assert remembered(memory, asked(**{name: "x"})) is None
    assert remembered(memory, asked(method="HEAD")) is None
    read(memory, asked("part", **{name: "x"}), stored(b"x", status=206))
    read(memory, asked("head", method="HEAD"), stored(b""))
    assert remembered(memory, asked("part")) is None
    assert remembered(memory, asked("head")) is None


def test_what_was_not_read_whole_is_not_remembered(memory: Memory) -> None:
    answer = stored(b"a result")
    body: Any = memory.keep(asked(), answer).body
    next(body)
    body.close()
    assert answer.body.closed  # type: ignore[attr-defined]
    assert remembered(memory, asked()) is None
    short = Answer(200, answer.headers, Body(b"a res"))
    assert read(memory, asked(), short) == b"a res"
    assert remembered(memory, asked()) is None


def test_only_the_small_and_no_more_than_there_is_room_for(memory: Memory) -> None:
    read(memory, asked("large"), stored(bytes(LARGEST + 1)))
    assert remembered(memory, asked("large")) is None
    for at in range(40):
        read(memory, asked(str(at)), stored(bytes(LARGEST)))
        assert remembered(memory, asked("0")) is not None or at > 14
        assert memory._used <= 16 * LARGEST
    assert remembered(memory, asked("39")) is not None
    assert remembered(memory, asked("10")) is None
    nothing = Memory(0)
    read(nothing, asked(), stored(b""))
    assert remembered(nothing, asked()) is None


def test_what_its_owner_dropped_is_forgotten(memory: Memory) -> None:
    for account in ("a", "b"):
        read(memory, asked(account=account), stored(b"x"))
    memory.forget("a")
    assert remembered(memory, asked(account="a")) is None
    assert remembered(memory, asked(account="b")) == b"x"
    memory.forget("b")
    assert memory._used == 0
