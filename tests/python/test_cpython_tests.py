"""CPython's own tests, by the guest in the sandbox: exactly those that are listed fail, for known reasons."""

from pathlib import Path
from typing import Final

import pytest

from tests.python.guest import Python
from tests.python.suites import run_cpython

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "python.md"

MODULES: Final = (
    *("array", "base64", "binascii", "bisect", "codecs", "collections", "configparser", "contextlib", "copy", "csv"),
    *("datetime", "dict", "enum", "exceptions", "float", "fnmatch", "fractions", "functools", "generators", "glob"),
    *("gzip", "hashlib", "heapq", "html", "int", "io", "json", "math", "operator", "random", "re", "set", "string"),
    *("struct", "tempfile", "textwrap", "unicodedata", "urlparse", "xml_etree", "zipfile", "zlib"),
)
FAIL: Final = {
    "io": {"CIOTest.test_large_file_ops", "PyIOTest.test_large_file_ops"},
    "random": {"MersenneTwister_TestBasicOps.test_getrandbits_2G_bits"},
}
"""What does not end well in a module; docs/python.md has the reasons."""


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_cpythons(python: Python, name: str) -> None:
    found = run_cpython(python, name)
    assert set(found["bad"]) == FAIL.get(name, set())
    assert found["ran"] > 2 * found["skipped"], "most of it is tested, and not left out"


def test_what_fails_is_told() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in MODULES:
        assert f"`{name}`" in page, name
    for failing in FAIL.values():
        for test in failing:
            assert f"`{test.rpartition('.')[2]}`" in page, test
