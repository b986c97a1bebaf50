"""`insitu cluster`: the development cluster for hands-on use, alive until `down`."""

import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from insitu.runtime.programs import SUFFIXES
from insitu.storage_hooks.devcluster import DevCluster, DevClusterError, NotRunning
from insitu.storage_hooks.devcluster import control as supervisor
from insitu.storage_hooks.devcluster.errors import AlreadyRunning, OptionRefused
from insitu.storage_hooks.devcluster.identity import Identity
from insitu.storage_hooks.devcluster.layout import Layout
from insitu.storage_hooks.devcluster.probe import accepts, healthy

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Where the cluster lives.  [default: $XDG_STATE_HOME/insitu/cluster, mostly ~/.local/state/insitu/cluster]",
)


def default_directory() -> Path:
    """After the XDG base directory specification, which tells to ignore a relative XDG_STATE_HOME."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "insitu" / "cluster"


def remove_parent(named: Path | None) -> None:
    """The directory above the default one is ours as well, unless something else lives in it."""
    if named is None:
        with suppress(OSError):
            default_directory().parent.rmdir()


@contextmanager
def clear_errors() -> Iterator[None]:
    """What went wrong, as a line for people."""
    try:
        yield
    except DevClusterError as e:
        raise click.ClickException(str(e)) from e


@click.group()
def cluster() -> None:
    """A real Swift on this machine, with an insitu node beside each object server."""


@cluster.command()
@directory_option
@click.option("--nodes", type=int, help="Object servers, 1 to 16.  [default: 4]")
@click.option(
    "--programs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A directory of your own .wasm and .zip files, served by name. May be given again. Remembered until `down`.",
)
def up(directory: Path | None, nodes: int | None, programs: tuple[Path, ...]) -> None:
    """Start it, wait until it is healthy, and say how to use it.

    One that runs is left as it is; one with dead parts is ended and started anew, with its data and keys.
    """
    layout = Layout((directory or default_directory()).resolve())
    with clear_errors():
        for programs_directory in programs:
            check_programs(programs_directory)
        try:
            running = standing(layout, nodes, programs) or start(layout, nodes, programs)
        except BaseException:
            remove_parent(directory)
            raise
        click.echo(how_to_use(running))


def standing(layout: Layout, nodes: int | None, programs: tuple[Path, ...]) -> DevCluster | None:
    """The cluster that runs there, None when none does, or one with dead parts."""
    try:
        running = DevCluster.attach(layout.root)
        dead = running.dead()
    except NotRunning:
        return None
    if dead:
        click.echo(f"not whole in {layout.root}: {', '.join(dead)} died; see {layout.log('').parent}", err=True)
        return None
    click.echo(f"already up in {layout.root}", err=True)
    if (nodes is not None and nodes != len(running.nodes)) or programs:
        click.echo("it stays as it was started: --nodes and --programs were not looked at", err=True)
    return running


def start(layout: Layout, nodes: int | None, programs: tuple[Path, ...]) -> DevCluster:
    """Starts it, with what it was started with before where nothing else is said. One with dead parts is replaced."""
    begun = time.monotonic()
    kept = Identity.nodes_at(layout.identity)
    if nodes is None:
        nodes = kept or 4
    elif kept not in (None, nodes):
        Identity.keep(layout.identity, nodes)  # refuses, before anything is ended
    made = DevCluster(layout.root, nodes=nodes, programs=programs or remembered_programs(layout))
    try:
        made.start(progress=lambda stage: click.echo(f"starting {stage}", err=True), detach=True, replace_broken=True)
    except AlreadyRunning:
        # Another `up` was faster.
        running = standing(layout, nodes, programs)
        if running is None:
            raise
        return running
    if programs:
        layout.programs.write_text(json.dumps([os.fspath(p.resolve()) for p in programs]))
    click.echo(f"up in {time.monotonic() - begun:.1f} s: {nodes} object servers, {layout.root}", err=True)
    return made


def remembered_programs(layout: Layout) -> tuple[Path, ...]:
    """What --programs said to the last `up` that was given it."""
    try:
        remembered = tuple(Path(name) for name in json.loads(layout.programs.read_text()))
    except (OSError, ValueError, TypeError):
        return ()
    for directory in remembered:
        try:
            check_programs(directory)
        except OptionRefused as e:
            raise OptionRefused(f"{e}; an earlier `up` was told of it: name another, or make it again") from None
    return remembered


def check_programs(directory: Path) -> None:
    if not directory.is_dir():
        raise OptionRefused(f"--programs {directory}: no such directory")
    if not any(path.suffix in SUFFIXES for path in directory.iterdir()):
        raise OptionRefused(f"--programs {directory}: holds no program (a file *{' or *'.join(SUFFIXES)})")


def how_to_use(running: DevCluster) -> str:
    s3 = running.s3
    sockets = [node.socket for node in running.nodes]
    others = "" if len(sockets) == 1 else f"   # or {sockets[1].name} … {sockets[-1].name} for another node"
    if len(sockets) == 2:
        others = f"   # or {sockets[1].name} for the other node"
    return f"""\
endpoint  {running.endpoint}
user      {running.user}
key       {running.key}
runs      insitu node --socket {shlex.quote(str(sockets[0]))} runs{others}

swift:    unset OS_AUTH_TOKEN OS_STORAGE_URL;
          export ST_AUTH={running.auth_url} ST_USER={running.user} ST_KEY={running.key}
     or   swift -A {running.auth_url} -U {running.user} -K {running.key} list

aws:      export AWS_ACCESS_KEY_ID={s3.access_key} AWS_SECRET_ACCESS_KEY={s3.secret_key} AWS_DEFAULT_REGION={s3.region}
          aws --endpoint-url {s3.endpoint} s3 ls
boto3:    boto3.client("s3", endpoint_url="{s3.endpoint}")

a program on a read, here on photo.jpg in the container photos:
          swift upload photos photo.jpg
          eval $(swift auth)
          curl -H "X-Auth-Token: $OS_AUTH_TOKEN" -H 'X-Run: watermark --text "hello"' \\
               -o marked.jpg $OS_STORAGE_URL/photos/photo.jpg"""


@cluster.command()
@directory_option
def status(directory: Path | None) -> None:
    """Say what runs. The exit code is 1 when it is down, or a part of it is."""
    layout = Layout((directory or default_directory()).resolve())
    with clear_errors():
        try:
            state = DevCluster.attach(layout.root).state()
        except NotRunning:
            kept = "; its data is kept: `up` starts it again, `down` removes it" if layout.marker.exists() else ""
            raise NotRunning(f"{layout.root}: no cluster runs here{kept}") from None
    sockets = {f"node-{n}": node.socket for n, node in enumerate(state.nodes, 1)}
    click.echo(f"{state.endpoint}  {layout.root}\n")
    wide = max(21, *(len(str(path)) for path in sockets.values()))
    click.echo(f"{'process':<12} {'pid':>8} {'memory':>9}  {'where':<{wide}} health")
    sick = 0
    for name in ["supervisor", *state.expected]:
        pid = state.supervisor if name == "supervisor" else state.processes.get(name)
        where, well = "", pid is not None
        if name in state.addresses:
            ip, port = state.addresses[name]
            where = f"{ip}:{port}"
            well = well and healthy(ip, port)
        elif name in sockets:
            where = str(sockets[name])
            well = well and accepts(sockets[name])
        health = "ok" if well else ("does not answer" if pid is not None else f"dead, see {layout.log(name)}")
        sick += not well
        click.echo(f"{name:<12} {pid or '-':>8} {memory(pid):>9}  {where:<{wide}} {health}")
    if sick:
        raise SystemExit(1)


def memory(pid: int | None) -> str:
    """A process's share of the machine's memory (PSS): pages that several processes share count in parts."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return f"{int(line.split()[1]) / 1024:.0f} MiB"
    except OSError:
        pass
    return "-"


@cluster.command()
@directory_option
def down(directory: Path | None) -> None:
    """End it and remove its data."""
    layout = Layout((directory or default_directory()).resolve())
    with clear_errors():
        existed = layout.root.exists()
        if existed:
            layout.check_ours()
            supervisor.stop(layout)
            layout.remove()
        remove_parent(directory)
    click.echo(f"{layout.root}: {'ended and removed' if existed else 'nothing there'}", err=True)
