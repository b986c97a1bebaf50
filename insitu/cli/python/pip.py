"""pip, as a program that chooses and fetches wheels, and can do nothing else.

It is told of a machine that takes no compiled wheel, and that nothing may be built. That holds for what comes from an
index, and not for a URL, which may stand in the metadata of any package. So it runs behind a guard: its process starts
no other program but those few that it asks about the machine, and a requirement by URL ends it. Its configuration
(index, proxy, certificates, cache) is the machine's; nothing of the program's directory is read by it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_MACHINE: Final = ("--only-binary", ":all:", "--platform", "any", "--implementation", "py", "--abi", "none")
_OTHERS_WORDS: Final = ("REQUIREMENT", "CONSTRAINT", "EDITABLE", "NO_BINARY", "ONLY_BINARY", "PRE", "SRC", "NO_DEPS")
_OTHERS_WORDS_TOO: Final = ("DEST", "DESTINATION_DIRECTORY", "DRY_RUN", "QUIET", "VERBOSE", "LOG", "PLATFORM", "ABI")
"""Settings of the environment's, PIP_…, that would say what is to be fetched, and not from where."""
_SAID: Final = "insitu: "
_GUARD: Final = """
import os, runpy, sys

def refuse(what):
    sys.stdout.flush()
    os.write(2, f"\\ninsitu: {what}\\n".encode("utf-8", "replace"))
    os._exit(3)

def started(event, words):
    if event in ("subprocess.Popen", "os.posix_spawn"):
        path = words[0] or words[1][0]
        name = os.path.basename(os.fsdecode(path))
        # Its words for the index, a login to it, the kind of C library: none of these runs what was fetched.
        if name in ("rustc", "lsb_release", "uname", "keyring") or name.startswith("ld-musl"):
            return
        refuse(f"nothing is built or run here, and pip would start {name}")
    if event in ("os.exec", "os.fork", "os.forkpty", "os.spawn", "os.system"):
        refuse("nothing is built or run here, and pip would start another program")

sys.addaudithook(started)
from pip._vendor.packaging.requirements import Requirement
real = Requirement.__init__

def checked(self, words):
    real(self, words)
    if self.url:
        refuse(f"a requirement by URL, {words}")

Requirement.__init__ = checked
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_NONE_FOUND: Final = re.compile(
    r"Could not find a version that satisfies the requirement (.+?)(?: \(from (?!versions:)(.+?)\))?"
    r"(?: \(from versions: (.*)\))?$",
    re.MULTILINE,
)
_CONFLICT: Final = re.compile(r"^The conflict is caused by:\s*\n\s*(\S.*)$", re.MULTILINE)
_UNREACHED: Final = re.compile(r"after connection broken by|Could not fetch URL \S+: (?!404)")
_EMPTY: Final = ("Exception:", "/#dealing-with-dependency-conflicts")
_LOOKED_AT: Final = re.compile(r"^\s*(?:Collecting|Processing) (?:\S*/)?(\S+)", re.MULTILINE)
_OURS: Final = re.compile(r"(->)?-[rc] .*")
"""Who requires what our own file asks for."""


class PipError(Exception):
    """It did not get them; the words are for the user, in a line."""


def fetched(requirements: Path, constraints: Path, into: Path, *, version: str, also: Path) -> None:
    """The wheels of the file `requirements` and of all that these require, in `into`. `version`: of Python, "3.13";
    `also`: a directory with wheels, besides the machine's index. Raises `PipError`."""
    options = ["-vv", "--disable-pip-version-check", "--no-input", "--dest", str(into), "--find-links", str(also)]
    options += [*_MACHINE, "--python-version", version, "-r", str(requirements), "-c", str(constraints)]
    # Not -m: Python would look for its own modules in the directory first.
    command = [_python(), "-P", "-c", _GUARD, "download", *options]
    done = subprocess.run(
        command, cwd=into, env=_environment(os.environ), capture_output=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise PipError(_why(done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")))


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    not_taken = {f"PIP_{word}" for word in (*_OTHERS_WORDS, *_OTHERS_WORDS_TOO)}
    return {name: value for name, value in environ.items() if name not in not_taken} | {"PYTHONUTF8": "1"}


def _python() -> str:
    """An environment made without pip is filled by the Python that it was made of; so is this one's program."""
    return sys.executable if find_spec("pip") else getattr(sys, "_base_executable", sys.executable)


def _why(stdout: str, stderr: str) -> str:
    """pip's many lines as one."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if said := [line for line in lines if line.startswith(_SAID)]:
        looked: Sequence[str] = _LOOKED_AT.findall(stdout)
        by = f", which {looked[-1]} has" if looked else ""
        return f"{said[0].removeprefix(_SAID)}{by}: what is required comes from the package index, and as a wheel"
    if found := _NONE_FOUND.search(stderr):
        if _UNREACHED.search(stdout + stderr):
            return f"the package index cannot be reached, and {found[1]} is not to be had without it"
        who = _OURS.sub("", found[2] or "")
        by = f", which {who} requires" if who else ""
        return (
            f"there is no pure-Python wheel of {found[1]}{by} (or none at all): "
            "nothing is compiled here, and what was compiled for another machine cannot run"
        )
    if conflict := _CONFLICT.search(stdout):
        return f"{conflict[1].strip()}, and no version of that is to be had as pure Python, or none that all agree on"
    errors = [line for line in lines if line.startswith("ERROR:") and not line.endswith(_EMPTY)]
    errors = errors or lines[-1:] or ["pip said nothing"]
    return errors[-1].removeprefix("ERROR:").strip()
