"""Where Debian's sources come from: what apt's lists are taken to say, and what is refused."""

import os
import shutil
from pathlib import Path

import pytest

from guests.errors import SourceError
from guests.python import debian, recipe
from guests.python.debian import DebianSource, Mirror, fetch_debian, mirrors
from guests.store import Store

ONE_LINE = """\
# deb http://commented.example/debian trixie main
deb [arch=amd64 signed-by=/keys/one.gpg] http://one.example/debian bookworm main contrib
deb-src http://one.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb http://other.example/apt cloud-sdk-bookworm main
deb https://ubuntu.example/ubuntu noble main
deb http://two.example/debian   stable-updates main
"""
DEB822 = """\
Types: deb
# a comment in between
URIs: http://three.example/debian http://four.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/three.gpg

Types: deb
URIs: https://packages.example/node
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie

Types: deb
URIs: http://five.example/debian
Suites: sid
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEYYYY
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_the_mirrors_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "debian.sources.save").write_text(DEB822.replace("three", "saved"))
    (tmp_path / "sources.list.d" / "garbage.list").write_bytes(b"\xff\xfe\n")
    assert list(mirrors(tmp_path)) == [
        Mirror("http://one.example/debian", "/keys/one.gpg"),
        Mirror("http://one.example/debian", ""),
        Mirror("http://two.example/debian", ""),
        Mirror("http://three.example/debian", "/keys/three.gpg"),
        Mirror("http://four.example/debian", "/keys/three.gpg"),
        Mirror("http://five.example/debian", ""),
    ]


def test_without_lists_there_are_none(tmp_path: Path) -> None:
    assert list(mirrors(tmp_path)) == []


WANTED = DebianSource("zlib", "zlib_1.orig.tar.gz", "0" * 64)


def test_a_machine_without_apt_is_told_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SourceError, match=r"the sources of zlib come through apt, .*`make python-guest` leaves a wheel"
    ):
        fetch_debian(Store(tmp_path), [WANTED])


def test_a_machine_of_another_kind_is_told_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _apt(tmp_path / "bin", "exit 1", monkeypatch)
    monkeypatch.setattr(debian, "ETC", tmp_path)
    with pytest.raises(SourceError, match=r"are Debian's, and this machine's apt names none"):
        fetch_debian(Store(tmp_path), [WANTED])


def _apt(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An apt-get that does this."""
    folder.mkdir()
    (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            "echo 'E: Release file is not there' >&2; exit 100",
            "cannot download the sources of zlib: Release file is not",
        ),
        ("echo 'W: Failed to fetch it' >&2", "cannot download the sources of zlib: Failed to fetch it"),
        ("exit 3", "apt-get update ended with 3"),
        ("touch zlib_2.orig.tar.gz", r"trixie has no zlib_1.orig.tar.gz any more \(it has zlib_2.orig.tar.gz\)"),
        (
            "echo something > zlib_1.orig.tar.gz",
            r"is not the file that is pinned: its SHA-256 is [0-9a-f]{64}, not 0000",
        ),
    ],
)
def test_what_apt_does_not_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str) -> None:
    """Each refused in one line, and nothing is kept."""
    _apt(tmp_path / "bin", script, monkeypatch)
    (tmp_path / "sources.list").write_text(ONE_LINE)
    monkeypatch.setattr(debian, "ETC", tmp_path)
    with pytest.raises(SourceError, match=why):
        fetch_debian(Store(tmp_path / "store"), [WANTED])
    assert not list((tmp_path / "store").glob("sources/*"))


def test_apt_is_asked_for_one_release_in_a_state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    _apt(tmp_path / "bin", f'echo "$@" >> {log}; cat ../sources.list >> {log}; touch zlib_1.orig.tar.gz', monkeypatch)
    (tmp_path / "sources.list").write_text(ONE_LINE)
    monkeypatch.setattr(debian, "ETC", tmp_path)
    empty = DebianSource(
        "zlib", "zlib_1.orig.tar.gz", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert fetch_debian(Store(tmp_path / "store"), [empty])[empty].read_bytes() == b""
    asked, lists, source, _ = log.read_text().splitlines()
    assert lists == "deb-src [signed-by=/keys/one.gpg] http://one.example/debian trixie main"
    assert "Dir::State=" in asked
    assert asked.endswith(" update")
    assert source.endswith("source --download-only --tar-only --only-source zlib/trixie")
    # And never again.
    shutil.rmtree(tmp_path / "bin")
    assert fetch_debian(Store(tmp_path / "store"), [empty])[empty].is_file()


def test_the_pinned_names_go_with_the_versions_that_are_told() -> None:
    assert recipe.VERSION in recipe.CPYTHON.filename
    for library in recipe.LIBRARIES:
        assert (
            library.title.split()[-1]
            in f"{library.source} {getattr(library.source, 'filename', '')} libjpeg-turbo 3.1.2"
        )
