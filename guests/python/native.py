"""A CPython for the machine of the build: the other one's build, and the library's, need one of the very same version.

It is linked with musl, statically, so that nothing but zig is needed of the machine, and has all modules inside.
"""

import platform
import shutil
from pathlib import Path

from guests.errors import ToolError
from guests.python import recipe
from guests.python.debian import fetch_debian
from guests.python.steps import Shop, Step
from guests.sources import unpack
from guests.toolchain import JOBS

_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def machine() -> str:
    """As zig calls it. Raises ToolError for one that nobody has tried."""
    name = platform.machine().lower()
    if platform.system() != "Linux" or name not in _MACHINES:
        raise ToolError(f"the Python guest is built on Linux, x86_64 or aarch64, and this is {platform.platform()}")
    return _MACHINES[name]


def source(shop: Shop, without: tuple[str, ...] = ()) -> Path:
    """CPython's sources, as they are used, in the shop's folder."""
    folder = shop.folder / "source"
    unpack(fetch_debian(shop.store, [recipe.CPYTHON])[recipe.CPYTHON], folder, without)
    for name, there, wanted in recipe.CPYTHON_CHANGES:
        text = (folder / name).read_text(encoding="utf-8")
        if text.count(there) != 1:
            raise ToolError(f"{recipe.CPYTHON}: {name} has not what is to be changed in it: {there}")
        (folder / name).write_text(text.replace(there, wanted), encoding="utf-8")
    return folder


UNUSED = ("Lib/test/*", "Doc/*", "Lib/idlelib/*", "Mac/*", "iOS/*", "Android/*", "PCbuild/*")
"""Half of the archive, and no build looks at it."""


def _make(shop: Shop) -> None:
    source(shop, UNUSED)
    build = shop.folder / "build"
    build.mkdir()
    tools = shop.tools("nativecc", "-target", f"{machine()}-linux-musl")
    environment = {**tools, "OPT": "-DNDEBUG -O1", "MODULE_BUILDTYPE": "static"}
    shop.run(["sh", "../source/configure", *recipe.NATIVE_OPTIONS], build, environment)
    shop.run(["make", f"-j{JOBS}", "python"], build)
    shutil.copy(build / "python", shop.out / "python")


NATIVE = Step(
    "native",
    f"CPython {recipe.VERSION} for this machine",
    [recipe.CPYTHON.sha256, recipe.CPYTHON_CHANGES, recipe.NATIVE_OPTIONS, UNUSED],
    _make,
)
