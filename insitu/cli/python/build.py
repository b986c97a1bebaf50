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
from insitu.cli.python.project import read
from insitu.cli.python.requirements import installed
from insitu.runtime.bundles import manifest
from insitu.runtime.bundles.build import TEXTS, packed
from insitu.runtime.bundles.bundle import FILES, Bundle
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import GIB, Limits
from insitu.sandbox.snapshot import SnapshotError, snapshot

_MODULE: Final = "python.wasm"
_WALL: Final = 300.0  # seconds for its imports: it is the user's own machine, and done once


class ScriptError(ProgramError):
    """The script itself cannot be made ready; `words` is what the interpreter said of it."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


def build(path: Path) -> tuple[bytes, Bundle]:
    """Of a script or a directory. Raises `ProgramRejected`, `ProgramError`, `UnknownProgram`; `ScriptError` when the
    script does not compile."""
    project = read(path)
    _, base = interpreter(str(path))
    brought = base.files()
    runner = Runner(canonical_nans=True)
    mine = {**installed(project, brought), **project.files}
    mine |= with_bytecode(runner, base.wasm(), brought, mine)
    files = {**brought, **mine}
    limits = Limits(memory=project.stated.limits.get("memory", GIB), wall=_WALL)
    try:
        wasm = aside(
            lambda: snapshot(
                base.wasm(),
                str(path),
                runner=runner,
                argv=["python", project.main],
                files=Files.held(files),
                limits=limits,
                compile_=compiled,
            )
        )
    except SnapshotError as why:
        words = why.outcome.stderr.decode("utf-8", "replace")
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
