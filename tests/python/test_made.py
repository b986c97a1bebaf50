"""What the built guest holds is the same wherever it was built."""

from pathlib import Path

from guests.store import Store
from tests.python.guest import Python


def test_no_file_tells_where_it_was_built(python: Python) -> None:
    """A traceback through the library has the guest's paths; and the bytes are the same from any cache."""
    compiled = {path: bytes(data) for path, data in python.library.items() if path.endswith(".pyc")}
    assert len(compiled) > 500
    for path, data in compiled.items():
        assert b"/insitu/guests/" not in data, path


def test_nothing_in_the_bundle_does(python: Python) -> None:
    """Nor its module: a bundle is stored, so its bytes are those of its entries. And users have caches of their own."""
    data = python.path.read_bytes()
    assert b"/lib/python3.13/colorsys.py" in data
    for place in ("/insitu/guests/", str(Store().root), f"{Path.home()}/"):
        assert place == "//" or place.encode() not in data, place


def test_code_knows_its_file_by_the_name_that_it_has_in_the_guest(python: Python) -> None:
    source = "import codeop, linecache, colorsys\n"
    source += "for f in (codeop.compile_command, linecache.getline, colorsys.rgb_to_hls): print(f.__code__.co_filename)"
    paths = [f"/lib/python3.13/{name}.py" for name in ("codeop", "linecache", "colorsys")]
    assert python.run("-c", source).expect().splitlines() == paths


def test_every_module_is_compiled(python: Python) -> None:
    names = {path for path in python.library if path.endswith(".py")}
    for path in names:
        folder, _, name = path.rpartition("/")
        assert f"{folder}/__pycache__/{name[:-3]}.cpython-313.pyc" in python.library, path
