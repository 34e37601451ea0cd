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
from fal_codegen.names import check_id
from fal_runtime.version import VERSION

__all__ = ["LOCK_NAME", "Locked", "Tools", "current_tools", "read_lock", "read_tools", "write_lock"]

LOCK_NAME = "endpoints.lock"


class Tools(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The versions that decide what is generated."""

    lock: int = 1
    fal_bindings: str
    datamodel_code_generator: str
    black: str


# All that a row says in the text of a tombstone's module, or of a path, can say nothing else there.
Module = Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\Z")]
Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Day = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]


class Locked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One endpoint's row."""

    id: str
    state: Literal["active", "unavailable", "tombstone"]
    """`unavailable`: the catalogue lists it, but its schema could not be had, so it has no module.
    `tombstone`: it is no longer on the platform, and its module says so."""
    module: Module | None = None
    """Its module below the package, `fal_ai.flux_dev`. Once given, a name never changes."""
    sha256: Hash
    """The hash of its document."""
    source: str
    """Where the document was pulled from."""
    app: str | None = None
    """The app whose own document it is from; such an endpoint is in no catalogue."""
    reason: str | None = None
    """Why there is no schema."""
    missing: Day | None = None
    """The day of the first pull whose listing lacked it, `2026-01-31`, if the latest lacked it too."""
    near: tuple[str, ...] = ()
    """Of a tombstone, the endpoints with the most similar ids when it became one."""


def current_tools() -> Tools:
    """The versions installed here."""
    return Tools(
        fal_bindings=VERSION,
        datamodel_code_generator=version("datamodel-code-generator"),
        black=version("black"),
    )


def read_tools(schemas: Path) -> Tools:
    """The versions that a folder's lock was written with.

    Raises:
        CatalogError: as `read_lock` does.
    """
    return _read(schemas)[0]


def read_lock(schemas: Path) -> dict[str, Locked]:
    """Read a folder's lock, by endpoint id.

    Raises:
        CatalogError: if there is none, a line of it cannot be read, an endpoint has two, or a module two endpoints.
    """
    return _read(schemas)[1]


def _read(schemas: Path) -> tuple[Tools, dict[str, Locked]]:
    path = schemas / LOCK_NAME
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise CatalogError(
            f"{schemas}: no {LOCK_NAME} here; pull a catalogue first: "
            f"fal-bindings pull --from https://api.fal.ai/v1 --schemas {schemas}"
        ) from None
    tools: Tools | None = None
    rows: dict[str, Locked] = {}
    owners: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if tools is None:
                tools = msgspec.json.decode(line, type=Tools)
                continue
            row = msgspec.json.decode(line, type=Locked)
        except msgspec.MsgspecError as error:
            raise CatalogError(
                f"{path}, line {number}: {error}; if this is a merge, keep either side's line, then pull again"
            ) from error
        if (problem := check_id(row.id)) is not None:
            raise CatalogError(f"{path}, line {number}: {problem.message}; take the line out, then pull again")
        if row.id in rows:
            raise CatalogError(f"{path}, line {number}: {row.id} has two lines; keep either, then pull again")
        if row.module is not None and (other := owners.setdefault(row.module, row.id)) != row.id:
            raise CatalogError(
                f"{path}, line {number}: {row.id} and {other} have one module, {row.module}; "
                "take the line of the newer one out, then pull again, which gives it a name of its own"
            )
        rows[row.id] = row
    if tools is None:
        raise CatalogError(f"{path}: it is empty; pull again")
    return tools, rows


def write_lock(rows: Mapping[str, Locked]) -> bytes:
    """The lock's text."""
    lines = [msgspec.json.encode(current_tools()), *(msgspec.json.encode(rows[id_]) for id_ in sorted(rows))]
    return b"\n".join(lines) + b"\n"
