"""Starting a supervisor, and hearing from it until the cluster stands or has failed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from insitu.storage_hooks.devcluster.errors import AlreadyRunning, StartFailed
from insitu.storage_hooks.devcluster.layout import Layout
from insitu.storage_hooks.devcluster.logs import tail
from insitu.storage_hooks.devcluster.options import Options

Progress = Callable[[str], None]


class Lifeline:
    """The write end of a pipe that a supervisor listens to: when nobody holds it any more, the cluster ends."""

    def __init__(self, fd: int, process: "subprocess.Popen[bytes]") -> None:
        self._fd = fd
        self._process = process

    def detach(self) -> None:
        """The cluster lives on without us."""
        with suppress(BrokenPipeError):
            os.write(self._fd, b"d")
        os.close(self._fd)
        # Not ours to wait for any more; init will.
        self._process.returncode = 0

    def cut(self) -> None:
        """Ends the cluster and returns when it has ended."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._process.wait()


def launch(layout: Layout, options: Options, progress: Progress = lambda stage: None) -> Lifeline:
    """Starts a cluster in a directory that has been claimed, and returns when every part of it answers.

    `progress` is told each stage as it begins. Raises AlreadyRunning or StartFailed; whatever was started is ended
    first then, as it is on any other exception, such as KeyboardInterrupt.
    """
    if layout.locked():
        raise AlreadyRunning(f"{layout.root}: a cluster runs here already")
    layout.log("").parent.mkdir(mode=0o700, exist_ok=True)
    report_read, report_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    module = "insitu.storage_hooks.devcluster.supervisor"
    with layout.log("supervisor").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(layout.root), str(report_write), str(lifeline_read), options.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=layout.root,
            pass_fds=(report_write, lifeline_read),
            start_new_session=True,  # Ctrl-C is for whoever started it, who then cuts the lifeline
        )
    os.close(report_write)
    os.close(lifeline_read)
    lifeline = Lifeline(lifeline_write, process)
    try:
        with os.fdopen(report_read, "rb") as report:
            _follow(report, layout, progress)
    except BaseException:
        lifeline.cut()
        raise
    return lifeline


def _follow(report: Iterable[bytes], layout: Layout, progress: Progress) -> None:
    for line in report:
        said = json.loads(line)
        if "stage" in said:
            progress(said["stage"])
        elif "failed" in said:
            raise StartFailed(said["failed"])
        elif "ready" in said:
            return
    raise StartFailed(f"the supervisor died; the end of {layout.log('supervisor')}:\n{tail(layout.log('supervisor'))}")
