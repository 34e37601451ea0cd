"""What the commands share: options, clear errors, progress, and how changes are told."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fal_codegen.diagnostics import CatalogError, Diagnostic
from fal_codegen.write import Changes, ForeignFiles
from fal_runtime import FalError

__all__ = [
    "COLD",
    "JOBS",
    "OUT",
    "PACKAGE",
    "SCHEMAS",
    "clear_errors",
    "print_diagnostics",
    "progress",
    "some",
    "summary",
]

SCHEMAS = click.option(
    "--schemas",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of schema documents and their lock. Default: the project's, or else generated/schemas.",
)
OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that holds the package. Default: the project's, or else generated.",
)
PACKAGE = click.option(
    "--package", help="The package's name, which may have dots. Default: the project's, or else fal_endpoints."
)
JOBS = click.option("--jobs", type=click.IntRange(min=1), help="Processes to use. Default: one for each processor.")
COLD = click.option("--cold", is_flag=True, help="Generate every module anew, whatever is on disk.")


@contextmanager
def clear_errors(effect: str = "", also: tuple[type[Exception], ...] = ()) -> Generator[None, None, None]:
    """Turn what can go wrong into one message, with what it means for the files on disk, and exit code 1."""
    expected: tuple[type[Exception], ...] = (CatalogError, ForeignFiles, FalError, ModuleNotFoundError, *also)
    try:
        yield
    except expected as error:
        raise click.ClickException(f"{error}{effect}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror or error}{effect}") from error


@contextmanager
def progress(verb: str) -> Generator[Callable[[int, int], None], None, None]:
    """A progress bar on a terminal; nothing where the output is a file."""
    # Here, for not every command has a bar, nor is installed with what draws one.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns: Sequence[Any] = (TextColumn(verb), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    """Print each on a line of its own, where errors go."""
    for diagnostic in diagnostics:
        click.echo(str(diagnostic), err=True)


def summary(changes: Changes) -> str:
    """What was done to files, in a few words."""
    if not changes:
        return "nothing changed"
    parts = (("added", changes.added), ("changed", changes.changed), ("removed", changes.removed))
    return ", ".join(f"{len(paths)} files {word}" for word, paths in parts if paths)


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
