"""Holding the generated `Input` of an endpoint against its schema.

One thing is left out on purpose: the schemas allow unknown fields nearly everywhere, and a dict that has one is refused
all the same, for it is a misspelling; `extra=` is the way to send one.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, cast

import msgspec

from fal_runtime import InputModel
from fal_runtime.errors import FieldError, InputError
from fal_runtime.inputs import build_body
from fal_runtime.values import mapping, sequence

from .instances import Broken, broken, valid
from .oracle import SCHEMAS, Oracle

HERE = Path(__file__).resolve().parent
EXCEPTIONS = HERE / "exceptions.json"

RULES: dict[str, tuple[str, ...]] = {
    "required": ("missing",),
    "type": ("_type", "literal_error", "union_type"),
    "enum": ("literal_error",),
    "minimum": ("greater_than_equal",),
    "exclusiveMinimum": ("greater_than",),
    "maximum": ("less_than_equal",),
    "exclusiveMaximum": ("less_than",),
    "multipleOf": ("multiple_of",),
    "minLength": ("sequence_too_short",),
    "maxLength": ("sequence_too_long",),
    "minItems": ("sequence_too_short",),
    "maxItems": ("sequence_too_long",),
    "uniqueItems": ("unique_items",),
    "pattern": ("string_pattern_mismatch",),
    "additionalProperties": ("extra_forbidden",),
    "anyOf": ("union_type",),
    "oneOf": ("union_type",),
}
"""How an error names the rules of JSON Schema: by these, or by an ending of them."""


@dataclass(slots=True)
class Measured:
    """How the type of one endpoint fared."""

    endpoint_id: str
    accepted: int = 0
    """How many valid inputs were accepted and came out as they went in."""
    valid: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    """By rule: how many inputs that break it were refused, with its field and its name in the error."""
    invalid: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    """What went wrong, in sentences."""


def endpoints() -> dict[str, str]:
    """The endpoints that have a module, and its name."""
    index = SCHEMAS.parent / "fal_endpoints" / "index.json"
    return {row["id"]: f"fal_endpoints.{row['module']}" for row in json.loads(index.read_bytes())["endpoints"]}


def exceptions() -> dict[str, str]:
    """The endpoints whose type cannot be faithful, and why."""
    return cast("dict[str, str]", json.loads(EXCEPTIONS.read_bytes()))


def input_of(module: str) -> Any:
    """The generated type of inputs."""
    return importlib.import_module(module).Input


def measure(oracle: Oracle, input_type: Any) -> Measured:
    """Hold a type against the schema of an endpoint's input.

    Raises:
        AssertionError: if the values it is tried with are not what they should be.
    """
    measured = Measured(oracle.endpoint_id)
    seen: set[bytes] = set()

    def is_new(value: Any) -> bool:
        text = msgspec.json.encode(value)
        new = text not in seen
        seen.add(text)
        return new

    for value in filter(is_new, valid(oracle)):
        assert oracle.accepts(value), (oracle.endpoint_id, value)
        measured.valid += 1
        if problem := _problem_of_valid(value, input_type):
            measured.failures.append(f"valid {_short(value)}: {problem}")
        else:
            measured.accepted += 1
    for each in broken(oracle):
        if not is_new(each.value):
            continue
        assert not oracle.accepts(each.value), (oracle.endpoint_id, each)
        measured.invalid[each.rule] += 1
        if problem := _problem_of_broken(each, input_type, oracle):
            measured.failures.append(f"{each.rule} broken at {_text(each.path)} in {_short(each.value)}: {problem}")
        else:
            measured.refused[each.rule] += 1
    return measured


def _problem_of_valid(value: Any, input_type: Any) -> str:
    try:
        sent = build_body(value, input_type, endpoint_id="a/b")
        made = input_type.from_dict(value) if _is_model(input_type) else value
    except InputError as error:
        return f"refused: {error}"
    if canonical(json.loads(sent)) != canonical(value):
        return f"sent as {_short(json.loads(sent))}"
    if canonical(json.loads(msgspec.json.encode(made))) != canonical(value):
        return f"built as {made!r:.200}"
    return ""


def _problem_of_broken(each: Broken, input_type: Any, oracle: Oracle) -> str:
    for refuses in _ways(input_type):
        try:
            refuses(each.value)
        except InputError as error:
            wanted = oracle.broken_rules(each.value) if each.in_union else {(each.path, each.rule)}
            if not any(_names(problem, path, rule) for problem in error.errors for path, rule in wanted):
                return f"the error does not name it: {error}"
            if len(error.errors) > 1 and not each.in_union:
                return f"the error names more than it: {error}"
        else:
            return "accepted"
    return ""


def _ways(input_type: Any) -> list[Callable[[Any], object]]:
    """As a dict to a verb, and by itself."""
    ways: list[Callable[[Any], object]] = [lambda value: build_body(value, input_type, endpoint_id="a/b")]
    return [*ways, input_type.from_dict] if _is_model(input_type) else ways


def _is_model(input_type: Any) -> TypeGuard[type[InputModel]]:
    return isinstance(input_type, type) and issubclass(input_type, InputModel)


def _names(problem: FieldError, path: tuple[str | int, ...], rule: str) -> bool:
    return problem.path == _text(path) and problem.rule.endswith(RULES.get(rule, ()))


def _text(path: tuple[str | int, ...]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def canonical(value: Any) -> str:
    """A JSON value as one text: keys in order, and numbers by what they are worth, as in RFC 8785."""
    return json.dumps(_numbers_by_worth(value), sort_keys=True, separators=(",", ":"))


def _numbers_by_worth(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers_by_worth(item) for key, item in mapping(value).items()}
    if isinstance(value, list):
        return [_numbers_by_worth(item) for item in sequence(value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
