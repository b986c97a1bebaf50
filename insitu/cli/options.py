"""Options of commands that run guests: one for every limit, and those that may come without a value."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from insitu.cli.types import Duration, Size
from insitu.sandbox import limits
from insitu.sandbox.limits import Limits, format_duration, format_size

_Function = TypeVar("_Function", bound=Callable[..., Any])
_U64: Final = (1 << 64) - 1


class Seed(click.ParamType[int]):
    name = "SEED"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            seed = int(value, 0) if len(value) < 100 else -1
        except ValueError:
            seed = -1
        if not 0 <= seed <= _U64:
            self.fail(f"{value[:100]!r} is no seed, which is a whole number from 0 to {_U64}", param, ctx)
        return seed


class MayStandAlone(click.Option):
    """`--name` or `--name=VALUE`; never `--name VALUE`, so that the word behind it is not taken for its value."""

    def __init__(self, *args: Any, alone: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alone = alone


def with_values(command: click.Command, words: list[str]) -> list[str]:
    """The words with those options that stand alone given their value. What follows the first argument is left."""
    by_name = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}
    done: list[str] = []
    ahead = iter(words)
    for word in ahead:
        if word in ("-", "--") or not word.startswith("-"):
            return [*done, word, *ahead]
        option = by_name.get(word)
        if isinstance(option, MayStandAlone):
            word = f"{word}={option.alone}"
        done.append(word)
        if option is not None and not isinstance(option, MayStandAlone) and not option.is_flag:
            done += [value for value in [next(ahead, None)] if value is not None]
    return done


def _size(count: int) -> str:
    return format_size(count).replace(" ", "")


# Limit → option, its type, what stands for its value, what it is, its default. In the order in which help shows them.
_DEFAULT: Final = Limits()
_OPTIONS: Final[dict[str, tuple[str, click.ParamType[Any], str, str, str]]] = {
    "memory": ("--memory", Size(), "SIZE", "Linear memory.", _size(_DEFAULT.memory)),
    "table": ("--table", click.IntRange(*limits.TABLE_BOUNDS), "N", "Elements of a table.", str(_DEFAULT.table)),
    "fuel": ("--fuel", click.IntRange(*limits.FUEL_BOUNDS), "N", "Engine units.", "no limit"),
    "cpu": ("--cpu", Duration(), "TIME", "CPU time.", "no limit"),
    "wall": ("--wall", Duration(), "TIME", "Time, blocked or not.", format_duration(_DEFAULT.wall).replace(" ", "")),
    "output": ("--max-output", Size(), "SIZE", "Bytes on stdout and named outputs.", _size(_DEFAULT.output)),
    "open_files": (
        "--open-files",
        click.IntRange(*limits.OPEN_FILES_BOUNDS),
        "N",
        "Descriptors open at once.",
        str(_DEFAULT.open_files),
    ),
    "tmp": ("--tmp-size", Size(), "SIZE", "Bytes of files that it keeps.", _size(_DEFAULT.tmp)),
    "tmp_files": (
        "--tmp-files",
        click.IntRange(*limits.TMP_FILES_BOUNDS),
        "N",
        "Names of those files.",
        str(_DEFAULT.tmp_files),
    ),
    "path": ("--max-path", Size(), "SIZE", "Bytes of a path.", _size(_DEFAULT.path)),
    "arguments": ("--max-arguments", Size(), "SIZE", "Bytes of arguments and environment.", _size(_DEFAULT.arguments)),
}


def limit_options(function: _Function) -> _Function:
    """An option for every limit; the command gets each as a keyword, None where it is not given. See `limits_from`."""
    for name, (option, kind, metavar, what, default) in reversed(_OPTIONS.items()):
        words = f"{what}  [default: {default}]"
        function = click.option(option, f"limit_{name}", type=kind, metavar=metavar, help=words)(function)
    return function


def limits_from(keywords: dict[str, Any], asked: Mapping[str, Any] | None = None) -> Limits:
    """`asked`: what the program asks for, where no option says otherwise. Raises `LimitsError`."""
    given = {name: keywords[f"limit_{name}"] for name in _OPTIONS}
    return Limits(**{**(asked or {}), **{name: value for name, value in given.items() if value is not None}})
