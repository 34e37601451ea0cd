"""The `fal-bindings` command."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fal_codegen import commands, serve
from fal_codegen.console import COLD, JOBS, OUT, PACKAGE, SCHEMAS, clear_errors, summary
from fal_codegen.project import find_project
from fal_runtime.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def cli() -> None:
    """Typed Python bindings for fal endpoints: pull schemas, generate modules, find drift, try without a key."""


for command in (commands.pull, commands.generate, commands.add, commands.remove, serve.sandbox):
    cli.add_command(command)


@cli.command()
@SCHEMAS
@OUT
@PACKAGE
@JOBS
@COLD
def check(schemas: Path | None, out: Path | None, package: str | None, jobs: int | None, cold: bool) -> None:
    """Exit with 1 and a diff if what is there is not what would be generated. Works offline."""
    from fal_codegen.generate import check as run

    with clear_errors():
        project = find_project().changed(schemas=schemas, out=out, package=package)
        selection = project.selection if project.file is not None else None
        result, difference = run(project.schemas, project.root, selection=selection, jobs=jobs, cold=cold)
    if not difference:
        click.echo(f"{result.modules} modules are what would be generated.")
        return
    click.echo(difference, nl=False)
    click.echo(
        f"What is there is not what would be generated: {summary(result.changes)}. "
        "Run `fal-bindings generate` and commit the result.",
        err=True,
    )
    sys.exit(1)
