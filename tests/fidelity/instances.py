"""Values that a schema allows, and values that break one rule of it: the same ones on each run.

They are chosen, not drawn: every property with every branch, every listed value, both ends of each range, each length at
its limits; and for each rule, at each place, values that break it and nothing else.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from .oracle import Oracle, Schema, is_schema

Path: TypeAlias = "tuple[str | int, ...]"

_DEEPEST = 6
_MOST = 1000
"""How many values of one schema are tried."""
_LONGEST = 20_000
"""How long the texts are that are tried."""
_TEXTS = ("a cat", "", 'Ünïcödé 猫🐈\u2028\t"\\', "https://example.com/cat.png?a=1&b=2")
_INTEGERS = (0, 1, -1, 7, 7.0, 2**31, 2**53, -(2**53), 2**63, 2**70)
_NUMBERS = (0, 1, -1, 0.5, -0.25, 1e-7, 3, 12345.678, 1e15)
_ANYTHING: tuple[Any, ...] = (None, True, 0, 1.5, "text", ["a", 1], {"a": {"b": None}})
_OF_EACH_TYPE: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 3,
    "number": 0.5,
    "string": "a cat",
    "array": ["a cat"],
    "object": {"a cat": 1},
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A value that breaks one rule."""

    value: Any
    path: Path
    """Where the rule is broken."""
    rule: str
    """The keyword of JSON Schema that is broken."""
    in_union: bool = False
    """Whether it is one branch's rule. Another rule of each other branch is then broken as well."""


def valid(oracle: Oracle) -> Iterator[Any]:
    """Inputs that the schema allows."""
    yield from _valid(oracle, oracle.input, 0)
    schema = oracle.resolve(oracle.input)
    choices = {name: _some(oracle, part, 1) for name, part in schema.get("properties", {}).items()}
    chance = random.Random(oracle.endpoint_id)
    for _ in range(10):
        yield {
            name: chance.choice(values)
            for name, values in choices.items()
            if values and (name in schema.get("required", ()) or chance.random() < 0.5)
        }


def broken(oracle: Oracle) -> Iterator[Broken]:
    """Inputs that break one rule."""
    return _broken(oracle, oracle.input, 0)


# --- Valid values -----------------------------------------------------------------------------------------------------


def _some(oracle: Oracle, schema: Schema, depth: int) -> list[Any]:
    return list(itertools.islice(_valid(oracle, schema, depth), _MOST))


def _valid(oracle: Oracle, schema: Schema, depth: int) -> Iterator[Any]:
    schema = oracle.resolve(schema)
    if depth > _DEEPEST:
        return
    if "const" in schema:
        yield schema["const"]
    elif "enum" in schema:
        yield from (value for value in schema["enum"] if oracle.accepts(value, schema))
    elif branches := schema.get("anyOf") or schema.get("oneOf"):
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "default")}
        candidates = [_some(oracle, branch, depth) for branch in branches]
        for value in _alternating(candidates):
            if not rest or oracle.accepts(value, schema):
                yield value
    else:
        kinds = schema.get("type", [])
        for kind in [kinds] if isinstance(kinds, str) else kinds or ["any"]:
            for value in _of_kind(oracle, schema, kind, depth):
                if kind in ("object", "array", "any") or oracle.accepts(value, schema):
                    yield value


def _alternating(lists: list[list[Any]]) -> Iterator[Any]:
    missing = object()
    for row in itertools.zip_longest(*lists, fillvalue=missing):
        yield from (value for value in row if value is not missing)


def _of_kind(oracle: Oracle, schema: Schema, kind: str, depth: int) -> Iterator[Any]:
    if kind == "string":
        yield from _TEXTS
        for length in (schema.get("minLength"), schema.get("maxLength")):
            if length is not None:
                yield from ("x" * min(length, _LONGEST), "🐈" * min(length, _LONGEST))
    elif kind in ("integer", "number"):
        yield from _numbers(schema, kind)
    elif kind == "boolean":
        yield from (True, False)
    elif kind == "null":
        yield None
    elif kind == "array":
        yield from _arrays(oracle, schema, depth)
    elif kind == "object":
        yield from _objects(oracle, schema, depth)
    else:
        yield from _ANYTHING


def _numbers(schema: Schema, kind: str) -> Iterator[float]:
    step = schema.get("multipleOf")
    low, high = _bounds(schema)
    if step is None:
        yield from _INTEGERS if kind == "integer" else _NUMBERS
        small: float = 1 if kind == "integer" else 0.001
        for bound, towards in ((low, small), (high, -small)):
            if bound is not None:
                yield from (
                    bound,
                    bound + towards,
                    math.nextafter(bound, bound + towards) if kind == "number" else bound,
                )
        if low is not None and high is not None:
            yield (low + high) / 2 if kind == "number" else int(low + high) // 2
    else:
        first = math.ceil((low or 0) / step)
        last = math.floor(high / step) if high is not None else first + 1000
        for factor in (first, first + 1, (first + last) // 2, last - 1, last):
            yield factor * step


def _bounds(schema: Schema) -> tuple[float | None, float | None]:
    return schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum", schema.get("exclusiveMaximum"))


def _arrays(oracle: Oracle, schema: Schema, depth: int) -> Iterator[list[Any]]:
    parts = schema.get("prefixItems")
    if parts:
        for row in itertools.islice(
            zip(*(itertools.cycle(_some(oracle, part, depth + 1)) for part in parts), strict=False), 8
        ):
            yield list(row)
        return
    items = _some(oracle, schema.get("items", {}), depth + 1)
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if not items:
        yield from [[]] if not least else []
        return
    unique = schema.get("uniqueItems") is True
    if unique:
        items = _distinct(items)

    def filled(start: int, size: int) -> list[Any] | None:
        if unique and size > len(items):
            return None
        return [items[(start + index) % len(items)] for index in range(size)]

    sizes = {least, *([least + 1] if most is None or least < most else []), *([min(most, 64)] if most else [])}
    arrays = [filled(0, size) for size in sorted(sizes)]
    if (most is None or most >= 1) and least <= 3:
        arrays += [filled(start, max(least, 1)) for start in range(len(items))]
    yield from (array for array in arrays if array is not None)


def _distinct(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if all(item != other for other in found):
            found.append(item)
    return found


def _objects(oracle: Oracle, schema: Schema, depth: int) -> Iterator[dict[str, Any]]:
    properties: Schema = schema.get("properties", {})
    if not properties:
        yield {}
        values = schema.get("additionalProperties", {})
        if is_schema(values):
            yield from ({"key": value} for value in _some(oracle, values, depth + 1))
        return
    choices = {name: _some(oracle, part, depth + 1) for name, part in properties.items()}
    required = schema.get("required", [])
    if not all(choices.get(name) for name in required):
        return
    least = {name: choices[name][0] for name in required}
    yield least
    yield {name: values[0] for name, values in choices.items() if values}
    for name, values in choices.items():
        yield from ({**least, name: value} for value in values)


# --- Values that break one rule ---------------------------------------------------------------------------------------


def _broken(oracle: Oracle, schema: Schema, depth: int) -> Iterator[Broken]:
    schema = oracle.resolve(schema)
    if depth > _DEEPEST or not schema:
        return
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        for branch in branches:
            for each in _broken(oracle, branch, depth):
                if not oracle.accepts(each.value, schema):
                    yield Broken(each.value, each.path, each.rule, in_union=True)
        return
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        strings = [value for value in values if isinstance(value, str)]
        wrong: list[Any] = [
            "no such value",
            *(value.swapcase() for value in strings[:1]),
            *(value[:-1] for value in strings[-1:]),
        ]
        for value in (*wrong, 98765, None, True, ["a cat"]):
            if not oracle.accepts(value, schema):
                yield Broken(value, (), "enum")
        return
    kinds = schema.get("type")
    if kinds is not None:
        for value in _OF_EACH_TYPE.values():
            if not oracle.accepts(value, {"type": kinds}):
                yield Broken(value, (), "type")
    for kind in [kinds] if isinstance(kinds, str) else kinds or ():
        if kind == "string":
            yield from _broken_texts(schema)
        elif kind in ("integer", "number"):
            yield from _broken_numbers(oracle, schema, kind)
        elif kind == "array":
            yield from _broken_arrays(oracle, schema, depth)
        elif kind == "object":
            yield from _broken_objects(oracle, schema, depth)


def _broken_texts(schema: Schema) -> Iterator[Broken]:
    if least := schema.get("minLength"):
        yield Broken("🐈" * (least - 1), (), "minLength")
    if (most := schema.get("maxLength")) is not None:
        yield Broken("🐈" * (most + 1), (), "maxLength")


def _broken_numbers(oracle: Oracle, schema: Schema, kind: str) -> Iterator[Broken]:
    step: float = schema.get("multipleOf", 1 if kind == "integer" else 0.001)
    for rule, sign in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
        if rule in schema:
            bound = schema[rule]
            for distance in {sign * step, sign * step * 1000} if sign else {0}:
                alone = {key: value for key, value in schema.items() if key not in ("multipleOf",)}
                if not oracle.accepts(bound + distance, alone):
                    yield Broken(bound + distance, (), rule)
    if "multipleOf" in schema:
        without = {key: value for key, value in schema.items() if key != "multipleOf"}
        for value in _numbers(schema, kind):
            odd = value + (step / 2 if kind == "number" else 1)
            if oracle.accepts(odd, without) and not oracle.accepts(odd, schema):
                yield Broken(odd, (), "multipleOf")


def _broken_arrays(oracle: Oracle, schema: Schema, depth: int) -> Iterator[Broken]:
    parts = schema.get("prefixItems")
    if parts:
        rows = _some(oracle, schema, depth)
        for index, part in enumerate(parts):
            for each in _broken(oracle, part, depth + 1):
                row = [*rows[0][:index], each.value, *rows[0][index + 1 :]]
                yield _inside(each, row, index)
        return
    items = _some(oracle, schema.get("items", {}), depth + 1)
    if schema.get("uniqueItems") is True:
        items = _distinct(items)
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if least and len(items) >= least - 1:
        yield Broken(items[: least - 1], (), "minItems")
    if most is not None and items and (len(items) > most or schema.get("uniqueItems") is not True):
        yield Broken([items[index % len(items)] for index in range(most + 1)], (), "maxItems")
    if schema.get("uniqueItems") is True and items and (most is None or most > 1):
        fill = items[: max(least - 1, 1)]
        yield Broken([*fill, fill[0]], (), "uniqueItems")
    good = [items[index % len(items)] for index in range(max(least - 1, 0))] if items else []
    for each in _broken(oracle, schema.get("items", {}), depth + 1):
        yield _inside(each, [*good, each.value], len(good))


def _broken_objects(oracle: Oracle, schema: Schema, depth: int) -> Iterator[Broken]:
    properties: Schema = schema.get("properties", {})
    values = schema.get("additionalProperties", True)
    if not properties:
        if is_schema(values):
            for each in _broken(oracle, values, depth + 1):
                yield _inside(each, {"key": each.value}, "key")
        return
    required = schema.get("required", [])
    least = next(iter(_valid(oracle, schema, depth)), None)
    if least is None:
        return
    for name in required:
        yield Broken({key: value for key, value in least.items() if key != name}, (name,), "required")
    if values is False:
        yield Broken({**least, "unheard_of": 1}, ("unheard_of",), "additionalProperties")
    for name, part in properties.items():
        for each in itertools.islice(_broken(oracle, part, depth + 1), _MOST):
            yield _inside(each, {**least, name: each.value}, name)


def _inside(each: Broken, value: Any, step: str | int) -> Broken:
    return Broken(value, (step, *each.path), each.rule, each.in_union)
