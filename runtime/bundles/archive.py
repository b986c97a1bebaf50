"""A zip from a stranger, read strictly: every byte of it belongs to one entry, to the directory or to the end.

    entry 1 │ entry 2 │ … │ central directory │ end record (22 bytes, no comment)

Zip says everything twice (an entry's own header, the directory) and lets the two disagree, overlap and leave gaps;
readers that believe different ones see different files. Here all must agree and lie side by side, or the archive is
refused with the entry's name. The directory counts; what comes out must have its sizes and sums. Nothing is written
anywhere: names are keys of a mapping, and are checked as if they were not, for whoever unpacks them elsewhere.
"""

import re
import stat
import struct
import unicodedata
import zlib
from dataclasses import dataclass
from typing import Final, NoReturn

from insitu.runtime.errors import ProgramRejected
from insitu.sandbox.limits import MAX_PROGRAM, MIB, format_size

MAX_BYTES: Final = MAX_PROGRAM
"""Bytes of the archive itself."""
MAX_ENTRIES: Final = 10_000
MAX_TOTAL: Final = 256 * MIB
"""Bytes of all entries together, unpacked: they are held in memory."""
MAX_RATIO: Final = 100
"""What an entry may grow by, unpacked, if it is over `RATIO_FREE` bytes then."""
RATIO_FREE: Final = 1 * MIB
MAX_PATH: Final = 1024  # bytes
MAX_NAME: Final = 255  # bytes of a component
MAX_DEPTH: Final = 32

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
_DESCRIPTOR: Final = struct.Struct("<III")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_DESCRIPTOR_MARK, _ZIP64_MARK = b"PK\x07\x08", b"PK\x06\x07"
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIBED, _UTF8 = 0x1 | 0x40 | 0x2000, 0x8, 0x800
_LEVEL: Final = 0x6  # how hard deflate tried: of no meaning here
_ZIP64_EXTRA, _NAME_EXTRA = 0x0001, 0x7075
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Those that turn the direction of writing among them: a name must look like what it is."""
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_FULL: Final = 0xFFFFFFFF


def is_archive(data: bytes) -> bool:
    """Whether it begins as a zip does (an empty one begins with its end)."""
    return data.startswith((_LOCAL_MARK, _END_MARK))


@dataclass(frozen=True, slots=True)
class Entry:
    """One name. A directory's ends with "/", and nothing is in it."""

    name: str
    size: int
    packed: int
    method: int
    crc: int
    at: int
    """Where its packed bytes begin."""

    @property
    def is_directory(self) -> bool:
        return self.name.endswith("/")


class Archive:
    """A zip that has been looked at as a whole. `entries` by name, in the order of names."""

    def __init__(self, data: bytes, source: str) -> None:
        """Reads headers and unpacks nothing. Raises `ProgramRejected` naming `source` and the entry."""
        self._data, self._source = data, source
        if len(data) > MAX_BYTES:
            self._refuse(f"{len(data)} bytes, and at most {MAX_BYTES} are allowed")
        found, start = self._directory()
        self._lie_side_by_side(found, start)
        entries = [entry for entry, _ in found]
        self._names(entries)
        total = sum(entry.size for entry in entries)
        if total > MAX_TOTAL:
            self._refuse(f"{format_size(total)} unpacked, and at most {format_size(MAX_TOTAL)} are allowed")
        self.entries = {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}

    def read(self, name: str) -> bytes:
        """The bytes of an entry, verified. Raises `ProgramRejected`, KeyError when there is no such entry."""
        entry = self.entries[name]
        packed = memoryview(self._data)[entry.at : entry.at + entry.packed]
        if entry.method == _STORED:
            data = bytes(packed)
        else:
            # Never more than was declared, and one byte that tells that there would be more.
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflater.decompress(packed, entry.size + 1)
            except zlib.error as why:
                self._refuse(f"its packed bytes are damaged ({why})", name)
            if len(data) > entry.size:
                self._refuse(f"unpacks to more than the {entry.size} bytes it declares", name)
            if not inflater.eof or inflater.unused_data:
                self._refuse("its packed bytes end elsewhere than it declares", name)
        if len(data) != entry.size:
            self._refuse(f"unpacks to {len(data)} bytes and declares {entry.size}", name)
        if zlib.crc32(data) != entry.crc:
            self._refuse("its sum (CRC-32) is not what it declares", name)
        return data

    def _refuse(self, what: str, name: str | None = None) -> NoReturn:
        where = self._source if name is None else f"{self._source}: entry {name[:200]!r}"
        raise ProgramRejected(f"{where}: {what}")

    def _directory(self) -> tuple[list[tuple[Entry, int]], int]:
        """Entries with where they begin and where their directory does."""
        data = self._data
        end = len(data) - _END.size
        if end < 0 or not data.startswith((_LOCAL_MARK, _END_MARK)):
            self._refuse("no zip archive")
        mark, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, end)
        if mark != _END_MARK or comment:
            self._refuse("no end of a zip archive at its end (cut short, or a comment or other bytes behind it)")
        if _FULL in (size, start) or 0xFFFF in (here, count) or data[end - 20 : end - 16] == _ZIP64_MARK:
            self._refuse("zip64, which nothing that is allowed here needs")
        if disk or first_disk or here != count:
            self._refuse("a part of an archive of several parts")
        if count > MAX_ENTRIES:
            self._refuse(f"{count} entries, and at most {MAX_ENTRIES} are allowed")
        if start + size != end:
            self._refuse("its directory is not where it declares")
        found, at = [], start
        for number in range(1, count + 1):
            if at + _CENTRAL.size > end or data[at : at + 4] != _CENTRAL_MARK:
                self._refuse(f"its directory ends before entry {number} of {count}")
            fields = _CENTRAL.unpack_from(data, at)
            following = at + _CENTRAL.size + sum(fields[10:13])
            if following > end:
                self._refuse(f"its directory ends within entry {number} of {count}")
            found.append(self._entry(fields, at + _CENTRAL.size))
            at = following
        if at != end:
            self._refuse(f"its directory has more than the {count} entries it declares")
        return found, start

    def _entry(self, fields: tuple[int, ...], at: int) -> tuple[Entry, int]:
        """An entry of the directory, held against the header it stands for."""
        data = self._data
        _, made_by, _, flags, method, _, _, crc, packed, size, name_size, extra_size, _, disk, _, external, local = (
            fields
        )
        raw = data[at : at + name_size]
        name = self._decoded(raw, flags)
        extra = data[at + name_size : at + name_size + extra_size]
        if _FULL in (packed, size, local):
            self._refuse("zip64, which nothing that is allowed here needs", name)
        self._extra(extra, name)
        if flags & _ENCRYPTED:
            self._refuse("encrypted", name)
        if flags & ~(_DESCRIBED | _UTF8 | _LEVEL):
            self._refuse(f"flags {flags:#06x}, of which some mean what is not allowed here", name)
        if method not in (_STORED, _DEFLATED):
            self._refuse(f"packed by method {method}; stored (0) and deflated (8) are allowed", name)
        if disk:
            self._refuse("on another part of the archive", name)
        kind = stat.S_IFMT(external >> 16) if made_by >> 8 in (3, 19) else 0  # Unix, macOS
        if stat.S_ISLNK(external >> 16):  # whoever claims to have made it
            self._refuse("a symbolic link", name)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            self._refuse("neither a file nor a directory", name)
        directory = name.endswith("/")
        if (kind == stat.S_IFDIR and not directory) or (kind == stat.S_IFREG and directory):
            self._refuse("a directory by its name or by its kind, and not by both", name)
        if directory and (size or packed):
            self._refuse("a directory with contents", name)
        if method == _STORED and packed != size:
            self._refuse(f"stored in {packed} bytes and declares {size}", name)
        if size > RATIO_FREE and size > MAX_RATIO * packed:
            self._refuse(
                f"unpacks to {size // max(1, packed)} times its size, and at most {MAX_RATIO} times is allowed", name
            )
        return self._held_against_its_header(Entry(name, size, packed, method, crc, 0), raw, flags, local)

    def _held_against_its_header(self, entry: Entry, raw: bytes, flags: int, at: int) -> tuple[Entry, int]:
        data, name = self._data, entry.name
        if at + _LOCAL.size > len(data) or data[at : at + 4] != _LOCAL_MARK:
            self._refuse("no header where the directory says", name)
        _, _, own_flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack_from(data, at)
        begin = at + _LOCAL.size
        if data[begin : begin + name_size] != raw:
            self._refuse("its header has another name", name)
        self._extra(data[begin + name_size : begin + name_size + extra_size], name)
        if (own_flags, method) != (flags, entry.method):
            self._refuse("its header says that it is packed in another way", name)
        figures = (crc, packed, size)
        declared = (entry.crc, entry.packed, entry.size)
        if figures != declared and not (flags & _DESCRIBED and figures == (0, 0, 0)):
            self._refuse("its header has another size or sum than the directory", name)
        return Entry(name, entry.size, entry.packed, method, entry.crc, begin + name_size + extra_size), at

    def _lie_side_by_side(self, found: list[tuple[Entry, int]], start: int) -> None:
        at = 0
        for entry, begin in sorted(found, key=lambda one: one[1]):
            if begin < at:
                self._refuse("overlaps the entry before it", entry.name)
            if begin > at:
                self._refuse(f"{begin - at} bytes before it belong to no entry", entry.name)
            at = entry.at + entry.packed
            (flags,) = struct.unpack_from("<H", self._data, begin + 6)
            if flags & _DESCRIBED:
                at = self._described(entry, at)
            if at > start:
                self._refuse("reaches into the directory", entry.name)
        if at != start:
            self._refuse(f"{start - at} bytes before its directory belong to no entry")

    def _described(self, entry: Entry, at: int) -> int:
        """Behind the bytes of an entry that was written as a stream: its figures again, with a mark or without."""
        declared = (entry.crc, entry.packed, entry.size)
        if self._data[at : at + 4] == _DESCRIPTOR_MARK:
            at += 4
        if at + _DESCRIPTOR.size > len(self._data) or _DESCRIPTOR.unpack_from(self._data, at) != declared:
            self._refuse("its data descriptor has another size or sum than the directory", entry.name)
        return at + _DESCRIPTOR.size

    def _extra(self, extra: bytes, name: str) -> None:
        at = 0
        while at + 4 <= len(extra):
            kind, size = struct.unpack_from("<HH", extra, at)
            if kind == _ZIP64_EXTRA:
                self._refuse("zip64, which nothing that is allowed here needs", name)
            if kind == _NAME_EXTRA:
                self._refuse("a second name, in an extra field", name)
            at += 4 + size

    def _decoded(self, raw: bytes, flags: int) -> str:
        if not raw.isascii() and not flags & _UTF8:
            self._refuse("a name that is neither ASCII nor marked as UTF-8", raw.decode("latin-1"))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self._refuse("a name that is no UTF-8", raw.decode("latin-1"))

    def _names(self, entries: list[Entry]) -> None:
        """That they are paths within one directory, and that no two are one wherever they may be unpacked."""
        known: dict[str, str] = {}  # as the most forgetful file system sees it → as it is
        looked_at = {""}  # with all above it
        listed: set[str] = set()
        files: set[str] = set()
        for entry in entries:
            name = entry.name
            if fault := _fault(name):
                self._refuse(fault, name)
            path = name.removesuffix("/")
            prefix = path
            while prefix not in looked_at:
                folded = prefix.casefold() if prefix.isascii() else _folded(prefix)
                there = known.setdefault(folded, prefix)
                if there != prefix:
                    self._refuse(f"the same name as {there[:200]!r}, where case and form do not count", name)
                looked_at.add(prefix)
                prefix = prefix.rpartition("/")[0]
            if path in listed:
                self._refuse(f"the same name as {path[:200]!r}", name)
            listed.add(path)
            if not entry.is_directory:
                files.add(path)
        for entry in entries:
            parent = entry.name.removesuffix("/").rpartition("/")[0]
            while parent:
                if parent in files:
                    self._refuse("lies in a file and not in a directory", entry.name)
                parent = parent.rpartition("/")[0]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _fault(name: str) -> str | None:
    path = name.removesuffix("/")
    if "\0" in name:
        return "a NUL in its name"
    if "\\" in name:
        return "a backslash in its name; '/' parts names here"
    if _CONTROL.search(name):
        return "a control character in its name"
    if name.startswith("/"):
        return "an absolute path"
    if _DRIVE.match(name):
        return "a drive letter in its name"
    parts = path.split("/")
    if ".." in parts:
        return "a path that leads out ('..')"
    if "" in parts or "." in parts:
        return "a path with an empty part or '.'"
    if len(name.encode()) > MAX_PATH:
        return f"a path of over {MAX_PATH} bytes"
    if len(parts) > MAX_DEPTH:
        return f"a path over {MAX_DEPTH} deep"
    if any(len(part.encode()) > MAX_NAME for part in parts):
        return f"a name of over {MAX_NAME} bytes"
    return None
