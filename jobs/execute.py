"""Where attempts run. The engine sees only `Executor`; here stands the one whose engine is this process: threads.

A distributed executor will stand in the same place: it gets the same (task, attempt) pairs, each of which it may lose,
and owes an answer for each. Answers carry no bytes: what an attempt produced stays where the next stage finds it.
"""

import queue
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from insitu.jobs.errors import JobError
from insitu.jobs.failure import AttemptFailed, Failure, Launched
from insitu.jobs.plan import Task


class Stopped(Exception):
    """Raised inside an attempt that is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a whole attempt came to: the launch it made, if any, and what it moved."""

    launched: Launched | None = None
    bytes_out: int = 0
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended: a `Result`, a `Failure`, or an exception that is a bug and ends the job."""

    task: Task
    attempt: int
    result: Result | None = None
    failure: Failure | None = None
    bug: BaseException | None = None


class Executor(Protocol):
    """Runs attempts. `start` never blocks; `next` gives answers in any order; `wake` makes it return None at once."""

    def start(self, task: Task, attempt: int) -> None: ...

    def next(self, timeout: float | None) -> Answer | None: ...

    def wake(self) -> None: ...

    def stop(self, grace: float) -> bool:
        """End all attempts. True when none of them can store anything any more; waits at most `grace` seconds."""
        ...


class Wanted(Protocol):
    """What an attempt is told about itself. Both raise `Stopped` once it is no longer wanted."""

    def check(self) -> None:
        """To be called wherever bytes were waited for."""
        ...

    def storing(self) -> AbstractContextManager[None]:
        """To be held while something is stored: `Executor.stop` waits for that, and for nothing else."""
        ...


class Worker(Protocol):
    """Does one attempt."""

    def __call__(self, task: Task, wanted: Wanted) -> Result: ...


class ThreadExecutor:
    """A few threads of this process."""

    def __init__(self, work: Worker, threads: int) -> None:
        self._work = work
        self._todo: queue.SimpleQueue[tuple[Task, int] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        # Daemons: a read that nobody can interrupt must not keep a cancelled job from ending.
        self._threads = [threading.Thread(target=self._run, name=f"job-{n}", daemon=True) for n in range(threads)]
        self._storing = 0
        self._quiet = threading.Condition()
        for thread in self._threads:
            thread.start()

    def start(self, task: Task, attempt: int) -> None:
        self._todo.put((task, attempt))

    def next(self, timeout: float | None) -> Answer | None:
        try:
            return self._answers.get(timeout=timeout)
        except queue.Empty:
            return None

    def wake(self) -> None:
        # SimpleQueue.put may be called from a signal handler, even when that interrupted a put or get.
        self._answers.put(None)

    def stop(self, grace: float) -> bool:
        with self._quiet:
            self._stopped.set()
        for _ in self._threads:
            self._todo.put(None)
        with self._quiet:
            return self._quiet.wait_for(lambda: self._storing == 0, grace)

    def _run(self) -> None:
        while (item := self._todo.get()) is not None:
            if self._stopped.is_set():
                return
            self._answers.put(self._attempt(*item))

    def _attempt(self, task: Task, attempt: int) -> Answer:
        try:
            return Answer(task, attempt, result=self._work(task, self))
        except AttemptFailed as why:
            return Answer(task, attempt, failure=why.failure)
        except JobError as why:
            return Answer(task, attempt, failure=Failure("local", str(why)))
        except Stopped:
            return Answer(task, attempt, failure=Failure("local", "stopped"))
        except Exception as bug:  # noqa: BLE001 - a thread must answer; the engine raises it again
            return Answer(task, attempt, bug=bug)

    def check(self) -> None:
        if self._stopped.is_set():
            raise Stopped

    @contextmanager
    def storing(self) -> Iterator[None]:
        with self._quiet:
            self.check()
            self._storing += 1
        try:
            yield
        finally:
            with self._quiet:
                self._storing -= 1
                self._quiet.notify_all()
