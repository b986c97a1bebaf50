"""Why a program cannot run here, in a sentence for whoever built it: the engine's own words are for its engineers."""

import re
from typing import Final

_LINE: Final = 300
_LINES: Final = 8
_NAME: Final = 100

COMPONENT: Final = (
    "is a component (WASI 0.2); only core modules with WASI preview1 run here: build it for wasm32-wasip1"
)
THREADS: Final = "uses threads or shared memory, which are off here: programs are single-threaded"

# What the engine says last → what it means. Only its own phrases: the rest of its words may quote the program.
_FEATURES: Final = [
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"threads (must be|support is not) enabled", THREADS),
        (
            r"memory64 must be enabled",
            "has a 64-bit memory or table (memory64), which is off here: build it for wasm32",
        ),
        (
            r"multiple memories",
            "has more than one memory (multi-memory), which is off here: the limit of memory is that of one",
        ),
        (
            r"relaxed SIMD support is not enabled",
            "uses relaxed SIMD, which is off here, since its results differ by machine: plain SIMD is on",
        ),
        (
            r"(without the gc feature|gc support is not enabled|gc must be enabled)",
            "uses WebAssembly GC, which is off here: what its collector takes could not be counted",
        ),
        (r"function references required", "uses typed function references, which are off here"),
        (r"wide arithmetic support is not enabled", "uses wide arithmetic, which is off here"),
        (r"the custom page sizes proposal must be enabled", "has memory pages of its own size, which are off here"),
        (r"stack switching (is disabled|support is not enabled)", "uses stack switching, which is off here"),
        (
            r"legacy_exceptions feature required",
            "uses exceptions in their old form, which is off here: build it with those of the standard "
            "(clang: -mllvm -wasm-use-legacy-eh=false)",
        ),
        (r"was given a WebAssembly component", COMPONENT),
    )
]
_UNKNOWN: Final = re.compile(r"unknown import: `(.*?)::(.*)` has not been defined", re.DOTALL)
_OTHER_TYPE: Final = re.compile(
    r"incompatible import type for `(.*?)::(.*?)`.*expected type `(.*)`, found type `(.*)`", re.DOTALL
)
_PREVIEW1: Final = "wasi_snapshot_preview1"
_OLDER: Final = ("wasi_unstable", "wasi_snapshot_preview0")


def of_bytes(words: str) -> str:
    """What the engine said of a module's bytes."""
    lines = words.splitlines()
    for phrase, sentence in _FEATURES:
        if lines and phrase.search(lines[-1]):
            return sentence
    return in_a_line(words)


def of_imports(words: str) -> str:
    """What the engine said of its imports, of which it names the first that cannot be."""
    if match := _OTHER_TYPE.search(words):
        module, name, asked, there = map(_name, match.groups())
        return f"imports {module}.{name} as {asked}, and here it is {there}"
    match = _UNKNOWN.search(words)
    if match is None:
        return in_a_line(words)
    module, name = map(_name, match.groups())
    if (module, name) == ("wasi", "thread-spawn"):
        return THREADS
    if module == _PREVIEW1:
        return f"imports {module}.{name}, a function that preview1 does not have"
    if module in _OLDER:
        return f"imports {module}.{name}, of a WASI before preview1, and only {_PREVIEW1} is here: build it anew"
    if module.startswith("wasi:"):
        return f"imports {module} ({name}), of WASI 0.2, and only {_PREVIEW1} is here: build it for wasm32-wasip1"
    return f"unknown import {module}.{name}: programs get {_PREVIEW1} and nothing else"


def in_a_line(words: str) -> str:
    """On one line, and no more of them than people read: names in a program can be megabytes."""
    lines = [line.strip()[:_LINE] for line in words.splitlines()[:_LINES]]
    return ": ".join(line for line in lines if line and line != "Caused by:")


def _name(text: str) -> str:
    """A name as a program has it, which may hold anything."""
    shown = text if len(text) <= _NAME else text[:_NAME] + "…"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in shown)
