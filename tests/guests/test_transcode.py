"""transcode: pixels are exactly those that the decoders give, metadata stays, and hostile pictures end in one line."""

import io
import math
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from insitu.sandbox.limits import MIB
from tests.guests.damage import PROFILE, XMP, assert_survives, corpus, cut, exif, flipped, with_alpha
from tests.guests.pictures import chunk, decode, encode, photo, png, png_chunks, png_header, png_samples, with_jpeg_size

if TYPE_CHECKING:
    from tests.guests.conftest import Runner
    from tests.guests.inside import Inside

KINDS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def transcode(inside: "Inside", data: bytes, to: str, *arguments: str, **options: Any) -> Image.Image:
    result, _ = inside.run("transcode", "--to", to, *arguments, stdin=data, **options)
    picture = decode(result.expect())
    assert picture.format == KINDS[to]
    return picture


def likeness(one: Image.Image, other: Image.Image) -> float:
    statistics = ImageStat.Stat(ImageChops.difference(one, other))
    error = sum(statistics.sum2) / sum(statistics.count)
    return 99.0 if error == 0 else 10 * math.log10(255 * 255 / error)


def test_through_the_command(run: "Runner") -> None:
    source = encode(photo(), "JPEG")
    assert decode(run("transcode", "--to", "png", stdin=source).expect()).tobytes() == decode(source).tobytes()


# --- Pixels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["png", "webp"])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"subsampling": "4:2:2"}),
        ("RGB", {"subsampling": "4:2:0"}),
        ("RGB", {"progressive": True, "quality": 95}),
        ("RGB", {"keep_rgb": True}),
        ("CMYK", {"quality": 90}),
    ],
)
def test_a_jpeg_is_decoded_as_natively(inside: "Inside", mode: str, options: dict[str, Any], to: str) -> None:
    """Byte for byte what native libjpeg-turbo gives."""
    source = encode(photo(333, 217).convert(mode), "JPEG", **options)
    found = transcode(inside, source, to, *(("--lossless",) if to == "webp" else ()))
    expected = decode(source).convert("L" if mode == "L" and to == "png" else "RGB")
    assert found.mode == expected.mode
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [(), ("--progressive",)])
def test_a_jpeg_is_encoded_as_natively(inside: "Inside", mode: str, options: tuple[str, ...]) -> None:
    picture = photo(333, 217).convert(mode)
    result, _ = inside.run("transcode", "--to", "jpeg", "--quality", "80", *options, stdin=encode(picture, "PNG"))
    expected = encode(picture, "JPEG", quality=80, progressive=bool(options), subsampling="4:2:0")
    assert decode(result.expect()).tobytes() == decode(expected).tobytes()
    assert len(result.out) == len(expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_and_lossless_webp_lose_nothing(inside: "Inside", mode: str) -> None:
    picture = photo(120, 77).quantize(50) if mode == "P" else with_alpha(photo(120, 77)).convert(mode)
    source = encode(picture, "PNG")
    kept = transcode(inside, source, "png")
    assert kept.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()
    webp = transcode(inside, source, "webp", "--lossless")
    assert webp.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()
    back = transcode(inside, encode(webp, "WEBP", lossless=True, exact=True), "png")
    assert back.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()


@pytest.mark.parametrize("color", [0, 2, 4, 6])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_keeps_every_bit(inside: "Inside", depth: int, color: int, interlaced: bool) -> None:
    width, height = 83, 61
    pixel = {0: 1, 2: 3, 4: 2, 6: 4}[color] * depth // 8
    pixels = bytes((x * 7 + y * 13 + (x * y) % 31) & 255 for y in range(height) for x in range(width * pixel))
    result, _ = inside.run("transcode", "--to", "png", stdin=png(width, height, depth, color, pixels, interlaced))
    assert png_samples(result.expect()) == (depth, color, pixels)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_lossy_webp_looks_as_with_pillow(inside: "Inside", alpha: bool) -> None:
    picture = with_alpha(photo(333, 217)) if alpha else photo(333, 217)
    source = encode(picture, "PNG")
    found = transcode(inside, source, "webp", "--quality", "75")
    expected = decode(encode(picture, "WEBP", quality=75, method=4))
    assert found.mode == expected.mode
    assert likeness(found, picture) > likeness(expected, picture) - 0.5


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_webp_is_decoded_as_natively(inside: "Inside", lossless: bool, alpha: bool) -> None:
    picture = with_alpha(photo(123, 97)) if alpha else photo(123, 97)
    source = encode(picture, "WEBP", lossless=lossless)
    assert transcode(inside, source, "png").tobytes() == decode(source).tobytes()


@pytest.mark.parametrize("background", ["FFFFFF", "000000", "00FF80"])
def test_alpha_becomes_the_background_in_a_jpeg(inside: "Inside", background: str) -> None:
    for mode in ("RGBA", "LA"):
        picture = with_alpha(photo(96, 64)).convert(mode)
        found = transcode(inside, encode(picture, "PNG"), "jpeg", "--background", background, "--quality", "95")
        below = Image.new("RGBA", picture.size, f"#{background}")
        expected = Image.alpha_composite(below, picture.convert("RGBA")).convert("RGB")
        assert likeness(found.convert("RGB"), expected) > 33


# --- A JPEG that loses nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_becomes_a_jpeg_without_loss(inside: "Inside", subsampling: str, progressive: bool) -> None:
    """Quantisation tables, sampling and all pixels stay, whichever way the coefficients are coded."""
    for before in (False, True):
        source = encode(photo(333, 217), "JPEG", quality=83, subsampling=subsampling, progressive=before)
        found = transcode(inside, source, "jpeg", *(("--progressive",) if progressive else ()))
        assert found.tobytes() == decode(source).tobytes()
        assert found.quantization == decode(source).quantization  # type: ignore[attr-defined]
        assert bool(found.info.get("progressive")) is progressive


def test_inks_stay_inks_without_loss(inside: "Inside") -> None:
    source = encode(photo(120, 90).convert("CMYK"), "JPEG", quality=90)
    found = transcode(inside, source, "jpeg", "--progressive")
    assert found.mode == "CMYK"
    assert found.tobytes() == decode(source).tobytes()


def test_all_segments_stay_without_loss(inside: "Inside") -> None:
    source = encode(photo(64, 48), "JPEG", exif=exif(6, make="Ours"), icc_profile=PROFILE, xmp=XMP, comment=b"hello")
    found = transcode(inside, source, "jpeg", "--progressive")
    assert found.info["exif"] == decode(source).info["exif"]
    assert found.info["icc_profile"] == PROFILE
    assert found.info["xmp"] == XMP
    assert found.info["comment"] == b"hello"


@pytest.mark.parametrize("orientation", [1, 6])
def test_stripped_without_loss_it_is_still_shown_upright(inside: "Inside", orientation: int) -> None:
    source = encode(photo(64, 48), "JPEG", exif=exif(orientation, make="Ours"), icc_profile=PROFILE, xmp=XMP)
    found = transcode(inside, source, "jpeg", "--strip")
    assert dict(found.getexif()) == ({} if orientation == 1 else {0x0112: orientation})
    assert found.info["icc_profile"] == PROFILE
    assert "xmp" not in found.info


# --- What is written about a picture ------------------------------------------------------------------------------


def about(picture: Image.Image) -> tuple[object, object, object]:
    words = dict(picture.getexif())
    words.pop(0x0112, None)
    xmp = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    return words, picture.info.get("icc_profile"), xmp.encode() if isinstance(xmp, str) else xmp


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("to", list(KINDS))
def test_metadata_is_kept_or_left_out(inside: "Inside", kind: str, to: str) -> None:
    words = exif(make="Ours", model="One")
    options: dict[str, Any] = {"exif": words, "icc_profile": PROFILE, "xmp": XMP}
    if kind == "png":
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"exif": words, "icc_profile": PROFILE, "pnginfo": texts}
    source = encode(photo(64, 48), KINDS[kind], **options)
    for quality in ((),) if to == "png" else ((), ("--quality", "90")):
        kept = transcode(inside, source, to, *quality)
        assert about(kept) == ({0x010F: "Ours", 0x0110: "One"}, PROFILE, XMP)
        assert about(transcode(inside, source, to, "--strip", *quality)) == ({}, PROFILE, None)


@pytest.mark.parametrize("to", list(KINDS))
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_shown_as_before(inside: "Inside", kind: str, to: str, orientation: int) -> None:
    source = encode(photo(64, 40), KINDS[kind], exif=exif(orientation, make="Ours"), quality=95)
    expected = ImageOps.exif_transpose(decode(source))
    for options in ((), ("--strip",)):
        found = transcode(inside, source, to, *options)
        assert likeness(ImageOps.exif_transpose(found), expected) > 30
        if (kind, to) != ("jpeg", "jpeg"):
            assert found.size == expected.size
            assert found.getexif().get(0x0112, 1) == 1
            assert found.getexif().get(0x010F) == (None if options else "Ours")


def test_xmp_says_no_other_orientation(inside: "Inside") -> None:
    xmp = b'<x:xmpmeta tiff:Orientation="6"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
    source = encode(photo(64, 40), "JPEG", exif=exif(6), xmp=xmp)
    assert transcode(inside, source, "webp").info["xmp"] == xmp.replace(b"6", b"1")


def test_what_only_a_png_has_stays_in_a_png(inside: "Inside") -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Title", "a title")
    source = encode(photo(64, 48), "PNG", pnginfo=texts, dpi=(300, 300))
    source = source[:33] + chunk(b"gAMA", (45455).to_bytes(4, "big")) + source[33:]
    kept, _ = inside.run("transcode", "--to", "png", stdin=source)
    stripped, _ = inside.run("transcode", "--to", "png", "--strip", stdin=source)
    assert {b"tEXt", b"pHYs", b"gAMA"} <= set(png_chunks(kept.expect()))
    assert {b"tEXt", b"pHYs", b"gAMA"} & set(png_chunks(stripped.expect())) == {b"gAMA"}


def test_a_profile_of_other_colours_is_left_out(inside: "Inside") -> None:
    """A grey profile in an RGB picture would be an error of ours."""
    grey = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    source = encode(photo(64, 48).convert("L"), "JPEG", icc_profile=grey)
    assert transcode(inside, source, "png").info["icc_profile"] == grey
    assert "icc_profile" not in transcode(inside, source, "webp").info


def test_what_does_not_fit_into_a_jpeg_is_refused(inside: "Inside") -> None:
    source = encode(photo(64, 48), "WEBP", xmp=b"x" * 70_000)
    result, _ = inside.run("transcode", "--to", "jpeg", stdin=source)
    assert "XMP has 70000 bytes, which is more than a JPEG can hold" in result.refusal("transcode")
    transcode(inside, source, "jpeg", "--strip")


def test_the_result_says_what_it_is(inside: "Inside") -> None:
    source = encode(photo(64, 48), "PNG")
    for to, expected in (
        ("webp", b'{"content_type": "image/webp"}'),
        ("jpeg", b'{"content_type": "image/jpeg"}'),
        ("png", b'{"content_type": "image/png"}'),
    ):
        _, outputs = inside.run("transcode", "--to", to, stdin=source, outputs=("meta",))
        assert outputs["meta"] == expected


# --- Memory, and what strangers bring -----------------------------------------------------------------------------


def test_memory_is_a_strips_where_it_can_be(inside: "Inside") -> None:
    large = photo(1000, 750).resize((4000, 3000))
    jpeg, webp = encode(large, "JPEG"), encode(photo(2000, 1500), "PNG", compress_level=1)
    result, _ = inside.run("transcode", "--to", "png", "--method", "1", stdin=jpeg, memory=64 * MIB)
    assert len(result.expect()) + len(jpeg) + 6 * MIB > (inside.outcome.usage.memory_peak if inside.outcome else 0)
    transcode(inside, result.out, "jpeg", memory=len(result.out) + 8 * MIB)
    assert transcode(inside, webp, "webp", "--method", "0", memory=len(webp) + 14 * MIB).size == (2000, 1500)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--to KIND is missing"),
        (("--to", "gif"), "--to gif: must be jpeg, png or webp"),
        (("--to", "jpeg", "--method", "4"), "--method does not go with --to jpeg"),
        (("--to", "webp", "--method", "7"), "--method of a WebP is 0 to 6"),
        (("--to", "png", "--method", "0"), "--method of a PNG is 1 to 9"),
        (("--to", "png", "--progressive"), "--progressive goes with --to jpeg only"),
        (("--to", "jpeg", "--lossless"), "--lossless does not go with --to jpeg"),
        (("--to", "jpeg", "--quality", "101"), "--quality 101: must be a whole number from 1 to 100"),
        (("--to", "jpeg", "--background", "12345"), "--background 12345: must be six hexadecimal digits"),
        (("--to", "png", "--quality", "5"), "--quality does not go with --to png"),
        (("--to", "png", "--strip", "--keep"), "--strip and --keep exclude each other"),
        (("--to", "jpeg", "x"), "x: there is no such argument"),
    ],
)
def test_bad_arguments(inside: "Inside", arguments: tuple[str, ...], message: str) -> None:
    result, _ = inside.run("transcode", *arguments, stdin=encode(photo(40, 30), "JPEG"))
    assert message in result.refusal("transcode")


def test_bombs_are_refused_by_their_dimensions(inside: "Inside") -> None:
    interlaced = png_header(16_000, 16_000, 8, 6, interlaced=True) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    plain = png_header(16_000, 16_000, 8, 6) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    progressive = with_jpeg_size(corpus()["jpeg-progressive"], 16_000, 16_000)
    for data, to, size in (
        (interlaced, "png", "16000 x 16000"),
        (plain, "webp", "16000 x 16000"),
        (progressive, "png", "16000 x 16000"),
        (progressive, "jpeg", "16000 x 16000"),
        (with_jpeg_size(corpus()["jpeg"], 16_000, 16_000), "png", "16000 x 16000"),  # it is turned
    ):
        result, _ = inside.run("transcode", "--to", to, stdin=data)
        assert f"the picture is {size} pixels; with a memory limit of 256 MiB, " in result.refusal("transcode")


def test_wider_than_a_webp_can_be(inside: "Inside") -> None:
    result, _ = inside.run("transcode", "--to", "webp", stdin=encode(Image.new("L", (16384, 2)), "PNG"))
    assert "can have at most 16383 pixels a side; this picture has 16384 x 2" in result.refusal("transcode")


@pytest.mark.parametrize("to", list(KINDS))
@pytest.mark.parametrize("name", list(corpus()))
def test_cut_anywhere_it_is_refused(inside: "Inside", name: str, to: str) -> None:
    for data in cut(corpus()[name]):
        assert_survives(inside, "transcode", "--to", to, data=data)


@pytest.mark.parametrize("to", list(KINDS))
@pytest.mark.parametrize("name", list(corpus()))
def test_no_damage_makes_it_trap(inside: "Inside", name: str, to: str) -> None:
    for data in flipped(corpus()[name], name + to, 60):
        assert_survives(inside, "transcode", "--to", to, data=data, whole=True)


@pytest.mark.parametrize("memory", [2, 3, 5, 8, 12])
@pytest.mark.parametrize("arguments", [("png",), ("webp",), ("webp", "--lossless"), ("jpeg", "--quality", "90")])
def test_memory_that_does_not_suffice(inside: "Inside", arguments: tuple[str, ...], memory: int) -> None:
    data = encode(Image.effect_noise((1000, 750), 90), "JPEG")
    result, _ = inside.run("transcode", "--to", *arguments, stdin=data, memory=memory * MIB)
    if result.code:
        assert "memory" in result.refusal("transcode")
    else:
        Image.open(io.BytesIO(result.expect())).load()
