"""From archives to what is shipped: the module, its snapshot, the bundle and the wheel that carries it.

    insitu_python-VERSION-py3-none-any.whl
        insitu_python/__init__.py             BUNDLE: the digest of the bundle
        insitu_python/programs/python.zip     the bundle: python.wasm (a snapshot, with everything usual imported),
                                              files/lib/… (the standard library and Pillow), licences

The bundle is stored, as every bundle is; the wheel around it is packed.
"""

import base64
import hashlib
import io
import shutil
import zipfile
from pathlib import Path

from guests import toolchain
from guests.errors import BuildError
from guests.python import recipe
from guests.python.libraries import STEPS as LIBRARIES
from guests.python.library import LIBRARY, LIBRARY_STEP, compile_all
from guests.python.native import NATIVE
from guests.python.steps import Shop, Step
from guests.python.wasi import PILLOW, WASI
from guests.recipes import OWN_FLAGS
from guests.sources import sha256_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = "insitu_python"
WHEEL_VERSION = f"{recipe.VERSION}.post{recipe.BUILD}"
WHEEL = f"{PACKAGE}-{WHEEL_VERSION}-py3-none-any.whl"
BUNDLE = f"{PACKAGE}/programs/python.zip"
OWN_MODULES = {
    "boot.py": "insitu_boot.py",
    "absent.py": "insitu_absent.py",
    "_socket.py": "_socket.py",
    "mmap.py": "mmap.py",
    "unix_events.py": "asyncio/unix_events.py",
}
"""Ours → what the guest calls it, in its library."""
OWN = (HERE / "main.c", HERE / "log2.c")
MARKER = "marker.py"
_PATIENCE = 600.0  # seconds, of which a second is needed where nothing else runs
_DATE = (1980, 1, 1, 0, 0, 0)


def _make_module(shop: Shop) -> None:
    for name, result in shop.uses.items():
        (shop.folder / name).symlink_to(result)
    zig = toolchain.Zig(shop.folder, shop.store.root / "zig")
    include = [word for name in shop.uses for word in ("-isystem", f"{name}/include")]
    for source in OWN:
        shutil.copy(source, shop.folder)
        words = [*OWN_FLAGS, *include, "-c", source.name, "-o", f"{source.stem}.o"]
        zig.cc("-O3", *words, what=f"compiling {source.name}")
    # zig has these sources of the C library, and does not compile them into it; nor has it the tag.
    shutil.copy(Path(toolchain.executable()).parent / _SETJMP, shop.folder / "setjmp.c")
    zig.cc("-O3", "-w", *recipe.SETJMP, "-c", "setjmp.c", "-o", "setjmp.o", what="compiling setjmp")
    (shop.folder / "longjmp.s").write_text(_TAG, encoding="utf-8")
    zig.cc("-c", "longjmp.s", "-o", "longjmp.o", what="assembling the tag of longjmp")
    archives = [f"{name}/{path.name}" for name, result in shop.uses.items() for path in sorted(result.glob("*.a"))]
    words = [
        *recipe.LINK,
        *(f"{source.stem}.o" for source in OWN),
        "setjmp.o",
        "longjmp.o",
        "-Wl,--start-group",
        *archives,
        "-Wl,--end-group",
        *recipe.EMULATED,
    ]
    zig.cc(*words, "-o", "out/python.wasm", what="linking python.wasm")


_TAG = """\
\t.tagtype __c_longjmp i32
\t.globl __c_longjmp
__c_longjmp:
"""
"""What longjmp throws."""
_SETJMP = "lib/libc/wasi/libc-top-half/musl/src/setjmp/wasm32/rt.c"

MODULE = Step(
    "module",
    "python.wasm",
    [*map(sha256_of, OWN), OWN_FLAGS, recipe.LINK, recipe.EMULATED, recipe.SETJMP, toolchain.TARGET, _TAG],
    _make_module,
    uses=(WASI, PILLOW, *LIBRARIES.values()),
)


def _make_bundle(shop: Shop) -> None:
    from insitu.runtime.bundles.build import build  # only here: a build that has nothing to do needs no engine

    folder = shop.out
    shutil.copytree(shop.uses["library"] / "files", folder / "files")
    for ours, name in OWN_MODULES.items():
        shutil.copy(HERE / ours, folder / "files" / LIBRARY / name)
        compile_all(shop, f"{LIBRARY}/{name}")
    for name, result in shop.uses.items():
        if (result / "LICENCE").is_file():
            shutil.copy(result / "LICENCE", folder / f"LICENCE-{'cpython' if name == 'library' else name}")
    (folder / "program.toml").write_text(_manifest(), encoding="utf-8")
    module = (shop.uses["module"] / "python.wasm").read_bytes()
    (folder / "python.wasm").write_bytes(_snapshot(module, folder / "files"))
    data, _ = build(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "python.zip").write_bytes(data)
    (folder / WHEEL).write_bytes(_wheel(data))
    (folder / MARKER).write_bytes(_marker(data))


def _snapshot(module: bytes, files: Path) -> bytes:
    """The module with the interpreter started, and what scripts usually import imported. Raises BuildError."""
    from insitu.sandbox.clocks import FROZEN_START
    from insitu.sandbox.errors import SandboxError
    from insitu.sandbox.files.tree import Files
    from insitu.sandbox.limits import Limits
    from insitu.sandbox.snapshot import SnapshotError, snapshot

    try:
        # Of the date that a bundle's files have: importlib remembers the dates of the folders that it has looked into.
        tree = Files.read_only(files, time=FROZEN_START)
        return snapshot(module, "python.wasm", argv=["python"], files=tree, limits=Limits(wall=_PATIENCE))
    except SnapshotError as error:
        raise BuildError(f"{error}\n{error.outcome.stderr.decode('utf-8', 'replace')}".rstrip()) from error
    except SandboxError as error:
        raise BuildError(str(error)) from error


def _manifest() -> str:
    return (HERE / "manifest.toml").read_text(encoding="utf-8").replace("@VERSION@", recipe.VERSION)


def _marker(bundle: bytes) -> bytes:
    """The package's only module: which bundle it carries."""
    digest = hashlib.sha256(bundle).hexdigest()
    return f'"""CPython with Pillow as a program of insitu."""\n\nBUNDLE = "{digest}"\n'.encode()


def _wheel(bundle: bytes) -> bytes:
    info = f"{PACKAGE}-{WHEEL_VERSION}.dist-info"
    files = {
        f"{PACKAGE}/__init__.py": _marker(bundle),
        BUNDLE: bundle,
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {PACKAGE.replace('_', '-')}\nVersion: {WHEEL_VERSION}\n"
            f"Summary: CPython {recipe.VERSION} with Pillow {recipe.PILLOW_VERSION} as a program of insitu\n"
        ).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: insitu\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for name, data in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _snapshotter() -> list[str]:
    """What the snapshot's bytes depend on besides the module."""
    return [sha256_of(path) for path in (*sorted((ROOT / "sandbox/snapshot").glob("*.py")), ROOT / "sandbox/abi.py")]


def bundle_step() -> Step:
    inputs = [*(sha256_of(HERE / ours) for ours in OWN_MODULES), _manifest(), WHEEL_VERSION, _snapshotter()]
    uses = (NATIVE, LIBRARY_STEP, MODULE, PILLOW, *LIBRARIES.values())
    return Step("bundle", "the snapshot, the bundle and the wheel", inputs, _make_bundle, uses)
