"""What changed between two states of the catalogue, and whom it breaks: schemas are compared, not text.

Whether a change breaks somebody depends on its direction. What an endpoint takes may widen: whatever was right to send
stays right. What it gives may narrow: whatever could be read can be read. The other way round, a change is breaking.

Two things are neither. A changed default breaks no program and changes what it gets, silently, so it is a kind of its
own. And where a document cannot be read, nothing can be told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

from fal_codegen.catalog import Entry
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.dialect import Members, Schema, conforms, is_list, is_mapping
from fal_codegen.names import assign_modules
from fal_codegen.notation import constraints_of, literal, type_text
from fal_codegen.prepare import Class, Field, Prepared, Side, prepare
from fal_codegen.snapshot import Snapshot

__all__ = ["EXIT_CODES", "Change", "Report", "Severity", "compare_snapshots", "exit_code"]

Severity: TypeAlias = Literal["none", "additive", "default", "breaking", "unknown"]
"""`none`: docs only. `default`: breaks no code and changes what it gets. `unknown`: it could not be told."""

Kind: TypeAlias = Literal[
    "endpoint-added",
    "endpoint-removed",
    "endpoint-deprecated",
    "endpoint-missing",
    "module-renamed",
    "stream-added",
    "stream-removed",
    "field-added",
    "field-removed",
    "field-renamed",
    "required",
    "optional",
    "type",
    "null",
    "range",
    "values-added",
    "values-removed",
    "default",
    "docs",
    "unreadable",
]

# What one endpoint's report holds at most, more or less: a type that stands in many places is then reported once.
_MOST_CHANGES = 500

EXIT_CODES: Mapping[Severity, int] = {"none": 0, "additive": 1, "default": 1, "breaking": 2, "unknown": 3}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is different."""

    endpoint: str
    kind: Kind
    severity: Severity
    side: Side | None = None
    path: str = ""
    """The field, by its names in JSON: `image_size.width`, `loras[].scale`, `timings.*`. Empty for the whole side."""
    attribute: str = ""
    """The same by the names of attributes in Python."""
    before: Any = None
    after: Any = None
    message: str
    """What happened, in words, without the field's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All changes between two states."""

    old: str
    """The name of the earlier state."""
    new: str
    modules: Mapping[str, str]
    """The endpoints that were compared, on either side, and their modules."""
    changes: tuple[Change, ...]

    def of(self, *severities: Severity) -> tuple[Change, ...]:
        """The changes of some severities."""
        return tuple(change for change in self.changes if change.severity in severities)


def exit_code(changes: Sequence[Change], *, defaults: Severity = "additive") -> int:
    """The verdict as a process's exit code: 0 the same, 1 additive, 2 breaking, 3 could not tell.

    What is known to break stays breaking, whatever else could not be told.

    Args:
        changes: What changed.
        defaults: What a changed default counts as.
    """
    found = {defaults if change.severity == "default" else change.severity for change in changes}
    worst: tuple[Severity, ...] = ("breaking", "unknown", "additive")
    return next((EXIT_CODES[severity] for severity in worst if severity in found), 0)


def compare_snapshots(old: Snapshot, new: Snapshot) -> Report:
    """Compare two states of the catalogue, endpoint by endpoint."""
    ids = sorted({*old.endpoints, *new.endpoints})
    changes: list[Change] = []
    for id_ in ids:
        changes += _endpoint(id_, old, new)
    modules = {**assign_modules(ids, {}), **new.modules, **old.modules}
    return Report(old=old.name, new=new.name, modules=modules, changes=tuple(changes))


# --- Endpoints --------------------------------------------------------------------------------------------------------


def _endpoint(id_: str, old: Snapshot, new: Snapshot) -> list[Change]:
    before, after = old.endpoints.get(id_), new.endpoints.get(id_)
    if after is None:
        message = "the endpoint is not there any more"
        return [Change(endpoint=id_, kind="endpoint-removed", severity="breaking", message=message)]
    if before is None:
        message = "a new endpoint" if isinstance(after, Entry) else f"a new endpoint, not readable yet: {after.message}"
        return [Change(endpoint=id_, kind="endpoint-added", severity="additive", message=message)]
    changes: list[Change] = []
    one, other = old.modules.get(id_), new.modules.get(id_)
    if one and other and one != other:
        message = f"its module {one} is called {other}"
        changes.append(
            Change(endpoint=id_, kind="module-renamed", severity="breaking", before=one, after=other, message=message)
        )
    if id_ in new.missing and id_ not in old.missing:
        message = f"missing from the listing of {new.missing[id_]}, so it may be gone; the next pull tells"
        changes.append(Change(endpoint=id_, kind="endpoint-missing", severity="unknown", message=message))
    if isinstance(before, Entry) and isinstance(after, Entry):
        if before != after:
            changes += _entries(before, after)
    elif isinstance(after, Entry):
        changes.append(_readable_now(id_))
    elif isinstance(before, Entry):
        changes.append(_unreadable(id_, after))
    elif {before.code, after.code} != {"no-schema"}:
        message = f"its document could not be read, and cannot: {after.message}"
        changes.append(Change(endpoint=id_, kind="unreadable", severity="unknown", message=message))
    return changes


def _readable_now(id_: str) -> Change:
    message = "its document can be read now, and could not"
    return Change(endpoint=id_, kind="endpoint-added", severity="additive", message=message)


def _unreadable(id_: str, why: Diagnostic) -> Change:
    message = f"its document cannot be read any more: {why.message}"
    return Change(endpoint=id_, kind="unreadable", severity="unknown", message=message)


def _entries(before: Entry, after: Entry) -> list[Change]:
    id_ = before.endpoint_id
    changes: list[Change] = []
    was, is_ = before.metadata.get("status"), after.metadata.get("status")
    if is_ == "deprecated" and was != is_:
        message = "the platform calls it deprecated"
        changes.append(
            Change(
                endpoint=id_, kind="endpoint-deprecated", severity="additive", before=was, after=is_, message=message
            )
        )
    streamed, streams = bool(before.metadata.get("stream_url")), bool(after.metadata.get("stream_url"))
    if streamed and not streams:
        changes.append(Change(endpoint=id_, kind="stream-removed", severity="breaking", message="it streams no more"))
    if streams and not streamed:
        changes.append(Change(endpoint=id_, kind="stream-added", severity="additive", message="it can stream"))
    old, new = _prepared(before), _prepared(after)
    if isinstance(old, Diagnostic):
        if isinstance(new, Prepared):
            changes.append(_readable_now(id_))
    elif isinstance(new, Diagnostic):
        changes.append(_unreadable(id_, new))
    else:
        try:
            changes += _Comparison(old, new).changes()
        except RecursionError:
            message = "its types are nested too deeply to be compared"
            changes.append(Change(endpoint=id_, kind="unreadable", severity="unknown", message=message))
    return changes


def _prepared(entry: Entry) -> Prepared | Diagnostic:
    return prepare(entry.endpoint_id, entry.metadata, entry.openapi or {})


# --- Schemas ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Where:
    """A place in an input or an output."""

    side: Side
    path: str = ""
    attribute: str = ""

    def field(self, old: Field, new: Field | None = None) -> _Where:
        dot = "." if self.path else ""
        return _Where(self.side, f"{self.path}{dot}{old.wire}", f"{self.attribute}{dot}{(new or old).name}")

    def below(self, step: str) -> _Where:
        return _Where(self.side, f"{self.path}{step}", f"{self.attribute}{step}")


@dataclass(slots=True)
class _Comparison:
    """Two descriptions of one endpoint."""

    old: Prepared
    new: Prepared
    found: list[Change] = field(default_factory=list[Change])
    entered: dict[tuple[Side, str, str], bool] = field(default_factory=dict[tuple[Side, str, str], bool])
    """The pairs of object types that were met, and whether they are being compared right now."""

    def changes(self) -> list[Change]:
        texts = [(prepared.title, prepared.description, prepared.category) for prepared in (self.old, self.new)]
        if texts[0] != texts[1]:
            self._note("docs", "none", None, "its title, description or category")
        roots: tuple[tuple[str, Side], ...] = (("Input", "input"), ("Output", "output"))
        for name, side in roots:
            self._types(_root(self.old, name), _root(self.new, name), _Where(side))
        return self.found

    # --- Objects

    def _classes(self, old: str, new: str, where: _Where) -> None:
        key = (where.side, old, new)
        if self.entered.get(key) or (key in self.entered and len(self.found) > _MOST_CHANGES):
            return  # a type that holds itself, or a document of which everybody has seen enough
        self.entered[key] = True
        self._members(_class(self.old, old), _class(self.new, new), where)
        self.entered[key] = False

    def _members(self, before: Class, after: Class, where: _Where) -> None:
        if before.description != after.description:
            self._note("docs", "none", where, "the description of its type")
        theirs = {item.wire: item for item in after.fields}
        ours = {item.wire: item for item in before.fields}
        for wire, item in ours.items():
            if wire in theirs:
                self._fields(item, theirs[wire], where.field(item))
            else:
                text = type_text(item.schema, nullable=item.nullable)
                self._note("field-removed", "breaking", where.field(item), f"removed; it was {text}", before=text)
        for wire, item in theirs.items():
            if wire not in ours:
                self._added(item, where.field(item))

    def _added(self, item: Field, where: _Where) -> None:
        text = type_text(item.schema, nullable=item.nullable)
        if where.side == "input" and item.required:
            self._note("field-added", "breaking", where, f"a new required field, {text}", after=text)
        else:
            optional = " optional" if where.side == "input" else ""
            self._note("field-added", "additive", where, f"a new{optional} field, {text}", after=text)

    def _fields(self, old: Field, new: Field, where: _Where) -> None:
        if old.name != new.name:
            message = f"its attribute {old.name} is called {new.name}"
            self._note("field-renamed", "breaking", where, message, before=old.name, after=new.name)
        if where.side == "input" or not (old.nullable or new.nullable):
            self._presence(old, new, where)
        if old.nullable != new.nullable and old.schema and new.schema:
            one, other = type_text(old.schema, nullable=old.nullable), type_text(new.schema, nullable=new.nullable)
            what = "null, or its absence," if where.side == "output" else "null"
            message = f"{what} is allowed" if new.nullable else f"{what} is not allowed any more"
            self._note(
                "null",
                _severity(where, widens=new.nullable, narrows=old.nullable),
                where,
                message,
                before=one,
                after=other,
            )
        self._types(old.schema, new.schema, where)
        optional = not old.required and not new.required
        if optional and not _same(old.default, new.default):
            message = f"default {_text(old.default)} → {_text(new.default)}"
            self._note("default", "default", where, message, before=old.default, after=new.default)
        if old.description != new.description:
            self._note("docs", "none", where, "its description")

    def _presence(self, old: Field, new: Field, where: _Where) -> None:
        if old.required == new.required:
            return
        if where.side == "input":
            severity: Severity = "breaking" if new.required else "additive"
            message = "required, and was optional" if new.required else "optional, and was required"
        else:
            # The reader of an output's field finds its default where the answer leaves it out.
            severity = "additive"
            message = "always there now" if new.required else f"may be left out; it reads {_text(new.default)} then"
        kind: Kind = "required" if new.required else "optional"
        self._note(kind, severity, where, message, before=_presence(old), after=_presence(new))

    # --- Types

    def _types(self, old: Schema, new: Schema, where: _Where) -> None:
        """Report how a type differs: what its parts lost or gained, and else which of its branches."""
        if not old or not new:
            if old != new:
                self._retyped(old, new, where, widens=not new, narrows=not old)
            return
        ours, theirs = _branches(old), _branches(new)
        pairs = _paired(ours, theirs)
        paired_ours = [pair[0] for pair in pairs]
        paired_theirs = [pair[1] for pair in pairs]
        for one, other in pairs:
            self._branch(one, other, where)
        lost = [one for one in ours if one not in paired_ours and not self._covered(one, theirs, self.old, self.new)]
        gained = [
            one for one in theirs if one not in paired_theirs and not self._covered(one, ours, self.new, self.old)
        ]
        if lost or gained:
            self._retyped(old, new, where, widens=bool(gained), narrows=bool(lost))

    def _branch(self, old: Schema, new: Schema, where: _Where) -> None:
        if "class" in old:
            self._classes(old["class"], new["class"], where)
        elif "enum" in old:
            self._values(old["enum"], new["enum"], where)
        elif "map" in old:
            self._types(old["map"], new["map"], where.below(".*"))
        elif "tuple" in old:
            for number, (one, other) in enumerate(zip(old["tuple"], new["tuple"], strict=True)):
                self._types(one, other, where.below(f"[{number}]"))
        else:
            self._ranges(old, new, where)
            if "items" in old:
                self._types(old["items"], new["items"], where.below("[]"))

    def _values(self, old: list[Any], new: list[Any], where: _Where) -> None:
        if lost := [value for value in old if not _among(value, new)]:
            message = f"no longer {', '.join(map(_text, lost))}"
            self._note("values-removed", _severity(where, narrows=True), where, message, before=lost)
        if gained := [value for value in new if not _among(value, old)]:
            message = f"also {', '.join(map(_text, gained))}"
            self._note("values-added", _severity(where, widens=True), where, message, after=gained)

    def _ranges(self, old: Schema, new: Schema, where: _Where) -> None:
        before, after = constraints_of(old), constraints_of(new)
        if before == after:
            return
        narrows, widens = _tightened(before, after, old["type"]), _tightened(after, before, old["type"])
        if narrows or widens:
            changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
            was, is_ = ({key: each[key] for key in changed if key in each} for each in (before, after))
            message = f"{_bounds(was)} → {_bounds(is_)}"
            severity = _severity(where, widens=widens, narrows=narrows)
            self._note("range", severity, where, message, before=was, after=is_)

    def _covered(self, one: Schema, others: Sequence[Schema], mine: Prepared, its: Prepared) -> bool:
        """Whether all values of a type are values of one of some others."""
        return any(_within(one, other, mine, its) for other in others)

    def _retyped(self, old: Schema, new: Schema, where: _Where, *, widens: bool, narrows: bool) -> None:
        before, after = type_text(old), type_text(new)
        severity = _severity(where, widens=widens, narrows=narrows)
        self._note("type", severity, where, f"{before} → {after}", before=before, after=after)

    # --- Notes

    def _note(
        self,
        kind: Kind,
        severity: Severity,
        where: _Where | None,
        message: str,
        before: Any = None,
        after: Any = None,
    ) -> None:
        self.found.append(
            Change(
                endpoint=self.old.endpoint_id,
                kind=kind,
                severity=severity,
                side=where.side if where else None,
                path=where.path if where else "",
                attribute=where.attribute if where else "",
                before=before,
                after=after,
                message=message,
            )
        )


def _severity(where: _Where, *, widens: bool = False, narrows: bool = False) -> Severity:
    """What a type that takes more, or less, or both, means in its direction."""
    breaks = narrows if where.side == "input" else widens
    return "breaking" if breaks else "additive"


def _root(prepared: Prepared, name: str) -> Schema:
    return dict(prepared.aliases).get(name, {"class": name})


def _class(prepared: Prepared, name: str) -> Class:
    return next(item for item in prepared.classes if item.name == name)


def _presence(item: Field) -> str:
    return "required" if item.required else "optional"


# --- Values -----------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    text = "none" if value is None else literal(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if is_list(one) and is_list(other):
        return len(one) == len(other) and all(map(_same, one, other))
    if is_mapping(one) and is_mapping(other):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _among(value: Any, values: Sequence[Any]) -> bool:
    return any(_same(value, each) for each in values)


# --- Types ------------------------------------------------------------------------------------------------------------


def _branches(schema: Schema) -> list[Schema]:
    """The branches of a type, all enums in one."""
    branches: list[Schema] = list(schema.get("union", [schema]))
    values = [value for branch in branches if "enum" in branch for value in branch["enum"]]
    rest = [branch for branch in branches if "enum" not in branch]
    return [{"enum": values}, *rest] if values else rest


def _kind(branch: Schema) -> str:
    if "tuple" in branch:
        return f"tuple{len(branch['tuple'])}"
    return next((key for key in ("class", "enum", "map") if key in branch), branch.get("type", ""))


def _paired(ours: Sequence[Schema], theirs: Sequence[Schema]) -> list[tuple[Schema, Schema]]:
    """The branches that correspond: of one kind, called alike if they are classes, and else in order."""
    pairs: list[tuple[Schema, Schema]] = []
    left = list(theirs)
    waiting: list[Schema] = []
    for one in ours:
        same = next((other for other in left if other == one), None)
        if same is None:
            waiting.append(one)
        else:
            pairs.append((one, same))
            left.remove(same)
    for one in waiting:
        other = next((other for other in left if _kind(other) == _kind(one)), None)
        if other is not None:
            pairs.append((one, other))
            left.remove(other)
    return pairs


def _within(one: Schema, other: Schema, mine: Prepared, its: Prepared) -> bool:
    """Whether all values of a type are values of another, as far as can be seen without looking into objects."""
    if not other:
        return True
    if not one:
        return False
    if "union" in one:
        return all(_within(each, other, mine, its) for each in one["union"])
    if "union" in other:
        return any(_within(one, each, mine, its) for each in other["union"])
    if "enum" in one:
        return all(conforms(value, other, _members(its)) for value in one["enum"])
    if "map" in other:
        return ("class" in one and not other["map"]) or ("map" in one and _within(one["map"], other["map"], mine, its))
    if "items" in other and "tuple" in one:
        inside = all(_within(part, other["items"], mine, its) for part in one["tuple"])
        return inside and other.get("minItems", 0) <= len(one["tuple"]) <= other.get("maxItems", math.inf)
    if "type" not in one or "type" not in other:
        return False
    kinds = (one["type"], other["type"])
    if kinds[0] != kinds[1] and kinds != ("integer", "number"):
        return False
    inside = "items" not in one or _within(one["items"], other["items"], mine, its)
    return inside and not _tightened(constraints_of(one), constraints_of(other), kinds[0])


def _members(prepared: Prepared) -> Any:
    def members(name: str) -> Members:
        return [(item.wire, item.schema, item.required) for item in _class(prepared, name).fields]

    return members


# --- Constraints ------------------------------------------------------------------------------------------------------


def _bounds(constraints: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_text(value)}" for key, value in constraints.items()) or "no bound"


def _tightened(before: Mapping[str, Any], after: Mapping[str, Any], kind: str) -> bool:
    """Whether the later constraints refuse something that the earlier ones allow."""
    if _low(after, kind) > _low(before, kind) or _high(after, kind) < _high(before, kind):
        return True
    for shortest, longest in (("minLength", "maxLength"), ("minItems", "maxItems")):
        if after.get(shortest, 0) > before.get(shortest, 0):
            return True
        if after.get(longest, math.inf) < before.get(longest, math.inf):
            return True
    if "pattern" in after and after["pattern"] != before.get("pattern"):
        return True
    if after.get("uniqueItems") and not before.get("uniqueItems"):
        return True
    step = after.get("multipleOf")
    return step is not None and not _is_multiple(before.get("multipleOf"), step, kind)


def _is_multiple(before: Any, step: Any, kind: str) -> bool:
    """Whether all multiples of one number, or all whole numbers, are multiples of a step."""
    if before is None:
        return kind == "integer" and _is_multiple(1, step, "number")
    return math.isclose(before / step, round(before / step), rel_tol=1e-9)


# A bound that is not part of what it bounds is a little further in than one that is.
_Bound: TypeAlias = tuple[float, int]


def _low(constraints: Mapping[str, Any], kind: str) -> _Bound:
    if "minimum" in constraints:
        return (constraints["minimum"], 0)
    value = constraints.get("exclusiveMinimum", -math.inf)
    return (value + 1, 0) if kind == "integer" else (value, 1)


def _high(constraints: Mapping[str, Any], kind: str) -> _Bound:
    if "maximum" in constraints:
        return (constraints["maximum"], 0)
    value = constraints.get("exclusiveMaximum", math.inf)
    return (value - 1, 0) if kind == "integer" else (value, -1)
