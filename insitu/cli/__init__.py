"""The `insitu` command. Each subcommand is a module of its own, imported only when it is asked for."""

# ruff: noqa: E402 - Ctrl-C comes first: while all else is imported it ends us as it ends any command. Not through
# `signal`, whose import takes a while itself. Who only imports us, and is not the command, keeps its own.
import _signal  # type: ignore[import-not-found]  # what `signal` is made of
import os
import sys

_SPEC = getattr(sys.modules.get("__main__"), "__spec__", None)
_NAME = os.path.basename(sys.argv[0]) if _SPEC is None else _SPEC.name
_OUR_OWN_PROCESS = _NAME in ("insitu", "insitu.__main__") and (
    _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler  # and not ignored
)
if _OUR_OWN_PROCESS:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import fcntl
import importlib
from typing import Final

import click

import insitu

# Subcommand → its module and one line of help: `insitu --help` imports none of them.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("insitu.cli.run", "Run one program on a local file, without any server."),
    "replay": ("insitu.cli.replay", "Run a recorded run again, and tell what differs."),
    "program": ("insitu.cli.program", "The programs at hand."),
    "job": ("insitu.cli.job", "Pipelines over many objects."),
    "cluster": ("insitu.cli.cluster", "A real Swift on this machine, for hands-on use."),
    "node": ("insitu.cli.node", "The daemon of a storage node, and questions to it."),
    "demo": ("insitu.cli.demo", "A photo watermarked on its storage node, start to end."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[name][0]), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(insitu.__version__, prog_name="insitu")
def _insitu() -> None:
    """Programs go to the data: small WebAssembly programs, run on the storage node that holds the bytes."""


def main() -> None:
    """The entry point. Exits 2 for a user's mistake, 130 on Ctrl-C; other codes are the subcommand's own."""
    _fill_standard_descriptors()
    try:
        _hear_interrupts()
        code = _insitu.main(prog_name="insitu", standalone_mode=False)
        if sys.stdout is not None:  # it is when it was closed from the start
            sys.stdout.flush()  # here, where a full disk can still be told
    except (click.exceptions.Abort, KeyboardInterrupt):
        _end_on_interrupts()
        click.echo("interrupted", err=True)
        code = 130
    except click.ClickException as why:
        why.show()
        code = why.exit_code
    except click.exceptions.Exit as why:
        code = why.exit_code
    except BrokenPipeError:
        # Whoever read our output went away: nothing is left to say, and nowhere to say it.
        sys.stdout = None
        code = 141
    except OSError as why:
        if why.filename is not None:
            raise  # not about our output: somebody forgot to name it
        sys.stdout = None
        say(f"insitu: cannot write the output: {(why.strerror or str(why)).lower()}")
        code = 1
    _end_on_interrupts()
    sys.exit(code if isinstance(code, int) else 0)


def _hear_interrupts() -> None:
    """From here on Ctrl-C is an exception, and is told."""
    if _OUR_OWN_PROCESS:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _end_on_interrupts() -> None:
    """All is said: Ctrl-C just ends what is left, which is Python's own end."""
    if _OUR_OWN_PROCESS:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def say(text: str) -> None:
    """A line on stderr. Where nobody can hear it, it is not worth failing for."""
    try:
        click.echo(text, err=True)
    except OSError:
        sys.stderr = None


def printable(text: str) -> str:
    """On one line, and no order to the terminal: names and words come from strangers and their programs."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _fill_standard_descriptors() -> None:
    """A standard descriptor that was closed by our parent would become the first file that we open: what a guest reads
    as its input, or writes over. Each becomes a pipe that nobody holds the other end of: it reads as
    ended, and no write to it succeeds."""
    for fd, end in ((0, 0), (1, 1), (2, 1)):
        try:
            os.fstat(fd)
        except OSError:
            pipe = os.pipe()
            kept = fcntl.fcntl(pipe[end], fcntl.F_DUPFD_CLOEXEC, 3)
            for either in pipe:
                os.close(either)
            os.dup2(kept, fd)
            os.close(kept)
