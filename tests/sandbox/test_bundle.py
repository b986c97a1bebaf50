"""Bundles: what is written is read back, and nothing that an enemy may write is believed, followed or a traceback."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.sandbox.bundle import compare
from insitu.sandbox.bundle.directory import JSON, PROGRAM, BundleReader, BundleWriter, input_name
from insitu.sandbox.bundle.format import Bundle, Engine, FilesPart, InputPart, ProgramPart
from insitu.sandbox.bundle.tree import Entry, check, differences, looked, made, taken, total
from insitu.sandbox.bundle.witness import Witness
from insitu.sandbox.channels import FileSource, Wait
from insitu.sandbox.channels.meter import Quota
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.digest import program_digest
from insitu.sandbox.errors import BundleError
from insitu.sandbox.limits import Limits
from insitu.sandbox.outcome import ChannelStatistics, LimitHit, Outcome, Usage

HERE = Engine("1.0", "50.0.1", "x86_64", "a=1;b=0")
DATA = b"0123456789"
DIGEST = program_digest(DATA)  # of any bytes
FILE_OF_A_GIB = {"kind": "file", "size": 1 << 30, "digest": DIGEST}
WASM = b"\0asm\x01\0\0\0"


def bundle(**changes: Any) -> Bundle:
    """One with something in every field."""
    fields: dict[str, Any] = {
        "engine": HERE,
        "program": ProgramPart("guest", program_digest(WASM), len(WASM), True),
        "argv": ("guest", "two words", "€"),
        "env": {"A": "1", "B": ""},
        "frozen": Frozen(7, 1_000),
        "limits": Limits(fuel=1000, wall=2.5),
        "quotas": {"stdin": Quota(calls=3), "out/result": Quota(bytes=0)},
        "inputs": {
            "stdin": InputPart(len(DATA), DIGEST, whole=False, kept=True, hint="-"),
            "in/logo": InputPart(1 << 40, DIGEST, whole=True, kept=False, hint="/srv/big"),
        },
        "outputs": {"out/result": "file", "out/log": "stream"},
        "files": FilesPart(
            "root", True, (Entry("a"), Entry("a/b", size=len(DATA), digest=DIGEST), Entry("a/c", target="../../etc"))
        ),
        "origin": {"id": "0" * 32, "tenant": "AUTH_a"},
        "outcome": Outcome(
            "trap",
            trap="unreachable\n0: inner",
            limit=LimitHit("tmp", 10, 11.0),
            usage=Usage(fuel=5, cpu_us=3, wall_us=4, memory_peak=65536, bytes_in=10),
            stderr=b"\xff\0oops",
            channels={"stdin": ChannelStatistics(1, 10, 0, 0, DIGEST), "stderr": ChannelStatistics(writes=1)},
        ),
        "recorded": 1.5,
    }
    return Bundle(**(fields | changes))


def raw(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bundle(**changes).to_json())
    return found


def read(value: object) -> Bundle:
    return Bundle.from_json(json.dumps(value).encode(), "b/bundle.json")


def write(place: Path, found: Bundle | None = None) -> Path:
    with BundleWriter(place) as writer:
        writer.add(PROGRAM, WASM)
        writer.add(input_name("stdin"), DATA)
        writer.add("files/" + DIGEST.removeprefix("sha256:"), DATA)
        writer.finish(found or bundle())
    return place


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"frozen": None, "inexact": "it was not frozen", "files": None, "quotas": {}, "outputs": {}, "origin": {}},
        {"inputs": {"stdin": InputPart(None, None, whole=True, kept=False)}},
        {"outcome": Outcome("exit", exit_code=(1 << 32) - 1, stderr=b"base64:not", note="n")},
        {"outcome": Outcome("exit", exit_code=0, stderr="grüße\n".encode())},
        {"outcome": Outcome("limit", limit=LimitHit("fuel", (1 << 63) - 1, (1 << 63) - 1))},
    ],
)
def test_what_is_written_is_read_back(changes: dict[str, Any], tmp_path: Path) -> None:
    found = bundle(**changes)
    with BundleReader(write(tmp_path / "b", found)) as reader:
        assert reader.bundle == found


def test_stderr_is_text_for_people_where_it_is_text() -> None:
    assert raw(outcome=Outcome("exit", exit_code=1, stderr=b"no such word\n"))["outcome"]["stderr"] == "no such word\n"


def test_it_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "b"
    with BundleWriter(place) as writer:
        writer.add(PROGRAM, WASM)
        assert list(tmp_path.iterdir()) != []
        assert not place.exists()
    assert list(tmp_path.iterdir()) == []
    place.mkdir()
    write(place)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert {path.stat().st_mode & 0o077 for path in (place, *place.rglob("*"))} == {0}, "others may look into it"


@pytest.mark.parametrize("kind", ["file", "full", "link"])
def test_a_place_that_is_taken_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "b"
    if kind == "file":
        place.write_text("mine")
    elif kind == "full":
        write(place)
    else:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to("elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=r"needs a directory of its own"):
        BundleWriter(place)
    assert sorted(tmp_path.rglob("*")) == before


# The reader, of a directory.


def test_parts_are_held_against_size_and_digest(tmp_path: Path) -> None:
    place = write(tmp_path / "b")
    with BundleReader(place) as reader:
        fd = reader.part(PROGRAM, program_digest(WASM), len(WASM))
        assert os.read(fd, 100) == WASM
        os.close(fd)
        with pytest.raises(BundleError, match=r"b/program\.wasm: 8 bytes, and bundle\.json says 9"):
            reader.part(PROGRAM, program_digest(WASM), len(WASM) + 1)
        (place / PROGRAM).write_bytes(WASM[:-1] + b"x")
        with pytest.raises(BundleError, match=rf"b/program\.wasm: is sha256:\w+, and .* says {program_digest(WASM)}"):
            reader.part(PROGRAM, program_digest(WASM), len(WASM))
        (place / PROGRAM).unlink()
        with pytest.raises(BundleError, match=r"b/program\.wasm: No such file"):
            reader.part(PROGRAM, program_digest(WASM), len(WASM))


def test_a_reader_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    place = write(tmp_path / "b")

    def refused() -> None:
        with BundleReader(place) as reader, pytest.raises(BundleError):
            reader.part(PROGRAM, DIGEST, len(WASM))
        with pytest.raises(BundleError):
            BundleReader(place / "inputs")

    refused()
    before = os.listdir("/proc/self/fd")
    refused()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("part", [JSON, PROGRAM, "inputs/stdin", "inputs"])
@pytest.mark.parametrize("what", ["link", "loop", "fifo", "directory", "socket"])
def test_a_part_that_is_no_regular_file_is_refused(tmp_path: Path, part: str, what: str) -> None:
    place = write(tmp_path / "b")
    victim = place / part
    victim.rename(tmp_path / "aside")
    if what == "link":  # to the very same
        victim.symlink_to(tmp_path / "aside")
    elif what == "loop":
        victim.symlink_to(victim)
    elif what == "fifo":
        os.mkfifo(victim)
    elif what == "directory":
        victim.mkdir()
    else:
        os.mknod(victim, 0o140600)

    def look() -> None:
        with BundleReader(place) as reader:
            os.close(reader.part("inputs/stdin", DIGEST, len(DATA)))
            os.close(reader.part(PROGRAM, program_digest(WASM), len(WASM)))

    with pytest.raises(BundleError) as told:
        look()
    assert f"{place}/{part}" in str(told.value)


def test_a_bundle_json_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    place = write(tmp_path / "b")
    os.truncate(place / JSON, 1 << 40)
    with pytest.raises(BundleError, match=r"1099511627776 bytes, and at most 67108864 are read"):
        BundleReader(place)


@pytest.mark.parametrize("place", ["nowhere", "file", "a\0b", "x" * 300])
def test_what_is_no_bundle(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError):
        BundleReader(tmp_path / place)


PARTS = [JSON, PROGRAM, "inputs/stdin", "files/" + DIGEST.removeprefix("sha256:"), "inputs", "files"]
DAMAGES = ["drop", "truncate", "append", "flip", "link", "rename", "fifo", "directory"]


def damage(place: Path, part: str, how: str, at: int, other: str) -> None:
    path = place / part
    whole = not path.is_symlink() and path.is_file() and path.stat().st_size
    if how == "rename" or (how == "link" and (place / other).exists()):
        path.rename(place / other)
    if how == "link":
        path.symlink_to(other)
    elif how in ("drop", "fifo", "directory"):
        path.rename(place / f"aside{at}")
        if how == "fifo":
            os.mkfifo(path)
        elif how == "directory":
            path.mkdir()
    elif whole and how in ("truncate", "append"):
        os.truncate(path, at % whole if how == "truncate" else whole + at + 1)
    elif whole and how == "flip":
        data = bytearray(path.read_bytes())
        data[at % whole] ^= 1 + at % 255
        path.write_bytes(data)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(PARTS),
            st.sampled_from(DAMAGES),
            st.integers(0, 5000),
            st.sampled_from([*PARTS, "x", "..", "inputs/x"]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_becomes_of_its_files_each_is_itself_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, int, str]]
) -> None:
    place = write(tmp_path_factory.mktemp("damaged") / "b")
    for part, how, at, other in changes:
        try:
            damage(place, part, how, at, other)
        except OSError:
            continue  # an earlier change took the place away
    try:
        with BundleReader(place) as reader:
            for part in PARTS[1:4]:
                data = WASM if part == PROGRAM else DATA
                with open(reader.part(part, program_digest(data), len(data)), "rb") as file:
                    assert file.read() == data
    except BundleError as why:
        assert str(why).startswith(f"{place}/")  # noqa: PT017 - a refusal is as right as the very bytes


# bundle.json, from anybody.


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("format", "zip", r"format 'zip', and 'insitu bundle' is what is read here"),
        ("version", 2, r"version 2, and 1 is what is read here"),
        ("version", True, r"version True"),
        ("more", 1, r"b/bundle\.json: 'more' is not known here"),
        ("exact", False, r"exact: false, which inexact contradicts"),
        ("argv", [], r"argv is empty"),
        ("argv", ["a\0b"], r"argv\[0\]: 'a\\x00b' is not a string"),
        ("argv", ["\ud800"], r"argv\[0\]: .* is not UTF-8"),
        ("env", {"A=B": "x"}, r"env: a name: 'A=B' is not the name of a variable"),
        ("frozen.seed", -1, r"frozen: seed: -1 is not a whole number"),
        ("frozen.seed", 1 << 64, r"frozen: seed: 18446744073709551616 is not a whole number"),
        ("limits.memory", "lots", r"limits: limit memory: 'lots' is not a number"),
        ("limits.memory", 1 << 60, r"limits: limit memory: .* is outside what is allowed"),
        ("limits.magic", 1, r"limits: unknown limit 'magic'"),
        ("quotas.stdin.calls", -1, r"quotas: stdin: calls: -1"),
        ("quotas.in/", {}, r"quotas: a name: 'in/' is not a channel's"),
        ("program.digest", "sha256:../../etc/passwd", r"program: digest: .* is not sha256: and 64"),
        ("program.size", 1 << 50, r"program: size: 1125899906842624 is not a whole number from 0 to"),
        ("inputs.in/../../x", {}, r"inputs: a name: 'in/\.\./\.\./x' is not a channel's that can be here"),
        ("inputs.stdout", {}, r"inputs: a name: 'stdout' is not"),
        ("inputs.stdin.size", 1.5, r"inputs: stdin: size: 1\.5 is not a whole number"),
        ("inputs.stdin.digest", None, r"inputs: stdin: digest: None is not sha256"),
        ("inputs.stdin.size", None, r"inputs: stdin: a digest without a size"),
        ("outputs.out/result", "device", r"outputs: out/result: 'device' is not file or stream"),
        ("outputs.in/logo", "file", r"outputs: a name: 'in/logo' is not a named output's"),
        ("files.mode", "nfs", r"files: mode: 'nfs' is not one of root, files"),
        ("files.entries", [FILE_OF_A_GIB | {"path": f"{at}"} for at in range(5)], r"files: 5368709120 bytes in all"),
        ("outcome.end", "won", r"outcome: end: 'won' is not one of"),
        ("outcome.trap", None, r"outcome: ended by trap, and trap is null"),
        ("outcome.stderr", "base64:*", r"outcome: stderr: 'base64:\*' is not text or base64"),
        ("outcome.usage.fuel", [], r"outcome: usage: fuel: a list is not a whole number"),
        ("outcome.channels.stdin.digest", "md5:1", r"channels: stdin: digest: 'md5:1' is not sha256"),
    ],
)
def test_what_is_wrong_is_named_and_where(path: str, value: object, told: str) -> None:
    found = raw()
    at = found
    *way, last = path.split(".") if ".." not in path else ("inputs", path.removeprefix("inputs."))
    for name in way:
        at = at[name]
    at[last] = value
    with pytest.raises(BundleError, match=told):
        read(found)


def test_a_missing_field_is_named() -> None:
    found = raw()
    del found["program"]["kept"]
    with pytest.raises(BundleError, match=r"b/bundle\.json: program: kept is missing"):
        read(found)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"1" * 5000, b'{"format": NaN}', b"\0"],
    ids=range(10),
)
def test_what_is_no_json_object(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"b/bundle\.json: ") as told:
        Bundle.from_json(data, "b/bundle.json")
    assert len(str(told.value)) < 300


def places(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Of everything within a JSON value."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


PLACES = places(raw())[1:]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [-1, 1 << 63, 1 << 64, 1 << 200, 0.5, 1e308, "", "..", "/", "a/../..", "\0", "\ud800", "x" * 2000]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "drop", "add", "rename"]), ANYTHING),
        min_size=1,
        max_size=3,
    ),
    st.text(),
)
def test_no_bundle_json_is_a_traceback(changes: list[tuple[tuple[str | int, ...], str, Any]], name: str) -> None:
    found: Any = copy.deepcopy(raw())
    for (*way, last), how, value in changes:
        at = found
        try:
            for key in way:
                at = at[key]
            if how == "set":
                at[last] = value
            elif how == "drop":
                del at[last]
            elif how == "add":
                at[name] = value
            else:
                at[name] = at.pop(last)
        except (LookupError, TypeError, AttributeError):
            continue  # an earlier change took the place away
    try:
        good = read(found)
    except BundleError as why:
        told = str(why)
        fine = told.startswith("b/bundle.json: ") and len(told.splitlines()) == 1 and len(told) < 1000
        assert fine, told[:1000]
    else:
        assert Bundle.from_json(good.to_json(), "again") == good
        assert compare.outcomes(good, good.outcome) == []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damaged_byte_is_a_traceback(data: st.DataObject) -> None:
    text = bytearray(bundle().to_json())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        if data.draw(st.booleans()):
            text[at] = data.draw(st.integers(0, 255))
        else:
            del text[at : at + data.draw(st.integers(1, 200))]
            if not text:
                break
    try:
        Bundle.from_json(bytes(text), "b/bundle.json")
    except BundleError as why:
        assert str(why).startswith("b/bundle.json: ")  # noqa: PT017 - a refusal is as right as a bundle


# Trees.


@pytest.mark.parametrize(
    "paths",
    [
        ["/etc/passwd"],
        [".."],
        ["."],
        [""],
        ["a/../../b"],
        ["a/"],
        ["//a"],
        ["../x"],
        ["missing/x"],
        ["x" * 256],
        ["a", "a"],
        ["/".join(["d"] * 300)],
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(paths: list[str]) -> None:
    with pytest.raises(BundleError, match=r"files: "):
        check([Entry(path) for path in paths], "files")


def test_nothing_is_made_behind_a_link() -> None:
    with pytest.raises(BundleError, match=r"'a/passwd' is in no directory that comes before it"):
        check([Entry("a", target="/etc"), Entry("a/passwd", size=0, digest=DIGEST)], "files")


names = st.sampled_from(["a", "b", "..", ".", "", "/", "é"])
entries = st.lists(
    st.builds(
        lambda parts, kind: Entry(
            "/".join(parts),
            size=len(DATA) if kind == "file" else None,
            digest=DIGEST if kind == "file" else None,
            target="/etc" if kind == "link" else None,
        ),
        st.lists(names, min_size=1, max_size=3),
        st.sampled_from(["file", "directory", "link"]),
    ),
    max_size=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries)
def test_whatever_is_made_stays_within(tmp_path_factory: pytest.TempPathFactory, found: list[Entry]) -> None:
    outside = tmp_path_factory.mktemp("outside")
    inside = outside / "inside"
    inside.mkdir()
    (outside / "data").write_bytes(DATA)
    try:
        check(found, "files")
    except BundleError:
        return
    made(found, inside, lambda *_: os.open(outside / "data", os.O_RDONLY))
    assert sorted(path.name for path in outside.iterdir()) == ["data", "inside"]
    assert list(taken(inside, lambda _: None)) == sorted(found, key=lambda entry: entry.path.split("/"))


def test_a_tree_is_taken_made_again_and_compared(tmp_path: Path) -> None:
    tree, again, kept = tmp_path / "tree", tmp_path / "again", tmp_path / "kept"
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "file").write_bytes(DATA)
    (tree / "same").write_bytes(DATA)
    (tree / "é").write_bytes(b"")
    (tree / "link").symlink_to("../outside")
    again.mkdir()
    kept.mkdir()

    def keep(digest: str) -> int | None:
        try:
            return os.open(kept / digest, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return None

    found = taken(tree, keep)
    assert len(list(kept.iterdir())) == 2
    made(found, again, lambda digest, _: os.open(kept / digest, os.O_RDONLY))
    assert taken(again, lambda _: None) == found
    assert total(looked(tree)) == 2 * len(DATA)
    before = looked(tree)
    (again / "d" / "file").write_bytes(b"other")
    (again / "d" / "e").rmdir()
    (again / "new").mkdir()
    (again / "link").unlink()
    (again / "link").symlink_to("elsewhere")
    assert [line.split(" recorded")[0] for line in differences(found, taken(again, lambda _: None))] == [
        "d/e: directory",
        f"d/file: 10 bytes, {DIGEST}",
        "link: link to ../outside",
        "new: not there",
    ]
    (tree / "d" / "file").write_bytes(DATA)
    assert looked(tree) != before, "a file that was written anew goes unnoticed"


# What a guest reads.


def read_in(witness: Witness, *sizes: int) -> bytes:
    found = b""
    for size in sizes:
        buffer = bytearray(size)
        found += buffer[: witness.read([memoryview(buffer)], Wait(1e18))]
    return found


def test_a_witness_keeps_what_is_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "kept", "xb") as kept:
        witness = Witness(FileSource(source.fileno()), kept.fileno(), 100)
        assert read_in(witness, 3, 4) == DATA[:7]
        assert (witness.count, witness.ended, witness.digest()) == (7, False, program_digest(DATA[:7]))
        assert (tmp_path / "kept").read_bytes() == DATA[:7]
        read_in(witness, 3)
        assert not witness.ended
        read_in(witness, 1)
        assert witness.ended
        assert witness.digest() == DIGEST


def test_a_witness_lets_go_of_what_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "kept", "xb") as kept:
        witness = Witness(FileSource(source.fileno()), kept.fileno(), 9)
        assert read_in(witness, 9) == DATA[:9]
        assert witness.keep is not None
        assert read_in(witness, 9) == DATA[9:]
        assert witness.keep is None
        assert (tmp_path / "kept").read_bytes() == b""
        assert (witness.count, witness.digest()) == (10, DIGEST)


def test_a_witness_that_cannot_write_says_so_and_the_guest_reads_on(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    with open(tmp_path / "in", "rb") as source, open("/dev/full", "wb", buffering=0) as kept:
        witness = Witness(FileSource(source.fileno()), kept.fileno(), 100)
        assert read_in(witness, 4, 10) == DATA
        assert witness.failure is not None
        assert "No space left" in str(witness.failure)


# What differs.


def exited(**changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "end": "exit",
        "exit_code": 3,
        "usage": Usage(fuel=1000, cpu_us=1, memory_peak=65536),
        "stderr": b"one\ntwo\nthree\n",
        "channels": {"stdout": ChannelStatistics(writes=1, bytes_written=10, digest=DIGEST)},
    }
    return Outcome(**(fields | changes))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (exited(), []),
        (exited(usage=Usage(fuel=1000, cpu_us=9, wall_us=9, memory_peak=65536)), []),
        (exited(exit_code=4), ["exit code: 3 recorded, 4 now"]),
        (exited(usage=Usage(fuel=1001, memory_peak=65536)), ["fuel: 1000 recorded, 1001 now"]),
        (exited(usage=Usage(fuel=1000, memory_peak=1)), ["memory_peak: 65536 recorded, 1 now"]),
        (
            exited(stderr=b"one\n2\nthree\n"),
            ["stderr: from line 2 on, '-' recorded and '+' now", "  - two", "  + 2"],
        ),
        (
            exited(stderr=b"one\ntwo\nthree\xff\n"),
            ["stderr: from line 3 on, '-' recorded and '+' now", "  - three", "  + three\\xff"],
        ),
        (
            exited(channels={"stdout": ChannelStatistics(writes=2, bytes_written=10, digest=program_digest(b""))}),
            ["stdout: writes: 1 recorded, 2 now", f"stdout: {DIGEST} recorded, {program_digest(b'')} now"],
        ),
        (exited(channels={}), ["stdout: there recorded, not there now"]),
        (exited(limit=LimitHit("tmp", 1, 2)), ["limit: none recorded, limit tmp: 1 B allowed, 2 B reached now"]),
        (
            Outcome("trap", trap="unreachable", usage=Usage(fuel=1000, memory_peak=65536), channels=exited().channels),
            [
                "end: exit code 3 recorded, trap: unreachable now",
                "stderr: from line 1 on, '-' recorded and '+' now",
                "  - one",
                "  - two",
                "  - three",
            ],
        ),
    ],
)  # fmt: skip
def test_exactly_what_differs_is_told(now: Outcome, told: list[str]) -> None:
    assert compare.outcomes(bundle(outcome=exited()), now) == told


def test_a_backtrace_that_differs_is_told_by_its_lines() -> None:
    was = Outcome("trap", trap="unreachable\n0: inner\n1: outer")
    now = Outcome("trap", trap="unreachable\n0: other\n1: outer")
    assert compare.outcomes(bundle(outcome=was), now) == [
        "trap: from line 2 on, '-' recorded and '+' now",
        "  - 0: inner",
        "  + 0: other",
    ]


def test_of_an_inexact_run_it_is_the_end_that_counts() -> None:
    inexact = bundle(outcome=exited(), inexact="it was not frozen", frozen=None)
    assert compare.outcomes(inexact, exited(usage=Usage(), channels={})) == []
    assert compare.outcomes(inexact, exited(exit_code=4)) == ["exit code: 3 recorded, 4 now"]
    assert "fuel, memory and bytes are not compared: it was not frozen" in compare.not_compared(inexact)
    wall = Outcome("limit", limit=LimitHit("wall", 1.0, 1.01), stderr=b"half")
    clocked = bundle(outcome=wall, inexact=compare.why_inexact(wall))
    assert compare.outcomes(clocked, Outcome("limit", limit=LimitHit("wall", 1.0, 1.5), stderr=b"ha")) == []
    assert compare.outcomes(clocked, exited())[0].startswith("end: limit wall: 1 s allowed")
    assert "stderr" in compare.not_compared(clocked)


def test_another_engine_is_told() -> None:
    assert list(compare.engines(HERE, HERE)) == []
    other = Engine("1.0", "51.0.0", "aarch64", "a=1;b=1")
    assert list(compare.engines(HERE, other)) == [
        "wasmtime: 50.0.1 recorded, 51.0.0 now",
        "machine: x86_64 recorded, aarch64 now",
        "engine settings: b=0 recorded, b=1 now",
    ]
    assert list(compare.engines(Engine("1.0", "50.0.1", "x86_64"), HERE)) == [], "it said nothing of its settings"
