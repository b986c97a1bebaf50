"""Pillow in the guest: the same pictures as natively, and damage that raises in Python."""

import io
import json
import random
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

from insitu.cli.python.interpreter import pillow_version
from insitu.cli.python.project import read
from insitu.cli.python.requirements import installed
from insitu.runtime.errors import ProgramRejected
from tests.python.guest import Python


def picture(kind: str, **options: object) -> bytes:
    made = Image.merge("RGB", [Image.radial_gradient("L").resize((97, 61)).rotate(angle) for angle in (0, 30, 75)])
    out = io.BytesIO()
    made.save(out, kind, **options)
    return out.getvalue()


WORK = """
import io, sys
from PIL import Image, ImageDraw, ImageFilter, ImageOps
picture = Image.open(sys.stdin.buffer)
picture.load()
picture = ImageOps.exif_transpose(picture).convert("RGB")
picture.thumbnail((64, 64), Image.Resampling.LANCZOS)
picture = ImageOps.autocontrast(picture.filter(ImageFilter.GaussianBlur(1)).rotate(10, Image.Resampling.BICUBIC))
ImageDraw.Draw(picture).line((0, 0, 60, 30), fill=(255, 0, 0), width=3)
picture.save(sys.stdout.buffer, KIND, **OPTIONS)
"""


def natively(data: bytes, kind: str, options: dict[str, object]) -> bytes:
    out = io.BytesIO()

    class Streams:
        stdin, stdout = io.TextIOWrapper(io.BytesIO(data)), io.TextIOWrapper(out)

    source = WORK.replace("import io, sys", "import io")
    exec(source, {"sys": Streams, "KIND": kind, "OPTIONS": options})
    return out.getvalue()


@pytest.mark.parametrize("options", [{}, {"quality": 30}, {"quality": 95, "progressive": True}, {"optimize": True}])
def test_a_jpeg_is_byte_for_byte_what_native_pillow_makes(python: Python, options: dict[str, object]) -> None:
    data = picture("JPEG", quality=90)
    source = f"KIND, OPTIONS = 'JPEG', {options!r}\n{WORK}"
    result = python.run("-c", source, stdin=data)
    assert result.outcome.ok, result.errors
    assert result.output == natively(data, "JPEG", options)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16"])
def test_a_png_has_the_same_pixels_both_ways(python: Python, mode: str) -> None:
    before = Image.radial_gradient("L").resize((97, 61)).convert(mode)
    out = io.BytesIO()
    before.save(out, "PNG")
    copy = "import sys; from PIL import Image; Image.open(sys.stdin.buffer).save(sys.stdout.buffer, 'PNG')"
    result = python.run("-c", copy, stdin=out.getvalue())
    assert result.outcome.ok, result.errors
    with Image.open(io.BytesIO(result.output)) as after:
        assert (after.mode, after.size, after.tobytes()) == (before.mode, before.size, before.tobytes())


DAMAGE = """
import collections, io, json, sys
from PIL import Image
data, count = sys.stdin.buffer.read(), collections.Counter()
def attempt(data):
    try:
        Image.open(io.BytesIO(data)).convert("RGB").resize((20, 20)).tobytes()
        count["fine"] += 1
    except Exception as why:
        count[type(why).__name__] += 1
cuts, flips = json.loads(sys.argv[1])
for cut in cuts: attempt(data[:cut])
for at, value in flips: attempt(data[:at] + bytes([value]) + data[at + 1:])
attempt(b""), attempt(b"no picture at all"), attempt(data)
print(json.dumps(count))
"""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "progressive"])
def test_a_damaged_picture_raises_and_never_traps(python: Python, kind: str) -> None:
    data = picture("JPEG", progressive=True) if kind == "progressive" else picture(kind)
    chance = random.Random(kind)
    cuts = [chance.randrange(len(data)) for _ in range(60)]
    flips = [(chance.randrange(len(data)), chance.randrange(256)) for _ in range(200)]
    count = json.loads(python.run("-c", DAMAGE, json.dumps([cuts, flips]), stdin=data).expect())
    assert sum(count.values()) == 263
    assert count["fine"] >= 1
    assert count["UnidentifiedImageError"] >= 2
    assert count["OSError"] + count.get("SyntaxError", 0) > 10


def test_an_uncaught_one_is_told_as_any_exception(python: Python) -> None:
    source = "import sys; from PIL import Image; Image.open(sys.stdin.buffer).load()"
    result = python.run("-c", source, stdin=picture("JPEG")[:700])
    assert result.code == 1
    assert result.errors.splitlines()[-1].startswith("OSError: image file is truncated")


def test_pillow_counts_as_installed(python: Python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pillow_version(python.library) == metadata.version("pillow"), "the version that constraints.txt pins"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "main.py").write_text("")
    (tmp_path / "requirements.txt").write_text("Pillow>=10\n")
    brought = installed(read(tmp_path), python.library)
    assert {path.rpartition("/")[2] for path in brought} == {"METADATA", "WHEEL"}
    (tmp_path / "requirements.txt").write_text("pillow>=1000\n")
    with pytest.raises(ProgramRejected, match="no pure-Python wheel of pillow>=1000"):
        installed(read(tmp_path), python.library)
