"""What a frozen guest can see of its sandbox, held against what it saw when `sandbox/abi.py` got its number.

Whatever differs makes kept results wrong: then `ABI` is raised by one, and the new digests are written into seen.py.
"""

import os
from importlib.metadata import version
from typing import Final

import pytest

from insitu.sandbox.abi import ABI
from insitu.sandbox.channels import FileInput, FileSource
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.files.tree import NO_FILES, Files
from insitu.sandbox.launch import Launch, Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.program import to_wasm
from tests.sandbox.guests import NAN, puppet
from tests.sandbox.named import file
from tests.sandbox.seen import (
    ABOUT_FILES,
    ARGUMENTS,
    ENVIRONMENT,
    HELD,
    KEPT,
    ONE,
    QUESTIONS,
    SEEN,
    digest_of_what_it_saw,
)

ENGINE: Final = "50"
"""The engine's major version by then."""


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner(canonical_nans=True)


def saw(runner: Runner, wat: str, stdin: bytes, files: Files = NO_FILES) -> str:
    with file(stdin) as given, file(ONE) as one, file() as stdout:
        launch = Launch(
            ["guest", *ARGUMENTS],
            FileSource(given),
            stdout,
            Limits(),
            env=ENVIRONMENT,
            channels=Channels(inputs={"one": FileInput(one)}),
            files=files,
            frozen=Frozen(),
        )
        outcome = runner.run(runner.compile(to_wasm(wat.encode())), launch)
        return digest_of_what_it_saw(outcome, os.pread(stdout, 1 << 20, 0))


def test_a_frozen_guest_sees_what_it_saw_under_this_number(runner: Runner) -> None:
    found = {name: saw(runner, puppet(), stdin) for name, stdin in QUESTIONS.items()}
    found["files that it brings"] = saw(runner, puppet(), ABOUT_FILES, Files.held(HELD))
    found["a NaN"] = saw(runner, NAN, b"")
    assert found == KEPT, "raise ABI in sandbox/abi.py, and write digests and number into seen.py: kept results lie"
    assert ABI == SEEN, "the digests in seen.py are those of another number: check them, and write the new one"


def test_the_engine_is_the_one_of_that_number() -> None:
    """Another major version may compute differently; its list of changes is to be read for that."""
    assert version("wasmtime").partition(".")[0] == ENGINE, "read what changed, and see sandbox/abi.py"
