"""A watermark where the photograph lies, against GET, Pillow, PUT by a client behind 100 Mbit/s: see link.py."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.interleave import Figure, Interleave
from benchmarks.link import RATE

ROOT: Final = Path(__file__).parent.parent
PAIRS: Final = 10


def test_watermark_over_a_slow_link(interleave: Interleave, place: Path, benchmark: Any) -> None:
    photo = place / "photo.jpg"
    subprocess.run([sys.executable, ROOT / "guests" / "build.py", "--photo", photo], check=True, timeout=300)
    command = ["unshare", "-Urn", sys.executable, "-m", "benchmarks.link", str(photo), str(PAIRS)]
    found: list[Any] = []

    def measured() -> None:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.fail(f"a network namespace with a shaped link cannot be had here: {done.stderr.strip()[-500:]}")
        found.extend(json.loads(line) for line in done.stdout.splitlines())

    benchmark.pedantic(measured, rounds=1)
    ours, theirs = ([pair[side] for pair in found] for side in ("on_the_node", "by_the_client"))
    for unit, scale in (("seconds", 1e6), ("bytes", 1.0)):
        interleave.add(
            Figure(
                f"watermark over {RATE}: {unit}",
                tuple(one[unit] * scale for one in ours),
                tuple(one[unit] * scale for one in theirs),
                None,
                "us" if unit == "seconds" else "bytes",
            )
        )
