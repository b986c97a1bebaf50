"""What a spec and a listing come to, before anything is asked of the storage."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.jobs import plan
from insitu.jobs.errors import NoInput, OutputClash, SpecError
from insitu.jobs.names import matcher, prefix_of, shown
from insitu.jobs.plan import ObjectInfo
from insitu.jobs.spec import JobSpec, from_bytes

WORDCOUNT = b"""
name: wordcount
input: {container: texts, pattern: "*.txt"}
map: {run: words}
reduce: {run: sum, partitions: 3}
output: {name: "counts/{partition:03d}"}
"""
ODD = ["a\nb.txt", "ü/€.txt", "a b%20.txt", " .txt", "x" * 1020 + ".txt", "[bold]\x1b[2J.txt", "..", "a/../b.txt"]


def lay_out(spec: JobSpec, names: list[str]) -> plan.Pipeline:
    inputs = plan.select(spec, [ObjectInfo(name, 10) for name in names])
    return plan.make(spec, inputs, "job-1")


def test_stages_of_a_map_reduce() -> None:
    pipeline = lay_out(from_bytes(WORDCOUNT), [*ODD, "skipped.jpg"])
    assert [stage.name for stage in pipeline.stages] == ["map", "place", "reduce", "publish"]
    maps = pipeline.stages[0].tasks
    assert [task.source.name for task in maps if task.source] == [name for name in ODD if name.endswith(".txt")]
    assert {task.run for task in maps} == {"words"}
    assert all(task.target is None for task in maps)
    places, reduces, publishes = (stage.tasks for stage in pipeline.stages[1:])
    assert [task.target for task in places] == [task.source for task in reduces]
    assert [task.target.name for task in publishes if task.target] == ["counts/000", "counts/001", "counts/002"]
    assert all(task.target and task.target.name.startswith("job-1/") for task in places)


def test_map_only_stores_one_result_per_input() -> None:
    spec = from_bytes(b"{name: m, input: {container: a}, map: {run: cat}, output: {container: b, name: 'out/{name}'}}")
    pipeline = lay_out(spec, ["x", "y/z"])
    assert [stage.name for stage in pipeline.stages] == ["map"]
    assert [str(task.target) for task in pipeline.stages[0].tasks] == ["b/out/x", "b/out/y/z"]


def test_no_input_is_a_mistake() -> None:
    with pytest.raises(NoInput, match=r"no object of texts matches \*\.txt"):
        lay_out(from_bytes(WORDCOUNT), ["a.jpg", "b.TXT"])


@pytest.mark.parametrize(
    ("name", "pattern", "container"),
    [
        ("counts/{partition}.txt", "*.txt", "texts"),
        ("part-{partition}", "*", "texts"),
        ("b{partition}", "b[0-9]", "texts"),
    ],
)
def test_results_may_not_become_inputs(name: str, pattern: str, container: str) -> None:
    spec = from_bytes(WORDCOUNT, (f"output.name={name}", f"pattern={pattern}"))
    with pytest.raises(OutputClash, match="matches the input pattern"):
        lay_out(spec, ["a.txt", "b1"])
    lay_out(from_bytes(WORDCOUNT, (f"output.name={name}", f"pattern={pattern}", "output.container=o")), ["a.txt", "b1"])


def test_long_results_are_refused_before_anything_runs() -> None:
    spec = from_bytes(b"{name: m, input: {container: a}, map: {run: cat}, output: {container: b, name: 'out/{name}'}}")
    with pytest.raises(SpecError, match="1 to 1024 bytes"):
        lay_out(spec, ["x" * 1022])


def test_tasks_are_values() -> None:
    task = lay_out(from_bytes(WORDCOUNT), ["a.txt"]).stages[0].tasks[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.index = 3  # type: ignore[misc]


@given(st.text(max_size=30), st.text(alphabet="ab*?[]!-/\n.", max_size=12))
def test_prefix_never_hides_a_match(name: str, pattern: str) -> None:
    if matcher(pattern)(name):
        assert name.startswith(prefix_of(pattern))


def test_patterns() -> None:
    assert matcher("*.txt")("a/b\nc.txt")
    assert not matcher("*.txt")("a.txt\n")
    assert not matcher("*.txt")("a.TXT")
    assert matcher("log-[0-9]?")("log-7x")
    # Quadratic at worst, where naive translation takes for ever.
    assert not matcher("*a" * 30)("a" * 1000 + "b")


@given(st.text(max_size=200))
def test_shown_names_are_harmless(name: str) -> None:
    assert shown(name).isprintable()
    assert len(shown(name)) <= 120
