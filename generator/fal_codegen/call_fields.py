"""The fields of an endpoint's input as options of a command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from msgspec import inspect

from fal_runtime.values import mapping, sequence

__all__ = ["FieldOptions"]


_NULL = object()
"""A null that was given, for to click `None` is what was not."""


def _branches(info: inspect.Type) -> Iterator[inspect.Type]:
    """The types of which a value is one."""
    if isinstance(info, inspect.UnionType):
        for branch in info.types:
            yield from _branches(branch)
    elif isinstance(info, inspect.Metadata) and not _is_file(info):
        yield from _branches(info.type)
    else:
        yield info


def _is_file(info: inspect.Type) -> bool:
    """Whether a type is that of a file's URL."""
    return isinstance(info, inspect.Metadata) and "file" in mapping(getattr(info, "extra", None))


class _Value(click.ParamType[Any]):
    """A value of a field, written on a command line. Whether it keeps the field's rules is the runtime's to say."""

    def __init__(self, info: inspect.Type) -> None:
        self.branches = [branch for branch in _branches(info) if not isinstance(branch, inspect.CustomType)]
        self.name = "value"
        self.words = [value for each in self.branches if isinstance(each, inspect.LiteralType) for value in each.values]
        self.nullable = any(isinstance(each, inspect.NoneType) for each in self.branches)

    def _has(self, *kinds: Any) -> bool:
        return any(isinstance(each, kinds) for each in self.branches)

    @property
    def text(self) -> str:
        """What may be given, for the help and for errors."""
        parts: list[str] = []
        if self.words:
            shown = [str(word) for word in self.words[:12]]
            parts.append("|".join(shown) + ("|..." if len(self.words) > 12 else ""))
        kinds = {inspect.BoolType: "true|false", inspect.IntType: "INTEGER", inspect.FloatType: "NUMBER"}
        parts += [name for kind, name in kinds.items() if self._has(kind)]
        if any(_is_file(each) for each in self.branches):
            parts.append("PATH|URL")
        if self._has(inspect.StrType):
            parts.append("TEXT")
        if self._has(inspect.StructType, inspect.DictType, inspect.AnyType, inspect.CollectionType, inspect.TupleType):
            parts.append("JSON")
        return "|".join(parts) or "JSON"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self.text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        for read in (self._word, self._number, self._json, self._file, self._text):
            found = read(value)
            if found is not None:
                return found[0]
        if any(_is_file(each) for each in self.branches):
            self.fail(f"there is no file {value!r}, and it is no URL", param, ctx)
        near = [word for word in map(str, self.words) if word.lower() == value.lower()]
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return self.fail(f"{value!r} is none of {self.text}{hint}", param, ctx)

    def _word(self, value: str) -> tuple[Any] | None:
        for word in self.words:
            if str(word) == value:
                return (word,)
        if value == "null" and self.nullable and not self._has(inspect.StrType):
            return (_NULL,)
        if value in ("true", "false") and self._has(inspect.BoolType):
            return (value == "true",)
        return None

    def _number(self, value: str) -> tuple[Any] | None:
        for kind, read in ((inspect.IntType, int), (inspect.FloatType, float)):
            if self._has(kind):
                try:
                    number = read(value)
                except ValueError:
                    continue
                if math.isfinite(number):
                    return (number,)
        return None

    def _json(self, value: str) -> tuple[Any] | None:
        anything = self._has(inspect.AnyType)
        kinds = (inspect.StructType, inspect.DictType, inspect.CollectionType, inspect.TupleType)
        if not anything and not (self._has(*kinds) and value.lstrip()[:1] in ("{", "[")):
            return None
        try:
            return (json.loads(value),)
        except ValueError:
            return (value,) if anything else None

    def _file(self, value: str) -> tuple[Any] | None:
        if not any(_is_file(each) for each in self.branches):
            return None
        if "://" in value or value.startswith("data:"):
            return (value,)
        path = Path(value).expanduser()
        return (path,) if path.is_file() else None

    def _text(self, value: str) -> tuple[Any] | None:
        return (value,) if self._has(inspect.StrType) else None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if any(_is_file(each) for each in self.branches):
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(word) for word in map(str, self.words) if word.startswith(incomplete)]


class _Item(_Value):
    """One of the values of a list. A JSON list stands for all that is in it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                return _Several(json.loads(value))
            except ValueError:
                pass
        return super().convert(value, param, ctx)


class _Several(list[Any]):
    """Several values of a list, given at once."""


class FieldOptions:
    """The options for an endpoint's input, and the input that they make.

    Args:
        model: The class of inputs.
        reserved: Options that the command has for itself; a field of such a name gets `--field-` before its own.
    """

    def __init__(self, model: type[Any], reserved: frozenset[str]) -> None:
        self.options: list[click.Option] = []
        self._places: dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = {}
        self._reserved = reserved
        self._add(model, (), required=True)

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The input, from what click found; what was not given is not in it."""
        found: dict[str, Any] = {}
        for name, (path, finish) in self._places.items():
            value = given.get(name)
            if value is None or value == ():
                continue
            inner = found
            for step in path[:-1]:
                inner[step] = inner = mapping(inner.get(step))
            inner[path[-1]] = finish(value)
        return found

    def words(self, field: str) -> list[Any]:
        """The words of which a field takes one."""
        for option in self.options:
            if self._places[str(option.name)][0] == (field,) and isinstance(option.type, _Value):
                return option.type.words
        return []

    def _add(self, model: type[Any], path: tuple[str, ...], *, required: bool) -> None:
        info = inspect.type_info(model)
        if not isinstance(info, inspect.StructType):
            return
        docs = _docs(model)
        for field in info.fields:
            where = (*path, field.encode_name)
            branches = [each for each in _branches(field.type) if not isinstance(each, inspect.CustomType)]
            option, finish = self._option(where, field.type, branches, docs.get(field.name, ""))
            if required and field.required:
                option.help = f"{option.help or ''} [required]".strip()
            self.options.append(option)
            self._places[str(option.name)] = where, finish
            structs = [each for each in branches if isinstance(each, inspect.StructType)]
            if len(structs) == 1 and len(where) < 3:
                self._add(structs[0].cls, where, required=False)

    def _option(
        self, path: tuple[str, ...], info: inspect.Type, branches: list[inspect.Type], help: str
    ) -> tuple[click.Option, Callable[[Any], Any]]:
        flag = ".".join(step.replace("_", "-") for step in path)
        if flag in self._reserved:
            flag = f"field-{flag}"
        name = f"field_{len(self._places)}"
        solid = [each for each in branches if not isinstance(each, inspect.NoneType)]
        if len(solid) == 1 and isinstance(solid[0], inspect.BoolType):
            return click.Option([name, f"--{flag}/--no-{flag}"], default=None, help=help), _itself
        lists = [each for each in solid if isinstance(each, inspect.CollectionType)]
        if len(lists) == 1 and len(solid) == 1:
            kind = _Item(lists[0].item_type)
            option = click.Option(
                [name, f"--{flag}"], type=kind, multiple=True, help=f"{help} (may be repeated)".strip()
            )
            return option, _flat
        return click.Option([name, f"--{flag}"], type=_Value(info), help=help), _itself


def _itself(value: Any) -> Any:
    return None if value is _NULL else value


def _flat(values: Any) -> list[Any]:
    return [
        item
        for value in sequence(list(values))
        for item in (value if isinstance(value, _Several) else [_itself(value)])
    ]


def _docs(model: type[Any]) -> dict[str, str]:
    """What a class says about each of its fields."""
    found: dict[str, str] = {}
    name = ""
    for line in (model.__doc__ or "").splitlines():
        if match := re.match(r" {8}(\w+): (.*)", line):
            name = match[1]
            found[name] = match[2]
        elif name and line.startswith(" " * 12):
            found[name] += f" {line.strip()}"
    return found
