"""The second main job, whole: real Swift, real nodes, the shipped `words` and `sum`, judged by tr, sort and uniq."""

import email
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from insitu.runtime.client import NodeClient
from insitu.storage_hooks.devcluster import DevCluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "wordcount.yaml"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def texts() -> dict[str, bytes]:
    """About thirty texts: sources of this project, the standard library's, and made ones with hostile bytes."""
    chance = random.Random(7)
    found = {path.name + ".txt": path.read_bytes() for path in sorted(ROOT.glob("jobs/*.py"))}
    found |= {path.name + ".txt": path.read_bytes() for path in sorted(Path(email.__file__).parent.glob("*.py"))[:15]}
    found["every byte.txt"] = bytes(chance.choices(range(256), k=200_000))
    found["white only.txt"] = b" \t\n\v\f\r " * 100
    found["empty.txt"] = b""
    found["ünïcode/€\nnew line.txt"] = "Straße straße naïve 日本語 \xa0 \u2003 wörter\r\nCRLF\r\n".encode() * 50
    found["many words.txt"] = b" ".join(b"w%d" % chance.randrange(30_000) for _ in range(100_000))
    found["no end of line.txt"] = b"last words"
    assert len(found) >= 28
    return found


@pytest.fixture
def text_container(cluster: DevCluster, container: str, texts: dict[str, bytes]) -> str:
    with closing(cluster.connection()) as connection:
        for name, data in texts.items():
            connection.put_object(container, name, data)
        connection.put_object(container, "not a text.bin", b"unseen " * 100)
    return container


def judge(texts: list[bytes]) -> dict[bytes, int]:
    """`tr -s '[:space:]' '\\n' | sort | uniq -c` of all texts, each ended so that no word spans two."""
    counted = subprocess.run(
        ["sh", "-c", "tr -s '[:space:]' '\\n' | sort | uniq -c"],
        input=b"\n".join(texts),
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    ).stdout
    pairs = (line.lstrip(b" ").split(b" ", 1) for line in counted.split(b"\n")[:-1])
    return {word: int(count) for count, word in pairs if word}


def job(cluster: DevCluster, tmp_path: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    report = tmp_path / f"{uuid.uuid4().hex}.json"
    done = subprocess.run(
        [sys.executable, "-m", "insitu", "job", "run", str(EXAMPLE), "--json", str(report), *options],
        env={**os.environ, "ST_AUTH": cluster.auth_url, "ST_USER": cluster.user, "ST_KEY": cluster.key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done, json.loads(report.read_text()) if report.exists() else {}


def results(cluster: DevCluster, container: str) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    with closing(cluster.connection()) as connection:
        for entry in connection.get_container(container, prefix="wordcount/")[1]:
            _, data = connection.get_object(container, entry["name"])
            for line in data.split(b"\n")[:-1]:
                word, _, count = line.rpartition(b"\t")
                assert word not in found, "a word lies in one result only"
                found[word] = int(count)
    return found


def temporaries(cluster: DevCluster) -> list[str]:
    with closing(cluster.connection()) as connection:
        return [entry["name"] for entry in connection.get_account()[1] if entry["name"] == ".insitu-jobs"]


def launches(cluster: DevCluster, container: str) -> int:
    """How many launches the nodes remember on this container's objects."""
    records = [record for node in cluster.nodes for record in NodeClient(str(node.socket)).runs(1000)]
    return sum(f"/{container}/" in record.object for record in records)


def test_words_of_real_texts(cluster: DevCluster, text_container: str, texts: dict[str, bytes], tmp_path: Path) -> None:
    done, report = job(cluster, tmp_path, "--set", f"container={text_container}")
    assert done.returncode == 0, done.stderr
    assert results(cluster, text_container) == judge(list(texts.values()))
    assert temporaries(cluster) == []
    assert {(entry["program"], entry["count"]) for entry in report["launches"]} == {("words", len(texts)), ("sum", 4)}
    assert all(entry["digest"].startswith("sha256:") for entry in report["launches"])
    assert report["retries"] == 0
    assert sum(report["nodes"].values()) == len(texts) + 4
    assert set(report["nodes"]) <= {node.name for node in cluster.nodes}
    assert launches(cluster, text_container) == len(texts), "each input ran on a node, and once"
    # Running it again overwrites the results with the same.
    done, _ = job(cluster, tmp_path, "--set", f"container={text_container}", "--set", "concurrency=1")
    assert done.returncode == 0, done.stderr
    assert results(cluster, text_container) == judge(list(texts.values()))


def test_programs_of_a_job_may_be_objects_of_its_account(
    cluster: DevCluster, text_container: str, texts: dict[str, bytes], tmp_path: Path
) -> None:
    program = (ROOT / "insitu/programs/words.wasm").read_bytes()
    digest = f"sha256:{hashlib.sha256(program).hexdigest()}"
    with closing(cluster.connection()) as connection:
        connection.put_object(text_container, "my words.wasm", program)
    path = f"/{text_container}/my%20words.wasm"
    container = f"container={text_container}"
    done, report = job(cluster, tmp_path, "--set", container, "--set", f"map.run={path}@{digest}")
    assert done.returncode == 0, done.stderr
    assert results(cluster, text_container) == judge(list(texts.values()))
    [mapped] = [entry for entry in report["launches"] if entry["program"] != "sum"]
    assert (mapped["program"], mapped["digest"], mapped["count"]) == (
        f"/{text_container}/my words.wasm",
        digest,
        len(texts),
    )
    # Another program under that name is not what was asked for: it ends the job at once.
    done, _ = job(cluster, tmp_path, "--set", container, "--set", f"map.run={path}@sha256:{'0' * 64}")
    assert done.returncode == 1
    assert "pins sha256:000" in done.stderr


def test_a_failing_input_is_listed(
    cluster: DevCluster, text_container: str, texts: dict[str, bytes], tmp_path: Path
) -> None:
    with closing(cluster.connection()) as connection:
        connection.put_object(text_container, "one long word.txt", b"x" * (1024 * 1024 + 1))
    done, report = job(cluster, tmp_path, "--set", f"container={text_container}")
    assert done.returncode == 1
    assert f"{text_container}/one long word.txt: 422 exit code 2" in done.stderr
    (failed,) = report["failures"]
    assert failed["stderr"].startswith("words: ")
    assert failed["stderr"].strip() in done.stderr
    assert failed["attempts"] == 1
    assert failed["run_id"]
    assert report["inputs"]["done"] == len(texts)
    assert results(cluster, text_container) == {}, "no results when an input failed"
    assert temporaries(cluster) == []

    done, _ = job(cluster, tmp_path, "--set", f"container={text_container}", "--allow-failures")
    assert done.returncode == 1
    assert results(cluster, text_container) == judge(list(texts.values()))
    assert temporaries(cluster) == []


def test_a_program_that_fails_after_its_first_output(cluster: DevCluster, container: str, tmp_path: Path) -> None:
    """`fail-late` writes more than is held back, then exits 3: the body breaks off, and never counts."""
    with closing(cluster.connection()) as connection:
        connection.put_object(container, "a.txt", b"a b c")
    done, report = job(
        cluster, tmp_path, "--set", f"container={container}", "--set", "map.run=fail-late", "--set", "retries=1"
    )
    assert done.returncode == 1
    (failed,) = report["failures"]
    assert (failed["kind"], failed["attempts"]) == ("storage", 2)
    assert "broke off" in failed["detail"]
    assert report["launches"][0]["count"] == launches(cluster, container) == 2
    assert results(cluster, container) == {}
    assert temporaries(cluster) == []


def test_results_in_another_container(cluster: DevCluster, text_container: str, tmp_path: Path) -> None:
    other = f"test-{uuid.uuid4().hex[:12]}"
    try:
        done, report = job(
            cluster,
            tmp_path,
            *("--set", f"container={text_container}", "--set", f"output.container={other}"),
            *("--set", "reduce.partitions=1", "--set", "pattern=ünï*"),
        )
        assert done.returncode == 0, done.stderr
        assert report["inputs"]["matched"] == 1
        assert results(cluster, other)["Straße".encode()] == 50
        with closing(cluster.connection()) as connection:
            headers = connection.head_object(other, "wordcount/part-00000")
            assert headers["content-type"] == "text/tab-separated-values", "the program said so"
    finally:
        with closing(cluster.connection()) as connection:
            for entry in connection.get_container(other)[1]:
                connection.delete_object(other, entry["name"])
            connection.delete_container(other)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--set", "pattern=*.doc"], 2, "no object of"),
        (["--set", "map.run=nonesuch"], 1, "404"),
        (["--set", "map.run=words --surprise"], 1, "422 exit code 2"),
        (["-K", "wrong"], 2, "answered 401"),
        (["--set", "container=gone"], 2, "does not exist"),
    ],
)
def test_mistakes(
    cluster: DevCluster, container: str, tmp_path: Path, options: list[str], code: int, says: str
) -> None:
    with closing(cluster.connection()) as connection:
        connection.put_object(container, "a.txt", b"a b c")
    done, _ = job(cluster, tmp_path, "--set", f"container={container}", *options)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert temporaries(cluster) == []


def test_two_jobs_at_once(cluster: DevCluster, text_container: str, texts: dict[str, bytes], tmp_path: Path) -> None:
    """They share the temporary container, and neither takes it from under the other."""
    done: list[int] = []

    def run(name: str) -> None:
        output = f"output.name=wordcount/{name}-{{partition}}"
        ran, _ = job(cluster, tmp_path, "--set", f"container={text_container}", "--set", output)
        done.append(ran.returncode)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0, 0]
    with closing(cluster.connection()) as connection:
        for name in ("a", "b"):
            parts = [connection.get_object(text_container, f"wordcount/{name}-{n}")[1] for n in range(4)]
            lines = (line.rpartition(b"\t") for line in b"".join(parts).split(b"\n")[:-1])
            assert {word: int(count) for word, _, count in lines} == judge(list(texts.values()))
    assert temporaries(cluster) == []


def test_a_node_that_is_down_costs_nothing_but_its_replicas(
    cluster: DevCluster, text_container: str, texts: dict[str, bytes], tmp_path: Path
) -> None:
    cluster.stop_node(0)
    try:
        done, report = job(cluster, tmp_path, "--set", f"container={text_container}")
        assert done.returncode == 0, done.stderr
        assert results(cluster, text_container) == judge(list(texts.values()))
        assert cluster.nodes[0].name not in report["nodes"]
    finally:
        cluster.start_node(0)


def test_without_any_node_it_tries_again_and_then_says_so(cluster: DevCluster, container: str, tmp_path: Path) -> None:
    with closing(cluster.connection()) as connection:
        connection.put_object(container, "a.txt", b"a b c")
    try:
        for node in range(len(cluster.nodes)):
            cluster.stop_node(node)
        done, report = job(cluster, tmp_path, "--set", f"container={container}", "--set", "retries=1")
        assert done.returncode == 1
        (failed,) = report["failures"]
        assert (failed["status"], failed["kind"], failed["attempts"]) == (503, "storage", 2)
        assert report["launches"] == []
        assert "a b c" not in done.stdout
    finally:
        for node in range(len(cluster.nodes)):
            cluster.start_node(node)
    done, _ = job(cluster, tmp_path, "--set", f"container={container}")
    assert done.returncode == 0, done.stderr


def test_a_cancelled_job_ends_its_guests(cluster: DevCluster, container: str, tmp_path: Path) -> None:
    """`stall` writes a little and then loops: its sandbox must end with the job, long before its wall limit."""
    with closing(cluster.connection()) as connection:
        connection.put_object(container, "a.txt", b"a b c")
    words = ["--set", f"container={container}", "--set", "map.run=stall"]
    with subprocess.Popen(
        [sys.executable, "-m", "insitu", "job", "run", str(EXAMPLE), *words],
        env={**os.environ, "ST_AUTH": cluster.auth_url, "ST_USER": cluster.user, "ST_KEY": cluster.key},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        until(lambda: sum(NodeClient(str(node.socket)).ping()["running"] for node in cluster.nodes) == 1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert b"cancelled" in out
    until(lambda: launches(cluster, container) == 1)
    (record,) = [
        record
        for node in cluster.nodes
        for record in NodeClient(str(node.socket)).runs(1000)
        if f"/{container}/" in record.object
    ]
    assert record.outcome.end == "cancelled"
    assert temporaries(cluster) == []


def until(true: Callable[[], bool]) -> None:
    """Waits for what must come true, at most half a minute."""
    for _ in range(300):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come true in 30 s")
