"""The state machine, driven by hand and by hypothesis: bounded, complete, and deaf to answers it did not ask for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.jobs.errors import MachineError
from insitu.jobs.failure import Failure
from insitu.jobs.machine import (
    BACKOFF_MOST,
    Abort,
    Begin,
    Cancel,
    Failed,
    Finish,
    GaveUp,
    Instruction,
    Launch,
    Machine,
    StageBegins,
    StageEnds,
    Succeeded,
    Tick,
    WillRetry,
)
from insitu.jobs.plan import ObjectRef, OnFailure, Pipeline, Stage, StageName, Task

BROKEN = Failure("storage", "connection reset")
EXIT = Failure("program", "exit code 2", 422)
FULL = Failure("local", "disk full")
UNKNOWN = Failure("request", "no such program", 404)


def pipeline(*stages: tuple[StageName, int, OnFailure]) -> Pipeline:
    laid = tuple(
        Stage(name, tuple(Task(name, n) for n in range(count)), on_failure) for name, count, on_failure in stages
    )
    return Pipeline("j", laid, 1, ObjectRef("t", "j/"))


def launched(instructions: list[Instruction]) -> list[tuple[int, int]]:
    return [(i.task.index, i.attempt) for i in instructions if isinstance(i, Launch)]


def test_stages_follow_one_another_and_slots_are_bounded() -> None:
    machine = Machine(pipeline(("map", 3, "finish"), ("reduce", 1, "finish")), 2, 0)
    first = machine.handle(Begin(), 0)
    assert isinstance(first[0], StageBegins)
    assert launched(first) == [(0, 1), (1, 1)]
    assert launched(machine.handle(Succeeded(Task("map", 1), 1), 0)) == [(2, 1)]
    assert machine.handle(Succeeded(Task("map", 0), 1), 0) == []
    last = machine.handle(Succeeded(Task("map", 2), 1), 0)
    assert [type(i) for i in last] == [StageEnds, StageBegins, Launch]
    end = machine.handle(Succeeded(Task("reduce", 0), 1), 0)
    assert end[-1] == Finish("done")


def test_backoff_doubles_honours_retry_after_and_ends() -> None:
    machine = Machine(pipeline(("map", 1, "finish")), 1, 3)
    machine.handle(Begin(), 0)
    task = Task("map", 0)
    assert machine.handle(Failed(task, 1, BROKEN), 10) == [WillRetry(task, BROKEN, 10.5)]
    assert machine.wake_at() == 10.5
    assert machine.handle(Tick(), 10.4) == []
    assert launched(machine.handle(Tick(), 10.5)) == [(0, 2)]
    later = Failure("storage", "busy", 503, retry_after=7)
    assert machine.handle(Failed(task, 2, later), 20) == [WillRetry(task, later, 27)]
    machine.handle(Tick(), 27)
    never = Failure("storage", "busy", 503, retry_after=9999)
    assert machine.handle(Failed(task, 3, never), 30) == [WillRetry(task, never, 30 + BACKOFF_MOST)]
    machine.handle(Tick(), 70)
    end = machine.handle(Failed(task, 4, BROKEN), 80)
    assert end == [GaveUp(task, BROKEN, 4), StageEnds(Stage("map", (task,)), 0, 1), Finish("failed")]


def test_a_program_that_fails_is_not_tried_again_and_the_others_go_on() -> None:
    machine = Machine(pipeline(("map", 3, "finish"), ("reduce", 1, "finish")), 1, 5)
    machine.handle(Begin(), 0)
    gave_up, then = machine.handle(Failed(Task("map", 0), 1, EXIT), 0)
    assert gave_up == GaveUp(Task("map", 0), EXIT, 1)
    assert then == Launch(Task("map", 1), 1)
    machine.handle(Succeeded(Task("map", 1), 1), 0)
    end = machine.handle(Succeeded(Task("map", 2), 1), 0)
    assert end[-1] == Finish("failed")
    assert not any(isinstance(i, StageBegins) for i in end), "nothing is reduced when an input failed"


def test_skip_goes_on_without_the_failed_ones_but_not_without_any() -> None:
    machine = Machine(pipeline(("map", 2, "skip"), ("reduce", 1, "finish")), 2, 0)
    machine.handle(Begin(), 0)
    machine.handle(Failed(Task("map", 0), 1, EXIT), 0)
    assert launched(machine.handle(Succeeded(Task("map", 1), 1), 0)) == [(0, 1)]
    assert machine.handle(Succeeded(Task("reduce", 0), 1), 0)[-1] == Finish("done")

    machine = Machine(pipeline(("map", 1, "skip"), ("reduce", 1, "finish")), 2, 0)
    machine.handle(Begin(), 0)
    assert machine.handle(Failed(Task("map", 0), 1, EXIT), 0)[-1] == Finish("failed")


@pytest.mark.parametrize("hopeless", [FULL, UNKNOWN])
def test_what_fails_every_task_alike_is_not_tried_on_each(hopeless: Failure) -> None:
    machine = Machine(pipeline(("map", 1000, "skip")), 1, 3)
    machine.handle(Begin(), 0)
    assert machine.handle(Failed(Task("map", 0), 1, hopeless), 0)[-1] == Finish("failed")


def test_stop_waits_for_what_runs() -> None:
    machine = Machine(pipeline(("publish", 3, "stop")), 2, 0)
    machine.handle(Begin(), 0)
    assert machine.handle(Failed(Task("publish", 0), 1, EXIT), 0) == [GaveUp(Task("publish", 0), EXIT, 1)]
    assert machine.handle(Succeeded(Task("publish", 1), 1), 0)[-1] == Finish("failed")


def test_cancel_ends_it_at_once() -> None:
    machine = Machine(pipeline(("map", 3, "finish")), 1, 1)
    machine.handle(Begin(), 0)
    assert machine.handle(Cancel(), 0) == [Abort(), Finish("cancelled")]
    assert machine.handle(Cancel(), 0) == []
    assert machine.verdict == "cancelled"


def test_answers_nobody_asked_for_tell_the_story() -> None:
    machine = Machine(pipeline(("map", 2, "finish")), 1, 1)
    machine.handle(Begin(), 0)
    for task, attempt in ((Task("map", 1), 1), (Task("map", 0), 2), (Task("map", 9), 1), (Task("reduce", 0), 1)):
        with pytest.raises(MachineError, match=f"{task}, attempt {attempt}"):
            machine.handle(Succeeded(task, attempt), 0)
    machine.handle(Succeeded(Task("map", 0), 1), 0)
    with pytest.raises(MachineError, match="it is done, attempt 1"):
        machine.handle(Succeeded(Task("map", 0), 1), 0)
    with pytest.raises(MachineError, match="begun already"):
        machine.handle(Begin(), 0)


@settings(max_examples=200)
@given(
    data=st.data(),
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    concurrency=st.integers(1, 4),
    retries=st.integers(0, 3),
    on_failure=st.sampled_from(["finish", "skip", "stop"]),
)
def test_every_job_ends_and_every_task_is_accounted_for(
    data: st.DataObject, counts: list[int], concurrency: int, retries: int, on_failure: OnFailure
) -> None:
    names: list[StageName] = ["map", "reduce", "publish"]
    laid = pipeline(*((names[n], count, on_failure) for n, count in enumerate(counts)))
    machine = Machine(laid, concurrency, retries)
    running: list[Launch] = []
    done: list[Task] = []
    gave_up: list[Task] = []
    attempts: dict[Task, int] = {}
    now = 0.0
    instructions = machine.handle(Begin(), now)
    while True:
        for instruction in instructions:
            if isinstance(instruction, Launch):
                running.append(instruction)
                attempts[instruction.task] = attempts.get(instruction.task, 0) + 1
                assert instruction.attempt == attempts[instruction.task] <= retries + 1
            elif isinstance(instruction, GaveUp):
                gave_up.append(instruction.task)
        assert len(running) <= concurrency
        if machine.verdict is not None:
            break
        if running:
            launch = running.pop(data.draw(st.integers(0, len(running) - 1)))
            how = data.draw(st.sampled_from(["ok", "ok", "broken", "exit"]))
            if how == "ok":
                done.append(launch.task)
                instructions = machine.handle(Succeeded(launch.task, launch.attempt), now)
            else:
                failure = BROKEN if how == "broken" else EXIT
                instructions = machine.handle(Failed(launch.task, launch.attempt, failure), now)
        else:
            wake_at = machine.wake_at()
            assert wake_at is not None, "neither running nor resting, and not over: stuck"
            now = wake_at
            instructions = machine.handle(Tick(), now)
    assert not running
    assert len(set(done)) == len(done)
    assert not set(done) & set(gave_up)
    everything = {task for stage in laid.stages for task in stage.tasks}
    if machine.verdict == "done":
        assert set(done) | set(gave_up) == everything
        assert not gave_up or on_failure == "skip"
    else:
        assert gave_up
