"""Source packages of Debian, through the machine's own apt configuration: its mirrors, its keys, its proxy.

No mirror is named here: the machine's own apt says where Debian is, and is asked there for the sources of one release.
That goes into a private state of apt's, so it works as any user and changes nothing of the system's. What is had is
held against a pinned SHA-256, whoever it came from.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from guests.errors import SourceError
from guests.sources import sha256_of
from guests.store import Store, say, write_atomically

RELEASE = "trixie"
"""Where the pinned files are, whatever release the machine has."""
_FIELD = re.compile(r"(?m)^([\w-]+):((?:.*(?:\n[ \t].*)*))")
_SUITES = re.compile(r"(stable|oldstable|testing|unstable|sid|bullseye|bookworm|trixie|forky)(-updates|-backports)?/?")
"""Suites that are at a mirror of Debian's: of other lists nothing is asked."""
ETC = Path("/etc/apt")
HOW_ELSE = "on another machine, `make python-guest` leaves a wheel that only needs to be installed here"


@dataclass(frozen=True)
class DebianSource:
    """The upstream archive of one source package."""

    package: str
    filename: str
    sha256: str

    def __str__(self) -> str:
        return f"Debian's {self.package}"


@dataclass(frozen=True)
class Mirror:
    """A place that the machine has packages of Debian's from, and the key that it trusts there, if it says one."""

    uri: str
    signed_by: str


def fetch_debian(store: Store, wanted: Sequence[DebianSource]) -> dict[DebianSource, Path]:
    """Where each archive lies in the store; downloads those that are not there yet.

    Raises SourceError when one cannot be had, or differs from its digest.
    """
    paths = {item: store.root / "sources" / f"{item.sha256}-{item.filename}" for item in wanted}
    missing = [item for item, path in paths.items() if not path.is_file() or sha256_of(path) != item.sha256]
    if missing:
        names = ", ".join(item.package for item in missing)
        if not shutil.which("apt-get"):
            raise SourceError(f"the sources of {names} come through apt, and there is no apt-get here; {HOW_ELSE}")
        found = list(dict.fromkeys(mirrors(ETC)))
        if not found:
            raise SourceError(f"the sources of {names} are Debian's, and this machine's apt names none; {HOW_ELSE}")
        say(f"downloading Debian's sources of {names}")
        _download(missing, found, paths)
    return paths


def mirrors(etc: Path) -> Iterator[Mirror]:
    """The mirrors of Debian's in apt's lists, of both forms. What cannot be read or understood is left out."""
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for path in lists:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if path.suffix == ".list":
            yield from _one_line(text)
        elif path.suffix == ".sources":
            yield from _deb822(text)


def _one_line(text: str) -> Iterator[Mirror]:
    for line in text.splitlines():
        found = re.match(r"\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)", line)
        if found and _SUITES.fullmatch(found[3]):
            options = dict(option.partition("=")[::2] for option in (found[1] or "").split())
            yield Mirror(found[2], options.get("signed-by", ""))


def _deb822(text: str) -> Iterator[Mirror]:
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields = {name.lower(): value.strip() for name, value in _FIELD.findall(stanza)}
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        if any(_SUITES.fullmatch(suite) for suite in fields.get("suites", "").split()):
            signed_by = fields.get("signed-by", "")
            # A key that stands in the list itself cannot be passed on in the other form: apt's own keys will do.
            yield from (Mirror(uri, "" if "\n" in signed_by else signed_by) for uri in fields.get("uris", "").split())


def _download(missing: list[DebianSource], found: list[Mirror], paths: dict[DebianSource, Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="insitu-apt-") as scratch:
        folder = Path(scratch)
        for name in ("state/lists/partial", "cache/archives/partial", "parts", "files"):
            (folder / name).mkdir(parents=True)
        failure = ""
        for mirror in found:
            options = f"[signed-by={mirror.signed_by}] " if mirror.signed_by else ""
            (folder / "sources.list").write_text(f"deb-src {options}{mirror.uri} {RELEASE} main\n", encoding="utf-8")
            if failure := _apt(folder, "update"):
                continue
            for item in missing:
                if failure := failure or _apt(
                    folder, "source", "--download-only", "--tar-only", "--only-source", f"{item.package}/{RELEASE}"
                ):
                    break
            if not failure:
                break
        if failure:
            raise SourceError(f"cannot download the sources of {missing[0].package}: {failure}; {HOW_ELSE}")
        for item in missing:
            file = folder / "files" / item.filename
            if not file.is_file():
                raise SourceError(
                    f"{item}: {RELEASE} has no {item.filename} any more (it has "
                    f"{', '.join(sorted(path.name for path in file.parent.glob(f'{item.package}_*'))) or 'none'})"
                )
            if (digest := sha256_of(file)) != item.sha256:
                raise SourceError(
                    f"{item.filename} is not the file that is pinned: its SHA-256 is {digest}, "
                    f"not {item.sha256}; it was refused"
                )
            write_atomically(paths[item], file.read_bytes())


def _apt(folder: Path, *words: str) -> str:
    """One call of apt-get with a state of its own; what went wrong, in one line, or nothing."""
    settings = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "parts",
        "Acquire::Languages": "none",
        "APT::Get::List-Cleanup": "false",
        # As root, apt would give up its rights to a user who cannot enter this folder.
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    command = ["apt-get", "-q", *options, *words]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        command, cwd=folder / "files", env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    lines = [line[2:].strip() for line in done.stderr.splitlines() if line.startswith(("E:", "W: Failed"))]
    if done.returncode or any("Failed" in line for line in lines):
        return lines[0] if lines else f"{shlex.join(['apt-get', *words])} ended with {done.returncode}"
    return ""
