"""`python guests/build.py --python`: builds what is missing, and installs the wheel where it is built."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from guests.errors import BuildError
from guests.python import recipe
from guests.python.bundle import MARKER, PACKAGE, WHEEL, bundle_step
from guests.python.steps import Step, make
from guests.python.wasi import WASI
from guests.store import Store, say, write_atomically


def build_python(store: Store, folder: Path | None) -> None:
    """Builds, then installs; with `folder`, puts the wheel there instead. Raises BuildError."""
    wheel = make(store, bundle_step(), _warn) / WHEEL
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WHEEL, wheel.read_bytes())
        say(f"python: {folder / WHEEL}, {wheel.stat().st_size / 1e6:.1f} MB; pip installs it anywhere")
    elif not _installed(wheel):
        _install(wheel)


def _warn(missing: list[Step]) -> None:
    if WASI not in missing:
        return  # what is left takes a minute at most
    free = shutil.disk_usage(Path.home()).free
    say(
        f"python: building CPython {recipe.VERSION} and Pillow {recipe.PILLOW_VERSION} from source: this once, "
        f"5 to 15 minutes on two cores and 1.5 GB of disk ({free / 1e9:.0f} free), of which 0.2 are kept"
    )


def _installed(wheel: Path) -> bool:
    """Whether the installed package is what the wheel holds: both have the digest of the bundle."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return False
    return Path(found.origin).read_bytes() == wheel.with_name(MARKER).read_bytes()


def _install(wheel: Path) -> None:
    say("python: installing it")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-index", "--force-reinstall", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise BuildError(f"the Python guest cannot be installed: {lines[-1].strip()}")
