"""Pictures for the tests, made here: photo-like ones, and files that Pillow cannot write (deep, interlaced, absurd)."""

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageFilter

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def photo(width: int = 640, height: int = 480) -> Image.Image:
    """Smooth shapes, gradients and some grain, in middling tones; always the same."""
    bands = [
        Image.radial_gradient("L").resize((width, height)),
        Image.linear_gradient("L").resize((width, height)).rotate(180),
        Image.effect_mandelbrot((width, height), (-2, -1.2, 1, 1.2), 30).filter(ImageFilter.GaussianBlur(2)),
    ]
    return Image.merge("RGB", bands).point([60 + value // 2 for value in range(256)] * 3)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes) -> Image.Image:
    """The picture with all its pixels read: Pillow itself refuses truncated ones."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int, color: int, interlaced: bool = False) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def png(width: int, height: int, depth: int, color: int, pixels: bytes, interlaced: bool = False) -> bytes:
    """A PNG of 8 or 16 bits a sample from its raw samples, top row first, without any filter."""
    pixel = CHANNELS[color] * depth // 8
    raw = bytearray()
    for x0, y0, step_x, step_y in ADAM7 if interlaced else ((0, 0, 1, 1),):
        for y in range(y0, height, step_y):
            row = b"".join(pixels[(y * width + x) * pixel :][:pixel] for x in range(x0, width, step_x))
            if row:
                raw += b"\0" + row
    header = png_header(width, height, depth, color, interlaced)
    return header + chunk(b"IDAT", zlib.compress(bytes(raw))) + chunk(b"IEND", b"")


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG by their kind; those of the picture's data joined."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        chunks[kind] = chunks.get(kind, b"") + data[at + 8 : at + 8 + size]
        at += 12 + size
    return chunks


def png_samples(data: bytes) -> tuple[int, int, bytes]:
    """Depth, colour type and raw samples of a PNG that is not interlaced."""
    chunks = png_chunks(data)
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert interlaced == 0
    raw = zlib.decompress(chunks[b"IDAT"])
    pixel = CHANNELS[color] * depth // 8
    stride = width * pixel
    assert len(raw) == height * (stride + 1)
    rows: list[bytearray] = []
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        above = rows[-1] if rows else bytearray(stride)
        for i in range(stride):
            left = row[i - pixel] if i >= pixel else 0
            up_left = above[i - pixel] if i >= pixel else 0
            estimate = left + above[i] - up_left
            nearest = min((left, above[i], up_left), key=lambda value: abs(estimate - value))
            row[i] = (row[i] + (0, left, above[i], (left + above[i]) // 2, nearest)[kind]) & 255
        rows.append(row)
    return depth, color, b"".join(rows)


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG, claiming another size in its frame header."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]
