"""The scheduler: a pure state machine. Events in, instructions out; it reads no clock and touches nothing.

A task:

    waiting ──Launch──► running ──Succeeded──► done
       ▲                  │ ├─────Failed, no further attempt──► failed
       │                  │ └─────Failed, attempts left──► resting ──Tick, when its time has come──┐
       └──────────────────┼───────────────────────────────────────────────────────────────────────┘
    waiting or resting ──Cancel, or its stage stops──► dropped

A stage is over when each of its tasks is done, failed or dropped; then the next one begins, or the job finishes:

    every task done                       the next stage, or Finish("done")
    some failed, on_failure skip          the next stage (unless nothing at all was done: Finish("failed"))
    some failed otherwise                 Finish("failed")
    Cancel                                Abort, then Finish("cancelled") at once: what runs is the executor's to end

An event that does not fit (an answer for an attempt that is not running) raises `MachineError` with the task's story.
A second answer for the same attempt is such an event; so nothing is ever counted twice.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from insitu.jobs.errors import MachineError
from insitu.jobs.failure import Failure
from insitu.jobs.plan import Pipeline, Stage, Task

BACKOFF_FIRST = 0.5
BACKOFF_MOST = 30.0
"""Seconds before the second attempt, doubled for each further one up to the most. A longer Retry-After is honoured
up to the most."""


# --- events ---


@dataclass(frozen=True, slots=True)
class Begin:
    """The job begins."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Attempt number `attempt` (from 1) of a task came out whole."""

    task: Task
    attempt: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Attempt number `attempt` of a task failed."""

    task: Task
    attempt: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody wants the job to end."""


Event = Begin | Succeeded | Failed | Tick | Cancel

# --- instructions ---


@dataclass(frozen=True, slots=True)
class StageBegins:
    stage: Stage


@dataclass(frozen=True, slots=True)
class Launch:
    """Start this attempt now."""

    task: Task
    attempt: int


@dataclass(frozen=True, slots=True)
class WillRetry:
    """The task failed and rests: its next attempt comes at `at` (same clock as `now`)."""

    task: Task
    failure: Failure
    at: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The task failed for good."""

    task: Task
    failure: Failure
    attempts: int


@dataclass(frozen=True, slots=True)
class StageEnds:
    stage: Stage
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class Abort:
    """End every attempt that runs; no answer of theirs is wanted."""


Verdict = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Finish:
    """The job is over. `done` may still have failed inputs, where the spec says to skip them."""

    verdict: Verdict


Instruction = StageBegins | Launch | WillRetry | GaveUp | StageEnds | Abort | Finish

State = Literal["waiting", "running", "resting", "done", "failed", "dropped"]


@dataclass(slots=True)
class _Progress:
    task: Task
    state: State = "waiting"
    attempt: int = 0
    wake_at: float = 0.0


class Machine:
    """One job's schedule. `concurrency` is the most attempts at a time, `retries` the further attempts per task."""

    def __init__(self, pipeline: Pipeline, concurrency: int, retries: int) -> None:
        self._stages = deque(pipeline.stages)
        self._stage: Stage | None = None
        self._tasks: list[_Progress] = []
        self._ready: deque[_Progress] = deque()
        self._resting: list[_Progress] = []
        self._counts: dict[State, int] = {}
        self._concurrency = concurrency
        self._retries = retries
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        return self._verdict

    def wake_at(self) -> float | None:
        """When a `Tick` would change something; None when only other events can."""
        return min((resting.wake_at for resting in self._resting), default=None)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event. `now` is in seconds of any steady clock. Raises `MachineError`."""
        if self._verdict is not None:
            if isinstance(event, Tick | Cancel):
                return []
            raise MachineError(f"{event} after the job had ended ({self._verdict})")
        return list(self._handle(event, now))

    def _handle(self, event: Event, now: float) -> Iterator[Instruction]:
        match event:
            case Begin():
                if self._stage is not None:
                    raise MachineError("the job had begun already")
                yield from self._next_stage()
            case Succeeded(task, attempt):
                self._move(self._running(task, attempt), "done")
            case Failed(task, attempt, failure):
                yield from self._failed(self._running(task, attempt), failure, now)
            case Tick():
                pass
            case Cancel():
                self._drop()
                self._verdict = "cancelled"
                yield Abort()
                yield Finish("cancelled")
                return
        yield from self._advance(now)

    def _failed(self, progress: _Progress, failure: Failure, now: float) -> Iterator[Instruction]:
        assert self._stage is not None
        if failure.retry and progress.attempt <= self._retries:
            pause = min(max(BACKOFF_FIRST * 2 ** (progress.attempt - 1), failure.retry_after), BACKOFF_MOST)
            progress.wake_at = now + pause
            self._move(progress, "resting")
            self._resting.append(progress)
            yield WillRetry(progress.task, failure, progress.wake_at)
            return
        self._move(progress, "failed")
        yield GaveUp(progress.task, failure, progress.attempt)
        # A full disk or an unknown program fails every further task alike: no point in trying them one by one.
        if self._stage.on_failure == "stop" or failure.kind in ("local", "request"):
            self._drop()

    def _advance(self, now: float) -> Iterator[Instruction]:
        while self._stage is not None:
            for rested in [r for r in self._resting if r.wake_at <= now]:
                self._resting.remove(rested)
                self._move(rested, "waiting")
                self._ready.append(rested)
            while self._ready and self._count("running") < self._concurrency:
                progress = self._ready.popleft()
                progress.attempt += 1
                self._move(progress, "running")
                yield Launch(progress.task, progress.attempt)
            if self._ready or self._resting or self._count("running"):
                return
            done, failed, dropped = self._count("done"), self._count("failed"), self._count("dropped")
            yield StageEnds(self._stage, done, failed)
            if failed and (self._stage.on_failure != "skip" or dropped or not done):
                self._verdict = "failed"
                yield Finish("failed")
                return
            yield from self._next_stage()

    def _next_stage(self) -> Iterator[Instruction]:
        if not self._stages:
            self._stage = None
            self._verdict = "done"
            yield Finish("done")
            return
        self._stage = self._stages.popleft()
        self._tasks = [_Progress(task) for task in self._stage.tasks]
        self._ready = deque(self._tasks)
        self._counts = {"waiting": len(self._tasks)}
        yield StageBegins(self._stage)

    def _running(self, task: Task, attempt: int) -> _Progress:
        if self._stage is None or task.stage != self._stage.name or not 0 <= task.index < len(self._tasks):
            raise MachineError(f"an answer for {task}, attempt {attempt}, which is not of the stage that runs")
        progress = self._tasks[task.index]
        if progress.state != "running" or progress.attempt != attempt:
            raise MachineError(
                f"an answer for {task}, attempt {attempt}, but it is {progress.state}, attempt {progress.attempt}"
            )
        return progress

    def _drop(self) -> None:
        for progress in [*self._ready, *self._resting]:
            self._move(progress, "dropped")
        self._ready.clear()
        self._resting.clear()

    def _move(self, progress: _Progress, state: State) -> None:
        self._counts[progress.state] -= 1
        self._counts[state] = self._count(state) + 1
        progress.state = state

    def _count(self, state: State) -> int:
        return self._counts.get(state, 0)
