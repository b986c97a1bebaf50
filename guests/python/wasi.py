"""CPython for wasm32-wasi: everything but a main, as archives, and the headers that Pillow needs."""

import json
import runpy
import shutil
from pathlib import Path

from guests import toolchain
from guests.python import recipe
from guests.python.libraries import ZLIB, pillow
from guests.python.native import NATIVE, UNUSED, machine, source
from guests.python.steps import Shop, Step
from guests.toolchain import JOBS

_VARIABLES = (
    *("EXT_SUFFIX", "HOST_GNU_TYPE", "MULTIARCH", "Py_DEBUG", "Py_GIL_DISABLED", "SIZEOF_VOID_P", "SOABI"),
    "TZPATH",
)
"""What sysconfig tells a guest of how it was built; all else is about compiling, at paths of the build's."""


def _make(shop: Shop) -> None:
    folder = source(shop, UNUSED)
    build = shop.folder / "build"
    build.mkdir()
    # Not "wasicc": configure takes what has "icc" in its name for another compiler.
    tools = shop.tools("wasmcc", *toolchain.TARGET)
    _build_python(shop, folder)
    (shop.folder / "absent").write_text("".join(f"{name}=no\n" for name in recipe.WASI_ABSENT), encoding="utf-8")
    zlib = Path("..") / "zlib"
    shutil.copytree(shop.uses["zlib"], shop.folder / "zlib")
    environment = {
        **tools,
        "OPT": "-DNDEBUG -O3",
        "CONFIG_SITE": "../source/Tools/wasm/config.site-wasm32-wasi ../absent",
        "ZLIB_CFLAGS": f"-I{zlib}/include",
        "ZLIB_LIBS": f"-L{zlib} -lzlib",
    }
    options = [*recipe.WASI_OPTIONS, f"--build={machine()}-pc-linux-musl", "--with-build-python=../bin/buildpython"]
    shop.run(["sh", "../source/configure", *options], build, environment)
    (build / "Modules" / "Setup.local").write_text(recipe.WASI_SETUP, encoding="utf-8")
    for target, flags in recipe.LESS_STACK.items():
        shop.run(["make", target, f"EXTRA_CFLAGS={flags}"], build)
    shop.run(["make", f"-j{JOBS}", f"libpython{recipe.SHORT}.a", "pybuilddir.txt"], build)

    for archive in [build / f"libpython{recipe.SHORT}.a", *sorted((build / "Modules").rglob("*.a"))]:
        shutil.copy(archive, shop.out / archive.name)
    shutil.copytree(folder / "Include", shop.out / "include")
    shutil.copy(build / "pyconfig.h", shop.out / "include")
    data = build / (build / "pybuilddir.txt").read_text(encoding="utf-8") / "_sysconfigdata__wasi_wasm32-wasi.py"
    variables = runpy.run_path(str(data))["build_time_vars"]
    kept = {name: variables[name] for name in _VARIABLES if name in variables}
    text = f"# What sysconfig tells of this build.\nbuild_time_vars = {json.dumps(kept, indent=4)}\n"
    (shop.out / data.name).write_text(text, encoding="utf-8")


def _build_python(shop: Shop, folder: Path) -> None:
    """The native interpreter as a command at a relative path, which finds its library: configure asks its version."""
    lines = [
        "#!/bin/sh",
        f'export PYTHONPATH="${{PYTHONPATH:-{folder}/Lib}}"',
        f"exec '{shop.uses['native']}/python' \"$@\"",
    ]
    path = shop.folder / "bin" / "buildpython"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    path.chmod(0o755)


WASI = Step(
    "wasi",
    f"CPython {recipe.VERSION} for wasm32-wasi",
    [
        *(recipe.CPYTHON.sha256, recipe.CPYTHON_CHANGES, recipe.WASI_OPTIONS, recipe.WASI_ABSENT, recipe.WASI_SETUP),
        *(recipe.LESS_STACK, toolchain.TARGET, UNUSED, _VARIABLES),
    ],
    _make,
    uses=(NATIVE, ZLIB),
)

PILLOW = pillow(WASI)
