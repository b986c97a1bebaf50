"""`insitu cluster`: the development cluster for hands-on use, alive until `down`."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from insitu.storage_hooks.devcluster import DevCluster, DevClusterError, NotRunning
from insitu.storage_hooks.devcluster import control as supervisor
from insitu.storage_hooks.devcluster.errors import OptionRefused
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
    help="A directory of your own .wasm files, served by name. May be given again.",
)
def up(directory: Path | None, nodes: int | None, programs: tuple[Path, ...]) -> None:
    """Start it, wait until it is healthy, and say how to use it."""
    layout = Layout((directory or default_directory()).resolve())
    with clear_errors():
        for programs_directory in programs:
            check_programs(programs_directory)
        try:
            running = DevCluster.attach(layout.root)
        except NotRunning:
            try:
                running = start(layout, nodes, programs)
            except BaseException:
                remove_parent(directory)
                raise
        else:
            click.echo(f"already up in {layout.root}", err=True)
            if dead := running.dead():
                click.echo(f"but not whole: {', '.join(dead)} died; see `insitu cluster status`", err=True)
            if (nodes is not None and nodes != len(running.nodes)) or programs:
                click.echo("it stays as it was started: --nodes and --programs were not looked at", err=True)
        click.echo(how_to_use(running))


def start(layout: Layout, nodes: int | None, programs: tuple[Path, ...]) -> DevCluster:
    begun = time.monotonic()
    if nodes is None:
        nodes = Identity.nodes_at(layout.identity) or 4
    made = DevCluster(layout.root, nodes=nodes, programs=programs)
    made.start(progress=lambda stage: click.echo(f"starting {stage}", err=True), detach=True)
    click.echo(f"up in {time.monotonic() - begun:.1f} s: {nodes} object servers, {layout.root}", err=True)
    return made


def check_programs(directory: Path) -> None:
    if not directory.is_dir():
        raise OptionRefused(f"--programs {directory}: no such directory")
    if not any(directory.glob("*.wasm")):
        raise OptionRefused(f"--programs {directory}: holds no .wasm file")


def how_to_use(running: DevCluster) -> str:
    s3 = running.s3
    return f"""\
endpoint  {running.endpoint}
user      {running.user}
key       {running.key}

swift:    export ST_AUTH={running.auth_url} ST_USER={running.user} ST_KEY={running.key}
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
    click.echo(f"{'process':<12} {'pid':>8} {'memory':>9}  {'where':<21} health")
    sick = 0
    for name in ["supervisor", *state.expected]:
        pid = state.supervisor if name == "supervisor" else state.processes.get(name)
        where, well = "", pid is not None
        if name in state.addresses:
            ip, port = state.addresses[name]
            where = f"{ip}:{port}"
            well = well and healthy(ip, port)
        elif name in sockets:
            where = os.path.relpath(sockets[name], layout.root)
            well = well and accepts(sockets[name])
        health = "ok" if well else ("does not answer" if pid is not None else f"dead, see {layout.log(name)}")
        sick += not well
        click.echo(f"{name:<12} {pid or '-':>8} {memory(pid):>9}  {where:<21} {health}")
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
