"""What is known of a derived object beside its bytes: a header of the stored object, and a line of the listing.

The whole of it is one value, JSON in URL-safe base64 without padding: `X-Object-Sysmeta-Insitu-Derived`, which no
client can write or see. Swift's container listings show a type for each object; ours is `application/x-insitu-derived`
with the same value as its parameter, so that one listing tells the owner everything and no object has to be asked.

The object's own metadata (X-Object-Meta-*) are those that the program wrote. The owner's belong to the source, and may
be changed there without its bytes: a hit shows them as they are then. So it is with the type of a program that hands on
its input's.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from insitu.storage_hooks import inside
from insitu.storage_hooks.inside import Headers

SYSMETA: Final = "X-Object-Sysmeta-Insitu-Derived"
LISTED: Final = "X-Backend-Container-Update-Override-Content-Type"
META: Final = "X-Object-Meta-"
_TYPE: Final = "application/x-insitu-derived"
_ARGS_MAX: Final = 1024
"""Characters of the arguments that are told: Swift's metadata must fit an xattr of ext4. (The key has all of them.)"""


@dataclass(frozen=True, slots=True)
class About:
    """Of one result."""

    source_etag: str
    program: str
    """As it was asked for."""
    digest: str
    args: str = ""
    """The words behind the program, as in `X-Run`; cut to 1,024 characters."""
    content_type: str = "application/octet-stream"
    of_source: bool = False
    """The type is the source's: a program that hands on what it was given."""
    status: int = 200
    """What the program wants answered."""
    made: int = 0
    """Unix time."""
    expires: int = 0
    """Unix time from which Swift serves it no more."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the program says of it: names without X-Object-Meta-, values as headers have them. Not in the one value."""

    def headers(self) -> Headers:
        """What is stored with the bytes."""
        value = self._value()
        return [
            ("Content-Type", self.content_type),
            ("X-Delete-At", str(self.expires)),
            (SYSMETA, value),
            (LISTED, f"{_TYPE};about={value}"),
            *((META + name, text) for name, text in self.metadata.items()),
        ]

    @classmethod
    def of_headers(cls, headers: Headers) -> Self | None:
        """From those of a stored object; None when it is none of ours."""
        metadata = {k[len(META) :]: v for k, v in headers if k.lower().startswith(META.lower())}
        return cls._of(inside.find(headers, SYSMETA), inside.find(headers, "Content-Type") or "", metadata)

    @classmethod
    def of_listing(cls, content_type: str) -> Self | None:
        """From the type that a container listing shows. The result's own type and metadata are not told there."""
        kind, _, value = content_type.partition(";about=")
        return cls._of(value, "", {}) if kind == _TYPE else None

    def _value(self) -> str:
        facts = {
            "source": self.source_etag,
            "program": self.program,
            "digest": self.digest,
            "args": self.args[:_ARGS_MAX],
            "of_source": self.of_source,
            "status": self.status,
            "made": self.made,
            "expires": self.expires,
        }
        return base64.urlsafe_b64encode(json.dumps(facts, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def _of(cls, value: str | None, content_type: str, metadata: Mapping[str, str]) -> Self | None:
        try:
            facts: dict[str, Any] = json.loads(base64.urlsafe_b64decode((value or "") + "=="))
            return cls(
                source_etag=str(facts["source"]),
                program=str(facts["program"]),
                digest=str(facts["digest"]),
                args=str(facts["args"]),
                content_type=content_type,
                of_source=bool(facts["of_source"]),
                status=int(facts["status"]),
                made=int(facts["made"]),
                expires=int(facts["expires"]),
                metadata=metadata,
            )
        except (ValueError, TypeError, KeyError, binascii.Error):
            return None
