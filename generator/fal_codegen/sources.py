"""Where entries come from: a Platform API, a service of schemas, an app, a page on the web, a folder or a file.

The API is read in two rounds: first its listing, page by page, which is small; then the schemas, in batches of ids
that are asked for at the same time. So a pull knows which endpoints there are before it fetches the first schema, and
can name each one that it did not get.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fal_codegen.apps import app_entries, is_openapi, queue_endpoint
from fal_codegen.cache import Cache
from fal_codegen.catalog import CatalogError, Entry, Page, read_entries, read_page
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.selection import Selection
from fal_runtime import Client, FalError
from fal_runtime.client import Channel
from fal_runtime.errors import MissingCredentialsError, NotFoundError
from fal_runtime.values import mapping

__all__ = ["Found", "Source", "read_source"]

BATCH = 50  # the most ids that GET /models takes at once; source: fal docs, Platform API reference
AT_ONCE = 4

Progress = Callable[[int, int], None]
"""Called with how many endpoints are there and how many there will be."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place to pull from."""

    where: str
    """A URL, a folder or a file."""
    app: str | None = None
    """The app whose own document it is."""

    @property
    def name(self) -> str:
        """The source for the lock: a URL without its query, a path only by its last part, for paths differ."""
        if "://" not in self.where:
            return Path(self.where).name
        return self.where.partition("?")[0].rstrip("/").removesuffix("/models")

    @property
    def is_url(self) -> bool:
        """Whether it is read over HTTP."""
        return self.where.startswith(("https://", "http://"))

    @property
    def is_api(self) -> bool:
        """Whether it is the base of a Platform API, and not one document."""
        path = urlsplit(self.where)
        return self.is_url and self.app is None and not path.query and not path.path.endswith(".json")


@dataclass
class Found:
    """What a source has."""

    items: list[Entry | Diagnostic] = field(default_factory=list[Entry | Diagnostic])
    """The entries that came, and why others did not."""
    listed: set[str] = field(default_factory=set[str])
    """The endpoints that it has, whether or not their documents came."""
    absent: set[str] = field(default_factory=set[str])
    """Endpoints that it was asked for by name and does not have."""
    complete: Literal["platform", "source"] | None = None
    """Whether `listed` names all endpoints of the platform, or all of this source, so that others are gone."""


def read_source(
    source: Source, selection: Selection, filters: Mapping[str, str], cache: Cache, progress: Progress | None
) -> Found:
    """Read all chosen entries of a source.

    Args:
        source: The source.
        selection: Which endpoints. One that is spelled out is asked for by its name.
        filters: `category` and `status`, as the Platform API takes them.
        cache: What was read before.
        progress: Told of each endpoint that arrives.

    Raises:
        CatalogError: if it cannot be read at all.
    """
    if source.is_url:
        found = asyncio.run(_Web(source, selection, filters, cache, progress).read())
    else:
        items, whole = _read_path(Path(source.where), source.app)
        found = Found(items, _ids(items), complete="source" if whole else None)
    found.items = [item for item in found.items if _wanted(item, selection, filters, source)]
    return found


def _wanted(item: Entry | Diagnostic, selection: Selection, filters: Mapping[str, str], source: Source) -> bool:
    if isinstance(item, Diagnostic):
        return True
    # An app is named in full by whoever pulls it, so the choice from the catalogue does not concern it.
    chosen = source.app is not None or item.endpoint_id in selection
    return chosen and all(_filtered(item, name) == value for name, value in filters.items())


def _filtered(entry: Entry, name: str) -> object:
    return entry.metadata.get(name, "active" if name == "status" else None)


def _ids(items: Sequence[Entry | Diagnostic]) -> set[str]:
    return {item.endpoint_id for item in items}


# --- Documents --------------------------------------------------------------------------------------------------------


def read_document_text(data: bytes, source: str, app: str | None = None) -> list[Entry | Diagnostic]:
    """Read a document of any shape: a page, an entry, a document that the platform wrote, or an app's own.

    Raises:
        CatalogError: if it is none of them.
    """
    try:
        document: Any = mapping(json.loads(data))
    except (ValueError, RecursionError):
        document = {}
    if not is_openapi(document):
        return list(read_entries(read_page(data, source), source))
    if app is not None:
        return list(app_entries(app, document, source))
    endpoint_id = queue_endpoint(document)
    if endpoint_id is None:
        raise CatalogError(
            f"{source}: an app's own OpenAPI document, which does not say what the app is called; "
            "name it: --app owner/name=" + source
        )
    return _queue_entry(endpoint_id, document, source)


def _queue_entry(endpoint_id: str, document: Any, source: str) -> list[Entry | Diagnostic]:
    """The entry of a document that the platform wrote for one endpoint, with the metadata that it holds itself."""
    own = mapping(mapping(mapping(document).get("info")).get("x-fal-metadata"))
    metadata = {"category": own["category"]} if isinstance(own.get("category"), str) else {}
    model = {"endpoint_id": endpoint_id, "metadata": metadata, "openapi": document}
    return list(read_entries(Page(models=[model]), source))


def _read_path(path: Path, app: str | None) -> tuple[list[Entry | Diagnostic], bool]:
    """Read a file, or all `.json` files below a folder, and tell whether all could be read.

    Raises:
        CatalogError: if none can.
    """
    if not path.exists():
        raise CatalogError(f"{path}: no such file or folder; a catalogue is at a URL, in a folder or in a file")
    files = [path] if path.is_file() else sorted(path.rglob("*.json"))
    items: list[Entry | Diagnostic] = []
    bad: list[Diagnostic] = []
    for file in files:
        try:
            items += read_document_text(file.read_bytes(), str(file), app)
        except CatalogError as error:
            if len(files) == 1:
                raise
            remedy = "correct the file or take it away; the others were read"
            bad.append(Diagnostic("bad-file", file.relative_to(path).as_posix(), "", str(error), remedy, fatal=True))
    if bad and not items:
        raise CatalogError("; ".join(each.message for each in bad[:3]))
    return [*items, *bad], not bad


# --- HTTP -------------------------------------------------------------------------------------------------------------


class _Web:
    """One source that is read over HTTP."""

    def __init__(
        self,
        source: Source,
        selection: Selection,
        filters: Mapping[str, str],
        cache: Cache,
        progress: Progress | None,
    ) -> None:
        self._source = source
        self._base = source.where.rstrip("/").removesuffix("/models") if source.is_api else source.where
        self._selection = selection
        self._filters = filters
        self._cache = cache
        self._progress = progress
        self._channel: Channel
        self._key = False

    async def read(self) -> Found:
        usual = Client()
        # The key was given for the platform: it does not go to whatever host a catalogue is pulled from.
        ours = {urlsplit(usual.urls[name])[:2] for name in ("api", "run")}
        self._key = urlsplit(self._base)[:2] in ours and _has_key(usual)
        async with usual.with_options() as client:
            self._channel = client.running()
            if self._source.is_api:
                return await self._read_api()
            ids = self._selection.ids
            if self._source.app is None and ids is not None and "?" not in self._base:
                return await self._read_each(ids)
            try:
                items = read_document_text(await self._get(self._base), self._base, self._source.app)
            except NotFoundError as error:
                raise CatalogError(f"{self._base}: {error}") from error
            return Found(items, _ids(items), complete="source")

    async def _get(self, url: str, params: Mapping[str, Any] | None = None) -> bytes:
        try:
            return await self._cache.read(self._channel, url, params, key=self._key)
        except NotFoundError:
            raise
        except FalError as error:
            raise CatalogError(f"{self._base}: {error}") from error

    # --- A Platform API

    async def _read_api(self) -> Found:
        ids = self._selection.ids if not self._filters else None
        if ids is not None:
            return await self._read_schemas(ids, Found(listed=set(ids)))
        try:
            models = [model async for page in self._pages(dict(self._filters)) for model in page.models]
        except NotFoundError as error:
            raise CatalogError(f"{self._base}: {error}") from error
        listed = {str(model.get("endpoint_id", "?")): model for model in models}
        listing = read_entries(Page(models=list(listed.values())), self._base)
        bad = [item for item in listing if isinstance(item, Diagnostic)]
        found = Found(list(bad), listed=set(listed), complete=None if self._filters else "platform")
        chosen = [id_ for id_ in sorted(listed.keys() - _ids(bad)) if id_ in self._selection]
        return await self._read_schemas(chosen, found)

    async def _read_schemas(self, ids: Sequence[str], found: Found) -> Found:
        """Read the entries of some ids with their schemas, several batches at a time."""

        async def batch(wanted: Sequence[str]) -> list[Entry | Diagnostic]:
            return await self._schemas(wanted, found)

        found.items += await self._at_once(batch, batches(ids), len(ids))
        return found

    async def _at_once(self, read: Any, parts: Sequence[Any], total: int) -> list[Entry | Diagnostic]:
        gate = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def one(part: Any) -> list[Entry | Diagnostic]:
            nonlocal done
            async with gate:
                got: list[Entry | Diagnostic] = await read(part)
            done += len(part) if not isinstance(part, str) else 1
            if self._progress is not None:
                self._progress(done, total)
            return got

        return [item for got in await asyncio.gather(*map(one, parts)) for item in got]

    async def _schemas(self, ids: Sequence[str], found: Found) -> list[Entry | Diagnostic]:
        """A batch of entries; a diagnostic for each that did not come."""
        items: list[Entry | Diagnostic] = []
        why = "the answer left it out"
        try:
            async for page in self._pages({"endpoint_id": list(ids), "expand": "openapi-3.0", "limit": len(ids)}):
                items += read_entries(page, self._base)
        except NotFoundError:
            if len(ids) > 1:
                # One id that is gone makes the whole batch fail: look for it by halves.
                half = len(ids) // 2
                return [*await self._schemas(ids[:half], found), *await self._schemas(ids[half:], found)]
            found.listed.difference_update(ids)
            found.absent.update(ids)
            return []
        except CatalogError as error:
            why = str(error)
        return [*items, *(_not_pulled(id_, why) for id_ in sorted(set(ids) - _ids(items)))]

    async def _pages(self, params: dict[str, Any]) -> AsyncIterator[Page]:
        """All pages of an answer.

        Raises:
            CatalogError: for one that cannot be read, or does not lead to the end.
            NotFoundError: if the API does not know what was asked for.
        """
        cursors: set[str] = set()
        while True:
            page = read_page(await self._get(f"{self._base}/models", params), f"{self._base}/models")
            yield page
            if page.next_cursor is None and page.has_more:
                raise CatalogError(
                    f"{self._base}: a page says that there is more, and not where (it has no next_cursor)"
                )
            if page.next_cursor is None or page.has_more is False:
                return
            if page.next_cursor in cursors:
                raise CatalogError(f"{self._base}: its pages go in a circle (cursor {page.next_cursor!r})")
            cursors.add(page.next_cursor)
            params = {**params, "cursor": page.next_cursor}

    # --- A service of schemas, one endpoint an answer

    async def _read_each(self, ids: Sequence[str]) -> Found:
        found = Found(listed=set(ids))

        async def one(id_: str) -> list[Entry | Diagnostic]:
            try:
                data = await self._get(self._base, {"endpoint_id": id_})
                document: Any = json.loads(data)
            except NotFoundError:
                found.listed.discard(id_)
                found.absent.add(id_)
                return []
            except (CatalogError, ValueError) as error:
                return [_not_pulled(id_, str(error))]
            return _queue_entry(id_, document, self._base)

        found.items += await self._at_once(one, ids, len(ids))
        return found


def _has_key(client: Client) -> bool:
    try:
        return bool(client.authorization())
    except MissingCredentialsError:
        return False


def _not_pulled(endpoint_id: str, why: str) -> Diagnostic:
    return Diagnostic(
        code="not-pulled",
        endpoint_id=endpoint_id,
        pointer="",
        message=f"it is in the listing, but its schema did not come: {why}",
        remedy="pull again; what was there before stays",
        fatal=True,
    )


def batches(ids: Sequence[str]) -> list[Sequence[str]]:
    """Put ids into batches by their hash, so that an id that comes or goes changes one batch and leaves the others
    to the cache."""

    def split(part: Sequence[str], bit: int) -> list[Sequence[str]]:
        if len(part) <= BATCH:
            return [part] if part else []
        halves: tuple[list[str], list[str]] = [], []
        for id_ in part:
            halves[hashlib.sha256(id_.encode()).digest()[bit // 8] >> bit % 8 & 1].append(id_)
        return [*split(halves[0], bit + 1), *split(halves[1], bit + 1)]

    return split(sorted(set(ids)), 0)
