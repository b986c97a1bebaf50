"""What is written about a picture goes along where the other kind has a place for it: comments, resolution, colours."""

import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.guests.damage import XMP, exif
from tests.guests.pictures import chunk, decode, encode, photo, png_chunks

if TYPE_CHECKING:
    from tests.guests.inside import Inside

KINDS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
CICP = chunk(b"cICP", bytes((9, 16, 0, 1)))
GAMA = chunk(b"gAMA", (45455).to_bytes(4, "big"))
CHRM = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
SRGB = chunk(b"sRGB", b"\0")


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """The PNG with more chunks behind its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def made(inside: "Inside", program: str, *arguments: str, data: bytes) -> bytes:
    return inside.run(program, *arguments, stdin=data)[0].expect()


def transcode(inside: "Inside", data: bytes, to: str, *arguments: str) -> Image.Image:
    return decode(made(inside, "transcode", "--to", to, *arguments, data=data))


def texts(comment: str, **more: Any) -> PngInfo:
    info = PngInfo()
    info.add_text("Title", "not the comment")
    info.add_text("Comment", comment, **more)
    return info


@pytest.mark.parametrize("quality", [(), ("--quality", "80")])
def test_a_jpegs_comment_and_resolution_stay(inside: "Inside", quality: tuple[str, ...]) -> None:
    source = encode(photo(64, 48), "JPEG", comment=b"hello", dpi=(300, 150))
    found = transcode(inside, source, "jpeg", *quality)
    assert (found.info["comment"], found.info["dpi"]) == (b"hello", (300, 150))
    stripped = transcode(inside, source, "jpeg", "--strip", *quality)
    assert "comment" not in stripped.info
    assert "dpi" not in stripped.info


def test_several_comments_stay_in_their_order(inside: "Inside") -> None:
    source = encode(photo(64, 48), "JPEG")
    segments = b"".join(b"\xff\xfe" + struct.pack(">H", 2 + len(text)) + text for text in (b"one", b"", b"two"))
    result = made(inside, "transcode", "--to", "jpeg", "--quality", "80", data=source[:2] + segments + source[2:])
    assert 0 < result.index(b"\xff\xfe\0\x05one") < result.index(b"\xff\xfe\0\x05two")
    found = made(inside, "transcode", "--to", "png", data=source[:2] + segments + source[2:])
    assert png_chunks(found)[b"tEXt"] == b"Comment\0oneComment\0two"


@pytest.mark.parametrize(
    ("comment", "kind", "stored"),
    [
        (b"hello", b"tEXt", b"Comment\0hello"),
        (b"caf\xe9", b"tEXt", b"Comment\0caf\xe9"),
        ("café €".encode(), b"iTXt", b"Comment\0\0\0\0\0" + "café €".encode()),
        (b"hello\0\0", b"tEXt", b"Comment\0hello"),
        (b"\xc3", b"tEXt", b"Comment\0\xc3"),
    ],
)
def test_a_jpegs_comment_becomes_a_pngs_and_back(inside: "Inside", comment: bytes, kind: bytes, stored: bytes) -> None:
    source = encode(photo(64, 48), "JPEG", comment=comment)
    result = made(inside, "transcode", "--to", "png", data=source)
    assert png_chunks(result)[kind] == stored
    assert transcode(inside, result, "jpeg").info["comment"] == comment.rstrip(b"\0")
    assert not {b"tEXt", b"iTXt"} & set(png_chunks(made(inside, "transcode", "--to", "png", "--strip", data=source)))


@pytest.mark.parametrize("packed", [False, True])
def test_a_pngs_comment_becomes_a_jpegs(inside: "Inside", packed: bool) -> None:
    source = encode(photo(64, 48), "PNG", pnginfo=texts("hello", zip=packed))
    assert transcode(inside, source, "jpeg").info["comment"] == b"hello"
    assert "comment" not in transcode(inside, source, "jpeg", "--strip").info


def test_a_comment_that_no_jpeg_can_hold_is_refused(inside: "Inside") -> None:
    source = encode(photo(64, 48), "PNG", pnginfo=texts("x" * 65534, zip=True))
    result, _ = inside.run("transcode", "--to", "jpeg", stdin=source)
    assert "comment has 65534 bytes, which is more than a JPEG can hold" in result.refusal("transcode")
    transcode(inside, source, "jpeg", "--strip")


def jfif(picture: Image.Image) -> tuple[object, object]:
    return picture.info["jfif_unit"], picture.info["jfif_density"]


@pytest.mark.parametrize(
    ("unit", "density", "stored"),
    [
        (1, (300, 300), (11811, 11811, 1)),
        (1, (72, 96), (2835, 3780, 1)),
        (2, (118, 59), (11800, 5900, 1)),
        (0, (4, 3), (4, 3, 0)),
        (0, (1, 1), None),
        (1, (65535, 1), (2580118, 39, 1)),
    ],
)
def test_resolution_goes_to_a_png_and_back(
    inside: "Inside", unit: int, density: tuple[int, int], stored: tuple[int, int, int] | None
) -> None:
    source = encode(photo(64, 48), "JPEG")
    at = source.index(b"JFIF") + 7
    source = source[:at] + struct.pack(">BHH", unit, *density) + source[at + 5 :]
    result = made(inside, "transcode", "--to", "png", data=source)
    assert png_chunks(result).get(b"pHYs") == (struct.pack(">IIB", *stored) if stored else None)
    assert jfif(transcode(inside, result, "jpeg")) == (unit, density)
    assert jfif(transcode(inside, source, "jpeg", "--quality", "80")) == (unit, density)


@pytest.mark.parametrize(
    "stored", [(0, 0, 1), (1, 1, 1), (2**31 - 1, 2**31 - 1, 1), (70000, 3, 0), (2**31 - 1, 11811, 1)]
)
def test_a_resolution_that_no_jpeg_has_is_left_out(inside: "Inside", stored: tuple[int, int, int]) -> None:
    data = with_chunks(encode(photo(64, 48), "PNG"), chunk(b"pHYs", struct.pack(">IIB", *stored)))
    assert jfif(transcode(inside, data, "jpeg")) == (0, (1, 1))


def test_resolution_is_turned_with_the_picture(inside: "Inside") -> None:
    for kind in ("JPEG", "PNG"):
        source = encode(photo(64, 40), kind, exif=exif(6), dpi=(300, 150))
        for to in ("jpeg", "png"):
            quality = ("--quality", "80") if to == "jpeg" else ()
            found = transcode(inside, source, to, *quality)
            assert found.size == (40, 64)
            assert tuple(round(value) for value in found.info["dpi"]) == (150, 300)


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("transcode", ("--to", "png")),
        ("transcode", ("--to", "png", "--strip")),
        ("thumbnail", ("--fit", "32x32")),
        ("watermark", ("--text", "insitu")),
    ],
)
def test_what_a_pngs_colours_mean_stays(inside: "Inside", program: str, arguments: tuple[str, ...]) -> None:
    source = with_chunks(encode(photo(64, 48), "PNG", pnginfo=texts("hello")), CICP, GAMA, CHRM, SRGB)
    found = png_chunks(made(inside, program, *arguments, data=source))
    expected = png_chunks(source)
    for kind in (b"cICP", b"gAMA", b"cHRM", b"sRGB"):
        assert found[kind] == expected[kind]
    assert (b"tEXt" in found) is (arguments in (("--to", "png"), ("--text", "insitu")))


def test_a_damaged_cicp_is_left_out(inside: "Inside") -> None:
    for damaged in (CICP[:-1] + b"!", chunk(b"cICP", b"12345")):
        result = made(inside, "transcode", "--to", "png", data=with_chunks(encode(photo(64, 48), "PNG"), damaged))
        assert b"cICP" not in png_chunks(result)


def test_xmp_ends_where_it_ends(inside: "Inside") -> None:
    """What follows it in the file is not taken along."""
    data = encode(photo(64, 48), "WEBP", xmp=XMP + b" " * (len(XMP) % 2))
    data += b"MORE" + struct.pack("<I", 8) + b"and more"
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    found = png_chunks(made(inside, "transcode", "--to", "png", data=data))[b"iTXt"]
    assert found.rstrip(b" ") == b"XML:com.adobe.xmp\0\0\0\0\0" + XMP


def test_a_text_of_each_kind_stays_in_a_png(inside: "Inside") -> None:
    packed = chunk(b"zTXt", b"Notes\0\0" + zlib.compress(b"many words " * 100))
    source = with_chunks(encode(photo(64, 48), "PNG", pnginfo=texts("hello")), packed)
    found = transcode(inside, source, "png")
    assert isinstance(found, Image.Image)
    assert {"Title", "Comment", "Notes"} <= set(found.info)


def test_an_empty_text_is_no_reason_to_refuse(inside: "Inside") -> None:
    info = texts("hello")
    info.add_text("Author", "")
    source = encode(photo(64, 48), "PNG", pnginfo=info)
    for program, arguments in (("transcode", ("--to", "png")), ("watermark", ("--text", "insitu"))):
        found = png_chunks(made(inside, program, *arguments, data=source))
        assert found[b"tEXt"] == b"Title\0not the commentComment\0hello"
