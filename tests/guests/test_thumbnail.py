"""thumbnail: size, part and colours are Pillow's; it comes out upright; hostile pictures end in one line."""

import math
import struct
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from insitu.sandbox.limits import MIB
from tests.guests.damage import PROFILE, XMP, assert_survives, corpus, cut, exif, flipped, with_alpha
from tests.guests.pictures import chunk, decode, encode, photo, png, png_header, with_jpeg_size

if TYPE_CHECKING:
    from tests.guests.conftest import Runner
    from tests.guests.inside import Inside


def thumbnail(inside: "Inside", data: bytes, *arguments: str, **options: Any) -> Image.Image:
    result, _ = inside.run("thumbnail", *arguments, stdin=data, **options)
    return decode(result.expect())


def likeness(one: Image.Image, other: Image.Image) -> float:
    """PSNR in decibels, of all bands."""
    assert one.size == other.size
    assert one.mode == other.mode
    statistics = ImageStat.Stat(ImageChops.difference(one, other))
    error = sum(statistics.sum2) / sum(statistics.count)
    return 99.0 if error == 0 else 10 * math.log10(255 * 255 / error)


def test_through_the_command(run: "Runner") -> None:
    picture = decode(run("thumbnail", "--fit", "100x100", stdin=encode(photo(), "JPEG")).expect())
    assert (picture.format, picture.size) == ("JPEG", (100, 75))


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (("--fit", "320x320"), (320, 240)),
        (("--fit", "1000x120"), (160, 120)),
        (("--fit", "1x1"), (1, 1)),
        (("--fit", "2000x2000"), (640, 480)),
        (("--fit", "1280x2000", "--enlarge"), (1280, 960)),
        (("--fill", "200x200"), (200, 200)),
        (("--fill", "1000x500"), (640, 320)),
        (("--fill", "1000x500", "--enlarge"), (1000, 500)),
        (("--crop", "10,20,300,200"), (300, 200)),
        (("--crop", "10,20,300,200", "--fit", "150x150"), (150, 100)),
        (("--crop", "10,20,300,200", "--fill", "50x50"), (50, 50)),
        (("--crop=0,0,640,480", "--fit=64x64"), (64, 48)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_sizes(inside: "Inside", kind: str, arguments: tuple[str, ...], size: tuple[int, int]) -> None:
    picture = thumbnail(inside, encode(photo(), kind), *arguments)
    assert (picture.format, picture.size) == (kind, size)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(320, 240), (100, 75), (31, 23)])
def test_it_looks_as_with_pillow(inside: "Inside", kind: str, size: tuple[int, int]) -> None:
    """Against Lanczos of the whole picture: JPEG and WebP are decoded smaller first, which costs a little."""
    data = encode(photo(), kind, quality=90)
    found = thumbnail(inside, data, "--fit", f"{size[0]}x{size[1]}", "--format", "png")
    expected = decode(data).resize(size, Image.Resampling.LANCZOS)
    assert likeness(found, expected) > (55 if kind == "PNG" else 38)


def test_fill_is_the_middle(inside: "Inside") -> None:
    for size in ((200, 200), (300, 60), (50, 400)):
        found = thumbnail(inside, encode(photo(), "PNG"), "--fill", f"{size[0]}x{size[1]}")
        assert likeness(found, ImageOps.fit(photo(), size, Image.Resampling.LANCZOS)) > 38


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_part_at_full_size_is_exact(inside: "Inside", mode: str) -> None:
    picture = with_alpha(photo()).convert(mode)
    found = thumbnail(inside, encode(picture, "PNG"), "--crop", "101,77,200,150")
    expected = picture.crop((101, 77, 301, 227))
    assert found.mode == mode
    if "A" in mode:  # where it is all but clear, what it is the colour of is lost
        assert found.getchannel("A").tobytes() == expected.getchannel("A").tobytes()
        black = Image.new("RGBA", found.size, (0, 0, 0, 255))
        found, expected = (Image.alpha_composite(black, one.convert("RGBA")) for one in (found, expected))
        assert max(band[1] for band in ImageChops.difference(found, expected).convert("RGB").getextrema()) <= 1  # type: ignore[index]
    else:
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_it_comes_out_upright(inside: "Inside", kind: str, orientation: int) -> None:
    data = encode(photo(320, 240), kind, quality=95, exif=exif(orientation))
    upright = ImageOps.exif_transpose(decode(data))
    whole = thumbnail(inside, data, "--fit", "80x80", "--format", "png")
    assert dict(whole.getexif()) == {}
    assert likeness(whole, upright.resize(whole.size, Image.Resampling.LANCZOS)) > 30
    part = thumbnail(inside, data, "--crop", "30,40,100,60", "--format", "png")
    assert likeness(part, upright.crop((30, 40, 130, 100))) > 45


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp"])
def test_the_profile_is_kept_and_nothing_else(inside: "Inside", kind: str, target: str) -> None:
    data = encode(photo(64, 48), kind, exif=exif(make="Ours"), icc_profile=PROFILE, xmp=XMP)
    found = thumbnail(inside, data, "--fit", "32x32", "--format", target)
    assert found.info["icc_profile"] == PROFILE
    assert not {"exif", "xmp", "XML:com.adobe.xmp"} & set(found.info)


def test_other_formats_are_told(inside: "Inside") -> None:
    """Over HTTP the answer has the type of what it is."""
    source = encode(photo(64, 48), "PNG")
    for format, expected in (("webp", b'{"content_type": "image/webp"}'), ("png", b'{"content_type": "image/png"}')):
        result, outputs = inside.run("thumbnail", "--fit", "32x32", "--format", format, stdin=source, outputs=("meta",))
        assert decode(result.expect()).format == format.upper()
        assert outputs["meta"] == expected


@pytest.mark.parametrize("target", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("name", [name for name in corpus() if name != "webp-animation"])
def test_all_kinds_into_all_kinds(inside: "Inside", name: str, target: str) -> None:
    data = corpus()[name]
    found = thumbnail(inside, data, "--fit", "20x20", "--format", target, "--quality", "95")
    before = ImageOps.exif_transpose(decode(data)).convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", before.size, (255, 255, 255, 255)), before)
    found = Image.alpha_composite(Image.new("RGBA", found.size, (255, 255, 255, 255)), found.convert("RGBA"))
    expected = expected.resize(found.size, Image.Resampling.LANCZOS)
    assert likeness(found.convert("RGB"), expected.convert("RGB")) > 24


def test_inks_become_the_colours_that_pillow_makes_of_them(inside: "Inside") -> None:
    data = encode(photo(64, 48).convert("CMYK"), "JPEG", quality=95)
    found = thumbnail(inside, data, "--crop", "0,0,64,48", "--format", "png")
    assert found.tobytes() == decode(data).convert("RGB").tobytes()


def test_colours_of_what_is_clear_do_not_bleed(inside: "Inside") -> None:
    """A red disc on clear green: no pixel of the result is greenish."""
    picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (16, 16, 48, 48))
    found = thumbnail(inside, encode(picture, "PNG"), "--fit", "9x9")
    assert found.getchannel("G").getextrema() == (0, 0)


@pytest.mark.parametrize("color", ["FF8000", "#ff8000"])
def test_background_of_a_jpeg(inside: "Inside", color: str) -> None:
    clear = encode(Image.new("RGBA", (32, 32), (0, 0, 0, 0)), "PNG")
    found = thumbnail(inside, clear, "--fit", "16x16", "--format", "jpeg", "--background", color)
    assert likeness(found, Image.new("RGB", (16, 16), (255, 128, 0))) > 40


def test_memory_is_a_strips_not_the_pictures(inside: "Inside") -> None:
    """12 megapixels within 12 MiB: baseline JPEG, and PNG that is not interlaced."""
    large = photo(1000, 750).resize((4000, 3000))
    for kind, options in (("JPEG", {"quality": 85}), ("PNG", {"compress_level": 1})):
        data = encode(large, kind, **options)
        assert thumbnail(inside, data, "--fit", "512x512", memory=len(data) + 10 * MIB).size == (512, 384)


def test_wide_and_high_ones(inside: "Inside") -> None:
    for kind, most in (("JPEG", 65500), ("PNG", 65535), ("WEBP", 16383)):
        for size, expected in (((most, 1), (100, 1)), ((1, most), (1, 100))):
            data = encode(Image.new("RGB", size, (7, 8, 9)), kind)
            assert thumbnail(inside, data, "--fit", "100x100").size == expected


def test_shapes_that_have_nothing_in_common(inside: "Inside") -> None:
    """One pixel's fraction of a very wide picture, and the other way round."""
    for size, fill in (((65535, 1), "1x65535"), ((1, 65535), "65535x1")):
        data = encode(Image.new("RGB", size, (7, 8, 9)), "PNG")
        assert thumbnail(inside, data, "--fill", fill).size == (1, 1)
        assert thumbnail(inside, data, "--fill", fill, "--enlarge").size == tuple(map(int, fill.split("x")))


def test_a_result_that_is_too_large_is_refused_by_its_own_dimensions(inside: "Inside") -> None:
    result, _ = inside.run("thumbnail", "--fill", "12000x12000", "--enlarge", stdin=encode(photo(40, 30), "PNG"))
    assert "the result would be 12000 x 12000 pixels; with a memory limit of 256 MiB" in result.refusal("thumbnail")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--fit WxH, --fill WxH or --crop X,Y,W,H is missing"),
        (("--fit", "100"), "--fit 100: must be a width and a height from 1 to 65535"),
        (("--fit", "0x5"), "--fit 0x5: must be"),
        (("--fit", "70000x5"), "--fit 70000x5: must be"),
        (("--fit", "5x5x5"), "--fit 5x5x5: must be"),
        (("--fit", "99999999999999999999x5"), "must be a width"),
        (("--fit", "5x5", "--fill", "5x5"), "--fit and --fill exclude each other"),
        (("--crop", "1,2,3"), "--crop 1,2,3: must be X,Y,W,H"),
        (("--crop", "1,2,0,4"), "must be X,Y,W,H"),
        (("--crop", "30,0,20,20"), "--crop reaches beyond the picture, which is 40 x 30 pixels"),
        (("--fit", "5x5", "--format", "gif"), "--format gif: must be jpeg, png or webp"),
        (("--fit", "5x5", "--quality", "0"), "--quality 0: must be a whole number from 1 to 100"),
        (("--fit", "5x5", "--background", "red"), "--background red: must be six hexadecimal digits"),
        (("--fit", "5x5", "--tiny"), "--tiny: no such option"),
        (("5x5",), "5x5: there is no such argument"),
        (("--fill", "20000x20000", "--enlarge", "--format", "webp"), "WebP can have at most 16383 pixels a side"),
    ],
)
def test_bad_arguments(inside: "Inside", arguments: tuple[str, ...], message: str) -> None:
    result, _ = inside.run("thumbnail", *arguments, stdin=encode(photo(40, 30), "JPEG"))
    assert message in result.refusal("thumbnail")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the input is empty"),
        (b"GIF89a" + bytes(100), "the input is a GIF file; supported are JPEG, PNG and WebP"),
        (b"hello", "no picture of a supported kind"),
        (corpus()["webp-animation"], "is an animation, which is not supported"),
        (png_header(70_000, 1, 8, 2) + chunk(b"IEND", b""), "70000 x 1 pixels; the limit is 65535 a side"),
        (with_jpeg_size(corpus()["jpeg"], 0, 10), "cannot read the JPEG picture"),
    ],
)
def test_what_is_no_picture_for_it(inside: "Inside", data: bytes, message: str) -> None:
    result, _ = inside.run("thumbnail", "--fit", "9x9", stdin=data)
    assert message in result.refusal("thumbnail")


def test_bombs_are_refused_by_their_dimensions(inside: "Inside") -> None:
    """Before anything of them is decoded, with what the memory limit would allow."""
    lossless = encode(photo(16, 16), "WEBP", lossless=True)
    at = lossless.index(b"VP8L") + 9
    bits = struct.unpack_from("<I", lossless, at)[0]
    huge = lossless[:at] + struct.pack("<I", bits & ~0x0FFFFFFF | 16382 << 14 | 16382) + lossless[at + 4 :]
    interlaced = png_header(16_000, 16_000, 8, 6, interlaced=True) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    for data, size in (
        (with_jpeg_size(corpus()["jpeg-progressive"], 16_000, 16_000), "16000 x 16000"),
        (interlaced, "16000 x 16000"),
        (huge, "16383 x 16383"),
    ):
        for memory in (16, 256):
            result, _ = inside.run("thumbnail", "--fit", "99x99", stdin=data, memory=memory * MIB)
            line = result.refusal("thumbnail")
            assert line.startswith(f"the picture is {size} pixels; with a memory limit of {memory} MiB, "), line
            assert line.endswith(" megapixels")


def test_what_the_message_promises_is_so(inside: "Inside") -> None:
    """A picture a little below the figure that it told is made."""
    data = encode(photo(100, 100), "JPEG", progressive=True)
    result, _ = inside.run("thumbnail", "--fit", "9x9", stdin=with_jpeg_size(data, 9000, 9000), memory=32 * MIB)
    most = float(result.refusal("thumbnail").split("at most ")[1].split()[0]) * 1e6
    side = int(math.sqrt(most) * 0.95)
    assert side > 1500
    data = encode(Image.new("RGB", (side, side), (9, 9, 9)), "JPEG", progressive=True)
    assert thumbnail(inside, data, "--fit", "9x9", memory=32 * MIB).size == (9, 9)


def test_a_thousand_scans_are_refused(inside: "Inside") -> None:
    """A progressive picture repeats its last scan: each is tiny in the file and goes over all of the picture."""
    data = encode(photo(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * 1000 + b"\xff\xd9"
    result, _ = inside.run("thumbnail", "--fit", "9x9", stdin=bomb)
    result.refusal("thumbnail")


@pytest.mark.parametrize("name", list(corpus()))
def test_cut_anywhere_it_is_refused(inside: "Inside", name: str) -> None:
    for data in cut(corpus()[name]):
        assert_survives(inside, "thumbnail", "--fit", "9x9", data=data)


@pytest.mark.parametrize("name", list(corpus()))
def test_no_damage_makes_it_trap(inside: "Inside", name: str) -> None:
    for data in flipped(corpus()[name], name, 120):
        assert_survives(inside, "thumbnail", "--fit", "9x9", data=data, whole=True)


@pytest.mark.parametrize("memory", [2, 3, 4, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_memory_that_does_not_suffice(inside: "Inside", kind: str, memory: int) -> None:
    data = encode(Image.effect_noise((2000, 1500), 90), kind)
    result, _ = inside.run("thumbnail", "--fit", "999x999", stdin=data, memory=memory * MIB)
    if result.code:
        assert "memory" in result.refusal("thumbnail")


def test_deep_samples_lose_their_low_byte(inside: "Inside") -> None:
    pixels = bytes((x * 31 + y * 17) & 255 for y in range(20) for x in range(30 * 6))
    found = thumbnail(inside, png(30, 20, 16, 2, pixels), "--crop", "0,0,30,20")
    assert found.tobytes() == pixels[::2]
