"""Bringing the catalogue onto disk: what each source has now, settled with what was there before.

What cannot be had keeps its last good state. An endpoint that is no longer listed is not deleted: it is marked, and only
a second pull that confirms it, or the user, makes it a tombstone, whose module says that the endpoint is gone.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fal_codegen.cache import Cache
from fal_codegen.catalog import CatalogError, Entry, canonical, facts_only, read_document, schema_path, sha256
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.lock import LOCK_NAME, Locked, read_lock, write_lock
from fal_codegen.names import assign_modules
from fal_codegen.selection import Selection
from fal_codegen.sources import Progress, Source, read_source
from fal_codegen.write import Changes, publish, recover
from fal_runtime.settings import service_urls

__all__ = ["PullReport", "default_source", "drop", "pull"]

# A listing that lacks this much at once is rather half a listing, or another one.
_SUSPICIOUS_SHARE = 0.25
_SUSPICIOUS_COUNT = 10


@dataclass
class PullReport:
    """What a pull brought."""

    pulled: int = 0
    with_schema: int = 0
    changes: Changes = field(default_factory=Changes)
    kept: list[str] = field(default_factory=list[str])
    """Endpoints known before that no source concerns; their documents stay."""
    missing: list[str] = field(default_factory=list[str])
    """Endpoints that a listing lacks for the first time; they stay, and the lock says since when."""
    tombstones: list[str] = field(default_factory=list[str])
    """Endpoints that are gone for good as of now."""
    dropped: list[str] = field(default_factory=list[str])
    """Endpoints that are not chosen any more; their documents went."""
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    """Entries that could not be had or read, one by one."""


def default_source() -> Source:
    """The platform's own API, or what stands in for it in the environment."""
    return Source(service_urls(None)["api"])


def pull(
    sources: Sequence[Source],
    schemas: Path,
    *,
    selection: Selection | None = None,
    filters: Mapping[str, str] | None = None,
    only_chosen: bool = False,
    confirm_missing: bool = False,
    only_facts: bool = False,
    cache: Path | None = None,
    today: datetime.date | None = None,
    progress: Progress | None = None,
) -> PullReport:
    """Pull entries from each source into a folder of schemas.

    Args:
        sources: The sources; of one endpoint, the last wins.
        schemas: The folder to fill.
        selection: Which endpoints to pull. Default: all.
        filters: `category` and `status`, to pull only such endpoints.
        only_chosen: Whether endpoints that are not chosen leave the folder.
        confirm_missing: Whether what is missing is gone, without a second pull, however much it is.
        only_facts: Leave prose out of the documents: descriptions, titles, examples, long defaults.
        cache: Where answers are kept between pulls. Default: nowhere.
        today: The day, for the lock. Default: today, in UTC.
        progress: Told of each endpoint that arrives.

    Raises:
        CatalogError: if a source cannot be read at all, or a pattern matches nothing. Nothing was changed.
    """
    selection, filters = selection or Selection(), filters or {}
    day = (today or datetime.datetime.now(datetime.UTC).date()).isoformat()
    report = PullReport()
    recover(schemas)
    known = read_lock(schemas) if (schemas / LOCK_NAME).exists() else {}
    settled = _Settled(known, schemas, report, day)
    answers = Cache(cache)
    for source in sources:
        settled.take(source, selection, filters, answers, progress, only_facts)
    answers.prune()
    empty = not settled.found and (filters or not settled.listed)
    if empty and not settled.denied and not report.diagnostics:
        asked = [f"of {name} {value}" for name, value in filters.items()]
        asked += ["that the project, or the command line, chooses"] * bool(selection.endpoints or selection.exclude)
        where = ", ".join(source.where for source in sources)
        raise CatalogError(" ".join((f"{where}: no endpoints in there", *asked)))
    if not filters:
        selection.of({*settled.listed, *known})  # a pattern that matches nothing is a mistake worth stopping for
    report.pulled = len(settled.found)
    report.with_schema = sum(entry.problem is None for entry, _ in settled.found.values())
    apps = {source.app for source in sources}

    def keep(row: Locked) -> bool:
        return not only_chosen or (row.id in selection if row.app is None else row.app in apps)

    files, rows = settled.documents(keep, confirm_missing)
    report.changes = _publish(schemas, files, rows, known)
    return report


def drop(schemas: Path, ids: Sequence[str]) -> Changes:
    """Take endpoints out of a folder of schemas and its lock."""
    rows = {id_: row for id_, row in read_lock(schemas).items() if id_ not in ids}
    files = {schema_path(id_): read_document(schemas / schema_path(id_)).data for id_ in rows}
    return _publish(schemas, files, rows, {*ids, *rows})


def _publish(
    schemas: Path, files: Mapping[str, bytes], rows: Mapping[str, Locked], owned_ids: Iterable[str]
) -> Changes:
    owned = {LOCK_NAME, *map(schema_path, owned_ids)}
    whole = {**files, LOCK_NAME: write_lock(rows)}
    return publish(schemas, whole, owned=lambda path: path.relative_to(schemas).as_posix() in owned)


class _Settled:
    """What was found, against what is known."""

    def __init__(self, known: Mapping[str, Locked], schemas: Path, report: PullReport, day: str) -> None:
        self.found: dict[str, tuple[Entry, str]] = {}
        self.listed: set[str] = set()
        self.denied: set[str] = set()
        """Endpoints that a source was asked for by name and does not have."""
        self._known = known
        self._schemas = schemas
        self._report = report
        self._day = day
        self._absent: set[str] = set()
        self._apps: dict[str, str] = {}

    def take(
        self,
        source: Source,
        selection: Selection,
        filters: Mapping[str, str],
        cache: Cache,
        progress: Progress | None,
        only_facts: bool,
    ) -> None:
        """Read a source."""
        found = read_source(source, selection, filters, cache, progress)
        for item in found.items:
            if isinstance(item, Diagnostic):
                self._report.diagnostics.append(item)
            else:
                self.found[item.endpoint_id] = (facts_only(item) if only_facts else item, source.name)
        self.listed |= found.listed
        self.denied |= found.absent
        self._absent |= found.absent
        for id_, row in self._known.items():
            # A listing of the platform speaks of all endpoints but those of apps, any other source only of its own.
            own = (row.source, row.app) == (source.name, source.app)
            if (found.complete == "platform" and row.app is None) or (found.complete == "source" and own):
                self._absent.add(id_)
        for item in found.items:
            if source.app is not None and isinstance(item, Entry):
                self._apps[item.endpoint_id] = source.app

    def gone(self) -> set[str]:
        """The endpoints that some source should have, and none has."""
        return {id_ for id_ in self._absent - self.listed if id_ in self._known}

    def documents(self, keep: Callable[[Locked], bool], confirm: bool) -> tuple[dict[str, bytes], dict[str, Locked]]:
        """Settle each endpoint's document and row: what was found now, or else its last good state."""
        ids = sorted({*self.found, *self._known})
        names = assign_modules(ids, {id_: row.module for id_, row in self._known.items() if row.module})
        gone = self.gone()
        fresh = [id_ for id_ in gone if self._known[id_].state != "tombstone"]
        if not confirm and len(fresh) >= _SUSPICIOUS_COUNT and len(fresh) > len(self._known) * _SUSPICIOUS_SHARE:
            self._report.diagnostics.append(_suspicious(fresh, len(self._known)))
            gone.clear()
        files: dict[str, bytes] = {}
        rows: dict[str, Locked] = {}
        for id_ in ids:
            good = self._known.get(id_)
            if id_ in self.found:
                entry, source = self.found[id_]
                files[schema_path(id_)], rows[id_] = self._renewed(entry, source, names[id_], good)
            elif good is not None and not keep(good):
                self._report.dropped.append(id_)
            elif good is not None and (row := self._unrenewed(good, id_ in gone, confirm)) is not None:
                files[schema_path(id_)], rows[id_] = read_document(self._schemas / schema_path(id_)).data, row
        return files, rows

    def _renewed(self, entry: Entry, source: str, module: str, good: Locked | None) -> tuple[bytes, Locked]:
        """The document and row of an endpoint that was found."""
        id_ = entry.endpoint_id
        if entry.problem is not None and good is not None and good.module is not None:
            self._report.diagnostics.append(_no_schema(entry, "its last good document stays"))
            data = read_document(self._schemas / schema_path(id_)).data
            return data, msgspec.structs.replace(good, state="active", missing=None, near=())
        data = canonical(entry)
        app = self._apps.get(id_)
        if entry.problem is None:
            row = Locked(id=id_, state="active", module=module, sha256=sha256(data), source=source, app=app)
        else:
            self._report.diagnostics.append(_no_schema(entry, "it is listed, and gets no module"))
            row = Locked(id=id_, state="unavailable", sha256=sha256(data), source=source, reason=entry.problem)
        # The same document from elsewhere changes nothing, not even the name of its source.
        if good is not None and (good.sha256, good.module, good.app) == (row.sha256, row.module, row.app):
            row = msgspec.structs.replace(good, state=row.state, missing=None, near=())
        return data, row

    def _unrenewed(self, good: Locked, gone: bool, confirm: bool) -> Locked | None:
        """The row of an endpoint that was not found; `None` if nothing is to be left of it."""
        if not gone:
            if good.id not in self.listed and good.state != "tombstone":
                self._report.kept.append(good.id)
            return msgspec.structs.replace(good, missing=None) if good.id in self.listed else good
        if good.state == "tombstone":
            return good
        if good.missing is None and not confirm:
            self._report.missing.append(good.id)
            return msgspec.structs.replace(good, missing=self._day)
        self._report.tombstones.append(good.id)
        if good.module is None:
            return None  # nobody can have imported it
        near = difflib.get_close_matches(good.id, sorted(self.listed), n=3, cutoff=0.7)
        return msgspec.structs.replace(good, state="tombstone", missing=good.missing or self._day, near=tuple(near))


def _suspicious(gone: Sequence[str], known: int) -> Diagnostic:
    return Diagnostic(
        code="many-missing",
        endpoint_id=f"{len(gone)} endpoints",
        pointer="",
        message=f"the listing lacks {len(gone)} of {known} endpoints at once, so none is marked as missing",
        remedy="check the source; if they are gone, pull with --confirm-missing",
    )


def _no_schema(entry: Entry, effect: str) -> Diagnostic:
    return Diagnostic(
        code="no-schema",
        endpoint_id=entry.endpoint_id,
        pointer="/openapi",
        message=f"the platform could not give its schema ({entry.problem}); {effect}",
        remedy="pull again later",
    )
