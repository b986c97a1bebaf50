"""`insitu node`: the daemon of a storage node, and questions to it."""

import json
import logging
import sys
import time
from typing import Any, Final

import click

from insitu.cli import printable
from insitu.cli.types import Size
from insitu.runtime.client import SOCKET_VARIABLE, NodeClient, default_socket
from insitu.runtime.errors import NodeError
from insitu.runtime.record import Record
from insitu.sandbox.limits import format_duration, format_size
from insitu.sandbox.outcome import ChannelStatistics

_SOCKET: Final = f"Where it listens.  [default: ${SOCKET_VARIABLE}, else insitu/node.sock in $XDG_RUNTIME_DIR or /run]"


@click.group(invoke_without_command=True)
@click.option(
    "--socket",
    "socket_",
    metavar="PATH",
    help=_SOCKET,
)
@click.option("--name", metavar="NAME", help="How it is called in records and headers.  [default: the host's name]")
@click.option(
    "--programs", multiple=True, metavar="DIR", help="A directory of programs, NAME.wasm or NAME.zip; repeatable."
)
@click.option("--cache", metavar="DIR", help="Compiled programs, private to this user.  [default: the user's cache]")
@click.option("--config", metavar="FILE", help="Settings, see docs/node.md; what is said here wins over it.")
@click.option("--isolation", type=click.Choice(["process", "shared"]), help="What a worker serves.  [default: process]")
@click.option(
    "--cache-size", "cache_bytes", type=Size(), metavar="SIZE", help="What they may take of the disk.  [default: 4GiB]"
)
@click.option("--workers", type=click.IntRange(1, 4096), metavar="N", help="Launches at once.  [default: 4 a core]")
@click.option("--spares-min", type=click.IntRange(0, 4096), metavar="N", help="Workers kept ready.  [default: 2]")
@click.option("--spares-max", type=click.IntRange(0, 4096), metavar="N", help="The same in a rush.  [default: 8]")
@click.option("--queue", type=click.IntRange(1, 100_000), metavar="N", help="Launches that may wait.  [default: 512]")
@click.option("--journal", metavar="FILE", help="Usage records.  [default: NAME.journal in the state directory]")
@click.option("--journal-days", type=click.IntRange(1, 36500), metavar="N", help="Kept so long.  [default: 400]")
@click.option("--keep-failed", metavar="DIR", help="Keep failed launches there, for `insitu replay`.  [default: none]")
@click.option("--keep-failed-size", type=Size(), metavar="SIZE", help="What they take; the oldest go.  [default: 1GiB]")
@click.option("--user", metavar="USER", help="Whom workers run as, if started as root.  [default: nobody]")
@click.option("--allow-uid", multiple=True, metavar="USER", help="Who else may ask it, by name or number; repeatable.")
@click.option("--strict", is_flag=True, default=None, help="Do not start where a measure of confinement is missing.")
@click.option(
    "--check", is_flag=True, help="Say which measures of confinement hold on this machine, and start nothing."
)
@click.pass_context
def node(
    ctx: click.Context,
    /,
    socket_: str | None,
    name: str | None,
    programs: tuple[str, ...],
    cache: str | None,
    config: str | None,
    check: bool,
    **options: Any,
) -> None:
    """The daemon of a storage node: takes launches at a Unix socket. Ends on SIGTERM and Ctrl-C.

    `insitu node --socket PATH` serves in the foreground and logs to stderr.
    `insitu node --socket PATH runs` asks one that serves.
    """
    from insitu.runtime.settings import Settings, SettingsError, read

    try:
        values = read(config) if config is not None else {}
        path = socket_ or values.get("socket") or default_socket()
        ctx.obj = path
        if ctx.invoked_subcommand is not None:
            return
        if check:
            return _check(str(options["user"] or values.get("user", "")))
        from insitu.runtime.cache import user_cache

        given = {"socket": path, "cache": cache, "name": name, "programs": programs or None, **options}
        given["allow_uid"] = given["allow_uid"] or None
        values |= {key: value for key, value in given.items() if value is not None}
        settings = Settings(**{"cache": str(user_cache()), **values})
    except SettingsError as why:
        raise click.ClickException(str(why)) from None
    from pathlib import Path

    from insitu.runtime.node import Node
    from insitu.runtime.place import NodeFailed

    for directory in settings.programs:
        if not Path(directory).is_dir():
            if directory in programs:
                raise click.UsageError(f"--programs {directory}: no such directory")
            raise click.ClickException(f"{config}: programs: {directory}: no such directory")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        Node(settings).run()
    except (NodeFailed, ValueError) as why:
        raise click.ClickException(str(why)) from None


def _check(user: str) -> None:
    from insitu.runtime.confine import check, identity

    try:
        found = check.examine(identity.resolve(user))
    except (OSError, ValueError) as why:
        raise click.ClickException(str(why)) from None
    for line in check.report(found):
        click.echo(line)
    if any(finding.state == "missing" for finding in found):
        raise SystemExit(1)


@node.command()
@click.option("--socket", "socket_", metavar="PATH", help="Where it listens, if not said before.")
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one record a line.")
@click.argument("id_", metavar="[ID]", required=False)
@click.pass_obj
def runs(path: str, socket_: str | None, limit: int, as_json: bool, id_: str | None) -> None:
    """The latest outcomes, newest first; with an ID (or the beginning of one), all about one."""
    try:
        records = NodeClient(socket_ or path).runs(1000 if id_ else limit)
    except NodeError as why:
        raise click.ClickException(str(why)) from None
    if id_ is not None:
        records = [record for record in records if record.id.startswith(id_)]
        if not records:
            raise click.ClickException(f"no run {id_!r} among those the node still keeps")
    for record in records:
        if as_json:
            click.echo(json.dumps(_plain(record)))
        elif id_ is not None:
            _show(record)
        else:
            when = time.strftime("%H:%M:%S", time.localtime(record.started))
            usage = record.outcome.usage
            click.echo(
                f"{record.id[:12]}  {when}  {record.program:12}  {printable(record.outcome.sentence()):24}  "
                f"cpu {format_duration(usage.cpu_us / 1e6)}, in {format_size(usage.bytes_in)}, "
                f"out {format_size(usage.bytes_out)}  {printable(record.object)}"
            )
    if not records:
        click.echo("no runs yet", err=True)


def _plain(record: Record) -> dict[str, Any]:
    plain = record.to_wire()
    plain["outcome"]["stderr"] = record.outcome.stderr.decode("utf-8", "replace")
    return plain


def _show(record: Record) -> None:
    plain = _plain(record)
    outcome = plain.pop("outcome")
    if not record.bundle:
        del plain["bundle"]
    usage = outcome.pop("usage")
    by_channel = {name: _crossed(figures) for name, figures in record.outcome.channels.items()}
    for name, value in {**plain, "ended": record.outcome.sentence(), **usage, **by_channel}.items():
        click.echo(f"{name:12} {printable(str(value) if not isinstance(value, tuple) else ' '.join(value))}")
    for name in ("trap", "stderr"):
        if outcome[name]:
            click.echo(f"{name}:")
            for line in outcome[name].rstrip().split("\n"):
                click.echo(printable(line))


def _crossed(figures: ChannelStatistics) -> str:
    """What crossed a channel: it goes one way."""
    count, calls, what = figures.bytes_read, figures.reads, "read"
    if figures.writes or figures.bytes_written:
        count, calls, what = figures.bytes_written, figures.writes, "write"
    return f"{format_size(count)} in {calls} {what}{'' if calls == 1 else 's'}"
