"""The quality of a catalogue's documents: every finding, and how well the types that come out are typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fal_codegen.catalog import Entry
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.dialect import Schema, inner
from fal_codegen.lock import read_lock
from fal_codegen.overrides import Overrides, unused
from fal_codegen.prepare import Prepared, prepare
from fal_codegen.selection import Selection
from fal_codegen.snapshot import stored_entry

__all__ = ["Health", "by_code", "examine"]

_STALE = frozenset({"override-not-needed", "override-outdated", "override-unused"})


@dataclass(slots=True)
class Health:
    """What was found."""

    endpoints: int = 0
    documents: int = 0
    """How many of the endpoints have a document."""
    findings: list[Diagnostic] = field(default_factory=list[Diagnostic])
    input_fields: int = 0
    output_fields: int = 0
    open_fields: int = 0
    """Fields, of either, whose type is or holds `Any`."""
    described_fields: int = 0
    """Fields with a text of the document's own."""
    bounded_fields: int = 0
    """Fields whose type says more than its kind: an enum, a bound, a pattern."""

    @property
    def fields(self) -> int:
        """How many fields there are."""
        return self.input_fields + self.output_fields

    @property
    def stale(self) -> list[Diagnostic]:
        """The overrides that need somebody's attention."""
        return [finding for finding in self.findings if finding.code in _STALE]


def examine(schemas: Path, overrides: Overrides, own: Overrides, selection: Selection | None = None) -> Health:
    """Read all documents of a folder of schemas and tell what is wrong with them.

    Args:
        schemas: The folder.
        overrides: All corrections.
        own: Those of them that must be for some endpoint of the folder.
        selection: Which endpoints. Default: all.

    Raises:
        CatalogError: if the folder cannot be read.
    """
    health = Health()
    rows = read_lock(schemas)
    for id_ in (selection or Selection()).of(rows):
        row = rows[id_]
        if row.state == "tombstone":
            continue
        health.endpoints += 1
        entry = stored_entry(id_, schemas)
        if isinstance(entry, Diagnostic):
            health.findings.append(entry)
            continue
        health.documents += 1
        _examine(entry, overrides, health)
    health.findings += unused(own, list(rows))
    return health


def _examine(entry: Entry, overrides: Overrides, health: Health) -> None:
    corrected, notes = overrides.apply(entry)
    result = _prepared(corrected)
    if isinstance(result, Diagnostic):
        health.findings += [*notes, result]
        return
    applied = [note for note in notes if note.code == "overridden"]
    if applied and _alike(_prepared(entry), result):
        message = "an override is not needed any more: what is generated is the same without it"
        notes = [
            (
                replace(note, code="override-not-needed", message=message, remedy="remove the override")
                if note in applied
                else note
            )
            for note in notes
        ]
    health.findings += [*notes, *result.diagnostics]
    for item in result.classes:
        for one in item.fields:
            health.input_fields += item.side == "input"
            health.output_fields += item.side == "output"
            health.open_fields += _is_open(one.schema)
            health.described_fields += bool(one.description)
            health.bounded_fields += _is_bounded(one.schema)


def _prepared(entry: Entry) -> Prepared | Diagnostic:
    return prepare(entry.endpoint_id, entry.metadata, entry.openapi or {})


def _alike(before: Prepared | Diagnostic, after: Prepared) -> bool:
    return isinstance(before, Prepared) and replace(before, diagnostics=()) == replace(after, diagnostics=())


def _parts(schema: Schema) -> Iterator[Schema]:
    yield schema
    for part in inner(schema):
        yield from _parts(part)


def _is_open(schema: Schema) -> bool:
    return any(not part for part in _parts(schema))


def _is_bounded(schema: Schema) -> bool:
    plain = {"type", "items", "file", "union", "map", "tuple", "class"}
    return any(part.keys() - plain for part in _parts(schema))


def by_code(findings: Sequence[Diagnostic]) -> dict[str, list[Diagnostic]]:
    """The findings by their code, the most frequent first."""
    groups: dict[str, list[Diagnostic]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    return dict(sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])))
