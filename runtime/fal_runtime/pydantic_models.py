"""The base classes of types that are generated as Pydantic models, and how the runtime reads and writes them.

They have the face of `InputModel` and `OutputModel` of `fal_runtime.models`, and mean the same on the wire: what was not
set on an input is absent, an explicit value is sent even if it equals the default, and an output that departs from its
schema is built as well as it can be. Needs the extra `pydantic`; nothing else of the runtime imports this.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, Union, cast, get_args, get_origin, overload

import msgspec

try:
    from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
    from pydantic_core import PydanticCustomError, to_json
    from pydantic_core import core_schema as schemas
except ModuleNotFoundError as error:
    text = "these models need pydantic; run: pip install 'fal-bindings[pydantic]'"
    raise ModuleNotFoundError(text, name=error.name) from error

from fal_runtime.errors import FieldError, InputError, OutputError
from fal_runtime.media import MediaFile
from fal_runtime.values import mapping, sequence

__all__ = [
    "FileInput",
    "FileInputs",
    "InputModel",
    "OutputModel",
    "UniqueItems",
    "default",
    "plain",
    "read_input",
    "read_output",
    "tag",
]

T = TypeVar("T")


class _Model(BaseModel):
    """What inputs and outputs have in common."""

    # Patterns are Python's, as they are for Structs: pydantic's own engine refuses to build a class with a look-ahead.
    model_config = ConfigDict(populate_by_name=True, protected_namespaces=(), regex_engine="python-re")

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields, checked as a new one is."""
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **changes})


class InputModel(_Model):
    """Base of every type that is sent. Fields that were not set read as the platform's default and are not sent."""

    model_config = ConfigDict(extra="forbid")

    def model_post_init(self, context: Any, /) -> None:
        """What tells the types of a union apart is sent, although nobody sets it."""
        self.model_fields_set.update(_tags(type(self)))

    def to_dict(self) -> dict[str, Any]:
        """The fields that were set, by their names on the wire."""
        return self.model_dump(by_alias=True, exclude_unset=True, warnings=False)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Build it from a dict with the names of the wire, and check it.

        Raises:
            InputError: listing every problem.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problems = _problems(error, value)
            raise InputError(f"{len(problems)} problems with {cls.__qualname__}", errors=problems) from None


class OutputModel(_Model):
    """Base of every type that is received. Unknown fields are ignored, so the platform may add some."""

    model_config = ConfigDict(extra="ignore")

    def to_dict(self) -> dict[str, Any]:
        """The fields, by their names on the wire."""
        return self.model_dump(by_alias=True, warnings=False)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Build it from a dict with the names of the wire, such as `to_dict` gives.

        Raises:
            OutputError: listing every departure from the schema.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problems = _problems(error, value)
            raise OutputError(f"the value departs from {cls.__qualname__}", errors=problems) from None


class _File:
    """What an input field that names a file takes, at run time."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> schemas.CoreSchema:
        return schemas.no_info_plain_validator_function(cls._checked)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string"}

    @staticmethod
    def _checked(value: Any) -> Any:
        if isinstance(value, MediaFile):
            return getattr(value, "url", None)  # an output of one endpoint as the input of the next
        if value is None or (
            isinstance(value, (bool, int, float, Mapping, Sequence)) and not isinstance(value, str | bytes)
        ):
            raise PydanticCustomError("string_type", "must be the address of a file, or a file")
        return value


if TYPE_CHECKING:
    from fal_runtime.models import FileInput, FileInputs
else:
    FileInput = Annotated[Any, _File]
    FileInputs = list[FileInput]


@overload  # nothing to show: the platform names no default
def default(*, name: str | None = None) -> Any: ...
@overload  # a list fits every field, as in `fal_runtime.models`
def default(value: list[Any], *, name: str | None = None) -> Any: ...
@overload
def default(value: T, *, name: str | None = None) -> T: ...
def default(value: Any = None, *, name: str | None = None) -> Any:
    """Declare an optional field: an input shows `value` and does not send it until the caller sets it.

    Args:
        value: The platform's own default.
        name: The field's name on the wire, where it is not the attribute's.
    """
    if name is None:
        return Field(default=value)
    return Field(default=value, validation_alias=name, serialization_alias=name)


class _Tag:
    """Marks a field that tells the types of a union apart."""


def tag(value: T) -> T:
    """Declare a constant that tells the types of a union apart, and so is always sent."""
    info: Any = Field(default=value)
    info.metadata.append(_Tag())
    return cast("T", info)


@functools.cache
def _tags(cls: type[BaseModel]) -> frozenset[str]:
    fields = cls.model_fields.items()
    return frozenset(name for name, info in fields if any(isinstance(each, _Tag) for each in info.metadata))


class UniqueItems:
    """Says of a list that its items differ, for which Pydantic has no word."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> schemas.CoreSchema:
        return schemas.no_info_after_validator_function(cls._checked, handler(source))

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core), "uniqueItems": True}

    @staticmethod
    def _checked(value: Any) -> Any:
        if len({to_json(item) for item in value}) < len(value):
            raise PydanticCustomError("unique_items", "its items must differ")
        return value


# --- For the runtime --------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=512)
def _adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_)


def plain(input: object, type_: Any) -> tuple[Any, Any]:
    """An input as a plain dict, in which files are what they were; and a type for msgspec that says where files may be."""
    return input.to_dict() if isinstance(input, InputModel) else input, _shape(type_)


_CONTAINERS: frozenset[Any] = frozenset({list, tuple, dict})
_FILE: Any = Annotated[str, msgspec.Meta(extra={"file": True})]


@functools.lru_cache(maxsize=512)
def _shape(type_: Any, above: frozenset[Any] = frozenset()) -> Any:
    """A type for msgspec that has the files and the names of a type made of Pydantic models."""
    if hasattr(type_, "__metadata__"):
        return _FILE if _File in type_.__metadata__ else _shape(type_.__origin__, above)
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return Any if type_ in above else _shape_of_model(type_, above | {type_})
    origin: Any = get_origin(type_)
    parts = tuple(_shape(each, above) for each in get_args(type_)) if origin is not Literal else ()
    if origin is Union or _is_union(type_):
        return Union[parts]  # noqa: UP007
    return origin[parts] if origin in _CONTAINERS else Any if type_ is Any else str


def _shape_of_model(model: type[BaseModel], above: frozenset[Any]) -> Any:
    fields: list[tuple[str, Any]] = []
    wires: dict[str, str] = {}
    for number, (name, info) in enumerate(model.model_fields.items()):
        annotation: Any = info.annotation
        fields.append((f"field{number}", _FILE if _File in info.metadata else _shape(annotation, above)))
        wires[f"field{number}"] = info.serialization_alias or name
    return msgspec.defstruct(model.__name__, fields, rename=wires)


def read_input(body: bytes, type_: Any) -> tuple[FieldError, ...]:
    """Hold the JSON text of an input against its type; return every problem."""
    try:
        _adapter(type_).validate_json(body, strict=True)
    except ValidationError as error:
        return _problems(error, msgspec.json.decode(body))
    return ()


def read_output(body: bytes, type_: Any) -> tuple[Any, tuple[FieldError, ...]]:
    """Build an output from its JSON text as well as it can be built, and list every departure from the type.

    Raises:
        msgspec.DecodeError: if it is not JSON.
    """
    try:
        return _adapter(type_).validate_json(body, strict=True), ()
    except ValidationError as error:
        value = msgspec.json.decode(body)
        return _lenient(value, type_), _problems(error, value)


def _problems(error: ValidationError, value: Any) -> tuple[FieldError, ...]:
    """What Pydantic says, in the caller's own names. Of a union, what is said of the branch that comes nearest."""
    found: dict[tuple[str, str], FieldError] = {}
    of_kind: set[tuple[str, str]] = set()
    telling: set[str] = set()
    for each in error.errors(include_url=False):
        rule, given = each["type"], each["input"]
        path = _path(each["loc"], value, absent=rule == "missing")
        if rule == "int_type" and isinstance(given, float) and given.is_integer():
            continue  # JSON knows no difference between 5.0 and 5
        message = each["msg"][:1].lower() + each["msg"][1:]
        found[path, rule] = FieldError(path=path, rule=rule, message=message, given=given)
        if rule.endswith("_type") or (rule == "literal_error" and not isinstance(given, (str, int))):
            of_kind.add((path, rule))
        else:
            telling.update(path[:end] for end in range(len(path) + 1))
    # Of one place, being of another kind altogether says less than anything else that is said there, or inside.
    return tuple(each for place, each in found.items() if place not in of_kind or place[0] not in telling)


def _path(steps: Sequence[Any], value: Any, *, absent: bool) -> str:
    """A place as callers write it, without the names that Pydantic gives to the branches of unions.

    Args:
        steps: What Pydantic says.
        value: The whole value.
        absent: Whether the last step is not in it.
    """
    path = ""
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(step, int) and isinstance(value, list):
            value = sequence(value)[step] if step < len(sequence(value)) else None
            path += f"[{step}]"
        elif isinstance(value, dict) and (step in value or (last and absent)):
            value = mapping(value).get(str(step))
            path += f".{step}" if path else str(step)
    return path


def _lenient(value: Any, type_: Any) -> Any:
    """Build a type from a JSON value: what fits is typed, what does not is kept as it is."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return _lenient(value, arguments[0])
    if origin is Union or _is_union(type_):
        return _lenient(value, _branch(value, arguments))
    if value is None:
        return _nothing(type_)
    if origin is list and isinstance(value, list):
        return [_lenient(item, arguments[0]) for item in sequence(value)]
    if origin is tuple and isinstance(value, list) and len(sequence(value)) == len(arguments):
        return tuple(_lenient(item, each) for item, each in zip(sequence(value), arguments, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _lenient(item, arguments[1]) for key, item in mapping(value).items()}
    if isinstance(type_, type) and issubclass(type_, BaseModel) and isinstance(value, dict):
        return _constructed(mapping(value), type_)
    return _number(value, type_)


def _number(value: Any, type_: Any) -> Any:
    """A number as the type has it, where that is the same number."""
    if type_ is float and type(value) is int:
        return float(value)
    return int(value) if type_ is int and type(value) is float and value.is_integer() else value


def _constructed(value: Mapping[str, Any], cls: type[BaseModel]) -> BaseModel:
    fields: dict[str, Any] = {}
    for name, info in cls.model_fields.items():
        wire = info.serialization_alias or name
        if wire in value:
            fields[name] = _lenient(value[wire], info.annotation)
        elif info.is_required():
            fields[name] = _nothing(info.annotation)
    return cls.model_construct(**fields)


def _nothing(type_: Any) -> Any:
    """What stands for a value that is missing: something empty to iterate over, or `None`."""
    while get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    return [] if get_origin(type_) is list else {} if get_origin(type_) is dict else None


def _is_union(type_: Any) -> bool:
    return type(type_).__name__ == "UnionType"


def _branch(value: Any, branches: Sequence[Any]) -> Any:
    """The branch of a union that a value fits best."""
    for branch in branches:
        try:
            _adapter(branch).validate_python(value, strict=True)
        except ValidationError:
            continue
        return branch
    if value is None:
        return NoneType if NoneType in branches else branches[0]
    if isinstance(value, dict):
        models = [each for each in branches if isinstance(each, type) and issubclass(each, BaseModel)]
        known = mapping(value)
        return max(models, key=lambda each: len(known.keys() & each.model_fields.keys()), default=Any)
    lists = [each for each in branches if get_origin(each) is list]
    return lists[0] if isinstance(value, list) and lists else Any
