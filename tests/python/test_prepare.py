"""What is done of a script before its snapshot, and what is left to each run.

A snapshot of each script would have to be compiled; so here one interpreter prepares a script and then runs it, which
is all that a snapshot's launch does. test_commands.py has the real thing.
"""

from tests.python.guest import Python
from tests.real.interpreter import Result

AROUND = """
import insitu_boot, os
insitu_boot.prepare([b"python", b"/app/main.py"])
assert insitu_boot._prepared[0] == "/app/main.py"
os._exit(insitu_boot.run([b"python", b"a", b"b"], [b"WHO=me"]))
"""


def prepared(python: Python, main: str, **beside: str) -> Result:
    return python.run("-c", AROUND, files=python.with_files(main=main, **beside), stdin=b"a line\n")


def test_the_body_runs_at_each_run_and_its_imports_are_done(python: Python) -> None:
    main = """
import sys
before = sorted({"plain", "tried", "chosen", "pkg", "pkg.part", "late", "typed"} & set(sys.modules))
import plain
from pkg import part
try: import tried
except ImportError: pass
if sys.argv: import chosen
from typing import TYPE_CHECKING
if TYPE_CHECKING: import typed
def later(): import late
print(before)
print(sys.argv, __name__, __file__, input(), plain.value)
if __name__ == "__main__": import late; print("main")
"""
    beside = {"plain": "value = 5", "tried": "", "chosen": "", "late": "", "typed": ""}
    result = prepared(python, main, **beside, **{"pkg/__init__": "", "pkg/part": ""})
    assert result.expect().splitlines() == [
        "['chosen', 'pkg', 'pkg.part', 'plain', 'tried']",
        "['/app/main.py', 'a', 'b'] __main__ /app/main.py a line 5",
        "main",
    ]


def test_an_import_that_does_what_only_a_run_can_do_is_left_to_it(python: Python) -> None:
    main = """
import sys
print(sorted({"prints", "warns", "reads", "looks", "lists", "fails", "plain"} & set(sys.modules)))
import plain, prints, warns, reads, looks, lists
try: import fails
except ZeroDivisionError: print("it fails")
print(reads.line, looks.who, lists.names)
"""
    beside = {
        "plain": "",
        "prints": "print('printed')",
        "warns": "import sys; print('warned', file=sys.stderr)",
        "reads": "line = input()",
        "looks": "import os; who = os.environ.get('WHO')",
        "lists": "import os; names = list(os.environ)",
        "fails": "1 / 0",
    }
    result = prepared(python, main, **beside)
    assert (result.code, result.errors) == (0, "warned\n")
    assert result.output.decode().splitlines() == ["['plain']", "printed", "it fails", "a line me ['WHO']"]


def test_streams_that_a_module_keeps_are_the_runs(python: Python) -> None:
    main = "import keeps, sys\nprint(keeps.said, 'keeps' in before, keeps.reads())\nkeeps.log.warning('logged')\n"
    keeps = """
import logging, sys
log = logging.getLogger("own")
log.addHandler(logging.StreamHandler())
log.addHandler(logging.StreamHandler(sys.stdout))
said = "kept"
def reads(stream=sys.stdin): return stream.readline().strip()
"""
    result = prepared(python, "import sys; before = set(sys.modules)\n" + main, keeps=keeps)
    assert (result.code, result.errors) == (0, "logged\n")
    assert result.output == b"kept True a line\nlogged\n"


def test_generators_that_imports_made_are_seeded_for_the_run(python: Python) -> None:
    main = "import chance\nprint(chance.own.random(), chance.fixed.random())\n"
    chance = "import random; own = random.Random(); fixed = random.Random(5)"
    first, second = (prepared(python, main, chance=chance).expect().split() for _ in range(2))
    assert first[0] != second[0]
    assert first[1] == second[1] == "0.6229016948897019"


DRAWS = {
    "urandom": "import os; value = os.urandom(8)",
    "imported": "from os import urandom; value = urandom(8)",
    "token": "import secrets; value = secrets.token_bytes(8)",
    "chosen": "import secrets; value = [secrets.choice(range(1000)) for _ in range(9)]",
    "system": "import random; value = random.SystemRandom().getrandbits(64)",
    "unique": "import uuid; value = uuid.uuid4()",
    "node": "import uuid; value = uuid.uuid1().node, uuid.uuid1().clock_seq",
    "common": "import random; value = random.random()",
    "own": "import random; own = random.Random(); value = own.random()",
    "gone": "import random; value = random.Random().getrandbits(64)",
    "deep": "import own2",
    "seeds": "import random; random.seed(); value = random.random()",
}


def test_what_is_drawn_by_chance_is_drawn_in_the_run(python: Python) -> None:
    """A key that a module makes when it is imported would be the same on every machine."""
    names = ", ".join(DRAWS)
    main = f"""
import sys; before = set(sys.modules)
import {names}, fixed, keeps, random
print(sorted(before & {{{", ".join(map(repr, [*DRAWS, "fixed", "keeps"]))}}}), fixed.value)
print(keeps.own.random(), random.random(), keeps.urandom(8), keeps.token_bytes(8))
for module in ({names}): print(module.__name__, getattr(module, "value", None) or own2.value)
"""
    main = main.replace("import sys;", "import sys, own2;")
    beside = {
        **DRAWS,
        "own2": DRAWS["own"],
        "fixed": "import random; value = random.Random(5).random()",
        "keeps": "import random; from os import urandom; from secrets import token_bytes; own = random.Random()",
    }
    first, second = (prepared(python, main, **beside).expect().splitlines() for _ in range(2))
    assert first[0] == second[0] == "['fixed', 'keeps'] 0.6229016948897019"
    for one, other in zip(first[1:], second[1:], strict=True):
        assert not set(one.split()[1:]) & set(other.split()[1:]), "of its own in each run"


def test_a_module_that_seeds_the_common_generator_has_its_sequence(python: Python) -> None:
    main = "import chance, random\nprint(random.random())\n"
    assert prepared(python, main, chance="import random; random.seed(5)").expect() == "0.6229016948897019\n"


def test_a_warning_of_the_compiler_is_told_in_the_run(python: Python) -> None:
    result = prepared(python, 'print("\\d")\n')
    assert (result.code, result.output) == (0, b"\\d\n")
    assert result.errors == ("/app/main.py:1: SyntaxWarning: invalid escape sequence '\\d'\n  print(\"\\d\")\n")


def test_a_script_that_does_not_compile_is_told_as_cpython_tells_it(python: Python) -> None:
    result = prepared(python, "if x\n    pass\n")
    assert (result.code, result.output) == (1, b"")
    assert result.errors == "  File \"/app/main.py\", line 1\n    if x\n        ^\nSyntaxError: expected ':'\n"


def test_an_exception_of_a_prepared_script_shows_its_lines(python: Python) -> None:
    result = prepared(python, "import helper\nhelper.f()\n", helper="def f():\n    raise ValueError('here')\n")
    assert result.code == 1
    assert result.errors.splitlines() == [
        "Traceback (most recent call last):",
        '  File "/app/main.py", line 2, in <module>',
        "    helper.f()",
        "    ~~~~~~~~^^",
        '  File "/app/helper.py", line 2, in f',
        "    raise ValueError('here')",
        "ValueError: here",
    ]
