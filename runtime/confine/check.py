"""What holds on this machine: every measure tried, in processes that are gone afterwards. `insitu node --check`."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict

from insitu.runtime.confine.guard import Guard
from insitu.runtime.confine.measure import ROLES, Finding, Setup
from insitu.runtime.confine.roles import AFTER_THREADS, BEFORE_THREADS, HELD_BACK_BY_SECCOMP, SECCOMP


def examine(user: tuple[int, int] | None) -> list[Finding]:
    """A spawner that loads nothing, and its children. Call it while there is one thread. Raises OSError."""
    read, write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="insitu-check-") as cache:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                found = Guard(Setup(user=user, cache=cache)).enter_spawner()
                with open(write, "w") as tell:
                    tell.writelines(json.dumps(asdict(finding)) + "\n" for finding in found)
            finally:
                os._exit(0)
        os.close(write)
        with open(read) as told:
            found = [Finding(**json.loads(line)) for line in told]
        os.waitpid(pid, 0)
    if not found:
        raise OSError("whoever tried the measures ended without a word")
    return found


def report(found: list[Finding]) -> Iterator[str]:
    """One line a measure, by role, in the order in which they are taken."""
    for role in ROLES:
        held_back = {measure.name: measure.holds_back for measure in BEFORE_THREADS[role] + AFTER_THREADS[role]}
        held_back[SECCOMP] = HELD_BACK_BY_SECCOMP[role]
        yield f"{role}:"
        for name, what in held_back.items():
            for finding in found:
                if (finding.role, finding.measure) == (role, name):
                    yield f"  {name:14} {finding.state:9}  {finding.why or f'against {what}'}"
