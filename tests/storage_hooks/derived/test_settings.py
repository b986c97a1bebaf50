"""What the operator says of derived objects."""

from typing import Any

import pytest

from insitu.runtime.grammar import RunRequest
from insitu.storage_hooks.derived.serving import Derived
from insitu.storage_hooks.derived.settings import Settings
from insitu.storage_hooks.policies import NONE
from insitu.storage_hooks.runs import Order


def test_they_have_defaults_and_units() -> None:
    assert Settings.of({}, 10.0) == Settings(10 << 30, 30 * 24 * 3600.0, 256 << 20, 32 << 20, 15.0)
    said = {"derived_bytes": "1GiB", "derived_age": "2h", "derived_max_object": "1MiB", "derived_memory": "0"}
    assert Settings.of(said, 1.0) == Settings(1 << 30, 7200.0, 1 << 20, 0, 6.0)


@pytest.mark.parametrize("name", ["derived_bytes", "derived_age", "derived_max_object", "derived_memory"])
def test_what_makes_no_sense_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="run_hook: 'lots'"):
        Settings.of({name: "lots"}, 10.0)


class Reached(Exception):
    """The run was begun."""


class Runs:
    """Only begins runs; whatever else is asked of it is an error."""

    local = None
    logger = None
    asked = 0

    def app(self, *_: Any) -> Any:
        self.asked += 1
        raise AssertionError("nobody is to be asked for anything")

    def read(self, *_: Any) -> Any:
        raise Reached


def test_with_no_bytes_nothing_is_looked_for() -> None:
    runs: Any = Runs()
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/v1/a/c/o"}
    order = Order(RunRequest("sha256:" + "0" * 64), "a", "/a/c/o")
    derived = Derived(runs, Settings.of({"derived_bytes": "0"}, 10.0))
    derived._programs.learn(order.request.program, frozen=True)
    with pytest.raises(Reached):
        derived.read(environ, lambda *_: None, order, NONE)
    derived = Derived(runs, Settings.of({}, 10.0))
    derived._programs.learn(order.request.program, frozen=True)
    with pytest.raises(AssertionError, match="nobody"):
        derived.read(environ, lambda *_: None, order, NONE)
