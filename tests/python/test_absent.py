"""What a guest has not says so, and what stands in the place of some of it."""

import re
from pathlib import Path

import pytest

from insitu.sandbox.clocks import Frozen
from tests.python.guest import Python

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_an_import_of_it_tells_that_and_where_more_is_said(python: Python) -> None:
    result = python.run("/app/main.py", files=python.with_files(main="import sqlite3\n"))
    assert result.code == 1
    assert result.errors == (
        'Traceback (most recent call last):\n  File "/app/main.py", line 1, in <module>\n    import sqlite3\n'
        "ModuleNotFoundError: No module named 'sqlite3': it is not in insitu's Python "
        "(docs/python.md tells what is not, and what to do instead)\n"
    )


def test_whoever_can_do_without_it_goes_on(python: Python) -> None:
    source = """
import importlib.util, sys
try:
    import ssl
except ImportError as why:
    print(type(why).__name__, why.name)
print(importlib.util.find_spec("ssl"))
try:
    import nobody.knows
except ModuleNotFoundError as why:
    print(why)
class Own:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "sqlite3" else None
    def create_module(self, spec): return None
    def exec_module(self, module): module.here = "its own"
sys.meta_path.append(Own())
import sqlite3
print(sqlite3.here)
"""
    printed = python.run("-c", source).expect().splitlines()
    assert printed == ["ModuleNotFoundError ssl", "None", "No module named 'nobody'", "its own"]


def test_the_page_lists_all_of_it(python: Python) -> None:
    """Each public module of CPython's that cannot be imported is named, once, and no other."""
    source = """
import sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
for name in sorted(sys.stdlib_module_names):
    if not name.startswith("_") and name not in ("this", "antigravity"):
        try: __import__(name)
        except ModuleNotFoundError as why: print(name)
"""
    absent = set(python.run("-c", source).expect().split())
    assert {"ssl", "sqlite3", "ctypes"} <= absent
    _, _, section = PAGE.read_text().partition("\n## What is missing\n")
    rows = re.findall(r"^\| (`.*?) \|", section.partition("\nThese can be imported")[0], re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(absent)


def test_pictures_that_others_map_into_memory(python: Python) -> None:
    source = """
import io, os
from PIL import Image
picture = Image.linear_gradient("L")
for suffix in ("bmp", "ppm", "tif"):
    picture.save(f"/tmp/a.{suffix}")
    print(Image.open(f"/tmp/a.{suffix}").tobytes() == picture.tobytes())
picture.save("/tmp/a.pdf")
stream = io.BytesIO()
picture.convert("RGB").save(stream, "PDF")
print(open("/tmp/a.pdf", "rb").read(5), stream.getvalue()[:5])
import mmap
for length in (0, 10):
    with open("/tmp/empty", "w+b") as file:
        try: mmap.mmap(file.fileno(), length)
        except (OSError, ValueError) as why: print(type(why).__name__, why)
"""
    assert python.run("-c", source).expect().splitlines() == [
        *("True", "True", "True"),
        "b'%PDF-' b'%PDF-'",
        "ValueError cannot mmap an empty file",
        "OSError [Errno 43] a guest cannot map files into memory",
    ]


def test_coroutines_that_wait_for_one_another_and_the_clock(python: Python) -> None:
    source = """
import asyncio, time
async def work(n, queue):
    await asyncio.sleep(n / 1000)
    await queue.put(n)
    return n * n
async def main():
    queue = asyncio.Queue(1)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(n, queue)) for n in (20, 0, 10)]
        print([await queue.get() for _ in tasks])
    print([task.result() for task in tasks])
    try:
        async with asyncio.timeout(0.01): await asyncio.sleep(1000)
    except TimeoutError: print("late")
    return "done"
begun = time.monotonic()
print(asyncio.run(main()), time.monotonic() - begun >= 0.03)
print(asyncio.run(asyncio.sleep(0, 7)))
"""
    printed = ["[0, 10, 20]", "[400, 0, 100]", "late", "done True", "7"]
    for frozen in (None, Frozen()):
        assert python.run("-c", source, frozen=frozen).expect().splitlines() == printed


@pytest.mark.parametrize(
    ("awaited", "why"),
    [
        ("asyncio.Event().wait()", "RuntimeError: all tasks wait for one another"),
        ("asyncio.open_connection('localhost', 80)", "OSError: [Errno 58] a guest has no sockets"),
        ("asyncio.create_subprocess_exec('ls')", "NotImplementedError"),
        ("asyncio.to_thread(print)", "RuntimeError: can't start new thread"),
    ],
)
def test_what_an_event_loop_has_nothing_to_wait_for_with(python: Python, awaited: str, why: str) -> None:
    source = f"import asyncio\nasync def main(): await {awaited}\nasyncio.run(main())"
    result = python.run("-c", source)
    assert result.code == 1
    assert result.errors.splitlines()[-1].startswith(why), result.errors
