"""What an endpoint takes and gives: its schema document, put in order so that a standard validator can judge by it.

The documents are OpenAPI 3.0.4 frames with JSON Schema 2020-12 inside. They hold a few 3.0 keywords (`nullable`, boolean
exclusive bounds) and references to components that do not exist; here these become what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, TypeAlias, cast

Schema: TypeAlias = "dict[str, Any]"

_COMPONENT = "#/components/schemas/"
_DEFINITION = "#/$defs/"
_ONE = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames"})
_LIST = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_MAP = frozenset({"properties", "patternProperties", "$defs"})


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a value breaks."""

    keyword: str
    rule: Any
    """The keyword's value in the schema."""
    path: tuple[str | int, ...]
    """Where in the value."""
    value: Any
    schema: Schema
    """The schema that the rule stands in."""
    branches: tuple[tuple[Violation, ...], ...] = ()
    """For `anyOf` and `oneOf`: what each member objects to."""


class Contract:
    """The input and the output schema of one endpoint, and how values fare against them."""

    def __init__(self, endpoint_id: str, document: Schema) -> None:
        self.endpoint_id = endpoint_id
        components: Schema = document.get("components", {}).get("schemas", {})
        self.definitions: Schema = {name: _repair(schema, components) for name, schema in components.items()}
        """The components that the others refer to, by name."""
        self._root = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": self.definitions}
        submit, result = f"/{endpoint_id}", f"/{endpoint_id}/requests/{{request_id}}"
        paths: Schema = document.get("paths", {})
        body: Schema = paths.get(submit, {}).get("post", {}).get("requestBody", {})
        answer: Schema = paths.get(result, {}).get("get", {}).get("responses", {}).get("200", {})
        self.input = _repair(_json_schema(body), components)
        """The schema of what is posted."""
        self.output = _repair(_json_schema(answer), components)
        """The schema of the result."""

    def resolve(self, schema: Schema) -> Schema:
        """The schema with references followed and `allOf` members merged; a sibling of a reference wins over it."""
        while "$ref" in schema or "allOf" in schema:
            rest = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
            merged: Schema = {}
            parts: list[Schema] = [*schema.get("allOf", [])]
            if "$ref" in schema:
                parts.insert(0, self.definitions[schema["$ref"].removeprefix(_DEFINITION)])
            for part in parts:
                merged = {**merged, **part}
            schema = {**merged, **rest}
        return schema

    def violations(self, schema: Schema, value: object) -> list[Violation]:
        """Every rule of the schema that the value breaks."""
        return list(_translate(self._validator.evolve(schema=schema).iter_errors(value)))

    def accepts(self, schema: Schema, value: object) -> bool:
        """Whether the value satisfies the schema."""
        return bool(self._validator.evolve(schema=schema).is_valid(value))

    @cached_property
    def defaults(self) -> Schema:
        """The defaults of the input's fields, by name."""
        fields: Schema = self.resolve(self.input).get("properties", {})
        return {name: schema["default"] for name, schema in fields.items() if "default" in schema}

    @cached_property
    def _validator(self) -> Any:
        # jsonschema carries no types, so it is kept behind this one untyped door, and loaded with the first request.
        return import_module("jsonschema").Draft202012Validator(self._root)


def _json_schema(holder: Schema) -> Schema:
    return cast("Schema", holder.get("content", {}).get("application/json", {}).get("schema", {}))


def _repair(schema: Any, components: Schema) -> Any:
    if not isinstance(schema, dict):
        return schema
    out: Schema = {}
    for key, value in cast("Schema", schema).items():
        if key == "$ref":
            name = str(value).removeprefix(_COMPONENT)
            if name in components:
                out[key] = _DEFINITION + name
        elif key in _ONE:
            out[key] = _repair(value, components)
        elif key in _LIST:
            out[key] = [_repair(member, components) for member in value]
        elif key in _MAP:
            out[key] = {name: _repair(member, components) for name, member in value.items()}
        elif key in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            bound = "minimum" if key == "exclusiveMinimum" else "maximum"
            if value and bound in schema:
                out[key] = schema[bound]
        elif key == "pattern" and not _compiles(value):
            continue
        elif key != "nullable":
            out[key] = value
    if required := out.get("required"):
        # A field that is listed as required and has a default may be left out all the same.
        properties: Schema = out.get("properties", {})
        out["required"] = [name for name in required if "default" not in properties.get(name, {})]
    if cast("Schema", schema).get("nullable") is True:
        return {"anyOf": [out, {"type": "null"}]}
    return out


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _translate(errors: Any, prefix: tuple[str | int, ...] = ()) -> Iterator[Violation]:
    for error in errors:
        path = (*prefix, *error.path)
        branches: list[tuple[Violation, ...]] = []
        if error.validator in ("anyOf", "oneOf"):
            for index in range(len(error.validator_value)):
                members = [child for child in error.context if child.schema_path[0] == index]
                branches.append(tuple(_translate(members, path)))
        yield Violation(error.validator, error.validator_value, path, error.instance, error.schema, tuple(branches))
