"""Programs: wasm bytes made ready to run on an engine."""

from typing import Final

from insitu.sandbox import raw, refusals
from insitu.sandbox.errors import ProgramError
from insitu.sandbox.files.tree import NO_FILES
from insitu.sandbox.limits import MAX_PROGRAM
from insitu.sandbox.structure import check_structure

_CORE: Final = b"\0asm\x01\0\0\0"
_COMPONENT: Final = b"\0asm\x0d\0\x01\0"


def to_wasm(data: bytes, source: str = "program") -> bytes:
    """The bytes of a core module: as they are, or from the text format. Raises `ProgramError` naming `source`."""
    if len(data) > MAX_PROGRAM:
        raise ProgramError(f"{source}: {len(data)} bytes, and at most {MAX_PROGRAM} are allowed")
    if data.startswith(_COMPONENT):
        raise ProgramError(f"{source}: {refusals.COMPONENT}")
    if data.startswith(b"\0asm"):
        if not data.startswith(_CORE):
            raise ProgramError(f"{source}: wasm of an unknown version; version 1 runs here")
        check_structure(data, source)
        return data
    if data.lstrip()[:1] not in (b"(", b";"):
        raise ProgramError(f"{source}: neither wasm (it does not begin with \\0asm) nor its text format")
    try:
        wasm = raw.wat_to_wasm(data)
    except ProgramError as why:
        raise ProgramError(f"{source}: {refusals.in_a_line(str(why))}") from None
    if wasm.startswith(_COMPONENT):
        raise ProgramError(f"{source}: {refusals.COMPONENT}")
    check_structure(wasm, source)
    return wasm


def compile_program(engine: raw.Engine, wasm: bytes, source: str = "program") -> raw.Module:
    """Machine code from wasm, the slow step (2 ms to many seconds). Raises `ProgramError`."""
    try:
        return raw.compile_module(engine, wasm)
    except ProgramError as why:
        raise ProgramError(f"{source}: {refusals.of_bytes(str(why))}") from None


class Program:
    """A compiled program linked against a host. Kept for many launches."""

    __slots__ = ("digest", "files", "module", "pre", "size")

    def __init__(self, linker: raw.Linker, module: raw.Module, digest: str, source: str = "program") -> None:
        """Raises `ProgramError` naming what is missing: the `_start` of a command, or whatever provides an import."""
        self.module, self.digest = module, digest
        self.size = 0
        """Bytes that it maps while it is loaded, if whoever loaded it has said so."""
        self.files = NO_FILES
        """What it brings: its launches' `/`, unless they are given another."""
        signature = raw.export_signature(module, "_start")
        if signature != (0, 0):
            what = "no function _start" if signature is None else "a _start that takes arguments or gives results"
            library = raw.export_signature(module, "_initialize") is not None
            kind = "a reactor (a library)" if library else "no command"
            raise ProgramError(
                f"{source}: exports {what}: it is {kind}, and only commands run here (WASI programs with a main)"
            )
        try:
            self.pre = raw.instantiate_pre(linker, module)
        except ProgramError as why:
            raise ProgramError(f"{source}: {refusals.of_imports(str(why))}") from None

    def close(self) -> None:
        """Free it; nobody may run it any more. What instances of it map goes with the last of them."""
        raw.delete_pre(self.pre)
        raw.delete_module(self.module)
