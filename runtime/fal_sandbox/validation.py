"""Judging an input as the platform's applications do: every problem at once, each with its place, type and limits.

Types and `ctx` keys are those of the model errors reference where it has one, and pydantic's where it has not. Unlike
pydantic, nothing is converted first: a number written as a string is refused.
Source: fal docs, model errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from fal_sandbox.schemas import Contract, Violation

_BOUNDS = {
    "minimum": ("greater_than_equal", "ge", "Input should be greater than or equal to {}"),
    "exclusiveMinimum": ("greater_than", "gt", "Input should be greater than {}"),
    "maximum": ("less_than_equal", "le", "Input should be less than or equal to {}"),
    "exclusiveMaximum": ("less_than", "lt", "Input should be less than {}"),
    "multipleOf": ("multiple_of", "multiple_of", "Input should be a multiple of {}"),
    "minLength": ("sequence_too_short", "min_length", "Input should have at least {} characters"),
    "maxLength": ("sequence_too_long", "max_length", "Input should have at most {} characters"),
    "minItems": ("sequence_too_short", "min_length", "Input should have at least {} items"),
    "maxItems": ("sequence_too_long", "max_length", "Input should have at most {} items"),
    "pattern": ("string_pattern_mismatch", "pattern", "Input should match the pattern {}"),
}
_TYPES = {
    "string": ("string_type", "Input should be a valid string"),
    "integer": ("int_type", "Input should be a valid integer"),
    "number": ("float_type", "Input should be a valid number"),
    "boolean": ("bool_type", "Input should be a valid boolean"),
    "array": ("list_type", "Input should be a valid list"),
    "object": ("dict_type", "Input should be a valid dictionary"),
    "null": ("none_required", "Input should be None"),
}


def field_error(
    type: str, message: str, location: tuple[str | int, ...], value: object, context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One entry of an error body's `detail` list; `location` starts below `body`."""
    entry: dict[str, Any] = {
        "loc": ["body", *location],
        "msg": message,
        "type": type,
        "url": f"https://docs.fal.ai/errors#{type}",
        "input": value,
    }
    if context:
        entry["ctx"] = context
    return entry


def input_errors(contract: Contract, value: object) -> list[dict[str, Any]]:
    """Every problem of an input, as the `detail` list of a 422; empty if it is acceptable."""
    if not isinstance(value, dict):
        return [field_error("model_attributes_type", "Input should be a valid dictionary or object", (), value)]
    errors: list[dict[str, Any]] = []
    for violation in contract.violations(contract.input, cast("object", value)):
        # The validator reports a missing field once per name, each time with the whole list of required names.
        errors += [error for error in _explain(violation) if error not in errors]
    return errors


def _explain(violation: Violation) -> Iterator[dict[str, Any]]:
    keyword, rule, value, path = violation.keyword, violation.rule, violation.value, violation.path
    if keyword in _BOUNDS:
        name, key, message = _BOUNDS[keyword]
        yield field_error(name, message.format(rule), path, value, {key: rule})
    elif keyword == "type":
        name, message = _TYPES.get(str(rule), ("value_error", "Input has the wrong type"))
        if rule == "object" and "properties" in violation.schema:
            name, message = "model_attributes_type", "Input should be a valid dictionary or object"
        yield field_error(name, message, path, value)
    elif keyword == "required":
        for missing in rule:
            if missing not in value:
                yield field_error("missing", "Field required", (*path, missing), value)
    elif keyword in ("enum", "const"):
        allowed = _listed([rule] if keyword == "const" else rule)
        yield field_error("literal_error", f"Input should be {allowed}", path, value, {"expected": allowed})
    elif keyword == "additionalProperties":
        for extra in value:
            if extra not in violation.schema.get("properties", {}):
                yield field_error("extra_forbidden", "Extra inputs are not permitted", (*path, extra), value[extra])
    elif keyword in ("anyOf", "oneOf") and any(violation.branches):
        for branch in _relevant(violation):
            for problem in branch:
                yield from _explain(problem)
    else:
        yield field_error("value_error", "Value error, the input breaks a rule of the schema", path, value)


def _relevant(violation: Violation) -> list[tuple[Violation, ...]]:
    """The members of a union that the caller can have meant: those of the value's own type, or else all but null."""

    def is_type_mismatch(branch: tuple[Violation, ...]) -> bool:
        return any(problem.keyword == "type" and problem.path == violation.path for problem in branch)

    meant = [branch for branch in violation.branches if branch and not is_type_mismatch(branch)]
    return meant or [branch for branch in violation.branches if branch and branch[0].rule != "null"]


def _listed(values: list[object]) -> str:
    texts = [repr(value) for value in values]
    return " or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
