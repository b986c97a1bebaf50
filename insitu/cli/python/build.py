"""A bundle of a Python script: the interpreter as it is when the script is compiled and its imports are done.

    interpreter's files + /app + requirements ──► bytecode of what is new ──► snapshot ──► bundle

The same script, requirements and interpreter give the same bytes.
"""

import os
from pathlib import Path
from typing import Final

from insitu.cli.guests import aside, compiled
from insitu.cli.python.bytecode import with_bytecode
from insitu.cli.python.interpreter import interpreter
from insitu.cli.python.project import check_named, read
from insitu.cli.python.requirements import installed
from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.build import TEXTS, packed
from insitu.runtime.bundles.bundle import FILES, Bundle
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import DEFAULT, Limits, exact_size
from insitu.sandbox.outcome import Outcome
from insitu.sandbox.snapshot import SnapshotError, snapshot

_MODULE: Final = "python.wasm"
WALL: Final = 60.0
"""Seconds for its imports, of the clock and of CPU time."""
_IMPORTING: Final = "importing "
"""What is told of each import before it is done: guests/python/boot.py."""
_NO_MEMORY: Final = 3
"""The exit code of one for which there was not enough."""


class ScriptError(ProgramError):
    """The script itself cannot be made ready; `words` is what the interpreter said of it."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


def build(path: Path, *, wall: float = WALL) -> tuple[bytes, Bundle]:
    """Of a script or a directory. Its imports are done within `wall` seconds, and within the memory that the bundle
    will run with. Raises `ProgramRejected`, `ProgramError`, `UnknownProgram`; `ScriptError` when the script does not
    compile."""
    project = read(path)
    check_named(project.stated, path, "[tool.insitu] of its metadata (docs/python.md)")
    _, base = interpreter(str(path))
    brought = base.files()
    runner = Runner(canonical_nans=True)
    mine = {**installed(project, brought), **project.files}
    mine |= with_bytecode(runner, base.wasm(), brought, mine)
    files = {**brought, **mine}
    stated = {**base.manifest.limits, **project.stated.limits}
    limits = Limits(memory=stated.get("memory", DEFAULT.memory), wall=wall, cpu=wall)
    try:
        wasm = aside(
            lambda: snapshot(
                base.wasm(),
                str(path),
                runner=runner,
                argv=["python", project.main, "tell"],
                files=Files.held(files),
                limits=limits,
                compile_=compiled,
            )
        )
    except SnapshotError as why:
        words = why.outcome.stderr.decode("utf-8", "replace")
        if importing := [line for line in words.splitlines() if line.startswith(_IMPORTING)]:
            raise ProgramError(f"{path}: {importing[-1]}: {_ended(why.outcome, limits)}") from None
        if why.outcome.end == "exit" and words:
            raise ScriptError(str(why), words) from None
        raise ProgramError(f"{why}: {words.strip().splitlines()[-1]}" if words.strip() else str(why)) from None
    entries = {f"{FILES}/{name}": data for name, data in files.items()}
    entries |= {manifest.NAME: project.manifest, _MODULE: wasm, **project.texts}
    for name in base.names:
        if "/" not in name and name.startswith(TEXTS):  # its licences go where it goes
            stem, suffix = os.path.splitext(name)
            entries[f"{stem}-python{suffix}"] = base.read(name)
    return packed(entries, entries.__getitem__, str(path))


def _ended(outcome: Outcome, limits: Limits) -> str:
    """What ended it while a module was imported, and what may be done about it."""
    if outcome.end == "limit" and outcome.limit is not None and outcome.limit.name in ("wall", "cpu"):
        return f"{outcome.limit.sentence()}; --wall allows more"
    memory = f"{exact_size(limits.memory)} of memory are allowed; the manifest's limits.memory allows more"
    if outcome.end == "exit" and outcome.exit_code == _NO_MEMORY:
        return f"it takes too much memory: {memory}"
    return f"it ended the interpreter: {outcome.sentence()}"
