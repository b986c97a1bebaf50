"""The pages say what is so: tests and files that they name exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "SPECIFICATION.md",
    "jobs/README.md",
    "guests/README.md",
    "benchmarks/README.md",
    "docs/confinement.md",
    "docs/journal.md",
    "docs/node.md",
    "docs/programs.md",
    "docs/python.md",
    "docs/sandbox.md",
]


def named_tests() -> list[str]:
    text = (ROOT / "SPECIFICATION.md").read_text()
    return sorted(set(re.findall(r"`((?:\w+/)+test_\w+\.py::\w+)`", text)))


def test_the_specification_names_tests() -> None:
    assert len(named_tests()) > 50


@pytest.mark.parametrize("name", named_tests())
def test_a_test_that_the_specification_names_exists(name: str) -> None:
    file, _, function = name.partition("::")
    path = ROOT / file if file.startswith("benchmarks/") else ROOT / "tests" / file
    tree = ast.parse(path.read_text())
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("https://"):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize(
    "page", ["README.md", "ARCHITECTURE.md", "docs/confinement.md", "docs/node.md", "docs/sandbox.md"]
)
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(
        r"`?\b((?:sandbox|runtime|storage_hooks|jobs|insitu|guests|benchmarks)/[\w/]+\.(?:py|md|yaml))\b", text
    )
    assert all((ROOT / name).exists() for name in named), [name for name in named if not (ROOT / name).exists()]
