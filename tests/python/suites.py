"""CPython's own tests and Pillow's, run in the sandbox by the installed guest: what they need, and what is expected."""

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, TypedDict

from guests.python.suites import cpython_tests, pillow_tests
from guests.store import Store
from insitu.sandbox.files.tree import Files
from insitu.sandbox.limits import GIB, MIB, Limits
from tests.python.guest import Python


class Results(TypedDict):
    """What a module came to: how many tests ran, how many of these skipped themselves, which did not end well."""

    ran: int
    skipped: int
    bad: list[str]


LIMITS: Final = Limits(memory=GIB, wall=280.0, tmp=512 * MIB)

UNITTEST: Final = """
import json, os, sys, unittest
os.chdir("/tmp")
sys.path.insert(0, "/suite")
from test import support
support.use_resources = []  # as `python -m test` without -u: nothing that takes long, or needs a network
suite = unittest.defaultTestLoader.loadTestsFromName("test.test_" + sys.argv[1])
with open("/tmp/log", "w") as log:
    result = unittest.TextTestRunner(log).run(suite)
bad = {getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors}
bad |= {test.id() for test in result.unexpectedSuccesses}
bad = sorted(name.removeprefix(f"test.test_{sys.argv[1]}.") for name in bad)
print(json.dumps({"ran": result.testsRun, "skipped": len(result.skipped), "bad": bad}))
print(open("/tmp/log").read()[-4000:], file=sys.stderr)
"""
PYTEST: Final = """
import json, os, sys
os.chdir("/suite")
sys.path.insert(0, "/suite")
os.devnull = "/tmp/null"  # there is no /dev/null
import pytest

class Results:
    ran, skipped, bad = 0, 0, []
    def pytest_runtest_logreport(self, report):
        self.ran += report.when == "call"
        self.skipped += report.skipped
        if report.failed:
            self.bad.append(report.nodeid.partition("::")[2])

options = ["-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=sys", "--rootdir=/suite", "--basetemp=/tmp/t"]
results = Results()
stdout, sys.stdout = sys.stdout, sys.stderr
pytest.main([*options, "-q", "--tb=short", f"Tests/test_{sys.argv[1]}.py"], plugins=[results])
sys.stdout = stdout
print(json.dumps({"ran": results.ran, "skipped": results.skipped, "bad": sorted(results.bad)}))
"""
BROUGHT: Final = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
"""pytest and what it needs, from the environment that runs these tests: all of it is Python."""


def run_cpython(python: Python, name: str) -> Results:
    """Of test.test_NAME."""
    return _run(python, name, UNITTEST, _cpython_files())


def run_pillow(python: Python, name: str) -> Results:
    """Of Tests/test_NAME.py."""
    return _run(python, name, PYTEST, _pillow_files())


def _run(python: Python, name: str, script: str, files: Mapping[str, bytes]) -> Results:
    tree = Files.held({**python.library, **files, "app/main.py": script.encode()})
    result = python.run("/app/main.py", name, files=tree, limits=LIMITS)
    assert result.outcome.ok, f"{result.outcome.sentence()}: {result.errors}"
    found: Results = json.loads(result.output)
    return found


@cache
def _cpython_files() -> dict[str, bytes]:
    return _held(cpython_tests(Store()) / "test", "suite/test")


@cache
def _pillow_files() -> dict[str, bytes]:
    files = _held(pillow_tests(Store()) / "Tests", "suite/Tests")
    for name in BROUGHT:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        where = Path(spec.origin)
        if where.name == "__init__.py":
            files |= _held(where.parent, f"suite/{name}")
        else:
            files[f"suite/{name}.py"] = where.read_bytes()
    return files


def _held(folder: Path, inside: str) -> dict[str, bytes]:
    return {
        f"{inside}/{path.relative_to(folder)}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
