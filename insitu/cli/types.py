"""Option types that several subcommands share: sizes, durations, NAME=VALUE pairs."""

import re
from typing import Any

import click

from insitu.sandbox.errors import LimitsError
from insitu.sandbox.limits import parse_duration, parse_size

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Size(click.ParamType[int]):
    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except LimitsError as why:
            self.fail(str(why), param, ctx)


class Duration(click.ParamType[float]):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except LimitsError as why:
            self.fail(str(why), param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    name = "K=V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not equals or not _ENV_NAME.fullmatch(name):
            self.fail(f"{value!r} is not K=V, with K of letters, digits and '_'", param, ctx)
        return name, text
