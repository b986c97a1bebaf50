"""Lines in, partitions out: no line lost or counted twice, whatever the chunks, the memory and the failures."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.jobs import shuffle as shuffling
from insitu.jobs.errors import SpoolError
from insitu.jobs.failure import AttemptFailed
from insitu.jobs.shuffle import Shuffle, TaskOutput, partition_of

KEYS = st.binary(max_size=12).map(lambda key: key.replace(b"\t", b"").replace(b"\n", b""))
VALUES = st.binary(max_size=6).map(lambda value: value.replace(b"\n", b""))


def take(output: TaskOutput, *chunks: bytes) -> None:
    for chunk in chunks:
        output.feed(chunk)
    output.finish()


def contents(shuffle: Shuffle, partitions: int) -> list[bytes]:
    found = []
    for partition in range(partitions):
        stored = shuffle.stored(partition)
        data = stored.reader().read()
        assert (stored.length, stored.md5) == (len(data), hashlib.md5(data).hexdigest())
        assert stored.reader().read(3) + stored.reader().read() == data[:3] + data, "readers share no offset"
        found.append(data)
    return found


@given(
    lines=st.lists(st.tuples(KEYS, VALUES), max_size=60),
    chunk=st.integers(1, 40),
    partitions=st.integers(1, 7),
    memory=st.sampled_from([0, 50, 10**6]),
    ended=st.booleans(),
)
def test_every_line_arrives_once_where_its_key_belongs(
    lines: list[tuple[bytes, bytes]], chunk: int, partitions: int, memory: int, ended: bool
) -> None:
    stream = b"".join(key + b"\t" + value + b"\n" for key, value in lines)
    if lines and not ended:
        stream = stream[:-1]
    shuffle = Shuffle(partitions, 1)
    try:
        with TaskOutput(partitions, memory, None) as output:
            for at in range(0, len(stream), chunk):
                output.feed(stream[at : at + chunk])
            output.finish()
            assert output.lines == len(lines)
            assert shuffle.commit(0, output)
        found = contents(shuffle, partitions)
        for partition, data in enumerate(found):
            assert all(partition_of(line.split(b"\t")[0], partitions) == partition for line in data.split(b"\n")[:-1])
        assert Counter(b"".join(found).split(b"\n")[:-1]) == Counter(key + b"\t" + value for key, value in lines)
    finally:
        shuffle.close()


def test_the_partition_is_the_same_in_every_process() -> None:
    code = "from insitu.jobs.shuffle import partition_of; print([partition_of(b'w%d' % n, 16) for n in range(50)])"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{[partition_of(b'w%d' % n, 16) for n in range(50)]}\n"}


def test_a_task_counts_once_and_an_unfinished_attempt_never() -> None:
    shuffle = Shuffle(2, 1)
    with shuffle.output() as broken:
        broken.feed(b"a\t1\nb\t1\n")
    for _ in range(2):
        with shuffle.output() as whole:
            whole.feed(b"a\t1\n")
            whole.finish()
            shuffle.commit(0, whole)
    with shuffle.output() as another:
        another.feed(b"a\t5\n")
        another.finish()
        assert shuffle.commit(1, another)
        assert not shuffle.commit(1, another)
    assert sorted(b"".join(contents(shuffle, 2)).splitlines()) == [b"a\t1", b"a\t5"]
    shuffle.close()


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (b"a\t1\nno tab\nb\t2\n", "line 2 of the program's output has no TAB"),
        (b"\n", "line 1 of the program's output has no TAB"),
        (b"a\t1\nlast", "line 2"),
        (b"\x1b[2J\xff\n", r"\\x1b[2J\\xff"),
    ],
)
def test_lines_without_a_tab_fail_the_input(stream: bytes, says: str) -> None:
    with TaskOutput(3, 1000, None) as output, pytest.raises(AttemptFailed) as caught:
        take(output, stream)
    assert says in caught.value.failure.message
    assert caught.value.failure.kind == "output"
    assert not caught.value.failure.retry


def test_an_endless_line_fails_the_input_and_not_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffling, "MAX_LINE", 1000)
    with TaskOutput(1, 1000, None) as output, pytest.raises(AttemptFailed, match="longer than 1000 bytes"):
        take(output, *[b"x" * 50] * 100)


def test_memory_is_bounded_by_spilling(tmp_path: Path) -> None:
    shuffle = Shuffle(4, 2, memory=256 * 1024, directory=tmp_path)
    line = b"%06d\t" + b"v" * 100 + b"\n"
    with shuffle.output() as output:
        for start in range(0, 20000, 500):
            output.feed(b"".join(line % n for n in range(start, start + 500)))
            assert sum(map(len, output._held)) <= 128 * 1024 + 500 * 108
        output.finish()
        assert output._file is not None, "two megabytes do not fit 128 KiB"
        shuffle.commit(0, output)
    assert sum(map(len, contents(shuffle, 4))) == 20000 * 108
    assert list(tmp_path.iterdir()) == [], "files have no names, so a killed process leaves none"
    shuffle.close()


def test_a_partition_too_large_for_one_object_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffling, "MAX_PARTITION", 10)
    shuffle = Shuffle(1, 1)
    with shuffle.output() as output:
        take(output, b"abcdefgh\t123\n")
        with pytest.raises(SpoolError, match="use more partitions"):
            shuffle.commit(0, output)
    shuffle.close()


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="partition files: no such file"):
        Shuffle(2, 1, directory=tmp_path / "gone")
