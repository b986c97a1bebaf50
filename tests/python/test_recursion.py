"""Recursion without end is an exception in Python, whatever leads through C: the stacks are never full before.

What costs most of the engine's stack is an evaluation loop that is called through a slot; of the module's own stack, a
sort whose comparisons sort.
"""

import re

import pytest

from tests.python.guest import Python

PRELUDE = """
import ast, copy, functools, json, pickle, re, sys
def nested(depth=10_000):
    found = []
    for _ in range(depth):
        found = [found]
    return found
class Slots:
    def __repr__(self): return repr(self)
    def __str__(self): return "%s" % [self]
    def __eq__(self, other): return other == self
    def __bool__(self): return bool(self)
    def __index__(self): return [1][self]
    def __getattr__(self, name): return getattr(self, name)
    def __lt__(self, other): return sorted([Slots(), Slots()])
    def __format__(self, text): return format(self, text)
    def __call__(self): pass
    def __iter__(self): return iter(self)
    def __contains__(self, item): return item in self
    def __hash__(self): return hash(self)
    def __add__(self, other): return self + other
    def __del__(self): pass
class Missing(dict):
    def __missing__(self, key): return self[key]
class Encoder(json.JSONEncoder):
    def default(self, value): return json.dumps(value, cls=Encoder)
class Meta(type):
    def __instancecheck__(cls, value): return isinstance(value, cls)
class Checked(metaclass=Meta): pass
def plain(): return plain()
def generator(): yield from generator()
def substitute(match): return re.sub("a", substitute, "a")
def highest(value): return max([1], key=highest)
def reduced(*values): return functools.reduce(reduced, [1, 2])
@functools.cache
def cached(number): return cached(number + 1)
def executed(): exec("executed()", globals())
def imported(): return __import__("json", None, None, nested())
def tree(depth):
    found = ast.Constant(1)
    for _ in range(depth):
        found = ast.UnaryOp(ast.USub(), found)
    return ast.fix_missing_locations(ast.Expression(found))
def aliases(depth):
    found = int
    for _ in range(depth):
        found = list[found]
    return found
"""
ENDLESS = (
    *("plain()", "list(generator())", "substitute(1)", "highest(1)", "reduced()", "cached(1)", "executed()"),
    *("repr(Slots())", "str(Slots())", "Slots() == Slots()", "bool(Slots())", "[1][Slots()]", "Slots().name"),
    *("sorted([Slots(), Slots()])", "format(Slots())", "iter(Slots())", "1 in Slots()", "hash(Slots())", "Slots() + 1"),
    *("Missing()[1]", "json.dumps(Checked, cls=Encoder)", "isinstance(1, Checked)"),
    *("repr(nested())", "nested() == nested()", "json.dumps(nested())", "json.loads('[' * 100_000)"),
    *(
        "json.loads('{\"a\":' * 100_000)",
        "pickle.dumps(nested())",
        "pickle._dumps(nested())",
        "copy.deepcopy(nested())",
    ),
    *("re.compile('(' * 20_000 + ')' * 20_000)", "compile(tree(20_000), '', 'eval')", "repr(aliases(20_000))"),
    *("compile('+'.join(['a'] * 20_000), '', 'eval')", "compile('a' + '.b' * 20_000, '', 'eval')"),
    *("compile('a' + '()' * 20_000, '', 'eval')", "compile('not ' * 4_000 + 'a', '', 'eval')"),
)


def script(expression: str, depth: str = "") -> str:
    return f"{PRELUDE}\n{depth}\ntry:\n    {expression}\nexcept RecursionError:\n    print('RecursionError')\n"


@pytest.mark.parametrize("expression", ENDLESS)
def test_endless_recursion_is_an_exception(python: Python, expression: str) -> None:
    assert python.run("-c", script(expression)).expect() == "RecursionError\n"


@pytest.mark.parametrize(
    "expression", [text for text in ENDLESS if not re.search("nested|plain|generator|re.comp", text)]
)
def test_also_when_the_script_lifts_the_limit(python: Python, expression: str) -> None:
    """`sys.setrecursionlimit` is about frames of Python's; those of C have a limit of their own."""
    assert python.run("-c", script(expression, "sys.setrecursionlimit(10**9)")).expect() == "RecursionError\n"


@pytest.mark.parametrize(
    "expression",
    [
        "compile('-' * 100_000 + 'a', '', 'eval')",
        "compile('**'.join(['a'] * 100_000), '', 'eval')",
        "compile('lambda:' * 100_000 + 'a', '', 'eval')",
        "compile('if a: pass\\n' + 'elif a: pass\\n' * 8_000, '', 'exec')",
        "ast.literal_eval('-' * 100_000 + '1')",
    ],
)
def test_source_that_is_nested_too_deep_is_refused_by_the_parser(python: Python, expression: str) -> None:
    """As any CPython has it."""
    result = python.run("-c", f"{PRELUDE}\n{expression}")
    assert result.code == 1
    assert (
        "too complex to parse" in result.errors.splitlines()[-1] or "RecursionError" in result.errors.splitlines()[-1]
    )


def test_depths_that_scripts_have(python: Python) -> None:
    """A memoised recursion, a tree of objects and parentheses, as deep as they may be on any machine."""
    text = """
    @functools.cache
    def fibonacci(number): return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)
    print(fibonacci(450) % 1000)
    print(len(json.dumps(nested(900))), len(repr(nested(900))))
    print(compile("(" * 199 + ")" * 199, "", "eval") and compile("+".join(["1"] * 2000), "", "eval") and "compiled")
    """
    lines = "\n".join(line[4:] for line in text.splitlines())
    assert python.run("-c", PRELUDE + lines).expect() == "000\n1802 1802\ncompiled\n".replace(
        "000", str(_fibonacci(450))
    )


def _fibonacci(number: int) -> int:
    one, other = 0, 1
    for _ in range(number):
        one, other = other, one + other
    return one % 1000
