"""From an `Input` to the bytes that are sent, checked before a byte leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fal_runtime.errors import FieldError, InputError
from fal_runtime.result import decoder

__all__ = ["build_body"]

_encoder = msgspec.json.Encoder()


def build_body(
    input: object, type_: Any, *, endpoint_id: str, extra: Mapping[str, Any] | None = None, validate: bool = True
) -> bytes:
    """Encode an input, and check it.

    Args:
        input: An instance of `type_`.
        type_: The endpoint's `Input`.
        endpoint_id: For error messages.
        extra: Fields to send beside the input's own, for what the schema does not know. They are not checked.
        validate: Whether to hold the input against its type.

    Raises:
        InputError: listing every problem. Nothing was sent.
    """
    cls: type[Any] | None = type_ if isinstance(type_, type) else None
    if cls is not None and not isinstance(input, cls):
        message = f"takes {_named(cls)}, not {_named(type(input))}"
        raise InputError(message, endpoint_id=endpoint_id)
    try:
        body = _encoder.encode(input)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the input cannot be written as JSON: {error}", endpoint_id=endpoint_id) from error
    if validate:
        try:
            decoder(type_).decode(body)
        except msgspec.ValidationError as error:
            from fal_runtime.conform import conform

            _, problems = conform(msgspec.json.decode(body), type_)
            problems = problems or (FieldError(path="", rule="schema", message=str(error)),)
            count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
            message = f"the input has {count}; nothing was sent"
            raise InputError(message, endpoint_id=endpoint_id, errors=problems) from None
    if extra:
        body = _encoder.encode({**msgspec.json.decode(body), **extra})
    return body


def _named(type_: type[Any]) -> str:
    """A type as one writes it: with the module it is imported from, unless it is a built-in."""
    module = type_.__module__.rpartition(".")[2]
    return type_.__qualname__ if module == "builtins" else f"{module}.{type_.__qualname__}"
