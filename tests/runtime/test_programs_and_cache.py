"""Which programs a node has, and their machine code on disk."""

import os
import threading
import time
from pathlib import Path

import pytest

from insitu.runtime.bundles.manifest import DEFAULT_CONTENT_TYPE
from insitu.runtime.cache import CacheError, CompiledCache, engine_key
from insitu.runtime.errors import ProgramRejected, UnknownProgram
from insitu.runtime.loaded import COUNT
from insitu.runtime.programs import SHIPPED, ProgramStore
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import MAX_PROGRAM
from tests.runtime.conftest import NodeProcess, StartNode


def put(directory: Path, name: str, data: bytes = b"one", manifest: str | None = None) -> None:
    (directory / f"{name}.wasm").write_bytes(data)
    if manifest is not None:
        (directory / f"{name}.toml").write_text(manifest)


def test_a_program_is_found_by_name_and_by_digest(tmp_path: Path) -> None:
    put(tmp_path, "mine", b"bytes", 'summary = "What it does"\ncontent_type = "text/plain; charset=utf-8"\nother = 3\n')
    store = ProgramStore([tmp_path])
    info = store.find("mine")
    assert (info.name, info.digest, info.path) == ("mine", program_digest(b"bytes"), str(tmp_path / "mine.wasm"))
    assert (info.summary, info.content_type) == ("What it does", "text/plain; charset=utf-8")
    assert store.find(info.digest) == info
    assert info in store.all()


def test_without_a_manifest(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    assert ProgramStore([tmp_path]).find("mine").content_type == DEFAULT_CONTENT_TYPE


def test_the_first_directory_wins_over_the_next_and_all_over_the_shipped(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    put(one, "mine", b"one")
    put(two, "mine", b"two")
    put(two, "cat", b"not the shipped one")
    store = ProgramStore([one, two, tmp_path / "nowhere"])
    assert store.find("mine").digest == program_digest(b"one")
    assert store.find("cat").digest == program_digest(b"not the shipped one")
    assert [info.digest for info in store.all() if info.name == "mine"] == [program_digest(b"one")]


@pytest.mark.parametrize(
    "name", ["none", "", ".", "..", "../mine", "mine/", "/etc/passwd", "x" * 300, "sha256:" + "0" * 64]
)
def test_unknown(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    put(tmp_path, "mine")
    with pytest.raises(UnknownProgram, match="no program"):
        ProgramStore([inner]).find(name)


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("summary = ", "no TOML"),
        ("summary = 3", "summary is no string"),
        ("content_type = 'text'", "content_type"),
        ("content_type = 'text/plain\\r\\nX-Evil: 1'", "content_type"),
        ('content_type = "text/plain\\r\\nX-Evil: 1"', "content_type"),
        ("content_type = ['a/b']", "content_type is no string"),
        ("x = " + "[" * 20_000, "no TOML"),
        ("#" * 70_000, "over 65536 bytes"),
        ("summary = '\udcff'", "no TOML"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_manifest_that_is_wrong_is_named(tmp_path: Path, manifest: str, reason: str) -> None:
    put(tmp_path, "mine")
    (tmp_path / "mine.toml").write_bytes(manifest.encode("utf-8", "surrogateescape"))
    store = ProgramStore([tmp_path])
    with pytest.raises(ProgramRejected, match=f"program mine: .*{reason}"):
        store.find("mine")
    assert "mine" not in [info.name for info in store.all()]  # and the others are still listed
    (tmp_path / "mine.toml").write_text("summary = 'well'")
    assert store.find("mine").summary == "well"


def test_a_replaced_file_is_another_program(tmp_path: Path) -> None:
    put(tmp_path, "mine", b"one", "summary = 'first'")
    store = ProgramStore([tmp_path])
    first = store.find("mine")
    new = tmp_path / "new"
    new.write_bytes(b"two")  # of the same length
    os.utime(new, ns=(0, (tmp_path / "mine.wasm").stat().st_mtime_ns))  # and the same age
    new.replace(tmp_path / "mine.wasm")
    second = store.find("mine")
    assert (first.digest, second.digest) == (program_digest(b"one"), program_digest(b"two"))
    (tmp_path / "mine.toml").unlink()
    assert store.find("mine").summary == ""
    (tmp_path / "mine.wasm").unlink()
    with pytest.raises(UnknownProgram):
        store.find("mine")


def test_what_is_no_file_is_no_program(tmp_path: Path) -> None:
    """Reading a named pipe would hold the node up until somebody wrote to it."""
    os.mkfifo(tmp_path / "pipe.wasm")
    (tmp_path / "folder.wasm").mkdir()
    store = ProgramStore([tmp_path])
    for name in ("pipe", "folder"):
        with pytest.raises(UnknownProgram):
            store.find(name)
    assert not {"pipe", "folder"} & {info.name for info in store.all()}


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "mine")
    store = ProgramStore([tmp_path])

    def fail(_: Path, most: int) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("insitu.runtime.programs.read_file", fail)
        with pytest.raises(ProgramRejected, match="mine: cannot be read: Too many open files"):
            store.find("mine")
    assert store.find("mine").name == "mine"


DIGEST = program_digest(b"program")


def test_the_cache_gives_back_what_was_stored(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path / "deep" / "cache")
    assert cache.find(DIGEST) is None
    path = cache.store(DIGEST, b"machine code")
    assert cache.find(DIGEST) == path
    assert path.read_bytes() == b"machine code"
    assert engine_key() in path.name
    assert path.stat().st_mode & 0o077 == 0
    assert cache.directory.stat().st_mode & 0o077 == 0
    assert sorted(cache.directory.iterdir()) == sorted([path, path.with_suffix(".sum")])  # nothing half-written


@pytest.mark.parametrize("damage", [b"", b"machine cod", b"machine codeX", b"Machine code"])
def test_a_damaged_entry_is_no_entry(tmp_path: Path, damage: bytes) -> None:
    cache = CompiledCache(tmp_path)
    path = cache.store(DIGEST, b"machine code")
    path.write_bytes(damage)
    assert cache.find(DIGEST) is None
    cache.store(DIGEST, b"machine code")
    assert cache.find(DIGEST) == path
    path.with_suffix(".sum").write_bytes(b"\xff\xfe")
    assert cache.find(DIGEST) is None
    path.with_suffix(".sum").unlink()
    assert cache.find(DIGEST) is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o722])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "cache"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(CacheError, match=r"writable by nobody else; try: chmod 700"):
        CompiledCache(directory)


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "cache"
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)
    with pytest.raises(CacheError, match="must belong to the user"):
        CompiledCache(directory)


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(CacheError):
            CompiledCache(place)


def test_many_may_store_the_same_at_once(tmp_path: Path) -> None:
    """A reader finds the entry whole, or none."""
    cache = CompiledCache(tmp_path)
    code = os.urandom(200_000)
    cache.store(DIGEST, code)
    wrong: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = cache.find(DIGEST)
            if found is not None and found.read_bytes() != code:
                wrong.append(b"")

    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(30):
                    cache.store(DIGEST, code)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    reader = threading.Thread(target=read)
    reader.start()
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    stop.set()
    reader.join()
    assert statuses == [0, 0, 0]
    assert not wrong
    assert cache.find(DIGEST) is not None
    assert len(list(tmp_path.iterdir())) == 2


def test_a_program_of_absurd_size_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "huge.wasm", "wb") as file:
        file.truncate(MAX_PROGRAM + 1)
    with pytest.raises(ProgramRejected, match="huge: 134217729 bytes, and at most 134217728 are allowed"):
        ProgramStore([tmp_path]).find("huge")


def digest_of(at: int) -> str:
    return program_digest(b"%d" % at)


def used(cache: CompiledCache, at: int, seconds: int) -> None:
    """As if it had been used then."""
    os.utime(cache.path(digest_of(at)), (seconds, seconds))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path, most=1000)
    for at in range(4):
        cache.store(digest_of(at), bytes(250))
        used(cache, at, 1000 + at)
    assert cache.find(digest_of(0)) is not None  # which is a use
    cache.store_files(digest_of(9), bytes(500))  # files and code count alike
    assert [cache.find(digest_of(at)) is not None for at in range(4)] == [True, False, False, True]
    assert cache.find_files(digest_of(9)) is not None
    assert len(list(tmp_path.iterdir())) == 6  # no sum is left without its entry


def test_what_is_loaded_makes_no_room(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path, most=1000)
    loaded = {cache.store(digest_of(at), bytes(400)) for at in range(2)}
    cache.store(digest_of(2), bytes(200), loaded)
    with pytest.raises(OSError, match="the cache may take 1000 bytes"):
        cache.store(digest_of(3), bytes(300), loaded)
    assert all(path.exists() for path in loaded)
    with pytest.raises(OSError, match="the cache may take 1000 bytes"):
        cache.store(digest_of(4), bytes(1001))
    cache.store(digest_of(0), bytes(900))  # again, and it need not fit beside itself


def test_what_a_killed_compiler_left_behind_goes(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path)
    for name, age in ((".old", 7200), (".new", 10)):
        (tmp_path / name).write_bytes(b"half")
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))
    cache.store(DIGEST, b"code")
    assert not (tmp_path / ".old").exists()
    assert (tmp_path / ".new").exists()


def test_where_no_directory_can_be_made_nothing_is_kept_and_it_says_so(tmp_path: Path) -> None:
    cache = CompiledCache("/proc/nowhere/cache")  # a place where not even root makes a directory
    assert cache.unusable is not None
    assert cache.find(DIGEST) is None
    with pytest.raises(OSError, match="No such file"):
        cache.store(DIGEST, b"code")


# A node whose cache will not have it.


def copied(node: NodeProcess, program: str) -> None:
    data = os.urandom(100_000)
    output, record = node.run(program, stdin=data)
    assert record.outcome.ok
    assert output == data


def test_without_a_cache_programs_are_kept_in_memory(start_node: StartNode) -> None:
    node = start_node(cache=Path("/proc/nowhere/cache"))
    for _ in range(3):
        copied(node, "copy")
    copied(node, "cat")
    log = node.log.read_text()
    assert log.count("program copy is kept in memory alone: /proc/nowhere") == 1  # compiled once, and loaded for good
    # The node only passed them on.
    opened = [os.readlink(link) for link in Path(f"/proc/{node.pid}/fd").iterdir()]
    assert not [name for name in opened if "insitu-program" in name]


def test_a_full_cache_degrades_to_memory(start_node: StartNode, tmp_path: Path) -> None:
    """So small a cache is full from the start; what is loaded later runs, and what it had stays."""
    node = start_node("--cache-size", "1KiB", cache=tmp_path / "cache")
    copied(node, "copy")
    copied(node, "cat")
    assert "the cache may take 1024 bytes" in node.log.read_text()
    assert not list((tmp_path / "cache").glob("*.cwasm"))


def test_a_cache_that_became_unwritable_degrades_to_memory(start_node: StartNode, tmp_path: Path) -> None:
    """Root writes wherever a mode forbids it: a directory that is gone stands for one that is read-only."""
    cache = tmp_path / "cache"
    node = start_node(cache=cache)
    copied(node, "copy")
    cache.rename(tmp_path / "gone")
    copied(node, "cat")
    copied(node, "copy")
    assert "program cat is kept in memory alone" in node.log.read_text()


def test_however_many_programs_are_loaded_another_can_be_compiled(start_node: StartNode, tmp_path: Path) -> None:
    """The spawner has a descriptor open for each, which its compilers have from it and may not have many of."""
    module = (SHIPPED / "cat.wasm").read_bytes()  # it has data, of which the engine keeps an image
    names = [f"cat{number:03}" for number in range(COUNT + 5)]
    for name in names:
        put(tmp_path, name, module + b"\0\x08\x01n" + name.encode())  # a custom section `n` makes it another
    node = start_node(programs=tmp_path, cache=tmp_path / "cache")
    for name in names:
        output, record = node.run(name, stdin=name.encode())
        assert output == name.encode(), record.outcome.sentence()
    assert node.client.ping()["loaded"] >= COUNT
