"""The `fal-bindings` command."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from fal_runtime.version import VERSION

_COMMANDS: Mapping[str, str] = {
    "add": "commands",
    "call": "call",
    "changelog": "commands_compare",
    "check": "commands_compare",
    "diff": "commands_compare",
    "doctor": "commands_doctor",
    "generate": "commands",
    "list": "commands_lookup",
    "migrate": "migrate.command",
    "pull": "commands",
    "remove": "commands",
    "sandbox": "serve",
    "search": "commands_lookup",
    "show": "commands_lookup",
}
"""The modules of the commands."""

_EXTRAS: Mapping[str, str] = {"migrate": "migrate", "sandbox": "sandbox"}
"""The extras that bring what a command needs, where that is not `generator`."""


class _Commands(click.Group):
    """Commands that are loaded when they are named, so that each needs no more than its own extra brings."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        try:
            module = importlib.import_module(f"fal_codegen.{_COMMANDS[cmd_name]}")
        except ModuleNotFoundError as error:
            return _lacking(cmd_name, error)
        command: click.Command = getattr(module, "list_" if cmd_name == "list" else cmd_name)
        return command


class _LackingError(click.ClickException):
    exit_code = 3  # "could not tell", for the commands that compare: a job in CI may let 1 and 2 pass


def _lacking(name: str, error: ModuleNotFoundError) -> click.Command:
    """A command that only says which extra it needs, whatever its options."""
    extra = f"fal-bindings[{_EXTRAS.get(name, 'generator')}]"

    def fail(**_: Any) -> None:
        raise _LackingError(f"{error.name} is not installed; run: pip install '{extra}'")

    return click.Command(
        name,
        callback=fail,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=f"Needs {extra}.",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def cli() -> None:
    """Typed Python bindings for fal endpoints: pull schemas, generate modules, find drift, try without a key."""
