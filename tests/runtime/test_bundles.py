"""Bundles: what a zip from a stranger may be, what a manifest may say, and a bundle on a node from file to result."""

import io
import os
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.runtime.bundles import manifest, pack
from insitu.runtime.bundles.archive import MAX_ENTRIES, MAX_TOTAL, RATIO_FREE, Archive
from insitu.runtime.bundles.asked import check_within, granted
from insitu.runtime.bundles.build import build, names_of
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.errors import BadRequest, ProgramRejected, UnknownProgram
from insitu.runtime.programs import ProgramStore
from insitu.sandbox.digest import program_digest
from insitu.sandbox.limits import MIB, Limits
from tests.runtime.conftest import NodeProcess, StartNode
from tests.runtime.zips import DESCRIBED, UTF8, Part, deflated, zipped

ONE = Part(b"a", b"one")


def described(data: bytes, *, mark: bool = True, **wrong: int) -> bytes:
    figures = {"crc": zlib.crc32(data), "packed": len(data), "size": len(data)} | wrong
    return (b"PK\7\x08" if mark else b"") + struct.pack("<III", *figures.values())


# What is no plain zip.

ZEROS = {"crc": 0, "packed": 0, "size": 0}
ZIP64 = struct.pack("<HHQQ", 1, 16, 3, 3)
BOMB = bytes(RATIO_FREE * 2)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no zip archive"),
        (b"\0asm\1\0\0\0" + bytes(40), "no zip archive"),
        (b"MZ stub" + zipped(ONE), "no zip archive"),
        (zipped(ONE)[:-1], "no end of a zip archive"),
        (zipped(ONE, comment=b"hello"), "no end of a zip archive"),
        (zipped(ONE, behind=b"x" * 30), "no end of a zip archive"),
        (zipped(ONE, end={"here": 0xFFFF, "count": 0xFFFF}), "zip64"),
        (zipped(ONE, end={"start": 0xFFFFFFFF}), "zip64"),
        (zipped(ONE, end={"size": 0xFFFFFFFF}), "zip64"),
        (zipped(Part(b"a", b"one", extra=ZIP64)), "entry 'a': zip64"),
        (zipped(Part(b"a", b"one", local_extra=ZIP64)), "entry 'a': zip64"),
        (zipped(Part(b"a", b"one", central={"size": 0xFFFFFFFF})), "entry 'a': zip64"),
        (zipped(ONE, end={"disk": 1}), "several parts"),
        (zipped(ONE, end={"here": 0}), "several parts"),
        (zipped(Part(b"a", b"one", central={"disk": 2})), "another part of the archive"),
        (zipped(ONE, end={"here": 2, "count": 2}), "ends before entry 2 of 2"),
        (zipped(ONE, ONE, end={"here": 1, "count": 1}), "more than the 1 entries"),
        (zipped(ONE, end={"start": 3}), "not where it declares"),
        (zipped(ONE, between=b"hidden"), "6 bytes before its directory belong to no entry"),
        (zipped(ONE, Part(b"b", b"two", before=b"gap")), "entry 'b': 3 bytes before it belong to no entry"),
        (zipped(ONE, Part(b"b", b"one", local_name=b"a", at=0)), "entry 'b': its header has another name"),
        (zipped(ONE, Part(b"b", at=7)), "entry 'b': no header"),
        (zipped(ONE, Part(b"b", at=1 << 30)), "entry 'b': no header"),
        (zipped(Part(b"a", b"one", local_name=b"b")), "its header has another name"),
        (zipped(Part(b"a", b"one", flags=0x1)), "encrypted"),
        (zipped(Part(b"a", b"one", flags=0x2041)), "encrypted"),
        (zipped(Part(b"a", b"one", flags=0x20)), "flags 0x0020"),
        (zipped(Part(b"a", b"one", method=12, packed=b"one")), "method 12"),
        (zipped(Part(b"a", b"one", local={"method": 8})), "packed in another way"),
        (zipped(Part(b"a", b"one", local={"size": 2})), "another size or sum"),
        (zipped(Part(b"a", b"one", local={"crc": 2})), "another size or sum"),
        (zipped(Part(b"a", b"one", local=ZEROS)), "another size or sum"),
        (zipped(Part(b"a", b"one", central={"packed": 2}, local={"packed": 2})), "stored in 2 bytes and declares 3"),
        (zipped(Part(b"a", b"one", flags=DESCRIBED)), "data descriptor"),
        (zipped(Part(b"a", b"one", flags=DESCRIBED, descriptor=described(b"one", size=9))), "data descriptor"),
        (zipped(Part(b"a", b"one", flags=DESCRIBED, descriptor=described(b"one", crc=9))), "data descriptor"),
        (zipped(Part(b"a", b"one", mode=0o120777)), "symbolic link"),
        (zipped(Part(b"a", b"one", mode=0o120777, made_by=0)), "symbolic link"),
        (zipped(Part(b"a", mode=0o010644)), "neither a file nor a directory"),
        (zipped(Part(b"a", mode=0o020644)), "neither a file nor a directory"),
        (zipped(Part(b"a/", mode=0o100644)), "not by both"),
        (zipped(Part(b"a", mode=0o040755)), "not by both"),
        (zipped(Part(b"a/", b"one", mode=0)), "a directory with contents"),
        (zipped(Part(b"a", BOMB, method=8)), "times its size, and at most 100 times"),
        (zipped(Part(b"a", b"one", extra=struct.pack("<HH", 0x7075, 0))), "a second name"),
        (zipped(Part(b"\xe4", b"one")), "neither ASCII nor marked"),
        (zipped(Part(b"\xe4", b"one", flags=UTF8)), "no UTF-8"),
        (zipped(ONE, ONE), "the same name as 'a'"),
        (zipped(ONE, Part(b"A")), "the same name as 'a'"),
        (zipped(Part("ß".encode(), flags=UTF8), Part(b"ss")), "the same name"),
        (zipped(Part("é".encode(), flags=UTF8), Part("e\u0301".encode(), flags=UTF8)), "the same name"),
        (zipped(Part(b"a/x"), Part(b"A/y")), "the same name as 'a'"),
        (zipped(Part(b"A/x"), Part(b"a/q/z")), "the same name as 'A'"),
        (zipped(Part(b"d/A/x"), Part(b"d/b"), Part(b"d/a/q/z")), "the same name as 'd/A'"),
        (zipped(ONE, Part(b"a/b")), "lies in a file"),
        (zipped(Part(b"a/b/c"), Part(b"a/b")), "lies in a file"),
        (zipped(*(Part(b"%d" % i) for i in range(MAX_ENTRIES + 1))), "10001 entries, and at most 10000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_plain_zip_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(ProgramRejected) as caught:
        Archive(data, "mine")
    assert str(caught.value).startswith("mine: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"/etc/passwd", "absolute"),
        (b"//host/share", "absolute"),
        (b"..", "leads out"),
        (b"../a", "leads out"),
        (b"a/../../b", "leads out"),
        (b"a/..", "leads out"),
        (b"a\\..\\b", "backslash"),
        (b"C:/a", "drive letter"),
        (b"c:a", "drive letter"),
        (b"a\0.wasm", "NUL"),
        (b"a\nb", "control character"),
        (b"a\x1b[2J", "control character"),
        (b"a\x7f", "control character"),
        (b"", "empty part"),
        (b"a//b", "empty part"),
        (b"./a", "'.'"),
        (b"a/./b", "'.'"),
        (b"/", "absolute"),
        (b"a/" * 32 + b"a", "32 deep"),
        (b"x" * 256, "255 bytes"),
        (b"/".join([b"x" * 250] * 5), "1024 bytes"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_names_that_lead_elsewhere(name: bytes, reason: str) -> None:
    with pytest.raises(ProgramRejected, match=reason):
        Archive(zipped(Part(name, mode=0)), "mine")


def test_names_that_look_odd_and_lead_nowhere_else() -> None:
    names = ["...", "a/..b", "-x", "a b", "~", "$HOME", "con", "é/ü", "ab:c"]
    archive = Archive(zipped(*(Part(name.encode(), b"x", flags=UTF8) for name in names)), "mine")
    assert sorted(archive.entries) == sorted(names)


def test_overlapping_entries_are_refused() -> None:
    """As in the bombs that unpack one stretch of bytes again and again: every header is right, and lies in another."""
    inner = zipped(Part(b"b", b"two"))
    header = inner[: inner.index(b"PK\1\2")]
    with pytest.raises(ProgramRejected, match="entry 'b': overlaps the entry before it"):
        Archive(zipped(Part(b"a", header), Part(b"b", b"two", at=31, local_name=b"")), "mine")


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Part(b"a", b"one", 8, packed=b"\xff\xff"), "damaged"),
        (Part(b"a", b"one", 8, packed=deflated(b"more")), "unpacks to more than the 3 bytes"),
        (Part(b"a", b"one", 8, packed=deflated(b"tw")), "unpacks to 2 bytes and declares 3"),
        (Part(b"a", b"one", 8, packed=deflated(b"one") + b"x"), "end elsewhere"),
        (Part(b"a", b"one", 8, packed=deflated(b"one")[:-1]), "end elsewhere"),
        (Part(b"a", b"one", 8, packed=deflated(b"onx")), "CRC-32"),
        (Part(b"a", b"one", packed=b"onx"), "CRC-32"),
        (Part(b"a", b"x" * 500_000, 8, packed=deflated(bytes(500_000_000))), "unpacks to more than the 500000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bytes_that_are_not_what_was_declared(part: Part, reason: str) -> None:
    archive = Archive(zipped(part), "mine")
    with pytest.raises(ProgramRejected, match=f"mine: entry 'a': .*{reason}"):
        archive.read("a")


def test_all_together_are_bounded() -> None:
    """By what is declared: none of it is unpacked to find out."""
    whole = {"size": MAX_TOTAL // 2, "packed": MAX_TOTAL // 100}
    parts = [Part(b"%d" % i, b"", 8, packed=bytes(whole["packed"]), local=whole, central=whole) for i in range(3)]
    assert len(Archive(zipped(*parts[:2]), "mine").entries) == 2
    with pytest.raises(ProgramRejected, match="384 MiB unpacked, and at most 256 MiB"):
        Archive(zipped(*parts), "mine")


def test_zips_of_other_tools_are_read() -> None:
    """Deflated, with data descriptors, with harmless extra fields, from whatever system."""
    out = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            return out.write(data)  # type: ignore[arg-type]

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("program.toml", "name = 'x'")
        file.writestr("ä/b", b"b" * 1000)
        file.mkdir("empty")
    archive = Archive(out.getvalue(), "mine")
    assert archive.read("ä/b") == b"b" * 1000
    assert archive.entries["empty/"].is_directory
    plain = Part(
        b"a", b"one", flags=DESCRIBED, local=ZEROS, descriptor=described(b"one", mark=False), made_by=0, mode=0
    )
    assert Archive(zipped(plain), "mine").read("a") == b"one"


@settings(deadline=None)
@given(st.data())
def test_whatever_bytes_are_changed_it_is_read_right_or_refused(data: st.DataObject) -> None:
    parts = [Part(b"a", b"one"), Part(b"d/b", b"two" * 50, 8), Part(b"e/", mode=0o040755)]
    good = bytearray(zipped(*parts))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        archive = Archive(bytes(good), "mine")
        found = {name: archive.read(name) for name in archive.entries}
    except ProgramRejected:
        pass
    else:
        assert set(found.values()) <= {b"one", b"two" * 50, b""}


# What a manifest may say.


def stated(text: str, *, bundle: bool = True) -> manifest.Manifest:
    return manifest.parse(text.encode(), "mine", bundle=bundle)


def test_a_whole_manifest() -> None:
    found = stated(
        """
        name = "watermark"
        version = "1.2"
        entry = "bin/w.wasm"
        files = "share"
        summary = "S"
        content_type = "source"
        licence = "Apache-2.0"
        arguments = ["--text", "é"]
        frozen = true
        limits = {memory = "64MiB", wall = "90s", fuel = 1000, output = 5}
        channels = {inputs = ["mask"], outputs = ["report"]}
        """
    )
    assert (found.name, found.version, found.entry, found.files) == ("watermark", "1.2", "bin/w.wasm", "share")
    assert found.arguments == ("--text", "é")
    assert found.frozen
    assert not stated("name = 'a'").frozen
    assert found.limits == {"memory": 64 * MIB, "wall": 90.0, "fuel": 1000, "output": 5}
    assert (found.inputs, found.outputs) == (("mask",), ("report",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version = '1'", "name is missing"),
        ("name = 'a b'", "name 'a b' is none"),
        ("name = ''", "name '' is none"),
        ("name = 'a@1'", "name 'a@1' is none"),
        ("name = 3", "name is no string"),
        ("name = 'a'\nversion = ''", "version '' is none"),
        ("name = 'a'\nversion = '1 2'", "version '1 2' is none"),
        ("name = 'a'\nversion = 1.2", "version is no string"),
        ("name = 'a'\nlicense = 'MIT'", "'license' is not known; allowed: name, version"),
        ("name = 'a'\narguments = 'x'", "arguments is no list of strings"),
        ("name = 'a'\narguments = [3]", "arguments is no list of strings"),
        ('name = "a"\narguments = ["\\u0000"]', "NUL"),
        (f"name = 'a'\narguments = ['{'x' * 5000}']", "arguments are over 4096 bytes"),
        ("name = 'a'\nfrozen = 1", "frozen is neither true nor false"),
        ("name = 'a'\nfrozen = 'true'", "frozen is neither true nor false"),
        ("name = 'a'\nlimits = 3", "limits is no table"),
        ("name = 'a'\nlimits = {memory = '1 parsec'}", "limits: limit memory: '1 parsec' is not a size"),
        ("name = 'a'\nlimits = {memory = 1}", "limits: limit memory: 1 bytes is outside"),
        ("name = 'a'\nlimits = {network = 1}", "unknown limit 'network'"),
        ("name = 'a'\nchannels = {input = ['x']}", "channels.'input' is not known"),
        ("name = 'a'\nchannels = {inputs = ['../x']}", "channels.inputs: '../x' is no name of a channel"),
        ("name = 'a'\nchannels = {outputs = ['x', 'y', 'x']}", "channels.outputs: x is there twice"),
        (f"name = 'a'\nsummary = '{'x' * 1001}'", "summary is over 1000 characters"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_a_manifest_may_not_say(text: str, reason: str) -> None:
    with pytest.raises(ProgramRejected) as caught:
        stated(text)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("mine: its manifest's ")


def test_limits_are_granted_up_to_the_operators_and_the_launchs_own() -> None:
    default, most = Limits(), {"memory": 512 * MIB, "wall": 60.0, "cpu": 5.0}
    asked = {"memory": 400 * MIB, "wall": 90.0, "fuel": 10, "cpu": None}
    found = granted(asked, default, most)
    assert (found.memory, found.wall, found.fuel, found.cpu) == (400 * MIB, 60.0, 10, 5.0)
    assert granted(asked, default).memory == default.memory  # no operator allowed more
    assert granted({"memory": MIB}, default).memory == MIB
    own = Limits(memory=100 * MIB, fuel=5)
    assert granted(asked, own, most).memory == 100 * MIB
    assert granted(asked, own, most).fuel == 5
    assert granted({"fuel": 2}, own).fuel == 2
    assert granted({}, own) == own


def test_what_nobody_asks_for_is_the_operators_where_that_is_less() -> None:
    default, most = Limits(), {"memory": 64 * MIB, "fuel": 1000, "wall": 3600.0}
    found = granted({}, default, most)
    assert (found.memory, found.fuel, found.wall) == (64 * MIB, 1000, default.wall)
    assert granted({"memory": 128 * MIB, "fuel": 5}, default, most) == replace(found, fuel=5)
    assert granted({"wall": 7200.0}, default, most).wall == 3600.0
    assert granted({}, Limits(memory=MIB, fuel=1001), {"memory": MIB}) == Limits(memory=MIB, fuel=1001)


def test_a_launch_that_asks_for_more_than_the_operators_is_refused_with_both_figures() -> None:
    most = {"memory": 64 * MIB, "fuel": 1000, "wall": 30.0, "cpu": 1.0}
    check_within(Limits(), most)
    check_within(Limits(memory=64 * MIB, fuel=1000, wall=30.0, cpu=1.0, tmp=0), most)
    for limits, words in (
        (Limits(memory=65 * MIB), "limit memory: 64 MiB allowed on this node, 65 MiB asked for"),
        (Limits(memory=64 * MIB + 1), "limit memory: 64 MiB allowed on this node, 67108865 B asked for"),
        (Limits(fuel=1001), "limit fuel: 1000 allowed on this node, 1001 asked for"),
        (Limits(wall=3600.0), "limit wall: 30 s allowed on this node, 3600 s asked for"),
        (Limits(wall=30.0001), "limit wall: 30.0 s allowed on this node, 30.0001 s asked for"),
        (Limits(cpu=1.5, fuel=5), "limit cpu: 1 s allowed on this node, 1.5 s asked for"),
    ):
        with pytest.raises(BadRequest) as caught:
            check_within(limits, most)
        assert str(caught.value) == words


# A bundle as a whole.

CAT = b"\0asm\1\0\0\0"


def bundled(*parts: Part, text: str = "name = 'mine'", wasm: str = "mine.wasm") -> bytes:
    return zipped(Part(b"program.toml", text.encode()), Part(wasm.encode(), CAT), *parts)


def test_its_parts() -> None:
    parts = [Part(b"files/etc/motd", b"hi"), Part(b"files/e/", mode=0), Part(b"LICENCE", b"L"), Part(b"x/y.wasm")]
    found = Bundle(bundled(*parts), "mine")
    assert (found.entry, found.wasm()) == ("mine.wasm", CAT)
    assert found.files() == {"etc/motd": b"hi", "e/": b""}
    other = Bundle(bundled(*parts, text="name = 'mine'\nentry = 'x/y.wasm'\nfiles = 'files/etc/'"), "mine")
    assert (other.entry, other.files()) == ("x/y.wasm", {"motd": b"hi"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (zipped(Part(b"a.wasm", CAT)), "no program.toml at its top"),
        (zipped(Part(b"program.toml", b"name = 'x'")), "0 modules (.wasm) at its top"),
        (bundled(Part(b"b.wasm")), "2 modules (.wasm) at its top; its manifest's entry must name one"),
        (bundled(text="name = 'x'\nentry = 'y.wasm'"), "entry 'y.wasm' is not in it"),
        (bundled(text="name = 'x'\nfiles = 'share'"), "files 'share' is no directory in it"),
        (bundled(text="name = 'x'\n" + "#" * 70_000), "manifest is over 65536 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_bundle(data: bytes, reason: str) -> None:
    with pytest.raises(ProgramRejected) as caught:
        Bundle(data, "mine")
    assert reason in str(caught.value)


def source(directory: Path, wasm: bytes = CAT, text: str = "name = 'mine'\nversion = '1.2'") -> Path:
    (directory / "files" / "etc").mkdir(parents=True)
    (directory / "program.toml").write_text(text)
    (directory / "mine.wasm").write_bytes(wasm)
    (directory / "files" / "etc" / "motd").write_text("hi")
    (directory / "files" / "empty").mkdir()
    (directory / "LICENCE").write_text("L")
    (directory / "main.c").write_text("int main;")
    return directory


def test_the_same_directory_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    data, bundle = build(source(one))
    source(two)
    for at, path in enumerate(two.rglob("*")):
        path.chmod(0o700)
        os.utime(path, (at, at))
    assert build(two)[0] == data
    assert bundle.names == [
        "LICENCE",
        "files/",
        "files/empty/",
        "files/etc/",
        "files/etc/motd",
        "mine.wasm",
        "program.toml",
    ]
    assert names_of(bundle)[0] == "mine@1.2.zip"
    # For ever: what was built once keeps its digest.
    assert program_digest(data) == "sha256:79c414ee1175c72937f6da4ccda503c895bd8990290bb40620fc37d02b13a16b"


def test_links_and_pipes_are_not_bundled(tmp_path: Path) -> None:
    place = source(tmp_path / "one")
    (place / "files" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ProgramRejected, match="link: a symbolic link"):
        build(place)
    (place / "files" / "link").unlink()
    os.mkfifo(place / "files" / "pipe")
    with pytest.raises(ProgramRejected, match="pipe: no regular file"):
        build(place)
    (place / "files" / "pipe").unlink()
    (place / "program.toml").unlink()
    with pytest.raises(ProgramRejected, match=r"program\.toml: No such file"):
        build(place)


def held(path: Path, data: bytes) -> pack.Pack:
    path.write_bytes(data)
    with open(path, "rb") as file:
        return pack.read(file.fileno())


def test_a_pack_gives_back_its_files(tmp_path: Path) -> None:
    files = {"a/b": b"one", "c/": b"", "a/a": b""}
    data = pack.write(files)
    assert held(tmp_path / "p", data).size == len(data)
    for wrong in (data + b"x", b"x" + data, data[:4], data[:-1]):
        with pytest.raises(ValueError, match="pack"):
            held(tmp_path / "p", wrong)


@pytest.mark.parametrize(
    "index",
    [b"7", b"null", b"{}x", b"[7]", b'[["a"]]', b'[["a", -1]]', b'[["a", 1.5]]', b"[[1, 1]]", b"[" * 100_000, b"\xff"],
)
def test_a_pack_of_a_compiler_that_was_taken_over_is_none(tmp_path: Path, index: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds, all of them said to be the compiler's
        held(tmp_path / "p", b"insitu\0\0" + len(index).to_bytes(4, "little") + index)


# In a directory of programs.


def test_names_and_versions(tmp_path: Path) -> None:
    for version in ("1.9", "1.10", "1.10rc1"):
        text = f"name = 'mine'\nversion = '{version}'"
        (tmp_path / f"mine@{version}.zip").write_bytes(bundled(text=text))
    store = ProgramStore([tmp_path])
    assert store.find("mine").version == "1.10"
    assert store.find("mine@1.9").version == "1.9"
    assert store.find("mine@1.9").title == "mine@1.9"
    assert store.find(store.find("mine@1.9").digest).version == "1.9"
    assert [info.version for info in store.all() if info.name == "mine"] == ["1.9", "1.10rc1", "1.10"]
    with pytest.raises(UnknownProgram):
        store.find("mine@2")
    (tmp_path / "mine@2.wasm").write_bytes(CAT)
    assert store.find("mine@2").version == "2"
    assert store.find("mine").version == "2"
    (tmp_path / "mine.zip").write_bytes(bundled(text="name = 'mine'\nversion = '0.1'"))
    assert store.find("mine").version == "0.1"  # the plain name is the operator's choice
    assert store.find("mine@0.1") == store.find("mine")
    (tmp_path / "mine@1.10.zip").unlink()
    with pytest.raises(UnknownProgram):
        store.find("mine@1.10")
    assert store.find("cat@1").name == "cat"  # a shipped one
    with pytest.raises(UnknownProgram):
        store.find("cat@2")


def test_a_bundle_is_called_what_its_manifest_says(tmp_path: Path) -> None:
    (tmp_path / "other.zip").write_bytes(bundled())
    (tmp_path / "mine@2.zip").write_bytes(bundled(text="name = 'mine'\nversion = '1'"))
    store = ProgramStore([tmp_path])
    with pytest.raises(ProgramRejected, match="program other: its manifest says that it is 'mine'"):
        store.find("other")
    with pytest.raises(ProgramRejected, match="program mine@2: its manifest says that it is version '1'"):
        store.find("mine@2")
    assert [info for info in store.all() if info.name in ("mine", "other")] == []


# On a node.


@pytest.fixture
def bundles(tmp_path: Path, test_programs: Path) -> Path:
    """A directory of programs, `reader` in it: a bundle that writes one of its files."""
    place = source(
        tmp_path / "source",
        (test_programs / "readme.wasm").read_bytes(),
        "name = 'reader'\nversion = '1'\narguments = ['etc/motd']\nlimits = {fuel = 100_000}",
    )
    (place / "files" / "big").write_bytes(os.urandom(300_000))
    directory = tmp_path / "programs"
    directory.mkdir()
    (directory / "reader@1.zip").write_bytes(build(place)[0])
    return directory


def test_a_bundle_on_a_node(start_node: StartNode, bundles: Path, tmp_path: Path, test_programs: Path) -> None:
    cache = tmp_path / "cache"
    node = start_node("--programs", str(bundles), cache=cache)
    output, record = node.run("reader")
    assert (output, record.outcome.exit_code) == (b"hi", 0)
    assert record.digest == program_digest((bundles / "reader@1.zip").read_bytes())
    assert (record.program, record.args) == ("reader", ("etc/motd",))
    big = (tmp_path / "source" / "files" / "big").read_bytes()
    assert node.run("reader@1", "big")[0] == big
    assert node.run(record.digest, "big")[0] == big
    assert node.run("reader", "../etc/passwd")[1].outcome.exit_code not in (0, None)
    limit = node.run("reader", "big", limits=Limits(fuel=50))[1].outcome.limit
    assert limit is not None
    assert (limit.name, limit.allowed) == ("fuel", 50)
    # All that is kept of it is kept by the digest that was asked for, whatever its compiler says is in it.
    digest = record.digest.removeprefix("sha256:")
    assert [path.name[:64] for path in cache.glob("*.cwasm")] == [digest]
    (files,) = cache.glob("*.files")
    assert files.name == f"{record.digest.removeprefix('sha256:')}.files"
    # A worker has nothing of it open that it could write to.
    node.calm()
    (pid, *_) = node.client.ping()["workers"]
    assert not [link for link in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir()) if link.endswith(".zip")]
    # Found again, and unpacked again when it is damaged.
    node.stop()
    files.write_bytes(files.read_bytes()[:-1] + b"x")
    again = start_node("--programs", str(bundles), cache=cache)
    assert again.run("reader", "big")[0] == big


def test_a_bundle_that_cannot_be_is_refused_and_named(node: NodeProcess, test_programs: Path) -> None:
    bad = zipped(Part(b"program.toml", b"name = 'bad'"), Part(b"x.wasm", b"\0asm\1\0\0\0rubbish"))
    worse = zipped(Part(b"program.toml", b"name = 'worse'"), Part(b"x.wasm", b"one", 8, packed=deflated(bytes(10**6))))
    link = zipped(Part(b"program.toml", b"name = 'link'"), Part(b"files/l", b"/", mode=0o120777), Part(b"x.wasm", CAT))
    for name, data, reason in (
        ("bad", bad, "bad"),
        ("worse", worse, "entry 'x.wasm': unpacks to more than the 3 bytes it declares"),
        ("link", link, "entry 'files/l': a symbolic link"),
    ):
        path = test_programs / f"{name}.zip"
        path.write_bytes(data)
        try:
            with pytest.raises(ProgramRejected, match=reason):
                node.run(name)
        finally:
            path.unlink()
    node.still_serves()
