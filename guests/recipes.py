"""What each shipped guest is made of: its own sources, pinned third-party ones, and flags.

A guest is a folder here with C sources and a program.toml. One that needs no more than our own C needs no entry below.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guests.sources import Distribution

HERE = Path(__file__).resolve().parent

FLAGS = ("-std=c17", "-O3", "-DNDEBUG")
OWN_FLAGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-function")
LINK = ("-s", "-Wl,-z,stack-size=65536")


@dataclass(frozen=True)
class Part:
    """Some third-party sources that are compiled alike."""

    source: Distribution
    members: tuple[str, ...]
    """What is extracted, as patterns below the archive's top folder; it lands in third/FOLDER/."""
    folder: str
    units: tuple[str, ...] = ()
    """What is compiled, relative to third/FOLDER/."""
    flags: tuple[str, ...] = ()
    special: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further flags of single units."""


@dataclass(frozen=True)
class Recipe:
    """How one guest is built."""

    name: str
    parts: tuple[Part, ...] = ()
    include: tuple[str, ...] = ()
    """Header folders for our own sources, relative to the build's folder."""
    generated: Mapping[str, str] = field(default_factory=dict)
    """Files that are written for the build: path below generated/, and text."""
    link: tuple[str, ...] = LINK


CAT = Recipe(
    "cat",
    # No C library: cat brings its own entry point.
    link=("-s", "-nostdlib", "-Wl,--no-entry", "-Wl,-z,stack-size=16384"),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (CAT,)}


def names() -> list[str]:
    """The guests there are, sorted."""
    return sorted(path.parent.name for path in HERE.glob("*/program.toml"))


def recipe(name: str) -> Recipe:
    return RECIPES.get(name, Recipe(name))
