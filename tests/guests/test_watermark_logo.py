"""watermark --logo: where it lies, that it is what it was, that all else stays exactly; and hostile logos."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops, ImageOps

from insitu.sandbox.limits import MIB
from tests.guests.damage import corpus, cut, exif, flipped, with_alpha
from tests.guests.pictures import chunk, decode, encode, photo, png_header, with_jpeg_size

if TYPE_CHECKING:
    from tests.guests.conftest import Runner
    from tests.guests.inside import Inside

RED = Image.new("RGBA", (200, 100), (255, 0, 0, 255))
Box = tuple[int, int, int, int]


def marked(inside: "Inside", source: bytes, logo: Image.Image | bytes, *arguments: str, **options: Any) -> Image.Image:
    data = logo if isinstance(logo, bytes) else encode(logo, "PNG")
    result, _ = inside.run("watermark", "--logo", *arguments, stdin=source, inputs={"logo": data}, **options)
    return decode(result.expect())


def changed(before: Image.Image, after: Image.Image, by: int = 1) -> Box:
    difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    most = difference.getchannel(0)
    for band in difference.split()[1:]:
        most = ImageChops.lighter(most, band)
    box = most.point([int(value >= by) for value in range(256)]).getbbox()
    assert box is not None, "nothing has changed"
    return box


def near(box: Box, expected: Box, by: int) -> bool:
    return all(abs(one - other) <= by for one, other in zip(box, expected, strict=True))


def test_through_the_command(run: "Runner", tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(encode(RED, "PNG"))
    source = encode(photo(), "JPEG", quality=90)
    options = ("--in", f"logo={tmp_path / 'logo.png'}")
    after = decode(run("watermark", "--logo", stdin=source, options=options).expect())
    # A fifth of the width, 2.5 % of the shorter side from the edges; blocks of 16 pixels at most change with it.
    assert near(changed(decode(source), after, by=40), (500, 404, 628, 468), 2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("arguments", "box"),
    [
        (("--position", "top-left"), (12, 12, 140, 76)),
        (("--position", "top-right", "--margin", "0"), (512, 0, 640, 64)),
        (("--position", "bottom-left", "--size", "50"), (12, 443, 62, 468)),
        (("--position", "center", "--size", "50%"), (160, 160, 480, 320)),
        (("--size", "10000", "--margin", "20"), (20, 160, 620, 460)),
    ],
)
def test_place_and_size(inside: "Inside", kind: str, arguments: tuple[str, ...], box: Box) -> None:
    source = encode(photo(), kind, quality=95)
    assert near(changed(decode(source), marked(inside, source, RED, *arguments), by=50), box, 3)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(640, 480), (641, 479)])
def test_a_jpegs_other_blocks_stay_exactly(inside: "Inside", subsampling: str, size: tuple[int, int]) -> None:
    source = encode(photo(*size), "JPEG", quality=85, subsampling=subsampling)
    box = changed(decode(source), marked(inside, source, RED))
    assert box[0] >= size[0] - 12 - 128 - 18
    assert box[1] >= size[1] - 12 - 64 - 18


def test_a_png_gets_the_logo_as_pillow_would_lay_it(inside: "Inside") -> None:
    logo = with_alpha(photo(64, 64).rotate(90))
    for mode in ("RGB", "RGBA", "L"):
        picture = with_alpha(photo()).convert(mode) if mode != "RGBA" else with_alpha(photo())
        after = marked(inside, encode(picture, "PNG"), logo, "--size", "64", "--position", "top-left", "--margin", "7")
        assert after.mode == mode
        if mode == "RGBA":
            expected = picture.copy()
            expected.alpha_composite(logo, (7, 7))
        else:
            expected = picture.convert("RGB")
            expected.paste(logo, (7, 7), logo)
            expected = expected.convert(mode)
        for below in ("black", "white"):
            ground = Image.new("RGBA", after.size, below)
            seen = [Image.alpha_composite(ground, one.convert("RGBA")) for one in (after, expected)]
            most = max(band[1] for band in ImageChops.difference(*seen).getextrema())  # type: ignore[index]
            assert most <= 3, mode
        assert after.crop((80, 0, 640, 480)).tobytes() == picture.crop((80, 0, 640, 480)).tobytes()


@pytest.mark.parametrize(("opacity", "expected"), [("1", (255, 0, 0)), ("0.5", (190, 63, 63)), ("0", None)])
def test_opacity(inside: "Inside", opacity: str, expected: tuple[int, int, int] | None) -> None:
    source = Image.new("RGB", (320, 240), (126, 126, 126))
    for kind in ("PNG", "JPEG"):
        after = marked(inside, encode(source, kind, quality=95), RED, "--opacity", opacity, "--position", "center")
        pixel = after.getpixel((160, 120))
        assert isinstance(pixel, tuple)
        assert all(abs(a - b) <= 3 for a, b in zip(pixel, expected or (126, 126, 126), strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright_as_the_picture_is_shown(inside: "Inside", orientation: int) -> None:
    """On a turned picture, and a turned logo on an upright one."""
    logo = Image.new("RGBA", (60, 40), (255, 0, 0, 255))
    logo.paste((0, 0, 255, 255), (0, 0, 30, 40))
    grey = Image.new("RGB", (300, 200), (120, 120, 120))
    turned_logo = Image.new("RGB", (60, 40))
    turned_logo.paste(logo.convert("RGB"))
    for picture_turned, logo_turned in ((orientation, 1), (1, orientation)):
        data = encode(turned_logo, "PNG", exif=exif(logo_turned))
        source = encode(grey, "JPEG", quality=95, exif=exif(picture_turned))
        after = ImageOps.exif_transpose(marked(inside, source, data, "--size", "60", "--position", "top-left"))
        shown = ImageOps.exif_transpose(decode(data))
        height = 60 * shown.height // shown.width
        shown = shown.resize((60, height))
        for x, y in ((10, 10), (50, 10), (10, height - 8), (50, height - 8)):
            found, expected = after.getpixel((5 + x, 5 + y)), shown.getpixel((x, y))
            assert isinstance(found, tuple)
            assert isinstance(expected, tuple)
            assert all(abs(a - b) < 40 for a, b in zip(found, expected, strict=True)), (x, y)


@pytest.mark.parametrize("name", [name for name in corpus() if not name.startswith("webp")])
def test_all_kinds_of_logos(inside: "Inside", name: str) -> None:
    source = encode(Image.new("RGB", (320, 240), (0, 255, 255)), "PNG")
    after = marked(inside, source, corpus()[name], "--size", "50%")
    assert changed(decode(source), after, by=20)


def test_inks_get_the_logos_colours(inside: "Inside") -> None:
    source = encode(Image.new("CMYK", (320, 240), (100, 60, 40, 20)), "JPEG", quality=95)
    after = marked(inside, source, RED, "--position", "center").convert("RGB").getpixel((160, 120))
    assert isinstance(after, tuple)
    assert all(abs(a - b) <= 6 for a, b in zip(after, (255, 0, 0), strict=True))


@pytest.mark.parametrize(
    ("logo", "message"),
    [
        (b"", "logo: the input is empty"),
        (b"hello", "logo: the input is no picture of a supported kind, which are PNG and JPEG"),
        (corpus()["webp"], "logo: the input is no picture of a supported kind, which are PNG and JPEG"),
        (corpus()["png"][:-5], "logo: the PNG picture is truncated"),
        (corpus()["jpeg"][:-30], "logo: "),
        (b"\xff\xd8\xff" + bytes(17 << 20), "logo: it has more than 16777216 bytes"),
        (
            png_header(16_000, 16_000, 8, 6, interlaced=True) + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
            "logo: the picture is 16000 x 16000 pixels; with",
        ),
        (
            with_jpeg_size(corpus()["jpeg-progressive"], 16_000, 16_000),
            "logo: the picture is 16000 x 16000 pixels; with",
        ),
    ],
)
def test_logos_that_are_refused(inside: "Inside", logo: bytes, message: str) -> None:
    result, _ = inside.run("watermark", "--logo", stdin=encode(photo(64, 64), "PNG"), inputs={"logo": logo})
    assert message in result.err
    assert (result.code, result.out, result.err.count("\n")) == (2, b"", 1)


def test_a_picture_that_is_damaged_is_not_blamed_on_the_logo(inside: "Inside") -> None:
    result, _ = inside.run("watermark", "--logo", stdin=corpus()["png"][:-5], inputs={"logo": encode(RED, "PNG")})
    assert result.refusal("watermark") == "the PNG picture is truncated"


@pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "png-palette", "png-interlaced", "png-alpha"])
def test_no_damage_to_a_logo_makes_it_trap(inside: "Inside", name: str) -> None:
    source = encode(photo(64, 64), "JPEG")
    for data in (*cut(corpus()[name]), *flipped(corpus()[name], "logo" + name, 80)):
        result, _ = inside.run("watermark", "--logo", stdin=source, inputs={"logo": data})
        assert result.code in (0, 2)
        assert bool(result.out) == (result.code == 0)


def test_a_large_photo_with_a_large_logo_needs_little_memory(inside: "Inside") -> None:
    large = photo(1000, 750).resize((4000, 3000))
    logo = encode(photo(2000, 1000), "PNG", compress_level=1)
    for kind in ("JPEG", "PNG"):
        data = encode(large, kind)
        assert marked(inside, data, logo, memory=len(data) + 72 * MIB).size == (4000, 3000)
