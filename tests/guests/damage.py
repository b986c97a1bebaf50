"""Small pictures of all kinds, and what strangers make of them: cut, flipped, lying about their size."""

import random
import warnings
from collections.abc import Iterator
from functools import cache

from PIL import Image, ImageCms

from tests.guests.inside import Inside
from tests.guests.pictures import decode, encode, photo, png

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"


def exif(orientation: int = 1, **texts: str) -> Image.Exif:
    """EXIF with that orientation, and a `make`, `model` or `date`."""
    words = Image.Exif()
    if orientation != 1:
        words[0x0112] = orientation
    for tag, text in texts.items():
        words[{"make": 0x010F, "model": 0x0110, "date": 0x0132}[tag]] = text
    return words


def with_alpha(picture: Image.Image) -> Image.Image:
    """The picture, and an alpha that goes from clear to opaque."""
    picture = picture.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


@cache
def corpus() -> dict[str, bytes]:
    """By name: one of every way in which a picture may be stored."""
    small = photo(40, 24)
    frames = [small.rotate(10 * turn) for turn in range(3)]
    deep = bytes(x // 2 + y * 5 for y in range(24) for x in range(40 * 6))
    return {
        "jpeg": encode(small, "JPEG", exif=exif(6, make="Ours"), icc_profile=PROFILE[:300], xmp=XMP),
        "jpeg-progressive": encode(small, "JPEG", progressive=True, quality=90),
        "jpeg-grey": encode(small.convert("L"), "JPEG"),
        "jpeg-inks": encode(small.convert("CMYK"), "JPEG"),
        "png": encode(small, "PNG", exif=exif(3), icc_profile=PROFILE[:300]),
        "png-palette": encode(small.quantize(9), "PNG", transparency=2),
        "png-interlaced": png(40, 24, 16, 2, deep, interlaced=True),
        "png-deep": png(40, 24, 16, 2, deep),
        "png-alpha": encode(with_alpha(small), "PNG"),
        "webp": encode(small, "WEBP", exif=exif(8), icc_profile=PROFILE[:300], xmp=XMP),
        "webp-lossless": encode(small, "WEBP", lossless=True),
        "webp-alpha": encode(with_alpha(small), "WEBP"),
        "webp-animation": encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
    }


def cut(data: bytes) -> Iterator[bytes]:
    """Its beginnings: each of the first 200 bytes, and of the last 20; between them every 53rd."""
    for size in sorted({*range(200), *range(200, len(data), 53), *range(len(data) - 20, len(data))}):
        if 0 <= size < len(data):
            yield data[:size]


def flipped(data: bytes, seed: str, count: int) -> Iterator[bytes]:
    """Some of its bytes are others: mostly in its headers, where damage does the strangest things."""
    chance = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 3, 30))):
            damaged[chance.randrange(min(len(data), chance.choice((60, 700, 1 << 20))))] = chance.randrange(256)
        yield bytes(damaged)


def assert_survives(inside: Inside, name: str, *arguments: str, data: bytes, whole: bool = False) -> None:
    """It refuses in one line, or makes a whole picture of what it was given (never, when that was not `whole`)."""
    result, _ = inside.run(name, *arguments, stdin=data)
    if result.code:
        result.refusal(name)
    else:
        assert whole, "it took half a picture for a whole one"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's: damaged EXIF was kept as it came
            decode(result.expect())
