"""CPython's own tests and Pillow's, as files: fetched with the sources, run by ours, and no part of the wheel."""

from pathlib import Path

from guests.python import recipe
from guests.python.libraries import archive_of
from guests.python.steps import Shop, Step, make
from guests.sources import unpack
from guests.store import Store

_CPYTHON_WITHOUT = ("Doc/*", "Modules/*", "Objects/*", "PC/*", "Mac/*", "Parser/*", "Python/*", "Include/*", "Misc/*")


def _make_cpython(shop: Shop) -> None:
    unpack(archive_of(shop.store, recipe.CPYTHON), shop.folder / "source", _CPYTHON_WITHOUT)
    (shop.folder / "source" / "Lib" / "test").rename(shop.out / "test")


def _make_pillow(shop: Shop) -> None:
    unpack(archive_of(shop.store, recipe.PILLOW), shop.folder / "source", ("src/*", "docs/*"))
    (shop.folder / "source" / "Tests").rename(shop.out / "Tests")


def cpython_tests(store: Store) -> Path:
    """A directory with `test/`, as it is in the standard library. Raises BuildError."""
    title = f"the tests of CPython {recipe.VERSION}"
    return make(store, Step("cpython-tests", title, [recipe.CPYTHON.sha256], _make_cpython), lambda missing: None)


def pillow_tests(store: Store) -> Path:
    """A directory with `Tests/`. Raises BuildError."""
    title = f"the tests of Pillow {recipe.PILLOW_VERSION}"
    return make(store, Step("pillow-tests", title, [recipe.PILLOW.sha256], _make_pillow), lambda missing: None)
