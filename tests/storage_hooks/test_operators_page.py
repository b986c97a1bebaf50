"""docs/operators.md against the code: every header, status and setting, and none that is not there."""

import re
from pathlib import Path

from insitu.storage_hooks import settings
from insitu.storage_hooks.policies import ACCOUNT_FIELDS, CONTAINER_FIELDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operators.md").read_text()
HOOKS = ROOT / "storage_hooks"

FILTERS = {"run_hook": settings.RUN_HOOK, "run_switch": settings.RUN_SWITCH, "object_hook": settings.OBJECT_HOOK}


def rows(first: str) -> list[str]:
    """The first cells of the table whose head begins so."""
    _, _, rest = PAGE.partition(f"| {first} |")
    lines = rest.split("\n\n", 1)[0].splitlines()[2:]
    return [line.split("|")[1] for line in lines]


def words(cells: list[str]) -> set[str]:
    return {word for cell in cells for word in re.findall(r"`([\w-]+)`", cell)}


_READ = re.compile(r'conf(?:\.get\(|\[)"(\w+)"|(?:seconds|_size)\(conf, "(\w+)"|"(\w+)" in conf')


def test_every_setting_is_there_and_no_other() -> None:
    for name, known in FILTERS.items():
        assert words(rows(f"`[filter:{name}]`")) == set(known), name


def test_every_setting_that_is_read_is_known() -> None:
    read = {next(filter(None, names)) for file in HOOKS.rglob("*.py") for names in _READ.findall(file.read_text())}
    assert read <= {name for known in FILTERS.values() for name in known}


def test_every_header_of_the_owners_is_there_and_no_other() -> None:
    assert words(rows("header of a container")) == {field.header for field in CONTAINER_FIELDS}
    assert words(rows("header of an account")) == {field.header for field in ACCOUNT_FIELDS}


def test_every_problem_is_there_with_its_status_and_no_other() -> None:
    source = (HOOKS / "problem.py").read_text()
    made = {(status, kind) for status, kind in re.findall(r'Problem\(\s*(\d{3}),\s*"([a-z-]+)"', source)}
    made |= {("422", "upload-broken"), ("499", "upload-broken")}
    made |= {("404", "unknown-program"), ("422", "program-rejected"), ("503", "busy"), ("503", "unavailable")}
    made |= {("400", "bad-run-request"), ("503", "hooks-misconfigured")}
    told = set()
    for line in PAGE.partition("| status | kind |")[2].split("\n\n", 1)[0].splitlines()[2:]:
        _, status, kinds, *_ = line.split("|")
        told |= {(status.strip(), kind) for kind in re.findall(r"`([a-z-]+)`", kinds)}
    assert told == made


def test_every_header_of_an_answer_is_there() -> None:
    source = (HOOKS / "result_headers.py").read_text()
    assert words(rows("answer's header")) - {"derived"} == set(re.findall(r'"(X-Run-\w+)"', source))
