"""Bytecode of a program's modules, made by the interpreter that will run them, in a sandbox.

What is imported when the snapshot is made needs none; what is imported later, in a function say, would be compiled in
each run. The bytecode is of the kind that is not held against its source: nothing in a bundle changes.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from insitu.cli.guests import aside, compiled
from insitu.sandbox.channels import FileSource
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import GIB, Limits
from insitu.sandbox.snapshot import laid_open

_LENGTH: Final = struct.Struct("<I")
_SCRIPT: Final = """
import importlib._bootstrap_external as external, importlib.util, struct, sys, warnings
warnings.simplefilter("ignore")
for path in sys.stdin.buffer.read().decode().split("\\0"):
    try:
        with open(path, "rb") as file: source = file.read()
        code = compile(source, path, "exec", dont_inherit=True)
        made = external._code_to_hash_pyc(code, importlib.util.source_hash(source), False)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        made = b""
    sys.stdout.buffer.write(struct.pack("<I", len(made)) + made)
"""
_SUFFIX: Final = ".py"
_WALL: Final = 300.0


def with_bytecode(
    runner: Runner, wasm: bytes, library: Mapping[str, bytes], files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Path → contents, for each module of `files` that compiles. `library`: the interpreter's files; `runner`: one for
    frozen launches. Raises `ProgramError`."""
    paths = [path for path in files if path.endswith(_SUFFIX)]
    source = "python"
    # The module that snapshots are made of: that one is compiled in any case.
    program = aside(lambda: compiled(runner, laid_open(wasm, source), source))
    asked, answer = os.memfd_create("insitu-paths"), os.memfd_create("insitu-bytecode")
    try:
        os.write(asked, "\0".join(f"/{path}" for path in paths).encode())
        launch = Launch(
            ["python", "-c", _SCRIPT],
            FileSource(asked),
            answer,
            Limits(memory=GIB, wall=_WALL),
            files=Files.held({**library, **files}),
            frozen=Frozen(),
        )
        outcome = aside(lambda: runner.run(program, launch))
        if not outcome.ok:
            raise ProgramError(f"{source}: no bytecode could be made: {outcome.sentence()}: {outcome.stderr.decode()}")
        made = _pieces(os.pread(answer, GIB, 0))
        tag = next((path.split(".")[-2] for path in library if path.endswith(".pyc")), "cpython-313")
        return {_place(path, tag): data for path, data in zip(paths, made, strict=True) if data}
    finally:
        program.close()
        os.close(asked)
        os.close(answer)


def _pieces(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        yield data[at - length : at]


def _place(path: str, tag: str) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/__pycache__/{name.removesuffix(_SUFFIX)}.{tag}.pyc"
