"""What a Python program needs of others: wheels of nothing but Python, which become files of the program.

    asked.py    what the program asks for, by name
    pip.py      pip chooses and fetches the wheels, and builds nothing
    wheels.py   what is in them

pip is told that Pillow is there already: the interpreter brings it.
"""

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from insitu.cli.python import pip
from insitu.cli.python.asked import Requirement
from insitu.cli.python.interpreter import PACKAGES, pillow_version
from insitu.cli.python.project import Project
from insitu.cli.python.wheels import unpacked
from insitu.runtime.errors import ProgramRejected

_PILLOW: Final = "pillow"


def installed(project: Project, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Path in the guest → contents of all that the project requires. `files`: the interpreter's.

    Raises `ProgramRejected` naming the requirement that cannot be had.
    """
    if not project.requirements:
        return {}
    with tempfile.TemporaryDirectory(prefix="insitu-requirements-") as directory:
        place = Path(directory)
        ours, wheels = place / "ours", place / "wheels"
        ours.mkdir()
        wheels.mkdir()
        stand_in = ""
        if version := pillow_version(files):
            stand_in = f"--hash=sha256:{hashlib.sha256(_write_stand_in(ours, version)).hexdigest()}"
        asked, constraints = place / "requirements.txt", place / "constraints.txt"
        asked.write_text(_written(project.requirements.packages, stand_in))
        constraints.write_text(_written(project.requirements.constraints, stand_in))
        try:
            pip.fetched(asked, constraints, wheels, version=_version_of_library(files), also=ours)
        except pip.PipError as why:
            raise ProgramRejected(f"{project.source}: its requirements cannot be had: {why}") from None
        found = unpacked(list(wheels.iterdir()), str(project.source))
    return {path: data for name, data in found.items() if (path := f"{PACKAGES}/{name}") not in files}


def _written(requirements: Sequence[Requirement], stand_in: str) -> str:
    """As a file for pip. Of Pillow the wheel is ours, so its digest is: `stand_in`, where there is one."""
    lines = []
    for one in requirements:
        own = bool(stand_in) and one.name.lower() == _PILLOW and bool(one.hashes)
        lines.append(" ".join([one.words, *((stand_in,) if own else one.hashes)]))
    return "".join(f"{line}\n" for line in lines)


def _version_of_library(files: Mapping[str, bytes]) -> str:
    """ "3.13", of an interpreter with lib/python3.13."""
    return next((match[1] for path in files if (match := re.match(r"lib/python(\d+\.\d+)/", path))), "3.13")


def _write_stand_in(wheels: Path, version: str) -> bytes:
    """A wheel without contents that says it is Pillow, for pip to find what needs Pillow; what is written."""
    about = f"pillow-{version}.dist-info"
    path = wheels / f"pillow-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: pillow\nVersion: {version}\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: insitu\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", f"{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path.read_bytes()
