"""Examples of generated types: valid, repeatable values for a test to start from, with files that open."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from fal_sandbox.answers import Answer
from fal_sandbox.files import FileStore
from fal_sandbox.schemas import Contract, Schema

T = TypeVar("T")

_SIDE = 256
_REFERENCE = "#/components/schemas/{name}"


def example(type_: type[T], /, *, seed: int = 0) -> T:
    """A valid value of a generated type: `example(flux_dev.Output)`.

    Every field of an output has a value; of an input, those that must be given. Files are real and come as `data:`
    URIs, so that they can be read with no server; `Sandbox.example` gives links instead. For other values in some
    fields: `example(flux_dev.Output).replace(seed=7)`.

    Args:
        type_: `Input`, `Output`, or any other type of an endpoint's module.
        seed: another number makes another example; the same number makes the same one everywhere.

    Raises:
        TypeError: if `type_` is not a generated type.
    """
    return make(type_, seed, FileStore(), None)


def make(type_: type[T], seed: int, files: FileStore, url: Callable[[str], str] | None) -> T:
    """An example whose files are put in `files` and named by `url`, or else are written into the value itself."""
    given = {"image_size": {"width": _SIDE, "height": _SIDE}, "sync_mode": url is None}
    contract = _contract(cast("Hashable", type_))
    # What is sent to the platform holds no more than it must: the less a test says, the less it claims.
    terse = contract.resolve(contract.output).get("additionalProperties") is False
    answer = Answer(contract, "", given, files, url or str, variant=seed, terse=terse)
    value = answer.make()
    try:
        if (build := _pydantic(type_, "model_validate")) is not None:
            return cast("T", build(value))
        return msgspec.convert(value, type_)
    except ValueError as error:
        raise AssertionError(f"the example made for {contract.endpoint_id} is not valid: {error}") from error


def _pydantic(type_: Any, method: str) -> Callable[..., Any] | None:
    """A method of a Pydantic model's class, if it is one: Pydantic itself need not be installed."""
    found = getattr(type_, method, None) if isinstance(type_, type) else None
    return cast("Callable[..., Any] | None", found)


@lru_cache(maxsize=256)
def _contract(type_: Any) -> Contract:
    try:
        if (described := _pydantic(type_, "model_json_schema")) is not None:
            schema: Schema = described(ref_template=_REFERENCE.replace("name", "model"))
            components: Schema = schema.pop("$defs", {})
        else:
            (schema,), components = msgspec.json.schema_components([type_], ref_template=_REFERENCE)
    except TypeError as error:
        raise TypeError(f"example takes a generated type such as flux_dev.Output, not {type_!r}: {error}") from None
    # Some endpoints tell nothing of their output, so that its type is no class.
    name = f"{type_.__module__.rpartition('.')[2]}.{getattr(type_, '__qualname__', type_)}"
    body = {"content": {"application/json": {"schema": schema}}}
    document: Schema = {
        "components": {"schemas": components},
        "paths": {f"/{name}/requests/{{request_id}}": {"get": {"responses": {"200": body}}}},
    }
    return Contract(name, document)
