"""The one dialect of schemas that the stages after `prepare` know, and what can be asked of it.

Documents come in several dialects of JSON Schema; `prepare` reads them all into this one.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeGuard

from fal_runtime.conform import is_multiple

__all__ = [
    "APPLICABLE",
    "CONSTRAINTS",
    "Members",
    "Schema",
    "beyond_msgspec",
    "checkable",
    "conforms",
    "exclusive",
    "inner",
    "is_list",
    "is_literal",
    "is_mapping",
    "json_type",
    "relabelled",
    "replaced",
    "satisfiable",
    "text_of",
    "union",
    "without_null",
]

Schema: TypeAlias = dict[str, Any]
"""One of: `{}` (anything), `{"class": name}`, `{"enum": [...]}`, `{"union": [...]}`, `{"tuple": [...]}`,
`{"map": values}`, `{"one_of": [...]}` (a union that msgspec cannot decode), or `{"type": ...}` of string, integer, number, boolean, null or array (with `items`), with the
constraints that go with it, in JSON Schema's words. A string with `"file": True` takes a file."""


_LENGTHS = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
APPLICABLE: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "array": frozenset({"minItems", "maxItems", "uniqueItems"}),
    "integer": _NUMBERS,
    "number": _NUMBERS,
}
CONSTRAINTS = frozenset[str]().union(*APPLICABLE.values())

_INT64 = range(-(2**63), 2**63)

# Half of a character that takes two in UTF-16: no text in UTF-8 has it.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


# --- Values -----------------------------------------------------------------------------------------------------------

Members: TypeAlias = Iterable[tuple[str, Schema, bool]]
"""The fields of a class: the name in JSON, the type with null, whether it is required."""


def conforms(value: Any, schema: Schema, members: Callable[[Any], Members]) -> bool:
    """Whether a JSON value is of a type.

    Args:
        value: What `json.loads` gives.
        schema: The type.
        members: Gives the fields of a class that the schema refers to.
    """
    if not schema:
        return _is_json(value)
    if "enum" in schema:
        return is_literal(value) and any(value == each and type(value) is type(each) for each in schema["enum"])
    if "union" in schema or "one_of" in schema:
        return any(conforms(value, branch, members) for branch in schema.get("union") or schema["one_of"])
    if "tuple" in schema:
        parts = schema["tuple"]
        pairs = zip(value, parts, strict=False) if is_list(value) and len(value) == len(parts) else None
        return pairs is not None and all(conforms(item, part, members) for item, part in pairs)
    if "map" in schema:
        return is_mapping(value) and all(conforms(item, schema["map"], members) for item in value.values())
    if "class" in schema:
        if not is_mapping(value):
            return False
        known = {wire: (inner, required) for wire, inner, required in members(schema["class"])}
        return all(wire in value or not required for wire, (_, required) in known.items()) and all(
            wire in known and conforms(item, known[wire][0], members) for wire, item in value.items()
        )
    if schema["type"] == "array":
        return (
            is_list(value)
            and schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
            and all(conforms(item, schema["items"], members) for item in value)
        )
    return _is_scalar_of(value, schema)


def _is_scalar_of(value: Any, schema: Schema) -> bool:
    kind = schema["type"]
    if kind == "string":
        return (
            isinstance(value, str)
            and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf)
            and re.search(schema.get("pattern", ""), value) is not None
        )
    if kind in ("integer", "number"):
        return (
            (type(value) is int or (kind == "number" and isinstance(value, float) and math.isfinite(value)))
            and schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
            and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
            and ("multipleOf" not in schema or is_multiple(value, schema["multipleOf"]))
        )
    return isinstance(value, bool) if kind == "boolean" else value is None


def _is_json(value: Any) -> bool:
    """Whether a value can be written as a Python literal: JSON allows no infinities, its parsers do."""
    if is_list(value):
        return all(_is_json(item) for item in value)
    if is_mapping(value):
        return all(_is_json(item) for item in value.values())
    return not isinstance(value, float) or math.isfinite(value)


def json_type(value: Any) -> str:
    """The JSON name of a value's type."""
    for kind, types in (("boolean", bool), ("integer", int), ("number", float), ("string", str), ("array", list)):
        if isinstance(value, types):
            return kind
    return "null" if value is None else "object"


def is_literal(value: Any) -> TypeGuard[str | int]:
    """Whether `Literal` can list a value and msgspec decode it."""
    return type(value) is int and value in _INT64 if not isinstance(value, str) else not _SURROGATE.search(value)


def is_mapping(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a JSON value is a list."""
    return isinstance(value, list)


def text_of(value: Any) -> str:
    """A JSON value as a text; an empty one if it is something else."""
    return value if isinstance(value, str) else ""


# --- Schemas ----------------------------------------------------------------------------------------------------------


def union(branches: Iterable[Schema]) -> Schema:
    """A union of what is different; anything, if a branch is anything."""
    flat: list[Schema] = []
    for branch in branches:
        if not branch:
            return {}
        flat += [each for each in branch.get("union", [branch]) if each not in flat]
    return {"union": flat} if len(flat) > 1 else flat[0] if flat else {}


def replaced(branches: list[Schema], old: list[Schema], new: Schema) -> list[Schema]:
    """The branches with one in place of some."""
    return [new if branch in old else branch for branch in branches]


def without_null(schema: Schema) -> tuple[Schema, bool]:
    """A schema without null, and whether null was in it."""
    if "union" not in schema:
        return schema, schema == {"type": "null"}
    rest = [branch for branch in schema["union"] if branch != {"type": "null"}]
    return union(rest), len(rest) < len(schema["union"])


def inner(schema: Schema) -> list[Schema]:
    """The schemas directly inside of another."""
    parts: list[Schema] = [*schema.get("union", ()), *schema.get("one_of", ()), *schema.get("tuple", ())]
    return [*parts, *(schema[key] for key in ("items", "map") if key in schema)]


def relabelled(schema: Schema, labels: Mapping[Any, str]) -> Schema:
    """The same schema with the final names of classes."""
    if "class" in schema:
        return {"class": labels[schema["class"]]}
    changed = dict(schema)
    for key in ("items", "map"):
        if key in changed:
            changed[key] = relabelled(changed[key], labels)
    for key in ("union", "one_of", "tuple"):
        if key in changed:
            changed[key] = [relabelled(part, labels) for part in changed[key]]
    return changed


# --- Constraints ------------------------------------------------------------------------------------------------------


def exclusive(constraints: dict[str, Any]) -> dict[str, Any]:
    """Read the boolean `exclusiveMinimum` of OpenAPI 3.0 as the number that it stands for."""
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        flag = constraints.get(exclusive)
        if isinstance(flag, bool):
            del constraints[exclusive]
        if flag is True and inclusive in constraints:
            constraints[exclusive] = constraints.pop(inclusive)
    return constraints


def checkable(keyword: str, value: Any, *, whole: bool) -> Any:
    """A constraint in a form that the runtime can check; `None` if there is none."""
    if keyword == "pattern":
        return value if isinstance(value, str) and not _SURROGATE.search(value) and _compiles(value) else None
    if keyword in _LENGTHS:
        return value if type(value) is int and 0 <= value < 2**31 else None
    if keyword == "uniqueItems":
        return value if isinstance(value, bool) else None
    if type(value) not in (int, float) or not abs(value) < 1e300:
        return None
    if keyword == "multipleOf":
        return value if value > 0 else None
    if not whole:
        return float(value)
    # The nearest whole number that accepts the same whole numbers.
    return math.ceil(value) if keyword in ("minimum", "exclusiveMaximum") else math.floor(value)


def beyond_msgspec(schema: Schema) -> dict[str, Any]:
    """The constraints of a type, itself and not its parts, that msgspec has no words for; the runtime checks them.

    A float's remainder is inexact, so msgspec would refuse multiples; its bounds are 64-bit integers.
    """
    step: Any = schema.get("multipleOf", 1)
    return {
        key: value
        for key, value in schema.items()
        if (key == "uniqueItems" and value)
        or (key == "multipleOf" and not (type(step) is int and schema["type"] == "integer" and step in _INT64))
        or (key in _NUMBERS and type(value) is int and value not in _INT64)
    }


def _compiles(pattern: str) -> bool:
    with warnings.catch_warnings():
        # What Python will read otherwise one day is not what the platform means.
        warnings.simplefilter("error")
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError, Warning):
            return False
    return True


def satisfiable(constraints: dict[str, Any]) -> bool:
    """Whether a value can satisfy these constraints; of two lower or upper bounds, the weaker one is taken out."""
    for inclusive, exclusive, sign in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        if inclusive in constraints and exclusive in constraints:
            tighter = constraints[exclusive] * sign >= constraints[inclusive] * sign
            del constraints[inclusive if tighter else exclusive]
    low = constraints.get("minimum", constraints.get("exclusiveMinimum", -math.inf))
    high = constraints.get("maximum", constraints.get("exclusiveMaximum", math.inf))
    open_ = "exclusiveMinimum" in constraints or "exclusiveMaximum" in constraints
    return (
        (low < high or (low == high and not open_))
        and constraints.get("minLength", 0) <= constraints.get("maxLength", math.inf)
        and constraints.get("minItems", 0) <= constraints.get("maxItems", math.inf)
    )
