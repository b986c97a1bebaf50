"""cat: all bytes, in order, and nothing but them."""

import random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.guests.conftest import Runner

BUFFER = 256 << 10


@pytest.mark.parametrize("size", [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 5 * BUFFER + 17])
def test_every_byte_comes_through(run: "Runner", size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert run("cat", stdin=data).expect() == data


@pytest.mark.parametrize("argument", ["-", "--help", ""])
def test_takes_no_argument(run: "Runner", argument: str) -> None:
    assert "takes no argument" in run("cat", argument, stdin=b"abc").refusal("cat")
