"""From a folder of schemas to a package of modules: which endpoints, in how many processes, into which files.

What is on disk already is kept where it is provably what would be written: its schema, this generator and the file
itself have the hashes that the package's `index.json` names. So a run after a small change is quick, and `check` is
quick when nothing changed.
"""

from __future__ import annotations

import difflib
import functools
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fal_codegen.catalog import CatalogError, Entry, read_document, schema_path, sha256
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.lock import LOCK_NAME, Locked, current_tools, read_lock, read_tools, write_lock
from fal_codegen.overrides import Overrides, load_overrides
from fal_codegen.prepare import ModelKind
from fal_codegen.render import GENERATED_MARK, render_package, render_tombstone, templates_folder
from fal_codegen.selection import Selection
from fal_codegen.write import Changes, compare, publish, recover

if TYPE_CHECKING:
    from fal_codegen.emit import Emitted

__all__ = ["INDEX_NAME", "Plan", "carry_out", "check", "plan"]

INDEX_NAME = "index.json"
IN_PROCESS = 24  # below this many endpoints, starting processes takes longer than the work

Progress = Callable[[int, int], None]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint in a package's index, which serves search and tells whether a module is up to date."""

    id: str
    module: str
    title: str
    category: str
    kind: str
    schema: str
    file: str


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """A package's `index.json`."""

    generator: str
    selection: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    models: ModelKind = "msgspec"
    package: str = ""
    endpoints: tuple[Row, ...]

    def text(self) -> bytes:
        """The index as a file: one endpoint a line."""
        about: dict[str, Any] = {"generator": self.generator, "selection": self.selection}
        if self.exclude:
            about["exclude"] = self.exclude
        if self.models != "msgspec":
            about["models"] = self.models
        if self.package:
            about["package"] = self.package
        head = msgspec.json.encode(about)[:-1]
        rows = b",\n".join(msgspec.json.encode(row) for row in self.endpoints)
        return head + b',"endpoints":[\n' + rows + b"\n]}\n"


@dataclass
class Plan:
    """What a package should hold."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    lock: bytes = b""
    modules: int = 0
    tombstones: int = 0
    """How many modules only say that their endpoint is gone."""
    emitted: int = 0
    """How many modules had to be generated; the others were kept."""
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    changes: Changes = field(default_factory=Changes)


def plan(
    schemas: Path,
    root: Path,
    *,
    selection: Selection | None = None,
    models: ModelKind = "msgspec",
    overrides: Overrides | None = None,
    package: str = "",
    jobs: int | None = None,
    cold: bool = False,
    pinned: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Work out what the package at `root` should hold, without writing anything.

    Args:
        schemas: The folder of schemas.
        root: The package.
        selection: Which endpoints. Default: all.
        models: What the types are.
        overrides: Corrections of documents. Default: those that come with the generator.
        package: The package's import name. Default: the name of its folder.
        jobs: Processes to use. Default: one for each processor.
        cold: Generate every module anew, whatever is on disk.
        pinned: Take nothing but what the lock names: the same tools, the same documents.
        progress: Told of each module that is there.

    Raises:
        CatalogError: if the schemas cannot be read, a glob matches nothing, or something is not as it is pinned.
    """
    selection = selection or Selection()
    if pinned:
        _check_tools(schemas)
    rows = read_lock(schemas)
    chosen = selection.of(rows)
    result = Plan()
    overrides = overrides or load_overrides()
    generator = fingerprint(overrides.digest)
    recover(root)
    known = {} if cold else _known(root, generator, models, package)
    todo: list[_Work] = []
    index: dict[str, Row] = {}
    gone: list[Locked] = []
    for id_ in chosen:
        row = rows[id_]
        if row.module is None:
            continue
        if row.state == "tombstone":
            gone.append(row)
            continue
        document = read_document(schemas / schema_path(id_))
        schema = document.sha256
        if pinned and schema != row.sha256:
            raise CatalogError(
                f"{document.path}: not the document that {LOCK_NAME} names; restore it, or generate without --offline"
            )
        rows[id_] = msgspec.structs.replace(row, sha256=schema)
        kept = known.get(id_)
        file = _module_file(row.module)
        if kept is not None and kept.schema == schema and kept.module == row.module:
            source = _read(root / file)
            if source is not None and sha256(source) == kept.file:
                result.files[file], index[id_] = source, kept
                continue
        entry, notes = overrides.apply(document.entry())
        result.diagnostics += notes
        todo.append(_Work(row.module, schema, models, package or root.name, row.app is None, entry))

    total, done = len(todo) + len(index), len(index)
    for work, emitted in zip(todo, _emit_all(todo, jobs), strict=True):
        done += 1
        if progress is not None:
            progress(done, total)
        result.diagnostics += emitted.diagnostics
        if emitted.source is None:
            continue
        source = emitted.source.encode()
        result.files[_module_file(emitted.module)] = source
        result.emitted += 1
        metadata = work.entry.metadata
        index[emitted.endpoint_id] = Row(
            id=emitted.endpoint_id,
            module=emitted.module,
            title=str(metadata.get("display_name") or emitted.endpoint_id),
            category=str(metadata.get("category") or ""),
            kind=str(metadata.get("kind") or "inference"),
            schema=work.schema,
            file=sha256(source),
        )
    result.modules, result.tombstones = len(index), len(gone)
    result.files |= {_module_file(str(row.module)): render_tombstone(row).encode() for row in gone}
    owners = {row.module: row.id for row in index.values()} | {str(row.module): row.id for row in gone}
    owners = {module.partition(".")[0]: id_.partition("/")[0] for module, id_ in owners.items()}
    result.files |= {f"{package}/__init__.py": render_package(owner).encode() for package, owner in owners.items()}
    result.files |= {"__init__.py": render_package(None).encode(), "py.typed": b""}
    endpoints = tuple(index[id_] for id_ in sorted(index))
    table = Index(
        generator=generator,
        selection=selection.endpoints,
        exclude=selection.exclude,
        models=models,
        package=package if package != root.name else "",
        endpoints=endpoints,
    )
    result.files[INDEX_NAME] = table.text()
    result.lock = write_lock(rows)
    return result


def carry_out(result: Plan, schemas: Path, root: Path) -> None:
    """Make the package at `root` hold exactly what was planned, and the lock say so.

    Raises:
        CatalogError: if there is no module at all. Nothing was changed.
        ForeignFiles: if the package holds files that were not generated. Nothing was changed.
    """
    if not result.modules and not result.tombstones:
        raise CatalogError(f"{schemas}: not one module could be generated; see the problems above")
    result.changes = publish(root, result.files, owned=is_generated)
    lock = schemas / LOCK_NAME
    if lock.read_bytes() != result.lock:
        part = lock.with_name(f".{LOCK_NAME}.new")
        part.write_bytes(result.lock)
        part.replace(lock)


def check(
    schemas: Path,
    root: Path,
    *,
    selection: Selection | None = None,
    models: ModelKind | None = None,
    overrides: Overrides | None = None,
    jobs: int | None = None,
    cold: bool = False,
) -> tuple[Plan, str]:
    """Compare what is committed with what would be generated; return the plan and a unified diff, empty if none.

    The selection and the kind of models are those that the package was generated with, unless others are given.

    Raises:
        CatalogError: as `plan` does, or if there is no generated package at `root`.
    """
    index = read_index(root)
    if index is None:
        raise CatalogError(f"{root}: no generated package here ({INDEX_NAME} is missing); run fal-bindings generate")
    selection = selection or Selection(index.selection, index.exclude)
    result = plan(
        schemas,
        root,
        selection=selection,
        models=models or index.models,
        overrides=overrides,
        package=index.package,
        jobs=jobs,
        cold=cold,
    )
    result.changes = compare(root, result.files)
    paths = {*result.changes.added, *result.changes.changed, *result.changes.removed}
    # What differs in a module differs in its row of the index too, where only a hash would show it.
    paths = paths - {INDEX_NAME} or paths
    lines: list[str] = []
    for path in sorted(paths):
        lines += _diff(path, _read(root / path), result.files.get(path))
    lines += _diff(LOCK_NAME, _read(schemas / LOCK_NAME), result.lock)
    return result, "".join(lines)


def _diff(path: str, committed: bytes | None, expected: bytes | None) -> list[str]:
    before = (committed or b"").decode(errors="replace").splitlines(keepends=True)
    after = (expected or b"").decode(errors="replace").splitlines(keepends=True)
    old = f"committed/{path}" if committed is not None else "/dev/null"
    new = f"generated/{path}" if expected is not None else "/dev/null"
    return list(difflib.unified_diff(before, after, old, new))


def is_generated(path: Path) -> bool:
    """Whether a file of a package was written by the generator."""
    if path.name in (INDEX_NAME, "py.typed"):
        return True
    with path.open("rb") as file:
        return path.suffix == ".py" and GENERATED_MARK.encode() in file.readline()


def read_index(root: Path) -> Index | None:
    """Read a package's index; `None` if it has none that can be read."""
    data = _read(root / INDEX_NAME)
    try:
        return msgspec.json.decode(data, type=Index) if data is not None else None
    except msgspec.MsgspecError:
        return None


def _known(root: Path, generator: str, models: ModelKind, package: str) -> dict[str, Row]:
    """The modules that this generator, asked the same, left at `root`."""
    index = read_index(root)
    if index is None or (index.generator, index.models) != (generator, models):
        return {}
    same = (index.package or root.name) == (package or root.name)
    return {row.id: row for row in index.endpoints} if same else {}


def _check_tools(schemas: Path) -> None:
    locked, here = (msgspec.to_builtins(tools) for tools in (read_tools(schemas), current_tools()))
    differing = [f"{name} {locked[name]} (here: {here[name]})" for name in here if locked[name] != here[name]]
    if differing:
        raise CatalogError(
            f"{schemas / LOCK_NAME}: it was written with {', '.join(differing)}; install that, "
            "or generate without --offline and commit the result"
        )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _module_file(module: str) -> str:
    return module.replace(".", "/") + ".py"


@dataclass(frozen=True, slots=True)
class _Work:
    """A module to be made."""

    module: str
    schema: str
    models: ModelKind
    package: str
    listed: bool
    """Whether the platform lists it; an app's own endpoints, it does not."""
    entry: Entry


def _job(work: _Work) -> Emitted:
    # Here, for it brings datamodel-code-generator along, which a run with nothing to do can spare.
    from fal_codegen.emit import emit

    entry = work.entry
    document = entry.openapi or {}
    return emit(
        entry.endpoint_id,
        entry.metadata,
        document,
        module=work.module,
        sha256=work.schema,
        package=work.package,
        models=work.models,
        listed=work.listed,
    )


def _emit_all(todo: Sequence[_Work], jobs: int | None) -> Iterator[Emitted]:
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1 or len(todo) < IN_PROCESS:
        yield from map(_job, todo)
        return
    with ProcessPoolExecutor(min(jobs, len(todo)), initializer=_collect_rarely) as pool:
        yield from pool.map(_job, todo, chunksize=16)


def _collect_rarely() -> None:
    """Let a worker look for garbage less often: it spends a fifth of its time on that otherwise, and lives shortly."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


@functools.cache
def fingerprint(overrides: str) -> str:
    """A hash of everything that decides what a schema becomes.

    That is the stages' code, the templates, the tools' versions, and the overrides by their own hash.
    """
    parts = [msgspec.json.encode(current_tools()), overrides.encode()]
    folder = Path(__file__).parent
    stages = ("names", "dialect", "prepare", "prose", "literals", "docs", "model", "render", "emit")
    parts += [(folder / f"{stage}.py").read_bytes() for stage in stages]
    parts.append((folder / "glossary.toml").read_bytes())
    templates = (path for path in sorted(templates_folder().rglob("*")) if path.suffix in (".jinja", ".jinja2"))
    parts += [path.read_bytes() for path in templates if not path.name.endswith(".md.jinja")]  # those are for reports
    # Line ends may differ between checkouts; what is generated does not.
    return sha256(b"\0".join(part.replace(b"\r\n", b"\n") for part in parts))
