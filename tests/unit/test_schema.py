"""JSON Schema of generated types: it says what the types check, and what tool-calling APIs accept."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from fal_endpoints.fal_ai import flux_dev, flux_general
from fal_runtime import InputModel, default, json_schema
from fal_runtime.schema import Dialect
from fal_runtime.values import mapping, sequence
from fidelity.instances import broken, valid
from fidelity.measure import endpoints
from fidelity.oracle import Oracle

RESOLVED: tuple[Dialect, ...] = ("openai", "anthropic", "mcp")

NOT_SAYABLE = {"fal-ai/wan-ati", "fal-ai/wan-move"}
"""Endpoints with a required field for which the document gives no type, so that strict mode cannot say it."""

NOT_STRICT = {
    "$defs",
    "$ref",
    "default",
    "discriminator",
    "maxLength",
    "minLength",
    "prefixItems",
    "title",
    "uniqueItems",
}


def schemas_in(node: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema; names of properties are none."""
    if schema := mapping(node):
        yield schema
    for key, part in mapping(node).items():
        if key in ("properties", "$defs"):
            for each in mapping(part).values():
                yield from schemas_in(each)
        elif key not in ("default", "enum"):
            yield from schemas_in(part)
    for part in sequence(node):
        yield from schemas_in(part)


def validator(schema: dict[str, Any]) -> Any:
    return importlib.import_module("jsonschema").Draft202012Validator(schema)


def test_a_schema_has_the_words_the_bounds_and_the_defaults() -> None:
    schema = json_schema(flux_dev.Input)
    assert schema["description"] == "Input of `fal-ai/flux/dev`."
    assert schema["required"] == ["prompt"]
    assert list(schema["properties"])[:3] == ["prompt", "image_size", "num_inference_steps"]
    assert schema["properties"]["num_images"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 4,
        "default": 1,
        "description": "How many images to make in one call. Each one usually adds to the price. "
        "Range: 1 to 4. Default: 1.",
    }
    assert schema["properties"]["seed"]["default"] is None
    assert schema["properties"]["image_size"]["anyOf"][1] == {"$ref": "#/$defs/ImageSize"}
    assert schema["$defs"]["ImageSize"]["properties"]["width"]["default"] == 512
    assert "$defs" not in json_schema(flux_dev.ImageSize)


@pytest.mark.parametrize("endpoint_id", list(endpoints())[::40])
def test_a_schema_allows_what_the_platform_s_does(endpoint_id: str) -> None:
    type_ = importlib.import_module(endpoints()[endpoint_id]).Input
    oracle = Oracle(endpoint_id)
    plain, resolved = (validator(json_schema(type_, dialect=dialect)) for dialect in ("plain", "mcp"))
    good, bad = list(valid(oracle)), list(broken(oracle))
    assert good
    assert bad
    for value in good:
        assert plain.is_valid(value), value
        assert resolved.is_valid(value), value
    for each in bad:
        assert not plain.is_valid(each.value), each
        assert not resolved.is_valid(each.value), each


@pytest.mark.parametrize("dialect", RESOLVED)
def test_tool_dialects_have_no_references_and_one_object_at_the_top(dialect: Dialect) -> None:
    for endpoint_id, type_ in models().items():
        if dialect != "openai" or endpoint_id not in NOT_SAYABLE:
            schema = json_schema(type_, dialect=dialect)
            assert not [each for each in schemas_in(schema) if "$ref" in each or "$defs" in each], endpoint_id
            assert schema["type"] == "object", endpoint_id


def models() -> dict[str, type[InputModel]]:
    """The inputs that have fields."""
    types = {endpoint_id: importlib.import_module(module).Input for endpoint_id, module in endpoints().items()}
    return {endpoint_id: type_ for endpoint_id, type_ in types.items() if isinstance(type_, type)}


def test_the_strict_dialect_keeps_to_the_rules_of_strict_mode() -> None:
    not_sayable: set[str] = set()
    for endpoint_id, type_ in models().items():
        try:
            schema = json_schema(type_, dialect="openai")
        except ValueError:
            not_sayable.add(endpoint_id)
            continue
        for each in schemas_in(schema):
            assert not NOT_STRICT & each.keys(), (endpoint_id, each)
            assert each.keys() & {"type", "anyOf", "enum"}, (endpoint_id, each)
            if "properties" in each or each.get("type") == "object":
                assert each["required"] == list(each["properties"]), (endpoint_id, each)
                assert each["additionalProperties"] is False, (endpoint_id, each)
    assert not_sayable == NOT_SAYABLE


@pytest.mark.parametrize("endpoint_id", list(endpoints())[::40])
def test_what_a_strict_tool_is_called_with_becomes_an_input(endpoint_id: str) -> None:
    type_ = importlib.import_module(endpoints()[endpoint_id]).Input
    schema = json_schema(type_, dialect="openai")
    for value in valid(Oracle(endpoint_id)):
        call = {name: value.get(name) for name in schema["properties"]}
        if validator(schema).is_valid(call):
            sent = {name: item for name, item in value.items() if name in schema["properties"]}
            made = type_.from_dict(call, drop_null=True)
            assert {name: item for name, item in made.to_dict().items() if item is not None}.keys() == {
                name for name, item in sent.items() if item is not None
            }


class Pair(InputModel, kw_only=True):
    kind: Literal["a", "b"]
    size: tuple[int, int] = default()
    colour: tuple[int, str] = default()
    free: dict[str, int] = default()
    either: dict[str, int] | str = default()
    name: Annotated[str, Meta(min_length=1, pattern="^a")] = default("a")


class Loop(InputModel, kw_only=True):
    inner: Loop | None = default(None)


class Open(InputModel, kw_only=True):
    values: dict[str, Any]


def test_what_strict_mode_cannot_say_is_said_another_way_or_left_out() -> None:
    null = {"type": "null"}
    pair = {"type": "array", "minItems": 2, "maxItems": 2}
    assert json_schema(Pair, dialect="openai")["properties"] == {
        "kind": {"enum": ["a", "b"], "type": "string"},
        "size": {"anyOf": [{**pair, "items": {"type": "integer"}}, null]},
        "colour": {"anyOf": [{**pair, "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}, null]},
        "either": {"anyOf": [{"type": "string"}, null]},
        "name": {"anyOf": [{"type": "string", "pattern": "^a"}, null]},
    }


def test_what_a_dialect_cannot_say_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"^values takes objects or lists of any shape, which strict mode cannot say"):
        json_schema(Open, dialect="openai")
    with pytest.raises(ValueError, match=r"^Loop holds itself"):
        json_schema(Loop, dialect="mcp")
    assert json_schema(Loop)["properties"]["inner"]["anyOf"]


def test_a_type_without_fields_has_a_schema_too() -> None:
    assert json_schema(dict[str, Any]) == {"type": "object"}
    assert json_schema(flux_general.Output, dialect="mcp")["properties"]["images"]["items"]["type"] == "object"
