"""watermark: where and how the mark appears, and that everything else of the picture stays."""

import io
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat

from tests.guests.coefficients import coefficients
from tests.guests.pictures import decode, encode, photo, png, png_chunks, png_samples

if TYPE_CHECKING:
    from tests.guests.conftest import Runner
    from tests.guests.inside import Inside

Box = tuple[int, int, int, int]
MARK = ("--text", "insitu")


def difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """How much each pixel has changed, the most of its bands."""
    assert before.size == after.size
    assert before.mode == after.mode
    bands = ImageChops.difference(before, after).split()
    most = bands[0]
    for band in bands[1:]:
        most = ImageChops.lighter(most, band)
    return most


def changed(before: Image.Image, after: Image.Image, by: int = 1) -> Box:
    """The box around all pixels that have changed by `by` or more."""
    box = difference(before, after).point([int(value >= by) for value in range(256)]).getbbox()
    assert box is not None, "nothing has changed"
    return box


def assert_in(box: Box, left: float, top: float, right: float, bottom: float) -> None:
    assert left <= box[0] <= box[2] <= right, box
    assert top <= box[1] <= box[3] <= bottom, box


# --- JPEG ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(640, 480), (641, 479)])
def test_jpeg_stays_exactly_as_it_is_outside_the_mark(run: "Runner", subsampling: str, size: tuple[int, int]) -> None:
    source = encode(photo(*size), "JPEG", quality=85, subsampling=subsampling)
    result = run("watermark", *MARK, stdin=source).expect()
    before, after = decode(source), decode(result)
    assert (after.format, after.size, after.mode) == ("JPEG", size, "RGB")
    # 5 % of the shorter side: a line of 24 pixels, 12 from the edges; whole blocks of 16 pixels may change.
    assert_in(changed(before, after), 530, 410, 641, 480)
    assert_in(changed(before, after, by=30), 530, 430, 632, 475)
    assert source[:2] == result[:2]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("mark", ["text", "logo"])
def test_no_coefficient_changes_outside_the_mark(inside: "Inside", subsampling: str, mark: str) -> None:
    """Read from both files: tables and all blocks are equal, but for those that lie under the mark."""
    source = encode(photo(641, 479), "JPEG", quality=85, subsampling=subsampling)
    arguments = ("--logo", "--size", "100") if mark == "logo" else MARK
    logo = encode(Image.new("RGBA", (100, 50), (255, 0, 0, 128)), "PNG")
    result, _ = inside.run("watermark", *arguments, stdin=source, inputs={"logo": logo})
    before, after = coefficients(source), coefficients(result.expect())
    across, down = before[0].across, before[0].down
    for old, new in zip(before, after, strict=True):
        assert (old.across, old.down, old.quantisation) == (new.across, new.down, new.quantisation)
        assert old.blocks.keys() == new.blocks.keys()
        other = [place for place, block in old.blocks.items() if new.blocks[place] != block]
        assert other
        # The mark with its halo lies within 120 x 60 pixels at the lower right, 8 from the edges or more.
        assert min(place[1] for place in other) >= (641 - 132) // (8 * across // old.across)
        assert min(place[0] for place in other) >= (479 - 72) // (8 * down // old.down)


def test_jpeg_of_one_component(run: "Runner") -> None:
    source = encode(photo().convert("L"), "JPEG", quality=85)
    after = decode(run("watermark", *MARK, stdin=source).expect())
    assert after.mode == "L"
    assert_in(changed(decode(source), after), 530, 410, 640, 480)


def test_jpeg_of_inks(run: "Runner") -> None:
    """CMYK: white ink takes all the others away, whichever way the file counts them."""
    source = encode(photo().convert("CMYK"), "JPEG", quality=95)
    result = run("watermark", *MARK, "--opacity", "1", "--size", "60", stdin=source).expect()
    before, after = decode(source), decode(result)
    assert after.mode == "CMYK"
    box = changed(before, after, by=40)
    assert_in(box, 430, 380, 640, 480)
    inks = after.crop(box)
    lightest = min(sum(inks.getpixel((x, y))) for x in range(inks.width) for y in range(inks.height))  # type: ignore[arg-type]
    assert lightest < 30


def test_progressive_jpeg_stays_progressive(run: "Runner") -> None:
    source = encode(photo(), "JPEG", quality=85, progressive=True)
    after = decode(run("watermark", *MARK, stdin=source).expect())
    assert after.info["progressive"]
    assert_in(changed(decode(source), after), 530, 410, 640, 480)


def test_jpeg_with_restarts(run: "Runner") -> None:
    source = encode(photo(), "JPEG", quality=85, restart_marker_rows=2)
    assert b"\xff\xdd" in source
    after = decode(run("watermark", *MARK, stdin=source).expect())
    assert_in(changed(decode(source), after), 530, 410, 640, 480)


def test_jpeg_keeps_what_is_written_about_it(run: "Runner") -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = encode(photo(), "JPEG", exif=exif, icc_profile=profile, comment=b"a comment", dpi=(300, 300))
    after = decode(run("watermark", *MARK, stdin=source).expect())
    assert after.getexif()[0x010F] == "Camera"
    assert after.info["icc_profile"] == profile
    assert after.info["comment"] == b"a comment"
    assert after.info["dpi"] == (300, 300)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_quality_encodes_anew(run: "Runner", subsampling: str) -> None:
    source = encode(photo(), "JPEG", quality=95, subsampling=subsampling)
    result = run("watermark", *MARK, "--quality", "60", stdin=source).expect()
    after, pillows = decode(result), decode(encode(photo(), "JPEG", quality=60, subsampling=subsampling))
    assert after.quantization == pillows.quantization  # type: ignore[attr-defined]
    assert len(result) < len(source) * 0.7
    corner = (0, 0, 400, 300)
    error = ImageStat.Stat(ImageChops.difference(photo().crop(corner), after.crop(corner))).rms
    assert max(error) < 4


def test_quality_of_other_colour_spaces(run: "Runner") -> None:
    for mode in ("L", "CMYK"):
        source = encode(photo().convert(mode), "JPEG", quality=95)
        after = decode(run("watermark", *MARK, "--quality", "50", stdin=source).expect())
        corner = (0, 0, 400, 300)
        error = ImageStat.Stat(ImageChops.difference(decode(source).crop(corner), after.crop(corner))).rms
        assert max(error) < 6, mode


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_mark_is_upright_as_the_picture_is_looked_at(run: "Runner", orientation: int) -> None:
    """However the camera was held, the picture as viewers show it has the mark of an ordinary one."""
    shown = photo(640, 480)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = shown.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else shown
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = encode(shown, "JPEG", quality=97, subsampling="4:4:4")
    turned = encode(stored, "JPEG", quality=97, subsampling="4:4:4", exif=exif)
    expected = decode(run("watermark", *MARK, "--size", "60", stdin=plain).expect())
    result = decode(run("watermark", *MARK, "--size", "60", stdin=turned).expect())
    viewed = ImageOps.exif_transpose(result)
    assert viewed is not None
    assert max(ImageStat.Stat(difference(expected, viewed)).extrema[0]) < 25
    assert_in(changed(shown, viewed, by=40), 430, 380, 640, 480)


# --- What the options do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "box"),
    [
        ("bottom-right", (530, 420, 640, 480)),
        ("bottom-left", (0, 420, 110, 480)),
        ("top-right", (530, 0, 640, 60)),
        ("top-left", (0, 0, 110, 60)),
        ("center", (260, 210, 380, 270)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_position(run: "Runner", kind: str, position: str, box: Box) -> None:
    source = encode(photo(), kind)
    after = decode(run("watermark", *MARK, "--position", position, stdin=source).expect())
    assert after.format == kind
    assert_in(changed(decode(source), after, by=20), *box)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_opacity(run: "Runner", kind: str) -> None:
    source = encode(photo(), kind)
    before = decode(source)
    most = []
    for opacity in ("0", ".25", "0.5", "1"):
        after = decode(run("watermark", *MARK, "--size", "60", "--opacity", opacity, stdin=source).expect())
        most.append(difference(before, after).getextrema()[1])
    assert most[0] == 0
    assert most[0] < most[1] < most[2] < most[3]  # type: ignore[operator]


@pytest.mark.parametrize("color", ["FF0000", "#00ff00", "1020F0"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_color(run: "Runner", kind: str, color: str) -> None:
    source = encode(photo(), kind)
    options = ("--color", color, "--opacity", "1.0", "--size=200")
    after = decode(run("watermark", "--text", "I", "--position", "center", *options, stdin=source).expect())
    wanted = tuple(bytes.fromhex(color.removeprefix("#")))
    found = after.getpixel((320, 240))
    assert isinstance(found, tuple)
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 6


def test_size_and_margin(run: "Runner") -> None:
    source = encode(photo(), "PNG")
    for size, margin in ((20, 0), (40, 50), (80, 100)):
        options = ("--text", "H", "--size", str(size), "--margin", str(margin), "--opacity", "1")
        after = decode(run("watermark", *options, stdin=source).expect())
        left, top, right, bottom = changed(photo(), after, by=90)
        assert abs((640 - right) - margin) <= 3
        assert abs((480 - bottom) - margin) <= 3
        assert abs((bottom - top) - 0.711 * size) <= 3  # the height of Roboto's capitals
        assert left < right


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (64, 64)])
def test_a_text_never_leaves_the_picture(run: "Runner", kind: str, size: tuple[int, int]) -> None:
    """A text that is too long for the picture is drawn smaller; it is not cut off."""
    source = encode(photo(*size), kind)
    options = ("--text", "a rather long line of text", "--size", "1000")
    after = decode(run("watermark", *options, stdin=source).expect())
    assert (after.format, after.size) == (kind, size)


def test_a_long_text_fills_the_width(run: "Runner") -> None:
    text = "Grüße, Ελλάδα, Україна " * 4
    after = decode(run("watermark", "--text", text.strip(), "--size", "90", stdin=encode(photo(), "PNG")).expect())
    left, _, right, _ = changed(photo(), after, by=20)
    assert 20 <= left <= 60
    assert 580 <= right <= 620


def test_the_halo_makes_the_mark_visible_on_its_own_colour(run: "Runner") -> None:
    for color, mark in (("white", "FFFFFF"), ("black", "000000")):
        source = Image.new("RGB", (640, 480), color)
        after = decode(run("watermark", *MARK, "--color", mark, stdin=encode(source, "PNG")).expect())
        _, most = difference(source, after).getextrema()
        assert 25 <= most <= 100, color  # type: ignore[operator]


def test_help(run: "Runner") -> None:
    assert run("watermark", "--help").expect().startswith(b"usage: watermark (--text TEXT | --logo)")


# --- PNG ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "result_mode"),
    [("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("P", "RGB"), ("1", "L"), ("I;16", "I;16")],
)
def test_png_of_every_mode(run: "Runner", mode: str, result_mode: str) -> None:
    source = photo()
    if mode == "I;16":
        picture = Image.frombytes(
            "I;16", source.size, b"".join(bytes([7, value]) for value in source.convert("L").tobytes())
        )
    elif mode == "P":
        picture = source.quantize(64)
    else:
        picture = source.convert(mode)
    file = encode(picture, "PNG")
    after = decode(run("watermark", *MARK, "--size", "60", stdin=file).expect())
    assert after.mode == result_mode
    if mode == "I;16":
        assert after.crop((0, 0, 640, 300)).tobytes() == picture.crop((0, 0, 640, 300)).tobytes()
        assert after.tobytes() != picture.tobytes()
        return
    assert_in(changed(decode(file).convert(result_mode), after), 400, 380, 640, 480)


def test_png_with_transparent_colour_or_palette(run: "Runner") -> None:
    """A transparent colour becomes an alpha channel, and the mark shows where the picture is clear."""
    for picture, options in (
        (photo().quantize(64), {"transparency": bytes([0] * 64)}),
        (Image.new("RGB", (640, 480), (1, 2, 3)), {"transparency": (1, 2, 3)}),
        (Image.new("L", (640, 480), 7), {"transparency": 7}),
    ):
        file = encode(picture, "PNG", **options)
        after = decode(run("watermark", *MARK, "--opacity", "1", "--size", "60", stdin=file).expect())
        assert after.mode in ("RGBA", "LA")
        alpha = after.getchannel("A")
        assert alpha.crop((0, 0, 640, 300)).getextrema() == (0, 0)
        assert alpha.getextrema() == (0, 255)


@pytest.mark.parametrize("color", [0, 2, 4, 6])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_samples_survive_exactly(run: "Runner", depth: int, color: int, interlaced: bool) -> None:
    """Every depth, colour type and order of rows: no bit of the unmarked part changes, alpha and low bytes included."""
    width, height = 83, 61
    pixel = {0: 1, 2: 3, 4: 2, 6: 4}[color] * depth // 8
    pixels = bytes((x * 7 + y * 13 + (x * y) % 31) & 255 for y in range(height) for x in range(width * pixel))
    file = png(width, height, depth, color, pixels, interlaced)
    result = run("watermark", "--text", "x", "--size", "10", stdin=file).expect()
    found_depth, found_color, found = png_samples(result)
    assert (found_depth, found_color) == (depth, color)
    untouched = 35 * width * pixel
    assert found[:untouched] == pixels[:untouched]
    assert found != pixels


def test_png_keeps_what_is_written_about_it(run: "Runner") -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Title", "a title")
    texts.add_itxt("Author", "Zoë", lang="en")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    source = encode(photo(), "PNG", pnginfo=texts, icc_profile=profile, dpi=(300, 300), exif=exif)
    result = run("watermark", *MARK, stdin=source).expect()
    after = decode(result)
    assert isinstance(after.info["dpi"], tuple)
    assert after.info["icc_profile"] == profile
    assert after.text == {"Title": "a title", "Author": "Zoë"}  # type: ignore[attr-defined]
    assert after.getexif()[0x010F] == "Camera"
    assert png_chunks(result)[b"pHYs"] == png_chunks(source)[b"pHYs"] == struct.pack(">IIB", 11811, 11811, 1)


def test_a_large_photo_needs_little_memory(run: "Runner") -> None:
    """12 megapixels each: within 48 MiB as JPEG, which keeps its coefficients, and 48 MiB as PNG, which keeps a row."""
    picture = photo(1000, 750).resize((4000, 3000))
    for kind, memory, options in (("JPEG", "48MiB", {"quality": 90}), ("PNG", "48MiB", {"compress_level": 1})):
        file = encode(picture, kind, **options)
        result = run("watermark", *MARK, stdin=file, options=("--memory", memory, "--wall", "60s")).expect()
        assert decode(result).size == (4000, 3000)


def test_same_input_same_bytes(run: "Runner") -> None:
    source = encode(photo(), "JPEG")
    results: Sequence[bytes] = [run("watermark", *MARK, stdin=source).expect() for _ in range(2)]
    assert results[0] == results[1]
    assert Image.open(io.BytesIO(results[0])).format == "JPEG"
