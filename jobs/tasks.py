"""What one attempt of a task does: effects, and nothing about when, where or how often.

    map      GET source with X-Run ──► lines by partition, committed when the body came to its end
             (without reduce: ──► unnamed local file ──► PUT target)
    place    partition ──► PUT target, which the storage drops by itself after a week if nobody else does
    reduce   GET source with X-Run ──► unnamed local file
    publish  that file ──► PUT target

A result passes through a local file so that it is stored whole, with its length and MD5, or not at all, and so that a
failed upload does not run the program again.
"""

import hashlib
import tempfile
import threading
from pathlib import Path

from insitu.jobs.errors import SpoolError
from insitu.jobs.execute import Result, Wanted
from insitu.jobs.failure import AttemptFailed, Failure
from insitu.jobs.plan import Task
from insitu.jobs.shuffle import MAX_PARTITION, Shuffle, Stored
from insitu.jobs.store import Readable, RunReply, Store
from insitu.runtime.grammar import parse_run

TEMPORARY_SECONDS = 7 * 24 * 3600
"""After this a temporary object that a killed job left behind is gone without anybody's doing (X-Delete-After)."""


class Work:
    """One job's attempts, a `Worker`. `directory` is where local files are made; None: the system's place for them."""

    def __init__(self, store: Store, shuffle: Shuffle | None, directory: Path | None = None) -> None:
        self._store = store
        self._shuffle = shuffle
        self._directory = directory
        self._results: dict[int, Stored] = {}
        self._lock = threading.Lock()

    def __call__(self, task: Task, wanted: Wanted) -> Result:
        match task.stage:
            case "map":
                return self._map(task, wanted) if task.target is None else self._map_and_store(task, wanted)
            case "place":
                return self._place(task, wanted)
            case "reduce":
                return self._reduce(task, wanted)
            case "publish":
                return self._publish(task, wanted)

    def results(self) -> dict[int, Stored]:
        """What the reduce stage made, by partition."""
        with self._lock:
            return dict(self._results)

    def close(self) -> None:
        with self._lock:
            for stored in self._results.values():
                stored.close()
            self._results.clear()

    def _map(self, task: Task, wanted: Wanted) -> Result:
        assert self._shuffle is not None
        reply = self._ask(task, wanted)
        try:
            with self._shuffle.output() as output:
                try:
                    for chunk in reply.chunks:
                        wanted.check()
                        output.feed(chunk)
                    output.finish()
                except AttemptFailed as why:
                    raise _of(why, reply) from None
                wanted.check()
                self._shuffle.commit(task.index, output)
                return Result(reply.launched, output.bytes, output.lines)
        finally:
            reply.close()

    def _map_and_store(self, task: Task, wanted: Wanted) -> Result:
        assert task.target is not None
        stored, reply = self._fetch(task, wanted)
        try:
            self._put(task, stored, wanted)
        except AttemptFailed as why:
            raise _of(why, reply) from None
        finally:
            stored.close()
        return Result(reply.launched, stored.length)

    def _place(self, task: Task, wanted: Wanted) -> Result:
        assert self._shuffle is not None
        stored = self._shuffle.stored(task.index)
        try:
            self._put(task, stored, wanted, TEMPORARY_SECONDS)
        except AttemptFailed as why:
            if why.failure.status != 404:
                raise
            # Another job has just removed the container that both use for temporaries, because it was empty.
            assert task.target is not None
            self._store.ensure_container(task.target.container)
            self._put(task, stored, wanted, TEMPORARY_SECONDS)
        self._shuffle.release(task.index)
        return Result(bytes_out=stored.length)

    def _reduce(self, task: Task, wanted: Wanted) -> Result:
        stored, reply = self._fetch(task, wanted)
        with self._lock:
            before = self._results.pop(task.index, None)
            self._results[task.index] = stored
        if before is not None:
            before.close()
        return Result(reply.launched, stored.length)

    def _publish(self, task: Task, wanted: Wanted) -> Result:
        stored = self._results[task.index]
        self._put(task, stored, wanted)
        return Result(bytes_out=stored.length)

    def _ask(self, task: Task, wanted: Wanted) -> RunReply:
        assert task.source is not None
        assert task.run is not None
        wanted.check()
        return self._store.run(task.source.container, task.source.name, task.run, parse_run(task.run).program)

    def _fetch(self, task: Task, wanted: Wanted) -> tuple[Stored, RunReply]:
        reply = self._ask(task, wanted)
        try:
            file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - closed below, or by its owner
        except OSError as why:
            reply.close()
            raise SpoolError(f"cannot make a local file for a result: {(why.strerror or str(why)).lower()}") from None
        md5 = hashlib.md5(usedforsecurity=False)
        length = 0
        try:
            for chunk in reply.chunks:
                wanted.check()
                file.write(chunk)
                md5.update(chunk)
                length += len(chunk)
                if length > MAX_PARTITION:
                    raise AttemptFailed(
                        Failure(
                            "output",
                            f"the result is larger than {MAX_PARTITION} bytes, the largest object that is stored in "
                            "one piece",
                            launched=reply.launched,
                        )
                    )
            file.flush()
        except OSError as why:
            file.close()
            raise SpoolError(f"cannot write a result to the local disk: {(why.strerror or str(why)).lower()}") from None
        except BaseException:
            file.close()
            raise
        finally:
            reply.close()
        return Stored(file, length, md5.hexdigest(), reply.content_type), reply

    def _put(self, task: Task, stored: Stored, wanted: Wanted, expires: int | None = None) -> None:
        assert task.target is not None
        with wanted.storing():
            self._store.put(
                task.target.container,
                task.target.name,
                _Checked(stored.reader(), wanted),
                stored.length,
                stored.md5,
                stored.content_type,
                expires,
            )


class _Checked:
    """An upload that stops, and so stores nothing, when it is no longer wanted."""

    def __init__(self, inner: Readable, wanted: Wanted) -> None:
        self._inner = inner
        self._wanted = wanted

    def read(self, size: int = -1, /) -> bytes:
        self._wanted.check()
        return self._inner.read(size)


def _of(why: AttemptFailed, reply: RunReply) -> AttemptFailed:
    """The same failure, known to have cost a launch."""
    if why.failure.launched is not None:
        return why
    old = why.failure
    return AttemptFailed(Failure(old.kind, old.message, old.status, old.retry_after, old.stderr, reply.launched))
