"""Values of a document as Python source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fal_codegen.dialect import Members, Schema, conforms
from fal_codegen.prepare import Class

__all__ = ["as_python"]


def as_python(value: Any, schema: Schema, classes: Mapping[str, Class], *, prefix: str = "") -> str:
    """Write a JSON value as the Python value of a type that it conforms to.

    Args:
        value: The value.
        schema: The type.
        classes: The classes that the type refers to, by name.
        prefix: What to put before the name of a class, `flux_dev.`.
    """

    def members(name: str) -> Members:
        for one in classes[name].fields:
            null: Schema = {"union": [one.schema, {"type": "null"}]}
            yield one.wire, null if one.nullable and one.schema else one.schema, one.required

    if value is None:
        return "None"
    if "union" in schema or "one_of" in schema:
        candidates: list[Schema] = schema.get("union") or schema["one_of"]
        branches = [each for each in candidates if conforms(value, each, members)]
        return as_python(value, branches[0], classes, prefix=prefix)
    if "class" in schema:
        fields = classes[schema["class"]].fields
        given = (
            f"{one.name}={as_python(value[one.wire], one.schema, classes, prefix=prefix)}"
            for one in fields
            if one.wire in value
        )
        return f"{prefix}{schema['class']}({', '.join(given)})"
    if "map" in schema:
        pairs = (f"{key!r}: {as_python(item, schema['map'], classes, prefix=prefix)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if "tuple" in schema:
        parts = [
            as_python(item, part, classes, prefix=prefix) for item, part in zip(value, schema["tuple"], strict=True)
        ]
        return f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    if "items" in schema:
        return f"[{', '.join(as_python(item, schema['items'], classes, prefix=prefix) for item in value)}]"
    if schema.get("type") == "number" and abs(value) < 2**53:
        return repr(float(value))
    return repr(value)
