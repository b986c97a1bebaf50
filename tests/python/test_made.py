"""What the built guest holds is the same wherever it was built."""

from tests.python.guest import Python


def test_no_file_tells_where_it_was_built(python: Python) -> None:
    """A traceback through the library has the guest's paths; and the bytes are the same from any cache."""
    compiled = {path: bytes(data) for path, data in python.library.items() if path.endswith(".pyc")}
    assert len(compiled) > 500
    for path, data in compiled.items():
        assert b"/insitu/guests/" not in data, path


def test_every_module_is_compiled(python: Python) -> None:
    names = {path for path in python.library if path.endswith(".py")}
    for path in names:
        folder, _, name = path.rpartition("/")
        assert f"{folder}/__pycache__/{name[:-3]}.cpython-313.pyc" in python.library, path
