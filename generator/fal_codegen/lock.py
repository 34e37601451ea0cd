"""`endpoints.lock`: which schema each endpoint had, where it came from, and which module it became.

One JSON object a line, sorted by endpoint, so that two branches' changes merge line by line. The first line names the
tools whose versions decide what is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fal_codegen.catalog import CatalogError
from fal_runtime.version import VERSION

__all__ = ["LOCK_NAME", "Locked", "Tools", "current_tools", "read_lock", "write_lock"]

LOCK_NAME = "endpoints.lock"


class Tools(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The versions that decide what is generated."""

    lock: int = 1
    fal_bindings: str
    datamodel_code_generator: str
    black: str


Module = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]


class Locked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One endpoint's row."""

    id: str
    state: Literal["active", "unavailable"]
    """`unavailable`: the catalogue lists it, but its schema could not be had, so it has no module."""
    module: Module | None = None
    """Its module below the package, `fal_ai.flux_dev`. Once given, a name never changes."""
    sha256: str
    """The hash of its document."""
    source: str
    """Where the document was pulled from."""
    reason: str | None = None
    """Why there is no schema."""


def current_tools() -> Tools:
    """The versions installed here."""
    return Tools(
        fal_bindings=VERSION,
        datamodel_code_generator=version("datamodel-code-generator"),
        black=version("black"),
    )


def read_lock(schemas: Path) -> dict[str, Locked]:
    """Read a folder's lock, by endpoint id.

    Raises:
        CatalogError: if there is none, or a line of it cannot be read.
    """
    path = schemas / LOCK_NAME
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise CatalogError(
            f"{schemas}: no {LOCK_NAME} here; pull a catalogue first: "
            f"fal-bindings pull --from https://api.fal.ai/v1 --schemas {schemas}"
        ) from None
    rows: dict[str, Locked] = {}
    for number, line in enumerate(lines, 1):
        try:
            if number == 1:
                msgspec.json.decode(line, type=Tools)
            elif line.strip():
                row = msgspec.json.decode(line, type=Locked)
                rows[row.id] = row
        except msgspec.MsgspecError as error:
            raise CatalogError(
                f"{path}, line {number}: {error}; if this is a merge, keep either side's line, then pull again"
            ) from error
    return rows


def write_lock(rows: Mapping[str, Locked]) -> bytes:
    """The lock's text."""
    lines = [msgspec.json.encode(current_tools()), *(msgspec.json.encode(rows[id_]) for id_ in sorted(rows))]
    return b"\n".join(lines) + b"\n"
