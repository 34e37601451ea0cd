"""Decoded JSON values of which nobody knows the kind yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

__all__ = ["mapping", "sequence"]


def mapping(value: Any) -> dict[str, Any]:
    """A value as an object; an empty one if it is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def sequence(value: Any) -> Sequence[Any]:
    """A value as a list; an empty one if it is something else."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else []
