"""Python guests: what a launch takes, against a Python that is spawned, and a Pillow script, against native Pillow.

CPU time on both sides. Ours is the guest's, as its record states it: from the making of its sandbox to its end, the
output written. The bundles are made here, as `insitu program build` makes them, and compiled beforehand.
"""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import PIL
from PIL import Image

from benchmarks.interleave import Aim, Interleave, Turn
from insitu.cli.guests import compiled
from insitu.cli.python.build import build
from insitu.cli.python.interpreter import interpreter
from insitu.runtime.bundles.bundle import Bundle
from insitu.sandbox.channels import EmptySource, FileSource
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits

ROOT: Final = Path(__file__).parent.parent
HELLO: Final = 'import PIL.Image\nprint("hello, Pillow", PIL.__version__)\n'
MARK: Final = """
import sys
from PIL import Image
with Image.open(sys.stdin.buffer) as picture:
    mask = Image.radial_gradient("L").resize((800, 300))
    picture.paste((255, 255, 255), (picture.width - 840, picture.height - 340), mask)
    picture.save(sys.stdout.buffer, "JPEG", quality=85)
"""


class Guest:
    """A program on one runner, and the CPU µs of one launch."""

    def __init__(self, bundle: Bundle, place: Path, *words: str) -> None:
        self._runner = Runner()
        self._program = compiled(self._runner, bundle.wasm(), "the benchmark")
        self._files, self._words = Files.held(bundle.files()), [bundle.manifest.name, *words]
        self.out = place / "out"

    def launch(self, stdin: Path | None = None) -> int:
        fd = os.open(self.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        source = None if stdin is None else os.open(stdin, os.O_RDONLY | os.O_CLOEXEC)
        try:
            given = EmptySource() if source is None else FileSource(source)
            outcome = self._runner.run(
                self._program, Launch(self._words, given, fd, Limits(wall=60), files=self._files)
            )
        finally:
            os.close(fd)
            if source is not None:
                os.close(source)
        assert outcome.ok, outcome.stderr
        return outcome.usage.cpu_us


def built(place: Path, name: str, source: str) -> Bundle:
    script = place / f"{name}.py"
    script.write_text(source)
    return build(script)[1]


def spawned() -> Turn:
    yield None
    pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-E", "-c", "pass"], os.environ)
    _, status, usage = os.wait4(pid, 0)
    yield (usage.ru_utime + usage.ru_stime) * 1e6
    assert status == 0


def hello(guest: Guest) -> Callable[[], Turn]:
    def turn() -> Turn:
        yield None
        cpu = guest.launch()
        yield cpu
        assert guest.out.read_text() == f"hello, Pillow {PIL.__version__}\n"

    return turn


def test_hello_of_a_bundle(interleave: Interleave, place: Path) -> None:
    """The script compiled and Pillow imported when the bundle was built."""
    guest = Guest(built(place, "hello", HELLO), place)
    turn = hello(guest)
    interleave(
        "Python hello with Pillow, bundle / python3 -S -E spawned", turn, spawned, pairs=60, warm_up=5, aim=Aim(0.5)
    )


def test_hello_of_a_script(interleave: Interleave, place: Path) -> None:
    """As `insitu run script.py` launches it: the script is compiled in the run."""
    guest = Guest(interpreter("the benchmark")[1], place, "-c", HELLO)
    turn = hello(guest)
    interleave("Python hello with Pillow, -c / python3 -S -E spawned", turn, spawned, pairs=60, warm_up=5, aim=Aim(0.5))


def test_pillow_watermark(interleave: Interleave, place: Path) -> None:
    photo = place / "photo.jpg"
    subprocess.run([sys.executable, ROOT / "guests" / "build.py", "--photo", photo], check=True, timeout=300)
    data = photo.read_bytes()
    guest = Guest(built(place, "mark", MARK), place)
    native: list[bytes] = []

    def ours() -> Turn:
        yield None
        cpu = guest.launch(photo)
        yield cpu

    def pillows() -> Turn:
        yield None
        begun = time.thread_time_ns()
        with Image.open(io.BytesIO(data)) as picture:
            mask = Image.radial_gradient("L").resize((800, 300))
            picture.paste((255, 255, 255), (picture.width - 840, picture.height - 340), mask)
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=85)
        yield (time.thread_time_ns() - begun) / 1000
        native[:] = [out.getvalue()]

    interleave("Pillow watermark script, 12 MP / native Pillow", ours, pillows, pairs=12, warm_up=1, aim=Aim(4.5))
    assert guest.out.read_bytes() == native[0], "not a byte differs"
