"""Schemas that msgspec has no types for, and that users may have: what the generator makes of them is faithful, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fal_codegen.emit import emit
from fal_runtime import json_schema
from fal_runtime.errors import InputError

from .instances import broken, valid
from .measure import measure
from .oracle import Oracle, Schema

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NULL: Schema = {"type": "null"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def listed(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def document(field: Schema) -> Schema:
    def content(schema: Schema) -> Schema:
        return {"content": {"application/json": {"schema": schema}}}

    circle = {"type": "object", "properties": {"radius": {"type": "number", "minimum": 0}}, "required": ["radius"]}
    square = {"type": "object", "properties": {"side": {"type": "number", "minimum": 0}}, "required": ["side"]}
    group = {"type": "object", "properties": {"parts": listed({"anyOf": [ref("Circle"), ref("Square")]})}}
    whole = {"type": "object", "properties": {"x": field, "y": {**TEXT, "default": "a"}}, "required": ["x"]}
    return {
        "components": {"schemas": {"Input": whole, "Circle": circle, "Square": square, "Group": group}},
        "paths": {"/acme/thing": {"post": {"requestBody": content(ref("Input")), "responses": {"200": content({})}}}},
    }


@pytest.fixture
def load() -> Iterator[Any]:
    names: list[str] = []

    def made(field: Schema) -> Any:
        emitted = emit("acme/thing", {}, document(field), module="acme.thing", sha256="0" * 64)
        assert emitted.source is not None, emitted.diagnostics
        module = ModuleType(f"acme_thing_{len(names)}")
        names.append(module.__name__)
        sys.modules[module.__name__] = module  # msgspec looks names up where a class says that it is from
        exec(emitted.source, module.__dict__)  # noqa: S102
        return module

    yield made
    for name in names:
        del sys.modules[name]


UNIONS: dict[str, Schema] = {
    "objects": {"anyOf": [ref("Circle"), ref("Square")]},
    "objects, a text and null": {"anyOf": [ref("Circle"), ref("Square"), TEXT, NULL]},
    "an object and an open one": {"anyOf": [ref("Circle"), {"type": "object"}, TEXT]},
    "maps": {
        "anyOf": [{"type": "object", "additionalProperties": TEXT}, {"type": "object", "additionalProperties": WHOLE}]
    },
    "lists of objects": listed({"anyOf": [ref("Circle"), ref("Square")]}, minItems=1, maxItems=3),
    "objects that hold unions": {"anyOf": [ref("Group"), ref("Circle")]},
    "lists": {"anyOf": [listed(TEXT), listed(WHOLE)]},
    "a list and a pair": {
        "anyOf": [listed(TEXT), {"type": "array", "prefixItems": [WHOLE, TEXT], "minItems": 2, "maxItems": 2}]
    },
    "texts of different lengths": {"anyOf": [{**TEXT, "maxLength": 2}, {**TEXT, "minLength": 9}]},
    "a long text and words": {"anyOf": [{**TEXT, "minLength": 30}, {"enum": ["auto", "none"]}]},
    "ranges": {"anyOf": [{**WHOLE, "maximum": 2}, {**WHOLE, "minimum": 9, "maximum": 12}]},
    "whole numbers and fractions": {"anyOf": [{**WHOLE, "minimum": 10}, {"type": "number", "maximum": 1}]},
    "multiples in a list": listed({"type": "number", "multipleOf": 0.25}, minItems=1),
    "huge bounds": {**WHOLE, "minimum": 0, "maximum": 2**64 - 1},
    "items that differ, in a map": {"type": "object", "additionalProperties": listed(WHOLE, uniqueItems=True)},
}


@pytest.mark.parametrize("field", UNIONS.values(), ids=UNIONS)
def test_what_msgspec_cannot_say_is_checked_all_the_same(field: Schema, load: Any) -> None:
    measured = measure(Oracle("acme/thing", document(field)), load(field).Input)
    assert measured.failures == []
    assert measured.valid > 3
    assert measured.invalid.total() > 5


@pytest.mark.parametrize("field", UNIONS.values(), ids=UNIONS)
def test_the_json_schema_says_the_same(field: Schema, load: Any) -> None:
    oracle = Oracle("acme/thing", document(field))
    mine = Oracle(
        "acme/thing",
        {**document(field), "components": {"schemas": {"Input": json_schema(load(field).Input, dialect="mcp")}}},
    )
    assert all(mine.accepts(value) for value in valid(oracle))
    assert not any(mine.accepts(each.value) for each in broken(oracle))


def test_a_union_is_built_of_the_type_that_fits(load: Any) -> None:
    module = load(UNIONS["objects, a text and null"])
    assert module.Input.from_dict({"x": {"side": 2}}) == module.Input(x=module.Square(side=2.0))
    assert module.Input.from_dict({"x": {"radius": 2}}).x == module.Circle(radius=2.0)
    assert module.Input.from_dict({"x": "a"}).x == "a"
    assert msgspec.json.encode(module.Input(x=module.Square(side=2.0))) == b'{"x":{"side":2.0}}'
    with pytest.raises(InputError, match=r"x\.side: must be at least 0, not -1"):
        module.Input.from_dict({"x": {"side": -1}})
