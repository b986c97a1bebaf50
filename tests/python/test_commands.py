"""`insitu run` of scripts, and bundles that `insitu program build` makes of them, as a user's shell starts them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from insitu.cli.guests import find_program
from insitu.cli.program import program
from insitu.cli.python.project import read as project_of
from insitu.runtime import programs
from insitu.runtime.errors import ProgramRejected, UnknownProgram
from tests.python.guest import Python

Insitu = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def insitu(tmp_path: Path, python: Python) -> Insitu:
    """In a directory of its own, with the user's own cache: an interpreter takes seconds to compile, and is by now."""
    python.ready(False), python.ready(True)

    def run(*words: str | Path, code: int = 0, env: dict[str, str] | None = None, **options: Any) -> Any:
        command = [sys.executable, "-m", "insitu", *(str(word) for word in words)]
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=240,
            **options,
        )
        assert done.returncode == code, done
        return done

    return run


SHOW = "import os, sys\nprint(sorted(os.listdir('/app')), sys.argv)\n"


def test_a_script_brings_what_it_imports_of_its_directory(insitu: Insitu, tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "pkg").mkdir(parents=True)
    (place / "unwanted").mkdir()
    (place / "main.py").write_text("import helper\nfrom pkg import part\n" + SHOW + "print(part.text)\n")
    (place / "helper.py").write_text("import deeper\n")
    (place / "deeper.py").write_text("")
    (place / "secret.py").write_text("")
    (place / "pkg" / "__init__.py").write_text("")
    (place / "pkg" / "part.py").write_text("import os; text = open(os.path.dirname(__file__) + '/data.txt').read()")
    (place / "pkg" / "data.txt").write_text("data")
    done = insitu("run", "place/main.py", "a", "-b")
    assert done.stdout == "['deeper.py', 'helper.py', 'main.py', 'pkg'] ['/app/main.py', 'a', '-b']\ndata\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "source",
    [
        "import helper",
        "import sys, helper as h",
        "import sys; import helper",
        "try: import helper\nexcept ImportError: pass",
        "def f():\n    from helper import x",
        "import sys, \\\n    helper",
        "from helper.deep import (\n    x,\n)",
        "import helper.deep, sys",
        "type X = int\nimport helper",
    ],
)
def test_ways_to_import_what_lies_beside(tmp_path: Path, source: str) -> None:
    """Also in words that the Python of this machine may not know."""
    (tmp_path / "s.py").write_text(source)
    for name in ("helper", "other"):
        (tmp_path / f"{name}.py").write_text("")
    assert sorted(project_of(tmp_path / "s.py").files) == ["app/helper.py", "app/s.py"]


@pytest.mark.parametrize("link", ["secret.py", "secret"])
@pytest.mark.parametrize("words", [("run",), ("program", "build")])
def test_a_link_beside_a_script_is_not_followed(
    insitu: Insitu, tmp_path: Path, link: str, words: tuple[str, ...]
) -> None:
    """A script may be somebody else's, and so may be what lies beside it; what the user names may be a link."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "key.py").write_text("")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / link).symlink_to(tmp_path / "hidden" / ("key.py" if link.endswith(".py") else ""))
    (tmp_path / "place" / "s.py").write_text("import secret\n")
    (tmp_path / "linked.py").symlink_to("place/s.py")
    for script in ("place/s.py", "linked.py"):
        told = insitu(*words, script, code=125 if words == ("run",) else 1).stderr
        assert told.endswith(f"{tmp_path}/place/{link}: a symbolic link, and a program has none\n"), told
        assert told.count("\n") == 1


def test_a_directory_brings_all_that_is_in_it(insitu: Insitu, tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / ".git").mkdir(parents=True)
    (place / ".git" / "x").write_text("")
    (place / "__main__.py").write_text(SHOW + "print(open('/app/data').read())")
    (place / "data").write_text("data")
    done = insitu("run", "./place", "a")
    assert done.stdout == "['__main__.py', 'data'] ['/app/__main__.py', 'a']\ndata\n"


def test_names_that_scripts_and_directories_have(insitu: Insitu, tmp_path: Path) -> None:
    place = tmp_path / "proj"
    (place / "empty").mkdir(parents=True)
    (place / "é.py").write_text("import sys; print(sys.argv)\n")
    (place / "main.py").write_text("print('main')\n")
    (place / "__main__.py").write_text("print('__main__')\n")
    assert insitu("run", "proj/é.py", "a").stdout == "['/app/é.py', 'a']\n"
    told = insitu("program", "build", "proj/é.py", code=1).stderr
    assert told.startswith("Error: proj/é.py: no program can be called so: give it another name, ")
    assert insitu("run", "./proj").stdout == "__main__\n", "as with Python"
    told = insitu("run", "proj", code=125).stderr
    assert told.endswith(". A directory proj is here: ./proj is what it is called then\n")
    told = insitu("program", "build", "proj/empty", code=1).stderr
    assert "proj/empty: nothing to make a bundle of: no module (.wasm), main.py, " in told
    for name in ("é.py", "empty"):
        path = place / name
        path.rmdir() if path.is_dir() else path.unlink()
    for path in place.iterdir():
        path.rename(tmp_path / path.name)
    place.rmdir()
    assert insitu("run", ".").stdout == "__main__\n"


def test_channels_files_limits_and_outcomes(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(
        "import sys\nwith open('/dev/out/o', 'w') as out:\n"
        "    out.write(open('/dev/in/i').read() + open('/words').read() + sys.stdin.read())\n"
        "sys.exit(3)\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "words").write_text("words ")
    (tmp_path / "i").write_text("input ")
    options = ["--in", "i=i", "--out", "o=o", "--files", "more", "--json", "j", "--frozen"]
    insitu("run", *options, "s.py", code=3, input="stdin")
    assert not (tmp_path / "o").exists(), "it failed"
    (tmp_path / "s.py").write_text((tmp_path / "s.py").read_text().replace("sys.exit(3)", ""))
    insitu("run", *options, "s.py", input="stdin")
    assert (tmp_path / "o").read_text() == "input words stdin"
    told = json.loads((tmp_path / "j").read_text())
    assert told["argv"] == ["python", "/app/s.py"]
    (tmp_path / "s.py").write_text("while True: pass\n")
    assert "limit wall: 300 ms allowed" in insitu("run", "--wall", "300ms", "s.py", code=125).stderr


def test_a_recorded_run_is_the_same_again(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(
        "import random, time, helper\nprint(random.random(), time.time(), input(), helper.x)\n"
    )
    (tmp_path / "helper.py").write_text("x = 1\n")
    first = insitu("run", "--record", "kept", "s.py", input="hello\n")
    (tmp_path / "s.py").unlink()
    again = insitu("replay", "kept")
    assert first.stdout.endswith(" 1600000000.000003 hello 1\n")
    assert again.stdout.startswith("the same: exit code 0, ")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["run", "nope.py"], "insitu: nope.py: No such file or directory\n"),
        (
            ["run", "./empty"],
            "insitu: ./empty: Is a directory, and no script: that has main.py, __main__.py or main.js, and no module\n",
        ),
        (["run", "--root", "empty", "s.py"], "insitu: --root: a script's / has the interpreter's library"),
        (["run", "linked/"], "link: a symbolic link, and a program has none\n"),
        (["run", "named/"], "a script's module and files are made for it: it has no entry\n"),
        (["run", "unknown/"], "'colour' is not known; allowed: "),
    ],
)
def test_a_mistake_is_told_in_a_line(insitu: Insitu, tmp_path: Path, words: list[str], why: str) -> None:
    for name in ("empty", "linked", "named", "unknown"):
        (tmp_path / name).mkdir()
    for name in ("s.py", "linked/main.py", "named/main.py", "unknown/main.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "linked" / "link").symlink_to("/etc/passwd")
    (tmp_path / "named" / "program.toml").write_text('entry = "x.wasm"\n')
    (tmp_path / "unknown" / "program.toml").write_text('colour = "red"\n')
    told = insitu(*words, code=125).stderr
    assert why in told
    assert told.count("\n") == 1


def test_what_a_lone_script_says_of_itself(tmp_path: Path) -> None:
    about = """#!/usr/bin/env python3
# /// script
# dependencies = ["first>=1"]
# [tool.insitu]
# version = "2"
# content_type = "text/plain"
# frozen = true
# arguments = ["ä", "b"]
# [tool.insitu.limits]
# wall = "3s"
# ///
"""
    (tmp_path / "s.py").write_text(about)
    found = project_of(tmp_path / "s.py")
    assert [one.words for one in found.requirements.packages] == ["first>=1"]
    stated = found.stated
    assert (stated.name, stated.version, stated.content_type, stated.frozen) == ("s", "2", "text/plain", True)
    assert (stated.arguments, stated.limits) == (("ä", "b"), {"wall": 3.0})


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ("# /// script\n# a = 1\nx = 1\n", "has no end"),
        ("# /// script\n# a =\n# ///\n", "no TOML"),
        ("# /// script\n# dependencies = 'x'\n# ///\n", "dependencies is no list"),
        ("# /// script\n# dependencies = ['--index-url=x']\n# ///\n", "'--index-url=x' is no package by its name"),
        ("# /// script\n# tool = 5\n# ///\n", "tool is no table"),
        ("# /// script\n# [tool.insitu]\n# colour = 5\n# ///\n", "'colour' is not known"),
        ("# /// script\n# [tool.insitu]\n# version = 2020-01-01\n# ///\n", "'version' is nothing that"),
    ],
)
def test_what_is_wrong_in_it_is_named(tmp_path: Path, about: str, why: str) -> None:
    (tmp_path / "s.py").write_text(about)
    with pytest.raises(ProgramRejected, match=why):
        project_of(tmp_path / "s.py")


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("")
    (tmp_path / os.fsdecode(b"\xff")).write_text("")
    with pytest.raises(ProgramRejected, match="or is no UTF-8"):
        project_of(tmp_path)


def test_without_the_guest_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "PYTHON_PACKAGE", "insitu_python_is_not_here")
    (tmp_path / "s.py").write_text("")
    with pytest.raises(
        UnknownProgram, match=r"s\.py: Python scripts need the Python guest, which is not installed here"
    ):
        find_program(str(tmp_path / "s.py"))
    for name in ("python", "python@3.13.5"):
        with pytest.raises(
            UnknownProgram, match=rf"program {name} is the Python guest, which is not installed.*make python-guest"
        ):
            find_program(name)
        shown = CliRunner().invoke(program, ["show", name])
        assert shown.exit_code == 1
        assert f"program {name} is the Python guest, which is not installed here" in shown.output


def test_a_version_that_is_not_installed_is_unknown_as_any_programs() -> None:
    with pytest.raises(UnknownProgram, match=r"python@2\.7") as why:
        find_program("python@2.7")
    assert "make python-guest" not in str(why.value)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("while True: pass", "limit wall: 2 s allowed, "),
        ("x = [bytearray(1 << 20) for _ in range(300)]", "it takes too much memory: 256 MiB of memory are allowed; "),
        ("import os; os._exit(5)", "it ended the interpreter: exit code 5\n"),
        ("import os; os.abort()", "it ended the interpreter: trap: "),
    ],
)
def test_an_import_that_does_not_come_back_is_named(insitu: Insitu, tmp_path: Path, body: str, why: str) -> None:
    (tmp_path / "s.py").write_text("import json, culprit, csv\n")
    (tmp_path / "culprit.py").write_text(body)
    told = insitu("program", "build", "--wall", "2s", "s.py", code=1).stderr
    assert f"Error: s.py: importing culprit: {why}" in told
    assert not (tmp_path / "s.zip").exists()
