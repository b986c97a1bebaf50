"""The spec says what is wrong, where, and what is allowed; and takes nothing that later stages could not do."""

from pathlib import Path

import pytest
import yaml

from insitu.jobs.errors import SpecError
from insitu.jobs.spec import MAX_BYTES, from_bytes, load

GOOD = {
    "name": "wordcount",
    "input": {"container": "texts", "pattern": "*.txt"},
    "map": {"run": "words"},
    "reduce": {"run": "sum", "partitions": 4},
    "output": {"container": "counts", "name": "part-{partition:05d}"},
}


def changed(**changes: object) -> bytes:
    return yaml.safe_dump(GOOD | changes).encode()


def test_example_is_good() -> None:
    example = Path(__file__).parents[2] / "examples" / "wordcount.yaml"
    spec = load(example)
    assert (spec.map.run, spec.input.container, spec.output_container) == ("words", "texts", "texts")


def test_set_replaces_and_adds() -> None:
    spec = from_bytes(changed(), ("container=books", "reduce.partitions=9", "concurrency=2", "output.container=o"))
    assert spec.input.container == "books"
    assert spec.reduce is not None
    assert spec.reduce.partitions == 9
    assert spec.concurrency == 2
    assert spec.output_container == "o"


def test_run_is_written_as_a_header_can_carry_it() -> None:
    assert from_bytes(changed(map={"run": "words '€ 1'"})).map.run == "words %E2%82%AC%201"
    run = "/my%20programs/words@sha256:" + "0" * 64 + " in.stop=/lists/stop%20words x"
    assert from_bytes(changed(map={"run": run})).map.run == run


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "a job spec is a mapping"),
        (b"[1, 2]", "a job spec is a mapping"),
        (b"name: [", "not YAML"),
        (b"\x00", "not YAML"),
        (b"a: !!python/object/apply:os.system ['true']", "not YAML"),
        (b"{" * 5000, "nested too deeply"),
        (b"#" * (MAX_BYTES + 1), "larger than 64 KiB"),
        (changed(inptu={}), "unknown field `inptu`; allowed are name, input"),
        (changed(input={"container": "a", "glob": "*"}), "unknown field `glob` - at `$.input`; allowed are container"),
        (changed(input={}), "missing required field `container` - at `$.input`"),
        (changed(input={"container": 7}), "Expected `str`, got `int` - at `$.input.container`"),
        (changed(input={"container": "a/b"}), "must not hold '/'"),
        (changed(input={"container": "x" * 257}), "1 to 256 bytes, this one 257 - at `$.input.container`"),
        (changed(input={"container": "a", "pattern": ""}), "at `$.input.pattern`"),
        (changed(name="a/b"), "at `$.name`"),
        (changed(name="a\n"), "at `$.name`"),
        (changed(map={"run": ""}), "run request: empty; it is NAME [ARG…] - at `$.map.run`"),
        (changed(map={"run": "a\nX-Auth-Token: b"}), "control character"),
        (changed(map={"run": "words '"}), "no closing quotation"),
        (changed(reduce={"run": "sum", "partitions": 0}), "at `$.reduce.partitions`"),
        (changed(reduce={"run": "sum", "partitions": 257}), "`int` <= 256 - at `$.reduce.partitions`"),
        (changed(output={"name": "fixed"}), "4 results need {partition} in their name"),
        (changed(output={"name": "{partition.__class__}"}), "allowed are {job} and {partition}"),
        (changed(output={"name": "{partition!r}"}), "allowed are {job} and {partition}"),
        (changed(output={"name": "{partition:>{partition}}"}), "a width such as 05d"),
        (changed(output={"name": "{partition:99999999d}"}), "a width such as 05d"),
        (changed(output={"name": "{"}), "allowed are {job} and {partition}"),
        (changed(output={"name": "{partition}" + "x" * 1024}), "1 to 1024 bytes"),
        (changed(output={"name": ""}, reduce={"run": "sum"}), "1 to 1024 bytes, this one 0"),
        (changed(output={"name": "a/../{partition}"}), "has a segment '.' or '..'"),
        (changed(reduce=None), "allowed are {job} and {name}"),
        (changed(reduce=None, output={"name": "x"}), "the name needs {name}"),
        (changed(on_failure="ignore"), "at `$.on_failure`"),
        (changed(concurrency=65), "at `$.concurrency`"),
        (changed(retries=-1), "at `$.retries`"),
        (changed(temporary={"container": "texts"}), "must be one of its own"),
    ],
)
def test_mistakes_are_named(raw: bytes, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_bytes(raw)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [("nothing", "it is PATH=VALUE"), ("=x", "it is PATH=VALUE"), ("name.x=1", "holds a value"), ("a.b=1", "unknown")],
)
def test_bad_set(change: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        from_bytes(changed(), (change,))


def test_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gone\.yaml: no such file"):
        load(tmp_path / "gone.yaml")
    with pytest.raises(SpecError, match="is a directory"):
        load(tmp_path)
