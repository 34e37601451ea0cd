"""Holding a JSON value against a generated type: every departure is listed, and as much as possible is built.

`msgspec` does this at full speed but stops at the first problem, so this slow way is taken only after it has refused,
and for types with rules that it does not know (`has_more_rules`). For an input the list becomes an `InputError`; for an output it becomes `Result.warnings`, and what was built is the
result, since an answer that was paid for is not thrown away over a field.
"""

from __future__ import annotations

import difflib
import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import inspect

from fal_runtime.errors import FieldError
from fal_runtime.shapes import members_of, reached
from fal_runtime.values import mapping, sequence

__all__ = ["conform", "has_more_rules", "is_multiple", "without_nulls"]


def conform(value: Any, type_: Any) -> tuple[Any, tuple[FieldError, ...]]:
    """Build `type_` from a decoded JSON value as well as it can be built, and list every departure.

    Where a value is missing or null although it must not be, a list or map is empty and everything else is `None`.
    A value of the wrong kind, or outside its range or its list of values, is kept as it is.
    """
    problems: list[FieldError] = []
    return _visit(value, _info(type_), _Place("", problems)), tuple(problems)


@functools.lru_cache(maxsize=512)
def _info(type_: Any) -> inspect.Type:
    return inspect.type_info(type_)


@functools.lru_cache(maxsize=512)
def has_more_rules(type_: Any) -> bool:
    """Whether a type has rules that msgspec carries but does not check: those in `Meta(extra_json_schema=...)`."""
    return any(isinstance(info, inspect.Metadata) and not _RULES.isdisjoint(_more(info)) for info in reached(type_))


def without_nulls(value: Any, type_: Any) -> Any:
    """A decoded JSON value without the nulls of fields that take none."""
    return _without_nulls(value, _info(type_))


def _without_nulls(value: Any, info: inspect.Type) -> Any:
    if isinstance(info, inspect.Metadata):
        return _without_nulls(value, _inner(info))
    if isinstance(info, inspect.UnionType):
        for branch in info.types:
            value = _without_nulls(value, branch)
        return value
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field for field in info.fields}
        return {
            key: _without_nulls(item, fields[key].type) if key in fields else item
            for key, item in mapping(value).items()
            if item is not None or key not in fields or fields[key].required or _takes(fields[key].type, None)
        }
    if isinstance(info, inspect.CollectionType) and isinstance(value, list):
        return [_without_nulls(item, info.item_type) for item in sequence(value)]
    return value


def _more(info: inspect.Metadata) -> Mapping[str, Any]:
    """The rules that msgspec carries but does not check."""
    return cast("dict[str, Any]", info.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]


def _inner(info: inspect.Metadata) -> inspect.Type:
    """The type that it is about. What stands in `OneOf` is a union here, and `Any` only to msgspec."""
    types = members_of(info)
    return inspect.UnionType(tuple(_info(each) for each in types)) if types else info.type


def is_multiple(value: float, step: float) -> bool:
    """Whether a number is a multiple of another one, but for what is lost in writing both as binary fractions.

    Source: pydantic-core, which the platform's applications check with, takes a billionth as lost.
    """
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    rest = abs(math.fmod(value, step))
    return min(rest, abs(step - rest)) <= abs(value) * 1e-9


_Bound: TypeAlias = "tuple[str, str, Callable[[float, float], bool], str]"
"""What msgspec calls it, what the platform calls it, when it holds, and how it reads."""

_BOUNDS: Mapping[str, _Bound] = {
    "minimum": ("ge", "greater_than_equal", operator.ge, "at least"),
    "exclusiveMinimum": ("gt", "greater_than", operator.gt, "above"),
    "maximum": ("le", "less_than_equal", operator.le, "at most"),
    "exclusiveMaximum": ("lt", "less_than", operator.lt, "below"),
    "multipleOf": ("multiple_of", "multiple_of", is_multiple, "a multiple of"),
}
_RULES = frozenset({*_BOUNDS, "uniqueItems", "one_of"})
"""The rules that are checked beside those that msgspec checks."""

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
    """The JSON name of a value's kind. Realtime's messages can also hold bytes, which JSON has no word for."""
    if value is None:
        return "null"
    if isinstance(value, bytes | bytearray | memoryview):
        return "run of bytes"
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
        yield from _expected(_inner(info))
    else:
        for types, name in _KINDS:
            if isinstance(info, types):
                yield name


def _takes(info: inspect.Type, value: Any) -> bool:
    """Whether a value is of a kind that the type takes, leaving ranges and contents aside."""
    kinds, kind = set(_expected(info)), _kind(value)
    if kind == "number" and "integer" in kinds and "number" not in kinds:
        return bool(value.is_integer())  # to JSON, 5.0 is an integer as good as 5
    return not kinds or kind in kinds or (kind == "integer" and "number" in kinds)


def _shown(value: Any) -> str:
    """A value for a message: numbers and short words are shown, everything else only by its kind."""
    if value is None or isinstance(value, (bool, int, float)):
        return msgspec.json.encode(value).decode()
    if isinstance(value, str):
        return f"a string of {len(value)} characters"
    return f"a {_kind(value)}"


class _Place(NamedTuple):
    """Where a value stands, and where to list what is wrong with it."""

    path: str
    problems: list[FieldError]

    def field(self, name: object) -> _Place:
        return _Place(f"{self.path}.{name}" if self.path else str(name), self.problems)

    def item(self, number: int) -> _Place:
        return _Place(f"{self.path}[{number}]", self.problems)

    def refuse(self, rule: str, message: str, given: Any = None, allowed: Iterable[Any] = ()) -> None:
        problem = FieldError(path=self.path, rule=rule, message=message, given=given, allowed=tuple(allowed))
        self.problems.append(problem)


def _visit(value: Any, info: inspect.Type, place: _Place) -> Any:
    if isinstance(info, inspect.Metadata):
        before = len(place.problems)
        built = _visit(value, _inner(info), place)
        if len(place.problems) == before:
            _check_more(value, _more(info), place)
        return built
    if isinstance(info, inspect.AnyType):
        return value
    if isinstance(info, inspect.UnionType):
        return _union(value, info, place)
    if isinstance(info, inspect.LiteralType):
        return _literal(value, info, place)
    if not _takes(info, value):
        kinds = " or ".join(_expected(info))
        place.refuse(f"{kinds}_type", f"must be {_article(kinds)}, not {_shown(value)}", value)
        return value if value is not None else _empty(info)
    if isinstance(info, inspect.StructType):
        return _struct(value, info, place)
    if isinstance(info, inspect.DictType):
        _length(value, info, place, "entries")
        return {key: _visit(item, info.value_type, place.field(key)) for key, item in value.items()}
    if isinstance(info, inspect.TupleType):
        if len(value) != len(info.item_types):
            place.refuse("length", f"must have {len(info.item_types)} items, not {len(value)}", value)
            return value
        pairs = enumerate(zip(value, info.item_types, strict=True))
        return tuple(_visit(item, type_, place.item(number)) for number, (item, type_) in pairs)
    if isinstance(info, inspect.CollectionType):
        _length(value, info, place, "items")
        return [_visit(item, info.item_type, place.item(number)) for number, item in enumerate(value)]
    if isinstance(info, inspect.StrType):
        _length(value, info, place, "characters")
        if info.pattern is not None and not re.search(info.pattern, value):
            place.refuse("string_pattern_mismatch", f"must match the pattern {info.pattern}", value)
        return value
    if isinstance(info, (inspect.IntType, inspect.FloatType)):
        _range(value, info, place)
        return float(value) if isinstance(info, inspect.FloatType) else int(value)
    return value


def _empty(info: inspect.Type) -> Any:
    """What stands for a value that is missing: something empty to iterate over, or `None`."""
    return [] if isinstance(info, inspect.CollectionType) else {} if isinstance(info, inspect.DictType) else None


def _article(kinds: str) -> str:
    return kinds if kinds == "null" else f"an {kinds}" if kinds[0] in "aeiou" else f"a {kinds}"


def _union(value: Any, info: inspect.UnionType, place: _Place) -> Any:
    """Take the branch that fits; if none does, report against the one that comes nearest."""
    nearest: tuple[Any, list[FieldError]] | None = None
    words: list[Any] = []
    for branch in info.types:
        if isinstance(branch, inspect.LiteralType):
            words += branch.values
        if not _takes(branch, value):
            continue
        found: list[FieldError] = []
        built = _visit(value, branch, _Place(place.path, found))
        if not found:
            return built
        if nearest is None or len(found) < len(nearest[1]):
            nearest = built, found
    if nearest is not None:
        place.problems.extend(nearest[1])
        return nearest[0]
    kinds = " or ".join(_article(kind) for kind in dict.fromkeys(_expected(info)))
    place.refuse("union_type", f"must be {kinds}, not {_shown(value)}", value, words)
    return value


def _literal(value: Any, info: inspect.LiteralType, place: _Place) -> Any:
    for member in info.values:
        if member == value and not isinstance(value, bool):
            return member
    allowed = ", ".join(repr(member) for member in info.values[:12])
    if len(info.values) > 12:
        allowed += f" or one of {len(info.values) - 12} more"
    message = f"must be one of {allowed}"
    near = difflib.get_close_matches(value, map(str, info.values), n=1) if isinstance(value, str) else []
    message += f"; did you mean {near[0]!r}?" if near else f", not {_shown(value)}"
    place.refuse("literal_error", message, value, info.values)
    return value


def _struct(value: dict[str, Any], info: inspect.StructType, place: _Place) -> Any:
    fields: dict[str, Any] = {}
    if info.forbid_unknown_fields:
        _unknown(value, info, place)
    if info.tag_field is not None and value.get(info.tag_field) != info.tag:
        _tag(value, info, place)
    for field in info.fields:
        name = field.encode_name
        if name in value:
            fields[field.name] = _visit(value[name], field.type, place.field(name))
        elif field.required:
            place.field(name).refuse("missing", "is required")
            fields[field.name] = _empty(field.type)
    return info.cls(**fields)


def _unknown(value: dict[str, Any], info: inspect.StructType, place: _Place) -> None:
    """Report what is no field, with what was meant."""
    known = [field.encode_name for field in info.fields]
    for key in value:
        if key in known or key == info.tag_field:
            continue
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"is not a field of {info.cls.__name__}{hint}"
        place.field(key).refuse("extra_forbidden", message, value[key], known)


def _tag(value: dict[str, Any], info: inspect.StructType, place: _Place) -> None:
    """Report that this is another type's object."""
    where = place.field(info.tag_field)
    if info.tag_field in value:
        given = value[info.tag_field]
        where.refuse("literal_error", f"must be {info.tag!r}, not {_shown(given)}", given, (info.tag,))
    else:
        where.refuse("missing", f"is required: it must be {info.tag!r}")


def _length(value: Any, info: Any, place: _Place, unit: str) -> None:
    size = len(value)
    if info.min_length is not None and size < info.min_length:
        place.refuse("sequence_too_short", f"must have at least {info.min_length} {unit}, not {size}", value)
    if info.max_length is not None and size > info.max_length:
        place.refuse("sequence_too_long", f"must have at most {info.max_length} {unit}, not {size}", value)


def _range(value: float, info: inspect.IntType | inspect.FloatType, place: _Place) -> None:
    for attribute, rule, holds, text in _BOUNDS.values():
        bound: float | None = getattr(info, attribute)
        if bound is not None and not holds(value, bound):
            place.refuse(rule, f"must be {text} {_number(bound)}, not {_shown(value)}", value)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _identity(item: Any) -> Any:
    """What is the same for equal JSON values and no others: 1 is 1.0, but not true."""
    if isinstance(item, int | float) and not isinstance(item, bool):
        return item
    return msgspec.json.encode(item, order="deterministic")


def _check_more(value: Any, rules: Mapping[str, Any], place: _Place) -> None:
    """The rules that msgspec carries but does not check. Each concerns values of one kind alone."""
    for keyword, (_, rule, holds, text) in _BOUNDS.items():
        bound: Any = rules.get(keyword)
        if bound is not None and _kind(value) in ("integer", "number") and not holds(value, bound):
            place.refuse(rule, f"must be {text} {_number(bound)}, not {_shown(value)}", value)
    if rules.get("uniqueItems") is True and isinstance(value, list):
        seen: dict[Any, int] = {}
        for index, item in enumerate(sequence(value)):
            first = seen.setdefault(_identity(item), index)
            if first != index:
                message = f"must not hold anything twice, but [{index}] is the same as [{first}]"
                place.refuse("unique_items", message, value)
                return
