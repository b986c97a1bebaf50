"""guests/build.py: builds once, the same bytes everywhere, refuses what it cannot trust, and says what went wrong."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "insitu" / "programs"
NAMES = sorted(path.parent.name for path in ROOT.glob("guests/*/program.toml"))


def command(*arguments: str, root: Path = ROOT) -> list[str]:
    return [sys.executable, str(root / "guests" / "build.py"), *arguments]


def build(*arguments: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, root=root),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of guests/ that a test may spoil."""
    shutil.copytree(ROOT / "guests", tmp_path / "checkout" / "guests", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "checkout"


def test_a_second_build_builds_nothing(tmp_path: Path) -> None:
    """What has been built for one folder is only copied to another, and not a word is said."""
    assert build("--out", str(tmp_path / "first")).returncode == 0
    done = build("--out", str(tmp_path / "second"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(tmp_path / "second") == sorted(f"{name}.{kind}" for name in NAMES for kind in ("wasm", "toml"))
    for name in files(tmp_path / "second"):
        assert (tmp_path / "second" / name).read_bytes() == (PROGRAMS / name).read_bytes(), name


def test_what_is_already_there_is_not_touched(tmp_path: Path) -> None:
    build("--out", str(tmp_path), "cat")
    before = (tmp_path / "cat.wasm").stat()
    build("--out", str(tmp_path), "cat")
    after = (tmp_path / "cat.wasm").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # it may have been read


def test_same_inputs_same_bytes(tmp_path: Path, checkout: Path) -> None:
    """Another checkout, another cache, nothing to go by: the module is the same. And none tells where it was built."""
    done = build("--out", str(tmp_path / "out"), "cat", root=checkout, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "building cat" in done.stderr
    assert (tmp_path / "out" / "cat.wasm").read_bytes() == (PROGRAMS / "cat.wasm").read_bytes()
    for name in NAMES:
        module = (PROGRAMS / f"{name}.wasm").read_bytes()
        for trace in (b"/home", b"/tmp", b"/root", b".cache", b"insitu/guests", os.fsencode(ROOT)):
            assert trace not in module, (name, trace)


def test_a_changed_source_is_built_again(tmp_path: Path, checkout: Path) -> None:
    arguments = ("--out", str(tmp_path / "out"), "cat")
    cache = str(tmp_path / "cache")
    build(*arguments, root=checkout, XDG_CACHE_HOME=cache)
    before = (tmp_path / "out" / "cat.wasm").read_bytes()
    source = checkout / "guests" / "cat" / "cat.c"
    source.write_text(source.read_text().replace("takes no argument", "takes no word"))
    assert "building cat" in build(*arguments, root=checkout, XDG_CACHE_HOME=cache).stderr
    assert (tmp_path / "out" / "cat.wasm").read_bytes() != before


def test_a_change_in_what_is_shared_builds_only_those_that_have_it_inside(tmp_path: Path, checkout: Path) -> None:
    shared = checkout / "guests" / "common" / "counts.h"
    shared.write_text(shared.read_text().replace("#define KEY_LIMIT", "#define NEW 1\n#define KEY_LIMIT"))
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "insitu" / "guests"
    store = tmp_path / "cache" / "insitu" / "guests"  # what this user has, but that nothing new is left there
    store.mkdir(parents=True)
    shutil.copytree(own / "built", store / "built", copy_function=os.symlink)
    (store / "zig").symlink_to(own / "zig")
    cache = str(tmp_path / "cache")
    done = build("--out", str(tmp_path / "out"), "cat", "gzip", "transcode", root=checkout, XDG_CACHE_HOME=cache)
    assert done.stderr == ""
    done = build("--out", str(tmp_path / "out"), "words", root=checkout, XDG_CACHE_HOME=cache)
    assert "building words" in done.stderr


def test_two_builds_at_once(tmp_path: Path) -> None:
    """One of them builds; the other waits and takes the result."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    both = [
        subprocess.Popen(
            command("--out", str(tmp_path / which), "cat"), env=environment, stderr=subprocess.PIPE, text=True
        )
        for which in ("first", "second")
    ]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "".join(said).count("compiled 1/1") == 1
    first, second = ((tmp_path / which / "cat.wasm").read_bytes() for which in ("first", "second"))
    assert first == second == (PROGRAMS / "cat.wasm").read_bytes()


def test_a_killed_build_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Killed in the midst of its work, compilers and all; the next build is not troubled by what it left."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    arguments = command("--out", str(tmp_path / "out"), "words")
    # A cache without zig's C library: the link takes long, and this one does not come to its end.
    with subprocess.Popen(
        arguments, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert "compiled 1/1" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGKILL)
    store = tmp_path / "cache" / "insitu" / "guests"
    assert process.returncode == -signal.SIGKILL
    assert files(tmp_path / "out") == []
    assert files(store / "built") == []
    assert files(store / "scratch" / "words") != []
    # With the C library of this user's cache, that the rest may be quick.
    shutil.rmtree(store / "zig")
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    (store / "zig").symlink_to(own / "insitu" / "guests" / "zig")
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "words.wasm").read_bytes() == (PROGRAMS / "words.wasm").read_bytes()
    assert files(store / "scratch") == []


def tampered(folder: Path) -> Path:
    """An index folder whose files have the right names and the wrong bytes."""
    folder.mkdir()
    for name in ("simplejpeg-1.9.0", "pyspng-0.1.4", "libstb-0.8.0", "font-roboto-0.0.1"):
        (folder / f"{name}.tar.gz").write_bytes(b"not what was pinned")
    return folder


def test_a_source_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    done = build(
        "--out",
        str(tmp_path / "out"),
        "watermark",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tampered(tmp_path / "index")),
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("guests: cannot download simplejpeg 1.9.0")
    assert "is not the file that is pinned" in last
    assert "Traceback" not in done.stderr
    assert files(tmp_path / "out") == files(tmp_path / "cache" / "insitu" / "guests" / "sources") == []


def test_a_spoilt_download_in_the_cache_is_not_used(tmp_path: Path) -> None:
    """The cache is checked as well: a file there that has changed is fetched again, and never used."""
    sys.path.insert(0, str(ROOT))
    try:
        from guests.recipes import STB
    finally:
        sys.path.remove(str(ROOT))
    spoilt = tmp_path / "cache" / "insitu" / "guests" / "sources" / f"{STB.sha256}-{STB.filename}"
    spoilt.parent.mkdir(parents=True)
    spoilt.write_bytes(b"spoilt")
    done = build(
        "--out",
        str(tmp_path / "out"),
        "watermark",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tampered(tmp_path / "index")),
    )
    assert "libstb 0.8.0" in done.stderr.splitlines()[0]
    assert done.returncode == 1


def test_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = build(
        "--out",
        str(tmp_path / "out"),
        "watermark",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tmp_path / "empty"),
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("guests: cannot download simplejpeg 1.9.0")
    assert "No matching distribution" in last


def test_a_compiler_error_is_shown(tmp_path: Path, checkout: Path) -> None:
    with open(checkout / "guests" / "cat" / "cat.c", "a", encoding="utf-8") as source:
        source.write("this is not C\n")
    done = build("--out", str(tmp_path / "out"), "cat", root=checkout, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "guests: compiling own/cat/cat.c failed" in done.stderr
    assert "unknown type name 'this'" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(tmp_path / "out") == []


def test_an_edit_that_does_not_fit_is_refused(tmp_path: Path, checkout: Path) -> None:
    """Another version of a source, in which what is to be changed stands elsewhere, is not built as if it were."""
    recipes = checkout / "guests" / "recipes.py"
    recipes.write_text(recipes.read_text().replace('"js_proxy_has": 128', '"js_proxy_had": 128'))
    done = build("--out", str(tmp_path / "out"), "javascript", root=checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("guests: quickjs.c: ")
    assert "js_proxy_had" in done.stderr
    assert "matches in 0 places" in done.stderr
    assert files(tmp_path / "out") == []


def test_an_unknown_guest(tmp_path: Path) -> None:
    done = build("--out", str(tmp_path), "dog")
    assert done.returncode == 2
    assert f"no guest is named dog; there are {', '.join(NAMES)}" in done.stderr


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = build("--out", str(tmp_path / "file"), "cat")
    assert done.returncode == 1
    assert done.stderr.startswith("guests: cannot write")
    assert "Traceback" not in done.stderr
