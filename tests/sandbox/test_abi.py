"""What a frozen guest can see of its sandbox, held against what it saw when `sandbox/abi.py` got its number.

Whatever differs here makes kept results wrong: then `ABI` is raised by one, and the new digests are written here. They
are the same on every machine.
"""

import hashlib
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
from tests.sandbox.frozen import asking
from tests.sandbox.guests import IMAGE, NAN, puppet, script
from tests.sandbox.named import EVERYTHING, file
from tests.sandbox.specification import FUNCTIONS

Call = tuple[str | int, ...]
SEEN: Final = 1
"""The number under which these digests were written."""
ENGINE: Final = "50"
"""The engine's major version by then."""

# Where the puppet's memory has paths and room.
_AT: Final = {b"a": 0, b"tmp/d": 32, b"tmp/f": 64, b"tmp/g": 96, b"tmp/s": 128, b"f": 160, b"none": 192, b"..": 224}
_VECTOR, _DATA = 512, 1024


def _memory() -> bytes:
    memory = bytearray(IMAGE)
    for path, at in _AT.items():
        memory[at : at + len(path)] = path
    memory[_VECTOR : _VECTOR + 8] = _DATA.to_bytes(4, "little") + (40).to_bytes(4, "little")
    memory[_DATA : _DATA + 40] = bytes(range(40))
    return bytes(memory)


def _path(path: bytes) -> tuple[int, int]:
    return _AT[path], len(path)


WORDS: list[Call] = [
    ("args_sizes_get", 2000, 2004),
    ("args_get", 2100, 2200),
    ("environ_sizes_get", 2008, 2012),
    ("environ_get", 2400, 2500),
    *[("clock_res_get", clock, 2700 + 8 * clock) for clock in range(4)],
    ("fd_prestat_get", 3, 2800),
    ("fd_prestat_dir_name", 3, 2900, 1),
    ("fd_fdstat_get", 3, 3000),
    ("random_get", 3100, 1000),
]
WRITES: list[Call] = [
    ("path_create_directory", 3, *_path(b"tmp/d")),
    ("path_open", 3, 0, *_path(b"tmp/f"), 1, EVERYTHING, EVERYTHING, 0, 4000),
    ("fd_write", 4, _VECTOR, 1, 4004),
    ("fd_seek", 4, 100, 0, 4008),
    ("fd_write", 4, _VECTOR, 1, 4016),
    ("fd_filestat_get", 4, 4100),
    ("path_symlink", *_path(b"f"), 3, *_path(b"tmp/s")),
    ("path_readlink", 3, *_path(b"tmp/s"), 4200, 50, 4250),
    ("path_link", 3, 0, *_path(b"tmp/f"), 3, *_path(b"tmp/g")),
    ("path_open", 3, 0, *_path(b"tmp/d"), 2, EVERYTHING, EVERYTHING, 0, 4300),
    ("path_filestat_get", 3, 1, *_path(b"tmp/s"), 4400),
    ("path_unlink_file", 3, *_path(b"tmp/g")),
    ("path_rename", 3, *_path(b"tmp/f"), 3, *_path(b"tmp/g")),
    ("fd_fdstat_get", 4, 4500),
    ("fd_pread", 4, _VECTOR, 1, 90, 4600),
    ("path_remove_directory", 3, *_path(b"tmp/d")),
]
FILES: list[Call] = [
    ("fd_readdir", 3, 5000, 1000, 0, 4900),
    ("path_filestat_get", 3, 0, *_path(b"a"), 6100),
    ("path_open", 3, 0, *_path(b"a"), 0, 1 << 1, 0, 0, 6200),
    ("fd_read", 4, _VECTOR, 1, 6204),
    ("path_open", 3, 0, *_path(b"none"), 0, 1 << 1, 0, 0, 6208),
    ("path_open", 3, 0, *_path(b".."), 0, 1 << 1, 0, 0, 6212),
    ("path_open", 3, 0, *_path(b"a"), 1 << 3, 1 << 6, 0, 0, 6216),
    ("path_unlink_file", 3, *_path(b"a")),
    ("fd_filestat_get", 3, 6300),
]
_REFUSED: Final = [
    name for name in FUNCTIONS if name.startswith(("fd_", "path_", "sock_")) and name not in ("fd_close", "fd_renumber")
]
REFUSALS: list[list[Call]] = [
    [(name, fd, *[0] * (len(FUNCTIONS[name]) - 1)) for name in _REFUSED[at : at + 16]]
    for at in range(0, len(_REFUSED), 16)
    for fd in (1, 3, 99)
]
HELD: Final = {"b": b"bb", "a": b"contents", "d/": b"", "d/e": b"", "\N{LATIN SMALL LETTER E WITH ACUTE}": b"e"}

KEPT: Final[dict[str, str]] = {
    "clocks, chance, polling, a named input": "3d82d9d57827a18085e181200468d461",
    "words": "78df648b0c8e90b96b7f66825dd1dc27",
    "files that it makes": "f22b904c3f88b455ae33e74a404c259e",
    "files that it brings": "bc56191baefc6b9c104bcd35ad932fb4",
    "refusals 0": "6c6297d3838408af9757bf378b7ef538",
    "refusals 1": "70b46d8149ea06b3a768628b904c463e",
    "refusals 2": "5d94778e65932bdadbaf10756a7c672d",
    "refusals 3": "d1fbfb4e28fa240bf505985b03a43dc1",
    "refusals 4": "f8dcd8a8a808efa68ccde407c4e23c8a",
    "refusals 5": "3a625ad5acaeab2d75b0e72fc2ae0b25",
    "refusals 6": "ccf5c578a92d68822f1799f6829dee74",
    "refusals 7": "ccf5c578a92d68822f1799f6829dee74",
    "refusals 8": "85068bcc94d609f59f6fd8093ddd29d9",
    "a NaN": "3300615dcfa76975f4f1efe505e9aead",
}


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner(canonical_nans=True)


def saw(runner: Runner, wat: str, stdin: bytes, files: Files = NO_FILES) -> str:
    """The digest of how it ended and of all that it wrote."""
    with file(stdin) as given, file(b"".join(b"%d\n" % n for n in range(900))) as one, file() as stdout:
        launch = Launch(
            ["guest", "an argument", "\N{LATIN SMALL LETTER E WITH ACUTE}"],
            FileSource(given),
            stdout,
            Limits(),
            env={"A": "b", "LANG": "C"},
            channels=Channels(inputs={"one": FileInput(one)}),
            files=files,
            frozen=Frozen(),
        )
        outcome = runner.run(runner.compile(to_wasm(wat.encode())), launch)
        output = os.pread(stdout, 1 << 20, 0)
    assert outcome.end == "exit", outcome.sentence()
    return hashlib.sha256(b"%d %d " % (outcome.exit_code or 0, len(output)) + output + outcome.stderr).hexdigest()[:32]


def all_that_it_sees(runner: Runner) -> dict[str, str]:
    return {
        "clocks, chance, polling, a named input": saw(runner, puppet(), asking()),
        "words": saw(runner, puppet(), script(WORDS, _memory())),
        "files that it makes": saw(runner, puppet(), script(WRITES, _memory())),
        "files that it brings": saw(runner, puppet(), script(FILES, _memory()), Files.held(HELD)),
        **{f"refusals {at}": saw(runner, puppet(), script(calls, _memory())) for at, calls in enumerate(REFUSALS)},
        "a NaN": saw(runner, NAN, b""),
    }


def test_a_frozen_guest_sees_what_it_saw_under_this_number(runner: Runner) -> None:
    advice = "raise ABI in sandbox/abi.py, and write the new digests and number here: kept results would be wrong"
    assert all_that_it_sees(runner) == KEPT, advice
    assert ABI == SEEN, "the digests here are those of another number: check them, and write the new one"


def test_the_engine_is_the_one_of_that_number() -> None:
    """Another major version may compute differently; its list of changes is to be read for that."""
    assert version("wasmtime").partition(".")[0] == ENGINE, "read what changed, and see sandbox/abi.py"
