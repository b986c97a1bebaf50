"""Builds the wheel, looks into it, installs it and runs it from elsewhere: `make wheel-check`.

The rooms stand at the top level of the repository and are reached through links in insitu/. A clone on a file system
without links holds four small text files instead, and would build, without a word, a wheel without code: so what was
built is what is checked. And nothing may import a room by its bare name: that works in a checkout and nowhere else.
"""

import ast
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("sandbox", "runtime", "storage_hooks", "jobs")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
MINUTES = 5


def main() -> None:
    problems = [*bare_imports()]
    with tempfile.TemporaryDirectory(prefix="wheel-") as directory:
        place = Path(directory)
        build = [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(place), str(ROOT)]
        subprocess.run(build, check=True, timeout=60 * MINUTES)
        (wheel,) = place.glob("insitu-*.whl")
        problems += contents(wheel)
        if not problems:
            problems += installed(wheel, place)
        size = wheel.stat().st_size
    for problem in problems:
        print(f"wheel-check: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"wheel-check: {wheel.name}, {size} bytes: all modules, all programs, and it runs")


def sources() -> Iterator[Path]:
    """Every Python file that git keeps or would keep."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    yield from (
        ROOT / os.fsdecode(name) for name in names.split(b"\0") if name and (ROOT / os.fsdecode(name)).is_file()
    )


def bare_imports() -> Iterator[str]:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
            match node:
                case ast.Import():
                    modules = [alias.name for alias in node.names]
                case ast.ImportFrom(level=0, module=str(module)):
                    modules = [module]
                case _:
                    continue
            for module in modules:
                if module.split(".")[0] in ROOMS:
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield f"{where} imports {module}; its name is insitu.{module}"


def contents(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for room in ROOMS:
        for path in sources():
            relative = path.relative_to(ROOT)
            if relative.parts[0] == room and f"insitu/{relative}" not in names:
                yield f"insitu/{relative} is not in the wheel"
    for path in (ROOT / "insitu").rglob("*.py"):
        if f"{path.relative_to(ROOT)}" not in names:
            yield f"{path.relative_to(ROOT)} is not in the wheel"
    programs = {path.name for path in (ROOT / "insitu" / "programs").iterdir() if path.suffix in (".wasm", ".toml")}
    if not any(name.endswith(".wasm") for name in programs):
        yield "no built programs in insitu/programs: `make guests` builds them"
    for name in sorted(programs):
        if f"insitu/programs/{name}" not in names:
            yield f"insitu/programs/{name} is not in the wheel"
    for top in sorted({name.split("/")[0] for name in names}):
        if top != "insitu" and not top.endswith(".dist-info"):
            yield f"the wheel has {top}/ at its top level, where only insitu/ belongs"
    if not any(name.endswith("entry_points.txt") for name in names):
        yield "the wheel has no entry points: Swift would not find the filters"


def installed(wheel: Path, place: Path) -> Iterator[str]:
    """The wheel alone, unpacked elsewhere, its dependencies those of this environment."""
    target, empty = place / "target", place / "empty"
    empty.mkdir()
    command = [*PIP, "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, timeout=60 * MINUTES)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(target), "XDG_CACHE_HOME": str(place / "cache")}

    def run(*words: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, *words],
            cwd=empty,
            env=environment,
            input=given,
            capture_output=True,
            check=False,
            timeout=60 * MINUTES,
        )

    where = run("-c", "import insitu; print(insitu.__file__)").stdout.decode().strip()
    if not where.startswith(str(target)):
        yield f"the checkout was imported instead of the wheel: {where}"
        return
    listed = run("-m", "insitu", "program", "list")
    shipped = sorted(path.stem for path in (target / "insitu" / "programs").glob("*.wasm"))
    if find_spec("insitu_python"):  # the environment has it, and the wheel is not the one to bring it
        shipped = sorted([*shipped, "python"])
    if listed.returncode or [line.split()[0] for line in listed.stdout.decode().splitlines()] != shipped:
        yield f"`insitu program list` gave {listed.stdout!r} {listed.stderr!r}, and the wheel has {shipped}"
    data = os.urandom(100_000)
    copied = run("-m", "insitu", "run", "cat", given=data)
    if copied.returncode or copied.stdout != data:
        yield f"`insitu run cat` ended with {copied.returncode}: {copied.stderr.decode(errors='replace').strip()}"
    modules = [f"insitu.{room}.{path.stem}" for room in ROOMS for path in sorted((ROOT / room).glob("[a-z]*.py"))]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    imported = run("-c", code, *modules)
    if imported.returncode:
        yield f"a module of the wheel cannot be imported: {imported.stderr.decode(errors='replace').strip()}"


if __name__ == "__main__":
    main()
