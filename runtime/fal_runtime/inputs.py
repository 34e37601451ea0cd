"""From an `Input` to the bytes that are sent, checked before a byte leaves; and from plain dicts to models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fal_runtime.conform import conform, has_more_rules, without_nulls
from fal_runtime.errors import FieldError, InputError, OutputError
from fal_runtime.result import decoder, of_pydantic

if TYPE_CHECKING:
    from fal_runtime.file_inputs import Files

__all__ = ["Messages", "build_body", "read_input", "read_output"]


def _of_pydantic(value: Any) -> Any:
    """A Pydantic model as a dict of what was set."""
    if not of_pydantic(cast("Any", type(value))):
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return value.to_dict() if hasattr(value, "to_dict") else value.model_dump(by_alias=True, exclude_unset=True)


_encoder = msgspec.json.Encoder(enc_hook=_of_pydantic)
_pack = msgspec.msgpack.Encoder(enc_hook=_of_pydantic).encode
_BYTES = (bytes, bytearray, memoryview)
_LARGE = 65_536
"""Bytes from which on it pays to check a message before it is encoded."""


def build_body(
    input: object,
    type_: Any,
    *,
    endpoint_id: str,
    extra: Mapping[str, Any] | None = None,
    validate: bool = True,
    files: Files | None = None,
) -> bytes:
    """Encode an input, and check it.

    Args:
        input: An instance of `type_`, or a dict of its fields by their names on the wire.
        type_: The endpoint's `Input`.
        endpoint_id: For error messages.
        extra: Fields to send beside the input's own, for what the schema does not know. They are not checked.
        validate: Whether to hold the input against its type.
        files: Takes the files out of the input. What is encoded has stand-ins for them.

    Raises:
        InputError: listing every problem. Nothing was sent.
    """
    _refuse_other(input, type_, endpoint_id)
    value: Any = input
    problems: tuple[FieldError, ...] = ()
    if files is not None:
        value, shape = input, type_
        if of_pydantic(type_):
            from fal_runtime.pydantic_models import plain

            value, shape = plain(input, type_)
        value = files.take(value, shape, validate=validate)
        extra = files.take(extra, Any) if extra else extra
        problems = tuple(files.problems)
    body = _written(value, endpoint_id)
    if validate:
        body, _, departures = _checked(body, type_)
        problems = departures + problems
    if problems:
        raise InputError(f"{_counted(problems)}; nothing was sent", endpoint_id=endpoint_id, errors=problems)
    if extra:
        body = _written({**msgspec.json.decode(body), **extra}, endpoint_id)
    return body


class Messages:
    """Encodes one endpoint's inputs as msgpack, in which bytes stay bytes, and checks them.

    Args:
        type_: The endpoint's `Input`.
        endpoint_id: For error messages.
    """

    def __init__(self, type_: Any, endpoint_id: str) -> None:
        self._type = type_
        self._endpoint_id = endpoint_id
        self._accepted = (type_, dict) if isinstance(type_, type) else object
        self._untyped = type_ is dict or type_ is Any
        self._decode = msgspec.msgpack.Decoder(Any if of_pydantic(type_) else type_).decode
        self._more = of_pydantic(type_) or has_more_rules(type_)

    def build(self, input: object, extra: Mapping[str, Any] | None = None, validate: bool = True) -> bytes:
        """Encode an input, and check it; takes and raises what `build_body` does."""
        if not isinstance(input, self._accepted):
            _refuse_other(input, self._type, self._endpoint_id)
        try:
            body = _pack(input)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            text = f"the input cannot be written as msgpack: {error}"
            raise InputError(text, endpoint_id=self._endpoint_id) from error
        if validate and not self._untyped:
            try:
                if len(body) < _LARGE:
                    self._decode(body)
                elif not self._more:  # a large picture is not copied to be looked at
                    msgspec.convert(msgspec.to_builtins(input, builtin_types=_BYTES), self._type)
            except msgspec.ValidationError:
                body = self._repaired(body)
            else:
                if self._more:
                    self._repaired(body)
        return _pack({**msgspec.msgpack.decode(body), **extra}) if extra else body

    def _repaired(self, body: bytes) -> bytes:
        """Take the slow look, which lists every problem, and takes what msgspec is too narrow for."""
        value, problems = msgspec.msgpack.decode(body), tuple[FieldError, ...]()
        if of_pydantic(self._type):
            _, _, problems = _checked(_encoder.encode(value), self._type)
        else:
            value, problems = conform(value, self._type)
        if problems:
            text = f"{_counted(problems)}; nothing was sent"
            raise InputError(text, endpoint_id=self._endpoint_id, errors=problems)
        return _pack(value)


def read_input(value: Mapping[str, Any], type_: type[Any], *, drop_null: bool = False) -> Any:
    """Build an input from a dict of its fields by their names on the wire.

    Args:
        value: What was set.
        type_: The type of the input.
        drop_null: Whether a null stands for a field that was not set, where the field itself takes no null.

    Raises:
        InputError: listing every problem.
    """
    from fal_runtime.file_inputs import Files

    files = Files()
    body = _written(files.take(value, type_), None)
    if drop_null:
        body = _encoder.encode(without_nulls(msgspec.json.decode(body), type_))
    _, built, problems = _checked(body, type_)
    problems += tuple(files.problems)
    if problems:
        raise InputError(f"{_counted(problems)} for {_named(type_)}", errors=problems)
    return files.put_back(built) if files.sources else built


def read_output(value: Mapping[str, Any], type_: type[Any]) -> Any:
    """Build an output from a dict of its fields by their names on the wire.

    Raises:
        OutputError: listing every departure from the schema.
    """
    body = _encoder.encode(value)
    _, built, problems = _checked(body, type_)
    if problems:
        raise OutputError(f"the value departs from {_named(type_)}", errors=problems, body=body)
    return built


def _refuse_other(input: object, type_: Any, endpoint_id: str) -> None:
    """Refuse what is neither an input of the endpoint nor a dict."""
    if isinstance(type_, type) and not isinstance(input, (type_, dict)):
        wanted = "a dict" if type_ is dict else f"{_named(type_)} or a dict"
        wrong = FieldError(path="", rule="object_type", message=f"must be {wanted}, not {_named(type(input))}")
        raise InputError("the input is of another type; nothing was sent", endpoint_id=endpoint_id, errors=(wrong,))


def _written(input: object, endpoint_id: str | None) -> bytes:
    try:
        return _encoder.encode(input)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"the input cannot be written as JSON: {error}", endpoint_id=endpoint_id) from error


def _checked(body: bytes, type_: Any) -> tuple[bytes, Any, tuple[FieldError, ...]]:
    """Hold a JSON text against a type: what to send, what is built of it, and what is wrong with it.

    msgspec does it at full speed. What it refuses, and types with rules that it does not know, get a second, slow look,
    which lists every problem. That look also takes what msgspec is too narrow for, such as 5.0 for an integer.
    """
    if of_pydantic(type_):
        from fal_runtime.pydantic_models import read_input

        return body, None, read_input(body, type_)
    built: Any = None
    refused: msgspec.ValidationError | None = None
    try:
        built = decoder(type_).decode(body)
    except msgspec.ValidationError as error:
        refused = error
    if refused is None and not has_more_rules(type_):
        return body, built, ()
    built, problems = conform(msgspec.json.decode(body), type_)
    if problems or refused is None:
        return body, built, problems
    body = _encoder.encode(built)
    try:
        decoder(type_).decode(body)
    except msgspec.ValidationError as error:
        return body, built, (FieldError(path="", rule="schema", message=str(error)),)
    return body, built, ()


def _counted(problems: tuple[FieldError, ...]) -> str:
    return "the input has a problem" if len(problems) == 1 else f"the input has {len(problems)} problems"


def _named(type_: type[Any]) -> str:
    """A type as one writes it: with the module it is imported from, unless it is a built-in."""
    module = type_.__module__.rpartition(".")[2]
    return type_.__qualname__ if module == "builtins" else f"{module}.{type_.__qualname__}"
