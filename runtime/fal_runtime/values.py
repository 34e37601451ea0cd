"""JSON values of which nobody knows the kind yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

__all__ = ["json_or_none", "mapping", "sequence"]


def json_or_none(text: bytes | str) -> Any:
    """The value in a JSON text; `None` if it is none, by its grammar, its characters or its depth."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> dict[str, Any]:
    """A value as an object; an empty one if it is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def sequence(value: Any) -> Sequence[Any]:
    """A value as a list; an empty one if it is something else."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else []
