"""From a spec and a listing to a pipeline of stages of tasks. Pure: nothing here asks the storage.

    map ──► place ──► reduce ──► publish          with reduce: one `map` task per input, then one of each per partition
    map                                           without: every map task stores its own result

A stage begins when the one before it is over. `map` gathers lines by partition in this process; `place` stores each
partition as one temporary object, because a run request reads exactly one object; `reduce` fetches each result whole;
`publish` stores the results, and begins only when there is nothing left that could fail but the storage itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from insitu.jobs.errors import NoInput, OutputClash, SpecError
from insitu.jobs.names import check_object, fill, matcher, prefix_of, shown
from insitu.jobs.spec import JobSpec

StageName = Literal["map", "place", "reduce", "publish"]

OnFailure = Literal["finish", "skip", "stop"]
"""What a failed task does to its stage: the others still run and then the job ends (`finish`) or goes on (`skip`),
or no further task of the stage is begun and the job ends (`stop`)."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One line of a container's listing. `bytes` is the object's size."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Where an object lies."""

    container: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.container}/{self.name}", 200)


@dataclass(frozen=True, slots=True)
class Task:
    """One step that can be tried again: read `source` (run `run` on it, if given), write `target`.

    None for `source` or `target` means this process: the partition or the result with the task's `index`.
    """

    stage: StageName
    index: int
    source: ObjectRef | None = None
    target: ObjectRef | None = None
    run: str | None = None
    bytes: int = 0

    def __str__(self) -> str:
        return f"{self.stage}/{self.index}"


@dataclass(frozen=True, slots=True)
class Stage:
    """Tasks that do not depend on one another."""

    name: StageName
    tasks: tuple[Task, ...]
    on_failure: OnFailure = "finish"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A whole job, ready to be run. `temporaries` is the prefix under which its temporary objects lie."""

    job_id: str
    stages: tuple[Stage, ...]
    partitions: int
    temporaries: ObjectRef

    def stage(self, name: StageName) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)


def select(spec: JobSpec, listing: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """The inputs, in the listing's order. Raises `NoInput`."""
    matches = matcher(spec.input.pattern)
    chosen = [found for found in listing if matches(found.name)]
    if not chosen:
        raise NoInput(f"no object of {shown(spec.input.container)} matches {shown(spec.input.pattern)}")
    return chosen


def make(spec: JobSpec, inputs: list[ObjectInfo], job_id: str) -> Pipeline:
    """Lay out the job. Raises `OutputClash`, or `SpecError` for a result's name that would be too long."""
    on_failure: OnFailure = "skip" if spec.on_failure == "skip" else "finish"
    temporaries = ObjectRef(spec.temporary.container, f"{job_id}/")
    sources = [ObjectRef(spec.input.container, found.name) for found in inputs]
    if spec.reduce is None:
        targets = [_target(spec, fill(spec.output.name, name=found.name, job=job_id)) for found in inputs]
        _refuse_clashes(spec, targets)
        maps = tuple(
            Task("map", at, source, target, spec.map.run, found.bytes)
            for at, (source, target, found) in enumerate(zip(sources, targets, inputs, strict=True))
        )
        return Pipeline(job_id, (Stage("map", maps, on_failure),), 0, temporaries)
    numbers = range(spec.reduce.partitions)
    targets = [_target(spec, fill(spec.output.name, partition=number, job=job_id)) for number in numbers]
    _refuse_clashes(spec, targets)
    placed = [ObjectRef(temporaries.container, f"{temporaries.name}partition-{number:05d}") for number in numbers]
    return Pipeline(
        job_id,
        (
            Stage(
                "map",
                tuple(
                    Task("map", at, source, None, spec.map.run, found.bytes)
                    for at, (source, found) in enumerate(zip(sources, inputs, strict=True))
                ),
                on_failure,
            ),
            Stage("place", tuple(Task("place", n, None, placed[n]) for n in numbers), "stop"),
            Stage("reduce", tuple(Task("reduce", n, placed[n], None, spec.reduce.run) for n in numbers), "finish"),
            Stage("publish", tuple(Task("publish", n, None, targets[n]) for n in numbers), "stop"),
        ),
        spec.reduce.partitions,
        temporaries,
    )


def listing_prefix(spec: JobSpec) -> str:
    """What to ask the container's listing for."""
    return prefix_of(spec.input.pattern)


def _target(spec: JobSpec, name: str) -> ObjectRef:
    try:
        check_object(name, "$.output.name")
    except SpecError as why:
        raise SpecError(f"the result {shown(name)}: {why}") from None
    return ObjectRef(spec.output_container, name)


def _refuse_clashes(spec: JobSpec, targets: list[ObjectRef]) -> None:
    """A result that matches the input pattern would be an input of the next run, or overwrite one of this run."""
    seen: set[str] = set()
    matches = matcher(spec.input.pattern)
    for target in targets:
        if target.name in seen:
            raise OutputClash(f"two results would be stored as {target}; rename the output")
        seen.add(target.name)
        if target.container == spec.input.container and matches(target.name):
            raise OutputClash(
                f"the result {target} matches the input pattern {shown(spec.input.pattern)} in the same container: "
                "it would overwrite an input or become one; name another container or another name"
            )
