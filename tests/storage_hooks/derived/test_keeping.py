"""A result is stored while it is read, whole or not at all, and the reader never suffers for it: in a real hub."""

from collections.abc import Iterator

import pytest
from swift.common.concurrency import sleep

from insitu.storage_hooks.derived import keeping
from insitu.storage_hooks.derived.keeping import CHUNKS, GivenUp, Reader, Storing, Tee
from insitu.storage_hooks.derived.store import StoreError


class Store:
    """Takes what it is given, `size` bytes at a time."""

    def __init__(self, size: int = 1000) -> None:
        self.size = size
        self.bytes = b""
        self.committed = False
        self.why: list[str | None] = []

    def put(self, reader: Reader) -> None:
        while piece := reader.read(self.size):
            self.bytes += piece
        self.committed = True

    def tee(self, body: "Body", max_bytes: int = 1 << 20) -> Tee:
        return Tee(body, Storing(self.put, max_bytes=max_bytes, done=self.why.append))

    def settled(self) -> str | None:
        for _ in range(100):
            if self.why:
                break
            sleep(0)
        [why] = self.why
        return why


class Body:
    def __init__(self, *chunks: bytes, fails: bool = False) -> None:
        self._chunks = list(chunks)
        self._fails = fails
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._fails:
            raise RuntimeError("exit code 3")

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("chunks", [(), (b"",), (b"abc",), (b"abc", b"", b"defghij" * 50), (b"x" * 100,) * 40])
def test_what_the_client_reads_is_what_is_stored(chunks: tuple[bytes, ...], size: int) -> None:
    store, body = Store(size), Body(*chunks)
    tee = store.tee(body)
    assert b"".join(tee) == b"".join(chunks)
    tee.close()
    assert store.settled() is None
    assert store.committed
    assert store.bytes == b"".join(chunks)
    assert body.closed


@pytest.mark.parametrize("count", [0, 1, CHUNKS, 3 * CHUNKS])
def test_a_run_that_fails_stores_nothing(count: int) -> None:
    store, body = Store(), Body(*[b"x"] * count, fails=True)
    tee = store.tee(body)
    with pytest.raises(RuntimeError, match="exit code 3"):
        list(tee)
    tee.close()
    assert "exit code 3" in (store.settled() or "")
    assert not store.committed


@pytest.mark.parametrize("read", [0, 1, 2, CHUNKS - 1])
def test_a_client_that_goes_away_stores_nothing(read: int) -> None:
    store, body = Store(), Body(*[b"x"] * CHUNKS)
    tee = store.tee(body)
    for _ in range(read):
        next(tee)
        sleep(0)
    tee.close()
    assert "client went away" in (store.settled() or "")
    assert not store.committed
    assert body.closed


def test_a_client_that_goes_away_after_the_end_is_no_reason_not_to_store() -> None:
    store = Store()
    tee = store.tee(Body(b"all"))
    assert list(tee) == [b"all"]
    tee.close()
    tee.close()
    assert store.settled() is None
    assert store.committed


def test_what_is_too_large_is_given_up_and_read_on() -> None:
    store = Store()
    tee = store.tee(Body(*[b"x" * 10] * 20), max_bytes=150)
    assert len(b"".join(tee)) == 200
    assert "larger" in (store.settled() or "")
    assert not store.committed


def test_a_store_that_refuses_is_no_matter_to_the_client() -> None:
    why: list[str | None] = []

    def put(reader: Reader) -> None:
        raise StoreError("it was not stored: Swift answered 507")

    tee = Tee(Body(*[b"x"] * 100), Storing(put, max_bytes=1000, done=why.append))
    assert len(list(tee)) == 100
    sleep(0)
    assert why == ["it was not stored: Swift answered 507"]


def test_a_store_that_breaks_in_the_middle_is_no_matter_to_the_client() -> None:
    why: list[str | None] = []

    def put(reader: Reader) -> None:
        reader.read(1)
        raise ValueError("a bug")

    tee = Tee(Body(*[b"x"] * 100), Storing(put, max_bytes=1000, done=why.append))
    assert len(list(tee)) == 100
    sleep(0)
    assert why == ["ValueError: a bug"]


def test_a_store_that_stands_still_holds_a_client_up_once_and_then_never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PATIENCE", 0.05)
    why: list[str | None] = []
    outcome: list[str] = []

    def put(reader: Reader) -> None:
        sleep(0.3)
        with pytest.raises(GivenUp):
            reader.read(1)
        outcome.append("learnt that it was given up")
        raise StoreError("Swift answered 499")

    tee = Tee(Body(*[b"x"] * 100), Storing(put, max_bytes=1000, done=why.append))
    assert len(list(tee)) == 100
    while not why:
        sleep(0.01)
    assert outcome
    assert "took nothing" in (why[0] or "")
