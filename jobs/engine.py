"""The loop that ties a job together: machine, executor, store. Here "the engine is this process".

    listing ─► plan ─► ┌► machine ─instructions─► executor ─► attempts (tasks.py) ─┐
                       └───────────────── answers, time, cancel ◄──────────────────┘  ─► temporaries removed ─► report

Whatever happens after the first temporary object may exist (failure, Ctrl-C, a bug), temporaries are removed. Only a
killed process leaves some: `insitu job clean` finds them, and the storage drops them after a week.
"""

import secrets
import time
from pathlib import Path
from typing import Protocol

from insitu.jobs import machine, plan
from insitu.jobs.errors import StorageUnusable
from insitu.jobs.execute import Executor, Result, ThreadExecutor
from insitu.jobs.failure import Failure
from insitu.jobs.plan import ObjectRef, Pipeline, Stage, Task
from insitu.jobs.report import FailedTask, Report
from insitu.jobs.shuffle import MEMORY, Shuffle
from insitu.jobs.spec import JobSpec, Temporary
from insitu.jobs.store import Store
from insitu.jobs.tasks import Work

GRACE = 15.0
"""Seconds that uploads get to notice that the job was cancelled."""


class Observer(Protocol):
    """Who watches. Called from the engine's own thread; must not block."""

    def begins(self, pipeline: Pipeline, report: Report) -> None: ...

    def stage_begins(self, stage: Stage) -> None: ...

    def task_done(self, task: Task, result: Result) -> None: ...

    def task_rests(self, task: Task, failure: Failure, seconds: float) -> None: ...

    def task_failed(self, failed: FailedTask) -> None: ...

    def stage_ends(self, stage: Stage, done: int, failed: int) -> None: ...

    def cleans(self, temporaries: int) -> None: ...


class Job:
    """One job in this process: `prepare`, then `run`; `cancel` from a signal handler or another thread at any time."""

    def __init__(
        self,
        spec: JobSpec,
        store: Store,
        observer: Observer,
        directory: Path | None = None,
        memory: int = MEMORY,
    ) -> None:
        """`directory` is where partitions and results lie while the job runs; `memory` bytes are held before that."""
        self._spec = spec
        self._store = store
        self._observer = observer
        self._directory = directory
        self._memory = memory
        # Sorts by time, and two jobs started in the same second differ.
        self.job_id = f"{spec.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        self.report = Report(self.job_id, spec.name)
        self._pipeline: Pipeline | None = None
        self._executor: Executor | None = None
        self._cancelled = False
        self._made_temporary_container = False
        self._placed: list[ObjectRef] = []

    def prepare(self) -> Pipeline:
        """Choose the inputs, lay out the job, see that the output's container is there.

        Raises `UserError`; nothing was started then, and nothing stored.
        """
        self._store.connect()
        spec = self._spec
        inputs = plan.select(spec, self._store.listing(spec.input.container, plan.listing_prefix(spec)))
        pipeline = plan.make(spec, inputs, self.job_id)
        self.report.inputs = len(inputs)
        self.report.input_bytes = sum(found.bytes for found in inputs)
        self._store.ensure_container(spec.output_container)
        if pipeline.partitions:
            self._made_temporary_container = not self._store.has_container(spec.temporary.container)
            if self._made_temporary_container:
                self._store.ensure_container(spec.temporary.container)
        self._pipeline = pipeline
        self._observer.begins(pipeline, self.report)
        return pipeline

    def cancel(self) -> None:
        """End the job soon, temporaries removed. Safe in a signal handler."""
        self._cancelled = True
        if self._executor is not None:
            self._executor.wake()

    def run(self) -> Report:
        """Run what was prepared. Failures of inputs, programs and storage are in the report, not raised."""
        assert self._pipeline is not None, "prepare() comes first"
        begun = time.monotonic()
        pipeline = self._pipeline
        shuffle: Shuffle | None = None
        work: Work | None = None
        try:
            if pipeline.partitions:
                shuffle = Shuffle(pipeline.partitions, self._spec.concurrency, self._memory, self._directory)
            work = Work(self._store, shuffle, self._directory)
            self._executor = executor = ThreadExecutor(work, self._spec.concurrency)
            try:
                self._loop(machine.Machine(pipeline, self._spec.concurrency, self._spec.retries), executor)
            finally:
                executor.stop(GRACE)
        finally:
            try:
                self._clean()
            finally:
                if work is not None:
                    work.close()
                if shuffle is not None:
                    shuffle.close()
                self.report.seconds = time.monotonic() - begun
        # Not after a cancel: attempts may still be reading then, and to close what another thread reads from waits for
        # its bytes. Such a thread closes its own once it sees that it is not wanted, or ends with the process.
        if self.report.verdict != "cancelled":
            self._store.close()
        return self.report

    def _loop(self, schedule: machine.Machine, executor: Executor) -> None:
        event: machine.Event = machine.Begin()
        while True:
            now = time.monotonic()
            for instruction in schedule.handle(event, now):
                self._obey(instruction, executor, now)
            if schedule.verdict is not None:
                self.report.verdict = schedule.verdict
                return
            event = self._next_event(schedule, executor)

    def _next_event(self, schedule: machine.Machine, executor: Executor) -> machine.Event:
        if self._cancelled:
            return machine.Cancel()
        wake_at = schedule.wake_at()
        answer = executor.next(None if wake_at is None else max(0.0, wake_at - time.monotonic()))
        if self._cancelled:
            return machine.Cancel()
        if answer is None:
            return machine.Tick()
        if answer.bug is not None:
            raise answer.bug
        if answer.failure is not None:
            self.report.tried(answer.failure)
            return machine.Failed(answer.task, answer.attempt, answer.failure)
        assert answer.result is not None
        self.report.took(answer.task, answer.result)
        self._observer.task_done(answer.task, answer.result)
        return machine.Succeeded(answer.task, answer.attempt)

    def _obey(self, instruction: machine.Instruction, executor: Executor, now: float) -> None:
        match instruction:
            case machine.StageBegins(stage):
                self._observer.stage_begins(stage)
            case machine.Launch(task, attempt):
                if task.stage == "place" and attempt == 1 and task.target is not None:
                    self._placed.append(task.target)
                executor.start(task, attempt)
            case machine.WillRetry(task, failure, at):
                self.report.retries += 1
                self._observer.task_rests(task, failure, at - now)
            case machine.GaveUp(task, failure, attempts):
                failed = FailedTask(task, failure, attempts)
                self.report.failures.append(failed)
                self._observer.task_failed(failed)
            case machine.StageEnds(stage, done, failed_tasks):
                self._observer.stage_ends(stage, done, failed_tasks)
            case machine.Abort() | machine.Finish():
                pass  # run() stops the executor as soon as there is a verdict

    def _uses_our_container(self, pipeline: Pipeline) -> bool:
        return bool(pipeline.partitions) and self._spec.temporary == Temporary()

    def _clean(self) -> None:
        if self._placed:
            self._observer.cleans(len(self._placed))
        left = list(self._placed)
        self.report.leftovers = left
        try:
            while left:
                self._store.delete(left[0].container, left[0].name)
                left.pop(0)
            # Jobs share this one, and the last to end removes it; an empty container of the user's own is left alone.
            if self._made_temporary_container or (self._pipeline and self._uses_our_container(self._pipeline)):
                self._store.remove_if_empty(self._spec.temporary.container)
        except StorageUnusable:
            pass  # what could not be removed is in the report, with the command that removes it
