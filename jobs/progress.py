"""What is seen while a job runs: a bar per stage on a terminal, a few plain lines elsewhere. Both write to stderr."""

import sys
from typing import TYPE_CHECKING, TextIO

from insitu.jobs.execute import Result
from insitu.jobs.failure import Failure
from insitu.jobs.names import shown
from insitu.jobs.plan import Pipeline, Stage, Task
from insitu.jobs.report import SHOWN_FAILURES, FailedTask, Report, size

if TYPE_CHECKING:
    from rich.progress import TaskID

_DOING = {
    "map": "running {run} on {count} objects",
    "place": "storing {count} partitions",
    "reduce": "running {run} on {count} partitions",
    "publish": "storing {count} results",
}
_PLAIN_STEPS = 4
"""Lines per stage besides its first, where no bar can be drawn."""


def doing(stage: Stage) -> str:
    """A stage in a few words."""
    words = _DOING[stage.name].format(run=shown(stage.tasks[0].run or "", 40), count=len(stage.tasks))
    return words[:-1] if len(stage.tasks) == 1 else words


class Plain:
    """Lines: when a stage begins, at each quarter of it, at each failure and repetition."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._count = 0
        self._over = 0
        self._failures = 0
        self._rests = 0

    def begins(self, pipeline: Pipeline, report: Report) -> None:
        self._say(f"job {report.name} ({report.job_id}): {report.inputs} inputs, {size(report.input_bytes)}")

    def stage_begins(self, stage: Stage) -> None:
        self._count, self._over = len(stage.tasks), 0
        self._say(doing(stage))

    def task_done(self, task: Task, result: Result) -> None:
        self._step()

    def task_rests(self, task: Task, failure: Failure, seconds: float) -> None:
        self._rests += 1
        if self._rests <= SHOWN_FAILURES:
            about = task.source or task.target or task
            self._say(f"  {about}: {shown(failure.message, 200)}; again in {seconds:.1f} s")

    def task_failed(self, failed: FailedTask) -> None:
        self._failures += 1
        if self._failures <= SHOWN_FAILURES:
            self._say(f"  failed: {failed.name}")  # what happened, and stderr, stand at the end
        self._step()

    def stage_ends(self, stage: Stage, done: int, failed: int) -> None:
        pass

    def cleans(self, temporaries: int) -> None:
        self._say(f"removing {temporaries} temporary object{'s' * (temporaries != 1)}")

    def close(self) -> None:
        pass

    def _step(self) -> None:
        before, self._over = self._over, self._over + 1
        crossed = self._over * _PLAIN_STEPS // self._count > before * _PLAIN_STEPS // self._count
        if crossed and self._count > _PLAIN_STEPS:
            self._say(f"  {self._over} of {self._count}")

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class Bars:
    """rich's bars on a terminal: one per stage, with failures above them as they come."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=out),
        )
        self._bar: TaskID | None = None
        self._failures = 0

    def begins(self, pipeline: Pipeline, report: Report) -> None:
        self._say(f"job {report.name} ({report.job_id}): {report.inputs} inputs, {size(report.input_bytes)}")
        self._progress.start()

    def stage_begins(self, stage: Stage) -> None:
        self._bar = self._progress.add_task(doing(stage), total=len(stage.tasks))

    def task_done(self, task: Task, result: Result) -> None:
        self._step()

    def task_rests(self, task: Task, failure: Failure, seconds: float) -> None:
        about = task.source or task.target or task
        self._say(f"{about}: {shown(failure.message, 200)}; again in {seconds:.1f} s")

    def task_failed(self, failed: FailedTask) -> None:
        self._failures += 1
        if self._failures <= SHOWN_FAILURES:
            self._say(f"failed: {failed.lines()[0]}")
        self._step()

    def stage_ends(self, stage: Stage, done: int, failed: int) -> None:
        if self._bar is not None:
            self._progress.stop_task(self._bar)

    def cleans(self, temporaries: int) -> None:
        pass

    def close(self) -> None:
        self._progress.stop()

    def _step(self) -> None:
        if self._bar is not None:
            self._progress.advance(self._bar)

    def _say(self, line: str) -> None:
        # Foreign names may hold what rich takes for markup.
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def for_stream(out: TextIO | None = None) -> Plain | Bars:
    """Bars if `out` (stderr by default) is a terminal, else plain lines."""
    out = out if out is not None else sys.stderr
    return Bars(out) if out.isatty() else Plain(out)
