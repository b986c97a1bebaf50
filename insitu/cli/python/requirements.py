"""What a Python program needs of others: wheels of nothing but Python, installed by pip into the program's own files.

pip does it with the machine's own configuration (index, proxy, certificates, cache). It is told of a machine that can
take no compiled wheel, and that Pillow is there already: the interpreter brings it.
"""

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from insitu.cli.python.interpreter import PACKAGES, pillow_version
from insitu.cli.python.project import Project
from insitu.runtime.errors import ProgramRejected

_MACHINE: Final = ("--only-binary", ":all:", "--platform", "any", "--implementation", "py", "--abi", "none")
_NOT_TAKEN: Final = re.compile(
    r"bin/.*|.*/__pycache__/.*|.*\.pyc|.*\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)"
)
"""Of what pip leaves: commands, which name this machine's Python, and what tells of the installation."""
_NONE_FOUND: Final = re.compile(r"No matching distribution found for (.+?)(?: \(from .*\))?$", re.MULTILINE)


def installed(project: Project, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Path in the guest → contents of all that the project requires. `files`: the interpreter's.

    Raises `ProgramRejected` naming the requirement that cannot be had.
    """
    if not project.requirements:
        return {}
    with tempfile.TemporaryDirectory(prefix="insitu-requirements-") as directory:
        target, wheels = Path(directory) / "site", Path(directory) / "wheels"
        wheels.mkdir()
        if version := pillow_version(files):
            _write_stand_in(wheels, version)
        python_version = _version_of_library(files)
        command = [
            *_pip(),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            "--target",
            str(target),
        ]
        command += [*_MACHINE, "--python-version", python_version, "--find-links", str(wheels), *project.requirements]
        folder = project.source if project.source.is_dir() else project.source.parent
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise ProgramRejected(f"{project.source}: its requirements cannot be had: {_why(done.stderr)}")
        return dict(_taken(target, files))


def _taken(target: Path, files: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    taken = []
    for place, folders, names in os.walk(target):
        folders.sort()
        for name in names:
            inside = (Path(place) / name).relative_to(target).as_posix()
            path = f"{PACKAGES}/{inside}"
            if not _NOT_TAKEN.fullmatch(inside) and path not in files:
                taken.append((path, (target / inside).read_bytes()))
    return taken


def _pip() -> list[str]:
    """An environment made without pip is filled by the Python that it was made of; so is this one's program."""
    own = sys.executable if find_spec("pip") else getattr(sys, "_base_executable", sys.executable)
    return [own, "-m", "pip"]


def _version_of_library(files: Mapping[str, bytes]) -> str:
    """ "3.13", of an interpreter with lib/python3.13."""
    return next((match[1] for path in files if (match := re.match(r"lib/python(\d+\.\d+)/", path))), "3.13")


def _write_stand_in(wheels: Path, version: str) -> None:
    """A wheel without contents that says it is Pillow, for pip to find what needs Pillow."""
    about = f"pillow-{version}.dist-info"
    with zipfile.ZipFile(wheels / f"pillow-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: pillow\nVersion: {version}\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: insitu\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", f"{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


def _why(stderr: str) -> str:
    """pip's many lines as one."""
    if found := _NONE_FOUND.search(stderr):
        return (
            f"there is no pure-Python wheel of {found[1]} (or none at all): "
            "nothing is compiled here, and what was compiled for another machine cannot run"
        )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["pip said nothing"]
    return errors[-1].removeprefix("ERROR:").strip()
