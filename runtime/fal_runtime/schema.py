"""JSON Schema of generated types, plain and as the APIs of tool-calling language models want it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from fal_runtime.shapes import members_of, reached
from fal_runtime.values import mapping, sequence

__all__ = ["Dialect", "component", "json_schema"]

Dialect: TypeAlias = Literal["plain", "openai", "anthropic", "mcp"]
Schema: TypeAlias = "dict[str, Any]"

_REF = "#/$defs/"

_DATA = frozenset({"default", "enum"})
"""Keywords whose values are no schemas."""

# What a strict tool of OpenAI's may not say. Bounds of numbers and lists, patterns and descriptions stay.
# Source: OpenAI docs, "Structured model outputs", supported schemas.
_NOT_STRICT = frozenset({"default", "discriminator", "examples", "maxLength", "minLength", "title", "uniqueItems"})


def json_schema(type_: Any, *, dialect: Dialect = "plain") -> Schema:
    """The JSON Schema (2020-12) of a generated type, with its descriptions, bounds and the platform's defaults.

    Args:
        type_: A generated type, such as `flux_dev.Input`.
        dialect: `plain` keeps each nested type once, in `$defs`. `anthropic` (`input_schema` of a tool) and `mcp`
            (`inputSchema`) have every reference resolved. `openai` is for `strict: true`: also, every field is
            required and takes null instead, and what the mode does not know is left out. Read what such a tool is
            called with by `Input.from_dict(arguments, drop_null=True)`, which checks it all again.

    Raises:
        ValueError: if a required field is of a type that the dialect cannot say.
    """
    schema, components, _ = _described(type_, _REF + "{name}")
    definitions = {f"{_REF}{name}": each for name, each in components.items()}
    if dialect == "plain":
        root = dict(definitions.pop(schema["$ref"])) if schema.keys() == {"$ref"} else dict(schema)
        kept = {ref.removeprefix(_REF): definitions[ref] for ref in definitions}
        return {**root, "$defs": kept} if kept else root
    resolved = _resolved(schema, definitions, ())
    return _strict(resolved, "") if dialect == "openai" else resolved


def component(cls: type[Any], template: str) -> tuple[Schema, dict[type[Any], str]]:
    """The schema of one class, without those of the classes in it.

    Args:
        cls: A generated class.
        template: How to refer to another class, with `{name}`.

    Returns:
        The schema; and how it refers to each of the other classes.
    """
    own, components, refs = _described(cls, template)
    name = next(name for name in components if template.format(name=name) == own["$ref"])
    return components[name], refs


def _parts(type_: Any) -> tuple[list[type[Any]], dict[str, tuple[Any, ...]]]:
    """What the fields of a type name, all the way down: the other classes, and the members of each `OneOf`."""
    classes: dict[type[Any], None] = {}
    unions: dict[str, tuple[Any, ...]] = {}
    for info in reached(type_):
        if isinstance(info, msgspec.inspect.StructType):
            classes[info.cls] = None
        elif isinstance(info, msgspec.inspect.Metadata) and (own := members_of(info)):
            unions[mapping(info.extra_json_schema)["one_of"]] = own  # pyright: ignore[reportUnknownMemberType]
    return [cls for cls in classes if cls is not type_], unions


def _described(type_: Any, template: str) -> tuple[Schema, Schema, dict[type[Any], str]]:
    """msgspec's schema of a type and of its classes, with the words of the classes; and how each class is referred to."""
    classes, members_of = _parts(type_)
    members = [member for own in members_of.values() for member in own]
    (root, *parts), components = msgspec.json.schema_components((type_, *classes, *members), ref_template=template)
    rest = iter(parts[len(classes) :])
    unions = {key: [next(rest) for _ in own] for key, own in members_of.items()}
    names = {template.format(name=name): name for name in components}
    refs = {cls: ref["$ref"] for cls, ref in zip(classes, parts, strict=False)}
    for cls, ref in ((type_, root.get("$ref")), *refs.items()):
        if ref in names:
            components[names[ref]] = _with_words(cls, _typed(components[names[ref]], unions))
    return _typed(root, unions), components, refs


def _with_words(cls: type[Any], schema: Schema) -> Schema:
    """Put the words of a class's docstring, and the platform's defaults, beside what they are about."""
    text, _, entries = inspect.cleandoc(cls.__doc__ or "").partition("\n\nArgs:\n")
    words = {name.strip(): about for name, _, about in (line.partition(": ") for line in entries.splitlines())}
    defaults: dict[str, Any] = getattr(cls, "__platform_defaults__", {})
    properties: Schema = {}
    for field in msgspec.structs.fields(cls):
        found: Schema = dict(schema["properties"][field.encode_name])
        if field.name in defaults:
            found["default"] = msgspec.to_builtins(defaults[field.name])
        if words.get(field.name):
            found = {"description": words[field.name], **found}
        properties[field.encode_name] = found
    about = {"description": text} if text else {}
    return {**schema, **about, "properties": {**schema["properties"], **properties}}


def _typed(schema: Any, unions: Mapping[str, list[Schema]]) -> Any:
    """Say the type of listed values, which some readers want, and what is in a `OneOf`."""
    if isinstance(schema, list):
        return [_typed(item, unions) for item in sequence(schema)]
    if not isinstance(schema, dict):
        return schema
    node = mapping(schema)
    found = {key: value if key in _DATA else _typed(value, unions) for key, value in node.items() if key != "one_of"}
    if "one_of" in node:
        found["anyOf"] = [_typed(member, unions) for member in unions[node["one_of"]]]
    values: list[Any] = found.get("enum", [])
    if values and "type" not in found:
        for kind, name in ((str, "string"), (int, "integer")):
            if all(type(value) is kind for value in values):
                found["type"] = name
    return found


def _resolved(schema: Any, definitions: Schema, trail: tuple[str, ...]) -> Any:
    """Put each definition in the place of the references to it."""
    if isinstance(schema, list):
        return [_resolved(item, definitions, trail) for item in sequence(schema)]
    if not isinstance(schema, dict):
        return schema
    node = mapping(schema)
    ref = node.get("$ref")
    if not isinstance(ref, str):
        return {key: value if key in _DATA else _resolved(value, definitions, trail) for key, value in node.items()}
    if ref in trail:
        raise ValueError(f"{ref.removeprefix(_REF)} holds itself, so its references cannot be resolved; use 'plain'")
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return {**_resolved(definitions[ref], definitions, (*trail, ref)), **beside}


def _strict(schema: Schema, path: str) -> Schema:
    """A schema in the words of OpenAI's strict mode.

    Raises:
        ValueError: if it has none.
    """
    node = {key: value for key, value in schema.items() if key not in _NOT_STRICT}
    if "anyOf" in node:
        branches = list(_sayable(node["anyOf"], path))
        if not branches or branches == [{"type": "null"}]:
            raise ValueError(f"{path or 'this type'} takes only what strict mode cannot say: objects of any shape")
        return {**node, "anyOf": branches}
    if "prefixItems" in node:
        parts: list[Schema] = [_strict(part, path) for part in node.pop("prefixItems")]
        different = [part for index, part in enumerate(parts) if part not in parts[:index]]
        return {**node, "items": different[0] if len(different) == 1 else {"anyOf": different}}
    if "items" in node:
        return {**node, "items": _strict(node["items"], f"{path}[]")}
    if "properties" in node:
        return {**node, **_strict_object(node, path)}
    if "enum" in node or node.get("type") not in (None, "object", "array"):
        return node
    raise ValueError(f"{path or 'this type'} takes objects or lists of any shape, which strict mode cannot say")


def _strict_object(node: Schema, path: str) -> Schema:
    required: list[str] = node.get("required", [])
    properties: Schema = {}
    for name, part in node["properties"].items():
        try:
            said = _strict(part, f"{path}.{name}" if path else name)
        except ValueError:
            if name in required:
                raise
            continue  # it can be left unset, so the tool works without it
        properties[name] = said if name in required else _or_null(said)
    return {"properties": properties, "required": list(properties), "additionalProperties": False}


def _sayable(branches: Iterable[Schema], path: str) -> Iterable[Schema]:
    for branch in branches:
        try:
            yield _strict(branch, path)
        except ValueError:
            continue  # the other branches say enough


def _or_null(schema: Schema) -> Schema:
    null: Schema = {"type": "null"}
    if null in schema.get("anyOf", ()):
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], null]}
    about = {key: value for key, value in schema.items() if key == "description"}
    return {**about, "anyOf": [{key: value for key, value in schema.items() if key not in about}, null]}
