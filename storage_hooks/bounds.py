"""What this Swift allows of an object's metadata: its swift.conf's `[swift-constraints]`."""

from typing import Final

from swift.common import constraints

from insitu.storage_hooks.metadata import Bounds

BOUNDS: Final = Bounds(
    name=constraints.MAX_META_NAME_LENGTH,
    value=constraints.MAX_META_VALUE_LENGTH,
    count=constraints.MAX_META_COUNT,
    overall=constraints.MAX_META_OVERALL_SIZE,
)
