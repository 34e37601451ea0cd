"""`fal-bindings migrate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["migrate"]


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path, exists=True))
@click.option("--write", is_flag=True, help="Write the files. Without it, nothing is written and the diff is printed.")
@click.option(
    "--package", default="fal_endpoints", show_default=True, help="The package of generated modules to call instead."
)
@click.option(
    "--untyped",
    is_flag=True,
    help="Turn calls of endpoints that have no module, or are known only at run time, into untyped calls as well.",
)
def migrate(paths: tuple[Path, ...], write: bool, package: str, untyped: bool) -> None:
    """Turn calls of fal_client into typed calls, in files and in all Python files of folders.

    A call becomes a typed one where its endpoint and all that is done with its result are understood; where only the
    result goes its own way, an untyped one with the same dicts. What stays is reported with the reason, as
    FILE:LINE: kept: ...; a rewritten line that behaves differently, as FILE:LINE: note: ...

    The diff goes to the standard output, the report to the standard error. Exit code 1: a file could not be read.
    """
    try:
        from fal_codegen.migrate.files import migrate as run
    except ModuleNotFoundError as error:
        text = f"{error.name} is not installed; run: pip install 'fal-bindings[migrate]'"
        raise click.ClickException(text) from error
    try:
        result = run(paths, package, untyped=untyped)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"there is no package {package!r} ({error}); generate it, or name it") from error
    if write:
        result.write()
    else:
        click.echo(result.diff(), nl=False)
    for remark in result.remarks:
        click.echo(str(remark), err=True)
    verb = "Rewrote" if write else "Would rewrite"
    click.echo(
        f"{verb} {len(result.changed)} of {result.read} files with fal_client. "
        f"Calls: {result.typed} typed, {result.untyped} untyped, {result.kept} kept.",
        err=True,
    )
    if any(remark.kind == "failed" for remark in result.remarks):
        sys.exit(1)
