"""The commands that compare: `check`, `diff` and `changelog`.

Their exit codes say what a comparison found: 0 the same, 1 additive, 2 breaking, 3 could not tell. Whatever keeps them
from comparing is a 3 too, a wrong option included: no CI job shall take it for a verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fal_codegen.console import COLD, JOBS, OUT, PACKAGE, SCHEMAS, clear_errors, progress, summary
from fal_codegen.project import Project, find_project

if TYPE_CHECKING:
    from fal_codegen.diff import Report, Severity
    from fal_codegen.selection import Selection
    from fal_codegen.usage import Usage

__all__ = ["changelog", "check", "diff"]

_UNKNOWN = 3


class _CouldNotTellError(click.ClickException):
    exit_code = _UNKNOWN


class _WrongUsageError(click.UsageError):
    exit_code = _UNKNOWN


class _Comparing(click.Command):
    """A command for which a wrong option is no verdict: click's own exit code for it, 2, would say breaking."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _WrongUsageError(error.format_message(), error.ctx) from error


@contextmanager
def _could_not_tell() -> Generator[None, None, None]:
    """Clear errors, with the exit code for a comparison that could not be made."""
    try:
        with clear_errors():
            yield
    except click.ClickException as error:
        raise _CouldNotTellError(error.format_message()) from error


_OPTIONS = (
    click.option(
        "--format",
        "style",
        type=click.Choice(["table", "markdown", "json"]),
        default="table",
        show_default=True,
        help="A table for people (plain lines in a pipe), Markdown for a pull request, JSON for tools.",
    ),
    click.option(
        "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file instead of the screen."
    ),
    click.option(
        "--used-by",
        type=click.Path(path_type=Path),
        multiple=True,
        help="Only what the Python code below this path uses; more may follow.",
    ),
    click.option(
        "--defaults",
        type=click.Choice(["additive", "breaking"]),
        default="additive",
        show_default=True,
        help="What a changed default counts as. It breaks no code, and changes what code gets.",
    ),
)


def _comparison(function: Any) -> Any:
    """The options of every command that tells of a comparison."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_ENDPOINTS = click.option(
    "--endpoints",
    multiple=True,
    metavar="GLOB",
    help="Only these, such as 'fal-ai/flux/*'. Default: the project's choice, or else all.",
)


@click.command(cls=_Comparing)
@click.argument("old")
@click.argument("new", required=False)
@_ENDPOINTS
@_comparison
def diff(old: str, new: str | None, endpoints: tuple[str, ...], **options: Any) -> None:
    """Tell what changed in the schemas from OLD to NEW, and whom it breaks.

    OLD and NEW are folders of schemas or their locks, such folders in git (HEAD:generated/schemas), or whatever pull
    takes. Without NEW, it is the project's own schemas.

    \b
    Exit codes: 0  the same, or only texts changed
                1  additive: what was right stays right (a changed default too, see --defaults)
                2  breaking: a call, or the reading of a result, can fail
                3  could not tell: a source or a document cannot be read
    """
    with _could_not_tell():
        project = find_project().changed(endpoints=endpoints or None)
        report = compare(old, new or str(project.schemas), project.selection)
        tell(report, project, **options)


@click.command(cls=_Comparing)
@click.argument("old")
@click.argument("new", required=False)
@_ENDPOINTS
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
def changelog(old: str, new: str | None, endpoints: tuple[str, ...], output: Path | None) -> None:
    """Write what happened to the catalogue from OLD to NEW (see diff), in Markdown."""
    with _could_not_tell():
        from fal_codegen.report import as_changelog

        project = find_project().changed(endpoints=endpoints or None)
        _write(as_changelog(compare(old, new or str(project.schemas), project.selection)), output)


@click.command(cls=_Comparing)
@SCHEMAS
@OUT
@PACKAGE
@JOBS
@COLD
@click.option("--against", metavar="STATE", help="Compare the pinned schemas with this state too, as diff does.")
@_comparison
def check(
    schemas: Path | None,
    out: Path | None,
    package: str | None,
    jobs: int | None,
    cold: bool,
    against: str | None,
    **options: Any,
) -> None:
    """Tell whether the package is what would be generated from its schemas. Works offline.

    With --against https://api.fal.ai/v1, or any other state that diff takes, tell too what changes when the schemas
    become those; the exit code is the worse one.

    \b
    Exit codes: 0  as it would be generated
                1  it is not, and the difference is shown; or the other schemas are additive
                2  the other schemas are breaking
                3  could not tell: there is no package, or a source or a document cannot be read
    """
    from fal_codegen.generate import check as run
    from fal_codegen.overrides import load_overrides

    if against is None and (options["used_by"] or options["output"]):
        raise _WrongUsageError("--used-by and --output are for the comparison that --against asks for")
    with _could_not_tell():
        project = find_project().changed(schemas=schemas, out=out, package=package)
        own = project.file is not None
        selection = project.selection if own else None
        overrides = load_overrides(project.overrides)
        result, difference = run(
            project.schemas,
            project.root,
            selection=selection,
            models=project.models if own else None,
            overrides=overrides,
            jobs=jobs,
            cold=cold,
        )
        if difference:
            click.echo(difference, nl=False)
            click.echo(
                f"What is there is not what would be generated: {summary(result.changes)}. "
                "Run `fal-bindings generate` and commit the result.",
                err=True,
            )
        else:
            click.echo(f"{result.modules} modules are what would be generated.", err=against is not None)
        if against is not None:
            report = compare(str(project.schemas), against, selection)
            tell(report, project, at_least=1 if difference else 0, **options)
    sys.exit(1 if difference else 0)


def compare(old: str, new: str, selection: Selection | None) -> Report:
    """Read two states of the catalogue and compare them."""
    from fal_codegen.diff import compare_snapshots
    from fal_codegen.snapshot import read_snapshot

    with progress("Reading") as advance:
        before, after = (read_snapshot(source, selection, advance) for source in (old, new))
        return compare_snapshots(before.beside(after), after.beside(before))


def tell(
    report: Report,
    project: Project,
    *,
    style: str,
    output: Path | None,
    used_by: Sequence[Path],
    defaults: Severity,
    at_least: int = 0,
) -> None:
    """Print a comparison and end with its exit code.

    Args:
        report: The comparison.
        project: Whose package the code base may import.
        style: `table`, `markdown` or `json`.
        output: The file to write to.
        used_by: The code base to limit it to.
        defaults: What a changed default counts as.
        at_least: The exit code of what was found beside it.
    """
    from rich.console import Console

    from fal_codegen.report import Verdict, as_json, as_lines, as_markdown, print_table

    usage = _usage(report, project, used_by) if used_by else None
    limited = _limited(report, usage) if usage is not None else report
    verdict = Verdict(limited, defaults, usage, ", ".join(map(str, used_by)))
    console = Console(highlight=False)
    if style == "table" and output is None and console.is_terminal:
        print_table(verdict, console)
    else:
        texts = {"table": as_lines, "markdown": as_markdown, "json": as_json}
        _write(texts[style](verdict), output)
    for file in usage.unreadable if usage is not None else ():
        click.echo(f"not read: {file}", err=True)
    sys.exit(max(verdict.exit_code, at_least))


def _usage(report: Report, project: Project, paths: Sequence[Path]) -> Usage:
    from fal_codegen.usage import find_usage

    by_module = {module: id_ for id_, module in report.modules.items()}
    packages = dict.fromkeys((project.package, "fal_endpoints"), by_module)
    return find_usage(paths, report.modules, packages)


def _limited(report: Report, usage: Usage) -> Report:
    from fal_codegen.usage import affects

    return replace(report, changes=tuple(each for each in report.changes if affects(each, usage)))


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
