"""A comparison told to people and tools: Markdown for a pull request, JSON, or lines for a terminal.

Whatever a document says stays text: in Markdown all of it stands between backticks, and nothing that steers a terminal
gets through.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fal_codegen.diff import Change, Report, Severity, exit_code
from fal_codegen.render import templates_folder
from fal_codegen.usage import Usage

__all__ = [
    "Verdict",
    "as_changelog",
    "as_json",
    "as_lines",
    "as_markdown",
    "code",
    "counted",
    "print_table",
    "printable",
]

# A pull request's body holds 65,536 characters. Source: GitHub's own error message for a longer one.
_MOST_CHARACTERS = 60_000

_HEADINGS: Mapping[Severity, tuple[str, str]] = {
    "breaking": ("Breaking", "Code that calls these can stop working."),
    "unknown": ("Could not tell", "These could not be compared."),
    "default": ("Changed defaults", "Code that leaves these unset goes on working, and gets something else."),
    "additive": ("Additive", "Nothing has to be done."),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A comparison, and whom it is for."""

    report: Report
    defaults: Severity = "additive"
    """What a changed default counts as."""
    usage: Usage | None = None
    """The code base that the changes were limited to."""
    used_by: str = ""
    """Its name."""

    @property
    def exit_code(self) -> int:
        """0 the same, 1 additive, 2 breaking, 3 could not tell."""
        return exit_code(self.report.changes, defaults=self.defaults)

    @property
    def scope(self) -> str:
        """What was compared, in one line."""
        text = f"{counted(len(self.report.modules), 'endpoint')} compared"
        if self.usage is not None:
            text += f", limited to the {len(self.usage.uses)} that {self.used_by} uses ({counted(self.usage.files, 'file')})"
        return f"{text}."


def counted(number: int, noun: str) -> str:
    """`1 endpoint`, `2 endpoints`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def headline(report: Report) -> str:
    """The verdict in a few words."""
    names: tuple[tuple[Severity, str], ...] = (
        ("breaking", "breaking"),
        ("unknown", "not comparable"),
        ("default", "changed defaults"),
        ("additive", "additive"),
    )
    found = ((len(report.of(severity)), name) for severity, name in names)
    return ", ".join(f"{number} {name}" for number, name in found if number) or "nothing that code would notice"


# --- JSON -------------------------------------------------------------------------------------------------------------


def as_json(verdict: Verdict) -> str:
    """The comparison for tools."""
    report = verdict.report
    document: dict[str, Any] = {
        "old": report.old,
        "new": report.new,
        "endpoints": len(report.modules),
        "exit_code": verdict.exit_code,
        "counts": {
            severity: len(report.of(severity)) for severity in ("breaking", "unknown", "default", "additive", "none")
        },
        "changes": report.changes,
    }
    if verdict.usage is not None:
        document["used_by"] = {
            "path": verdict.used_by,
            "files": verdict.usage.files,
            "endpoints": {id_: use.places for id_, use in sorted(verdict.usage.uses.items())},
            "unreadable": verdict.usage.unreadable,
        }
    # In ASCII, for a document may hold half characters, which no encoding has.
    return json.dumps(msgspec.to_builtins(document), indent=2) + "\n"


# --- Lines and tables -------------------------------------------------------------------------------------------------


def place(change: Change) -> str:
    """Where a change is: `input.image_size.width`."""
    return ".".join(part for part in (change.side or "", change.path) if part)


def as_lines(verdict: Verdict) -> str:
    """The comparison for pipes: one change a line, the severity first, and what was compared last."""
    lines = [
        printable(f"{change.severity} {change.endpoint} {place(change)}{': ' if place(change) else ''}{change.message}")
        for change in _told(verdict.report)
    ]
    return "\n".join([*lines, printable(f"{headline(verdict.report)}; {verdict.scope}")]) + "\n"


_COLOURS: Mapping[Severity, str] = {"breaking": "red", "unknown": "magenta", "default": "yellow", "additive": "green"}


def print_table(verdict: Verdict, console: Console) -> None:
    """The comparison for people at a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "endpoint", "field", "what changed"):
        table.add_column(heading, overflow="fold")
    before = ""
    for change in _told(verdict.report):
        endpoint = "" if change.endpoint == before else change.endpoint
        cells = (Text(change.severity, style=_COLOURS[change.severity]), endpoint, place(change), change.message)
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))
        before = change.endpoint
    if table.row_count:
        console.print(table)
    console.print(Text(printable(f"{headline(verdict.report)}; {verdict.scope}"), style="bold"))


def _told(report: Report) -> Sequence[Change]:
    """The changes that are worth a line, the worst first."""
    return [change for severity in _HEADINGS for change in report.of(severity)]


def printable(text: str) -> str:
    """A text in one line, without anything that would steer a terminal."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape", "replace").decode() for each in line)


# --- Markdown ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Endpoint:
    id: str
    changes: Sequence[Change]
    places: str = ""


@dataclass(frozen=True, slots=True)
class _Group:
    heading: str
    meaning: str
    endpoints: Sequence[_Endpoint]
    more: int


def code(text: str) -> str:
    """A text as Markdown code, whatever is in it: no link, no mention, no HTML."""
    line = printable(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    space = " " if line[:1] in ("`", " ") or line[-1:] in ("`", " ") else ""
    return f"{fence}{space}{line or ' '}{space}{fence}"


def _line(change: Change) -> str:
    where = f"{change.side} {code(change.path)}: " if change.path else f"{change.side}: " if change.side else ""
    return f"{where}{code(change.message) if _quotes(change) else change.message}"


def _quotes(change: Change) -> bool:
    """Whether the message holds words of a document, or of a source."""
    return change.kind not in (
        "endpoint-removed",
        "endpoint-missing",
        "endpoint-deprecated",
        "stream-added",
        "stream-removed",
        "docs",
        "null",
    )


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(templates_folder()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(template: str, **context: Any) -> str:
    text = _environment().get_template(template).render(code=code, line=_line, mark=_mark, **context)
    return text.strip() + "\n"


def as_markdown(verdict: Verdict) -> str:
    """The comparison as the body of a pull request, which has a limit of characters: what does not fit is counted."""
    report = verdict.report
    left = _MOST_CHARACTERS
    groups: list[_Group] = []
    for severity, (heading, meaning) in _HEADINGS.items():
        endpoints: list[_Endpoint] = []
        more = 0
        for endpoint in _by_endpoint(report.of(severity), verdict.usage):
            size = (
                sum(len(_line(change)) + 4 for change in endpoint.changes)
                + len(endpoint.id)
                + len(endpoint.places)
                + 40
            )
            if more or size > left:
                more += 1
            else:
                endpoints.append(endpoint)
                left -= size
        if endpoints or more:
            groups.append(_Group(f"{heading} ({len(report.of(severity))})", meaning, endpoints, more))
    return _render(
        "report.md.jinja",
        title=f"Schema changes: {headline(report)}",
        scope=f"{code(report.old)} → {code(report.new)}: {_quoted(verdict)}",
        groups=groups,
        notes=_notes(verdict),
    )


def _quoted(verdict: Verdict) -> str:
    return verdict.scope.replace(verdict.used_by, code(verdict.used_by), 1) if verdict.used_by else verdict.scope


def _notes(verdict: Verdict) -> list[str]:
    notes: list[str] = []
    docs = {change.endpoint for change in verdict.report.of("none")}
    if docs:
        notes.append(f"Only texts changed in {counted(len(docs), 'endpoint')} or parts of them; they are not listed.")
    if verdict.usage is not None and verdict.usage.unreadable:
        files = ", ".join(code(each) for each in verdict.usage.unreadable[:5])
        notes.append(f"Not read, for it is no Python of this version: {files}.")
    return notes


def _by_endpoint(changes: Iterable[Change], usage: Usage | None = None) -> list[_Endpoint]:
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.endpoint, []).append(change)
    return [_Endpoint(id_, group, _places(id_, usage)) for id_, group in groups.items()]


def _places(endpoint: str, usage: Usage | None) -> str:
    places = usage.uses[endpoint].places if usage is not None else []
    more = f" and {counted(len(places) - 5, 'more place')}" if len(places) > 5 else ""
    return ", ".join(map(code, places[:5])) + more


def _mark(change: Change) -> str:
    return "" if change.severity == "additive" else f"**{change.severity}** "


def as_changelog(report: Report) -> str:
    """What happened to the catalogue between two states, in Markdown: all of it, however long."""
    lists: list[tuple[str, list[str]]] = []
    for heading, kind in (
        ("New endpoints", "endpoint-added"),
        ("Gone", "endpoint-removed"),
        ("Deprecated", "endpoint-deprecated"),
    ):
        if ids := [change.endpoint for change in report.changes if change.kind == kind]:
            lists.append((f"{heading} ({len(ids)})", ids))
    whole = ("endpoint-added", "endpoint-removed", "endpoint-deprecated")
    changed = [change for change in report.changes if change.kind not in whole and change.severity != "none"]
    endpoints = _by_endpoint(changed)
    parts = [
        f"{len(ids)} {what}" for what, ids in ((heading.partition(" (")[0].lower(), ids) for heading, ids in lists)
    ]
    if endpoints:
        parts.append(f"{len(endpoints)} changed")
    return _render(
        "changelog.md.jinja",
        old=report.old,
        new=report.new,
        summary=f"{', '.join(parts) or 'nothing that code would notice'}.",
        lists=lists,
        endpoints=endpoints,
    )
