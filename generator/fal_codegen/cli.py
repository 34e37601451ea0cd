"""The `fal-bindings` command."""

from __future__ import annotations

import click

from fal_codegen import call, commands, commands_compare, commands_doctor, commands_lookup, serve
from fal_codegen.migrate import command as migration
from fal_runtime.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def cli() -> None:
    """Typed Python bindings for fal endpoints: pull schemas, generate modules, find drift, try without a key."""


for command in (
    commands.pull,
    commands.generate,
    commands.add,
    commands.remove,
    commands_compare.check,
    commands_compare.diff,
    commands_compare.changelog,
    commands_doctor.doctor,
    commands_lookup.search,
    commands_lookup.list_,
    commands_lookup.show,
    call.call,
    serve.sandbox,
    migration.migrate,
):
    cli.add_command(command)
