"""`insitu job`: pipelines over many objects. Heavy libraries are imported only once the words are understood."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from insitu.jobs.engine import Job
    from insitu.jobs.store import Store

_F = TypeVar("_F", bound=Callable[..., Any])

# The swift command's own options, by swiftclient's names for them; each also has the environment variable it has there.
_CONNECTION: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (("-A", "--auth"), "auth", "URL to ask for a token.  [env: ST_AUTH]"),
    (("-U", "--user"), "user", "User name.  [env: ST_USER]"),
    (("-K", "--key"), "key", "The user's key.  [env: ST_KEY]"),
    (("-V", "--auth-version"), "auth_version", "1.0 (the default), 2.0 or 3.  [env: ST_AUTH_VERSION]"),
    (("--os-auth-url",), "os_auth_url", "[env: OS_AUTH_URL]"),
    (("--os-username",), "os_username", "[env: OS_USERNAME]"),
    (("--os-password",), "os_password", "[env: OS_PASSWORD]"),
    (("--os-project-name",), "os_project_name", "[env: OS_PROJECT_NAME]"),
    (("--os-project-domain-name",), "os_project_domain_name", "[env: OS_PROJECT_DOMAIN_NAME]"),
    (("--os-user-domain-name",), "os_user_domain_name", "[env: OS_USER_DOMAIN_NAME]"),
    (("--os-region-name",), "os_region_name", "[env: OS_REGION_NAME]"),
    (("--os-auth-token",), "os_auth_token", "[env: OS_AUTH_TOKEN]"),
    (("--os-storage-url",), "os_storage_url", "[env: OS_STORAGE_URL]"),
    (("--os-cacert",), "os_cacert", "[env: OS_CACERT]"),
)

_SET: Final = "Change one value of the spec, such as input.container=texts; container alone is short for that."
_SPOOL: Final = "Where partitions and results lie meanwhile.  [default: the system's place for temporary files]"
_DIRECTORY: Final = click.Path(file_okay=False, exists=True, writable=True, path_type=Path)


class _Mistake(click.ClickException):
    """The user's: nothing was started."""

    exit_code = 2


def _connection(command: _F) -> _F:
    """Adds the connection options; they arrive as the command's `**connection`."""
    command = click.option("--insecure", is_flag=True, help="Do not verify the server's certificate.")(command)
    for names, target, text in reversed(_CONNECTION):
        command = click.option(*names, target, metavar="TEXT", help=text)(command)
    return command


@click.group()
def job() -> None:
    """Pipelines over many objects: a program on each input, a program on what they gave.

    The storage is reached as the swift command reaches it: with -A, -U and -K, or ST_AUTH, ST_USER and ST_KEY, or the
    OS_* variables.
    """


@job.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help=_SET)
@click.option("--allow-failures", is_flag=True, help="Store the results even if some inputs failed (on_failure: skip).")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON; - for stdout.")
@click.option("--spool", type=_DIRECTORY, metavar="DIR", help=_SPOOL)
@_connection
def run(
    spec: Path,
    changes: tuple[str, ...],
    allow_failures: bool,
    json_file: str | None,
    spool: Path | None,
    **connection: str | bool | None,
) -> int:
    """Run the job that the YAML file SPEC describes.

    Exit code: 0 all inputs were counted and the results stored; 1 something failed: it is listed, and no results are
    stored (--allow-failures stores those of the other inputs); 2 a mistake in the request, nothing was started; 130 or
    143 ended by a signal. Temporary objects are removed in all of these.
    """
    if json_file not in (None, "-") and not os.access(Path(json_file or "").parent, os.W_OK):
        raise _Mistake(f"--json {json_file}: its directory does not exist or cannot be written to")
    with _users_mistakes():
        from insitu.jobs import engine, progress
        from insitu.jobs import spec as specs
        from insitu.jobs.errors import JobError

        wanted = specs.load(spec, (*changes, *(["on_failure=skip"] if allow_failures else [])))
        observer = progress.for_stream()
        this = engine.Job(wanted, _store(connection), observer, spool)
        report = this.report
        signals = _Signals(this)
        try:
            with signals:
                this.prepare()
                signals.running = True
                this.run()
        except KeyboardInterrupt:
            if not signals.running:
                raise
            # A second Ctrl-C: whoever sends it does not want to wait for the temporaries to be removed.
            report.verdict = "cancelled"
        except JobError as why:
            if not signals.running:
                raise
            report.verdict = "failed"
            click.echo(f"insitu job: {why}", err=True)
        finally:
            observer.close()
        report.signal = signals.number
        for line in report.failure_lines():
            click.echo(line, err=True)
        for line in report.summary():
            click.echo(line, err=json_file == "-")
        if json_file is not None:
            _write_json(json_file, report.as_json())
        return report.exit_code


@job.command()
@click.argument("job_ids", metavar="[JOB…]", nargs=-1)
@click.option("--container", default=".insitu-jobs", show_default=True, help="Where the spec put temporary objects.")
@_connection
def clean(job_ids: tuple[str, ...], container: str, **connection: str | bool | None) -> int:
    """List the temporary objects that killed jobs left behind; with their ids, remove them.

    A job that runs at this moment is listed as well: it removes its own at its end. What nobody removes, the storage
    drops a week after it was stored.
    """
    with _users_mistakes():
        from insitu.jobs import clean as cleaning
        from insitu.jobs.names import shown

        store = _store(connection)
        store.connect()
        try:
            if job_ids:
                click.echo(f"{cleaning.remove(store, container, job_ids)} temporary objects removed")
                return 0
            found = cleaning.leftovers(store, container)
            for job_id, count in sorted(found.items()):
                click.echo(f"{shown(job_id)}  {count} temporary objects")
            if not found:
                click.echo("no temporary objects")
            return 0
        finally:
            store.close()


def _store(connection: dict[str, str | bool | None]) -> "Store":
    from insitu.jobs import store

    return store.from_environment(connection)


def _write_json(target: str, tree: dict[str, Any]) -> None:
    text = json.dumps(tree, indent=2) + "\n"
    if target == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as why:
        raise click.ClickException(f"--json {target}: {(why.strerror or str(why)).lower()}") from None


class _Signals:
    """While a job runs, Ctrl-C and SIGTERM ask it to end in order; before and at the second time, they interrupt."""

    def __init__(self, this: "Job") -> None:
        self._job = this
        self._before: dict[int, Any] = {}
        self.running = False
        self.number = int(signal.SIGINT)
        self._asked = False

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if not self.running or self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # Straight to the descriptor: the signal may have come in the middle of a write to the buffered stream.
        os.write(2, b"ending the job and removing its temporary objects; once more to leave them\n")
        self._job.cancel()


@contextmanager
def _users_mistakes() -> Iterator[None]:
    """Mistakes become one clear line and exit code 2; so does an installation without the libraries jobs need."""
    from insitu.jobs.errors import JobError, UserError

    try:
        yield
    except ModuleNotFoundError as why:
        if (why.name or "").partition(".")[0] not in ("swiftclient", "msgspec", "yaml", "rich", "requests"):
            raise
        raise _missing(why) from None
    except JobError as why:
        raise (_Mistake if isinstance(why, UserError) else click.ClickException)(str(why)) from None


def _missing(why: ModuleNotFoundError) -> click.ClickException:
    return _Mistake(f"{why.name} is not installed; jobs need: {sys.executable} -m pip install 'insitu[jobs]'")
