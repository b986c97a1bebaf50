"""Which programs stay loaded."""

from hypothesis import given
from hypothesis import strategies as st

from insitu.runtime.loaded import Loaded


def test_the_least_recently_used_go_first() -> None:
    loaded = Loaded(100)
    for name in "abc":
        loaded.add(name, 1, 30)
    loaded.used("a")
    loaded.add("d", 2, 30)
    assert loaded.make_room(()) == ["b"]
    assert loaded.bytes == 90
    assert loaded.generation("b") is None
    assert loaded.generation("d") == 2
    assert loaded.make_room(()) == []


def test_none_goes_that_is_needed_nor_the_latest() -> None:
    loaded = Loaded(100)
    loaded.add("needed", 1, 90)
    loaded.add("other", 2, 90)
    loaded.add("huge", 3, 900)
    assert loaded.make_room({"needed"}) == ["other"]
    assert loaded.generation("huge") == 3
    loaded.add("next", 4, 1)
    assert loaded.make_room(()) == ["needed", "huge"]


def test_what_no_launch_wants_yet_goes_first() -> None:
    loaded = Loaded(100)
    for name in "abc":
        loaded.add(name, 1, 30)
    loaded.add("prepared", 2, 30, wanted=False)
    assert loaded.make_room(()) == ["prepared"]
    loaded.add("another", 3, 5, wanted=False)
    assert loaded.make_room(()) == []
    loaded.used("another")  # now one does
    loaded.add("d", 4, 30)
    assert loaded.make_room(()) == ["a"]
    assert loaded.bytes == 95
    alone = Loaded(100)
    alone.add("huge", 1, 900, wanted=False)
    assert alone.make_room(()) == []


def test_their_number_is_bounded_too() -> None:
    loaded = Loaded(1 << 40, count=3)
    for name in "abcde":
        loaded.add(name, 1, 0)
    assert loaded.make_room(()) == ["a", "b"]


def test_what_is_loaded_again_counts_once() -> None:
    loaded = Loaded(100)
    loaded.add("a", 1, 60)
    loaded.add("a", 2, 70)
    assert (loaded.bytes, len(loaded), loaded.generation("a")) == (70, 1, 2)
    loaded.clear()
    assert (loaded.bytes, len(loaded)) == (0, 0)


@given(st.integers(0, 300), st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 200), st.booleans())))
def test_the_bound_holds(most: int, steps: list[tuple[str, int, bool]]) -> None:
    loaded = Loaded(most, count=4)
    sizes: dict[str, int] = {}
    for generation, (name, size, add) in enumerate(steps):
        if add:
            loaded.add(name, generation, size)
            sizes[name] = size
        else:
            loaded.used(name)
        latest = list(loaded._programs)[-1:]
        for gone in loaded.make_room(()):
            assert [gone] != latest
            del sizes[gone]
        assert loaded.bytes == sum(sizes.values())
        assert len(loaded) == len(sizes) <= 4
        assert loaded.bytes <= most or len(sizes) <= 1
