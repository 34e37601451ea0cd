"""The command that reports on the quality of a catalogue's documents: `doctor`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fal_codegen.console import SCHEMAS, clear_errors
from fal_codegen.diagnostics import CODES
from fal_codegen.project import find_project

if TYPE_CHECKING:
    from fal_codegen.doctor import Health

__all__ = ["doctor"]


@click.command()
@SCHEMAS
@click.option(
    "--endpoints", multiple=True, metavar="GLOB", help="Only these. Default: the project's choice, or else all."
)
@click.option(
    "--code", "codes", multiple=True, type=click.Choice(sorted(CODES)), help="List the findings of this code."
)
@click.option("--all", "everything", is_flag=True, help="List every finding.")
@click.option("--json", "as_json", is_flag=True, help="Write everything as JSON.")
@click.option("--strict", is_flag=True, help="Exit with 1 on any finding.")
def doctor(
    schemas: Path | None,
    endpoints: tuple[str, ...],
    codes: tuple[str, ...],
    everything: bool,
    as_json: bool,
    strict: bool,
) -> None:
    """Report on the quality of the schemas: what is wrong with them, and which overrides are not needed any more.

    Works offline. Exits with 1 if an override needs attention.
    """
    from fal_codegen.doctor import examine
    from fal_codegen.overrides import Overrides, load_overrides

    with clear_errors():
        project = find_project().changed(schemas=schemas, endpoints=endpoints or None)
        overrides = load_overrides(project.overrides)
        # Those that come with the generator are for the whole catalogue, and a project has only some of it.
        shipped = load_overrides().items if project.file is not None or endpoints else ()
        own = Overrides(overrides.items[len(shipped) :])
        health = examine(project.schemas, overrides, own, project.selection)
    if as_json:
        counts = {name: value for name, value in asdict(health).items() if isinstance(value, int)}
        findings = [asdict(finding) for finding in health.findings]
        click.echo(json.dumps({**counts, "findings": findings}, indent=2))
    else:
        _print(health, set(CODES) if everything else set(codes))
    if health.stale or (strict and health.findings):
        sys.exit(1)


def _print(health: Health, listed: set[str]) -> None:
    from fal_codegen.doctor import by_code
    from fal_codegen.report import counted, printable

    share = _share
    click.echo(f"{counted(health.endpoints, 'endpoint')}, {health.documents} with a document")
    click.echo(f"{health.input_fields} fields of inputs, {health.output_fields} of outputs; of both")
    click.echo(f"  {share(health.bounded_fields, health.fields)} have an enum, a bound or a pattern")
    click.echo(f"  {share(health.described_fields, health.fields)} have a text of their own")
    click.echo(f"  {share(health.open_fields, health.fields)} take or give anything somewhere")
    for code, findings in by_code(health.findings).items():
        places = len({finding.endpoint_id for finding in findings})
        click.echo(f"\n{code}: {CODES[code]}: {len(findings)} in {counted(places, 'endpoint')}")
        shown = code in listed or code in {finding.code for finding in health.stale}
        for finding in findings if shown else ():
            click.echo(f"  {printable(str(finding))}")
    if not health.findings:
        click.echo("\nNothing is wrong with them.")
    elif not listed:
        click.echo("\n--all lists every finding, --code those of one kind.")


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f} %)" if whole else str(part)
