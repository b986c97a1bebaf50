"""Whole jobs against a store with faults to order, through the command that a user types."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from insitu.jobs import engine, shuffle, tasks
from insitu.jobs.progress import Plain
from insitu.jobs.spec import from_bytes
from insitu.jobs.store import Store, connection_options

if TYPE_CHECKING:
    from tests.jobs.conftest import FakeStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "wordcount.yaml"
TEXTS = {f"{n:02d}.txt": (f"the quick fox {n} jumps over the lazy dog no {n % 3}\n" * 20).encode() for n in range(12)}
MAP_ONLY = """
name: copies
input: {container: texts, pattern: "*.txt"}
map: {run: cat}
output: {container: out, name: "copy/{name}"}
"""


class Ran:
    """What one `insitu job` command did."""

    def __init__(self, done: subprocess.CompletedProcess[str], report: Path) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.report: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}


class Command:
    def __init__(self, store: "FakeStore", tmp_path: Path) -> None:
        self.environment = {**os.environ, **store.environment}
        self.tmp_path = tmp_path

    def words(self, spec: Path | str, *options: str) -> list[str]:
        if isinstance(spec, str):
            (self.tmp_path / "spec.yaml").write_text(spec)
            spec = self.tmp_path / "spec.yaml"
        report = str(self.tmp_path / "report.json")
        return [sys.executable, "-m", "insitu", "job", "run", str(spec), "--json", report, *options]

    def run(self, spec: Path | str, *options: str) -> Ran:
        words = self.words(spec, *options)
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return Ran(done, self.tmp_path / "report.json")

    def clean(self, *words: str) -> subprocess.CompletedProcess[str]:
        clean = [sys.executable, "-m", "insitu", "job", "clean", *words]
        return subprocess.run(clean, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def command(store: "FakeStore", tmp_path: Path) -> Command:
    store.put_all("texts", TEXTS)
    store.put("texts", readme=b"not a text")
    return Command(store, tmp_path)


def expected(texts: dict[str, bytes]) -> Counter[bytes]:
    return Counter(word for text in texts.values() for word in text.split())


def counted(store: "FakeStore", container: str = "texts") -> Counter[bytes]:
    total: Counter[bytes] = Counter()
    for name, data in store.containers[container].items():
        if name.startswith("wordcount/"):
            for line in data.split(b"\n")[:-1]:
                key, _, number = line.rpartition(b"\t")
                assert key not in total, "a key lies in one result only"
                total[key] = int(number)
    return total


def test_words_are_counted(command: Command, store: "FakeStore") -> None:
    ran = command.run(EXAMPLE)
    assert ran.code == 0, ran.err
    assert counted(store) == expected(TEXTS)
    assert set(store.containers) == {"texts"}, "no temporary container is left"
    assert sorted(name for name in store.containers["texts"] if name.startswith("w")) == [
        f"wordcount/part-{n:05d}" for n in range(4)
    ]
    assert ran.report["launches"] == [
        {"program": "sum", "digest": "sha256:sum", "count": 4},
        {"program": "words", "digest": "sha256:words", "count": 12},
    ]
    assert ran.report["inputs"] == {"matched": 12, "done": 12, "bytes": sum(map(len, TEXTS.values()))}
    assert "12 of 12 done" in ran.out
    assert "running words on 12 objects" in ran.err


@pytest.mark.parametrize("fault", ["abort", "reset", "short", 503])
@pytest.mark.parametrize("name", ["03.txt", "many.txt"])
def test_a_repeated_attempt_counts_once(command: Command, store: "FakeStore", fault: int | str, name: str) -> None:
    # Many lines of the second one arrive, and are split, before it breaks off.
    many = b" ".join(b"word%d" % n for n in range(60_000))
    store.put_all("texts", {"many.txt": many})
    store.faults[("GET", f"texts/{name}")] = [fault, fault]
    ran = command.run(EXAMPLE)
    assert ran.code == 0, ran.err
    assert counted(store) == expected(TEXTS | {"many.txt": many})
    assert ran.report["retries"] == 2
    assert "attempts repeated" in ran.out


def test_attempts_are_bounded_and_nothing_is_published(command: Command, store: "FakeStore") -> None:
    store.faults[("GET", "texts/03.txt")] = ["abort"] * 9
    ran = command.run(EXAMPLE, "--set", "retries=1")
    assert ran.code == 1
    assert [r for r in store.requests if r == ("GET", "texts/03.txt")] == [("GET", "texts/03.txt")] * 2
    assert "texts/03.txt: the result broke off" in ran.err
    assert "(after 2 attempts)" in ran.err
    assert not counted(store)
    assert set(store.containers) == {"texts"}


def test_a_failed_input_is_listed_and_the_others_were_tried(command: Command, store: "FakeStore") -> None:
    real = store.programs["words"]
    store.programs["words"] = lambda data: (store.programs["fail"] if b"fox 5 " in data else real)(data)
    ran = command.run(EXAMPLE)
    assert ran.code == 1
    assert "texts/05.txt: 422 exit code 2" in ran.err
    assert "    no luck with this one" in ran.err
    assert "1 of 12 inputs failed" in ran.out
    assert ran.report["inputs"]["done"] == 11
    assert [(f["name"], f["stderr"], f["attempts"]) for f in ran.report["failures"]] == [
        ("05.txt", "no luck with this one\n", 1)
    ]
    assert not counted(store)

    ran = command.run(EXAMPLE, "--allow-failures")
    assert ran.code == 1, "the exit code tells all the same"
    assert counted(store) == expected({name: text for name, text in TEXTS.items() if name != "05.txt"})


def test_output_without_tabs_fails_the_input(command: Command, store: "FakeStore") -> None:
    ran = command.run(EXAMPLE, "--set", "map.run=cat")
    assert ran.code == 1
    assert "line 1 of the program's output has no TAB, and lines are KEY<TAB>VALUE" in ran.err
    assert ran.report["launches"] == [{"program": "cat", "digest": "sha256:cat", "count": 12}]


def test_an_unknown_program_ends_the_job_at_once(command: Command, store: "FakeStore") -> None:
    ran = command.run(EXAMPLE, "--set", "map.run=wrods", "--set", "concurrency=1")
    assert ran.code == 1
    assert "404 no program wrods" in ran.err
    assert len(store.runs) == 1


def test_plain_bytes_are_never_taken_for_a_result(command: Command, store: "FakeStore") -> None:
    store.faults[("GET", "texts/00.txt")] = ["plain"]
    assert "no insitu in its proxy" in command.run(EXAMPLE, "--set", "concurrency=1").err


def test_a_reducer_that_fails_publishes_nothing(command: Command, store: "FakeStore") -> None:
    ran = command.run(EXAMPLE, "--set", "reduce.run=fail", "--set", "output.container=new")
    assert ran.code == 1
    assert "the reduce stage failed" in ran.out
    assert store.containers["new"] == {}
    assert ".insitu-jobs" not in store.containers


def test_uploads_are_tried_again(command: Command, store: "FakeStore") -> None:
    store.faults[("PUT", "texts/wordcount/part-00001")] = [503, "reset"]
    assert command.run(EXAMPLE).code == 0
    assert counted(store) == expected(TEXTS)


def test_the_temporary_container_may_go_away_under_us(command: Command, store: "FakeStore") -> None:
    """Another job that ends removes it, if it finds it empty."""

    def drop(data: bytes) -> bytes:
        store.containers.pop(".insitu-jobs", None)
        return real(data)

    real, store.programs["words"] = store.programs["words"], drop
    assert command.run(EXAMPLE).code == 0
    assert counted(store) == expected(TEXTS)


def test_map_only(command: Command, store: "FakeStore") -> None:
    store.faults[("GET", "texts/03.txt")] = ["abort"]
    ran = command.run(MAP_ONLY)
    assert ran.code == 0, ran.err
    assert store.containers["out"] == {f"copy/{name}": text for name, text in TEXTS.items()}
    assert store.headers["out/copy/00.txt"]["content-type"] == "text/plain"
    assert len(ran.report["results"]) == 12


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "pattern=*.doc"], "no object of texts matches *.doc"),
        (["--set", "container=gone"], "container gone: 404"),
        (["--set", "output.name=part-{partition}.txt"], "matches the input pattern"),
        (["-K", "wrong"], "check user and key"),
        (["-A", "nonsense"], "nonsense"),
        (["--set", "reduce.partitions=many"], "at `$.reduce.partitions`"),
        (["--json", "/nowhere/report.json"], "its directory does not exist"),
    ],
)
def test_mistakes_start_nothing(command: Command, store: "FakeStore", options: list[str], says: str) -> None:
    ran = command.run(EXAMPLE, *options)
    assert ran.code == 2
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert not store.runs
    assert set(store.containers) == {"texts"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("where", ["map", "reduce"])
def test_a_signal_ends_it_and_removes_temporaries(
    command: Command, store: "FakeStore", number: signal.Signals, code: int, where: str
) -> None:
    blocked = ("GET", "texts/03.txt")
    if where == "reduce":
        command.run(EXAMPLE)  # shows where the partitions lie: the same place but for the job's id
        store.waiting.clear()
        real = store.programs["sum"]

        def wait(data: bytes) -> bytes:
            store.waiting.set()
            store.gate.wait(30)
            return real(data)

        store.programs["sum"] = wait
    else:
        store.faults[blocked] = ["wait"]
    job = subprocess.Popen(
        command.words(EXAMPLE, "--set", "output.name=never-{partition}"),
        env=command.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert store.waiting.wait(30)
    if where == "reduce":
        assert len(store.containers[".insitu-jobs"]) == 4
    job.send_signal(number)
    out, err = job.communicate(timeout=30)
    assert job.returncode == code, err
    assert json.loads((command.tmp_path / "report.json").read_text())["exit_code"] == code
    assert "cancelled" in out
    assert "Traceback" not in err
    assert ".insitu-jobs" not in store.containers
    assert not any(name.startswith("never") for name in store.containers["texts"])


def test_a_second_signal_does_not_wait(command: Command, store: "FakeStore") -> None:
    store.faults[("DELETE", "*")] = ["wait"]
    with subprocess.Popen(
        command.words(EXAMPLE), env=command.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        assert store.waiting.wait(30)
        job.send_signal(signal.SIGINT)
        assert job.stderr is not None
        while "once more to leave them" not in job.stderr.readline():
            pass
        job.send_signal(signal.SIGINT)
        out, err = job.communicate(timeout=30)
    assert job.returncode == 130
    assert "Traceback" not in err
    assert "left over 4 temporary objects" in out
    assert f"insitu job clean {next(iter(store.containers['.insitu-jobs'])).partition('/')[0]}" in out


def test_what_a_killed_job_leaves_is_found_and_removed(command: Command, store: "FakeStore", tmp_path: Path) -> None:
    def wait(data: bytes) -> bytes:
        store.waiting.set()
        store.gate.wait(30)
        return data

    store.programs["sum"] = wait
    spool = tmp_path / "spool"
    spool.mkdir()
    with subprocess.Popen(command.words(EXAMPLE, "--spool", str(spool)), env=command.environment, stderr=-3) as job:
        assert store.waiting.wait(30)
        job.kill()
    assert list(spool.iterdir()) == [], "nothing is left on the local disk"
    (job_id,) = {name.partition("/")[0] for name in store.containers[".insitu-jobs"]}
    assert store.headers[f".insitu-jobs/{job_id}/partition-00000"]["x-delete-after"] == str(7 * 24 * 3600)
    assert command.clean().stdout == f"{job_id}  4 temporary objects\n"
    other = command.clean("other-job")
    assert other.returncode == 2
    assert "no temporary objects of job other-job" in other.stderr
    assert command.clean(job_id).stdout == "4 temporary objects removed\n"
    assert ".insitu-jobs" not in store.containers
    assert command.clean().stdout == "no temporary objects\n"


def test_a_full_disk_ends_the_job_with_a_clear_line(store: "FakeStore", monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_all("texts", TEXTS)

    def full(self: shuffle._Partition, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shuffle._Partition, "append", full)
    client = Store(connection_options({}, store.environment))
    job = engine.Job(from_bytes(EXAMPLE.read_bytes()), client, Plain(sys.stderr))
    job.prepare()
    report = job.run()
    assert report.exit_code == 1
    assert report.failures[0].failure.message == "cannot write map output to the local disk: no space left on device"
    assert len(report.failures) <= 4, "what runs ends, and no further task is begun"
    assert set(store.containers) == {"texts"}


def test_a_bug_is_not_hidden_and_temporaries_go(store: "FakeStore", monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_all("texts", TEXTS)
    monkeypatch.setattr(tasks.Work, "_reduce", lambda self, task, check: 1 / 0)
    client = Store(connection_options({}, store.environment))
    job = engine.Job(from_bytes(EXAMPLE.read_bytes()), client, Plain(sys.stderr))
    job.prepare()
    with pytest.raises(ZeroDivisionError):
        job.run()
    assert set(store.containers) == {"texts"}


def test_names_cannot_play_with_the_terminal(command: Command, store: "FakeStore") -> None:
    store.put_all("texts", {"\x1b[2Jevil\n[bold].txt": b"x", "ünïcode/€ .txt": "wörter über wörter".encode()})

    def refuse(data: bytes) -> bytes:
        if data == b"x":
            return store.programs["fail"](data)
        return real(data)

    real, store.programs["words"] = store.programs["words"], refuse
    ran = command.run(EXAMPLE, "--allow-failures")
    assert ran.code == 1
    assert "\x1b" not in ran.err
    assert r"texts/\x1b[2Jevil\n[bold].txt: 422" in ran.err
    assert ran.report["failures"][0]["name"] == "\x1b[2Jevil\n[bold].txt"
    assert counted(store)["wörter".encode()] == 2


def test_the_command_starts_light() -> None:
    heavy = ["swiftclient", "requests", "rich", "msgspec", "yaml"]
    code = f"import sys, insitu.cli.job; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
