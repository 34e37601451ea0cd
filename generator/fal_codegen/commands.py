"""The commands that bring endpoints into a project: `pull`, `generate`, `add` and `remove`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fal_codegen.catalog import CatalogError
from fal_codegen.console import (
    COLD,
    JOBS,
    OUT,
    PACKAGE,
    SCHEMAS,
    clear_errors,
    print_diagnostics,
    progress,
    some,
    summary,
)
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.project import Project, edit_project, find_project, read_project

if TYPE_CHECKING:
    from fal_codegen.pull import PullReport

__all__ = ["add", "generate", "pull", "remove"]

_ENDPOINTS = click.option(
    "--endpoints",
    multiple=True,
    metavar="GLOB",
    help="Only these, such as 'fal-ai/flux/*'; more may follow. Default: the project's choice, or else all.",
)
_MORE_ENDPOINTS = click.argument("more_endpoints", nargs=-1, metavar="")
_MODELS = click.option(
    "--models",
    type=click.Choice(["msgspec", "pydantic"]),
    help="What the types are. Default: the project's, or else msgspec.",
)
_CACHE = click.option("--cache/--no-cache", default=True, show_default=True, help="Ask only for what has changed.")


@click.command()
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="URL|DIR|FILE",
    help="Where the catalogue is; more may follow. Default: the project's, or else the platform's API.",
)
@click.argument("more_sources", nargs=-1, metavar="")
@click.option(
    "--app",
    "apps",
    multiple=True,
    metavar="OWNER/NAME=URL|FILE",
    help="The OpenAPI document of an app that is in no catalogue. Each path that can be called becomes an endpoint.",
)
@_ENDPOINTS
@click.option("--category", help="Only endpoints of this category.")
@click.option("--status", type=click.Choice(["active", "deprecated"]), help="Only endpoints of this status.")
@SCHEMAS
@click.option("--facts-only", is_flag=True, help="Leave prose out: descriptions, titles, examples, long defaults.")
@click.option("--confirm-missing", is_flag=True, help="What a listing lacks is gone, without a second pull.")
@_CACHE
def pull(
    sources: tuple[str, ...],
    more_sources: tuple[str, ...],
    apps: tuple[str, ...],
    endpoints: tuple[str, ...],
    category: str | None,
    status: str | None,
    schemas: Path | None,
    facts_only: bool,
    confirm_missing: bool,
    cache: bool,
) -> None:
    """Bring the catalogue's schemas onto disk. What cannot be had keeps its last good state."""
    with clear_errors():
        project = find_project().changed(
            source=(*sources, *more_sources) or None,
            apps=dict(map(_app, apps)) or None,
            endpoints=endpoints or None,
            schemas=schemas,
        )
    filters = {name: value for name, value in (("category", category), ("status", status)) if value is not None}
    named = bool(sources or more_sources or endpoints or filters)
    report = _pull(
        project,
        filters=filters,
        # What the table chooses is all that the folder holds; what a command line names is added to it.
        only_chosen=project.file is not None and not named and not apps,
        only_apps=bool(apps) and not named,
        only_facts=facts_only,
        confirm_missing=confirm_missing,
        cached=cache,
    )
    if any(diagnostic.fatal for diagnostic in report.diagnostics):
        sys.exit(1)


def _app(text: str) -> tuple[str, str]:
    app, equals, where = text.partition("=")
    if not equals or not where or app.count("/") != 1:
        raise click.BadParameter("an app looks like owner/name=https://host/openapi.json, or =FILE", param_hint="--app")
    return app, where


def _pull(project: Project, *, cached: bool, only_apps: bool = False, **options: Any) -> PullReport:
    from fal_codegen.cache import default_folder
    from fal_codegen.pull import default_source
    from fal_codegen.pull import pull as run
    from fal_codegen.sources import Source

    with clear_errors("; nothing was changed"), progress("Pulling") as advance:
        catalogues = [Source(where) for where in project.source] or [default_source()]
        apps = [Source(where, app) for app, where in project.apps.items()]
        report = run(
            apps if only_apps else [*catalogues, *apps],
            project.schemas,
            selection=project.selection,
            cache=default_folder() if cached else None,
            progress=advance,
            **options,
        )
    _tell(report, project.schemas)
    return report


def _tell(report: PullReport, schemas: Path) -> None:
    print_diagnostics(report.diagnostics)
    for names, what in (
        (report.kept, "endpoints known before are not listed now; they stay"),
        (report.missing, "endpoints are missing from the listing; a second pull, or --confirm-missing, makes tombstones of them"),
        (report.tombstones, "endpoints are gone from the platform; their modules say so"),
        (report.dropped, "endpoints are not chosen any more; their documents went"),
    ):  # fmt: skip
        if names:
            click.echo(f"{len(names)} {what}: {some(names)}")
    click.echo(
        f"Pulled {report.pulled} endpoints, {report.with_schema} with a schema, into {schemas}: {summary(report.changes)}."
    )


@click.command()
@SCHEMAS
@_ENDPOINTS
@_MORE_ENDPOINTS
@OUT
@PACKAGE
@_MODELS
@JOBS
@COLD
@click.option("--offline", is_flag=True, help="Take nothing but what the lock names: same documents, same tools.")
@click.option("--strict", is_flag=True, help="Exit with 1 if any document needed a repair.")
def generate(
    schemas: Path | None,
    endpoints: tuple[str, ...],
    more_endpoints: tuple[str, ...],
    out: Path | None,
    package: str | None,
    models: str | None,
    jobs: int | None,
    cold: bool,
    offline: bool,
    strict: bool,
) -> None:
    """Generate a package that holds a typed module for each chosen endpoint, and nothing else."""
    with clear_errors():
        project = find_project().changed(
            schemas=schemas, endpoints=(*endpoints, *more_endpoints) or None, out=out, package=package, models=models
        )
    if _generate(project, jobs=jobs, cold=cold, pinned=offline, strict=strict) and strict:
        sys.exit(1)


def _generate(project: Project, *, strict: bool = False, **options: Any) -> Sequence[Diagnostic]:
    from fal_codegen.generate import carry_out, plan
    from fal_codegen.overrides import load_overrides

    start = time.perf_counter()
    with clear_errors(), progress("Generating") as advance:
        result = plan(
            project.schemas,
            project.root,
            selection=project.selection,
            models=project.models,
            overrides=load_overrides(project.overrides),
            package=project.package,
            progress=advance,
            **options,
        )
    fatal = [diagnostic for diagnostic in result.diagnostics if diagnostic.fatal]
    print_diagnostics(result.diagnostics if strict else fatal)
    with clear_errors():
        carry_out(result, project.schemas, project.root)
    repairs = len(result.diagnostics) - len(fatal)
    if repairs and not strict:
        click.echo(f"{repairs} repairs of documents; --strict lists them.")
    gone = f" and {result.tombstones} tombstones" if result.tombstones else ""
    click.echo(
        f"Generated {result.modules} modules ({result.emitted} anew){gone} in {time.perf_counter() - start:.1f} s "
        f"in {project.root}: {summary(result.changes)}."
    )
    if fatal:
        click.echo(f"{len(fatal)} documents could not be made into a module.", err=True)
    return result.diagnostics


@click.command()
@click.argument("patterns", nargs=-1, required=True, metavar="GLOB...")
@SCHEMAS
@OUT
@PACKAGE
@_MODELS
@_CACHE
def add(patterns: tuple[str, ...], cache: bool, **settings: object) -> None:
    """Choose more endpoints for the project of the nearest pyproject.toml, pull them and generate their modules.

    What is said about the package is written down there too. Without a pyproject.toml, one is made.
    """
    given = {name: str(value) for name, value in settings.items() if value is not None}
    with clear_errors("; nothing was changed"):
        file = find_project().file or Path("pyproject.toml")
        text = edit_project(file, add=patterns, settings=given)
        project = read_project(file, text) or Project()
    report = _pull(project, only_chosen=True, cached=cache)
    _write(file, text)
    _generate(project)
    if any(diagnostic.fatal for diagnostic in report.diagnostics):
        sys.exit(1)


@click.command()
@click.argument("patterns", nargs=-1, required=True, metavar="GLOB...")
def remove(patterns: tuple[str, ...]) -> None:
    """Choose endpoints no more: their documents and modules go, tombstones too. Needs no network."""
    from fal_codegen.lock import read_lock
    from fal_codegen.pull import drop

    with clear_errors("; nothing was changed"):
        before = find_project()
        if before.file is None:
            raise CatalogError("no pyproject.toml here has a table [tool.fal-bindings]")
        rows = read_lock(before.schemas)
        text = edit_project(before.file, remove=patterns, known=rows)
        project = read_project(before.file, text) or Project()
        dropped = [id_ for id_ in rows if id_ not in project.selection]
        if len(dropped) == len(rows):
            raise CatalogError("that would leave no endpoint; to end it, delete the package, the schemas and the table")
        drop(project.schemas, dropped)
        _write(before.file, text)
    click.echo(f"Removed {len(dropped)} endpoints: {some(dropped)}." if dropped else "No endpoint was removed.")
    _generate(project)


def _write(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.new")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
