"""What the interpreter does when its snapshot is made, and at each run: the Python half of main.c.

In the guest this is the module `insitu_boot`. A run goes through what CPython's own `main` does, in that order, but on
an interpreter that has started long ago:

    start()            once: the usual modules are imported, what they made is taken from the collector
    prepare(argv)      when a snapshot of a script is made: it is compiled, and what its top level imports is imported
    run(argv, environ) at each run: the run's own words, environment, chance and streams; the script; the end

All that was made before the snapshot lies in pages that every run shares until it writes to them, so a run touches as
little of it as it can: `gc.freeze` keeps the collector away, and the streams are made beforehand.
"""

# mypy: disable-error-code="arg-type,assignment,attr-defined,comparison-overlap,method-assign,misc,type-var"
# As CPython's own `main`, it reaches behind the public face of the library: no stubs are of that.
# ruff: noqa: BLE001 - a script may be ended by anything, and leave anything behind

import _imp
import _io
import _random
import ast
import builtins
import errno
import gc
import importlib
import importlib.machinery
import io
import linecache
import logging
import os
import random
import sys
import tempfile
import time
import traceback
import types
import uuid
import warnings
from collections.abc import Callable, Iterator

import insitu_absent  # type: ignore[import-not-found]

_USUAL = """
    __future__ abc argparse array atexit base64 binascii bisect calendar codecs collections collections.abc
    contextlib copy csv dataclasses datetime decimal enum errno fnmatch fractions functools gc glob gzip hashlib
    heapq html html.parser importlib importlib.machinery importlib.util inspect io itertools json keyword locale
    logging math mimetypes numbers operator os os.path pathlib pickle platform pprint queue random re reprlib runpy
    secrets select shlex shutil stat statistics string struct subprocess tempfile textwrap threading time token
    tokenize traceback types typing unicodedata unittest urllib.parse uuid warnings weakref xml.etree.ElementTree
    zipfile zlib PIL.Image PIL.ImageChops PIL.ImageColor PIL.ImageDraw PIL.ImageEnhance PIL.ImageFilter
    PIL.ImageFont PIL.ImageMath PIL.ImageOps PIL.ImageSequence PIL.ImageStat PIL.ExifTags PIL.JpegImagePlugin
    PIL.PngImagePlugin
"""
"""Imported before the first snapshot, where they are there: a run that imports them finds them done."""
_PIECE = 1 << 16
_NO_MEMORY = 3
"""The exit code of a preparation for which there is not enough of it."""
_IMPORTING = "importing "
_USAGE = "usage: python SCRIPT [ARG…] | -c CODE [ARG…] | -m MODULE [ARG…] | - [ARG…]"

_MEANINGLESS = "BEsSI"
"""Options of CPython's that ask for what is so anyway: no bytecode is written, no variable read, no `site` imported."""

_HERE = (lambda: None).__code__.co_filename
"""This file, as tracebacks name it: its frames are nobody's business."""

_streams: tuple[io.TextIOWrapper, ...] = ()
_prepared: "tuple[str, types.CodeType, list[warnings.WarningMessage]] | None" = None
_unraisable_args: Callable[[tuple[object, ...]], object] = tuple
"""The type of what `sys.unraisablehook` is given, which has no name anywhere."""
_seeded: list[random.Random] = []
"""Generators that seeded themselves by chance while a script was prepared."""
_keep_inst = False
"""Whether what was imported seeded the generator behind `random.random()` itself: then that is its sequence."""


# --- before the snapshot -------------------------------------------------------------------------------------------


def start() -> None:
    """Import the usual modules, and make the streams."""
    global _streams, _unraisable_args
    for name in _USUAL.split():
        try:
            __import__(name)
        except ImportError:
            pass  # built without it
    if (image := sys.modules.get("PIL.Image")) is not None:
        image.init()  # all formats: it would import each when it first meets one that is not among the usual
    import _sitebuiltins  # what `site` gives, which is not imported

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    insitu_absent.install()
    _streams = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
    _use_streams()
    _unraisable_args = _type_of_unraisable_args()
    _settle()


def _type_of_unraisable_args() -> type:
    class Failing:
        def __del__(self) -> None:
            raise ValueError

    seen: list[type] = []
    sys.unraisablehook = lambda args: seen.append(type(args))
    Failing()
    sys.unraisablehook = sys.__unraisablehook__
    return seen[0]


class FileIO(io.FileIO):
    """A standard descriptor: a class of its own, whose methods are others while a script is prepared (see `_Watch`)."""


def _stream(fd: int, mode: str) -> io.TextIOWrapper:
    """As CPython makes it, but that stdin and stdout move 64 KiB at a time."""
    raw = FileIO(fd, mode, closefd=False)
    raw.name = ("<stdin>", "<stdout>", "<stderr>")[fd]
    buffer = io.BufferedReader(raw, _PIECE) if mode == "r" else io.BufferedWriter(raw, _PIECE if fd == 1 else 8192)
    errors = "backslashreplace" if fd == 2 else "strict"
    text = io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", line_buffering=fd == 2)
    text.mode = mode
    return text


def _use_streams() -> None:
    sys.stdin, sys.stdout, sys.stderr = _streams
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = _streams


def _settle() -> None:
    """What is there by now stays: the collector never looks at it again."""
    linecache.clearcache()
    gc.collect()
    gc.freeze()


def prepare(argv: list[bytes]) -> None:
    """Compile the script argv[1] and import what its top level imports. Ends the process with 1 where it does not
    compile, after saying so as CPython does.

    The body of the script is left to each run. So is an import that fails, or that does what only a run can do: writes
    something, reads stdin, looks at the environment, draws by chance.

    With any word behind the script, each module is told on stderr before it is imported, in a line: if one of them
    does not come back, whoever makes the snapshot knows which.
    """
    global _prepared
    path = os.fsdecode(argv[1])
    sys.argv = [path]
    importlib.invalidate_caches()  # the program brings files of its own
    with open(path, "rb") as file:
        source = file.read()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", SyntaxWarning)
        try:
            code = compile(source, path, "exec", dont_inherit=True)
            told = [warning for warning in caught if issubclass(warning.category, SyntaxWarning)]
            tree = ast.parse(source, path)
        except (SyntaxError, ValueError) as why:  # ValueError: a NUL in it
            sys.excepthook(type(why), why.with_traceback(None), None)
            sys.stderr.flush()
            os._exit(1)
    _look_first_in(os.path.dirname(path))
    _prepared = path, code, told
    with _Watch() as watch:
        for name, members in _imported(tree.body):
            if len(argv) > 2:
                os.write(2, f"{_IMPORTING}{name}\n".encode())
            watch.try_import(name, members)
    _use_streams()  # whatever an import put in their place
    _settle()


def _imported(body: list[ast.stmt]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, what is taken from it) of each import that running the module's top level may come to."""
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.name, ()
        elif isinstance(statement, ast.ImportFrom):
            if not statement.level and statement.module:
                yield statement.module, tuple(alias.name for alias in statement.names)
        elif isinstance(statement, ast.If) and _is_not_now(statement.test):
            yield from _imported(statement.orelse)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _imported(getattr(statement, field, []))
            for handler in getattr(statement, "handlers", []):
                yield from _imported(handler.body)


def _is_not_now(test: ast.expr) -> bool:
    """`__name__ == …`, `TYPE_CHECKING`: what stands below is for later, or never."""
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(test) if isinstance(node, ast.Attribute)}
    return bool(names & {"__name__", "TYPE_CHECKING"})


class _Looked(dict[bytes, bytes]):
    """The environment while nothing should depend on it."""

    touched = False

    def __getitem__(self, key: bytes) -> bytes:
        self.touched = True
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[bytes]:
        self.touched = True
        return super().__iter__()

    def __len__(self) -> int:
        self.touched = True
        return super().__len__()


_state = _random.Random.getstate
"""Of any generator, whatever its class says: where in its sequence it stands."""


class _Watch:
    """While a script's imports are done: whether one of them does what only a run can do."""

    def __enter__(self) -> "_Watch":
        self._environ, self._seed, self._urandom = os.environ._data, random.Random.seed, os.urandom
        self._inst = random._inst
        self._by_chance = by_chance = {id(self._inst): (self._inst, _state(self._inst))}
        self._drawn = drawn = list[bool]()
        real, real_urandom = self._seed, self._urandom

        def seed(self: random.Random, a: object = None, version: int = 2) -> None:
            if self in _seeded:
                _seeded.remove(self)
            by_chance.pop(id(self), None)
            real(self, a, version)
            if a is None:
                _seeded.append(self)
                by_chance[id(self)] = self, _state(self)

        def urandom(size: int, /) -> bytes:
            drawn.append(True)
            return real_urandom(size)

        random.Random.seed, os.urandom, random._urandom = seed, urandom, urandom
        random.seed = random._inst.seed
        return self

    def __exit__(self, *_: object) -> None:
        global _keep_inst
        os.environ._data, random.Random.seed = self._environ, self._seed
        os.urandom = random._urandom = self._urandom
        random.seed = self._inst.seed
        _keep_inst = id(self._inst) not in self._by_chance

    def _drew(self) -> bool:
        """Whether any of the host's chance has become a value: drawn from the host, or from a generator that seeded
        itself. Such a generator goes back to where it was."""
        drew = bool(self._drawn)
        self._drawn.clear()
        for generator, state in self._by_chance.values():
            if _state(generator) != state:
                _random.Random.setstate(generator, state)
                drew = True
        return drew

    def try_import(self, name: str, members: tuple[str, ...]) -> None:
        before = set(sys.modules)
        os.environ._data = looked = _Looked()
        touched: list[bool] = []

        def read(raw: FileIO, *_: object) -> None:
            touched.append(True)
            raise OSError(errno.EBADF, "the program is not running yet")

        def write(raw: FileIO, data: bytes) -> int:
            touched.append(True)
            return len(data)  # so that nothing of it is left in a buffer

        # Not other streams: modules may keep those that they find, so they find the very ones of the run.
        FileIO.readinto, FileIO.readall, FileIO.write = read, read, write
        try:
            __import__(name, {}, {}, members, 0)
            failed = False
        except MemoryError:
            os._exit(_NO_MEMORY)  # what it has taken stays taken: all runs would begin with that
        except BaseException:
            failed = True
        for stream in _streams[1:]:
            stream.flush()
        del FileIO.readinto, FileIO.readall, FileIO.write
        if not (self._drew() or failed or touched or looked.touched or looked):
            return
        for new in [new for new in sys.modules if new not in before]:
            parent, _, child = new.rpartition(".")
            del sys.modules[new]
            if parent in before:
                vars(sys.modules[parent]).pop(child, None)


def _look_first_in(directory: str) -> None:
    """Imports look there before the library, as for a script of that directory. So modules of the library that it has
    others in the place of are as if they had not been imported, but those that CPython finds before any directory."""
    sys.path.insert(0, directory)
    try:
        listed = os.listdir(directory or ".")
    except OSError:
        return  # a zip
    for entry in listed:
        name, _, suffix = entry.partition(".")
        if name not in sys.modules or name in sys.builtin_module_names or _imp.is_frozen(name):
            continue
        if suffix == "py" or os.path.isfile(os.path.join(directory, entry, "__init__.py")):
            for loaded in [loaded for loaded in sys.modules if loaded == name or loaded.startswith(f"{name}.")]:
                del sys.modules[loaded]


# --- a run ---------------------------------------------------------------------------------------------------------


def run(argv: list[bytes], environ: list[bytes]) -> int:
    """One run, from the words to the exit code, 0 to 255."""
    _fresh(environ)
    code, ended = 0, None
    try:
        code = _main([os.fsdecode(word) for word in argv])
    except BaseException as why:
        ended = why
    if ended is not None:  # not in the handler: what fails from here on did not fail because of it
        code = _told(ended)
        ended = None
    return _finished(code) & 0xFF


def _fresh(environ: list[bytes]) -> None:
    """What is the run's own: its environment, and chance of its own for all that keeps some."""
    variables = os.environ._data
    variables.clear()
    for one in environ:
        name, equals, value = one.partition(b"=")
        if equals:
            variables.setdefault(name, value)
    for generator in _seeded:
        generator.seed()
    if not _keep_inst:
        random._inst.seed()
    tempfile._name_sequence = tempfile.tempdir = None
    uuid._node = uuid._last_timestamp = None
    logging._startTime = time.time_ns()


def _main(words: list[str]) -> int:
    """What `python WORDS` does, up to its end. Returns an exit code, or raises what ended it."""
    sys.orig_argv = words
    if _prepared is not None:
        path, code, told = _prepared
        sys.argv = [path, *words[1:]]
        for warning in told:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return _execute(code, path)
    words = _without_options(words)
    option, rest = (words[1], words[2:]) if len(words) > 1 else ("-", [])
    if option == "-":
        sys.argv = ["-" if len(words) > 1 else "", *rest]
        sys.path.insert(0, "")
        return _execute(compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True))
    if option in ("-V", "--version"):
        print("Python", sys.version.partition(" ")[0])
        return 0
    if option in ("-c", "-m") and rest:
        sys.argv = [option, *rest[1:]]
        sys.path.insert(0, "" if option == "-c" else os.getcwd())
        if option == "-m":
            return _run_module(rest[0], alter_argv=True)
        code = compile(rest[0], "<string>", "exec", dont_inherit=True)
        linecache._register_code(code, rest[0], "<string>")
        return _execute(code)
    if option.startswith("-"):
        what = {"-c": "-c needs CODE", "-m": "-m needs MODULE"}.get(option, f"unknown option {option}")
        print(f"python: {what}; {_USAGE}", file=sys.stderr)
        return 2
    sys.argv = words[1:]
    return _run_script(option)


def _without_options(words: list[str]) -> list[str]:
    """Less those before what is run that can be had. One that cannot is left, and refused as unknown."""
    for at, word in enumerate(words[1:], 1):
        if not word.startswith("-") or word == "-":
            return [words[0], *words[at:]]
        left = word[1:].lstrip(_MEANINGLESS + "u")
        if "u" in word[: len(word) - len(left)]:
            _unbuffer()
        if left:
            return [words[0], f"-{left}", *words[at + 1 :]]
    return words[:1]


def _unbuffer() -> None:
    """What is written to stdout is out at once."""
    raw = _streams[1].buffer.raw
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(raw, "utf-8", "strict", newline="\n", write_through=True)
    sys.stdout.mode = "w"


def _run_script(path: str) -> int:
    """A file, or a directory or zip with a `__main__.py`."""
    try:
        with open(path, "rb") as file:
            source = file.read()
    except IsADirectoryError:
        source = b"PK"
    except OSError as why:
        print(f"python: can't open file {path!r}: [Errno {why.errno}] {why.strerror}", file=sys.stderr)
        return 2
    if source.startswith(b"PK"):
        _look_first_in(path)
        return _run_module("__main__", alter_argv=False)
    _look_first_in(os.path.dirname(path))
    return _execute(compile(source, path, "exec", dont_inherit=True), path)


def _run_module(name: str, *, alter_argv: bool) -> int:
    import runpy

    _new_main(None)
    try:
        runpy._run_module_as_main(name, alter_argv)
    except SystemExit as why:
        *_, (frame, _) = traceback.walk_tb(why.__traceback__)
        if frame.f_code is not runpy._run_module_as_main.__code__:
            raise  # the module's own
        raise SystemExit(f"python{why.code}") from None  # there is none; and `sys.executable`, which it names, is empty
    return 0


def _execute(code: types.CodeType, path: str | None = None) -> int:
    exec(code, vars(_new_main(path)))
    return 0


def _new_main(path: str | None) -> types.ModuleType:
    """A `__main__` as CPython's, but that it can be let go of."""
    main = types.ModuleType("__main__")
    names = vars(main)
    names["__annotations__"], names["__builtins__"] = {}, builtins
    if path is None:
        names["__loader__"] = importlib.machinery.BuiltinImporter
    else:
        names["__loader__"] = importlib.machinery.SourceFileLoader("__main__", path)
        names["__file__"], names["__cached__"] = os.path.abspath(path), None
    sys.modules["__main__"] = main
    return main


# --- its end -------------------------------------------------------------------------------------------------------


def _told(why: BaseException) -> int:
    """What ended the script, said on stderr as CPython says it. Returns the exit code."""
    if isinstance(why, SystemExit):
        return _exit_code(why)
    trace = why.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == _HERE:
        trace = trace.tb_next
    why.__traceback__ = trace
    sys.last_exc = sys.last_value = why
    sys.last_type, sys.last_traceback = type(why), trace
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        _write_error("sys.excepthook is missing\n")
        hook = sys.__excepthook__
    try:
        hook(type(why), why, trace)
    except SystemExit as leaving:
        return _exit_code(leaving)
    except BaseException as second:
        _write_error("Error in sys.excepthook:\n")
        _show(second, second.__traceback__ and second.__traceback__.tb_next)
        _write_error("\nOriginal exception was:\n")
        _show(why, trace)
    return 1


def _show(why: BaseException, trace: types.TracebackType | None) -> None:
    sys.__excepthook__(type(why), why.with_traceback(trace), trace)


def _exit_code(why: SystemExit) -> int:
    code = why.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code if -(1 << 63) <= code < 1 << 63 else -1
    _write_error(f"{code}\n")
    return 1


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(text)
    except Exception:  # it may be anything by now
        pass


def _finished(code: int) -> int:
    """As CPython's end, but that modules which were there before stay. What was written is out after it."""
    modules = sys.modules
    if (threading := modules.get("threading")) is not None:
        _unraisable("Exception ignored on threading shutdown", threading._shutdown)
    if (atexit := modules.get("atexit")) is not None:
        _unraisable(None, atexit._run_exitfuncs)
    if not _flushed():
        code = 120
    _let_go()
    if not _flushed():
        code = 120
    return code


def _flushed() -> bool:
    done = True
    stdout, stderr = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
    if stdout is not None and not getattr(stdout, "closed", False):
        done = _unraisable("Exception ignored on flushing sys.stdout", stdout.flush)
        if not done:
            sys.stdout = None  # once is enough
    if stderr is not None and not getattr(stderr, "closed", False):
        try:
            stderr.flush()
        except Exception:
            done, sys.stderr = False, None
    return done


def _unraisable(what: str | None, do: Callable[[], object]) -> bool:
    try:
        do()
    except BaseException as why:
        trace = why.__traceback__ and why.__traceback__.tb_next
        sys.unraisablehook(_unraisable_args((type(why), why, trace, what, None)))
        return False
    return True


def _let_go() -> None:
    """The script's own objects: their finalizers run, and files that were never closed are written out."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    sys.modules.pop("__main__", None)
    # A cycle is cleared in any order, a file's descriptor before what is buffered for it, perhaps.
    for one in _open_files():
        if one.writable():
            try:
                one.flush()
            except Exception:
                pass  # it will fail once more when it is closed, and be told then
    gc.collect()
    for one in _open_files():
        _unraisable(None, one.close)


def _open_files() -> list[io.IOBase]:
    """Those of this run. Text comes first: it hands on to what it is made of."""
    # The classes of `_io`, not the abstract ones of `io`: to ask those of all objects would take most of a short run.
    files = [one for one in gc.get_objects() if isinstance(one, _io._IOBase) and not one.closed]
    return sorted(files, key=lambda one: (not isinstance(one, _io._TextIOBase), isinstance(one, _io._RawIOBase)))
