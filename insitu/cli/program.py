"""`insitu program`: the programs at hand."""

import click

from insitu.runtime.programs import SHIPPED, ProgramStore


@click.group()
def program() -> None:
    """The programs at hand."""


@program.command("list")
def list_() -> None:
    """The shipped programs, one line each."""
    found = ProgramStore().all()
    if not found:
        raise click.ClickException(f"no programs in {SHIPPED}; in a checkout, `make guests` builds them")
    width = max(len(info.name) for info in found)
    for info in found:
        click.echo(f"{info.name:{width}}  {info.summary}")
