"""`insitu demo`: a photograph, watermarked on the storage node that holds it, while it is read.

Everything is real and goes away afterwards: a Swift cluster on loopback, an upload, plain reads and reads with a
program on them. What is printed is measured in this run; what the program used comes from the node's own records.
"""

import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

import click

from insitu.runtime.cache import user_cache
from insitu.runtime.client import NodeClient
from insitu.runtime.errors import NodeError
from insitu.runtime.grammar import format_run
from insitu.runtime.record import Record
from insitu.storage_hooks.devcluster import DevCluster, DevClusterError

CONTAINER, OBJECT = "photos", "photo.jpg"
PROGRAM: Final = "watermark"
STORED: Final = "derived"
"""Where a stored result comes from."""
READ_TIMEOUT: Final = 60.0  # seconds


@dataclass(frozen=True)
class Read:
    """One GET. Times in seconds from sending the request."""

    body: bytes
    first_byte: float
    whole: float
    where: str = ""
    """"object-3; replica=1", empty for a plain read."""
    record: Record | None = None

    @property
    def node(self) -> str:
        return self.where.partition(";")[0].strip()


@click.command()
@click.option(
    "--photo", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JPEG or PNG of your own instead."
)
@click.option("--text", default="insitu", show_default=True, help="What is drawn on it.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-out"), help="[default: demo-out]"
)
@click.option("--reads", type=click.IntRange(1, 100), default=5, show_default=True, help="How many make a median.")
def demo(photo: Path | None, text: str, out: Path, reads: int) -> None:
    """Upload a photograph to a real Swift, read it plainly and watermarked on its storage node, and compare."""
    begun = time.monotonic()
    with ended_by_sigterm():
        try:
            original = photo.read_bytes() if photo else shipped_photo()
            # The user's own cache of compiled programs: a second demo compiles nothing.
            with ExitStack() as stack:
                cluster_ = DevCluster(cache=user_cache())
                stack.callback(cluster_.stop)
                cluster_.start(progress=lambda stage: say(f"starting {stage}"))
                plain, marked, stored = show(cluster_, original, text, reads)
        except DevClusterError as e:
            raise click.ClickException(str(e)) from e
        except (HTTPException, NodeError, OSError) as e:
            raise click.ClickException(f"{type(e).__name__}: {e}") from e
    say("everything that was started has ended\n")
    check(original, plain, [*marked, *stored])
    suffix = photo.suffix if photo else ".jpg"
    try:
        files = save(out, {f"photo{suffix}": plain[0].body, f"photo-watermarked{suffix}": marked[0].body})
    except OSError as e:
        raise click.ClickException(f"--out {out}: {e.strerror or e}") from e
    report(plain, marked, stored)
    click.echo(f"\nsee {files[0]} and {files[1]}    ({time.monotonic() - begun:.1f} s in all)")


def say(what: str) -> None:
    click.echo(what, err=True)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C does, so that what was started is ended."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def shipped_photo() -> bytes:
    """The demo's photograph, which the guests' builder knows how to get: it says so when it is not at hand yet."""
    builder = Path(__file__).resolve().parents[2] / "guests" / "build.py"
    if not builder.is_file():
        raise click.ClickException("only a checkout of insitu brings a photo along; give one: --photo FILE")
    with tempfile.TemporaryDirectory(prefix="insitu-demo-") as scratch:
        target = Path(scratch) / "photo.jpg"
        if subprocess.run([sys.executable, str(builder), "--photo", str(target)]).returncode != 0:
            raise click.ClickException("there is no photo; give one: --photo FILE")
        return target.read_bytes()


def show(cluster_: DevCluster, original: bytes, text: str, reads: int) -> tuple[list[Read], list[Read], list[Read]]:
    """Uploads, and reads in turns: plainly, with the program run each time (`no-store`), and its stored result.

    Gives all three lists, in the order of reading. Of the runs, those that are a node's first come on top of `reads`.
    """
    if PROGRAM not in [info.name for info in NodeClient(str(cluster_.nodes[0].socket)).programs()]:
        raise click.ClickException(f"the program {PROGRAM} is not built; in a checkout: make guests")
    from swiftclient import ClientException

    say(f"uploading {len(original):,} bytes as {CONTAINER}/{OBJECT}, in three replicas")
    with closing(cluster_.connection()) as connection:
        try:
            storage_url, token = connection.get_auth()
            connection.put_container(CONTAINER)
            connection.put_object(CONTAINER, OBJECT, original, content_type=media_type(original))
        except ClientException as e:
            raise click.ClickException(f"the upload failed: {e}") from e

    url = urlsplit(f"{storage_url}/{CONTAINER}/{OBJECT}")
    run = format_run(PROGRAM, ["--text", text])
    say(f"reading it plainly, and with X-Run: {run}")
    asked = {"X-Auth-Token": token, "X-Run": run}
    plain, marked, stored = [], [], []
    seen: set[str] = set()
    repeated = 0
    while repeated < reads:
        plain.append(read(cluster_, url.netloc, url.path, {"X-Auth-Token": token}))
        marked.append(read(cluster_, url.netloc, url.path, asked | {"Cache-Control": "no-store"}))
        again = read(cluster_, url.netloc, url.path, asked)
        if again.where == STORED:
            stored.append(again)  # the first of them stores it, and the next may come before it has
        repeated += marked[-1].node in seen
        seen.add(marked[-1].node)
    return plain, marked, stored


def media_type(image: bytes) -> str:
    return "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"


def read(cluster_: DevCluster, address: str, path: str, headers: dict[str, str]) -> Read:
    """One GET over a connection of its own. Raises ClickException for an answer other than 200."""
    with closing(HTTPConnection(address, timeout=READ_TIMEOUT)) as connection:
        connection.connect()
        begun = time.perf_counter()
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        start = response.read(1)
        first_byte = time.perf_counter() - begun
        body = start + response.read()
        whole = time.perf_counter() - begun
    if response.status != 200:
        raise click.ClickException(f"the read was answered with {response.status}: {explain(body)}")
    where, run_id = response.getheader("X-Run-Where", ""), response.getheader("X-Run-Id", "")
    record = find_record(cluster_, where.partition(";")[0].strip(), run_id) if run_id else None
    return Read(body, first_byte, whole, where, record)


def explain(body: bytes) -> str:
    """What an answer of type application/problem+json says; else its beginning."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def find_record(cluster_: DevCluster, node: str, run_id: str) -> Record:
    """The node's own record of a launch."""
    for info in cluster_.nodes:
        if info.name == node and (record := NodeClient(str(info.socket)).run(run_id)) is not None:
            return record
    raise click.ClickException(f"{node or 'no node'} has no record of the run {run_id}")


def check(original: bytes, plain: Sequence[Read], marked: Sequence[Read]) -> None:
    """Raises ClickException unless plain reads gave what was stored, and marked ones the same picture with a mark."""
    from PIL import Image, ImageChops

    if any(one.body != original for one in plain):
        raise click.ClickException("a plain read gave other bytes than were stored")
    if any(one.body != marked[0].body for one in marked):
        raise click.ClickException("the same program on the same photo gave different bytes")
    with Image.open(io.BytesIO(original)) as before, Image.open(io.BytesIO(marked[0].body)) as after:
        if (before.format, before.size) != (after.format, after.size):
            raise click.ClickException(f"{before.format} {before.size} became {after.format} {after.size}")
        difference = ImageChops.difference(before.convert("L"), after.convert("L"))
        # Decoding and encoding again changes pixels by a little; a mark by a lot.
        if not any(count for count in difference.histogram()[48:]):
            raise click.ClickException("the watermarked photo shows no mark")


def save(out: Path, files: dict[str, bytes]) -> list[Path]:
    """Whole files or none."""
    out.mkdir(parents=True, exist_ok=True)
    saved = []
    for name, data in files.items():
        scratch = out / f".{name}.{os.getpid()}"
        scratch.write_bytes(data)
        saved.append(Path(shutil.move(scratch, out / name)))
    return saved


def report(plain: Sequence[Read], marked: Sequence[Read], stored: Sequence[Read]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    seen: set[str] = set()
    first: list[Read] = []
    again: list[Read] = []
    for one in marked:
        (again if one.node in seen else first).append(one)
        seen.add(one.node)
    table = Table("", box=SIMPLE_HEAD, pad_edge=False)
    groups = [
        ("plain, first", plain[:1]),
        (f"plain, median of {len(plain) - 1}", plain[1:]),
        ("watermark, first on a node" + (f" (median of {len(first)})" if len(first) > 1 else ""), first),
        (f"watermark, median of {len(again)}", again),
        *([(f"its stored result, median of {len(stored)}", stored)] if stored else []),
    ]
    for title, _ in groups:
        table.add_column(title, justify="right")
    for name, cell in ROWS:
        table.add_row(name, *(cell(reads) for _, reads in groups))
    console = Console()
    # Into a file or a pipe it is not folded to a terminal's width.
    (console if console.is_terminal else Console(width=140)).print(table)


def records(reads: Sequence[Read]) -> list[Record]:
    return [one.record for one in reads if one.record is not None]


def places(reads: Sequence[Read]) -> str:
    """Nodes and replicas, or that it was stored, a line each."""
    return "\n".join(sorted({one.where.replace("; replica=", ", replica ") for one in reads if one.where}))


def median_ms(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    value = statistics.median(seconds) * 1e3
    return f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"


# What the program used is the node's own record of it; a plain read sends on all that it reads.
ROWS: Final[tuple[tuple[str, Callable[[Sequence[Read]], str]], ...]] = (
    ("ran on", places),
    ("launch", lambda reads: median_ms([record.launch_us / 1e6 for record in records(reads)])),
    ("first byte", lambda reads: median_ms([one.first_byte for one in reads])),
    ("whole read", lambda reads: median_ms([one.whole for one in reads])),
    ("guest CPU", lambda reads: median_ms([record.outcome.usage.cpu_us / 1e6 for record in records(reads)])),
    ("bytes read on the node", lambda reads: f"{max(bytes_in(one) for one in reads):,}"),
    ("bytes that left it", lambda reads: f"{max(bytes_out(one) for one in reads):,}"),
)


def bytes_in(one: Read) -> int:
    return len(one.body) if one.record is None else one.record.outcome.usage.bytes_in


def bytes_out(one: Read) -> int:
    return len(one.body) if one.record is None else one.record.outcome.usage.bytes_out
