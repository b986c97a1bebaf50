"""The command line of guests/build.py: which guests, where to, and errors as one clear line."""

import argparse
import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from guests import toolchain
from guests.errors import BuildError
from guests.own import own_sources
from guests.recipes import FLAGS, HERE, OWN_FLAGS, THIRD_FLAGS, Recipe, names, recipe
from guests.sources import edit, extract, fetch, sha256_of
from guests.store import Store, say, write_atomically

FORMAT = 1
"""Part of every key: to be raised when the steps of build() change in a way that its inputs do not show."""


def key_of(plan: Recipe, zig: str) -> str:
    """The digest of everything that goes into a guest: equal keys, equal bytes."""
    own = {str(path.relative_to(HERE)): sha256_of(path) for path in own_sources(plan)}
    inputs = [FORMAT, zig, toolchain.TARGET, FLAGS, OWN_FLAGS, THIRD_FLAGS, dataclasses.asdict(plan), own]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def build(store: Store, plan: Recipe, zig: str) -> Path:
    """The built module in the store; builds it when nothing there was made of the same inputs. Raises BuildError."""
    result = store.root / "built" / f"{plan.name}-{key_of(plan, zig)[:32]}.wasm"
    if result.is_file():
        return result
    with store.lock(plan.name):
        if not result.is_file():  # another process may have built it while this one waited
            with store.scratch(plan.name) as folder:
                write_atomically(result, _build(store, plan, folder))
    return result


def _build(store: Store, plan: Recipe, folder: Path) -> bytes:
    archives = fetch(store, [part.source for part in plan.parts])
    for part in plan.parts:
        extract(archives[part.source], part.members, folder / "third" / part.folder)
        for unit, edits in part.edits.items():
            edit(folder / "third" / part.folder / unit, edits)
    for name, text in plan.generated.items():
        (folder / "generated" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "generated" / name).write_text(text, encoding="utf-8")
    for path in own_sources(plan):  # and nothing else: what a guest is made of is what its key is made of
        target = folder / "own" / path.relative_to(HERE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    include = [flag for path in plan.include for flag in ("-isystem", path)]
    units: list[tuple[str, Sequence[str]]] = [
        (f"own/{plan.name}/{path.name}", [*FLAGS, *OWN_FLAGS, *plan.flags, *include])
        for path in sorted((HERE / plan.name).glob("*.c"))
    ]
    units += [(f"own/common/{unit}", [*FLAGS, *OWN_FLAGS, *plan.flags, *include]) for unit in plan.shared]
    for part in plan.parts:
        for unit in part.units:
            flags = [*FLAGS, *THIRD_FLAGS, *part.flags, *part.special.get(unit, ())]
            units.append((f"third/{part.folder}/{unit}", flags))

    def progress(count: int, source: str) -> None:
        if count == len(units) or count % 10 == 0:
            say(f"building {plan.name}: compiled {count}/{len(units)} ({Path(source).name})")

    zig = toolchain.Zig(folder, store.root / "zig")
    objects = zig.compile(units, progress)
    library_built = store.root / "zig" / f"insitu-has-linked-{toolchain.version()}"
    if "-nostdlib" not in plan.link and not library_built.exists():
        say(f"building {plan.name}: linking (this once, zig builds its C library for WebAssembly: up to a minute)")
    zig.cc(*plan.link, *objects, "-o", "guest.wasm", what=f"linking {plan.name}")
    if "-nostdlib" not in plan.link:
        library_built.touch()
    return (folder / "guest.wasm").read_bytes()


def install(module: Path, name: str, out: Path) -> None:
    """Puts the module and its manifest into `out`; a file that is already the same is not touched."""
    for source, target in ((module, out / f"{name}.wasm"), (HERE / name / "program.toml", out / f"{name}.toml")):
        data = source.read_bytes()
        if not target.is_file() or target.read_bytes() != data:
            write_atomically(target, data)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="guests/build.py", description="Builds the guests that ship with insitu.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to build (default: all of {', '.join(names())})"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE.parent / "insitu" / "programs",
        metavar="DIR",
        help="where NAME.wasm and NAME.toml go (default: insitu/programs of this checkout)",
    )
    parser.add_argument(
        "--photo", type=Path, metavar="FILE", help="write the demo's photograph to FILE, and build nothing"
    )
    parser.add_argument(
        "--python", action="store_true", help="build CPython with Pillow, and install it into this environment"
    )
    parser.add_argument(
        "--wheel", type=Path, metavar="DIR", help="with --python: put its wheel into DIR, and install nothing"
    )
    options = parser.parse_args(arguments)
    if options.wheel and not options.python:
        parser.error("--wheel goes with --python")
    if unknown := sorted(set(options.names) - set(names())):
        parser.error(f"no guest is named {', '.join(unknown)}; there are {', '.join(names())}")
    store = Store()
    try:
        if options.photo:
            from guests.photo import photo  # only here: it needs Pillow

            write_atomically(options.photo, photo(store))
        elif options.python:
            from guests.python.install import build_python  # only here: it reads all that it would build

            build_python(store, options.wheel)
        else:
            zig = toolchain.version()
            for name in options.names or names():
                install(build(store, recipe(name), zig), name, options.out)
    except BuildError as error:
        print(f"guests: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"guests: cannot write: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("guests: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    return 0
