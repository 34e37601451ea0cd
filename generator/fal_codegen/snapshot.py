"""One state of the catalogue, wherever it is: a folder of schemas, a git revision of one, files, or the platform now."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fal_codegen.catalog import CatalogError, Entry, read_document, schema_path
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.lock import LOCK_NAME, read_lock
from fal_codegen.names import check_id
from fal_codegen.selection import Selection

__all__ = ["Snapshot", "read_snapshot", "stored_entry"]

Progress = Callable[[int, int], None]

_REVISION = re.compile(r"(?P<revision>[^:\s]+):(?P<path>.*)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the catalogue."""

    name: str
    endpoints: Mapping[str, Entry | Diagnostic]
    """By id. A diagnostic stands for an endpoint whose document could not be had or read."""
    modules: Mapping[str, str] = field(default_factory=dict[str, str])
    """The modules' names, where the state has a lock."""
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Endpoints that a listing lacked, and since when. They may be gone."""
    apps: frozenset[str] | None = None
    """Those of private apps, which no listing speaks of; None for a listing, a folder or a file without a lock."""

    def beside(self, other: Snapshot) -> Snapshot:
        """What of this state can be compared with another one: a listing that lacks private apps says nothing of them."""
        if other.apps is not None or not self.apps:
            return self
        left = self.endpoints.keys() - (self.apps - other.endpoints.keys())
        return replace(
            self,
            endpoints={id_: entry for id_, entry in self.endpoints.items() if id_ in left},
            modules={id_: module for id_, module in self.modules.items() if id_ in left},
            missing={id_: since for id_, since in self.missing.items() if id_ in left},
        )


def read_snapshot(source: str, selection: Selection | None = None, progress: Progress | None = None) -> Snapshot:
    """Read a state of the catalogue.

    Args:
        source: A folder of schemas with its lock, or that lock; `REVISION:FOLDER` for such a folder as git knows it;
            or whatever `pull` takes: a URL, a folder or a file.
        selection: Which endpoints. Default: all.
        progress: Told of each endpoint that arrives over the network.

    Raises:
        CatalogError: if it cannot be read at all.
    """
    selection = selection or Selection()
    path = Path(source)
    if path.name == LOCK_NAME and path.is_file():
        path = path.parent
    if (path / LOCK_NAME).is_file():
        return _from_folder(source, path, selection)
    found = _REVISION.fullmatch(source)
    if found is None or "://" in source or path.exists():
        return _from_source(source, selection, progress)
    with tempfile.TemporaryDirectory(prefix="fal-bindings-") as scratch:
        _check_out(found["revision"], found["path"], Path(scratch))
        return _from_folder(source, Path(scratch), selection)


def _from_folder(name: str, folder: Path, selection: Selection) -> Snapshot:
    rows = [row for row in read_lock(folder).values() if row.state != "tombstone" and row.id in selection]
    return Snapshot(
        name,
        endpoints={row.id: stored_entry(row.id, folder) for row in rows},
        modules={row.id: row.module for row in rows if row.module},
        missing={row.id: row.missing for row in rows if row.missing},
        apps=frozenset(row.id for row in rows if row.app is not None),
    )


def _from_source(source: str, selection: Selection, progress: Progress | None) -> Snapshot:
    # Here, for a comparison of two folders needs nothing that knows the network.
    from fal_codegen.cache import Cache
    from fal_codegen.sources import Source, read_source

    found = read_source(Source(source), selection, {}, Cache(None), progress)
    if not found.items and not found.absent:
        raise CatalogError(f"{source}: no endpoints in there")
    # What has no id that can be is no endpoint. And nobody has used any names yet, so there are no modules.
    items = (item for item in found.items if check_id(item.endpoint_id) is None)
    return Snapshot(source, {item.endpoint_id: _readable(item) for item in items})


def stored_entry(id_: str, folder: Path) -> Entry | Diagnostic:
    """An endpoint's entry in a folder of schemas, or why there is none to work with."""
    try:
        entry = read_document(folder / schema_path(id_)).entry()
    except CatalogError as error:
        return Diagnostic("bad-entry", id_, "", str(error), "the other endpoints were read", fatal=True)
    return _readable(entry)


def _readable(entry: Entry | Diagnostic) -> Entry | Diagnostic:
    if isinstance(entry, Entry) and entry.problem is not None:
        return Diagnostic(
            "no-schema",
            entry.endpoint_id,
            "/openapi",
            entry.problem,
            "pull it again; if it stays, report it to the platform",
            fatal=True,
        )
    return entry


def _check_out(revision: str, path: str, folder: Path) -> None:
    """Take a folder out of a git revision. What is in there is data; nothing of it runs."""
    command = ["git", "archive", "--format=tar", f"{revision}:./{path}"]
    if revision.startswith("-"):
        raise CatalogError(f"{revision!r} is not a revision of git")
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise CatalogError(f"{revision}:{path}: git is not installed, and there is no such file or folder") from None
    if done.returncode:
        why = " ".join(done.stderr.decode(errors="replace").split())
        raise CatalogError(f"{revision}:{path}: no such file or folder, and no folder of a git revision: {why}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    if not (folder / LOCK_NAME).is_file():
        raise CatalogError(f"{revision}:{path}: no {LOCK_NAME} in that folder; name the folder of schemas")
