"""What a snapshot has to know of a module: where its state lives, and whether all of that can be written down.

Only what could hold state is looked into; everything else is copied as it is. A module that is malformed beyond that
is the engine's to refuse: it compiles what is written here before anything of it runs.
"""

from dataclasses import dataclass
from typing import Final

from insitu.sandbox import binary
from insitu.sandbox.binary import Cursor, Malformed, sections
from insitu.sandbox.errors import ProgramError

_FUNC, _TABLE, _MEMORY, _GLOBAL = range(4)
"""Kinds of imports and exports."""
VALUES: Final = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
"""Types whose values are bits, and can be written down."""
_FUNCREF: Final = 0x70
_CONSTANTS: Final = {0x41: 32, 0x42: 64, 0x23: 32, 0xD0: 33, 0xD2: 32}
"""Instructions of a constant expression with a number behind them, → its bits."""
_FLOATS: Final = {0x43: 4, 0x44: 8}
_PLAIN: Final = (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E)  # add, sub, mul
_END: Final = 0x0B


@dataclass(frozen=True, slots=True)
class Global:
    type: int
    mutable: bool
    initial: bytes
    """Its constant expression, the end of it included."""


@dataclass(frozen=True, slots=True)
class ModuleParts:
    """A module with one memory of its own, no imported state, and active segments only."""

    sections: tuple[tuple[int, bytes], ...]
    """In their order, kind and body."""
    globals: tuple[Global, ...]
    tables: int
    memory_flags: int
    memory_most: bytes
    """The maximum, if there is one, as it is written."""
    data: int
    """Segments of it."""
    start: int | None
    """The function that runs first."""
    prefix: bytes
    """What no export's name begins with."""

    @property
    def mutable(self) -> list[int]:
        return [index for index, one in enumerate(self.globals) if one.mutable]

    def global_name(self, index: int) -> bytes:
        return b"%s global %d" % (self.prefix, index)

    def table_name(self, index: int) -> bytes:
        return b"%s table %d" % (self.prefix, index)

    @property
    def start_name(self) -> bytes:
        return b"%s start" % self.prefix

    def laid_open(self) -> bytes:
        """The module with exports for all state, its start function among them, which does not run of itself."""
        more = [(self.global_name(index), _GLOBAL, index) for index in self.mutable]
        more += [(self.table_name(index), _TABLE, index) for index in range(self.tables)]
        more += [] if self.start is None else [(self.start_name, _FUNC, self.start)]
        added = b"".join(binary.name(name) + bytes([kind]) + binary.unsigned(index) for name, kind, index in more)
        out = [binary.HEAD]
        for kind, body in self.sections:
            if kind == binary.EXPORT:
                cursor = Cursor(body)
                count = cursor.number()
                body = binary.unsigned(count + len(more)) + body[cursor.at :] + added
            if kind != binary.START:
                out.append(binary.section(kind, body))
        return b"".join(out)


def parts_of(wasm: bytes, source: str) -> ModuleParts:
    """Raises `ProgramError` naming `source` and what of it no snapshot can hold."""
    try:
        return _parts(wasm, source)
    except Malformed as why:
        raise ProgramError(f"{source}: malformed: {why}") from None


def _parts(wasm: bytes, source: str) -> ModuleParts:
    found = tuple(sections(wasm))
    by_kind: dict[int, bytes] = {}
    for kind, body in found:
        if kind != binary.CUSTOM and kind in by_kind:
            raise Malformed(f"two sections of kind {kind}")
        by_kind[kind] = body
    read = _Reader(by_kind, source)
    read.imports()
    flags, most = read.memory()
    names = read.exports()
    prefix = b"snapshot"
    while any(name.startswith(prefix) for name in names):
        prefix += b"'"
    start = Cursor(by_kind[binary.START]).number() if binary.START in by_kind else None
    read.elements()
    return ModuleParts(
        found, tuple(read.globals()), read.tables(), flags, most, data=read.data(), start=start, prefix=prefix
    )


class _Reader:
    def __init__(self, by_kind: dict[int, bytes], source: str) -> None:
        self._sections, self._source = by_kind, source

    def _open(self, kind: int) -> tuple[Cursor, int]:
        """A section's contents, and how many of them there are."""
        if kind not in self._sections:
            return Cursor(b""), 0
        cursor = Cursor(self._sections[kind])
        return cursor, cursor.number()

    def _refuse(self, what: str) -> ProgramError:
        return ProgramError(f"{self._source}: no snapshot of it can be made: it {what}")

    def imports(self) -> None:
        cursor, count = self._open(binary.IMPORT)
        for _ in range(count):
            cursor.name(), cursor.name()
            kind = cursor.byte()
            if kind != _FUNC:
                what = {_TABLE: "a table", _MEMORY: "its memory", _GLOBAL: "a global"}.get(kind, "what is no function")
                raise self._refuse(f"imports {what}, which is not its own")
            cursor.number()

    def memory(self) -> tuple[int, bytes]:
        cursor, count = self._open(binary.MEMORY)
        if count != 1:
            raise self._refuse("has no memory" if not count else f"has {count} memories, and can have one")
        flags = cursor.byte()
        if flags > 1:
            raise self._refuse("has a memory that is shared or of 64 bits")
        cursor.number()
        return flags, binary.unsigned(cursor.number()) if flags else b""

    def exports(self) -> list[bytes]:
        cursor, count = self._open(binary.EXPORT)
        names = []
        for _ in range(count):
            names.append(cursor.name())
            cursor.byte(), cursor.number()
        return names

    def globals(self) -> list[Global]:
        cursor, count = self._open(binary.GLOBAL)
        found = []
        for index in range(count):
            type_, mutable = cursor.byte(), cursor.byte()
            if mutable and type_ not in VALUES:
                raise self._refuse(f"has a mutable global, number {index}, that holds a reference")
            found.append(Global(type_, bool(mutable), _expression(cursor)))
        return found

    def tables(self) -> int:
        cursor, count = self._open(binary.TABLE)
        for index in range(count):
            if cursor.byte() != _FUNCREF:
                raise self._refuse(f"has a table, number {index}, of what are no functions")
            flags = cursor.byte()
            cursor.number()
            if flags & 1:
                cursor.number()
        return count

    def elements(self) -> None:
        cursor, count = self._open(binary.ELEMENT)
        for index in range(count):
            flags = cursor.number()
            if flags > 7:
                raise Malformed("an element segment of an unknown kind")
            if flags in (1, 5):
                raise self._refuse(f"has an element segment, number {index}, that it can drop or use at any time")
            if flags in (2, 6):
                cursor.number()
            if not flags & 1:
                _expression(cursor)
            if flags & 3:
                cursor.byte()
            for _ in range(cursor.number()):
                if flags & 4:
                    _expression(cursor)
                else:
                    cursor.number()

    def data(self) -> int:
        cursor, count = self._open(binary.DATA)
        for index in range(count):
            flags = cursor.number()
            if flags == 1:
                raise self._refuse(f"has a data segment, number {index}, that it can drop or use at any time")
            if flags == 2:
                cursor.number()
            _expression(cursor)
            cursor.name()
        return count


def _expression(cursor: Cursor) -> bytes:
    """A constant expression, its end included."""
    start = cursor.at
    while (code := cursor.byte()) != _END:
        if code in _CONSTANTS:
            cursor.skip_number(_CONSTANTS[code])
        elif code in _FLOATS:
            cursor.take(_FLOATS[code])
        elif code == 0xFD:  # v128.const, the only one of its family that is constant
            if cursor.number() != 12:
                raise Malformed("an expression that is not constant")
            cursor.take(16)
        elif code not in _PLAIN:
            raise Malformed("an expression that is not constant")
    return cursor.since(start)
