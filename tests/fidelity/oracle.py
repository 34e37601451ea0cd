"""What an endpoint takes, by its pinned document and `jsonschema`, and by nothing of the generator's or the runtime's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

Schema: TypeAlias = "dict[str, Any]"

SCHEMAS = Path(__file__).resolve().parents[2] / "generated" / "schemas"
_COMPONENT = "#/components/schemas/"


class Oracle:
    """The schema of one endpoint's input, read as JSON Schema 2020-12.

    The documents are written in that dialect, but for two things, which become what they mean: `nullable`, and references
    to components that are not there, behind which anything is allowed.

    Args:
        endpoint_id: The endpoint.
        document: Its document. Default: the pinned one.
    """

    def __init__(self, endpoint_id: str, document: Schema | None = None) -> None:
        self.endpoint_id = endpoint_id
        pinned: Schema = document or json.loads((SCHEMAS / f"{endpoint_id}.json").read_bytes())["openapi"]
        components: Schema = pinned.get("components", {}).get("schemas", {})
        post: Schema = pinned["paths"][f"/{endpoint_id}"]["post"]
        self.input = _read(post["requestBody"]["content"]["application/json"]["schema"], components)
        self._components: Schema = {name: _read(schema, components) for name, schema in components.items()}

    def resolve(self, schema: Schema) -> Schema:
        """A schema with its reference followed and its `allOf` members put together."""
        while "$ref" in schema or "allOf" in schema:
            rest = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
            parts: list[Schema] = [*schema.get("allOf", [])]
            if "$ref" in schema:
                parts.append(self._components[schema["$ref"].removeprefix(_COMPONENT)])
            schema = {key: value for part in parts for key, value in part.items()} | rest
        return schema

    def accepts(self, value: Any, schema: Schema | None = None) -> bool:
        """Whether a value is valid against the input's schema, or against a part of it."""
        validator = self._validator if schema is None else self._validator.evolve(schema={**self._frame, **schema})
        return bool(validator.is_valid(value))

    def broken_rules(self, value: Any) -> set[tuple[tuple[str | int, ...], str]]:
        """Every rule that a value breaks: where, and which keyword, in all branches of unions."""
        return set(_rules(self._validator.iter_errors(value), ()))

    @cached_property
    def _frame(self) -> Schema:
        return {"components": {"schemas": self._components}}

    @cached_property
    def _validator(self) -> Any:
        # jsonschema carries no types, so it is kept behind this one untyped door.
        return import_module("jsonschema").Draft202012Validator({**self._frame, **self.input})


def is_schema(node: Any) -> TypeGuard[Schema]:
    """Whether this is an object: schemas can be true and false, too."""
    return isinstance(node, dict)


def _is_list(node: Any) -> TypeGuard[list[Any]]:
    return isinstance(node, list)


def _rules(errors: Any, prefix: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for error in errors:
        path = (*prefix, *error.path)
        if error.validator == "required":
            yield from (((*path, name), "required") for name in error.validator_value if name not in error.instance)
        else:
            yield path, error.validator
        yield from _rules(error.context, path)


def _read(node: Any, components: Schema) -> Any:
    if _is_list(node):
        return [_read(item, components) for item in node]
    if not is_schema(node):
        return node
    schema = node
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref.removeprefix(_COMPONENT) not in components:
        return {}
    # Defaults and enumerated values are data, not schemas.
    read = {
        key: value if key in ("default", "enum", "const") else _read(value, components) for key, value in schema.items()
    }
    return {"anyOf": [read, {"type": "null"}]} if schema.get("nullable") is True else read
