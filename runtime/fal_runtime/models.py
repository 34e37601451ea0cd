"""The base classes of generated types.

`InputModel` and `OutputModel` differ in what an absent field means. On an input, a field that was not set is absent on
the wire, so the platform's own default applies even after it changes. On an output, a field that was not sent has the
schema's default or `None`, so nothing a reader touches is ever a sentinel.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar, overload

import msgspec

__all__ = ["FileInput", "InputModel", "OutputModel", "default"]

T = TypeVar("T")

FileInput: TypeAlias = str
"""What an input field that names a file takes: an `https://` URL or a `data:` URI."""


class InputModel(msgspec.Struct, kw_only=True, repr_omit_defaults=True):
    """Base of every type that is sent. Fields that were not set read as `msgspec.UNSET` and are not sent."""


class OutputModel(msgspec.Struct, kw_only=True):
    """Base of every type that is received. Unknown fields are ignored, so the platform may add some."""


@overload  # mypy takes a list of words for one of `str` even where literals are wanted, so a list fits every field
def default(value: list[Any], *, name: str | None = None) -> Any: ...
@overload
def default(value: T, *, name: str | None = None) -> T: ...
def default(value: Any, *, name: str | None = None) -> Any:
    """Declare an optional input field: editors show `value`, the wire carries nothing until the caller sets it.

    Args:
        value: The platform's own default, for the reader; it is never sent.
        name: The field's name on the wire, where it is not the attribute's.
    """
    return msgspec.UNSET if name is None else msgspec.field(default=msgspec.UNSET, name=name)
