"""Wheels made for a test, and pip told of no others."""

import zipfile
from pathlib import Path


def wheel(
    place: Path, name: str, *, requires: str = "", tag: str = "py3-none-any", body: str = "", version: str = "1.0"
) -> None:
    """A wheel of one module, as any tool makes them."""
    about = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(place / f"{name}-{version}-{tag}.whl", "w") as archive:
        archive.writestr(f"{name}.py", body)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{about}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


def offline(wheels: Path) -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
