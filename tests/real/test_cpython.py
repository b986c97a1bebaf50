"""CPython 3.12, as others compiled it for WASI, runs ordinary scripts.

Where a script does nothing that differs from machine to machine, the Python that runs the tests says what its output
has to be."""

import hashlib
import json
import random

import pytest

from insitu.sandbox.limits import KIB, MIB, Limits
from tests.real.interpreter import PATIENCE, Conversation, Interpreter, natively

LIBRARIES = """
import csv, io, json, re, zlib, hashlib, datetime, decimal, collections, struct, base64, textwrap, sys
rows = list(csv.DictReader(sys.stdin))
print(json.dumps(rows[:3], sort_keys=True), len(rows))
words = collections.Counter(re.findall(r"\\b[a-z]{3,}\\b", " ".join(row["text"] for row in rows)))
print(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:10])
packed = zlib.compress(json.dumps(rows).encode(), 9)
print(hashlib.sha256(zlib.decompress(packed)).hexdigest(), zlib.crc32(packed), len(packed) < len(json.dumps(rows)) // 3)
print(sum(decimal.Decimal(row["amount"]) for row in rows), datetime.date(2024, 2, 29) + datetime.timedelta(365))
print(base64.b85encode(struct.pack("<QdI", 2**63, 1 / 3, 7)), re.sub(r"(\\w+)@(\\w+)", r"\\2 at \\1", "me@here"))
out = io.StringIO()
writer = csv.writer(out, quoting=csv.QUOTE_MINIMAL)
writer.writerows([["a", 'with "quotes"', "two\\nlines"], [1, 2.5, None]])
print(repr(out.getvalue()), textwrap.shorten("the quick brown fox", 12))
print("Ünïcödé", "日本語", "\\U0001f600")
"""


def table(rows: int) -> bytes:
    chance = random.Random(7)
    words = ["storage", "photo", "object", "node", "cat", "a", "of", "tenant"]
    lines = ["id,text,amount"]
    for number in range(rows):
        text = " ".join(chance.choices(words, k=6))
        lines.append(f'{number},"{text}",{chance.randrange(100_000) / 100:.2f}')
    return "\n".join(lines).encode() + b"\n"


def test_its_library_computes_as_the_native_one(cpython: Interpreter) -> None:
    data = table(2000)
    native = natively(LIBRARIES, stdin=data)
    assert (native.code, native.errors) == (0, "")
    assert cpython.run("-c", LIBRARIES, stdin=data, way="pipe").expect() == native.output.decode()


FILES = """
import os, shutil, stat, sys, tempfile
base = tempfile.mkdtemp()
os.chdir(base)
def show(*what): print(*what)
with open("a.txt", "w") as file: show(file.write("one\\ntwo\\n"))
with open("a.txt", "a") as file: show(file.write("three\\n"), file.tell())
with open("a.txt", "r+b") as file: show(file.seek(4), file.write(b"2"), file.seek(-3, 2), file.read(), file.truncate(9))
show(open("a.txt").read(), os.stat("a.txt").st_size, stat.S_ISREG(os.stat("a.txt").st_mode))
os.makedirs("x/y/z"); os.mkdir("empty")
for name in ("x/1", "x/y/2", "x/y/z/3"): open(name, "w").write(name)
for where, directories, files in sorted(os.walk(".")): show(where, sorted(directories), sorted(files))
show(sorted((entry.name, entry.is_dir(), entry.is_file()) for entry in os.scandir("x")))
os.rename("a.txt", "x/b.txt"); os.rename("x/y", "moved"); os.replace("x/1", "x/b.txt")
show(sorted(os.listdir(".")), sorted(os.listdir("moved")), sorted(os.listdir("x")), open("x/b.txt").read())
os.symlink("moved/2", "link"); os.link("moved/2", "hard")
show(open("link").read(), os.readlink("link"), os.path.islink("link"), os.stat("hard").st_nlink)
show(os.path.samefile("hard", "link"), os.path.realpath("link") == os.path.join(os.path.realpath(base), "moved", "2"))
os.utime("hard", (1, 2)); show(os.stat("hard").st_mtime, os.stat("moved/2").st_mtime_ns)
for failing in (lambda: open("nowhere"), lambda: os.rmdir("moved"), lambda: os.mkdir("x"), lambda: os.remove("empty"),
                lambda: os.rmdir("hard"), lambda: open("x"), lambda: open("hard/more"), lambda: open("hard", "x"),
                lambda: os.rename("nowhere", "n"), lambda: os.listdir("hard"), lambda: os.readlink("hard")):
    try: failing()
    except OSError as why: show(type(why).__name__, os.path.basename(str(why.filename)))
    else: show("no error")
os.remove("hard"); os.remove("link"); os.rmdir("empty"); shutil.rmtree("moved"); show(sorted(os.listdir(".")))
with tempfile.TemporaryFile() as file:
    file.write(bytes(range(256)) * 1000); file.seek(100_000); show(len(file.read()), file.seek(10), file.read(3))
with tempfile.NamedTemporaryFile(mode="w+", suffix=".csv") as file:
    file.write("x" * 100); file.flush(); show(os.path.getsize(file.name), os.path.exists(file.name))
show(os.path.exists(file.name))
with tempfile.TemporaryDirectory() as inner: open(os.path.join(inner, "f"), "w").close()
show(os.path.exists(inner))
with open("sparse", "wb") as file: file.seek(100_000); file.write(b"end")
show(os.path.getsize("sparse"), open("sparse", "rb").read(5), sum(open("sparse", "rb").read()[:100_000]))
"""


def test_files_in_tmp_are_as_those_of_a_disk(cpython: Interpreter) -> None:
    native = natively(FILES)
    assert (native.code, native.errors) == (0, "")
    assert cpython.run("-c", FILES).expect() == native.output.decode()


def test_tmp_is_empty_in_every_launch(cpython: Interpreter) -> None:
    script = "import os; print(os.listdir('/'), os.listdir('/tmp')); open('/tmp/left', 'w').write('x')"
    for _ in range(2):
        assert cpython.run("-c", script).expect() == "['tmp'] []\n"


def test_databases_and_archives_in_tmp(cpython: Interpreter) -> None:
    script = """
import sqlite3, tarfile, zipfile, gzip
with sqlite3.connect("/tmp/db") as db:
    db.execute("create table words (word text primary key, count integer)")
    db.executemany("insert into words values (?, ?)", [(f"w{n}", n * n) for n in range(5000)])
    db.commit()
    db.execute("delete from words where count % 2"); db.execute("vacuum") if not db.in_transaction else db.rollback()
print(sqlite3.connect("/tmp/db").execute("select count(*), sum(count) from words").fetchone())
with zipfile.ZipFile("/tmp/z.zip", "w", zipfile.ZIP_DEFLATED) as archive: archive.writestr("a/b", "data" * 1000)
print(zipfile.ZipFile("/tmp/z.zip").testzip(), zipfile.ZipFile("/tmp/z.zip").namelist())
with gzip.open("/tmp/g.gz", "wb") as file: file.write(b"z" * 1_000_000)
print(len(gzip.open("/tmp/g.gz").read()))
with tarfile.open("/tmp/t.tar.gz", "w:gz") as archive: archive.add("/tmp/g.gz", "g")
print(tarfile.open("/tmp/t.tar.gz").getnames())
"""
    squares = [n * n for n in range(5000)]
    expected = f"({len(squares)}, {sum(squares)})\nNone ['a/b']\n1000000\n['g']\n"
    assert cpython.run("-c", script).expect() == expected


def test_a_streamed_stdin_is_answered_line_by_line(cpython: Interpreter) -> None:
    """Each line is written only after the last one's answer has come: a read that waited for more would never end."""
    script = (
        "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)\nprint('over', file=sys.stderr)"
    )
    talk = Conversation(cpython, "-c", script)
    for word in ("first", "second", "a third, longer line", "zuletzt: äöü"):
        talk.say(word)
        assert talk.hear() == word.upper()
    outcome = talk.end()
    assert outcome.ok, outcome.sentence()
    assert outcome.stderr == b"over\n"


def test_a_script_on_stdin(cpython: Interpreter) -> None:
    assert cpython.run("-", "word", stdin=b"import sys\nprint(sys.argv)\n", way="socket").expect() == "['-', 'word']\n"


@pytest.mark.parametrize(
    ("script", "code", "errors"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit(125)", 125, ""),
        ("import sys; sys.exit(200)", 200, ""),
        ("import sys; sys.exit(255)", 255, ""),
        ("import os; os._exit(77)", 77, ""),
        ("import sys; sys.exit('the words')", 1, "the words\n"),
        ("import sys; print('out'); print('err', file=sys.stderr); raise SystemExit(9)", 9, "err\n"),
    ],
)
def test_exit_codes(cpython: Interpreter, script: str, code: int, errors: str) -> None:
    result = cpython.run("-c", script)
    assert (result.outcome.end, result.code, result.errors) == ("exit", code, errors)
    assert result.output == (b"out\n" if "'out'" in script else b"")


def test_an_uncaught_exception_is_told_on_stderr(cpython: Interpreter) -> None:
    script = "def f(n):\n    return 10 // n\n\nf(0)\n"
    result = cpython.run("-c", script)
    assert result.code == 1
    lines = result.errors.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.strip() for line in lines[1:]] == [
        'File "<string>", line 4, in <module>',
        'File "<string>", line 2, in f',
        "ZeroDivisionError: integer division or modulo by zero",
    ]


def test_arguments_and_environment(cpython: Interpreter) -> None:
    words = ["", "two words", "ünï", "--help", "a=b", "x" * 5000]
    env = {"NAME": "value", "EMPTY": "", "UTF": "ÿ日"}
    script = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    assert json.loads(cpython.run("-c", script, *words, env=env).expect()) == [words, env]


def test_sleep_and_clocks(cpython: Interpreter) -> None:
    script = """
import time
begun, wall = time.monotonic(), time.time()
time.sleep(0.2)
print(time.monotonic() - begun, time.time() - wall, time.time())
"""
    result = cpython.run("-c", script)
    slept, wall, now = map(float, result.expect().split())
    assert slept >= 0.2
    assert wall >= 0.19
    assert now > 1_700_000_000
    assert result.outcome.usage.wall_us >= 200_000
    assert result.outcome.usage.cpu_us < result.outcome.usage.wall_us - 150_000, "it slept and did not spin"


def test_big_output_is_whole(cpython: Interpreter) -> None:
    script = """
import sys
for n in range(400_000): print(n, "x" * 40)
sys.stdout.flush()
sys.stdout.buffer.write(bytes(5_000_000))
"""
    result = cpython.run("-c", script)
    expected = b"".join(b"%d %s\n" % (n, b"x" * 40) for n in range(400_000)) + bytes(5_000_000)
    assert hashlib.sha256(result.output).digest() == hashlib.sha256(expected).digest()
    assert result.outcome.usage.bytes_out == len(expected)


def test_big_input_is_whole_by_every_way(cpython: Interpreter) -> None:
    data = random.Random(3).randbytes(8 * MIB + 17)
    script = "import hashlib, sys; print(hashlib.file_digest(sys.stdin.buffer, 'sha256').hexdigest())"
    expected = hashlib.sha256(data).hexdigest() + "\n"
    assert cpython.run("-c", script, stdin=data, way="file").expect() == expected
    assert cpython.run("-c", script, stdin=data, way="pipe", piece=10_007).expect() == expected
    assert cpython.run("-c", script, stdin=data, way="socket").expect() == expected


def test_it_lives_with_its_quotas(cpython: Interpreter) -> None:
    """What a limit refuses is an ordinary error of Python's, and what it undoes frees its room."""
    script = """
import errno, os
def why(do):
    try: do()
    except OSError as error: return errno.errorcode[error.errno]
    return "fine"
def big(count):
    with open("/tmp/big", "wb") as file:
        for _ in range(count): assert file.write(bytes(1 << 16)) == 1 << 16
print(why(lambda: big(15)), why(lambda: big(17)), why(lambda: os.remove("/tmp/big")), why(lambda: big(15)))
os.remove("/tmp/big")
def many(count):
    for n in range(count): open(f"/tmp/{n}", "w").close()
print(why(lambda: many(50)), why(lambda: many(51)))
held = []
def hold():
    while len(held) < 1000: held.append(open("/tmp/0"))
print(why(hold)); held.clear(); print(why(lambda: open("/tmp/0").close()))
print(why(lambda: open("/tmp/" + "n" * 300, "w")), why(lambda: os.listdir("/tmp/" + "a/" * 400)))
try: bytes(200 << 20)
except MemoryError: print("MemoryError")
"""
    limits = Limits(memory=64 * MIB, tmp=MIB, tmp_files=50, open_files=40, path=512, wall=PATIENCE)
    assert cpython.run("-c", script, limits=limits).expect().splitlines() == [
        "fine ENOSPC fine fine",
        "fine ENOSPC",
        "EMFILE",
        "fine",
        "ENAMETOOLONG ENAMETOOLONG",
        "MemoryError",
    ]


def test_what_stops_it_is_said_by_name(cpython: Interpreter) -> None:
    fuel = cpython.run("-c", "while True: pass", limits=Limits(fuel=1_000_000_000, wall=PATIENCE))
    assert fuel.outcome.limit is not None
    assert (fuel.outcome.limit.name, fuel.outcome.limit.allowed) == ("fuel", 1_000_000_000)
    output = cpython.run("-c", "while True: print('x' * 1000)", limits=Limits(output=100 * KIB, wall=PATIENCE))
    assert output.outcome.limit is not None
    assert (output.outcome.limit.name, len(output.output)) == ("output", 100 * KIB)
    wall = cpython.run("-c", "import time; time.sleep(100_000)", limits=Limits(wall=0.3))
    assert wall.outcome.limit is not None
    assert (wall.outcome.limit.name, wall.outcome.limit.allowed) == ("wall", 0.3)
    assert cpython.run("-c", "print('still serves')").expect() == "still serves\n"


def test_deep_recursion_is_an_error_of_python(cpython: Interpreter) -> None:
    script = """
import sys
def f(n): return f(n + 1)
try: f(0)
except RecursionError: print("RecursionError")
"""
    assert cpython.run("-c", script).expect() == "RecursionError\n"


def test_nothing_of_the_host_is_there(cpython: Interpreter) -> None:
    script = """
import os
for path in ("/etc/passwd", "/proc/self/status", "/dev/null", "/usr/bin/env", "../etc/passwd", "/tmp/../../etc/passwd"):
    print(path, os.path.exists(path))
for do in (lambda: __import__("socket").socket(), lambda: __import__("subprocess").run(["true"]), lambda: os.getppid()):
    try: print("got", do())
    except (OSError, AttributeError) as error: print(type(error).__name__)
"""
    lines = cpython.run("-c", script).expect().splitlines()
    assert [line.split()[1] for line in lines[:6]] == ["False"] * 6
    assert all(line in ("OSError", "AttributeError") for line in lines[6:]), lines
