"""Catalogue entries: reading them from the platform's answers, and their one canonical form on disk.

A folder of schemas holds `<owner>/<rest of the id>.json` for each endpoint, and `endpoints.lock` (see `lock`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fal_codegen.diagnostics import CatalogError, Diagnostic
from fal_codegen.names import check_id
from fal_runtime.values import mapping

__all__ = ["CatalogError", "Entry", "Page", "canonical", "facts_only", "read_entries", "read_page", "schema_path"]


class Page(BaseModel):
    """One page of the Platform API's `GET /models`. Source: fal docs, Platform API reference."""

    models: list[dict[str, Any]]
    next_cursor: str | None = None
    has_more: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _single(cls, value: Any) -> Any:
        """Take a single entry, as a folder of schemas holds them, for a page of one."""
        members = mapping(value)
        return {"models": [value]} if "endpoint_id" in members and "models" not in members else value


class Entry(BaseModel):
    """One endpoint of the catalogue."""

    model_config = ConfigDict(frozen=True)

    endpoint_id: str
    metadata: dict[str, Any] = {}
    openapi: dict[str, Any] | None = None

    @property
    def problem(self) -> str | None:
        """Why the platform could not give a schema, in its own words; `None` if it gave one."""
        if self.openapi is None:
            return "the source gave no schema"
        error = mapping(self.openapi.get("error"))
        if error:
            return ": ".join(str(error[name]) for name in ("code", "message") if error.get(name)) or "no schema"
        return None


# What a schema document keeps of an entry's metadata. What changes without the endpoint changing (pictures, counters,
# favourites, the time of the last edit) is left out, so that a pull of an unchanged catalogue changes nothing.
_METADATA = (
    "category",
    "date",
    "description",
    "display_name",
    "duration_estimate",
    "inference_endpoint_ids",
    "kind",
    "license_type",
    "status",
    "stream_url",
    "tags",
    "training_endpoint_ids",
)

_PROSE = frozenset({"description", "title", "example", "examples", "about", "limit_description", "message"})
_LONGEST_FACT = 80


def canonical(entry: Entry) -> bytes:
    """The one form of an entry on disk: stable metadata, sorted keys, one member a line."""
    document = {
        "endpoint_id": entry.endpoint_id,
        "metadata": {name: entry.metadata[name] for name in _METADATA if name in entry.metadata},
        "openapi": entry.openapi,
    }
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def sha256(data: bytes) -> str:
    """The hash that the lock and the headers of modules carry."""
    return hashlib.sha256(data).hexdigest()


def facts_only(entry: Entry) -> Entry:
    """The entry without prose: names, types, enums, bounds and short defaults stay; texts and pictures go."""
    metadata = {name: value for name, value in entry.metadata.items() if name not in _PROSE}
    openapi = None
    if entry.openapi is not None:
        openapi = {name: _facts(value) for name, value in entry.openapi.items() if name != "info"}
        if "paths" in entry.openapi:
            openapi["info"] = {"title": entry.endpoint_id, "version": "1.0.0"}
    return Entry(endpoint_id=entry.endpoint_id, metadata=metadata, openapi=openapi)


def _facts(node: Any, names: bool = False) -> Any:
    """Strip prose below a node; `names` says that its keys are names of things, not keywords."""
    if isinstance(node, list):
        return [_facts(item) for item in node]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(node, dict):
        return node
    kept: dict[str, Any] = {}
    for key, value in mapping(cast("Any", node)).items():
        if not names and (
            key in _PROSE or (key == "default" and isinstance(value, str) and len(value) > _LONGEST_FACT)
        ):
            continue
        if not names and key in ("enum", "const", "default"):
            kept[key] = value
        else:
            kept[key] = _facts(value, names=not names and key in ("properties", "schemas", "$defs"))
    return kept


def schema_path(endpoint_id: str) -> str:
    """Where an endpoint's document lies in the folder of schemas.

    Raises:
        CatalogError: for an id that is none, and so could lead out of the folder.
    """
    if (problem := check_id(endpoint_id)) is not None:
        raise CatalogError(problem.message)
    return endpoint_id + ".json"


def read_page(data: bytes, source: str) -> Page:
    """Read one page. Raises `CatalogError` if it is not one."""
    try:
        return Page.model_validate_json(data)
    except ValidationError as error:
        if (mended := _mended(data)) is not None:
            return mended
        if error.errors()[0]["type"] == "json_invalid":
            start = data[:60].decode(errors="replace").replace("\n", " ")
            raise CatalogError(
                f"{source}: not JSON (it starts with {start!r}); check that this is the Platform API's base URL, "
                "such as https://api.fal.ai/v1, or a page saved from it"
            ) from error
        raise CatalogError(
            f"{source}: not a page of the catalogue: {_first(error)}. "
            "A page is an object with a list `models`, as GET /v1/models answers"
        ) from error


def _mended(data: bytes) -> Page | None:
    """A page with something in it that pydantic refuses in JSON, and that concerns one entry only.

    Half of a character that takes two in UTF-16 becomes a question mark. What is nested too deeply for pydantic stays,
    for `read_entry` to name.
    """
    try:
        return Page.model_validate(
            json.loads(json.dumps(json.loads(data), ensure_ascii=False).encode(errors="replace"))
        )
    except (ValueError, RecursionError):
        return None


def read_entries(page: Page, source: str) -> Iterator[Entry | Diagnostic]:
    """Read a page's entries; one that cannot be read costs one endpoint."""
    for number, model in enumerate(page.models):
        yield read_entry(model, f"{source}, models[{number}]")


def read_entry(model: dict[str, Any], source: str) -> Entry | Diagnostic:
    """Read one entry, or say why it cannot be read."""
    endpoint_id = str(model.get("endpoint_id", "?"))
    try:
        entry = Entry.model_validate(model)
    except ValidationError as error:
        return Diagnostic(
            code="bad-entry",
            endpoint_id=endpoint_id,
            pointer="",
            message=f"{source}: {_first(error)}",
            remedy="pull it again; if it stays, report it to the platform",
            fatal=True,
        )
    if (problem := check_id(entry.endpoint_id)) is not None:
        return problem
    try:
        Entry.model_validate_json(canonical(entry))
    except (ValueError, RecursionError) as error:
        why = _first(error) if isinstance(error, ValidationError) else str(error)
        return Diagnostic(
            code="bad-entry",
            endpoint_id=endpoint_id,
            pointer="/openapi",
            message=f"{source}: its document cannot be kept: {why}",
            remedy="correct the document; leave the endpoint out until then",
            fatal=True,
        )
    return entry


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(step) for step in problem["loc"])
    return f"{where}: {problem['msg'].lower()}" if where else problem["msg"].lower()


@dataclass(frozen=True)
class Document:
    """An endpoint's document as it lies on disk."""

    path: Path
    data: bytes

    @property
    def sha256(self) -> str:
        """The hash of the file's bytes."""
        return sha256(self.data)

    def entry(self) -> Entry:
        """Read the document. Raises `CatalogError` if it is none."""
        try:
            return Entry.model_validate_json(self.data)
        except ValidationError as error:
            raise CatalogError(
                f"{self.path}: not an endpoint's document: {_first(error)}; pull again to restore it"
            ) from error


def read_document(path: Path) -> Document:
    """Read a file of a folder of schemas. Raises `CatalogError` if it is not there."""
    try:
        return Document(path, path.read_bytes())
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror or error}; pull again to restore it") from error
