"""`insitu run` and `insitu program build` of JavaScript scripts, and of directories with one."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Insitu

SCRIPT = (
    "import { word } from './lib/word.js';\nconsole.log(word, scriptArgs.slice(1).join(), std.in.readAsString());\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "greet"
    (place / "lib").mkdir(parents=True)
    (place / "main.js").write_text(SCRIPT)
    (place / "lib" / "word.js").write_text("export const word = 'hello';\n")
    (place / ".hidden").write_text("not for others")
    (place / "README.md").write_text("greets")
    return place


def test_a_directory_is_run_and_built(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    (directory / "program.toml").write_text('version = "1"\narguments = ["you"]\n[limits]\nmemory = "32MiB"\n')
    assert insitu("run", directory, "all", "of you", input=b"in").stdout == b"hello all,of you in\n"
    assert insitu("run", directory, input=b"in").stdout == b"hello you in\n"
    done = insitu("program", "build", "greet")
    assert (done.returncode, done.stderr) == (0, b"")
    assert insitu("program", "build", "-o", "again.zip", "greet").returncode == 0
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "greet@1.zip").read_bytes()
    assert insitu("run", "greet@1.zip", "--top", "3", input=b"in").stdout == b"hello --top,3 in\n"
    assert insitu("run", "greet@1.zip", input=b"in").stdout == b"hello you in\n"
    shown = json.loads(insitu("program", "show", "--json", "greet@1.zip").stdout)
    assert shown["contents"] == [
        "README.md",
        "files/README.md",
        "files/lib/word.js",
        "files/main.js",
        "javascript.wasm",
        "program.toml",
    ]
    assert shown["limits"] == {"memory": 32 << 20}
    assert insitu("program", "check", "greet").returncode == 0


def test_a_lone_script_brings_nothing_else(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "count.js").write_text("console.log(std.in.readAsString().length, scriptArgs)")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "word.js").write_text("export const word = 1;\n")
    assert insitu("run", "count.js", "a", input=b"1234").stdout == b'4 ["/main.js","a"]\n'
    assert insitu("program", "build", "count.js").returncode == 0
    assert insitu("run", "count.zip", "a", input=b"1234").stdout == b'4 ["/main.js","a"]\n'
    (tmp_path / "lone.js").write_text(SCRIPT)
    done = insitu("run", "lone.js")
    assert done.returncode == 1
    assert done.stderr.startswith(b"ReferenceError: cannot import /lib/word.js: No such file or directory\n")
    (tmp_path / "others").mkdir()
    (directory / "lib").rename(tmp_path / "others" / "lib")
    assert insitu("run", "--files", "others", "lone.js", "x", input=b"in").stdout == b"hello x in\n"


def test_what_is_refused(insitu: Insitu, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "javascript.js").write_text("1")
    (directory / "program.toml").write_text('entry = "javascript.wasm"\n')
    for words, said in (
        (("run", "none.js"), b"insitu: none.js: No such file or directory\n"),
        (("run", "--root", "greet", "javascript.js"), b"a program that is a script cannot be called javascript"),
        (
            ("program", "build", "greet"),
            b"greet/program.toml: a script's module and files are made for it: it has no entry",
        ),
        (
            ("program", "build", "greet/README.md"),
            b"greet/README.md: neither a directory nor a script (.py, .js, .mjs)",
        ),
    ):
        done = insitu(*words)
        assert done.returncode in (1, 125)
        assert done.stdout == b""
        assert said in done.stderr, done.stderr
        assert b"Traceback" not in done.stderr
