"""Steps of a long build: each kept by the digest of all that goes into it, told with its seconds, logged to a file.

    ${XDG_CACHE_HOME:-~/.cache}/insitu/guests/python/
        NAME-KEY/     what a step made; there only when it is whole
        log/NAME      what the tools said the last time that the step was made

A step is made in the store's scratch folder, at relative paths only, and its result is renamed into its place. So an
interrupted build goes on with the step that it was at, and a change makes anew only the steps that it goes into.
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from guests import toolchain
from guests.errors import ToolError
from guests.store import Store, say

FORMAT = 1
"""Part of every key: to be raised when the steps change in a way that their inputs do not show."""
EPOCH = "1600000000"
"""The date that compilers are told (2020-09-13), so that none of today's goes into a result."""
_TAIL = 20  # lines of a log that are shown when a step fails


@dataclass(frozen=True, eq=False)
class Step:
    """One step. `make(shop)` works in `shop.folder`, and leaves its result in `shop.out`."""

    name: str
    title: str
    inputs: object
    """All that goes in and is not another step's result, as plain values."""
    make: Callable[["Shop"], None]
    uses: tuple["Step", ...] = ()

    @cached_property
    def key(self) -> str:
        inputs = [FORMAT, toolchain.version(), self.name, self.inputs, [step.key for step in self.uses]]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    def result(self, store: Store) -> Path:
        return store.root / "python" / f"{self.name}-{self.key[:32]}"

    def all(self) -> list["Step"]:
        """Itself and all that it uses, in an order in which they can be made."""
        return list(dict.fromkeys([step for used in self.uses for step in used.all()] + [self]))


@dataclass
class Shop:
    """Where a step is made."""

    store: Store
    folder: Path
    log: Path
    uses: Mapping[str, Path]
    """The results of the steps that it uses, by name."""

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def tool(self, name: str, *words: str) -> None:
        """A command of that name for `run`: zig's, with these words before those that it is given."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        zig = Path(toolchain.executable())
        quoted = " ".join(f"'{word}'" for word in words)
        path.write_text(f"#!/bin/sh\nexec '{zig}' {quoted} \"$@\"\n", encoding="utf-8")
        path.chmod(0o755)

    def tools(self, cc: str, *words: str) -> dict[str, str]:
        """The compiler under the name `cc`, with these words, and its companions: as variables for configure."""
        self.tool(cc, "cc", *words)
        self.tool("zigar", "ar")
        self.tool("zigranlib", "ranlib")
        companions = {"AR": "zigar", "RANLIB": "zigranlib", "READELF": ":", "PKG_CONFIG": "false"}
        return {"CC": cc, "CFLAGS": "-w", "LDFLAGS": "-s", **companions}

    def run(self, command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        """Runs a command, its output into the log. Raises ToolError with the log's tail.

        Of this process's environment it gets nothing but where programs, its home and temporary files are: a variable
        that means something to configure or make would change the result.
        """
        environment = {
            **{name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ},
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)]),
            "LC_ALL": "C",
            "TZ": "UTC",
            "SOURCE_DATE_EPOCH": EPOCH,
            "ZIG_GLOBAL_CACHE_DIR": str(self.store.root / "zig"),
            "ZIG_LOCAL_CACHE_DIR": str(self.store.root / "zig"),
            **(env or {}),
        }
        with open(self.log, "ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            try:
                done = subprocess.run(
                    command, cwd=cwd or self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            except FileNotFoundError:
                raise ToolError(f"{command[0]} is needed, and is not there") from None
        if done.returncode:
            tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
            shown = "\n".join(line[:300] for line in tail)
            raise ToolError(f"{Path(command[0]).name} ended with {done.returncode}:\n{shown}\n(all of it: {self.log})")


def make(store: Store, wanted: Step, warn: Callable[[list[Step]], None]) -> Path:
    """The result of a step; makes what is missing of all that it needs, of which `warn` is told before.

    Raises BuildError.
    """
    result = wanted.result(store)
    if result.is_dir():
        return result
    with store.lock("python"):
        missing = _missing(store, wanted)
        if missing:
            warn(missing)
        for number, step in enumerate(missing, 1):
            _make(store, step, f"{number}/{len(missing)} {step.title}")
    return result


def _missing(store: Store, wanted: Step) -> list[Step]:
    """What has to be made: nothing of what only a result uses that is there."""
    if wanted.result(store).is_dir():
        return []
    found = [step for used in wanted.uses for step in _missing(store, used)]
    return list(dict.fromkeys([*found, wanted]))


def _make(store: Store, step: Step, title: str) -> None:
    say(f"python: {title} …")
    began = time.monotonic()
    log = store.root / "python" / "log" / step.name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with store.scratch(f"python-{step.name}") as folder:
        shop = Shop(store, folder, log, {used.name: used.result(store) for used in step.uses})
        shop.out.mkdir()
        step.make(shop)
        result = step.result(store)
        shutil.rmtree(result, ignore_errors=True)
        os.rename(shop.out, result)
    say(f"python: {title}: {time.monotonic() - began:.0f} s")
