"""Schemas are compared, not text: what each change is, where, and whom it breaks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fal_codegen.catalog import CatalogError, Entry
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.diff import Change, Report, compare_snapshots, exit_code
from fal_codegen.pull import pull
from fal_codegen.report import Verdict, as_changelog, as_json, as_lines, as_markdown
from fal_codegen.snapshot import Snapshot, read_snapshot
from fal_codegen.sources import Source

ID = "acme/thing"
TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NULL = {"type": "null"}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def entry(input: Any = TEXT, output: Any = True, metadata: Mapping[str, Any] | None = None, **components: Any) -> Entry:
    def content(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    post = {"requestBody": content(input), "responses": {"200": content(output)}}
    openapi = {"paths": {f"/{ID}": {"post": post}}, "components": {"schemas": components}}
    return Entry(endpoint_id=ID, metadata=dict(metadata or {}), openapi=openapi)


def compared(old: Entry | Diagnostic | None, new: Entry | Diagnostic | None) -> Report:
    one, other = ({ID: each} if each is not None else {} for each in (old, new))
    return compare_snapshots(Snapshot("old", one, {}), Snapshot("new", other, {}))


def of_a_field(side: str, old: Any, new: Any, *required: str) -> list[Change]:
    """What is said when a field, `x`, of one side becomes another."""

    def root(schema: Any) -> Any:
        return obj(*required, x=schema, y=TEXT)

    components = {"P": obj("a", a=TEXT), "Q": obj("a", a=TEXT, b=TEXT)}
    if side == "input":
        report = compared(entry(root(old), **components), entry(root(new), **components))
    else:
        report = compared(entry(obj(i=TEXT), root(old), **components), entry(obj(i=TEXT), root(new), **components))
    assert all((change.side, change.endpoint) == (side, ID) for change in report.changes)
    return list(report.changes)


# Each widens from left to right: additive for an input, breaking for an output; and the other way round.
WIDENINGS: list[tuple[Any, Any, str, str, Any, Any]] = [
    ({"enum": ["a"]}, {"enum": ["b", "a"]}, "x", "values-added", None, ["b"]),
    ({"enum": [1]}, {"enum": [1, 2]}, "x", "values-added", None, [2]),
    ({"enum": ["a"]}, TEXT, "x", "type", '"a"', "str"),
    (WHOLE, {"type": "number"}, "x", "type", "int", "float"),
    (TEXT, {"anyOf": [TEXT, WHOLE]}, "x", "type", "str", "str | int"),
    (TEXT, {}, "x", "type", "str", "Any"),
    ({"enum": ["a"]}, {"anyOf": [ref("P"), {"enum": ["a"]}]}, "x", "type", '"a"', 'P | "a"'),
    (ref("P"), {"type": "object"}, "x", "type", "P", "dict[str, Any]"),
    ({**WHOLE, "maximum": 4}, {**WHOLE, "maximum": 8}, "x", "range", {"maximum": 4}, {"maximum": 8}),
    ({**WHOLE, "minimum": 2, "maximum": 4}, {**WHOLE, "maximum": 4}, "x", "range", {"minimum": 2}, {}),
    (
        {**WHOLE, "exclusiveMinimum": 1},
        {**WHOLE, "minimum": 1},
        "x",
        "range",
        {"exclusiveMinimum": 1},
        {"minimum": 1},
    ),
    ({**TEXT, "maxLength": 9}, {**TEXT, "maxLength": 10}, "x", "range", {"maxLength": 9}, {"maxLength": 10}),
    ({**TEXT, "pattern": "^a"}, TEXT, "x", "range", {"pattern": "^a"}, {}),
    ({**WHOLE, "multipleOf": 16}, {**WHOLE, "multipleOf": 8}, "x", "range", {"multipleOf": 16}, {"multipleOf": 8}),
    (
        {"type": "array", "items": TEXT, "maxItems": 1},
        {"type": "array", "items": TEXT},
        "x",
        "range",
        {"maxItems": 1},
        {},
    ),
    (
        {"items": {**TEXT, "minLength": 1}},
        {"items": {**TEXT, "minLength": 0}},
        "x[]",
        "range",
        {"minLength": 1},
        {"minLength": 0},
    ),
    (
        {"type": "object", "additionalProperties": WHOLE},
        {"type": "object", "additionalProperties": {"type": "number"}},
        "x.*",
        "type",
        "int",
        "float",
    ),
    ({"prefixItems": [WHOLE, TEXT]}, {"prefixItems": [{"type": "number"}, TEXT]}, "x[0]", "type", "int", "float"),
    ({"prefixItems": [TEXT, TEXT]}, {"items": TEXT}, "x", "type", "tuple[str, str]", "list[str]"),
]


@pytest.mark.parametrize(("narrow", "wide", "path", "kind", "before", "after"), WIDENINGS)
def test_what_is_taken_may_widen_and_what_is_given_may_narrow(
    narrow: Any, wide: Any, path: str, kind: str, before: Any, after: Any
) -> None:
    for side, old, new, severity in (
        ("input", narrow, wide, "additive"),
        ("input", wide, narrow, "breaking"),
        ("output", narrow, wide, "breaking"),
        ("output", wide, narrow, "additive"),
    ):
        (change,) = of_a_field(side, old, new, "x")
        assert (change.path, change.attribute, change.severity) == (path, path, severity)
        assert change.kind == (kind if old is narrow else kind.replace("added", "removed"))
        assert (change.before, change.after) == ((before, after) if old is narrow else (after, before))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"enum": ["a", "b"]}, {"enum": ["b", "c"]}),
        (TEXT, WHOLE),
        ({**TEXT, "pattern": "a"}, {**TEXT, "pattern": "b"}),
        ({**WHOLE, "minimum": 0, "maximum": 9}, {**WHOLE, "minimum": 1, "maximum": 10}),
        ({**WHOLE, "multipleOf": 8}, {**WHOLE, "multipleOf": 3}),
        ({"prefixItems": [TEXT]}, {"prefixItems": [TEXT, TEXT]}),
        ({"items": TEXT}, TEXT),
    ],
)
@pytest.mark.parametrize("side", ["input", "output"])
def test_what_only_moves_breaks_either_way(side: str, old: Any, new: Any) -> None:
    assert exit_code(of_a_field(side, old, new, "x")) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TEXT, {**TEXT, "title": "X", "format": "uri", "examples": ["a"]}),
        (TEXT, {"allOf": [TEXT]}),
        ({"enum": ["a", "b"]}, {"enum": ["b", "a"]}),
        ({"anyOf": [TEXT, WHOLE]}, {"oneOf": [WHOLE, TEXT]}),
        ({"anyOf": [TEXT, NULL]}, {"type": "string", "nullable": True}),
        ({**WHOLE, "minimum": 1}, {**WHOLE, "exclusiveMinimum": 0}),
        ({**TEXT, "default": "a"}, {"default": "a", **TEXT}),
        ({"type": "number", "default": 1}, {"type": "number", "default": 1.0}),
        (ref("P"), obj("a", a=TEXT)),
    ],
)
@pytest.mark.parametrize("side", ["input", "output"])
def test_the_same_said_otherwise_is_the_same(side: str, old: Any, new: Any) -> None:
    assert of_a_field(side, old, new) == []


def test_texts_are_none() -> None:
    old = entry(obj(x=TEXT), metadata={"display_name": "Thing"})
    new = entry(obj(x={**TEXT, "description": "An x."}), metadata={"display_name": "A thing"})
    report = compared(old, new)
    assert [(change.kind, change.severity, change.path) for change in report.changes] == [
        ("docs", "none", ""),
        ("docs", "none", "x"),
    ]
    assert exit_code(report.changes) == 0


@pytest.mark.parametrize(
    ("old", "new", "kind", "severity"),
    [
        (obj(a=TEXT), obj(a=TEXT, x=TEXT), "field-added", "additive"),
        (obj(a=TEXT), obj("x", a=TEXT, x=TEXT), "field-added", "breaking"),
        (obj(a=TEXT), obj("x", a=TEXT, x={**TEXT, "default": "b"}), "field-added", "additive"),
        (obj(a=TEXT, x=TEXT), obj(a=TEXT), "field-removed", "breaking"),
        (obj(x=TEXT), obj("x", x=TEXT), "required", "breaking"),
        (obj("x", x=TEXT), obj(x=TEXT), "optional", "additive"),
        (obj(x=TEXT), obj(x={"anyOf": [TEXT, NULL]}), "null", "additive"),
        (obj(x={"anyOf": [TEXT, NULL]}), obj(x=TEXT), "null", "breaking"),
        (obj(x={**WHOLE, "default": 1}), obj(x={**WHOLE, "default": 2}), "default", "default"),
        (obj(x=WHOLE), obj(x={**WHOLE, "default": 2}), "default", "default"),
    ],
)
def test_fields_of_an_input(old: Any, new: Any, kind: str, severity: str) -> None:
    (change,) = compared(entry(old), entry(new)).changes
    assert (change.kind, change.severity, change.side, change.path) == (kind, severity, "input", "x")


@pytest.mark.parametrize(
    ("old", "new", "kind", "severity"),
    [
        (obj(a=TEXT), obj(a=TEXT, x=TEXT), "field-added", "additive"),
        (obj(a=TEXT), obj("x", a=TEXT, x=TEXT), "field-added", "additive"),
        (obj("x", a=TEXT, x=TEXT), obj(a=TEXT), "field-removed", "breaking"),
        (obj("x", x=TEXT), obj(x=TEXT), "null", "breaking"),
        (obj(x=TEXT), obj("x", x=TEXT), "null", "additive"),
        (obj("x", x=TEXT), obj(x={**TEXT, "default": "a"}), "optional", "additive"),
        (obj("x", x=TEXT), obj("x", x={"anyOf": [TEXT, NULL]}), "null", "breaking"),
        (obj(x={**WHOLE, "default": 1}), obj(x={**WHOLE, "default": 2}), "default", "default"),
    ],
)
def test_fields_of_an_output(old: Any, new: Any, kind: str, severity: str) -> None:
    (change,) = compared(entry(obj(i=TEXT), old), entry(obj(i=TEXT), new)).changes
    assert (change.kind, change.severity, change.side, change.path) == (kind, severity, "output", "x")


def test_a_changed_default_counts_as_it_is_told_to() -> None:
    changes = compared(entry(obj(x={**WHOLE, "default": 1})), entry(obj(x={**WHOLE, "default": 2}))).changes
    assert (changes[0].before, changes[0].after) == (1, 2)
    assert exit_code(changes) == 1
    assert exit_code(changes, defaults="breaking") == 2


def test_nested_fields_have_paths_in_json_and_in_python() -> None:
    old = obj(size=obj(width=WHOLE), loras={"items": obj("path", path=TEXT, **{"class": WHOLE})})
    new = obj(size=obj(width=TEXT), loras={"items": obj("path", path=TEXT)})
    found = {change.path: change for change in compared(entry(old), entry(new)).changes}
    assert {path: (each.attribute, each.kind) for path, each in found.items()} == {
        "size.width": ("size.width", "type"),
        "loras[].class": ("loras[].class_", "field-removed"),
    }


def test_a_type_that_stands_in_two_places_is_told_in_both_and_one_that_holds_itself_once() -> None:
    old = entry(obj(p=ref("Node"), q=ref("Node")), Node=obj(next=ref("Node"), x=WHOLE))
    new = entry(obj(p=ref("Node"), q=ref("Node")), Node=obj(next=ref("Node"), x=TEXT))
    assert [change.path for change in compared(old, new).changes] == ["p.x", "q.x"]


def test_deep_chains_are_not_comparable_and_stop_nothing() -> None:
    def chain(last: Any) -> Entry:
        def link(n: int) -> Any:
            schema = ref(f"N{n + 1}")
            for _ in range(25):
                schema = {"items": schema}
            return obj(next=schema)

        return entry(obj(n=ref("N0")), **{f"N{n}": link(n) for n in range(50)}, N50=obj(x=last))

    (change,) = compared(chain(TEXT), chain(WHOLE)).changes
    assert (change.kind, change.severity) == ("unreadable", "unknown")


BAD = Diagnostic("no-schema", ID, "/openapi", "expansion_failed", "pull again", fatal=True)
LOST = Diagnostic("bad-entry", ID, "", "not JSON", "pull again", fatal=True)


@pytest.mark.parametrize(
    ("old", "new", "kinds", "code"),
    [
        (None, entry(obj(x=TEXT)), ["endpoint-added"], 1),
        (None, BAD, ["endpoint-added"], 1),
        (entry(obj(x=TEXT)), None, ["endpoint-removed"], 2),
        (BAD, None, ["endpoint-removed"], 2),
        (BAD, entry(obj(x=TEXT)), ["endpoint-added"], 1),
        (entry(obj(x=TEXT)), BAD, ["unreadable"], 3),
        (BAD, BAD, [], 0),
        (LOST, LOST, ["unreadable"], 3),
        (BAD, LOST, ["unreadable"], 3),
        (LOST, BAD, ["unreadable"], 3),
        (entry(obj(x=TEXT)), entry(TEXT), ["unreadable"], 3),
        (entry(TEXT), entry(obj(x=TEXT)), ["endpoint-added"], 1),
        (entry(TEXT), entry(WHOLE), [], 0),
        (entry(obj(x=TEXT)), entry(obj(x=TEXT), metadata={"status": "deprecated"}), ["endpoint-deprecated"], 1),
        (entry(obj(x=TEXT)), entry(obj(x=TEXT), metadata={"stream_url": "u"}), ["stream-added"], 1),
        (entry(obj(x=TEXT), metadata={"stream_url": "u"}), entry(obj(x=TEXT)), ["stream-removed"], 2),
        (entry({"type": "object"}), entry(obj(x=TEXT)), ["type"], 2),
    ],
)
def test_endpoints(old: Any, new: Any, kinds: list[str], code: int) -> None:
    changes = compared(old, new).changes
    assert [change.kind for change in changes] == kinds
    assert exit_code(changes) == code


def test_what_breaks_breaks_whatever_could_not_be_told() -> None:
    old: dict[str, Entry | Diagnostic] = {each: entry(obj(x=TEXT)) for each in (ID, "acme/other")}
    report = compare_snapshots(Snapshot("a", old, {}), Snapshot("b", {"acme/other": BAD}, {}))
    assert {change.severity for change in report.changes} == {"breaking", "unknown"}
    assert exit_code(report.changes) == 2


def test_a_renamed_module_breaks() -> None:
    one = {ID: entry(obj(x=TEXT))}
    report = compare_snapshots(Snapshot("a", one, {ID: "acme.thing"}), Snapshot("b", one, {ID: "acme.thing_2"}))
    assert [(change.kind, change.severity) for change in report.changes] == [("module-renamed", "breaking")]


# --- Telling ----------------------------------------------------------------------------------------------------------


def some_report() -> Report:
    return compared(
        entry(obj(x={"enum": ["a", "b"]}, n={**WHOLE, "default": 1}), obj("y", y=TEXT)),
        entry(obj(x={"enum": ["a"]}, n={**WHOLE, "default": 2}, z=TEXT), obj("y", y=TEXT)),
    )


def test_markdown_lists_the_worst_first() -> None:
    assert as_markdown(Verdict(some_report())) == (
        "# Schema changes: 1 breaking, 1 changed defaults, 1 additive\n\n"
        "`old` → `new`: 1 endpoint compared.\n\n"
        "## Breaking (1)\n\nCode that calls these can stop working.\n\n### `acme/thing`\n\n"
        '- input `x`: `no longer "b"`\n\n'
        "## Changed defaults (1)\n\nCode that leaves these unset goes on working, and gets something else.\n\n"
        "### `acme/thing`\n\n- input `n`: `default 1 → 2`\n\n"
        "## Additive (1)\n\nNothing has to be done.\n\n### `acme/thing`\n\n"
        "- input `z`: `a new optional field, str`\n"
    )


def test_lines_and_json_say_the_same() -> None:
    assert as_lines(Verdict(some_report())).splitlines() == [
        'breaking acme/thing input.x: no longer "b"',
        "default acme/thing input.n: default 1 → 2",
        "additive acme/thing input.z: a new optional field, str",
        "1 breaking, 1 changed defaults, 1 additive; 1 endpoint compared.",
    ]
    document = json.loads(as_json(Verdict(some_report())))
    assert document["exit_code"] == 2
    assert document["counts"] == {"breaking": 1, "unknown": 0, "default": 1, "additive": 1, "none": 0}
    assert next(each for each in document["changes"] if each["kind"] == "values-removed") == {
        "endpoint": "acme/thing",
        "kind": "values-removed",
        "severity": "breaking",
        "side": "input",
        "path": "x",
        "attribute": "x",
        "before": ["b"],
        "after": None,
        "message": 'no longer "b"',
    }


def test_nothing_is_told_in_a_line() -> None:
    report = compared(entry(obj(x=TEXT)), entry(obj(x=TEXT)))
    assert as_lines(Verdict(report)) == "nothing that code would notice; 1 endpoint compared.\n"
    assert as_changelog(report).splitlines()[2] == "From `old` to `new`: nothing that code would notice."


HOSTILE = "`</summary>\n# Free money @everyone <img src=x> [a](javascript:x) ``` | \x1b[2J \u202e \ud800"


def test_texts_of_documents_are_no_markup_and_steer_no_terminal() -> None:
    mild = HOSTILE.replace("\ud800", "")
    old = obj(**{mild: {"enum": [mild]}, "z": {"enum": [mild]}, "d": {**TEXT, "default": HOSTILE}})
    report = compared(entry(old), entry(obj(z={"enum": ["a"]}, d=TEXT)))
    assert HOSTILE in [change["before"] for change in json.loads(as_json(Verdict(report)))["changes"]]
    assert report.changes
    for text in (as_markdown(Verdict(report)), as_lines(Verdict(report)), as_changelog(report)):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert not any(line.startswith("# Free") for line in text.splitlines())
    for line in as_markdown(Verdict(report)).splitlines():
        outside = without_code(line)
        assert not set("<[@") & set(outside), line


def without_code(line: str) -> str:
    """A line of Markdown without its code spans, as CommonMark reads them."""
    import re

    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", line)


def test_a_pull_request_has_room_for_what_is_counted() -> None:
    ids = [f"acme/thing{n}" for n in range(3000)]
    old = Snapshot("old", dict.fromkeys(ids, BAD), {})
    text = as_markdown(Verdict(compare_snapshots(old, Snapshot("new", {}, {}))))
    assert len(text) < 65_536
    listed = text.count("### ")
    assert listed > 500
    assert f"…and {3000 - listed} more endpoints" in text


def test_a_changelog_lists_endpoints_and_then_fields() -> None:
    old = Snapshot("one", {ID: entry(obj(x=TEXT)), "acme/old": BAD}, {})
    new = Snapshot("two", {ID: entry(obj(x=WHOLE, y=TEXT)), "acme/new": BAD}, {})
    text = as_changelog(compare_snapshots(old, new))
    assert text.startswith(
        "# Changes of the catalogue\n\nFrom `one` to `two`: 1 new endpoints, 1 gone, 1 changed.\n\n"
        "## New endpoints (1)\n\n- `acme/new`\n\n## Gone (1)\n\n- `acme/old`\n\n## Changed\n"
    )
    assert text.endswith(
        "### `acme/thing`\n\n- **breaking** input `x`: `str → int`\n- input `y`: `a new optional field, str`\n"
    )


# --- States -----------------------------------------------------------------------------------------------------------


def test_a_state_is_read_from_files_folders_and_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.json"
    page.write_text(json.dumps({"models": [entry(obj(x=TEXT)).model_dump()]}))
    pull([Source("page.json")], Path("schemas"))
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *command], check=True)
    page.write_text(json.dumps({"models": [entry(obj(x=WHOLE)).model_dump()]}))
    pull([Source("page.json")], Path("schemas"))
    states = {name: read_snapshot(name) for name in ("page.json", "schemas", "schemas/endpoints.lock", "HEAD:schemas")}
    types = {
        name: [change.message for change in compare_snapshots(states["HEAD:schemas"], state).changes]
        for name, state in states.items()
    }
    assert types == {
        "page.json": ["str → int"],
        "schemas": ["str → int"],
        "schemas/endpoints.lock": ["str → int"],
        "HEAD:schemas": [],
    }
    assert states["HEAD:schemas"].modules == {ID: "acme.thing"}


@pytest.mark.parametrize("source", ["nowhere", "HEAD:nowhere", "--output=x:y", "nosuch:schemas"])
def test_a_state_that_is_not_there(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(CatalogError) as caught:
        read_snapshot(source)
    assert source.partition(":")[0] in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / ".git"]
