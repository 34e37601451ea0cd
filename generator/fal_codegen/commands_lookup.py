"""The commands that look into a catalogue: `search`, `list` and `show`. On a terminal they draw, in a pipe they write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fal_codegen.catalog import CatalogError
from fal_codegen.console import clear_errors
from fal_codegen.project import find_project

if TYPE_CHECKING:
    from fal_codegen.generate import Row
    from fal_codegen.lookup import Catalogue, Member, Module

__all__ = ["list_", "search", "show"]

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_CATEGORY = click.option("--category", help="Only endpoints of this category, such as image-to-video.")
_TRAINING = click.option("--kind", type=click.Choice(["inference", "training"]), help="Only endpoints of this kind.")


@click.command()
@click.argument("words", nargs=-1, required=True)
@_CATEGORY
@_TRAINING
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many to print at most.")
@_JSON
def search(words: tuple[str, ...], category: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """Find endpoints by words of their ids, titles and categories: fal-bindings search image to video"""
    from fal_codegen.lookup import search as run
    from fal_codegen.lookup import shipped

    query = " ".join(words)
    with clear_errors():
        found = run(_chosen(shipped().rows, category, kind), query)
        if not found:
            raise CatalogError(f"no endpoint has any word of {query!r}; fal-bindings list prints all")
    _print_rows(found[:limit], as_json=as_json)
    if len(found) > limit:
        click.echo(f"{len(found) - limit} more; --limit {len(found)} prints them.", err=True)


@click.command("list")
@_CATEGORY
@_TRAINING
@click.option("--categories", is_flag=True, help="Print the categories instead, with how many endpoints each has.")
@_JSON
def list_(category: str | None, kind: str | None, categories: bool, as_json: bool) -> None:
    """Print the endpoints of this distribution's catalogue."""
    from fal_codegen.lookup import shipped

    with clear_errors():
        rows = _chosen(shipped().rows, category, kind)
    if categories:
        counts = _counts(rows)
        for name in sorted(counts):
            click.echo(
                json.dumps({"category": name, "endpoints": counts[name]}) if as_json else f"{counts[name]:5} {name}"
            )
    else:
        _print_rows(rows, as_json=as_json)


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.category or "(none)"] = counts.get(row.category or "(none)", 0) + 1
    return counts


def _chosen(rows: Sequence[Row], category: str | None, kind: str | None) -> list[Row]:
    chosen = [row for row in rows if category in (None, row.category) and kind in (None, row.kind)]
    if not chosen and category is not None:
        raise CatalogError(f"no such endpoint of category {category!r}; there are {', '.join(sorted(_counts(rows)))}")
    return chosen


def _print_rows(rows: Sequence[Row], *, as_json: bool) -> None:
    from fal_codegen.report import printable

    console = Console(highlight=False)
    if as_json:
        for row in rows:
            about = {"id": row.id, "module": row.module, "title": row.title, "category": row.category, "kind": row.kind}
            click.echo(json.dumps(about))
    elif console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("endpoint", style="cyan", overflow="fold")
        table.add_column("category", overflow="fold")
        table.add_column("title", overflow="ellipsis", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(printable(text)) for text in (row.id, row.category, row.title)))
        console.print(table)
    else:
        for row in rows:
            click.echo("\t".join(printable(text) for text in (row.id, row.category, row.title)))


@click.command()
@click.argument("name", metavar="ENDPOINT")
def show(name: str) -> None:
    """Print what an endpoint takes and gives: fal-bindings show fal-ai/flux/dev

    ENDPOINT is an id, or a module's name such as flux_dev. A project's own package is looked at first.
    """
    from fal_codegen.lookup import find, read_catalogue, read_module, shipped

    with clear_errors():
        project = find_project()
        own = read_catalogue(project.package, project.root) if project.file is not None else None
        catalogue, row = find([*([own] if own is not None else ()), shipped()], name)
        module = read_module(catalogue, row)
    console = Console(highlight=False)
    if console.is_terminal:
        _draw(console, catalogue, row, module)
    else:
        click.echo(_written(catalogue, row, module), nl=False)


def _calls(catalogue: Catalogue, row: Row, module: Module) -> list[str]:
    """How to import and call it."""
    owner, _, short = row.module.partition(".")
    required = [member.name for member in module.classes.get("Input", ()) if member.default is None]
    given = ", ".join(f"{name}=..." for name in required) or "..."
    verb = "subscribe" if "subscribe" in module.verbs else next(iter(module.verbs), "endpoint")
    others = [name for name in module.verbs if not name.endswith("_async") and name != verb]
    return [
        f"from {catalogue.package}.{owner} import {short}",
        f"output = {short}.{verb}({short}.Input({given}))  # also {', '.join(others)}",
    ]


def _typed(member: Member) -> str:
    return member.type if member.default is None else f"{member.type} = {member.default}"


def _told(member: Member) -> str:
    """A field's text without its default, which stands beside its type."""
    return member.doc.partition(" Default: ")[0] if not member.doc.startswith("Default: ") else ""


def _written(catalogue: Catalogue, row: Row, module: Module) -> str:
    from fal_codegen.report import printable

    lines = [printable(line) for line in module.doc.splitlines()]
    lines += ["", *_calls(catalogue, row, module)]
    for name, text in module.aliases.items():
        lines += ["", f"{name}: {text}"]
    for name, members in module.classes.items():
        lines += ["", f"{name}"]
        for member in members:
            lines.append(f"    {member.name}: {printable(_typed(member))}")
            if told := _told(member):
                lines.append(f"        {printable(told)}")
    return "\n".join(lines) + "\n"


def _draw(console: Console, catalogue: Catalogue, row: Row, module: Module) -> None:
    from fal_codegen.report import printable

    head, _, rest = module.doc.partition("\n\n")
    console.print(Text(printable(head), style="bold"))
    for paragraph in rest.split("\n\n"):
        console.print(Text(printable(paragraph)))
    console.print()
    for line in _calls(catalogue, row, module):
        console.print(Text(line, style="green"))
    for name, text in module.aliases.items():
        console.print()
        console.print(Text.assemble((name, "bold"), ": ", (printable(text), "cyan")))
    for name, members in module.classes.items():
        console.print()
        console.print(Text.assemble((name, "bold"), ("  " + printable(module.docs.get(name, "")), "dim")))
        for member in members:
            style = "bold" if member.default is None else ""
            head_line = Text.assemble((member.name, style), ": ", (printable(_typed(member)), "cyan"))
            console.print(Padding(head_line, (0, 0, 0, 4)))
            if told := _told(member):
                console.print(Padding(Text(printable(told), style="dim"), (0, 0, 0, 8)))
