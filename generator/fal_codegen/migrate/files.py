"""Migrating a tree of files: each is read, its calls are followed, and what was understood is rewritten."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import libcst as cst

from fal_codegen.migrate.calls import VERBS, Edit
from fal_codegen.migrate.flow import RUNTIME, Flow, Round
from fal_codegen.migrate.handlers import ERRORS, Handlers
from fal_codegen.migrate.imports import import_edits
from fal_codegen.migrate.shapes import Module, Package
from fal_codegen.migrate.source import OLD, Source, Unsure

__all__ = ["Migration", "Remark", "migrate"]

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "build", "dist"})
_ORDER = ("use", "call")

_OTHERS = {
    "realtime": "a realtime connection of the bindings has another face; see the guide",
    "ws_connect": "the bindings have no raw connection to a runner",
    "StorageSettings": "lifecycles of the bindings are fal_runtime.Lifecycle; see the guide",
}
_STAY = frozenset({"Queued", "InProgress", "Completed", "Status", "SyncRequestHandle", "AsyncRequestHandle"})


@dataclass(frozen=True, order=True)
class Remark:
    """Something to know about a line."""

    path: Path
    line: int
    kind: Literal["failed", "kept", "note"]
    """`kept`: this stays as it was; `note`: this was rewritten, and behaves differently; `failed`: it was not read."""
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.text}"


@dataclass
class Migration:
    """What becomes of a tree of files."""

    remarks: list[Remark] = field(default_factory=list["Remark"])
    changed: dict[Path, tuple[bytes, bytes]] = field(default_factory=dict["Path", "tuple[bytes, bytes]"])
    """The files that change: before and after."""
    read: int = 0
    """How many files name `fal_client`."""
    typed: int = 0
    """How many calls become typed."""
    untyped: int = 0
    """How many calls become untyped ones of the bindings."""
    kept: int = 0
    """How many calls stay."""

    def diff(self) -> str:
        """All changes, as a unified diff."""
        parts: list[str] = []
        for path, (before, after) in self.changed.items():
            old, new = (text.decode(errors="replace").splitlines(keepends=True) for text in (before, after))
            name = path.as_posix().lstrip("/")
            parts += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
        return "".join(part if part.endswith("\n") else f"{part}\n\\ No newline at end of file\n" for part in parts)

    def write(self) -> None:
        """Write the files that change."""
        for path, (_, after) in self.changed.items():
            path.write_bytes(after)


@dataclass
class _File:
    path: Path
    source: Source
    flow: Flow
    handlers: Handlers
    round: Round


def migrate(paths: Iterable[Path], package: str, *, untyped: bool = False) -> Migration:
    """Work out what becomes of files, and of all Python files in folders. Writes nothing.

    Args:
        paths: The files and folders.
        package: The import name of the package of generated modules.
        untyped: Whether calls of endpoints that have no module become untyped ones, instead of staying.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ModuleNotFoundError: if the package cannot be imported.
    """
    result = Migration()
    modules = Package(package)
    texts = {path: path.read_bytes() for path in _python_files(paths)}
    names = {path: _names(text) for path, text in texts.items()}
    shared = Counter(name for each in names.values() for name in each)
    files: list[_File] = []
    for path, text in texts.items():
        if OLD.encode() not in text:
            continue
        result.read += 1
        foreign = frozenset(name for name, count in shared.items() if count > (name in names[path]))
        try:
            files.append(_read(path, Source(text, foreign), modules, untyped))
        except cst.ParserSyntaxError as error:
            result.remarks.append(Remark(path, error.raw_line, "failed", f"this is no Python: {error.message}"))
        except Unsure as problem:
            line = text[: text.find(OLD.encode())].count(b"\n") + 1
            result.remarks.append(Remark(path, line, "kept", f"the whole file: {problem.reason}"))
    both = any(_remains(file) for file in files) or len(files) < result.read
    for file in files:
        after = _rewrite(file, both)
        before = texts[file.path]
        if after != before:
            result.changed[file.path] = before, after
        kept = len(file.flow.kept)
        plain = len([call for call in file.flow.plain if call not in file.flow.kept])
        result.typed += len(file.flow.sites) - kept - plain
        result.untyped += plain
        result.kept += kept
        result.remarks += _remarks(file)
    result.remarks = sorted(set(result.remarks))
    return result


def _python_files(paths: Iterable[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            for each in sorted(path.rglob("*.py")):
                inner = each.relative_to(path).parts
                if not any(part.startswith(".") or part in _SKIPPED for part in inner):
                    found[each] = None
        elif path.exists():
            found[path] = None
        else:
            raise FileNotFoundError(2, "No such file or folder", str(path))
    return list(found)


def _names(text: bytes) -> frozenset[str]:
    """What a file may read of others: names that it imports, attributes, those of `self` only where there is a base."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return frozenset()
    names: set[str] = set()

    def visit(node: ast.AST, own: bool) -> None:
        if isinstance(node, ast.ClassDef):
            own = not node.bases
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and not (
            own and isinstance(node.value, ast.Name) and node.value.id == "self"
        ):
            names.add(node.attr)
        for child in ast.iter_child_nodes(node):
            visit(child, own)

    visit(tree, own=False)
    return frozenset(names)


def _read(path: Path, source: Source, package: Package, untyped: bool) -> _File:
    flow = Flow(source, package, also_untyped=untyped)
    handlers = Handlers(source, RUNTIME)
    if any(name == RUNTIME for name in source.names) and f"import {RUNTIME}".encode() not in source.text:
        raise Unsure(source.module, f"the name {RUNTIME} stands for something else")
    if handlers.problem is not None:
        flow.block(handlers.problem)
    return _File(path, source, flow, handlers, flow.settle())


def _remains(file: _File) -> bool:
    """Whether a file goes on to call `fal_client`."""
    harmless = {*ERRORS, *_STAY}
    return any(
        reference.node not in file.round.converted and reference.name not in harmless
        for reference in file.source.references
    )


def _rewrite(file: _File, both: bool) -> bytes:
    """A file after its edits."""
    edits = file.round.edits
    needs: dict[cst.ImportAlias, list[Module | None]] = {}
    for alias, modules in file.round.modules.items():
        needs.setdefault(alias, []).extend(modules)
    converted = set(file.round.converted)
    for references, node, edit in file.handlers.edits(both=both):
        edits.setdefault(node, {})["use"] = edit
        for reference in references:
            needs.setdefault(reference.alias, []).append(None)
            if not both:
                converted.add(reference.node)
    left = {reference.alias for reference in file.source.references if reference.node not in converted}
    used = {reference.alias for reference in file.source.references}
    gone = {alias for alias in used if alias not in left}
    names = {
        module: file.flow.name_of(module) for modules in needs.values() for module in modules if module is not None
    }
    for line, edit in import_edits(file.source, needs, gone, names).items():
        edits.setdefault(line, {})["use"] = edit
    return file.source.module.visit(_Editor(edits)).bytes


class _Editor(cst.CSTTransformer):
    """Carries the edits out, the inner ones first."""

    def __init__(self, edits: Mapping[cst.CSTNode, Mapping[str, Edit]]) -> None:
        super().__init__()
        self._edits = edits

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> Any:
        edits = self._edits.get(original_node, {})
        for kind in _ORDER:
            if kind in edits:
                updated_node = edits[kind](updated_node)
        return updated_node


def _remarks(file: _File) -> Sequence[Remark]:
    source, flow = file.source, file.flow
    found: list[Remark] = []

    def add(node: cst.CSTNode, kind: Literal["kept", "note"], text: str) -> None:
        found.append(Remark(file.path, source.line(node), kind, text))

    for call, problem in flow.kept.items():
        add(call, "kept", problem.reason)
    calls = {flow.sites[call].call.func for call in flow.kept}
    for reference in source.references:
        name = reference.name.removesuffix("_async")
        if reference.node in file.round.converted or reference.node in calls:
            continue
        if reference.name in ERRORS:
            if file.handlers.problem is not None and file.handlers.problem.node is reference.node:
                add(reference.node, "kept", file.handlers.problem.reason)
            continue
        if reference.name in _STAY:
            text = f"{OLD}.{reference.name} stays with the calls that stay"
        elif reference.name in ("SyncClient", "AsyncClient") and flow.client_problem is not None:
            problem = flow.client_problem
            where = (
                f" (line {source.line(problem.node)})"
                if source.line(problem.node) != source.line(reference.node)
                else ""
            )
            text = f"the client stays: {problem.reason}{where}"
        elif name in VERBS:
            text = f"{OLD}.{reference.name} is named here, but not called"
        else:
            text = _OTHERS.get(name, f"{OLD}.{reference.name} is not understood here")
        add(reference.node, "kept", text)
    for node, text in file.round.notes:
        add(node, "note", text)
    if file.round.converted:
        for node in file.handlers.of_httpx:
            add(node, "note", "the bindings raise fal_runtime.errors.NoConnectionError here, and no errors of httpx")
    return found
