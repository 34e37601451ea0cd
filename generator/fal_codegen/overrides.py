"""Corrections of documents: data with a reason and a link, applied before anything else reads a document.

An override says what stands in the document now. Where something else stands, the platform has changed it, so the
override is not applied and is reported: either it is not needed any more, or it has to be looked at again.
"""

from __future__ import annotations

import copy
import functools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fal_codegen.catalog import CatalogError, Entry, sha256
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.dialect import is_list, is_mapping

__all__ = ["Override", "Overrides", "load_overrides", "unused"]


class Override(BaseModel):
    """One correction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str
    """An id, or a glob over ids."""
    pointer: str = Field(pattern=r"^/(openapi|metadata)(/[^/]*)+$")
    """The place in the document."""
    was: Any = None
    """What stands there; nothing, if it is left out."""
    value: Any = None
    """What should stand there."""
    remove: bool = False
    """Whether nothing should stand there."""
    reason: str = Field(min_length=1)
    link: str = Field(pattern=r"^https?://\S+$")

    @model_validator(mode="after")
    def _either(self) -> Override:
        if self.remove == ("value" in self.model_fields_set):
            raise ValueError("it needs a `value`, or `remove = true`")
        return self

    def matches(self, endpoint_id: str) -> bool:
        """Whether it is for an endpoint."""
        return fnmatchcase(endpoint_id, self.endpoint)


State = Literal["applied", "not-needed", "outdated"]


@dataclass(frozen=True, slots=True)
class Overrides:
    """All corrections that a run applies."""

    items: tuple[Override, ...] = ()

    @property
    def digest(self) -> str:
        """A hash of them, for what is generated depends on them."""
        return sha256("\n".join(item.model_dump_json() for item in self.items).encode())

    def apply(self, entry: Entry) -> tuple[Entry, list[Diagnostic]]:
        """Correct a document; tell of each correction, and of each that did not fit."""
        mine = [item for item in self.items if item.matches(entry.endpoint_id)]
        if not mine:
            return entry, []
        document: dict[str, Any] = copy.deepcopy({"openapi": entry.openapi, "metadata": entry.metadata})
        notes = [_note(item, entry.endpoint_id, _apply(item, document)) for item in mine]
        return Entry(endpoint_id=entry.endpoint_id, **document), notes


def load_overrides(file: Path | None = None) -> Overrides:
    """The corrections that come with the generator, and those of a project's own file.

    Raises:
        CatalogError: if the file cannot be read, or says something else.
    """
    own = _read(file) if file is not None else ()
    return Overrides((*_shipped(), *own))


@functools.cache
def _shipped() -> tuple[Override, ...]:
    return _read(Path(__file__).with_name("overrides.toml"))


def _read(file: Path) -> tuple[Override, ...]:
    class Table(BaseModel):
        model_config = ConfigDict(extra="forbid")

        override: list[Override] = []

    try:
        return tuple(Table.model_validate(tomllib.loads(file.read_text(encoding="utf-8"))).override)
    except OSError as error:
        raise CatalogError(f"{file}: {error.strerror or error}; it is named as the file of overrides") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: not valid TOML: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise CatalogError(
            f"{file}: {where}: {problem['msg'].lower()}; overrides.toml of fal_codegen shows how"
        ) from error


def _apply(item: Override, document: dict[str, Any]) -> State:
    steps = [step.replace("~1", "/").replace("~0", "~") for step in item.pointer.split("/")[1:]]
    parent: Any = document
    for step in steps[:-1]:
        parent = _child(parent, step)
    last = steps[-1]
    there = _child(parent, last)
    wanted = _MISSING if item.remove else item.value
    if _same(there, wanted):
        return "not-needed"
    expected = item.was if "was" in item.model_fields_set else _MISSING
    if not _same(there, expected) or not (is_mapping(parent) or (is_list(parent) and there is not _MISSING)):
        return "outdated"
    key: Any = int(last) if is_list(parent) else last
    target: Any = parent
    if item.remove:
        del target[key]
    else:
        target[key] = copy.deepcopy(item.value)
    return "applied"


_MISSING: Any = object()


def _child(node: Any, step: str) -> Any:
    if is_mapping(node):
        return node.get(step, _MISSING)
    if is_list(node) and step.isdigit() and int(step) < len(node):
        return node[int(step)]
    return _MISSING


def _same(one: Any, other: Any) -> bool:
    if one is _MISSING or other is _MISSING:
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _note(item: Override, endpoint_id: str, state: State) -> Diagnostic:
    messages: Mapping[State, tuple[str, str]] = {
        "applied": ("overridden", f"corrected, for {item.reason} ({item.link})"),
        "not-needed": ("override-not-needed", "an override is not needed any more: the document says what it would"),
        "outdated": ("override-outdated", "an override is not applied: something else stands there than it says"),
    }
    code, message = messages[state]
    remedies: Mapping[State, str] = {
        "applied": "nothing to do",
        "not-needed": "remove the override",
        "outdated": "look at the document again, and change or remove the override",
    }
    return Diagnostic(code, endpoint_id, item.pointer, message, remedies[state])


def unused(overrides: Overrides, ids: Sequence[str]) -> list[Diagnostic]:
    """The corrections that are for no endpoint that there is."""
    return [
        Diagnostic(
            "override-unused", item.endpoint, item.pointer, "an override is for no endpoint", "remove the override"
        )
        for item in overrides.items
        if not any(map(item.matches, ids))
    ]
