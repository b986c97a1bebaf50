"""Builds all guests twice, each time with nothing to go by, and compares them: `make reproducible`.

Each build has a copy of guests/ and a cache of its own, in folders whose names differ in length: nothing that one made
is seen by the other, and no path of it may show. What pip has downloaded may stay. Both are compared with what is in
insitu/programs too, which was made with the user's cache.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 15 * 60  # seconds a build


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="insitu-reproducible-") as scratch:
        begun = time.monotonic()
        first, second = (built(Path(scratch) / name) for name in ("one", "the-other-one"))
        faults = list(differences(first, second))
        if faults:
            sys.exit("\n".join(f"reproducible: {fault}" for fault in faults))
        count, seconds = len(first), time.monotonic() - begun
        print(f"reproducible: {count} guests, built twice from nothing in {seconds:.0f} s: the same bytes")


def built(place: Path) -> dict[str, bytes]:
    """The modules by name."""
    shutil.copytree(ROOT / "guests", place / "guests", ignore=shutil.ignore_patterns("__pycache__"))
    pip_cache = (
        os.environ.get("PIP_CACHE_DIR")
        or subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True)
        .stdout.strip()
        .splitlines()[-1]
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "PIP_CACHE_DIR": pip_cache}
    command = [sys.executable, str(place / "guests" / "build.py"), "--out", str(place / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        sys.exit(f"reproducible: a build from nothing failed:\n{done.stderr}")
    modules = {path.name: path.read_bytes() for path in (place / "out").glob("*.wasm")}
    shutil.rmtree(place)  # a cache has hundreds of megabytes
    return modules


def differences(first: dict[str, bytes], second: dict[str, bytes]) -> Iterator[str]:
    if not first:
        yield "nothing was built"
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            yield f"{name} is not the same in two builds from nothing"
        installed = ROOT / "insitu" / "programs" / name
        if not installed.is_file() or installed.read_bytes() != first.get(name):
            yield f"{name} is not what a build from nothing gives: insitu/programs has another (`make guests`)"


if __name__ == "__main__":
    main()
