"""Third-party C sources, the font and the photograph: pinned distributions from PyPI, checked before any use.

They are fetched by pip, so that the machine's own pip configuration (index, proxy, certificates, cache) holds. pip has
no command that only downloads a source distribution: it always asks the build backend for metadata, which would install
and run that backend. So pip is shown backends of our own, a few lines each, that answer with the PKG-INFO that the
distribution carries. pip compares the digest before it unpacks; the file that it leaves is compared once more here.
"""

import fnmatch
import hashlib
import lzma
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from guests.errors import SourceError
from guests.store import Store, say, write_atomically

MEMBER_LIMIT = 64 << 20
"""The most bytes that one extracted file may have: far above any that is needed."""

BACKENDS = ("setuptools/build_meta", "scikit_build_core/build", "poetry/core/masonry/api")
BACKEND = """\
import os, shutil
from email.parser import BytesHeaderParser

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    with open("PKG-INFO", "rb") as file:
        info = BytesHeaderParser().parse(file)
    folder = f"{info['Name'].replace('-', '_')}-{info['Version']}.dist-info"
    os.makedirs(os.path.join(metadata_directory, folder), exist_ok=True)
    shutil.copyfile("PKG-INFO", os.path.join(metadata_directory, folder, "METADATA"))
    return folder

# A distribution with a backend of its own hands these on.
build_wheel = build_sdist = get_requires_for_build_sdist = None

class __legacy__:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)

    def build_wheel(self, *arguments):
        raise NotImplementedError

# Pillow's backend, which comes with it, derives from the class of this method.
build_wheel = __legacy__().build_wheel
"""


@dataclass(frozen=True)
class Distribution:
    """One file of a release on PyPI."""

    name: str
    version: str
    filename: str
    sha256: str

    @property
    def is_wheel(self) -> bool:
        return self.filename.endswith(".whl")

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def fetch(store: Store, wanted: Sequence[Distribution]) -> dict[Distribution, Path]:
    """Where each distribution lies in the store; downloads those that are not there yet.

    Raises SourceError when one cannot be had or differs from its digest.
    """
    paths = {item: store.root / "sources" / f"{item.sha256}-{item.filename}" for item in wanted}
    missing = [item for item, path in paths.items() if not path.is_file() or sha256_of(path) != item.sha256]
    for wheels in (False, True):
        group = [item for item in missing if item.is_wheel is wheels]
        if group:
            say("downloading " + ", ".join(map(str, group)))
            _download(group, wheels, paths)
    return paths


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(group: list[Distribution], wheels: bool, paths: dict[Distribution, Path]) -> None:
    names = ", ".join(map(str, group))
    with tempfile.TemporaryDirectory(prefix="insitu-sources-") as scratch:
        folder = Path(scratch)
        requirements = folder / "requirements.txt"
        requirements.write_text(
            "".join(f"{item.name}=={item.version} --hash=sha256:{item.sha256}\n" for item in group), encoding="utf-8"
        )
        environment = dict(os.environ)
        kind = ["--only-binary", ":all:"]
        if not wheels:
            kind = ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
            backends = _write_backends(folder / "backends")
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(backends), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--ignore-requires-python", *kind, "--require-hashes"]
        command += ["--requirement", str(requirements), "--dest", str(folder / "files")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SourceError(f"cannot download {names}: {_why(done.stderr)}")
        for item in group:
            file = folder / "files" / item.filename
            if not file.is_file():
                raise SourceError(f"cannot download {item}: pip did not leave {item.filename}")
            if (found := sha256_of(file)) != item.sha256:
                raise SourceError(
                    f"{item.filename} is not the file that is pinned: its SHA-256 is {found}, "
                    f"not {item.sha256}; it was refused"
                )
            write_atomically(paths[item], file.read_bytes())


def _write_backends(root: Path) -> Path:
    for backend in BACKENDS:
        module = root / f"{backend}.py"
        module.parent.mkdir(parents=True)
        for folder in [module.parent, *module.parent.parents]:
            if folder == root:
                break
            (folder / "__init__.py").touch()
        module.write_text(BACKEND, encoding="utf-8")
    return root


def _why(stderr: str) -> str:
    """pip's many lines as one."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for at, line in enumerate(lines):
        if "DO NOT MATCH THE HASHES" in line:
            found = [rest.split()[-1] for rest in lines[at:] if rest.startswith("Got")]
            got = f" (its SHA-256 is {found[0]})" if found else ""
            return f"what the index serves is not the file that is pinned{got}; it was refused"
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["pip said nothing"]
    return errors[-1].removeprefix("ERROR:").strip()


def extract(archive: Path, patterns: Sequence[str], into: Path) -> None:
    """Extracts the files that match any of `patterns` (fnmatch, below the archive's top folder for source
    distributions) to the same paths in `into`, and nothing else.

    Raises SourceError for an archive that is damaged, for a pattern that matches nothing, and for a member that is not
    a plain file below the archive's root.
    """
    unmatched = set(patterns)
    try:
        if archive.name.endswith(".whl"):
            with zipfile.ZipFile(archive) as wheel:
                for info in wheel.infolist():
                    if matched := _matching(info.filename, patterns):
                        unmatched -= matched
                        with wheel.open(info) as source:
                            _extract_member(source.read(MEMBER_LIMIT + 1), info.filename, archive, into)
        else:
            with tarfile.open(archive, "r:gz") as sdist:
                for member in sdist:
                    name = member.name.partition("/")[2]
                    if not (matched := _matching(name, patterns)):
                        continue
                    unmatched -= matched
                    reader = sdist.extractfile(member) if member.isreg() else None
                    if reader is None:
                        raise SourceError(f"{archive.name}: {member.name} is not a plain file")
                    _extract_member(reader.read(MEMBER_LIMIT + 1), name, archive, into)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise SourceError(f"{archive.name} cannot be unpacked: {error}") from error
    if unmatched:
        raise SourceError(f"{archive.name} holds nothing that matches {', '.join(sorted(unmatched))}")


def unpack(archive: Path, into: Path, without: Sequence[str] = ()) -> None:
    """Unpacks a source archive, all of it but the files that match `without` (fnmatch, * spans folders), to `into`.

    The archive's top folder is left off; links and other things that are no files are left out. Dates are kept, for
    make goes by them. Raises SourceError for an archive that is damaged or would leave `into`.
    """
    try:
        with tarfile.open(archive) as source:
            for member in source:
                name = member.name.removeprefix("./").partition("/")[2]
                if not member.isreg() or any(fnmatch.fnmatchcase(name, pattern) for pattern in without):
                    continue
                reader = source.extractfile(member)
                assert reader is not None  # it is a plain file
                _extract_member(reader.read(MEMBER_LIMIT + 1), name, archive, into)
                target = into / name
                target.chmod(0o755 if member.mode & 0o100 else 0o644)
                os.utime(target, (member.mtime, member.mtime))
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise SourceError(f"{archive.name} cannot be unpacked: {error}") from error


def _matching(name: str, patterns: Sequence[str]) -> set[str]:
    # fnmatch lets * span folders: a pattern without one more "/" must not reach into subfolders.
    return {p for p in patterns if fnmatch.fnmatchcase(name, p) and name.count("/") == p.count("/")}


def _extract_member(data: bytes, name: str, archive: Path, into: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise SourceError(f"{archive.name}: {name} would leave the folder it is unpacked to")
    if len(data) > MEMBER_LIMIT:
        raise SourceError(f"{archive.name}: {name} has more than {MEMBER_LIMIT} bytes")
    target = into.joinpath(*path.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def edit(path: Path, edits: Sequence[tuple[str, str]]) -> None:
    """Puts the second of each pair where the first, a regular expression (multi-line), matches.

    Raises SourceError for one that does not match in just one place: the source is not the one it was made for.
    """
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in edits:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count != 1:
            raise SourceError(f"{path.name}: {pattern!r} matches in {count} places, and has to in one")
    path.write_text(text, encoding="utf-8")
