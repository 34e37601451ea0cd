"""Bringing the catalogue onto disk, from the Platform API, a folder or a file.

The API is read in two rounds: first its listing, page by page, which is small; then the schemas, in batches of ids
that are asked for at the same time. So a pull knows which endpoints there are before it fetches the first schema, and
can name each one that it did not get.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fal_codegen.catalog import (
    CatalogError,
    Entry,
    Page,
    canonical,
    facts_only,
    read_document,
    read_entries,
    read_page,
    schema_path,
    sha256,
)
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.lock import LOCK_NAME, Locked, read_lock, write_lock
from fal_codegen.names import assign_modules
from fal_codegen.write import Changes, publish, recover
from fal_runtime import Client, FalError
from fal_runtime.client import Channel
from fal_runtime.errors import MissingCredentialsError

__all__ = ["PullReport", "pull"]

BATCH = 50  # the most ids that GET /models takes at once; source: fal docs, Platform API reference
AT_ONCE = 4
DEFAULT_SOURCE = "https://api.fal.ai/v1"

Progress = Callable[[int, int], None]
"""Called with how many endpoints are there and how many there will be."""


@dataclass
class PullReport:
    """What a pull brought."""

    pulled: int = 0
    with_schema: int = 0
    changes: Changes = field(default_factory=Changes)
    kept: list[str] = field(default_factory=list[str])
    """Endpoints known before that no source listed now; their documents stay."""
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    """Entries that could not be had or read, one by one."""


def pull(
    sources: Sequence[str], schemas: Path, *, only_facts: bool = False, progress: Progress | None = None
) -> PullReport:
    """Pull entries from each source into a folder of schemas. What cannot be had keeps its last good state.

    Args:
        sources: Base URLs of a Platform API, folders, or files (a page, or a single entry).
        schemas: The folder to fill.
        only_facts: Leave prose out of the documents: descriptions, titles, examples, long defaults.
        progress: Told of each endpoint that arrives.

    Raises:
        CatalogError: if a source cannot be read at all. Nothing was changed.
    """
    report = PullReport()
    found: dict[str, tuple[Entry, str]] = {}
    for source in sources:
        if source.startswith(("https://", "http://")):
            items: Iterable[Entry | Diagnostic] = asyncio.run(_pull_url(source, progress))
        else:
            items = _read_path(Path(source))
        for item in items:
            if isinstance(item, Diagnostic):
                report.diagnostics.append(item)
            else:
                found[item.endpoint_id] = (facts_only(item) if only_facts else item, _named(source))
    if not found and not report.diagnostics:
        raise CatalogError(f"{', '.join(sources)}: no endpoints in there")
    report.pulled = len(found)
    report.with_schema = sum(entry.problem is None for entry, _ in found.values())

    recover(schemas)
    known = read_lock(schemas) if (schemas / LOCK_NAME).exists() else {}
    files, rows = _documents(found, known, schemas, report)
    owned = {LOCK_NAME, *(schema_path(id_) for id_ in known)}
    report.changes = publish(
        schemas,
        {**files, LOCK_NAME: write_lock(rows)},
        owned=lambda path: path.relative_to(schemas).as_posix() in owned,
    )
    return report


def _documents(
    found: dict[str, tuple[Entry, str]], known: dict[str, Locked], schemas: Path, report: PullReport
) -> tuple[dict[str, bytes], dict[str, Locked]]:
    """Settle each endpoint's document and row: what was found now, or else its last good state."""
    names = {id_: row.module for id_, row in known.items() if row.module}
    names = assign_modules(sorted({*found, *known}), names)
    files: dict[str, bytes] = {}
    rows: dict[str, Locked] = {}
    for id_ in sorted({*found, *known}):
        path = schema_path(id_)
        good = known.get(id_)
        if id_ not in found and good is not None:
            files[path], rows[id_] = read_document(schemas / path).data, good
            report.kept.append(id_)
            continue
        entry, source = found[id_]
        if entry.problem is not None and good is not None and good.state == "active":
            files[path], rows[id_] = read_document(schemas / path).data, good
            report.diagnostics.append(_no_schema(entry, "its last good document stays"))
            continue
        data = files[path] = canonical(entry)
        if entry.problem is None:
            row = Locked(id=id_, state="active", module=names[id_], sha256=sha256(data), source=source)
        else:
            report.diagnostics.append(_no_schema(entry, "it is listed, and gets no module"))
            row = Locked(id=id_, state="unavailable", sha256=sha256(data), source=source, reason=entry.problem)
        # The same document from elsewhere changes nothing, not even the name of its source.
        rows[id_] = good if good is not None and (good.sha256, good.state) == (row.sha256, row.state) else row
    return files, rows


def _no_schema(entry: Entry, effect: str) -> Diagnostic:
    return Diagnostic(
        code="no-schema",
        endpoint_id=entry.endpoint_id,
        pointer="/openapi",
        message=f"the platform could not give its schema ({entry.problem}); {effect}",
        remedy="pull again later",
        fatal=False,
    )


def _named(source: str) -> str:
    """A source for the lock: a URL as it is, a path only by its last part, for paths differ between machines."""
    return source.rstrip("/") if "://" in source else Path(source).name


def _read_path(path: Path) -> list[Entry | Diagnostic]:
    """Read a file, or all `.json` files below a folder, each a page or a single entry."""
    if not path.exists():
        raise CatalogError(f"{path}: no such file or folder; --from takes a URL, a folder or a file")
    files = [path] if path.is_file() else sorted(path.rglob("*.json"))
    return [item for file in files for item in read_entries(read_page(file.read_bytes(), str(file)), str(file))]


async def _pull_url(base: str, progress: Progress | None) -> list[Entry | Diagnostic]:
    base = base.rstrip("/").removesuffix("/models")
    usual = Client()
    async with Client(urls={"api": base}) as client:
        channel = client.running()
        # The key was given for the platform: it does not go to whatever host a catalogue is pulled from.
        key = urlsplit(base)[:2] == urlsplit(usual.urls["api"])[:2] and _has_key(usual)
        listed = await _list(channel, base, key)
        listing = read_entries(Page(models=list(listed.values())), base)
        items: list[Entry | Diagnostic] = [item for item in listing if isinstance(item, Diagnostic)]
        ids = sorted(listed.keys() - {item.endpoint_id for item in items})
        gate = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def batch(wanted: Sequence[str]) -> list[Entry | Diagnostic]:
            nonlocal done
            async with gate:
                got = await _schemas(channel, base, key, wanted)
            done += len(wanted)
            if progress is not None:
                progress(done, len(ids))
            return got

        batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        for got in await asyncio.gather(*map(batch, batches)):
            items += got
        return items


def _has_key(client: Client) -> bool:
    try:
        return bool(client.authorization())
    except MissingCredentialsError:
        return False


async def _list(channel: Channel, base: str, key: bool) -> dict[str, dict[str, Any]]:
    """The catalogue's entries by id, without schemas, from all pages."""
    listed: dict[str, dict[str, Any]] = {}
    async for page in _pages(channel, base, key, {}):
        for model in page.models:
            listed[str(model.get("endpoint_id", "?"))] = model
    return listed


async def _schemas(channel: Channel, base: str, key: bool, ids: Sequence[str]) -> list[Entry | Diagnostic]:
    """The entries of some ids with their schemas; a diagnostic for each that did not come."""
    items: list[Entry | Diagnostic] = []
    params: dict[str, Any] = {"endpoint_id": list(ids), "expand": "openapi-3.0", "limit": len(ids)}
    why = "the answer left it out"
    try:
        async for page in _pages(channel, base, key, params):
            items += read_entries(page, base)
    except CatalogError as error:
        why = str(error)
    missing = set(ids) - {item.endpoint_id for item in items}
    for id_ in sorted(missing):
        items.append(
            Diagnostic(
                code="not-pulled",
                endpoint_id=id_,
                pointer="",
                message=f"it is in the listing, but its schema did not come: {why}",
                remedy="pull again; what was there before stays",
                fatal=True,
            )
        )
    return items


async def _pages(channel: Channel, base: str, key: bool, params: dict[str, Any]) -> AsyncIterator[Page]:
    """All pages of an answer. Raises `CatalogError` for one that cannot be read, or does not lead to the end."""
    cursors: set[str] = set()
    while True:
        try:
            response = await channel.read("api", "/models", params=params, key=key)
        except FalError as error:
            raise CatalogError(f"{base}: {error}") from error
        page = read_page(response.body, f"{base}/models")
        yield page
        if page.next_cursor is None and page.has_more:
            raise CatalogError(f"{base}: a page says that there is more, and not where (it has no next_cursor)")
        if page.next_cursor is None or page.has_more is False:
            return
        if page.next_cursor in cursors:
            raise CatalogError(f"{base}: its pages go in a circle (cursor {page.next_cursor!r})")
        cursors.add(page.next_cursor)
        params = {**params, "cursor": page.next_cursor}
