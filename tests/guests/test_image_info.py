"""image-info: what it tells is what Pillow finds, and what it is fed cannot make it trap or tell malformed JSON."""

import json
import random
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageCms

from insitu.sandbox.limits import MIB
from tests.guests.pictures import chunk, encode, photo, png_header, with_jpeg_size

if TYPE_CHECKING:
    from tests.guests.conftest import Runner
    from tests.guests.inside import Inside

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"


def told(inside: "Inside", data: bytes) -> Mapping[str, Any]:
    result, _ = inside.run("image-info", stdin=data)
    line = result.expect()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def exif(**texts: str) -> Image.Exif:
    words = Image.Exif()
    for tag, text in texts.items():
        words[{"make": 0x010F, "model": 0x0110, "software": 0x0131, "date": 0x0132}[tag]] = text
    return words


def test_of_a_photo(run: "Runner") -> None:
    words = exif(make="Ours", model="One", software="1.0", date="2020:01:02 03:04:05")
    words[0x0112] = 6
    source = encode(photo(640, 480), "JPEG", quality=85, subsampling="4:2:0", exif=words, icc_profile=PROFILE, xmp=XMP)
    assert json.loads(run("image-info", stdin=source).expect()) == {
        "format": "JPEG",
        "width": 640,
        "height": 480,
        "orientation": 6,
        "shown_width": 480,
        "shown_height": 640,
        "bits": 8,
        "channels": 3,
        "color": "YCbCr",
        "alpha": False,
        "compression": "baseline",
        "progressive": False,
        "subsampling": "4:2:0",
        "quality": 85,
        "icc": True,
        "xmp": True,
        "exif": {"make": "Ours", "model": "One", "software": "1.0", "date": "2020:01:02 03:04:05"},
        "frames": 1,
    }


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(inside: "Inside", kind: str, orientation: int) -> None:
    words = Image.Exif()
    words[0x0112] = orientation
    found = told(inside, encode(photo(64, 48), kind, exif=words))
    assert found["orientation"] == orientation
    assert (found["shown_width"], found["shown_height"]) == ((48, 64) if orientation >= 5 else (64, 48))


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_quality_is_told_where_it_is_certain(inside: "Inside", quality: int, mode: str) -> None:
    assert told(inside, encode(photo(32, 32).convert(mode), "JPEG", quality=quality))["quality"] == quality


def test_quality_is_not_guessed(inside: "Inside") -> None:
    tables = {0: [7 + index for index in range(64)], 1: [9] * 64}
    assert "quality" not in told(inside, encode(photo(32, 32), "JPEG", qtables=tables))


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("L", {}, {"channels": 1, "color": "grey"}),
        ("CMYK", {}, {"channels": 4, "color": "CMYK"}),
        ("RGB", {"keep_rgb": True}, {"channels": 3, "color": "RGB", "subsampling": "4:4:4"}),
        ("RGB", {"subsampling": "4:2:2"}, {"subsampling": "4:2:2"}),
        ("RGB", {"progressive": True}, {"progressive": True, "compression": "progressive"}),
    ],
)
def test_kinds_of_jpeg(inside: "Inside", mode: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    found = told(inside, encode(photo(40, 30).convert(mode), "JPEG", **options))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("L", {"channels": 1, "color": "grey", "alpha": False, "bits": 8}),
        ("1", {"channels": 1, "color": "grey", "bits": 1}),
        ("LA", {"channels": 2, "color": "grey", "alpha": True}),
        ("P", {"channels": 1, "color": "palette", "alpha": False}),
        ("RGB", {"channels": 3, "color": "RGB", "interlaced": False}),
        ("RGBA", {"channels": 4, "color": "RGB", "alpha": True}),
        ("I;16", {"channels": 1, "color": "grey", "bits": 16}),
    ],
)
def test_kinds_of_png(inside: "Inside", mode: str, expected: dict[str, Any]) -> None:
    picture = Image.new("I;16", (40, 30)) if mode == "I;16" else photo(40, 30).convert(mode)
    found = told(inside, encode(picture, "PNG", icc_profile=PROFILE))
    assert {name: found[name] for name in expected} == expected
    assert (found["format"], found["width"], found["height"], found["icc"]) == ("PNG", 40, 30, True)
    assert "truncated" not in found


def test_a_transparent_palette_is_alpha(inside: "Inside") -> None:
    assert told(inside, encode(photo(8, 8).quantize(4), "PNG", transparency=1))["alpha"] is True


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_kinds_of_webp(inside: "Inside", lossless: bool, mode: str) -> None:
    picture = photo(41, 30).convert(mode)
    if mode == "RGBA":
        picture.putalpha(100)
    for options in ({}, {"exif": exif(make="Ours"), "icc_profile": PROFILE, "xmp": XMP}):
        found = told(inside, encode(picture, "WEBP", lossless=lossless, **options))
        assert (found["format"], found["width"], found["height"]) == ("WebP", 41, 30)
        assert (found["compression"], found["alpha"]) == ("lossless" if lossless else "lossy", mode == "RGBA")
        assert found["icc"] is found["xmp"] is bool(options)
        assert found.get("exif") == ({"make": "Ours"} if options else None)
        assert found["frames"] == 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations(inside: "Inside", kind: str) -> None:
    frames = [photo(40, 30).rotate(10 * turn) for turn in range(5)]
    found = told(inside, encode(frames[0], kind, save_all=True, append_images=frames[1:], loop=3, duration=50))
    assert (found["frames"], found["loops"], found["width"]) == (5, 3, 40)


def test_what_stands_behind_the_pixels_is_found(inside: "Inside") -> None:
    source = encode(photo(64, 64), "PNG")
    end = source.index(b"IDAT") - 4
    words = exif(make="Ours").tobytes()
    large = source[:end] + chunk(b"IDAT", bytes(20_000_000)) + chunk(b"eXIf", words[6:]) + chunk(b"IEND", b"")
    result, _ = inside.run("image-info", stdin=large, memory=2 * MIB)
    assert json.loads(result.expect())["exif"] == {"make": "Ours"}


def test_of_a_jpeg_no_more_than_its_headers_is_read(inside: "Inside") -> None:
    assert told(inside, encode(photo(64, 48), "JPEG") + bytes(10_000_000))["width"] == 64
    assert inside.outcome is not None
    assert inside.outcome.channels["stdin"].bytes_read < 100_000


@pytest.mark.parametrize("text", ['a"b\\c', "tab\tline\nend", "Zoë 漢字", "\x7f\x01", "x" * 5000, "é" * 1000])
def test_hostile_texts_are_valid_json(inside: "Inside", text: str) -> None:
    words = exif(model="?" * len(text.encode()))
    raw = encode(photo(16, 16), "JPEG", exif=words)
    found = told(inside, raw.replace(b"?" * len(text.encode()), text.encode()))["exif"]["model"]
    assert found == text.rstrip(" \n") or (len(found.encode()) > 250 and text.startswith(found))


@pytest.mark.parametrize("text", [b"\xff\xfe", b"a\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
def test_texts_that_are_not_utf_8(inside: "Inside", text: bytes) -> None:
    raw = encode(photo(16, 16), "JPEG", exif=exif(model="?" * len(text)))
    assert "\ufffd" in told(inside, raw.replace(b"?" * len(text), text))["exif"]["model"]


def test_exif_that_points_at_itself(inside: "Inside") -> None:
    """A directory whose further directory is itself, whose next is itself, and whose texts lie outside."""
    entries = struct.pack("<HHHIIHHIII", 2, 0x8769, 4, 1, 8, 0x0110, 2, 0xFFFFFFFF, 0xFFFFFFF0, 8)
    tiff = b"II*\0" + struct.pack("<I", 8) + entries
    body = b"Exif\0\0" + tiff
    source = encode(photo(16, 16), "JPEG")
    data = source[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + source[2:]
    assert told(inside, data)["exif"] == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the input is empty"),
        (b"GIF89a" + bytes(50), "the input is a GIF file; supported are JPEG, PNG and WebP"),
        (b"\0\0\0\x20ftypavif", "is an AVIF file"),
        (b"II*\0\0\0\0\0", "is a TIFF file"),
        (b"hello, world", "no picture of a supported kind, which are JPEG, PNG and WebP"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "no frame header"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (png_header(0, 5, 8, 2), "0 x 5 pixels"),
        (png_header(1 << 31, 5, 8, 2), "2147483648 x 5 pixels"),
        (png_header(5, 5, 8, 5), "colour type 5"),
        (b"RIFF\0\0\0\0WEBP", "truncated or malformed"),
    ],
)
def test_refusals(inside: "Inside", data: bytes, message: str) -> None:
    result, _ = inside.run("image-info", stdin=data)
    assert message in result.refusal("image-info")


def test_arguments_are_refused(run: "Runner") -> None:
    assert "takes no argument" in run("image-info", "x", stdin=b"").refusal("image-info")
    assert run("image-info", "--help").expect().startswith(b"usage: image-info\n")


def test_an_empty_jpeg(inside: "Inside") -> None:
    result, _ = inside.run("image-info", stdin=with_jpeg_size(encode(photo(16, 16), "JPEG"), 0, 16))
    assert "it is empty" in result.refusal("image-info")


def corpus() -> list[bytes]:
    frames = [photo(24, 16).rotate(10 * turn) for turn in range(3)]
    both: dict[str, Any] = {"exif": exif(make="Ours", model="One"), "icc_profile": PROFILE[:200], "xmp": XMP}
    return [
        encode(photo(24, 16), "JPEG", exif=both["exif"], xmp=XMP),
        encode(photo(24, 16), "PNG", exif=both["exif"]),
        encode(photo(24, 16), "WEBP", **both),
        encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        encode(frames[0], "PNG", save_all=True, append_images=frames[1:]),
    ]


def test_cut_anywhere_it_tells_or_refuses(inside: "Inside") -> None:
    """Every length up to 1 KiB, and some beyond: JSON, or one line and exit code 2."""
    for data in corpus():
        for size in [*range(min(1024, len(data))), *range(1024, len(data), 97)]:
            result, _ = inside.run("image-info", stdin=data[:size])
            if result.code:
                result.refusal("image-info")
            else:
                json.loads(result.expect())


def test_no_damage_makes_it_trap_or_tell_nonsense(inside: "Inside") -> None:
    chance = random.Random("image-info")
    for data in corpus():
        for _ in range(400):
            damaged = bytearray(data)
            for _ in range(chance.choice((1, 3, 30))):
                damaged[chance.randrange(min(len(data), chance.choice((60, 700, 1 << 20))))] = chance.randrange(256)
            result, _ = inside.run("image-info", stdin=bytes(damaged))
            if result.code:
                result.refusal("image-info")
            else:
                json.loads(result.expect())
