"""The `fal-bindings` command."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fal_codegen.catalog import CatalogError
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.write import Changes, ForeignFiles
from fal_runtime import FalError
from fal_runtime.version import VERSION

_errors = Console(stderr=True, highlight=False, soft_wrap=True)

_SCHEMAS = click.option(
    "--schemas",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("generated/schemas"),
    show_default=True,
    help="The folder of schema documents and their lock.",
)
_OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("generated"),
    show_default=True,
    help="The folder that holds the package.",
)
_PACKAGE = click.option("--package", default="fal_endpoints", show_default=True, help="The package's name.")
_JOBS = click.option("--jobs", type=click.IntRange(min=1), help="Processes to use. Default: one for each processor.")
_COLD = click.option("--cold", is_flag=True, help="Generate every module anew, whatever is on disk.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def cli() -> None:
    """Typed Python bindings for fal endpoints: pull schemas, generate modules, find drift, try without a key."""


@cli.command()
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="URL|DIR|FILE",
    help="Where the catalogue is; more may follow. Default: the platform's API.",
)
@click.argument("more_sources", nargs=-1, metavar="")
@_SCHEMAS
@click.option("--facts-only", is_flag=True, help="Leave prose out: descriptions, titles, examples, long defaults.")
def pull(sources: tuple[str, ...], more_sources: tuple[str, ...], schemas: Path, facts_only: bool) -> None:
    """Bring the catalogue's schemas onto disk. What cannot be had keeps its last good state."""
    from fal_codegen.pull import DEFAULT_SOURCE
    from fal_codegen.pull import pull as run

    with _clear_errors("; nothing was changed"), _progress("Pulling") as advance:
        report = run((*sources, *more_sources) or (DEFAULT_SOURCE,), schemas, only_facts=facts_only, progress=advance)
    _print_diagnostics(report.diagnostics)
    if report.kept:
        click.echo(f"{len(report.kept)} endpoints known before are not listed now; they stay: {_some(report.kept)}")
    click.echo(
        f"Pulled {report.pulled} endpoints, {report.with_schema} with a schema, into {schemas}: {_summary(report.changes)}."
    )
    if any(diagnostic.fatal for diagnostic in report.diagnostics):
        sys.exit(1)


@cli.command()
@_SCHEMAS
@click.option(
    "--endpoints",
    multiple=True,
    metavar="GLOB",
    help="Only these, such as 'fal-ai/flux/*'; more may follow. Default: all.",
)
@click.argument("more_endpoints", nargs=-1, metavar="")
@_OUT
@_PACKAGE
@_JOBS
@_COLD
@click.option("--strict", is_flag=True, help="Exit with 1 if any document needed a repair.")
def generate(
    schemas: Path,
    endpoints: tuple[str, ...],
    more_endpoints: tuple[str, ...],
    out: Path,
    package: str,
    jobs: int | None,
    cold: bool,
    strict: bool,
) -> None:
    """Generate a package that holds a typed module for each chosen endpoint, and nothing else."""
    from fal_codegen.generate import carry_out, plan

    start = time.perf_counter()
    with _clear_errors(), _progress("Generating") as advance:
        root = out / _package_name(package)
        chosen = (*endpoints, *more_endpoints)
        result = plan(schemas, root, endpoints=chosen, jobs=jobs, cold=cold, progress=advance)
    fatal = [diagnostic for diagnostic in result.diagnostics if diagnostic.fatal]
    _print_diagnostics(result.diagnostics if strict else fatal)
    with _clear_errors():
        carry_out(result, schemas, root)
    repairs = len(result.diagnostics) - len(fatal)
    if repairs and not strict:
        click.echo(f"{repairs} repairs of documents; --strict lists them.")
    click.echo(
        f"Generated {result.modules} modules ({result.emitted} anew) in {time.perf_counter() - start:.1f} s "
        f"in {root}: {_summary(result.changes)}."
    )
    if fatal:
        click.echo(f"{len(fatal)} documents could not be made into a module.", err=True)
    if strict and result.diagnostics:
        sys.exit(1)


@cli.command()
@_SCHEMAS
@_OUT
@_PACKAGE
@_JOBS
@_COLD
def check(schemas: Path, out: Path, package: str, jobs: int | None, cold: bool) -> None:
    """Exit with 1 and a diff if what is there is not what would be generated. Works offline."""
    from fal_codegen.generate import check as run

    with _clear_errors():
        result, difference = run(schemas, out / _package_name(package), jobs=jobs, cold=cold)
    if not difference:
        click.echo(f"{result.modules} modules are what would be generated.")
        return
    click.echo(difference, nl=False)
    click.echo(
        f"What is there is not what would be generated: {_summary(result.changes)}. "
        "Run `fal-bindings generate` and commit the result.",
        err=True,
    )
    sys.exit(1)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, exists=True),
    help="A folder or file of endpoints to serve. Default: the catalogue of this distribution.",
)
def sandbox(host: str, port: int, catalog: Path | None) -> None:
    """Serve a stand-in for the platform on this machine: no key, no cost. Ctrl-C ends it."""
    from fal_sandbox import CatalogError as BadCatalog
    from fal_sandbox import Sandbox

    with _clear_errors(also=(BadCatalog,)):
        server = Sandbox(catalog, port, host=host)

        def announce(url: str) -> None:
            click.echo(f"The sandbox serves {len(server.catalog)} endpoints at {url}. To use it:\n")
            for name, value in server.environment().items():
                click.echo(f"export {name}={value}")
            click.echo("\nCtrl-C ends it.")

        server.serve(announce)


def _package_name(name: str) -> str:
    if not name.isidentifier():
        raise CatalogError(f"{name!r} cannot be a package's name; use letters, digits and '_'")
    return name


@contextmanager
def _clear_errors(effect: str = "", also: tuple[type[Exception], ...] = ()) -> Generator[None, None, None]:
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
def _progress(verb: str) -> Generator[Callable[[int, int], None], None, None]:
    """A progress bar on a terminal; nothing where the output is a file."""
    columns: Sequence[Any] = (TextColumn(verb), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=_errors, transient=True, disable=not _errors.is_terminal) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        click.echo(str(diagnostic), err=True)


def _summary(changes: Changes) -> str:
    if not changes:
        return "nothing changed"
    parts = (("added", changes.added), ("changed", changes.changed), ("removed", changes.removed))
    return ", ".join(f"{len(paths)} files {word}" for word, paths in parts if paths)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
