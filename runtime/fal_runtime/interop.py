"""Generated types inside of pydantic and FastAPI. Imported only when one of them asks for it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import msgspec

from fal_runtime.errors import FieldError, InputError, OutputError
from fal_runtime.schema import component, json_schema
from fal_runtime.values import mapping, sequence

__all__ = ["core_schema", "dataclass_fields", "pydantic_json_schema"]

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def core_schema(cls: type[Any], **metadata: Any) -> Any:
    """How pydantic reads and writes a generated type: as the runtime does, with every problem at its place."""
    from pydantic_core import core_schema as schemas

    return schemas.no_info_plain_validator_function(
        _validator(cls),
        ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
        serialization=schemas.plain_serializer_function_ser_schema(_to_dict),
        metadata=metadata,
    )


def _to_dict(value: Any) -> Any:
    return value.to_dict()


def _validator(cls: Any) -> Any:
    def validate(value: Any) -> Any:
        given: Any = value.to_dict() if isinstance(value, cls) else value
        if not isinstance(given, dict):
            message = f"must be {cls.__name__} or an object"
            wrong = FieldError(path="", rule="object_type", message=message, given=value)
            raise _validation_error(cls, (wrong,), value)
        try:
            built: Any = cls.from_dict(given)
        except (InputError, OutputError) as error:
            problems = error.errors or (FieldError(path="", rule="value_error", message=error.message),)
            raise _validation_error(cls, problems, value) from None
        return value if isinstance(value, cls) else built

    return validate


def _validation_error(cls: type[Any], problems: tuple[FieldError, ...], value: Any) -> Exception:
    from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

    details: list[InitErrorDetails] = []
    for problem in problems:
        kind = PydanticCustomError(problem.rule, problem.message)  # pyright: ignore[reportArgumentType]
        given = value if problem.rule == "missing" else problem.given
        details.append(InitErrorDetails(type=kind, loc=_steps(problem.path), input=given))
    return ValidationError.from_exception_data(cls.__name__, details)


def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(int(index) if index else name for index, name in _STEP.findall(path))


def pydantic_json_schema(cls: type[Any], handler: Any) -> Any:
    """The type's JSON Schema, with the types in it as definitions of pydantic's."""
    if not hasattr(handler, "generate_json_schema"):  # it is not part of what pydantic promises
        return json_schema(cls, dialect="mcp")
    schema, refs = component(cls, "#/{name}")
    known = {ref: handler.generate_json_schema.generate_inner(_nested(each)) for each, ref in refs.items()}
    return _with_refs(schema, known)


def _nested(cls: type[Any]) -> Any:
    """The core schema of a type that is only named inside of another, where pydantic does not look for its hook."""

    def hook(core: Any, handler: Any) -> Any:
        return pydantic_json_schema(cls, handler)

    return core_schema(cls, pydantic_js_functions=[hook])


def _with_refs(node: Any, known: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_with_refs(item, known) for item in sequence(node)]
    if not isinstance(node, dict):
        return node
    replaced = {key: _with_refs(value, known) for key, value in mapping(node).items()}
    ref = replaced.get("$ref")
    return replaced | known[ref] if isinstance(ref, str) else replaced


def dataclass_fields(cls: type[Any], instance: Any) -> dict[str, dataclasses.Field[Any]]:
    """The fields as `dataclasses` knows fields; of an instance, only those that are set."""
    made = dataclasses.make_dataclass(cls.__name__, [(field.name, field.type) for field in msgspec.structs.fields(cls)])
    fields = {field.name: field for field in dataclasses.fields(made)}
    if instance is None:
        return fields
    return {name: field for name, field in fields.items() if getattr(instance, name) is not msgspec.UNSET}
