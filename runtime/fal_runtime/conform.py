"""Holding a JSON value against a generated type: every departure is listed, and as much as possible is built.

`msgspec` does this at full speed but stops at the first problem, so this slow way is taken only after it has refused.
For an input the list becomes an `InputError`; for an output it becomes `Result.warnings`, and what was built is the
result, since an answer that was paid for is not thrown away over a field.
"""

from __future__ import annotations

import difflib
import functools
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

from fal_runtime.errors import FieldError

__all__ = ["conform"]


def conform(value: Any, type_: Any) -> tuple[Any, tuple[FieldError, ...]]:
    """Build `type_` from a decoded JSON value as well as it can be built, and list every departure.

    Where a value is missing or null although it must not be, a list or map is empty and everything else is `None`.
    A value of the wrong kind, or outside its range or its list of values, is kept as it is.
    """
    problems: list[FieldError] = []
    return _visit(value, _info(type_), "", problems), tuple(problems)


@functools.lru_cache(maxsize=512)
def _info(type_: Any) -> inspect.Type:
    return inspect.type_info(type_)


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (inspect.BoolType, "boolean"),
    (inspect.IntType, "integer"),
    (inspect.FloatType, "number"),
    (inspect.StrType, "string"),
    (inspect.NoneType, "null"),
    ((inspect.ListType, inspect.CollectionType, inspect.TupleType), "list"),
    ((inspect.DictType, inspect.StructType), "object"),
)


def _kind(value: Any) -> str:
    """The JSON name of a value's kind."""
    if value is None:
        return "null"
    for type_, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "list")):
        if isinstance(value, type_):
            return name
    return "object"


def _expected(info: inspect.Type) -> Iterator[str]:
    """The kinds of values that a type takes."""
    if isinstance(info, inspect.UnionType):
        for branch in info.types:
            yield from _expected(branch)
    elif isinstance(info, inspect.LiteralType):
        yield from sorted({_kind(member) for member in info.values})
    elif isinstance(info, inspect.Metadata):
        yield from _expected(info.type)
    else:
        for types, name in _KINDS:
            if isinstance(info, types):
                yield name


def _takes(info: inspect.Type, value: Any) -> bool:
    """Whether a value is of a kind that the type takes, leaving ranges and contents aside."""
    kinds, kind = set(_expected(info)), _kind(value)
    return not kinds or kind in kinds or (kind == "integer" and "number" in kinds)


def _shown(value: Any) -> str:
    """A value for a message: numbers and short words are shown, everything else only by its kind."""
    if value is None or isinstance(value, (bool, int, float)):
        return msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return f"a string of {len(value)} characters"
    return f"a {_kind(value)}"


def _visit(value: Any, info: inspect.Type, path: str, problems: list[FieldError]) -> Any:
    if isinstance(info, inspect.Metadata):
        return _visit(value, info.type, path, problems)
    if isinstance(info, inspect.AnyType):
        return value
    if isinstance(info, inspect.UnionType):
        return _union(value, info, path, problems)
    if isinstance(info, inspect.LiteralType):
        return _literal(value, info, path, problems)
    if not _takes(info, value):
        kinds = " or ".join(_expected(info))
        problems.append(
            FieldError(
                path=path, rule=f"{kinds}_type", message=f"must be {_article(kinds)}, not {_shown(value)}", given=value
            )
        )
        return value if value is not None else _empty(info)
    if isinstance(info, inspect.StructType):
        return _struct(value, info, path, problems)
    if isinstance(info, inspect.DictType):
        _length(value, info, path, problems, "entries")
        return {
            key: _visit(item, info.value_type, f"{path}.{key}" if path else key, problems)
            for key, item in value.items()
        }
    if isinstance(info, inspect.TupleType):
        if len(value) != len(info.item_types):
            message = f"must have {len(info.item_types)} items, not {len(value)}"
            problems.append(FieldError(path=path, rule="length", message=message, given=value))
            return value
        return tuple(
            _visit(item, t, f"{path}[{n}]", problems)
            for n, (item, t) in enumerate(zip(value, info.item_types, strict=True))
        )
    if isinstance(info, inspect.CollectionType):
        _length(value, info, path, problems, "items")
        return [_visit(item, info.item_type, f"{path}[{n}]", problems) for n, item in enumerate(value)]
    if isinstance(info, inspect.StrType):
        _length(value, info, path, problems, "characters")
        if info.pattern is not None and not re.search(info.pattern, value):
            message = f"must match the pattern {info.pattern}"
            problems.append(FieldError(path=path, rule="string_pattern_mismatch", message=message, given=value))
        return value
    if isinstance(info, (inspect.IntType, inspect.FloatType)):
        _range(value, info, path, problems)
        return float(value) if isinstance(info, inspect.FloatType) else value
    return value


def _empty(info: inspect.Type) -> Any:
    """What stands for a value that is missing: something empty to iterate over, or `None`."""
    return [] if isinstance(info, inspect.CollectionType) else {} if isinstance(info, inspect.DictType) else None


def _article(kinds: str) -> str:
    return kinds if kinds == "null" else f"an {kinds}" if kinds[0] in "aeiou" else f"a {kinds}"


def _union(value: Any, info: inspect.UnionType, path: str, problems: list[FieldError]) -> Any:
    """Take the branch that fits; if none does, report against the one that comes nearest."""
    nearest: tuple[Any, list[FieldError]] | None = None
    words: list[Any] = []
    for branch in info.types:
        if isinstance(branch, inspect.LiteralType):
            words += branch.values
        if not _takes(branch, value):
            continue
        found: list[FieldError] = []
        built = _visit(value, branch, path, found)
        if not found:
            return built
        if nearest is None or len(found) < len(nearest[1]):
            nearest = built, found
    if nearest is not None:
        problems += nearest[1]
        return nearest[0]
    kinds = " or ".join(_article(kind) for kind in dict.fromkeys(_expected(info)))
    message = f"must be {kinds}, not {_shown(value)}"
    problems.append(FieldError(path=path, rule="union_type", message=message, given=value, allowed=tuple(words)))
    return value


def _literal(value: Any, info: inspect.LiteralType, path: str, problems: list[FieldError]) -> Any:
    for member in info.values:
        if member == value and type(member) is type(value):
            return value
    allowed = ", ".join(repr(member) for member in info.values[:12])
    if len(info.values) > 12:
        allowed += f" or one of {len(info.values) - 12} more"
    message = f"must be one of {allowed}"
    if isinstance(value, str):
        near = difflib.get_close_matches(value, [str(member) for member in info.values], n=1)
        message += f"; did you mean {near[0]!r}?" if near else f", not {_shown(value)}"
    else:
        message += f", not {_shown(value)}"
    problems.append(
        FieldError(path=path, rule="literal_error", message=message, given=value, allowed=tuple(info.values))
    )
    return value


def _struct(value: dict[str, Any], info: inspect.StructType, path: str, problems: list[FieldError]) -> Any:
    fields: dict[str, Any] = {}
    for field in info.fields:
        where = f"{path}.{field.encode_name}" if path else field.encode_name
        if field.encode_name in value:
            fields[field.name] = _visit(value[field.encode_name], field.type, where, problems)
        elif field.required:
            problems.append(FieldError(path=where, rule="missing", message="is required"))
            fields[field.name] = _empty(field.type)
    return info.cls(**fields)


def _length(value: Any, info: Any, path: str, problems: list[FieldError], unit: str) -> None:
    size = len(value)
    if info.min_length is not None and size < info.min_length:
        message = f"must have at least {info.min_length} {unit}, not {size}"
        problems.append(FieldError(path=path, rule="sequence_too_short", message=message, given=value))
    if info.max_length is not None and size > info.max_length:
        message = f"must have at most {info.max_length} {unit}, not {size}"
        problems.append(FieldError(path=path, rule="sequence_too_long", message=message, given=value))


def _range(value: float, info: inspect.IntType | inspect.FloatType, path: str, problems: list[FieldError]) -> None:
    checks: tuple[tuple[float | None, str, Callable[[float, float], bool], str], ...] = (
        (info.ge, "greater_than_equal", operator.ge, "at least"),
        (info.gt, "greater_than", operator.gt, "above"),
        (info.le, "less_than_equal", operator.le, "at most"),
        (info.lt, "less_than", operator.lt, "below"),
        (info.multiple_of, "multiple_of", lambda number, step: number % step == 0, "a multiple of"),
    )
    for bound, rule, holds, text in checks:
        if bound is not None and not holds(value, bound):
            message = f"must be {text} {bound:g}, not {_shown(value)}"
            problems.append(FieldError(path=path, rule=rule, message=message, given=value))
