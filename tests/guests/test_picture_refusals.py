"""Pictures that thumbnail, transcode and watermark refuse, by name: animations, strange chunks, too many pixels."""

import io
import struct
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.guests.damage import corpus
from tests.guests.pictures import chunk, decode, encode, photo, png_header, with_jpeg_size
from tests.guests.test_picture_kept import with_chunks

if TYPE_CHECKING:
    from tests.guests.inside import Inside

EACH = pytest.mark.parametrize(
    ("program", "arguments"),
    [("thumbnail", ("--fit", "9x9")), ("transcode", ("--to", "png")), ("watermark", ("--text", "insitu"))],
)
MIB = 1 << 20


def animation() -> bytes:
    frames = [photo(40, 24).rotate(10 * turn) for turn in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


@EACH
def test_animations_are_refused(inside: "Inside", program: str, arguments: tuple[str, ...]) -> None:
    result, _ = inside.run(program, *arguments, stdin=animation())
    assert result.refusal(program) == "the PNG picture is an animation, which is not supported"


def test_an_animation_is_no_logo(inside: "Inside") -> None:
    result, _ = inside.run("watermark", "--logo", stdin=encode(photo(64, 48), "PNG"), inputs={"logo": animation()})
    assert (result.code, result.out) == (2, b"")
    assert result.err == "watermark: logo: the PNG picture is an animation, which is not supported\n"


@EACH
def test_a_critical_chunk_is_named(inside: "Inside", program: str, arguments: tuple[str, ...]) -> None:
    """CgBI is what a well-known maker of telephones puts first, and then other pixels than a PNG has."""
    data = encode(photo(64, 48), "PNG")
    data = data[:8] + chunk(b"CgBI", bytes(4)) + data[8:]
    result, _ = inside.run(program, *arguments, stdin=data)
    assert "its chunk CgBI at byte 8 is critical, and not known here" in result.refusal(program)


def texts_of(megabytes: int) -> tuple[bytes, bytes, bytes]:
    long = zlib.compress(b"a" * (megabytes * MIB), 9)
    return (
        chunk(b"zTXt", b"Notes\0\0" + long),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + long),
        chunk(b"iCCP", b"name\0\0" + long),
    )


def test_a_chunk_that_would_swell_is_named_with_its_limit(inside: "Inside") -> None:
    for text, name in zip(texts_of(17), ("zTXt", "iTXt", "iCCP"), strict=True):
        result, _ = inside.run("transcode", "--to", "png", stdin=with_chunks(encode(photo(64, 48), "PNG"), text))
        line = result.refusal("transcode")
        assert line.startswith(f"the PNG picture's chunk {name} at byte 33 is more than is read: 16 MiB unpacked, "), (
            line
        )


def test_what_is_dropped_is_not_read(inside: "Inside") -> None:
    """Texts that would be too large: nobody is refused for them who does not want them."""
    text, xmp, profile = texts_of(17)
    large = chunk(b"tEXt", b"Notes\0" + b"a" * (50 * MIB))
    many = chunk(b"tEXt", b"Notes\0a") * 1500
    logo = encode(photo(64, 48), "PNG")
    for texts in (text, xmp, large, many, chunk(b"prIV", bytes(50 * MIB))):
        data = with_chunks(logo, texts)
        for program, arguments in (("thumbnail", ("--fit", "9x9")), ("transcode", ("--to", "png", "--strip"))):
            result, _ = inside.run(program, *arguments, stdin=data)
            decode(result.expect())
    result, _ = inside.run("watermark", "--logo", stdin=logo, inputs={"logo": with_chunks(logo, text, xmp, many)})
    decode(result.expect())
    result, _ = inside.run("thumbnail", "--fit", "9x9", stdin=with_chunks(logo, profile))
    assert "chunk iCCP at byte 33 is more than is read" in result.refusal("thumbnail")


def test_texts_behind_the_pixels_are_left_out(inside: "Inside") -> None:
    data = encode(photo(64, 48), "PNG")
    for text in texts_of(17)[:2]:
        result, _ = inside.run("transcode", "--to", "png", stdin=data[:-12] + text + data[-12:])
        decode(result.expect())


@EACH
def test_more_pixels_than_the_limit(inside: "Inside", program: str, arguments: tuple[str, ...]) -> None:
    """Row by row they would take little memory, but minutes. Nothing is decoded: here is nothing to decode."""
    png = png_header(16_385, 16_384, 8, 2) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    pictures = {"16385 x 16384": png, "65500 x 65500": with_jpeg_size(corpus()["jpeg-grey"], 65_500, 65_500)}
    for size, data in pictures.items():
        width, height = map(int, size.split(" x "))
        result, _ = inside.run(program, *arguments, stdin=data, fuel=100_000_000)
        assert result.refusal(program) == (
            f"the picture is {size} pixels, {width * height} in all; the limit is 268435456 (--max-pixels)"
        )


@EACH
def test_the_limit_can_be_moved(inside: "Inside", program: str, arguments: tuple[str, ...]) -> None:
    for kind in ("JPEG", "PNG"):
        data = encode(photo(64, 48), kind)
        result, _ = inside.run(program, *arguments, "--max-pixels", "3072", stdin=data)
        decode(result.expect())
        result, _ = inside.run(program, *arguments, "--max-pixels", "3071", stdin=data)
        assert "64 x 48 pixels, 3072 in all; the limit is 3071 (--max-pixels)" in result.refusal(program)
    huge = png_header(16_385, 16_384, 8, 2) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    result, _ = inside.run(program, *arguments, "--max-pixels", "4294836225", stdin=huge)
    assert "truncated" in result.refusal(program)
    result, _ = inside.run(program, *arguments, "--max-pixels", "0", stdin=huge)
    assert "--max-pixels 0: must be a whole number from 1 to 4294836225" in result.refusal(program)


def test_a_webp_is_bound_too(inside: "Inside") -> None:
    for program, arguments in (("thumbnail", ("--fit", "9x9")), ("transcode", ("--to", "png"))):
        result, _ = inside.run(program, *arguments, "--max-pixels", "99", stdin=corpus()["webp-lossless"])
        assert "40 x 24 pixels, 960 in all; the limit is 99 (--max-pixels)" in result.refusal(program)


def test_the_logo_is_bound_too(inside: "Inside") -> None:
    logo = png_header(16_385, 16_384, 8, 2) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    result, _ = inside.run("watermark", "--logo", stdin=encode(photo(64, 48), "PNG"), inputs={"logo": logo})
    assert "watermark: logo: the picture is 16385 x 16384 pixels, 268451840 in all; the limit is" in result.err
    assert (result.code, result.out) == (2, b"")


@EACH
def test_a_chunk_that_lies_about_its_length(inside: "Inside", program: str, arguments: tuple[str, ...]) -> None:
    data = encode(photo(64, 48), "PNG")
    for length in (2**31, 2**32 - 1, 2**32 - 12, len(data)):
        lying = with_chunks(data, struct.pack(">I", length) + b"tEXtNotes\0aCRC!")
        result, _ = inside.run(program, *arguments, stdin=lying)
        assert "truncated" in result.refusal(program)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_type_is_always_told(inside: "Inside", kind: str) -> None:
    """Objects are often stored as application/octet-stream, and whoever has read one knows better."""
    for program, arguments in (
        ("thumbnail", ("--fit", "9x9")),
        ("transcode", ("--to", kind.lower())),
        ("watermark", ("--text", "insitu")),
    ):
        result, outputs = inside.run(program, *arguments, stdin=encode(photo(64, 48), kind), outputs=("meta",))
        assert decode(result.expect()).format == kind
        assert outputs["meta"] == b'{"content_type": "image/%s"}' % kind.lower().encode()
