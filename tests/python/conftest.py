import pytest

from tests.python.guest import Python


@pytest.fixture(scope="session")
def python() -> Python:
    return Python()
