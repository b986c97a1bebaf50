"""What a script sees and what becomes of it: as with CPython, on the interpreter that has started long ago."""

import gzip
import hashlib
import json
import os
import random
import re
import tempfile

import pytest

from insitu.sandbox.channels import FileInput
from insitu.sandbox.channels.wiring import Channels
from insitu.sandbox.clocks import Frozen
from insitu.sandbox.files.tree import Files
from insitu.sandbox.limits import MIB, Limits
from tests.python.guest import PATIENCE, Python
from tests.real.interpreter import Conversation, Result


def run(python: Python, source: str | bytes, *words: str, **options: object) -> Result:
    """As /app/main.py."""
    files = python.with_files(main=source, **options.pop("beside", {}))  # type: ignore[arg-type]
    return python.run("/app/main.py", *words, files=files, **options)  # type: ignore[arg-type]


# What it is told.

TRACEBACKS: dict[str, tuple[str, str]] = {
    "nested": (
        "def f(n):\n    return 10 // n\n\n\nf(\n    0,\n)\n",
        """\
Traceback (most recent call last):
  File "/app/main.py", line 5, in <module>
    f(
    ~^
        0,
        ^^
    )
    ^
  File "/app/main.py", line 2, in f
    return 10 // n
           ~~~^^~~
ZeroDivisionError: integer division or modulo by zero
""",
    ),
    "chained": (
        "try:\n    {}['x']\nexcept KeyError as why:\n    raise ValueError('no\\nx') from why\n",
        """\
Traceback (most recent call last):
  File "/app/main.py", line 2, in <module>
    {}['x']
    ~~^^^^^
KeyError: 'x'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/main.py", line 4, in <module>
    raise ValueError('no\\nx') from why
ValueError: no
x
""",
    ),
    "a syntax error": (
        "x = 1\nif x\n    pass\n",
        """\
  File "/app/main.py", line 2
    if x
        ^
SyntaxError: expected ':'
""",
    ),
    "a name that is nearly right": (
        "value = 1\nprint(valeu)\n",
        """\
Traceback (most recent call last):
  File "/app/main.py", line 2, in <module>
    print(valeu)
          ^^^^^
NameError: name 'valeu' is not defined. Did you mean: 'value'?
""",
    ),
    "several at once": (
        "raise ExceptionGroup('two', [ValueError(1), OSError(2)])\n",
        """\
  + Exception Group Traceback (most recent call last):
  |   File "/app/main.py", line 1, in <module>
  |     raise ExceptionGroup('two', [ValueError(1), OSError(2)])
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | OSError: 2
    +------------------------------------
""",
    ),
    "a hook of its own": (
        "import sys\nsys.excepthook = lambda *about: print('mine', about[1], file=sys.stderr)\n1 / 0\n",
        "mine division by zero\n",
    ),
    "a hook that fails": (
        "import sys\ndef hook(*about): raise ValueError('hook')\nsys.excepthook = hook\n1 / 0\n",
        """\
Error in sys.excepthook:
Traceback (most recent call last):
  File "/app/main.py", line 2, in hook
    def hook(*about): raise ValueError('hook')
                      ^^^^^^^^^^^^^^^^^^^^^^^^
ValueError: hook

Original exception was:
Traceback (most recent call last):
  File "/app/main.py", line 4, in <module>
    1 / 0
    ~~^~~
ZeroDivisionError: division by zero
""",
    ),
}


@pytest.mark.parametrize("what", TRACEBACKS)
def test_an_uncaught_exception_is_told_as_cpython_tells_it(python: Python, what: str) -> None:
    """Each text is what CPython 3.13 itself writes for that script."""
    source, expected = TRACEBACKS[what]
    result = run(python, source)
    assert (result.code, result.output) == (1, b"")
    assert result.errors == expected


def test_a_traceback_shows_the_library_and_modules_beside(python: Python) -> None:
    source = "import helper\nhelper.parse('{')\n"
    result = run(python, source, beside={"helper": "import json\n\ndef parse(text):\n    return json.loads(text)\n"})
    assert result.code == 1
    lines = result.errors.splitlines()
    assert [line.strip() for line in lines if line.startswith("  File")] == [
        'File "/app/main.py", line 2, in <module>',
        'File "/app/helper.py", line 4, in parse',
        *[line.strip() for line in lines if "/lib/python3.13/json/" in line],
    ]
    assert "    return _default_decoder.decode(s)" in lines, "with the library's lines"
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")


@pytest.mark.parametrize("code", [*range(0, 256, 5), 1, 2, 124, 125, 126, 127, 128, 254, 255])
def test_every_exit_code(python: Python, code: int) -> None:
    assert python.run("-c", f"import sys; sys.exit({code})").code == code


@pytest.mark.parametrize(
    ("ending", "code", "errors"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('the words')", 1, "the words\n"),
        ("sys.exit(['a', 1])", 1, "['a', 1]\n"),
        ("sys.exit(-1)", 255, ""),
        ("sys.exit(256 + 7)", 7, ""),
        ("sys.exit(2 ** 70)", 255, ""),
        ("sys.exit(True)", 1, ""),
        ("sys.exit(1.5)", 1, "1.5\n"),
        ("raise SystemExit", 0, ""),
        ("exit(3)", 3, ""),
        ("quit()", 0, ""),
        ("os._exit(77)", 77, ""),
        ("sys.excepthook = lambda *_: sys.exit(9); 1 / 0", 9, ""),
        ("raise KeyboardInterrupt", 1, None),
    ],
)
def test_how_a_script_may_end(python: Python, ending: str, code: int, errors: str | None) -> None:
    result = python.run("-c", f"import os, sys; {ending}")
    assert (result.outcome.end, result.code) == ("exit", code)
    assert errors is None or result.errors == errors


def test_what_it_is_called_with(python: Python) -> None:
    words = ["", "two words", "ünï", "--help", "-c", "a=b", "x" * 5000]
    env = {"NAME": "value", "EMPTY": "", "UTF": "ÿ日"}
    source = "import json, os, sys; print(json.dumps([sys.argv, dict(os.environ), __file__, __name__, sys.path[0]]))"
    for _ in range(2):
        told = json.loads(run(python, source, *words, env=env).expect())
        assert told == [["/app/main.py", *words], env, "/app/main.py", "__main__", "/app"]


def test_words_and_variables_that_are_no_text(python: Python) -> None:
    """Bytes that are no UTF-8 come through as CPython has them: as surrogates, and as bytes again."""
    source = "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.argv[1]) + os.environb[b'V'])"
    with tempfile.TemporaryFile() as target:
        from insitu.sandbox.channels import EmptySource
        from insitu.sandbox.launch import Launch

        launch = Launch(
            ["python", "-c", source, "x"], EmptySource(), target.fileno(), Limits(), files=python.with_files()
        )
        launch.argv[-1], launch.env = b"a\xff\xfeb", [b"V=\x80\x81"]
        runner, program = python.ready(False)
        assert runner.run(program, launch).ok
        assert os.pread(target.fileno(), 100, 0) == b"a\xff\xfeb\x80\x81"


def test_the_module_that_it_is(python: Python) -> None:
    """`__main__` has what CPython gives it, in that order."""
    source = "print([(name, type(value).__name__) for name, value in list(globals().items())])\nimport __main__\n"
    source += "print(__main__.__dict__ is globals(), __spec__, __annotations__, __file__)\n"
    names, rest = run(python, source).expect().splitlines()
    assert re.findall(r"'(__\w+__)'", names) == [
        *("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__", "__builtins__"),
        *("__file__", "__cached__"),
    ]
    assert rest == "True None {} /app/main.py"


def test_ways_to_start_it(python: Python) -> None:
    show = "import sys; print(__name__, sys.argv)"
    files = python.with_files(main=show, **{"pkg/__init__": "", "pkg/__main__": show, "pkg/part": show})
    assert python.run("-c", show, "a", files=files).expect() == "__main__ ['-c', 'a']\n"
    assert python.run("/app/main.py", "a", files=files).expect() == "__main__ ['/app/main.py', 'a']\n"
    assert python.run("/app/pkg", "a", files=files).expect() == "__main__ ['/app/pkg', 'a']\n"
    assert python.run("-", "a", stdin=show.encode()).expect() == "__main__ ['-', 'a']\n"
    assert python.run(stdin=show.encode()).expect() == "__main__ ['']\n"
    assert python.run("-m", "json.tool", stdin=b"[1]", files=files).expect() == "[\n    1\n]\n"
    assert re.fullmatch(r"Python 3\.13\.\d+\n", python.run("-V").expect())
    assert python.run("-B", "-Es", "-Ic", show, "-u", files=files).expect() == "__main__ ['-c', '-u']\n"
    assert python.run("-S", "/app/main.py", "-B", files=files).expect() == "__main__ ['/app/main.py', '-B']\n"
    assert python.run("-I", stdin=show.encode()).expect() == "__main__ ['']\n"


def test_unbuffered(python: Python) -> None:
    source = "import os; print('first', end=' '); os.write(1, b'second '); print('last')"
    assert python.run("-c", source).expect() == "second first last\n"
    for option in ("-u", "-uB"):
        assert python.run(option, "-c", source).expect() == "first second last\n"
    assert python.run("-uc", source).expect() == "first second last\n"


@pytest.mark.parametrize(
    ("words", "code", "errors"),
    [
        (["/nope.py"], 2, r"python: can't open file '/nope.py': \[Errno 44\] No such file or directory\n"),
        (["-x"], 2, r"python: unknown option -x; usage: python SCRIPT .*\n"),
        (["-u", "-i", "/app/main.py"], 2, r"python: unknown option -i; usage: .*\n"),
        (["-BO", "/app/main.py"], 2, r"python: unknown option -O; usage: .*\n"),
        (["-X", "dev", "-c", "0"], 2, r"python: unknown option -X; usage: .*\n"),
        (["-c"], 2, r"python: -c needs CODE; usage: .*\n"),
        (["-m", "nomod"], 1, r"python: No module named nomod\n"),
        (["-m", "no.such"], 1, r"python: Error while finding module specification for 'no.such' .*\n"),
        (["-m", "sqlite3"], 1, r"python: No module named sqlite3\n"),
        (["/empty"], 1, r"python: can't find '__main__' module in '/empty'\n"),
        (["-m", "main"], 1, r"own word\n"),
    ],
)
def test_what_cannot_be_started_is_told_in_a_line(python: Python, words: list[str], code: int, errors: str) -> None:
    files = Files.held({**python.library, "main.py": b"raise SystemExit('own word')", "empty/nothing": b""})
    result = python.run(*words, files=files)
    assert result.code == code
    assert re.fullmatch(errors, result.errors), result.errors


def test_modules_of_its_directory_come_before_the_librarys(python: Python) -> None:
    """As with CPython, though the library's were imported long ago; but not before those of the core."""
    source = """
import calendar, html.parser, queue, time, os, random, tempfile, json
print(calendar.__file__, html.parser.__file__, queue.__file__, time.__name__, os.__file__, json.__file__)
print(random.random() != random.random(), tempfile.gettempdir())
"""
    beside = {"calendar": "", "html/__init__": "", "html/parser": "", "tempfile": "gettempdir = lambda: 'own'"}
    beside |= {"time": "1/0", "os": "1/0", "json/data": "1/0"}
    printed = run(python, source, beside=beside).expect().splitlines()
    assert printed[0].split() == [
        *("/app/calendar.py", "/app/html/parser.py", "/lib/python3.13/queue.py", "time"),
        *("/lib/python3.13/os.py", "/lib/python3.13/json/__init__.py"),
    ]
    assert printed[1] == "True own"


def test_what_only_mentions_sockets_can_be_imported(python: Python) -> None:
    source = """
import asyncio, http.client, logging.config, socket, unittest.mock, urllib.request
for do in (socket.socket, socket.socketpair, lambda: urllib.request.urlopen("http://localhost/"),
           lambda: socket.create_connection(("localhost", 80)), lambda: socket.gethostbyname("localhost")):
    try: do()
    except OSError as why: print(why)
print(socket.inet_ntoa(socket.inet_aton("192.0.2.1")), socket.htons(80), socket.AF_INET.name)
"""
    lines = run(python, source).expect().splitlines()
    assert [line for line in lines[:5] if "a guest has no sockets" not in line] == []
    assert lines[5:] == ["192.0.2.1 20480 AF_INET"]


# Streams.


def test_it_answers_line_by_line_while_stdin_is_open(python: Python) -> None:
    talk = Conversation(python, "-c", "for line in __import__('sys').stdin: print(line.strip().upper(), flush=True)")
    for word in ("first", "second", "a third, longer line", "zuletzt: äöü"):
        talk.say(word)
        assert talk.hear() == word.upper()
    outcome = talk.end()
    assert outcome.ok, outcome.sentence()


def test_input_asks_and_hears(python: Python) -> None:
    talk = Conversation(python, "-c", "while (word := input('? ')) != 'end': print('!', word)")
    talk.say("one")
    assert talk.hear() == "? ! one"
    talk.say("two")
    assert talk.hear() == "? ! two"
    talk.say("end")
    assert talk.hear() == "? "
    assert talk.end().ok


def test_big_and_binary_streams_are_whole(python: Python) -> None:
    data = random.Random(3).randbytes(8 * MIB + 17)
    copy = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    digest = "import hashlib, sys; print(hashlib.file_digest(sys.stdin.buffer, 'sha256').hexdigest())"
    assert python.run("-c", copy, stdin=data).output == data
    expected = hashlib.sha256(data).hexdigest() + "\n"
    assert python.run("-c", digest, stdin=data, way="pipe", piece=10_007).expect() == expected
    assert python.run("-c", digest, stdin=data, way="socket").expect() == expected
    lines = "".join(f"{n} {'x' * 40}\n" for n in range(100_000))
    assert python.run("-c", "for n in range(100_000): print(n, 'x' * 40)").expect() == lines


def test_text_is_strict_utf8_and_errors_are_told_in_any_case(python: Python) -> None:
    assert python.run("-c", "print(input())", stdin="日本\n".encode()).expect() == "日本\n"
    assert "UnicodeDecodeError" in python.run("-c", "input()", stdin=b"\xff\n").errors
    result = python.run("-c", "import sys; print('\\udc80', file=sys.stderr)")
    assert result.errors == "\\udc80\n"


def test_nobody_reads_what_it_prints(python: Python) -> None:
    read, write = os.pipe()
    os.close(read)
    os.set_blocking(write, False)
    try:
        outcome = python.launch(["-c", "print('x' * 100)"], None, write)
    finally:
        os.close(write)
    assert (outcome.end, outcome.exit_code) == ("exit", 120)
    assert outcome.stderr.decode().splitlines() == [
        "Exception ignored on flushing sys.stdout:",
        "BrokenPipeError: [Errno 64] Broken pipe",
    ]


def test_named_channels(python: Python) -> None:
    source = """
with open("/dev/in/words") as words, open("/dev/out/shout", "w") as shout:
    for line in words: shout.write(line.upper())
open("/dev/out/left", "w").write("never closed")
"""
    with tempfile.TemporaryFile() as words, tempfile.TemporaryFile() as shout, tempfile.TemporaryFile() as left:
        words.write(b"one\ntwo\n")
        words.flush()
        channels = Channels(
            inputs={"words": FileInput(words.fileno())}, outputs={"shout": shout.fileno(), "left": left.fileno()}
        )
        run(python, source, channels=channels).expect()
        assert os.pread(shout.fileno(), 100, 0) == b"ONE\nTWO\n"
        assert os.pread(left.fileno(), 100, 0) == b"never closed"


# Its end.


def test_files_that_were_never_closed_are_written_out(python: Python) -> None:
    """At module level, in a module beside, in a cycle, behind a compressor, and in the library's own objects."""
    source = """
import gzip, helper, io, json, logging
kept = open("/dev/out/a", "w"); kept.write("a" * 10)
helper.begin()
class Ring: pass
ring = Ring(); ring.self = ring; ring.file = open("/dev/out/c", "wb"); ring.file.write(b"c" * 10)
packed = gzip.open("/dev/out/d", "wt"); packed.write("d" * 10)
json.kept = io.TextIOWrapper(open("/dev/out/e", "wb")); json.kept.write("e" * 10)
"""
    helper = "log = None\ndef begin():\n    global log\n    log = open('/dev/out/b', 'w')\n    log.write('b' * 10)\n"
    with tempfile.TemporaryDirectory() as place:
        fds = {name: os.open(f"{place}/{name}", os.O_RDWR | os.O_CREAT) for name in "abcde"}
        try:
            run(python, source, beside={"helper": helper}, channels=Channels(outputs=fds)).expect()
            written = {name: os.pread(fd, 1000, 0) for name, fd in fds.items()}
        finally:
            for fd in fds.values():
                os.close(fd)
    written["d"] = gzip.decompress(written["d"])
    assert written == {name: name.encode() * 10 for name in "abcde"}


def test_what_runs_at_the_end_runs_in_order(python: Python) -> None:
    source = """
import atexit, threading
atexit.register(print, "first registered")
atexit.register(print, "last registered")
class Late:
    def __del__(self): print("finalized", name)
late, name = Late(), "with its module's names"
print("body")
"""
    assert run(python, source).expect().splitlines() == [
        "body",
        "last registered",
        "first registered",
        "finalized with its module's names",
    ]


def test_an_exit_function_that_fails(python: Python) -> None:
    result = run(python, "import atexit\natexit.register(lambda: 1 / 0)\nprint('body')\n")
    assert (result.code, result.output) == (0, b"body\n")
    assert "ZeroDivisionError" in result.errors


# Chance, time, and what it may use.

CHANCE = (
    "import random, secrets, tempfile, uuid; print(random.random(), random.Random().random(), secrets.token_hex(4), "
    "uuid.uuid4(), uuid.uuid1(), next(tempfile._get_candidate_names()), random.SystemRandom().random())"
)


def test_chance_is_each_runs_own(python: Python) -> None:
    first, second = (python.run("-c", CHANCE).expect().split() for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True)), (first, second)


def test_chance_is_the_same_when_frozen(python: Python) -> None:
    first, second = (python.run("-c", CHANCE, frozen=Frozen(7)).expect().split() for _ in range(2))
    assert first == second
    assert python.run("-c", CHANCE, frozen=Frozen(8)).expect().split() != first


def test_a_frozen_run_is_the_same_to_the_unit(python: Python) -> None:
    source = "import time, random; print(time.time(), time.monotonic(), random.random(), hash('x'), {*'abcdef'})"
    first, second = (python.run("-c", source, frozen=Frozen()) for _ in range(2))
    assert first.expect() == second.expect()
    assert first.outcome.usage.fuel == second.outcome.usage.fuel


def test_time_is_the_runs(python: Python) -> None:
    source = "import time; a = time.time(); time.sleep(0.05); print(a, time.monotonic() < 5, time.time() - a >= 0.05)"
    begun, fast, slept = python.run("-c", source).expect().split()
    assert float(begun) > 1_700_000_000
    assert (fast, slept) == ("True", "True")


def test_nothing_is_left_of_an_earlier_run(python: Python) -> None:
    source = """
import json, os, random, sys, tempfile
print(os.listdir("/tmp"), getattr(json, "left", None), "LEFT" in os.environ, sys.argv, tempfile.gettempdir())
open("/tmp/left", "w").write("x"); json.left = 1; os.environ["LEFT"] = "1"; random.seed(5)
"""
    assert run(python, source, "a").expect() == run(python, source, "a").expect()


def test_temporary_files(python: Python) -> None:
    source = """
import tempfile, os
with tempfile.NamedTemporaryFile("w+") as file:
    file.write("x" * 100); file.flush(); print(os.path.getsize(file.name))
with tempfile.TemporaryDirectory() as place: open(os.path.join(place, "f"), "w").close()
print(os.path.exists(place))
"""
    assert run(python, source).expect() == "100\nFalse\n"


def test_endless_recursion_is_an_error_of_python(python: Python) -> None:
    source = """
def f(n): return f(n + 1)
try: f(0)
except RecursionError as why: print(type(why).__name__)
"""
    assert run(python, source).expect() == "RecursionError\n"


def test_memory_at_its_limit_is_an_error_of_python(python: Python) -> None:
    source = """
held = []
try:
    while True: held.append(bytearray(1 << 20))
except MemoryError:
    count = len(held); held.clear(); print(count > 20, "MemoryError")
try: bytes(1 << 31)
except OverflowError as why: print(type(why).__name__)
print(sum(range(1000)))
"""
    result = run(python, source, limits=Limits(memory=96 * MIB, wall=PATIENCE))
    assert result.expect() == "True MemoryError\nOverflowError\n499500\n"


def test_a_limit_that_ends_it_is_named(python: Python) -> None:
    wall = python.run("-c", "while True: pass", limits=Limits(wall=0.3))
    assert wall.outcome.limit is not None
    assert wall.outcome.limit.name == "wall"
