"""What a job came to: collected while it runs, shown to people at its end, written as JSON for programs.

Exit codes: 0 every input was counted and every result stored; 1 something failed (the report says what, and whether
results were stored all the same); 2 the user's mistake, nothing was started; 130 and 143 ended by a signal.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from insitu.jobs.execute import Result
from insitu.jobs.failure import Failure, Launched
from insitu.jobs.machine import Verdict
from insitu.jobs.names import shown, shown_text
from insitu.jobs.plan import ObjectRef, Task

SHOWN_FAILURES = 20
"""Failures written out for people; the JSON report has all of them."""


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that failed for good, after `attempts` attempts."""

    task: Task
    failure: Failure
    attempts: int

    @property
    def name(self) -> str:
        """The object it was about."""
        about = self.task.source if self.task.stage == "map" else self.task.target or self.task.source
        return str(about) if about is not None else str(self.task)

    def lines(self) -> list[str]:
        """For people: the object and what happened, then the program's stderr, indented."""
        failure = self.failure
        status = f"{failure.status} " if failure.status is not None else ""
        tries = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        head = f"{self.name}: {status}{shown(failure.message, 400)}{tries}"
        return [head, *(f"    {line}" for line in shown_text(failure.stderr))]

    def as_json(self) -> dict[str, Any]:
        about = self.task.source or self.task.target
        return {
            "stage": self.task.stage,
            "container": about.container if about else None,
            "name": about.name if about else None,
            "kind": self.failure.kind,
            "status": self.failure.status,
            "detail": self.failure.message,
            "stderr": self.failure.stderr,
            "run_id": self.failure.launched.run_id if self.failure.launched else None,
            "attempts": self.attempts,
        }


@dataclass(slots=True)
class Report:
    """Grows with the job. Sizes in bytes, times in seconds; `launches` counts by (program, digest), failed ones too.

    `nodes` counts launches by the node that said it ran them; `signal` is what cancelled the job, if it was.
    """

    job_id: str
    name: str
    inputs: int = 0
    input_bytes: int = 0
    inputs_done: int = 0
    map_lines: int = 0
    map_bytes: int = 0
    retries: int = 0
    seconds: float = 0.0
    verdict: Verdict | None = None
    signal: int = 2
    launches: Counter[tuple[str, str]] = field(default_factory=Counter)
    nodes: Counter[str] = field(default_factory=Counter)
    failures: list[FailedTask] = field(default_factory=list)
    results: list[tuple[ObjectRef, int]] = field(default_factory=list)
    leftovers: list[ObjectRef] = field(default_factory=list)

    def took(self, task: Task, result: Result) -> None:
        """A task came out whole."""
        self._launched(result.launched)
        if task.stage == "map":
            self.inputs_done += 1
            self.map_lines += result.lines
            self.map_bytes += result.bytes_out
        if task.target is not None and task.stage in ("map", "publish"):
            self.results.append((task.target, result.bytes_out))

    def tried(self, failure: Failure) -> None:
        """An attempt failed."""
        self._launched(failure.launched)

    def _launched(self, launched: Launched | None) -> None:
        if launched is not None:
            self.launches[(launched.program, launched.digest)] += 1
            if node := launched.where.partition(";")[0].strip():
                self.nodes[node] += 1

    @property
    def exit_code(self) -> int:
        if self.verdict == "cancelled":
            return 128 + self.signal
        return 0 if self.verdict == "done" and not self.failures else 1

    def summary(self) -> list[str]:
        """The end of the story for people: one line per fact, failures last."""
        lines = [
            f"job {self.name} ({self.job_id}): {self._headline()} in {self.seconds:.1f} s",
            f"  inputs    {self.inputs_done} of {self.inputs} done, {size(self.input_bytes)} matched, "
            f"{size(self.map_bytes)} came back from the nodes",
        ]
        programs = [
            f"{count} {program}" + (f" ({digest[:19]}…)" if digest else "")
            for (program, digest), count in sorted(self.launches.items())
        ]
        retried = f"; {self.retries} attempts repeated" if self.retries else ""
        where = f", on {len(self.nodes)} node{'s' * (len(self.nodes) != 1)}" if self.nodes else ""
        lines.append(f"  launches  {', '.join(programs) or 'none'}{where}{retried}")
        if self.results:
            total = sum(length for _, length in self.results)
            lines.append(f"  results   {_results(self.results)}, {size(total)}")
        else:
            lines.append("  results   none stored")
        if self.leftovers:
            lines.append(
                f"  left over {len(self.leftovers)} temporary objects, first {self.leftovers[0]}: "
                f"remove them with `insitu job clean {self.job_id}`"
            )
        return lines

    def failure_lines(self) -> list[str]:
        """The failures for people, at most `SHOWN_FAILURES` of them."""
        lines = [line for failed in self.failures[:SHOWN_FAILURES] for line in failed.lines()]
        if len(self.failures) > SHOWN_FAILURES:
            lines.append(f"… and {len(self.failures) - SHOWN_FAILURES} more; --json FILE writes all of them")
        return lines

    def _headline(self) -> str:
        if self.verdict == "cancelled":
            return "cancelled"
        if not self.failures:
            return "done"
        failed = sum(failed.task.stage == "map" for failed in self.failures)
        what = (
            f"{failed} of {self.inputs} inputs failed" if failed else f"the {self.failures[0].task.stage} stage failed"
        )
        return f"done, but {what}" if self.verdict == "done" else f"failed: {what}"

    def as_json(self) -> dict[str, Any]:
        """All of it; the field names are a promise, new ones may come."""
        return {
            "job": self.job_id,
            "name": self.name,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "inputs": {"matched": self.inputs, "done": self.inputs_done, "bytes": self.input_bytes},
            "map": {"lines": self.map_lines, "bytes": self.map_bytes},
            "launches": [
                {"program": program, "digest": digest or None, "count": count}
                for (program, digest), count in sorted(self.launches.items())
            ],
            "nodes": dict(sorted(self.nodes.items())),
            "retries": self.retries,
            "results": [{"container": r.container, "name": r.name, "bytes": length} for r, length in self.results],
            "failures": [failed.as_json() for failed in self.failures],
            "leftovers": [{"container": left.container, "name": left.name} for left in self.leftovers],
        }


def _results(results: list[tuple[ObjectRef, int]]) -> str:
    ordered = sorted(results, key=lambda result: result[0].name)
    first, last = ordered[0][0], ordered[-1][0]
    return str(first) if len(ordered) == 1 else f"{len(ordered)} objects, {first} … {shown(last.name)}"


def size(count: int) -> str:
    """Bytes for people, in powers of 1024."""
    amount, unit = float(count), "B"
    while amount >= 1024 and unit != "TiB":
        amount, unit = amount / 1024, {"B": "KiB", "KiB": "MiB", "MiB": "GiB", "GiB": "TiB"}[unit]
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
