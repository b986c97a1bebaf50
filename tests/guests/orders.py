"""What tests of `sort`, `merge` and `partition` share: strategies for orders and for lines, and GNU sort itself."""

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

C_LOCALE: Final = {**os.environ, "LC_ALL": "C"}


def gnu_sort(arguments: Sequence[str], text: bytes) -> bytes:
    done = subprocess.run(["sort", *arguments], input=text, capture_output=True, check=True, env=C_LOCALE, timeout=60)
    return done.stdout


def in_order(arguments: Sequence[str], text: bytes) -> bool:
    """What `sort -c` says of it."""
    done = subprocess.run(["sort", "-c", *arguments], input=text, capture_output=True, env=C_LOCALE, timeout=60)
    assert done.returncode in (0, 1), done
    return done.returncode == 0


_LETTERS: Final = st.text("bfnr", max_size=2)
_FIELD: Final = st.integers(1, 4)


@st.composite
def keys(draw: st.DrawFn) -> str:
    begin = f"{draw(_FIELD)}"
    if draw(st.booleans()):
        begin += f".{draw(st.integers(1, 4))}"
    begin += draw(_LETTERS)
    if not draw(st.booleans()):
        return begin
    end = f"{draw(_FIELD)}"
    if draw(st.booleans()):
        end += f".{draw(st.integers(0, 4))}"
    return f"{begin},{end}{draw(_LETTERS)}"


@st.composite
def orders(draw: st.DrawFn) -> list[str]:
    """Options of sort, in any number, in any place."""
    arguments = [f"-{letter}" for letter in draw(st.lists(st.sampled_from("bfnrsuz"), max_size=4, unique=True))]
    arguments += [f"-k{key}" for key in draw(st.lists(keys(), max_size=3))]
    if draw(st.booleans()):
        arguments += ["-t", draw(st.sampled_from([",", "\t", " ", "a", "\\0"]))]
    return draw(st.permutations(arguments)) if "-t" not in arguments else arguments


NUMBERS: Final = st.one_of(
    st.from_regex(r"\A ?-?0{0,3}[0-9]{0,3}(\.[0-9]{0,3})?\Z"),
    st.from_regex(r"\A-?[19]0{14,19}[01](\.0{0,20}[01])?\Z"),
    st.from_regex(r"\A-?[12]{29,36}(\.[12]{0,3})?\Z"),
).map(str.encode)
WORDS: Final = st.one_of(
    st.binary(max_size=12),
    st.text("aAbB,.-", max_size=3).map(str.encode),
    st.sampled_from([b"a" * size for size in (6, 7, 8, 14, 15)]),
    NUMBERS,
)
BETWEEN: Final = st.sampled_from([b"\t", b",", b" ", b"  ", b"\n", b"\0", b""])
TEXTS: Final = st.builds(
    lambda parts, ended: b"".join(part for pair in parts for part in pair) + ended,
    st.lists(st.tuples(WORDS, BETWEEN), max_size=60),
    st.sampled_from([b"\n", b""]),
)
