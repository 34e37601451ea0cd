"""The catalogue: which endpoints exist, what is known about them, and their schema documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fal_sandbox.schemas import Contract


class CatalogError(ValueError):
    """A catalogue file that cannot be understood; the message names it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One endpoint as the Platform API lists it: its id, its metadata and its OpenAPI document.

    An endpoint whose document the platform could not produce has `{"error": {...}}` in its place.
    Source: fal docs, Platform API, model search with `expand=openapi-3.0`.
    """

    endpoint_id: str
    metadata: dict[str, Any]
    openapi: dict[str, Any]

    @property
    def callable(self) -> bool:
        """Whether there is a document, so that the endpoint can be called."""
        return "error" not in self.openapi


class Catalog:
    """The endpoints a sandbox serves, ordered by id."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.endpoint_id: entry for entry in sorted(entries, key=lambda entry: entry.endpoint_id)}
        self._contracts: dict[str, Contract] = {}

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Catalog:
        """Read a JSON file, or every JSON file below a folder.

        A file holds one entry (`endpoint_id`, `metadata`, `openapi`) or a page of them (`{"models": [...]}`).

        Raises:
            FileNotFoundError: if there is nothing at `path`.
            CatalogError: for a file that is neither.
        """
        root = Path(path)
        if not root.exists():
            raise FileNotFoundError(f"no catalogue at {root}")
        files = sorted(root.rglob("*.json")) if root.is_dir() else [root]
        return cls(entry for file in files for entry in _entries(file))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, endpoint_id: str) -> Entry | None:
        """The entry with this id."""
        return self._entries.get(endpoint_id)

    def contract(self, endpoint_id: str) -> Contract | None:
        """What the endpoint takes and gives; None if it is unknown or has no document."""
        entry = self._entries.get(endpoint_id)
        if entry is None or not entry.callable:
            return None
        if endpoint_id not in self._contracts:
            self._contracts[endpoint_id] = Contract(endpoint_id, entry.openapi)
        return self._contracts[endpoint_id]


def default_catalog_path() -> Path | None:
    """Where the catalogue of this installation lies: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "catalog", package.parent.parent / "generated" / "schemas"):
        if candidate.is_dir():
            return candidate
    return None


def _entries(file: Path) -> list[Entry]:
    try:
        document: Any = json.loads(file.read_bytes())
    except ValueError as error:
        raise CatalogError(f"{file} is not JSON: {error}") from error
    try:
        return [
            Entry(str(item["endpoint_id"]), dict(item.get("metadata") or {}), dict(item["openapi"]))
            for item in document.get("models", [document])
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{file} is neither a catalogue entry nor a page of them") from error
