"""Zips as an enemy writes them: every field as told, whether it agrees with the others or not."""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

UTF8, DESCRIBED = 0x800, 0x8


@dataclass
class Part:
    """One entry. What is None is as it should be."""

    name: bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    packed: bytes | None = None
    local_name: bytes | None = None
    local: dict[str, int] | None = None
    central: dict[str, int] | None = None
    mode: int = 0o100644
    made_by: int = 3
    extra: bytes = b""
    local_extra: bytes = b""
    descriptor: bytes = b""
    before: bytes = b""
    at: int | None = None
    """Where the directory says that it begins."""


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zipped(
    *parts: Part,
    between: bytes = b"",
    end: dict[str, int] | None = None,
    comment: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    out, directory = bytearray(), bytearray()
    for part in parts:
        packed = part.packed if part.packed is not None else part.data if not part.method else deflated(part.data)
        figures = {"crc": zlib.crc32(part.data), "packed": len(packed), "size": len(part.data)}
        out += part.before
        at = len(out)
        own: dict[str, Any] = figures | {"flags": part.flags, "method": part.method} | (part.local or {})
        name = part.name if part.local_name is None else part.local_name
        out += struct.pack(
            "<4sHHHHHIIIHH", b"PK\3\4", 20, own["flags"], own["method"], 0, 33, own["crc"], own["packed"], own["size"],
            len(name), len(part.local_extra),
        )  # fmt: skip
        out += name + part.local_extra + packed + part.descriptor
        listed: dict[str, Any] = (
            figures | {"flags": part.flags, "method": part.method, "disk": 0} | (part.central or {})
        )
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\1\2", part.made_by << 8 | 20, 20, listed["flags"], listed["method"], 0, 33,
            listed["crc"], listed["packed"], listed["size"], len(part.name), len(part.extra), 0, listed["disk"], 0,
            part.mode << 16, at if part.at is None else part.at,
        )  # fmt: skip
        directory += part.name + part.extra
    out += between
    last = {"disk": 0, "first": 0, "here": len(parts), "count": len(parts), "size": len(directory), "start": len(out)}
    last |= end or {}
    out += directory
    out += struct.pack("<4sHHHHIIH", b"PK\5\6", *last.values(), len(comment)) + comment + behind
    return bytes(out)
