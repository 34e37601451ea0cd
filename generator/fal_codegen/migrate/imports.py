"""The imports of a file: `fal_client` goes where nothing needs it any more, what stands in its place comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import libcst as cst

from fal_codegen.migrate.calls import Edit
from fal_codegen.migrate.flow import RUNTIME
from fal_codegen.migrate.shapes import Module
from fal_codegen.migrate.source import Source

__all__ = ["import_edits"]


def import_edits(
    source: Source,
    needs: Mapping[cst.ImportAlias, Iterable[Module | None]],
    gone: set[cst.ImportAlias],
    name_of: Mapping[Module, str],
) -> dict[cst.CSTNode, Edit]:
    """What changes the statements with the imports.

    Args:
        source: The file.
        needs: For each import, what has to be imported in its place; `None` is the runtime.
        gone: The imports that nothing needs any more.
        name_of: What the modules are called in the file.
    """
    edits: dict[cst.CSTNode, Edit] = {}
    done = {f"import {name}" for name in (RUNTIME,) if name in source.names}
    lines: dict[cst.BaseStatement | cst.BaseSuite, list[cst.ImportAlias]] = {}
    for alias in source.imports:
        line = next(node for node in source.ancestors(alias) if isinstance(node, cst.BaseStatement | cst.BaseSuite))
        lines.setdefault(line, []).append(alias)
    home = _home(source, [line for line, aliases in lines.items() if source.is_global(aliases[0])])
    for line, aliases in lines.items():
        wanted = {need for alias in aliases for need in needs.get(alias, ())}
        if source.is_global(aliases[0]):  # what the whole file needs comes in one place
            every = {need for alias in source.imports if source.is_global(alias) for need in needs.get(alias, ())}
            wanted = every if line is home else wanted - wanted
        texts = [text for text in _statements(wanted, name_of) if text not in done]
        if source.is_global(aliases[0]):
            done.update(texts)
        dropped = {alias for alias in aliases if alias in gone}
        if texts or dropped:
            edits[line] = _edit(source, line, dropped, texts)
    return edits


def _home(source: Source, lines: list[cst.BaseStatement | cst.BaseSuite]) -> cst.CSTNode | None:
    """The line of a file behind which new imports come: the last one with imports, if they stand together."""
    lines = [line for line in lines if isinstance(source.parent(line), cst.Module)] or lines
    if not lines:
        return None
    body = getattr(source.parent(lines[0]), "body", ())
    places = [index for index, statement in enumerate(body) if statement in lines]
    together = len(places) == len(lines) and places == list(range(places[0], places[0] + len(places)))
    return lines[-1] if together else lines[0]


def _statements(wanted: set[Module | None], name_of: Mapping[Module, str]) -> list[str]:
    """Import statements, sorted as is usual."""
    texts = [f"import {RUNTIME}"] if None in wanted else []
    by_package: dict[str, list[str]] = {}
    for module in wanted:
        if module is not None:
            name = name_of[module]
            text = module.name if name == module.name else f"{module.name} as {name}"
            by_package.setdefault(module.package, []).append(text)
    return texts + [
        f"from {package} import {', '.join(sorted(names))}" for package, names in sorted(by_package.items())
    ]


def _edit(
    source: Source, line: cst.BaseStatement | cst.BaseSuite, dropped: set[cst.ImportAlias], texts: list[str]
) -> Edit:
    """Take imports out of a line of statements, and put new lines behind what is left."""
    remaining: list[cst.BaseSmallStatement] = []
    body = line.body if isinstance(line, cst.SimpleStatementLine | cst.SimpleStatementSuite) else ()
    for statement in body:
        if isinstance(statement, cst.Import | cst.ImportFrom) and not isinstance(statement.names, cst.ImportStar):
            names = [alias for alias in statement.names if alias not in dropped]
            if not names:
                continue
            if len(names) < len(statement.names):
                names[-1] = names[-1].with_changes(comma=statement.names[-1].comma)
                remaining.append(statement.with_changes(names=names))
                continue
        remaining.append(statement)
    if remaining:
        remaining[-1] = remaining[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
    new = [cst.ensure_type(cst.parse_statement(text), cst.SimpleStatementLine) for text in texts]

    def edit(updated: Any) -> Any:
        if not isinstance(updated, cst.SimpleStatementLine):
            small = [each for text in new for each in text.body]
            return updated.with_changes(body=[*remaining, *small] or [cst.Pass()])
        if remaining:
            return cst.FlattenSentinel([updated.with_changes(body=remaining), *new])
        if not new:
            holder = source.parent(line)
            alone = isinstance(holder, cst.IndentedBlock) and len(holder.body) == 1
            return updated.with_changes(body=[cst.Pass()]) if alone else cst.RemoveFromParent()
        lines = list(new)
        lines[0] = lines[0].with_changes(leading_lines=updated.leading_lines)
        lines[-1] = lines[-1].with_changes(trailing_whitespace=updated.trailing_whitespace)
        return cst.FlattenSentinel(lines)

    return edit
