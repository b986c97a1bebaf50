"""What a frozen guest can see of its sandbox, as questions that a puppet asks, and the digests of the answers.

`KEPT` was written when `sandbox/abi.py` had the number `SEEN`; it is the same on every machine, with a node or without.
"""

import hashlib
from typing import Final

from insitu.sandbox.outcome import Outcome
from tests.sandbox.frozen import asking
from tests.sandbox.guests import IMAGE, script
from tests.sandbox.named import EVERYTHING
from tests.sandbox.specification import FUNCTIONS

Call = tuple[str | int, ...]
SEEN: Final = 1
ARGUMENTS: Final = ("an argument", "\N{LATIN SMALL LETTER E WITH ACUTE}")
"""Its own name is "guest"."""
ENVIRONMENT: Final = {"A": "b", "LANG": "C"}
ONE: Final = b"".join(b"%d\n" % n for n in range(900))
"""Its named input `one`."""

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


QUESTIONS: Final[dict[str, bytes]] = {
    "clocks, chance, polling, a named input": asking(),
    "words": script(WORDS, _memory()),
    "files that it makes": script(WRITES, _memory()),
    **{f"refusals {at}": script(calls, _memory()) for at, calls in enumerate(REFUSALS)},
}
"""The puppet's stdin for each."""
ABOUT_FILES: Final = script(FILES, _memory())
"""Of what it brings, `HELD`."""
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


def digest_of_what_it_saw(outcome: Outcome, output: bytes) -> str:
    """Of how it ended and of all that it wrote."""
    assert outcome.end == "exit", outcome.sentence()
    seen = b"%d %d " % (outcome.exit_code or 0, len(output)) + output + outcome.stderr
    return hashlib.sha256(seen).hexdigest()[:32]
