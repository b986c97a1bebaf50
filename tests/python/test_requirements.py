"""What a program asks for, and what pip makes of it: packages by name, as wheels, and nothing that would run here."""

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from insitu.cli.python import asked
from insitu.cli.python.project import read
from insitu.cli.python.requirements import installed
from insitu.runtime.errors import ProgramRejected
from tests.python.wheels import offline, wheel

LIBRARY = {"lib/site/PIL/_version.py": b'__version__ = "13.0.0"'}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With `project/`, `wheels/`, and an `evil-1.tar.gz` in both that makes `canary` when it is built."""
    for name in ("project", "wheels"):
        (tmp_path / name).mkdir()
    (tmp_path / "project" / "main.py").write_text("")
    for variable, value in offline(tmp_path / "wheels").items():
        monkeypatch.setenv(variable, value)
    setup = f"open({str(tmp_path / 'canary')!r}, 'w')\nfrom setuptools import setup\nsetup(name='evil', version='1')\n"
    files = {"setup.py": setup, "PKG-INFO": "Metadata-Version: 2.1\nName: evil\nVersion: 1\n"}
    for folder in ("project", "wheels"):
        with tarfile.open(tmp_path / folder / "evil-1.tar.gz", "w:gz") as archive:
            for name, text in files.items():
                about = tarfile.TarInfo(f"evil-1/{name}")
                about.size = len(text)
                archive.addfile(about, io.BytesIO(text.encode()))
    (tmp_path / "project" / "src").mkdir()
    (tmp_path / "project" / "src" / "setup.py").write_text(setup)
    return tmp_path


def brought(place: Path, requirements: str | bytes) -> dict[str, bytes]:
    data = requirements if isinstance(requirements, bytes) else requirements.encode()
    (place / "project" / "requirements.txt").write_bytes(data)
    return installed(read(place / "project"), LIBRARY)


@pytest.mark.parametrize(
    "line",
    [
        "./evil-1.tar.gz",
        "evil-1.tar.gz",
        "evil-1.tar.gz [x]; python_version > '3'",
        "evil==1.zip",
        "./src",
        "-e ./src",
        "--editable=./src",
        "file:///PLACE/project/evil-1.tar.gz",
        "evil @ file:///PLACE/project/evil-1.tar.gz",
        "evil@file:///PLACE/project/evil-1.tar.gz",
        "evil @ git+file:///PLACE/project/src",
        "git+https://127.0.0.1:1/x.git#egg=evil",
        "https://127.0.0.1:1/evil-1.tar.gz",
        "--no-binary :all:",
        "--no-binary=:all:",
        "--find-links .",
        "-f .",
        "-f.",
        "--index-url http://127.0.0.1:1/",
        "-i http://127.0.0.1:1/",
        "--extra-index-url=http://127.0.0.1:1/",
        "--trusted-host x",
        "--pre",
        "--use-feature=fast-deps",
        "evil --global-option=x",
        "evil --config-settings=x=y",
        'evil; python_version > "3" --no-binary :all:',
        'evil; python_version > "3 --no-binary :all:"',
        "evil; -e ./src",
        "evil \\\n  --no-binary evil",
        "${HOME}/x",
        "-r ../outside.txt",
        "-r /etc/passwd",
        "-r .linked.txt",
        "-r folder/up.txt",
        "-r https://127.0.0.1:1/x.txt",
        "-c ../outside.txt",
        "???",
    ],
)
def test_what_is_no_packages_name_is_refused(place: Path, line: str) -> None:
    (place / "outside.txt").write_text("first\n")
    (place / "project" / "folder").mkdir()
    (place / "project" / "folder" / "up.txt").write_text("-r ../../outside.txt\n")
    (place / "project" / "requirements.txt").write_text(
        f"\n# words\nfirst>=1\n{line.replace('PLACE', str(place)[1:])}\n"
    )
    (place / "project" / ".linked.txt").symlink_to(place / "outside.txt")
    with pytest.raises(ProgramRejected) as why:
        installed(read(place / "project"), LIBRARY)
    inner = "folder/up.txt: line 1: " if "up.txt" in line else "requirements.txt: line 4: "
    assert str(why.value).startswith(f"{place / 'project'}/{inner}"), why.value
    assert not (place / "canary").exists()


def test_what_is_asked_for_in_other_files(place: Path) -> None:
    for name in ("first", "second"):
        wheel(place / "wheels", name, body="x = 1")
    (place / "project" / "more").mkdir()
    (place / "project" / "more" / "a.txt").write_text("-r b.txt\n-c ../c.txt\n-r a.txt\n")
    (place / "project" / "more" / "b.txt").write_text("# why \\\nsecond \\\r\n  >= 1 ; python_version > '3' # why\n")
    (place / "project" / "c.txt").write_text("second<2\n")
    found = brought(place, "﻿first\r\n-r more/a.txt\r\n")
    assert {"lib/site/first.py", "lib/site/second.py"} <= set(found)
    (place / "project" / "c.txt").write_text("second>=2\n")
    with pytest.raises(ProgramRejected, match="second"):
        brought(place, "first\n--requirement=more/a.txt\n")


def test_digests_are_held_against(place: Path) -> None:
    import hashlib

    wheel(place / "wheels", "first", requires="pillow")
    digest = hashlib.sha256((place / "wheels" / "first-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    text = (
        f"first==1.0 --hash=sha256:{'0' * 64} \\\n  --hash=sha256:{digest}\npillow==13.0.0 --hash=sha256:{'1' * 64}\n"
    )
    assert "lib/site/first.py" in brought(place, text)
    with pytest.raises(ProgramRejected):
        brought(place, text.replace(digest, "2" * 64))


def test_the_environment_does_not_have_anything_built(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")
    monkeypatch.setenv("PIP_REQUIREMENT", str(place / "project" / "evil-1.tar.gz"))
    with pytest.raises(ProgramRejected, match="no pure-Python wheel of evil "):
        brought(place, "evil\n")
    assert not (place / "canary").exists()


@pytest.mark.parametrize(
    "url", ["file://PLACE/project/evil-1.tar.gz", "git+file://PLACE/project/src", "http://[::1]:1/x.whl"]
)
def test_what_a_wheel_requires_by_url_is_neither_fetched_nor_built(place: Path, url: str) -> None:
    wheel(place / "wheels", "first", requires="second")
    wheel(place / "wheels", "second", requires=f"evil @ {url.replace('PLACE', str(place))}")
    with pytest.raises(
        ProgramRejected, match=r"a requirement by URL, evil @ .*, which second-1.0-py3-none-any.whl has: "
    ):
        brought(place, "first\n")
    assert not (place / "canary").exists()


def test_pip_finds_no_modules_in_the_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pip itself nor what it imports: they would run here."""
    wheel(place / "wheels", "first")
    for name in ("pip", "json", "runpy"):
        (place / "project" / f"{name}.py").write_text(f"open({str(place / 'canary')!r}, 'w')\n")
    monkeypatch.chdir(place / "project")
    assert "lib/site/first.py" in brought(place, "first\n")
    assert not (place / "canary").exists()


@pytest.mark.parametrize(
    ("requirement", "why"),
    [
        ("compiled", "there is no pure-Python wheel of compiled (or none at all)"),
        ("needs", "there is no pure-Python wheel of compiled>=1, which needs requires (or none at all)"),
        ("first>=2", "there is no pure-Python wheel of first>=2 (or none at all)"),
        ("either", "either 1.1 depends on compiled>=1, and no version of that is to be had as pure Python"),
        ("pillow>=1000", "there is no pure-Python wheel of pillow>=1000 (or none at all)"),
    ],
)
def test_a_requirement_that_cannot_be_had_is_named(place: Path, requirement: str, why: str) -> None:
    wheel(place / "wheels", "first")
    wheel(place / "wheels", "needs", requires="compiled>=1")
    for version in ("1.0", "1.1"):
        wheel(place / "wheels", "either", requires="compiled>=1", version=version)
    wheel(place / "wheels", "compiled", tag="cp313-cp313-manylinux_2_17_x86_64")
    with pytest.raises(ProgramRejected) as told:
        brought(place, f"{requirement}\n")
    assert str(told.value).startswith(f"{place / 'project'}: its requirements cannot be had: {why}")


def test_an_index_that_cannot_be_reached_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(ProgramRejected, match="the package index cannot be reached, and nobodys is not to be had"):
        brought(place, "nobodys\n")


def hostile(place: Path, change: Callable[[zipfile.ZipFile], Any]) -> None:
    wheel(place / "wheels", "first", body="x = 1")
    with zipfile.ZipFile(place / "wheels" / "first-1.0-py3-none-any.whl", "a") as archive:
        change(archive)


@pytest.mark.parametrize("name", ["../out.py", "/etc/x.py", "a/../../out.py", "a\\b.py", "a//b.py", "a\nb.py"])
def test_a_path_that_leads_out_of_a_wheel_is_refused(place: Path, name: str) -> None:
    hostile(place, lambda archive: archive.writestr(name, ""))
    with pytest.raises(ProgramRejected, match=r"first-1.0-py3-none-any.whl: .* is no path of a file in it"):
        brought(place, "first\n")


def test_of_a_wheel_come_modules_and_what_they_say_of_themselves(place: Path) -> None:
    def more(archive: zipfile.ZipFile) -> None:
        for name in ("x.pth", "first-1.0.data/scripts/cmd", "first-1.0.data/data/etc/x", "first-1.0.data/headers/x.h"):
            archive.writestr(name, "import os")
        archive.writestr("first-1.0.data/purelib/pkg/deep.py", "")
        archive.writestr("pkg/data.txt", "")

    hostile(place, more)
    about = "lib/site/first-1.0.dist-info"
    assert set(brought(place, "first\n")) == {
        *(f"{about}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt")),
        *(f"lib/site/{name}" for name in ("first.py", "pkg/deep.py", "pkg/data.txt")),
    }


def test_a_wheel_that_unpacks_to_too_much_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("insitu.cli.python.wheels.MAX_TOTAL", 1 << 20)
    hostile(place, lambda archive: archive.writestr("zeros", bytes(1 << 21), zipfile.ZIP_DEFLATED))
    with pytest.raises(ProgramRejected, match=r"over 1 MiB with first-1\.0"):
        brought(place, "first\n")


@given(st.text("ab1.-_[],<>=!~*+ ;()'\"@/:#\\\n", max_size=24))
def test_what_is_taken_is_what_packaging_tools_take(words: str) -> None:
    """And then pip reads no more in it than a name, extras, versions and markers."""
    try:
        one = asked.one(words, "x")
    except ProgramRejected:
        return
    assert "\n" not in one.words
    assert not any(word.startswith("-") for word in one.words.split())
    assert not set("@/:#\\") & set(one.words)


@pytest.mark.parametrize(
    "words",
    [
        "a",
        "A.b-c_d",
        "a[x]",
        "a [x, y-z] >= 1.0, != 1.2.*",
        "a (>=1,<2)",
        "a==1.0+local.1",
        "a===1.0",
        'a>=1; python_version < "3.13" and (os_name == \'posix\' or extra == "x-y")',
        'a;sys_platform!="win32"',
        "a[]>=1!2.0",
    ],
)
def test_ways_to_ask_for_a_package(words: str) -> None:
    found, reference = asked.one(words, "x"), Requirement(words)
    assert (found.name, str(Requirement(found.words))) == (reference.name, str(reference))


def test_the_command_says_so_in_a_line(place: Path) -> None:
    (place / "project" / "requirements.txt").write_text("-e ./src\n")
    done = subprocess.run(
        [sys.executable, "-m", "insitu", "program", "build", "project"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: project/requirements.txt: line 1: '-e ./src' is no package by its name: ")
    assert done.stderr.count("\n") == 1
