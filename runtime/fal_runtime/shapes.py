"""What types are made of, as `msgspec.inspect` describes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from fal_runtime.values import mapping

__all__ = ["inside", "members_of", "reached"]


def members_of(info: inspect.Metadata) -> tuple[Any, ...]:
    """What stands in a `OneOf`, which is `Any` to msgspec; nothing for what is none."""
    members: tuple[Any, ...] = mapping(info.extra).get("one_of", ())  # pyright: ignore[reportUnknownMemberType]
    return members


def inside(info: inspect.Type) -> Iterator[inspect.Type]:
    """The types that a type is directly made of."""
    if isinstance(info, inspect.Metadata):
        members = members_of(info)
        yield from map(inspect.type_info, members) if members else (info.type,)
    elif isinstance(info, inspect.UnionType):
        yield from info.types
    elif isinstance(info, inspect.TupleType):
        yield from info.item_types
    elif isinstance(info, inspect.CollectionType):
        yield info.item_type
    elif isinstance(info, inspect.DictType):
        yield info.value_type
    elif isinstance(info, inspect.StructType):
        yield from (field.type for field in info.fields)


def reached(type_: Any) -> Iterator[inspect.Type]:
    """A type and what it is made of, all the way down; each class once."""
    waiting, classes = [inspect.type_info(type_)], set[type[Any]]()
    while waiting:
        info = waiting.pop()
        if isinstance(info, inspect.StructType):
            if info.cls in classes:
                continue
            classes.add(info.cls)
        yield info
        waiting += inside(info)
