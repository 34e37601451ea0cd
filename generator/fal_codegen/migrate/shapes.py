"""What a value that came from `fal_client` was before, and what it is once its call is typed."""

from __future__ import annotations

import importlib
import importlib.resources
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

__all__ = [
    "PLAIN",
    "Awaited",
    "Client",
    "Events",
    "Handle",
    "Items",
    "LogLine",
    "Model",
    "Module",
    "Nothing",
    "Package",
    "Plain",
    "Shape",
    "Update",
    "shape_of",
    "structs_of",
]


@dataclass(frozen=True)
class Plain:
    """The same as before: a number, a text, a JSON value without a type of its own."""


PLAIN = Plain()


@dataclass(frozen=True)
class Model:
    """It was a dict and is an object of this class."""

    cls: type[msgspec.Struct]

    @cached_property
    def fields(self) -> dict[str, inspect.Field]:
        """Its fields by their names on the wire."""
        info = inspect.type_info(self.cls)
        return {field.encode_name: field for field in info.fields} if isinstance(info, inspect.StructType) else {}


@dataclass(frozen=True)
class Items:
    """A list of such values. That of a queue update's log lines may only be iterated over: see `whole`."""

    item: Shape
    whole: bool = False
    """Whether only the whole list means the same as before: updates bring new log lines, and no longer all of them."""


@dataclass(frozen=True)
class Update:
    """A queue status: attributes as before, but the log lines in it are objects."""

    repeated: bool
    """Whether it is one of several about one request, which no longer repeat each other's log lines."""


@dataclass(frozen=True)
class LogLine:
    """It was a dict with the keys of a log line, and is an object."""


@dataclass(frozen=True)
class Events:
    """An iterator, over queue updates or over the outputs of a stream."""

    item: Shape


@dataclass(frozen=True)
class Handle:
    """A submitted request."""

    module: Module | None
    """The module of its endpoint; `None` if its output stays a dict."""
    asynchronous: bool


@dataclass(frozen=True)
class Client:
    """A client object."""

    asynchronous: bool


@dataclass(frozen=True)
class Awaited:
    """Something to await."""

    result: Shape


@dataclass(frozen=True)
class Nothing:
    """It was None and is something else, so it may only be thrown away."""


Shape: TypeAlias = Plain | Model | Items | Update | LogLine | Events | Handle | Client | Awaited | Nothing


def structs_of(info: inspect.Type) -> list[type[msgspec.Struct]]:
    """The classes that a type consists of, lists left aside."""
    if isinstance(info, inspect.Metadata):
        return structs_of(info.type)
    if isinstance(info, inspect.UnionType):
        return [cls for branch in info.types for cls in structs_of(branch)]
    return [info.cls] if isinstance(info, inspect.StructType) else []


def shape_of(info: inspect.Type) -> Shape | None:
    """What a value of an output's type is; `None` if it can be several things."""
    if isinstance(info, inspect.Metadata):
        return shape_of(info.type)
    if isinstance(info, inspect.UnionType):
        shapes = {shape_of(branch) for branch in info.types if not isinstance(branch, inspect.NoneType)}
        return shapes.pop() if len(shapes) == 1 else None
    if isinstance(info, inspect.StructType):
        return Model(info.cls)
    if isinstance(info, inspect.CollectionType):
        item = shape_of(info.item_type)
        return None if item is None else PLAIN if item == PLAIN else Items(item)
    if isinstance(info, inspect.TupleType):
        return PLAIN if all(shape_of(item) == PLAIN for item in info.item_types) else None
    if isinstance(info, inspect.DictType):
        return PLAIN if shape_of(info.value_type) == PLAIN else None
    return PLAIN


@dataclass(frozen=True)
class Module:
    """The generated module of an endpoint."""

    endpoint_id: str
    package: str
    """The package to import it from, `fal_endpoints.fal_ai`."""
    name: str

    @cached_property
    def loaded(self) -> ModuleType:
        """The module itself."""
        return importlib.import_module(f"{self.package}.{self.name}")

    @cached_property
    def input(self) -> Model:
        """The shape of its inputs."""
        return Model(self.loaded.Input)

    @cached_property
    def output(self) -> Shape | None:
        """The shape of its outputs."""
        return shape_of(inspect.type_info(self.loaded.Output))

    @cached_property
    def streams(self) -> bool:
        """Whether it has the verb `stream`."""
        return hasattr(self.loaded, "stream")

    def holds(self, cls: type[Any]) -> bool:
        """Whether a class can be named as this module's attribute."""
        return getattr(self.loaded, cls.__name__, None) is cls


class Package:
    """A package of generated modules.

    Args:
        name: Its import name.

    Raises:
        ModuleNotFoundError: if it cannot be imported.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        package = importlib.import_module(name)
        index = importlib.resources.files(package) / "index.json"
        rows: list[dict[str, Any]] = msgspec.json.decode(index.read_bytes())["endpoints"]
        self._modules: dict[str, str] = {row["id"]: row["module"] for row in rows}
        self._found: dict[str, Module | None] = {}

    def find(self, endpoint_id: str) -> Module | None:
        """The module of an endpoint, if the package has one that can be called, with types that msgspec reads."""
        if endpoint_id not in self._modules:
            return None
        if endpoint_id not in self._found:
            owner, _, name = self._modules[endpoint_id].rpartition(".")
            module = Module(endpoint_id, f"{self.name}.{owner}", name)
            model: Any = getattr(module.loaded, "Input", None)
            known = isinstance(model, type) and issubclass(model, msgspec.Struct)
            self._found[endpoint_id] = module if known else None
        return self._found[endpoint_id]
