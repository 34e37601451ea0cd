"""Documents: their one form, what counts as a fact, and that the committed ones hold nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_codegen.catalog import CatalogError, Entry, canonical, facts_only, schema_path, sha256
from fal_codegen.lock import read_lock

SCHEMAS = Path(__file__).parents[2] / "generated" / "schemas"


def entry(schema: dict[str, Any], **metadata: Any) -> Entry:
    openapi = {"openapi": "3.0.4", "info": {"title": "prose"}, "paths": {}, "components": {"schemas": {"A": schema}}}
    return Entry(endpoint_id="acme/thing", metadata=metadata, openapi=openapi)


def test_facts_stay_and_prose_goes() -> None:
    schema = {
        "title": "A thing",
        "description": "What it is.",
        "type": "object",
        "required": ["title"],
        "properties": {
            "title": {"type": "string", "title": "Title", "examples": ["x"], "default": "short"},
            "description": {"type": "string", "maxLength": 5, "default": "x" * 81},
            "size": {"enum": ["description", "a"], "const": {"title": 1}, "limit_description": "Up to 5 MB"},
        },
    }
    stripped = facts_only(entry(schema, display_name="Thing", description="Prose.", category="vision"))
    assert stripped.metadata == {"display_name": "Thing", "category": "vision"}
    assert stripped.openapi is not None
    assert stripped.openapi["info"] == {"title": "acme/thing", "version": "1.0.0"}
    assert stripped.openapi["components"]["schemas"]["A"] == {
        "type": "object",
        "required": ["title"],
        "properties": {
            "title": {"type": "string", "default": "short"},
            "description": {"type": "string", "maxLength": 5},
            "size": {"enum": ["description", "a"], "const": {"title": 1}},
        },
    }


def test_a_document_has_one_form_whatever_order_it_came_in() -> None:
    one = entry({"type": "object", "properties": {"a": {}, "b": {}}}, category="vision", date="2026", updated_at="1")
    other = entry({"properties": {"b": {}, "a": {}}, "type": "object"}, updated_at="2", date="2026", category="vision")
    assert canonical(one) == canonical(other)
    assert json.loads(canonical(one))["metadata"] == {"category": "vision", "date": "2026"}


@pytest.mark.parametrize(
    ("openapi", "problem"),
    [
        (None, "the source gave no schema"),
        ({"error": {"code": "expansion_failed", "message": "gone"}}, "expansion_failed: gone"),
        ({"error": {"code": "expansion_failed"}}, "expansion_failed"),
        ({"paths": {}}, None),
    ],
)
def test_why_there_is_no_schema(openapi: dict[str, Any] | None, problem: str | None) -> None:
    assert Entry(endpoint_id="acme/thing", openapi=openapi).problem == problem


@pytest.mark.parametrize("id_", ["../x", "a/../../x", "/a/b", "a", "a//b", "a\\b/c", "a/b\n"])
def test_no_id_leads_out_of_the_folder(id_: str) -> None:
    with pytest.raises(CatalogError, match="not an endpoint id"):
        schema_path(id_)


def texts(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        members: dict[str, Any] = {**node}
        for key, value in members.items():
            if isinstance(value, str):
                yield key, value
            yield from texts(value)
    elif isinstance(node, list):
        for item in [*node]:  # pyright: ignore[reportUnknownVariableType]
            yield from texts(item)


def test_the_committed_catalogue_holds_facts_only_and_the_lock_names_it() -> None:
    rows = read_lock(SCHEMAS)
    on_disk = {path.relative_to(SCHEMAS).as_posix().removesuffix(".json") for path in SCHEMAS.rglob("*.json")}
    assert on_disk == rows.keys()
    assert sorted(row.state for row in rows.values()).count("unavailable") == 5
    for id_, row in rows.items():
        data = (SCHEMAS / schema_path(id_)).read_bytes()
        document = Entry.model_validate_json(data)
        assert sha256(data) == row.sha256, id_
        assert canonical(facts_only(document)) == data, id_
        assert row.reason == document.problem
        prose = {"description", "examples", "example", "limit_description", "about"}
        assert [key for key, _ in texts(document.openapi) if key in prose] == []
        assert [text for key, text in texts(document.openapi) if key == "default" and len(text) > 80] == []
