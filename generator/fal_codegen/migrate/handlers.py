"""The errors of `fal_client`, where they are caught."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from fal_codegen.migrate.calls import Edit, attribute
from fal_codegen.migrate.source import Reference, Source, Unsure

__all__ = ["ERRORS", "Handlers"]

ERRORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "FalClientError": (("FalError",),),
    "FalClientHTTPError": (("errors", "InputError"), ("errors", "ServiceError")),
    "FalClientTimeoutError": (("errors", "TimeoutExpired"),),
    "MissingCredentialsError": (("errors", "MissingCredentialsError"),),
}
"""The classes that mean the same. An answer of the platform is an `InputError` or a `ServiceError`."""

_SAME = frozenset({"message", "status_code", "error_type", "request_id", "args", "with_traceback", "add_note"})


class Handlers:
    """Where a file names the errors.

    Args:
        source: The file.
        runtime: The name of the package of our errors.

    Attributes:
        problem: Why the errors cannot be told apart from ours, and so no call of the file may raise ours.
    """

    def __init__(self, source: Source, runtime: str) -> None:
        self._source = source
        self._runtime = runtime
        self.references = [reference for reference in source.references if reference.name in ERRORS]
        self.problem: Unsure | None = None
        self.handlers: dict[cst.ExceptHandler | cst.ExceptStarHandler, list[Reference]] = {}
        self.of_httpx = [node for node in source.attributes_of("httpx") if self._is_caught(node)]
        """Where errors of the old client's HTTP library are caught."""
        try:
            for reference in self.references:
                self._read(reference)
        except Unsure as problem:
            self.problem = problem

    def _is_caught(self, node: cst.Attribute) -> bool:
        parent = self._source.parent(node)
        if isinstance(parent, cst.Element):
            parent = self._source.parent(self._source.parent(parent))
        return isinstance(parent, cst.ExceptHandler | cst.ExceptStarHandler)

    def _read(self, reference: Reference) -> None:
        parent = self._source.parent(reference.node)
        if isinstance(parent, cst.Element):
            parent = self._source.parent(self._source.parent(parent))
        if not isinstance(parent, cst.ExceptHandler | cst.ExceptStarHandler):
            raise Unsure(reference.node, f"fal_client.{reference.name} is named outside of an except clause")
        self.handlers.setdefault(parent, []).append(reference)
        if parent.name is None or not isinstance(parent.name.name, cst.Name):
            return
        assignment = self._source.assignment(parent.name.name)
        for use in self._source.uses(assignment) if assignment is not None else []:
            read = self._source.parent(use)
            inside = parent in self._source.ancestors(use)
            if inside and isinstance(read, cst.Attribute) and read.attr.value not in _SAME:
                raise Unsure(read, f"our errors have no {read.attr.value!r}")

    def edits(self, *, both: bool) -> Iterator[tuple[list[Reference], cst.CSTNode, Edit]]:
        """What makes the clauses catch our errors: the references, the node to edit, and the edit.

        Args:
            both: Whether calls of `fal_client` remain, so that its errors have to be caught as well.
        """
        if self.problem is not None:
            return
        for handler, references in self.handlers.items():
            caught = handler.type
            if caught is None:
                continue
            old = {reference.node: reference for reference in references}
            given = [each.value for each in caught.elements] if isinstance(caught, cst.Tuple) else [caught]
            elements: list[cst.BaseExpression] = []
            for node in given:
                if node not in old or both:
                    elements.append(node)
                if node in old:
                    elements += [attribute(cst.Name(self._runtime), *path) for path in ERRORS[old[node].name]]
            texts = {self._source.code(node): node for node in elements}  # each once
            if set(texts) != {self._source.code(node) for node in given}:
                yield references, caught, _replacing(list(texts.values()))


def _replacing(nodes: list[cst.BaseExpression]) -> Edit:
    new = nodes[0] if len(nodes) == 1 else cst.Tuple([cst.Element(node) for node in nodes])
    return lambda updated: new
