"""The CPU of the watermark guest on the demo's photograph, against native Pillow's doing the same.

Both turn one JPEG in memory into one JPEG in memory: decode, a white text of the same size at the same place with the
same opacity, encode with the picture's own quantisation and sampling. Ours is the guest's CPU time as its record states
it (the program is compiled already), Pillow's is the CPU time of this thread.

The guest is quicker than decoding and encoding could be in WebAssembly, because it does neither fully: it blends the
mark into the coefficients of the blocks under it (see guests/README.md). The task is the same, the way is not.
"""

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFont

from benchmarks.daemon import running_node, whole_launch
from benchmarks.interleave import Aim, Interleave, Turn
from insitu.runtime.client import LaunchRequest
from insitu.runtime.record import Record

ROOT: Final = Path(__file__).parent.parent
TEXT: Final = "insitu"
OPACITY: Final = 0.6


@pytest.fixture(scope="module")
def photo(place: Path) -> Path:
    path = place / "photo.jpg"
    subprocess.run([sys.executable, ROOT / "guests" / "build.py", "--photo", path], check=True, timeout=300)
    return path


@pytest.fixture(scope="module")
def node(place: Path) -> Iterator[str]:
    with running_node(place) as socket:
        yield socket


def watermarked(socket: str, file: int, size: int) -> tuple[bytes, Record]:
    """The photograph through the guest, and the record."""
    request = LaunchRequest("watermark", args=("--text", TEXT, "--size", str(size)), tenant="AUTH_bench")
    output, _, record = whole_launch(socket, request, file)
    return output, record


def by_pillow(data: bytes, size: int) -> bytes:
    """The same with Pillow, as sparingly as it can be done: only the text's own rectangle is touched."""
    with Image.open(io.BytesIO(data)) as picture:
        font = ImageFont.load_default(size)
        left, top, right, bottom = font.getbbox(TEXT)
        width, height = int(right - left) + 1, int(bottom - top) + 1
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).text((-left, -top), TEXT, fill=round(255 * OPACITY), font=font)
        margin = size // 2
        at = (picture.width - margin - width, picture.height - margin - height)
        picture.paste((255, 255, 255), (*at, at[0] + width, at[1] + height), mask)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality="keep")
        return out.getvalue()


def check(before: bytes, after: bytes, size: int) -> None:
    """A mark at the lower right, and next to nothing elsewhere."""
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
        assert (new.format, new.size, new.mode) == ("JPEG", old.size, old.mode)
        difference = ImageChops.difference(old, new).convert("L").point([0] * 48 + [255] * 208)
        box = difference.getbbox()
        assert box is not None, "nothing was drawn"
        assert box[0] > old.width - 6 * size, box
        assert box[1] > old.height - 3 * size, box
        assert box[3] - box[1] > size // 2, box


def test_watermark_of_the_demo_photo(interleave: Interleave, node: str, photo: Path) -> None:
    data = photo.read_bytes()
    with Image.open(photo) as picture:
        size = min(picture.size) // 20  # the guest's default
    file = os.open(photo, os.O_RDONLY | os.O_CLOEXEC)
    first, _ = watermarked(node, file, size)
    check(data, first, size)
    native = by_pillow(data, size)
    check(data, native, size)

    def ours() -> Turn:
        yield None
        out, record = watermarked(node, file, size)
        yield record.outcome.usage.cpu_us
        assert out == first

    def pillow() -> Turn:
        yield None
        begun = time.thread_time_ns()
        out = by_pillow(data, size)
        yield (time.thread_time_ns() - begun) / 1000
        assert out == native

    try:
        interleave("watermark of the demo photo, CPU / Pillow's", ours, pillow, pairs=12, warm_up=1, aim=Aim(1.3))
    finally:
        os.close(file)
