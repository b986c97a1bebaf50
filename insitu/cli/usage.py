"""`insitu usage`: what launches used, summed from the nodes' journals."""

import json
import re
import time
from datetime import datetime
from typing import Any, Final

import click

from insitu.cli import printable
from insitu.runtime.journal.places import SUFFIX, state_directory
from insitu.runtime.journal.reading import BY, Sums, distinct, names, sums
from insitu.runtime.journal.schema import JournalError
from insitu.sandbox.limits import format_size

_UNITS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(s|min|h|d|w)")


class Since(click.ParamType[int]):
    """A moment, as Unix time in microseconds."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if (ago := _AGO.fullmatch(value)) is not None:
            return max(0, int((time.time() - float(ago[1]) * _UNITS[ago[2]]) * 1e6))
        try:
            return max(0, int(datetime.fromisoformat(value).timestamp() * 1e6))
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value[:100]!r} is no time; write a date such as 2026-11-01 or 2026-11-01T08:00+01:00 (local time "
                f"when it says no zone), or how long ago: 90min, 24h, 7d, 4w",
                param,
                ctx,
            )


@click.command()
@click.option("--by", type=click.Choice(BY), help="Sums for each, the most CPU time first.  [default: one sum]")
@click.option("--since", type=Since(), default=0, metavar="WHEN", help="Only what ended since: 24h, 7d, a date.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one sum a line, exact.")
@click.option(
    "--journal",
    "journals",
    multiple=True,
    metavar="FILE",
    help="A node's journal; repeatable, for the sum of several.  [default: all in the state directory]",
)
def usage(by: Any, since: int, as_json: bool, journals: tuple[str, ...]) -> None:
    """What launches used: CPU time, fuel, memory, bytes.

    Reads the nodes' journals where they lie, whether their nodes run or not.
    """
    paths = distinct(journals or sorted(state_directory().glob(f"*{SUFFIX}")))
    if not paths:
        raise click.ClickException(f"no journal in {state_directory()}; a node's own is told with --journal")
    found: dict[str, Sums] = {}
    known: dict[str, str] = {}
    unread: list[JournalError] = []
    for path in paths:
        try:
            part = sums([path], by, since)
            known |= names([path]) if by == "program" else {}
        except JournalError as why:
            unread.append(why)
            continue
        for key, one in part.items():
            found[key] = found.get(key, Sums()) + one
    if len(unread) == len(paths) or (unread and journals):
        raise click.ClickException(str(unread[0]))
    _tell(by, found, known, as_json)
    if unread:  # the others are summed all the same: one file that is none must not hide them
        raise click.ClickException("; ".join(map(str, unread)))


def _tell(by: Any, found: dict[str, Sums], known: dict[str, str], as_json: bool) -> None:
    if by is None:
        found = found or {"": Sums()}
    ordered = sorted(found.items(), key=lambda item: (-item[1].cpu_us, item[0]))
    if as_json:
        for key, one in ordered:
            click.echo(json.dumps(_plain(by, key, known, one)))
    elif ordered:
        _table(by, known, ordered)
    else:
        click.echo("no launches", err=True)


def _plain(by: str | None, key: str, known: dict[str, str], one: Sums) -> dict[str, Any]:
    figures = {name: getattr(one, name) for name in one.__slots__}
    pages = figures.pop("memory_us")
    figures["memory_byte_us"] = pages << 16
    if by is None:
        return figures
    return ({"program": known.get(key, ""), "digest": key} if by == "program" else {by: key}) | figures


_HEADS: Final = ("launches", "ok", "failed", "cpu s", "wall s", "fuel", "memory MiB s", "in", "out", "err")


def _table(by: str | None, known: dict[str, str], ordered: list[tuple[str, Sums]]) -> None:
    lines = [[*_HEADS, by or ""]]
    for key, one in ordered:
        figures = [
            str(one.launches),
            str(one.ok),
            str(one.failed),
            f"{one.cpu_us / 1e6:.3f}",
            f"{one.wall_us / 1e6:.3f}",
        ]
        figures += [str(one.fuel), f"{one.memory_mib_seconds:.1f}"]
        figures += [format_size(count) for count in (one.bytes_in, one.bytes_out, one.bytes_err)]
        lines.append([*figures, f"{known.get(key, '')} {key[:19]}" if by == "program" else key])
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADS))]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=False)]
        click.echo("  ".join([*cells, printable(line[-1])]).rstrip())
