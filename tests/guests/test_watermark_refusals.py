"""What watermark refuses: always exit code 2, one clear line, and not one byte of output."""

import random
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

import insitu
from insitu.sandbox.channels import EmptySource
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import MIB, Limits
from tests.guests.pictures import chunk, decode, encode, photo, png_header, with_jpeg_size

if TYPE_CHECKING:
    from tests.guests.conftest import Runner as Run
    from tests.guests.inside import Inside

MARK = ("--text", "insitu")
PROGRAMS = Path(insitu.__file__).parent / "programs"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {
        "jpeg": encode(photo(), "JPEG", quality=85),
        "progressive": encode(photo(), "JPEG", quality=85, progressive=True),
        "png": encode(photo(), "PNG"),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--text TEXT or --logo is missing"),
        (("--text",), "--text needs a value"),
        (("--text", ""), "--text is empty"),
        (("--text", "  "), "nothing but white space"),
        (("--text", "a\nb"), "control character U+000A"),
        (("--text", "漢字"), "U+6F22, for which the built-in font has no glyph"),
        (("--text", "x" * 1001), "longer than 1000 characters"),
        ((*MARK, "--size", "0"), "--size 0: must be a whole number from 1 to 10000"),
        ((*MARK, "--size", "1e3"), "--size 1e3: must be"),
        ((*MARK, "--size", "101%"), "--size 101%: must be from 1% to 100%"),
        ((*MARK, "--size", "1234%"), "--size 1234%: must be from 1% to 100%"),
        ((*MARK, "--size", "%"), "--size %: must be from 1% to 100%"),
        ((*MARK, "--logo"), "--text and --logo exclude each other"),
        (("--logo",), "--logo needs an input of that name: --in logo=FILE"),
        ((*MARK, "--size", "99999999999999999999"), "must be a whole number"),
        ((*MARK, "--opacity", "1.5"), "--opacity 1.5: must be a decimal number from 0 to 1"),
        ((*MARK, "--opacity", "."), "must be a decimal number"),
        ((*MARK, "--opacity", "-0.5"), "must be a decimal number"),
        ((*MARK, "--opacity", "nan"), "must be a decimal number"),
        ((*MARK, "--color", "red"), "--color red: must be six hexadecimal digits"),
        ((*MARK, "--color", "FFFFFFF"), "must be six hexadecimal digits"),
        ((*MARK, "--position", "middle"), "--position middle: must be bottom-right"),
        ((*MARK, "--margin", "-1"), "--margin -1: must be"),
        ((*MARK, "--margin", "240"), "--margin 240 leaves no room in a picture of 640 x 480"),
        ((*MARK, "--quality", "101"), "--quality 101: must be"),
        ((*MARK, "--colour", "FFFFFF"), "--colour: no such option"),
        ((*MARK, "picture.jpg"), "picture.jpg: there is no such argument"),
    ],
)
def test_bad_arguments(run: "Run", files: dict[str, bytes], arguments: tuple[str | bytes, ...], message: str) -> None:
    assert message in run("watermark", *arguments, stdin=files["jpeg"]).refusal("watermark")


@pytest.mark.parametrize(
    "text", [b"a\xffb", b"a\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80"]
)
def test_text_that_is_not_utf_8(tmp_path: Path, text: bytes) -> None:
    """The command and the run request take UTF-8 only; the guest does not rely on it."""
    runner = Runner()
    program = runner.compile((PROGRAMS / "watermark.wasm").read_bytes())
    with open(tmp_path / "out", "wb") as out:
        launch = Launch(["watermark"], EmptySource(), out.fileno(), Limits())
        launch.argv = [b"watermark", b"--text", text]
        outcome = runner.run(program, launch)
    assert (outcome.exit_code, outcome.stderr) == (2, b"watermark: --text is not valid UTF-8\n")
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the input is empty"),
        (b"\xff", "no picture of a supported kind, which are JPEG and PNG"),
        (b"hello, world", "no picture of a supported kind, which are JPEG and PNG"),
        (b"GIF89a" + bytes(100), "is a GIF file; supported are JPEG and PNG"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "cannot read the JPEG picture"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot read the PNG picture"),
    ],
)
def test_not_a_picture(run: "Run", data: bytes, message: str) -> None:
    assert message in run("watermark", *MARK, stdin=data).refusal("watermark")


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png"])
def test_truncated_anywhere(inside: "Inside", files: dict[str, bytes], kind: str) -> None:
    whole = files[kind]
    for size in (20, len(whole) // 10, len(whole) // 2, len(whole) - 1000, len(whole) - 10, len(whole) - 1):
        line = inside.run("watermark", *MARK, stdin=whole[:size])[0].refusal("watermark")
        assert "truncated" in line or "cannot read" in line, (size, line)


def test_corrupt_jpeg(run: "Run", files: dict[str, bytes]) -> None:
    """A stretch of the entropy-coded data is no longer what was written: libjpeg would show a half grey picture."""
    whole = files["jpeg"]
    middle = len(whole) // 2
    damaged = whole[:middle] + b"\xff\xd0" * 40 + whole[middle + 80 :]
    assert "cannot read the JPEG picture" in run("watermark", *MARK, stdin=damaged).refusal("watermark")


def test_corrupt_png(run: "Run", files: dict[str, bytes]) -> None:
    """One flipped bit, which the checksum tells."""
    damaged = bytearray(files["png"])
    damaged[len(damaged) // 2] ^= 1
    assert "PNG picture" in run("watermark", *MARK, stdin=bytes(damaged)).refusal("watermark")


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png"])
def test_no_damage_makes_it_trap_or_lie(inside: "Inside", files: dict[str, bytes], kind: str) -> None:
    """Random damage ends in a refusal or, where no decoder could notice it, in a whole picture of the same kind."""
    chance = random.Random(kind)
    for _ in range(60):
        damaged = bytearray(files[kind])
        for _ in range(chance.choice((1, 3, 30))):
            # The headers are a small part of the file, and the one where damage does the strangest things.
            end = chance.choice((700, len(damaged)))
            damaged[chance.randrange(2, end)] = chance.randrange(256)
        result, _ = inside.run("watermark", *MARK, stdin=bytes(damaged))
        if result.code == 0:
            assert decode(result.out).format == ("PNG" if kind == "png" else "JPEG")
        else:
            result.refusal("watermark")


@pytest.mark.parametrize("size", [(16_000, 16_000), (10_001, 10_000)])
@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png"])
def test_absurd_dimensions_are_refused_before_memory_is_taken(
    inside: "Inside", files: dict[str, bytes], kind: str, size: tuple[int, int]
) -> None:
    """A JPEG keeps its coefficients, an interlaced PNG its pixels: far more than the 16 MiB that there are."""
    if kind == "png":
        bomb = png_header(*size, 8, 2, interlaced=True) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    else:
        bomb = with_jpeg_size(files[kind], *size)
    result, _ = inside.run("watermark", *MARK, stdin=bomb, memory=16 * MIB)
    line = result.refusal("watermark")
    assert line.startswith(
        f"the picture is {size[0]} x {size[1]} pixels; with a memory limit of 16 MiB, one of this kind "
    )
    most = float(line.split("at most ")[1].removesuffix(" megapixels"))
    assert 1 < most < 16


@pytest.mark.parametrize("size", [(65_536, 10), (10, 70_000), (2**31 - 1, 2**31 - 1)])
def test_png_with_a_side_that_none_has(inside: "Inside", size: tuple[int, int]) -> None:
    bomb = png_header(*size, 16, 6) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    result, _ = inside.run("watermark", *MARK, stdin=bomb)
    assert result.refusal("watermark") == f"the picture is {size[0]} x {size[1]} pixels; the limit is 65535 a side"


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_empty_picture(run: "Run", files: dict[str, bytes], kind: str) -> None:
    data = with_jpeg_size(files["jpeg"], 0, 10) if kind == "jpeg" else png_header(0, 10, 8, 2)
    run("watermark", *MARK, stdin=data).refusal("watermark")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_memory_that_does_not_suffice(run: "Run", kind: str) -> None:
    data = encode(Image.effect_noise((2000, 1500), 90), kind)
    for memory in ("2MiB", "4MiB", "6MiB"):  # from the input to the result
        line = run("watermark", *MARK, stdin=data, options=("--memory", memory)).refusal("watermark")
        assert "memory" in line, memory


def test_a_chunk_that_would_swell_is_refused(run: "Run") -> None:
    """A colour profile of 200 MB that compresses to a few hundred kilobytes."""
    swollen = b"name\0\0" + zlib.compress(bytes(200_000_000), 9)
    picture = encode(photo(64, 64), "PNG")
    bomb = picture[:33] + chunk(b"iCCP", swollen) + picture[33:]
    run_result = run("watermark", *MARK, stdin=bomb)
    if run_result.code:  # refused; or the profile was left out
        run_result.refusal("watermark")
    else:
        assert len(run_result.out) < 100_000


def test_jpeg_of_twelve_bits(run: "Run", files: dict[str, bytes]) -> None:
    data = bytearray(files["jpeg"])
    at = 2
    while data[at + 1] != 0xC0:
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    data[at + 1], data[at + 4] = 0xC1, 12
    assert "12 bits" in run("watermark", *MARK, stdin=bytes(data)).refusal("watermark")
