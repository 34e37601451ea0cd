"""Types in words, as a person would read them: `"jpeg" | "png"`, `int, 1 to 4`, `list[ImageSize]`."""

from __future__ import annotations

import json
from typing import Any

from fal_codegen.dialect import CONSTRAINTS, Schema
from fal_codegen.docs import bounds

__all__ = ["constraints_of", "literal", "type_text"]

_NAMES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_MOST_VALUES = 12


def type_text(schema: Schema, *, nullable: bool = False, most: int = _MOST_VALUES, ranges: bool = False) -> str:
    """Write a type in Python's notation.

    Args:
        schema: The type.
        nullable: Whether null is allowed beside it.
        most: How many values of an enum to list.
        ranges: Whether to add the bounds in words.
    """
    branches = schema.get("union", [schema])
    texts = dict.fromkeys(_branch(branch, most, ranges) for branch in branches)
    if nullable and "None" not in texts:
        texts["None"] = None
    return " | ".join(texts)


def _branch(schema: Schema, most: int, ranges: bool) -> str:
    def part(inner: Schema) -> str:
        return type_text(inner, most=most, ranges=ranges)

    if not schema:
        return "Any"
    if "class" in schema:
        return str(schema["class"])
    if "enum" in schema:
        return literal_union(schema["enum"], most)
    if "map" in schema:
        return f"dict[str, {part(schema['map'])}]"
    if "tuple" in schema:
        return f"tuple[{', '.join(part(each) for each in schema['tuple']) or '()'}]"
    if "union" in schema:
        return part(schema)
    name = f"list[{part(schema['items'])}]" if "items" in schema else _NAMES[schema["type"]]
    if schema.get("file"):
        name = "file"
    words = bounds(schema).rstrip(".") if ranges else ""
    return f"{name} ({words[0].lower()}{words[1:]})" if words else name


def literal_union(values: list[Any], most: int = _MOST_VALUES) -> str:
    """The values of an enum; of many, the first ones and how many more there are."""
    shown = [literal(value) for value in values[:most]]
    more = len(values) - len(shown)
    return " | ".join(shown) + (f" | … {more} more" if more else "")


def literal(value: Any) -> str:
    """A JSON value in one line."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def constraints_of(schema: Schema) -> dict[str, Any]:
    """The bounds of a type itself, in JSON Schema's words."""
    return {key: schema[key] for key in sorted(CONSTRAINTS.intersection(schema))}
