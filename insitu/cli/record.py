"""`insitu run --record DIR`: keeps what went into a run and what came of it, for `insitu replay`."""

import os
import platform
import select
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import insitu
from insitu.sandbox import raw
from insitu.sandbox.bundle.compare import why_inexact
from insitu.sandbox.bundle.directory import PROGRAM, PROGRAM_MOST, BundleWriter, input_name
from insitu.sandbox.bundle.format import Bundle, Engine, FilesPart, InputPart, Kind, Mode, ProgramPart
from insitu.sandbox.bundle.tree import MAX_BYTES, copied, digest_of, looked, taken, total
from insitu.sandbox.bundle.witness import Witness
from insitu.sandbox.channels import FileInput, Input, Source
from insitu.sandbox.channels.meter import Quota
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import BundleError
from insitu.sandbox.limits import MIB, Limits
from insitu.sandbox.outcome import Outcome

INPUTS_MOST: Final = 16 * MIB
FILES_MOST: Final = 256 * MIB
_HINT: Final = 1024


def engine_now() -> Engine:
    """The one that frozen launches run on here."""
    settings = raw.settings(canonical_nans=True)
    return Engine(insitu.__version__, version("wasmtime"), platform.machine(), settings)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that has ended: what it was given, beside inputs and files, and what it came to."""

    name: str
    wasm: bytes
    argv: Sequence[str]
    env: Mapping[str, str]
    frozen: Frozen
    limits: Limits
    outcome: Outcome
    stdout: int
    quotas: Mapping[str, Quota]
    outputs: Mapping[str, int]


class Recorder:
    """One bundle, from before the run to after it. All methods raise `BundleError`.

    An input of more than `inputs_most` bytes is told by its digest alone, and so are all files when they are more than
    `files_most` bytes together.
    """

    def __init__(self, stack: ExitStack, place: Path, inputs_most: int, files_most: int) -> None:
        self._place, self._inputs_most, self._files_most = place, inputs_most, min(files_most, MAX_BYTES)
        self._stack = stack
        self._writer = stack.enter_context(BundleWriter(place))
        self._witnesses: dict[str, tuple[Witness, str]] = {}
        self._inputs: dict[str, InputPart] = {}
        self._files: FilesPart | None = None
        self._tree: Path | None = None

    def source(self, channel: str, source: Source, hint: str) -> Source:
        """What the guest is to read instead: the same, and what it reads is kept. Only that is part of what happens."""
        with self._told():
            keep = self._writer.create(input_name(channel))
        self._stack.callback(os.close, keep)
        witness = Witness(source, keep, self._inputs_most)
        self._witnesses[channel] = witness, hint
        return witness

    def named(self, name: str, given: Input, hint: str) -> Input:
        """The same for a named input. A file is read at any place, so all of it is part of what happens."""
        channel = f"in/{name}"
        if not isinstance(given, FileInput):
            return self.source(channel, given, hint)
        with self._told():
            size = max(0, os.fstat(given.fd).st_size - given.start)
            if size > self._inputs_most:
                digest, size = digest_of(given.fd, given.start)
                self._inputs[channel] = InputPart(size, digest, whole=True, kept=False, hint=hint[:_HINT])
                return given
            keep = self._writer.create(input_name(channel))
            self._stack.callback(os.close, keep)
            digest, size = copied(given.fd, keep, given.start, size)
        self._inputs[channel] = InputPart(size, digest, whole=True, kept=True, hint=hint[:_HINT])
        return FileInput(keep)  # and not the original: that may change while the guest runs

    def files(self, mode: Mode, path: Path) -> None:
        """The files that the guest is given."""
        if Path(os.path.realpath(path)) in Path(os.path.realpath(self._place)).parents:
            raise BundleError(f"{self._place}: is in {path}, whose files are recorded; record elsewhere")
        self._tree, self._look = path, looked(path)
        kept = total(self._look) <= self._files_most

        def keep(digest: str) -> int | None:
            try:
                return self._writer.create("files/" + digest.removeprefix("sha256:")) if kept else None
            except FileExistsError:
                return None  # another file with the same contents

        with self._told():
            self._files = FilesPart(mode, kept, taken(path, keep))

    def finish(self, ran: Ran) -> None:
        """The bundle is there from now on."""
        for channel, (witness, hint) in self._witnesses.items():
            if witness.failure is not None:
                raise BundleError(f"{self._place}: {witness.failure.strerror}")
            kept = witness.keep is not None
            part = InputPart(witness.count, witness.digest(), whole=witness.ended, kept=kept, hint=hint[:_HINT])
            self._inputs[channel] = part
            if not kept:
                self._writer.drop(input_name(channel))
        with self._told():
            kept = len(ran.wasm) <= PROGRAM_MOST
            if kept:
                self._writer.add(PROGRAM, ran.wasm)
            bundle = Bundle(
                engine=engine_now(),
                program=ProgramPart(ran.name, program_digest(ran.wasm), len(ran.wasm), kept),
                argv=tuple(ran.argv),
                env=ran.env,
                frozen=ran.frozen,
                limits=ran.limits,
                outcome=ran.outcome,
                inexact=why_inexact(ran.outcome) or self._disturbed(ran),
                quotas=ran.quotas,
                inputs=dict(sorted(self._inputs.items(), key=lambda item: item[0] != "stdin")),
                outputs={f"out/{name}": _kind(fd) for name, fd in ran.outputs.items()},
                files=self._files,
            )
            self._writer.finish(bundle)

    def _disturbed(self, ran: Ran) -> str:
        """What came from outside while it ran, and is not in the bundle."""
        if self._tree is not None and looked(self._tree) != self._look:
            return f"files in {self._tree} changed while it ran"
        poller = select.poll()
        poller.register(ran.stdout, 0)
        if any(events & select.POLLERR for _, events in poller.poll(0)):
            return "whoever read its stdout went away"
        return ""

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as why:
            raise BundleError(f"{self._place}: {why.strerror}") from None


def _kind(fd: int) -> Kind:
    return "file" if stat.S_ISREG(os.fstat(fd).st_mode) else "stream"
