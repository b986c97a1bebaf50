"""A node's latest records, in memory and bounded."""

from collections import OrderedDict
from dataclasses import replace
from typing import Any

from insitu.runtime import wire
from insitu.runtime.errors import BadRequest
from insitu.runtime.record import Record

MAX_ASKED = 10_000
_ANSWER = wire.MAX_FRAME * 3 // 4


class History:
    def __init__(self, most: int) -> None:
        self._most = most
        self._records: OrderedDict[str, Record] = OrderedDict()
        self.served = 0
        """How many there were in all."""

    def add(self, record: Record) -> None:
        self.served += 1
        self._records[record.id] = record
        while len(self._records) > self._most:
            self._records.popitem(last=False)

    def kept(self, id_: str, bundle: str) -> None:
        """There is a bundle of that launch now."""
        record = self._records.get(id_)
        if record is not None:
            self._records[id_] = replace(record, bundle=bundle)

    def one(self, id_: object) -> dict[str, Any] | None:
        """On the wire's terms; None when it is not, or no longer, known."""
        record = self._records.get(id_) if isinstance(id_, str) else None
        return None if record is None else record.to_wire()

    def latest(self, limit: object) -> list[dict[str, Any]]:
        """At most `limit`, newest first, and no more than fit one answer. Raises `BadRequest`."""
        if not isinstance(limit, int) or not 0 < limit <= MAX_ASKED:
            raise BadRequest(f"limit {limit!r} is not a number from 1 to {MAX_ASKED}")
        found: list[dict[str, Any]] = []
        size = 0
        for record in list(reversed(self._records.values()))[:limit]:
            raw = record.to_wire()
            size += len(wire.encode(raw))
            if size > _ANSWER:
                break
            found.append(raw)
        return found
