"""A long build in steps: what is kept, what is made again, and what a failure says."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from guests.errors import ToolError
from guests.python.steps import Shop, Step, make
from guests.store import Store

ROOT = Path(__file__).resolve().parents[2]


class Build:
    """Two steps, of which the second uses the first; counts how often each is made."""

    def __init__(self, store: Path, first: str = "a", second: str = "b") -> None:
        self.store, self.made, self.warned = Store(store), list[str](), 0
        one = Step("one", "the first", first, self._one)
        self.two = Step("two", "the second", second, self._two, (one,))

    def _one(self, shop: Shop) -> None:
        self.made.append("one")
        (shop.out / "text").write_text("one")

    def _two(self, shop: Shop) -> None:
        self.made.append("two")
        (shop.out / "text").write_text((shop.uses["one"] / "text").read_text() + " two")

    def warn(self, missing: list[Step]) -> None:
        assert missing
        self.warned += 1

    def make(self) -> str:
        return (make(self.store, self.two, self.warn) / "text").read_text()


def test_what_is_made_is_kept(tmp_path: Path) -> None:
    build = Build(tmp_path)
    assert [build.make(), build.make()] == ["one two"] * 2
    assert (build.made, build.warned) == (["one", "two"], 1)


def test_a_change_makes_again_what_it_goes_into(tmp_path: Path) -> None:
    Build(tmp_path).make()
    later = Build(tmp_path, second="c")
    later.make()
    assert later.made == ["two"]
    earlier = Build(tmp_path, first="c")
    earlier.make()
    assert earlier.made == ["one", "two"]
    again = Build(tmp_path)
    again.make()
    assert (again.made, again.warned) == ([], 0), "the first results are still there"


def test_what_only_a_result_used_is_not_made_again(tmp_path: Path) -> None:
    build = Build(tmp_path)
    build.make()
    (step,) = build.two.uses
    assert step.result(build.store).is_dir()
    (step.result(build.store) / "text").unlink()
    step.result(build.store).rmdir()
    build.make()
    assert build.made == ["one", "two"]


def test_a_failure_shows_the_end_of_its_log_and_leaves_nothing_half(tmp_path: Path) -> None:
    def fail(shop: Shop) -> None:
        (shop.out / "half").touch()
        shop.run(["sh", "-c", "seq 100; echo the reason >&2; exit 3"])

    step = Step("failing", "what fails", 1, fail)
    with pytest.raises(ToolError) as caught:
        make(Store(tmp_path), step, lambda missing: None)
    lines = str(caught.value).splitlines()
    log = tmp_path / "python" / "log" / "failing"
    assert lines[0] == "sh ended with 3:"
    assert lines[-3:] == ["100", "the reason", f"(all of it: {log})"]
    assert len(lines) == 22
    assert log.read_text().splitlines()[1:101] == [str(number) for number in range(1, 101)]
    assert not step.result(Store(tmp_path)).exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_missing_tool_is_named(tmp_path: Path) -> None:
    step = Step("failing", "what fails", 1, lambda shop: shop.run(["no-such-tool", "x"]))
    with pytest.raises(ToolError, match=r"^no-such-tool is needed, and is not there$"):
        make(Store(tmp_path), step, lambda missing: None)


def test_the_environment_of_whoever_builds_stays_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CFLAGS", "CC", "MAKEFLAGS", "CONFIG_SITE", "PYTHONPATH", "LANG"):
        monkeypatch.setenv(name, "spoilt")

    def tell(shop: Shop) -> None:
        shop.run(["sh", "-c", "env > out/env"])

    folder = make(Store(tmp_path), Step("tell", "the environment", 1, tell), lambda missing: None)
    assert "spoilt" not in (folder / "env").read_text()


def test_an_interrupted_build_goes_on_where_it_was(tmp_path: Path) -> None:
    """Ctrl-C in the second step: the first is kept, nothing is half there, and no process is left."""
    script = """
        import sys
        from pathlib import Path
        from guests.python.steps import Step, make
        from guests.store import Store
        def one(shop): (shop.out / "done").touch()
        def two(shop): shop.run(["sh", "-c", "echo $$ > out/pid; echo ready; exec sleep 100"])
        first = Step("one", "the first", 1, one)
        try:
            make(Store(Path(sys.argv[1])), Step("two", "the second", 1, two, (first,)), lambda missing: None)
        except KeyboardInterrupt:
            sys.exit(130)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as child:
        log = tmp_path / "python" / "log" / "two"
        while child.poll() is None and not (log.exists() and "ready" in log.read_text().splitlines()):
            time.sleep(0.02)
        pid = int((tmp_path / "scratch" / "python-two" / "out" / "pid").read_text())
        # As a terminal does: to the whole group.
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(30) == 130
    assert not Path(f"/proc/{pid}").exists()
    assert [path.name.partition("-")[0] for path in sorted((tmp_path / "python").iterdir())] == ["log", "one"]
