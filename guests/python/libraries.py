"""The C libraries behind Pillow, and Pillow's own C: each an archive and its headers."""

import dataclasses
import fnmatch
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from guests import toolchain
from guests.errors import SourceError
from guests.python import recipe
from guests.python.debian import DebianSource, fetch_debian
from guests.python.steps import Shop, Step
from guests.recipes import THIRD_FLAGS
from guests.sources import fetch, unpack
from guests.store import Store

_FLAGS = ("-O3", "-DNDEBUG", *THIRD_FLAGS)


def archive_of(store: Store, source: recipe.Source) -> Path:
    """Where it lies, fetched if it has to be. Raises SourceError."""
    if isinstance(source, DebianSource):
        return fetch_debian(store, [source])[source]
    return fetch(store, [source])[source]


def compiled(shop: Shop, units: Iterable[Path], flags: Iterable[str], special: Mapping[str, tuple[str, ...]]) -> None:
    """Compiles sources, given relative to the shop's folder, into shop.out/libNAME.a."""
    zig = toolchain.Zig(shop.folder, shop.store.root / "zig")
    wanted = [(str(unit), [*_FLAGS, *flags, *special.get(unit.name, ())]) for unit in units]
    objects = zig.compile(wanted, lambda count, source: None)
    shop.tool("zigar", "ar")
    name = shop.log.name
    shop.run(["zigar", "rcs", f"out/lib{name}.a", *objects])


def _make(library: recipe.Library, shop: Shop) -> None:
    folder = shop.folder / "source"
    unpack(archive_of(shop.store, library.source), folder)
    headers = shop.out / "include"
    for name, text in library.generated.items():
        headers.mkdir(exist_ok=True)
        (headers / name).write_text(text, encoding="utf-8")
    units = []
    for pattern in library.units:
        found = [path for path in sorted(folder.glob(pattern)) if not _matches(path.name, library.without)]
        if not found:
            raise SourceError(f"{library.source} holds nothing that matches {pattern}")
        units += [path.relative_to(shop.folder) for path in found]
    for used in library.uses:
        (shop.folder / used).symlink_to(shop.uses[used])
    include = ["out/include", *(f"source/{path}" for path in (*library.headers, *library.include))]
    include += [f"{used}/include" for used in library.uses]
    compiled(shop, units, [*library.flags, *(f"-I{path}" for path in include)], library.special)
    for path in library.headers:
        shutil.copytree(
            folder / path, headers, dirs_exist_ok=True, ignore=lambda where, names: _no_headers(Path(where), names)
        )
    licences(library.title, folder, library.licence, shop.out)


def licences(title: str, folder: Path, names: tuple[str, ...], out: Path) -> None:
    """All of one part's licences as one file."""
    texts = [(folder / name).read_text(encoding="utf-8", errors="replace").strip() for name in names]
    (out / "LICENCE").write_text(f"{title}\n\n" + "\n\n".join(texts) + "\n", encoding="utf-8")


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _no_headers(where: Path, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".h") and not (where / name).is_dir()]


def _step(library: recipe.Library, before: dict[str, Step]) -> Step:
    inputs = [dataclasses.asdict(library), _FLAGS, toolchain.TARGET]
    uses = tuple(before[name] for name in library.uses)
    return Step(library.name, library.title, inputs, lambda shop: _make(library, shop), uses)


def _make_pillow(shop: Shop) -> None:
    folder = shop.folder / "source"
    unpack(archive_of(shop.store, recipe.PILLOW), folder, ("Tests/*", "docs/*"))
    for name, result in shop.uses.items():
        (shop.folder / name).symlink_to(result)
    units = [Path("source/src") / f"{unit}.c" for unit in recipe.PILLOW_UNITS]
    units += [path.relative_to(shop.folder) for path in sorted((folder / "src/libImaging").glob("*.c"))]
    include = ["source/src", "source/src/libImaging", *(f"{name}/include" for name in shop.uses)]
    compiled(shop, units, [*recipe.PILLOW_FLAGS, *(f"-I{path}" for path in include)], recipe.PILLOW_SPECIAL)
    shutil.copytree(folder / "src" / "PIL", shop.out / "PIL", ignore=shutil.ignore_patterns(*recipe.PIL_WITHOUT))
    licences(f"Pillow {recipe.PILLOW_VERSION}", folder, ("LICENSE",), shop.out)


def pillow(wasi: Step) -> Step:
    inputs = [recipe.PILLOW.sha256, recipe.PILLOW_UNITS, recipe.PILLOW_FLAGS, recipe.PILLOW_SPECIAL, recipe.PIL_WITHOUT]
    inputs += [_FLAGS, toolchain.TARGET]
    title = f"Pillow {recipe.PILLOW_VERSION}"
    return Step("pillow", title, inputs, _make_pillow, (wasi, *STEPS.values()))


STEPS: dict[str, Step] = {}
for _library in recipe.LIBRARIES:
    STEPS[_library.name] = _step(_library, STEPS)
ZLIB = STEPS["zlib"]
