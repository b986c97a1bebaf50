"""The CPU of the picture guests on the demo's photograph, against native Pillow's doing the same.

Both turn one file in memory into one file in memory. Ours is the guest's CPU time as its record states it (the program
is compiled already), Pillow's is the CPU time of this thread.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.daemon import running_node, whole_launch
from benchmarks.interleave import Aim, Interleave, Turn
from benchmarks.test_watermark import photo as photo
from insitu.runtime.client import LaunchRequest
from insitu.runtime.errors import Busy


@pytest.fixture(scope="module")
def node(place: Path) -> Iterator[str]:
    with running_node(place) as socket:
        yield socket


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def once_compiled(node: str, request: LaunchRequest, file: int) -> bytes:
    """The output of the first launch, however long the program takes to compile on a busy machine."""
    for _ in range(8):
        try:
            return whole_launch(node, request, file)[0]
        except Busy:
            continue
    return whole_launch(node, request, file)[0]


def compare(
    interleave: Interleave,
    node: str,
    source: Path,
    what: str,
    arguments: tuple[str, ...],
    native: Callable[[bytes], bytes],
    aim: Aim | None = None,
    pairs: int = 6,
) -> None:
    """The guest `arguments[0]` on the file at `source`, and `native` on its bytes."""
    data = source.read_bytes()
    file = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    request = LaunchRequest(arguments[0], args=arguments[1:], tenant="AUTH_bench")
    first = once_compiled(node, request, file)
    expected = native(data)
    with Image.open(io.BytesIO(first)) as ours_made, Image.open(io.BytesIO(expected)) as native_made:
        assert (ours_made.format, ours_made.size) == (native_made.format, native_made.size)

    def ours() -> Turn:
        yield None
        out, _, record = whole_launch(node, request, file)
        yield record.outcome.usage.cpu_us
        assert out == first

    def pillow() -> Turn:
        yield None
        begun = time.thread_time_ns()
        out = native(data)
        yield (time.thread_time_ns() - begun) / 1000
        assert out == expected

    try:
        interleave(f"{what}, CPU / Pillow's", ours, pillow, pairs=pairs, warm_up=1, aim=aim)
    finally:
        os.close(file)


def test_thumbnail_of_the_demo_photo(interleave: Interleave, node: str, photo: Path) -> None:
    """Pillow's own way to do it quickly: its `draft` has the decoder make less of the picture."""

    def native(data: bytes) -> bytes:
        with Image.open(io.BytesIO(data)) as picture:
            picture.draft("RGB", (1024, 1024))
            picture.thumbnail((512, 512), Image.Resampling.LANCZOS)
            return encoded(picture, "JPEG", quality=85)

    arguments = ("thumbnail", "--fit", "512x512")
    compare(interleave, node, photo, "thumbnail 512 of the demo photo", arguments, native, Aim(2), 12)


def test_transcode_to_webp(interleave: Interleave, node: str, photo: Path) -> None:
    def native(data: bytes) -> bytes:
        with Image.open(io.BytesIO(data)) as picture:
            return encoded(picture, "WEBP", quality=80, method=4)

    compare(interleave, node, photo, "the demo photo to WebP", ("transcode", "--to", "webp"), native)


def test_transcode_to_png(interleave: Interleave, node: str, photo: Path) -> None:
    def native(data: bytes) -> bytes:
        with Image.open(io.BytesIO(data)) as picture:
            return encoded(picture, "PNG", compress_level=4)

    compare(interleave, node, photo, "the demo photo to PNG", ("transcode", "--to", "png"), native)


def test_transcode_to_a_jpeg_of_other_quality(interleave: Interleave, node: str, photo: Path) -> None:
    def native(data: bytes) -> bytes:
        with Image.open(io.BytesIO(data)) as picture:
            return encoded(picture, "JPEG", quality=85)

    arguments = ("transcode", "--to", "jpeg", "--quality", "85")
    compare(interleave, node, photo, "the demo photo to JPEG of quality 85", arguments, native)


def test_transcode_from_png(interleave: Interleave, node: str, photo: Path, place: Path) -> None:
    source = place / "photo.png"
    with Image.open(photo) as picture:
        source.write_bytes(encoded(picture, "PNG", compress_level=4))

    def native(data: bytes) -> bytes:
        with Image.open(io.BytesIO(data)) as picture:
            return encoded(picture, "JPEG", quality=85)

    compare(interleave, node, source, "the demo photo as PNG to JPEG", ("transcode", "--to", "jpeg"), native)
