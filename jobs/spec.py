"""What the user wrote: the job's YAML, typed and checked as far as it can be without asking the storage.

    name: wordcount                                   # what the report calls it
    input:  {container: texts, pattern: "*.txt"}      # pattern as a shell's; default "*"
    map:    {run: "words"}                            # the value of an X-Run header
    reduce: {run: "sum", partitions: 4}               # left out: every input's result is stored as an object
    output: {container: counts, name: "wordcount/part-{partition:05d}"}    # container: default the input's
    on_failure: stop                                  # or skip: publish what the other inputs gave
    concurrency: 4                                    # requests at a time
    retries: 3                                        # further attempts after storage failures, per task
    temporary: {container: .insitu-jobs}              # where partitions lie between map and reduce

`{partition}` counts from 0; without `reduce` the output's name needs `{name}` (the input object's) instead.
Unknown fields are mistakes, not comments. `--set input.container=photos` replaces one value; `container` alone is short
for `input.container`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from insitu.jobs.errors import SpecError
from insitu.jobs.names import check_container, check_object, check_template, fields_of, fill, shown
from insitu.runtime.grammar import GrammarError, format_run, parse_run

MAX_BYTES = 64 * 1024
"""A spec is written by hand; what is larger is some other file."""
MAX_PARTITIONS = 256
"""Each partition is one open file of this process while the map stage runs."""
MAX_CONCURRENCY = 64

_SHORT = {"container": "input.container", "pattern": "input.pattern", "partitions": "reduce.partitions"}


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which objects: all of `container` whose name matches `pattern`."""

    container: str
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] = "*"


class Map(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What runs on each input: a run request, the value of an `X-Run` header."""

    run: str


class Reduce(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What runs on each partition of the map stage's lines."""

    run: str
    partitions: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTITIONS)] = 1


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where results are stored: `name` is a template; `container` None means the input's."""

    name: str
    container: str | None = None


class Temporary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where partitions are stored between map and reduce, under the job's id."""

    container: str = ".insitu-jobs"


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole job. Make one with `load` or `from_bytes`, which check what types cannot."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
    input: Input
    map: Map
    output: Output
    reduce: Reduce | None = None
    on_failure: Literal["stop", "skip"] = "stop"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=MAX_CONCURRENCY)] = 4
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 3
    temporary: Temporary = Temporary()

    @property
    def output_container(self) -> str:
        return self.output.container if self.output.container is not None else self.input.container


def load(path: Path, changes: tuple[str, ...] = ()) -> JobSpec:
    """Read a spec file and apply `--set` changes (`PATH=VALUE`). Raises `SpecError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as why:
        raise SpecError(f"{path}: {(why.strerror or str(why)).lower()}") from None
    try:
        return from_bytes(raw, changes)
    except SpecError as why:
        raise SpecError(f"{path}: {why}") from None


def from_bytes(raw: bytes, changes: tuple[str, ...] = ()) -> JobSpec:
    """Parse and check a spec. Raises `SpecError`."""
    if len(raw) > MAX_BYTES:
        raise SpecError(f"larger than {MAX_BYTES // 1024} KiB, which no job spec is")
    try:
        tree = yaml.safe_load(raw)
    except yaml.MarkedYAMLError as why:
        mark = why.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise SpecError(f"not YAML: {why.problem or why.context}{where}") from None
    except (yaml.YAMLError, ValueError) as why:
        raise SpecError(f"not YAML: {shown(str(why))}") from None
    except RecursionError:
        raise SpecError("nested too deeply for a job spec") from None
    if not isinstance(tree, dict):
        raise SpecError("a job spec is a mapping with name, input, map, reduce and output")
    for change in changes:
        _set(tree, change)
    try:
        # Not strict: a value given with --set arrives as text, and "4" is a number where a number belongs.
        spec = msgspec.convert(tree, JobSpec, strict=False)
    except msgspec.ValidationError as why:
        raise SpecError(_plain(str(why))) from None
    except RecursionError:
        raise SpecError("nested too deeply for a job spec") from None
    return _checked(spec)


def _set(tree: dict[Any, Any], change: str) -> None:
    path, equals, value = change.partition("=")
    if not equals or not path:
        raise SpecError(f"--set {shown(change)}: it is PATH=VALUE, such as input.container=texts")
    keys = _SHORT.get(path, path).split(".")
    at = tree
    for key in keys[:-1]:
        below = at.setdefault(key, {})
        if not isinstance(below, dict):
            raise SpecError(f"--set {shown(change)}: {key} holds a value, not fields")
        at = below
    at[keys[-1]] = value


def _plain(message: str) -> str:
    """msgspec's own words, which already name the place (`$.reduce.partitions`), plus what is allowed."""
    if "unknown field" in message:
        place = message.rpartition("`$")[2].strip("`") if "`$" in message else ""
        types = {
            "": JobSpec,
            ".input": Input,
            ".map": Map,
            ".reduce": Reduce,
            ".output": Output,
            ".temporary": Temporary,
        }
        if place in types:
            return f"{message}; allowed are {', '.join(types[place].__struct_fields__)}"
    return message


def _checked(spec: JobSpec) -> JobSpec:
    check_container(spec.input.container, "$.input.container")
    check_container(spec.output_container, "$.output.container")
    check_container(spec.temporary.container, "$.temporary.container")
    if spec.temporary.container in (spec.input.container, spec.output_container):
        raise SpecError("the container for temporary objects must be one of its own - at `$.temporary.container`")
    spec = msgspec.structs.replace(spec, map=Map(_run(spec.map.run, "$.map.run")))
    template = spec.output.name
    if spec.reduce is None:
        check_template(template, frozenset({"name", "job"}), "$.output.name")
        if "name" not in fields_of(template):
            raise SpecError(
                "without reduce, every input has its own result: the name needs {name} - at `$.output.name`"
            )
        return spec
    check_template(template, frozenset({"partition", "job"}), "$.output.name")
    if spec.reduce.partitions > 1 and "partition" not in fields_of(template):
        raise SpecError(f"{spec.reduce.partitions} results need {{partition}} in their name - at `$.output.name`")
    # The longest number and an id of full length, so that the names made later fit as well.
    check_object(fill(template, partition=spec.reduce.partitions - 1, job="x" * 64), "$.output.name")
    return msgspec.structs.replace(spec, reduce=Reduce(_run(spec.reduce.run, "$.reduce.run"), spec.reduce.partitions))


def _run(value: str, path: str) -> str:
    try:
        asked = parse_run(value)
        return format_run(asked.program, asked.args, asked.inputs, asked.digest)
    except GrammarError as why:
        raise SpecError(f"{why} - at `{path}`") from None
