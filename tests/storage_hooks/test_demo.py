"""`insitu demo`, as `make demo` runs it: the results are pictures, the figures are there, nothing is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from insitu.cli.demo import shipped_photo

PATIENCE = 60.0


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A real, if plain, JPEG of 1200 by 800 pixels."""
    gradient = Image.linear_gradient("L").resize((1200, 800))
    path = tmp_path / "a photo.jpg"
    Image.merge("RGB", (gradient, gradient.rotate(180), gradient)).save(path, quality=90)
    return path


@pytest.fixture
def environment(short_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Temporary files under `short_path`, compiled programs where the tests of this session keep them."""
    compiled = tmp_path_factory.getbasetemp() / "demo-cache"
    yield {**os.environ, "TMPDIR": str(short_path), "XDG_CACHE_HOME": str(compiled)}
    deadline = time.monotonic() + PATIENCE
    while left := [*short_path.iterdir(), *living_under(short_path)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)


def living_under(root: Path) -> list[int]:
    """Processes whose command line names a path under `root`: the supervisor, Swift's servers, the nodes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.fsencode(root) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "insitu", "demo", *words]


def test_the_demo(photo: Path, environment: Mapping[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = command("--photo", str(photo), "--out", str(out), "--reads", "1", "--text", "tested")
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "photo.jpg").read_bytes() == photo.read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["photo-watermarked.jpg", "photo.jpg"]
    with Image.open(photo) as before, Image.open(out / "photo-watermarked.jpg") as after:
        assert (after.format, after.size) == ("JPEG", (1200, 800))
        changed = ImageChops.difference(before.convert("L"), after.convert("L")).point(lambda v: 255 * (v > 48))
    box = changed.getbbox()
    assert box is not None
    assert box[0] > 300, f"the mark is not in the bottom right corner: {box}"
    assert box[1] > 400, f"the mark is not in the bottom right corner: {box}"

    table = done.stdout
    assert f"{photo.stat().st_size:,}" in table
    assert f"{(out / 'photo-watermarked.jpg').stat().st_size:,}" in table
    assert "object-" in table
    assert "replica" in table
    assert str(out / "photo-watermarked.jpg") in table
    assert "X-Run: watermark --text tested" in done.stderr  # progress


def test_a_photograph_at_hand_is_not_got_again(capfd: pytest.CaptureFixture[str]) -> None:
    first = shipped_photo()
    capfd.readouterr()  # what is said of getting it, where this machine did not have it
    assert shipped_photo() == first
    assert capfd.readouterr() == ("", "")


def test_a_photo_that_is_none_fails_with_the_programs_own_words(environment: Mapping[str, str], tmp_path: Path) -> None:
    fake = tmp_path / "fake.jpg"
    fake.write_bytes(b"\xff\xd8\xff not a photo")
    out = tmp_path / "out"
    done = subprocess.run(
        command("--photo", str(fake), "--out", str(out)), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "422" in done.stderr.splitlines()[-1]
    assert "exit code 2" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["starting", "reading"])
def test_cut(
    photo: Path, environment: Mapping[str, str], tmp_path: Path, number: signal.Signals, code: int, moment: str
) -> None:
    """Broken off while it sets up, or in the middle of its reads; `environment` sees to it that nothing is left."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("--photo", str(photo), "--out", str(out), "--reads", "100"),
        env=environment,
        # A shell that started the tests in the background has told them, and so their children, to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert any(line.startswith(moment) for line in process.stderr), "it never came that far"
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
    assert not out.exists()
