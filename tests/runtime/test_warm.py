"""What warming a worker up is for: its first launch finds the pages that it writes to copied already."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from insitu.runtime import wire, worker
from insitu.runtime.cache import CompiledCache
from insitu.runtime.channels import NONE, Named
from insitu.runtime.engines import Engines
from insitu.runtime.warm import Rehearsal, launch_message
from insitu.sandbox.limits import Limits
from insitu.sandbox.program import to_wasm

PROGRAM = Path(__file__).parent.parent / "programs" / "copy.wat"


CHANNELS = Named(("one",), ("two",))


def faults_of_the_first_launch(warm: int, file: int, warm_with: Named = NONE, named: Named = NONE) -> int:
    """Page faults of a launch in a fresh fork of this process, warmed so many times. See `faults`."""
    with tempfile.TemporaryDirectory() as cache:
        engines = Engines(CompiledCache(cache))
    programs = {"copy": engines.real.compile(to_wasm(PROGRAM.read_bytes()))}
    ours, theirs = wire.packet_pair()
    child = os.fork()
    if child == 0:
        try:
            rehearsal = Rehearsal(["copy"] * warm, {"copy": warm_with})
            rehearsal.hold(lambda message, fds: worker._run(engines, programs, message, fds))
            packet = wire.receive_packet(theirs)
            assert packet is not None
            message, fds = packet
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            answer = worker._run(engines, programs, message, fds)
            wire.send_packet(theirs, answer)
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            wire.send_packet(theirs, {"faults": faults})
        finally:
            os._exit(0)
    theirs.close()
    reading, writing = os.pipe()
    given = [file, writing, *[file] * len(named.inputs), *[writing] * len(named.outputs)]
    message = launch_message("copy", "copy", (), {}, Limits(), stderr=10, last=True, named=named)
    wire.send_packet(ours, message, given)
    answers = [wire.receive_packet(ours) for _ in range(2)]
    os.waitpid(child, 0)
    assert answers[0] is not None
    assert answers[0][0]["outcome"]["exit_code"] == 0
    assert os.read(reading, 100) == b"0123456789"
    assert answers[1] is not None
    return int(answers[1][0]["faults"])


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Not warmed, and warmed once; a launch with named channels after it was warmed without and with them. Each in a
    process of its own: one that compiles has threads."""
    file = tmp_path_factory.mktemp("warm") / "file"
    file.write_bytes(b"0123456789")
    found = {}
    for warm in ("0", "1", "without", "with"):
        command = [sys.executable, "-m", "tests.runtime.test_warm", warm, str(file)]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=PROGRAM.parent.parent.parent)
        found[warm] = json.loads(done.stdout)
    return found


def test_a_warm_workers_first_launch_has_few_page_faults(faults: dict[str, int]) -> None:
    print(faults)
    assert faults["0"] > 5 * faults["1"]
    assert faults["1"] < 40


def test_a_worker_that_is_warm_for_named_channels_too_has_few(faults: dict[str, int]) -> None:
    assert faults["without"] > 2 * faults["with"]
    assert faults["with"] < 40


def test_a_program_that_ends_badly_harms_no_worker() -> None:
    seen: list[int] = []

    def run(message: object, fds: object) -> dict[str, object]:
        seen.append(1)
        return {"begun": 0, "outcome": {"end": "lost"}}

    before = len(os.listdir("/proc/self/fd"))
    Rehearsal(["a", "b"]).hold(run)
    assert len(seen) == 2
    assert len(os.listdir("/proc/self/fd")) == before


if __name__ == "__main__":
    opened = os.open(sys.argv[2], os.O_RDONLY)
    match sys.argv[1]:
        case "without":
            print(json.dumps(faults_of_the_first_launch(1, opened, named=CHANNELS)))
        case "with":
            print(json.dumps(faults_of_the_first_launch(1, opened, CHANNELS, CHANNELS)))
        case count:
            print(json.dumps(faults_of_the_first_launch(int(count), opened)))
