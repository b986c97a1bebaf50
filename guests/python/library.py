"""What the guest finds under /lib: the standard library and Pillow's modules, each with its compiled form beside it.

The compiled forms are of the kind that is never held against its source: the files of a bundle do not change.
"""

import shutil
from collections.abc import Callable

from guests.python import recipe
from guests.python.libraries import licences
from guests.python.native import NATIVE, source
from guests.python.steps import Shop, Step
from guests.python.wasi import PILLOW, WASI

LIBRARY = f"lib/python{recipe.SHORT}"
SITE = "lib/site"
COMPILE = ("-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", "files", "-p", "/")


def compile_all(shop: Shop, *paths: str) -> None:
    """Compiles the modules at these paths, files or folders, in shop.out/files; in them a file has the guest's name."""
    python = str(shop.uses["native"] / "python")
    environment = {
        "PYTHONPATH": str(shop.out / "files" / LIBRARY),
        "PYTHONHASHSEED": "0",
        # What compileall itself imports would be written with the path that it has here.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    shop.run([python, "-S", "-m", "compileall", *COMPILE, *(f"files/{path}" for path in paths)], shop.out, environment)


def _make(shop: Shop) -> None:
    folder = source(shop, ("Lib/test/*", "Doc/*"))
    files = shop.out / "files"
    shutil.copytree(folder / "Lib", files / LIBRARY, ignore=_ignore(str(folder / "Lib")))
    for path in shop.uses["wasi"].glob("_sysconfigdata_*.py"):
        shutil.copy(path, files / LIBRARY)
    shutil.copytree(shop.uses["pillow"] / "PIL", files / SITE / "PIL")
    compile_all(shop, "lib")
    licences(f"CPython {recipe.VERSION}", folder, ("LICENSE",), shop.out)


def _ignore(top: str) -> Callable[[str, list[str]], list[str]]:
    """Leaves out of Lib itself what the recipe names."""
    return lambda where, names: [name for name in names if where == top and name in recipe.LIBRARY_WITHOUT]


LIBRARY_STEP = Step(
    "library",
    "the standard library, compiled",
    [recipe.CPYTHON.sha256, recipe.LIBRARY_WITHOUT, recipe.CPYTHON_CHANGES, COMPILE],
    _make,
    uses=(NATIVE, WASI, PILLOW),
)
