"""The stand-in for memcached answers as memcached does."""

from insitu.storage_hooks.devcluster.cache import DictCache


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_values_come_back_as_memcached_gives_them() -> None:
    cache = DictCache()
    value = {"list": [1, 2], "text": "ü"}
    cache.set("json", value)
    got = cache.get("json")
    assert got == value
    got["list"].append(3)
    assert cache.get("json") == value, "a caller changed what is stored"
    cache.set("bytes as json", b"text")
    assert cache.get("bytes as json") == "text"
    cache.set("raw", b"\x00\xff", serialize=False)
    assert cache.get("raw") == b"\x00\xff"
    cache.set("tuple", (1.5, ["group"]))
    assert cache.get("tuple") == [1.5, ["group"]]
    assert cache.get("missing") is None


def test_entries_expire() -> None:
    clock = Clock()
    cache = DictCache(clock)
    cache.set("soon", 1, time=10)
    cache.set("at a point in time", 2, time=clock.now + 60)
    cache.set("never", 3)
    clock.now += 9.9
    assert cache.get("soon") == 1
    clock.now += 0.1
    assert cache.get("soon") is None
    assert cache.get("at a point in time") == 2
    clock.now += 50
    assert cache.get("at a point in time") is None
    clock.now += 1e9
    assert cache.get("never") == 3


def test_counters() -> None:
    clock = Clock()
    cache = DictCache(clock)
    assert cache.incr("n", 5, time=10) == 5
    assert cache.decr("n", 2) == 3
    assert cache.decr("n", 99) == 0
    clock.now += 10
    assert cache.incr("n") == 1, "a counter outlived its time"


def test_many_at_once_and_deletion() -> None:
    cache = DictCache()
    cache.set_multi({"a": 1, "b": 2}, "server key")
    assert cache.get_multi(["a", "b", "c"], "server key") == [1, 2, None]
    cache.delete("a")
    cache.delete("a")
    assert cache.get("a") is None


def test_it_is_bounded() -> None:
    cache = DictCache(max_entries=3)
    for n in range(5):
        cache.set(str(n), n)
    assert [cache.get(str(n)) for n in range(5)] == [None, None, 2, 3, 4]
