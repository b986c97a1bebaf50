"""Pillow's own tests of its formats, by the guest in the sandbox: none fails."""

import pytest

from tests.python.guest import Python
from tests.python.suites import run_pillow

FEWEST = {"file_jpeg": 90, "file_png": 55, "file_webp": 20}


@pytest.mark.parametrize("name", FEWEST)
def test_a_module_of_pillows(python: Python, name: str) -> None:
    found = run_pillow(python, name)
    assert found["bad"] == []
    assert found["ran"] >= FEWEST[name]
