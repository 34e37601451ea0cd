"""A file to migrate: parsed, with what its names stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import libcst as cst
from libcst.metadata import (
    Assignment,
    BaseAssignment,
    GlobalScope,
    ImportAssignment,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    ScopeProvider,
)

__all__ = ["OLD", "Reference", "Source", "Unsure", "literal_text"]

OLD = "fal_client"


class Unsure(Exception):
    """Something is not understood, so it is kept. The message says what and why; `node` is where."""

    def __init__(self, node: cst.CSTNode, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


@dataclass(eq=False)
class Reference:
    """Where a file names something of `fal_client`."""

    name: str
    """What: `subscribe`, `InProgress`, ... Empty for the module itself."""
    node: cst.BaseExpression
    """The whole expression: `fal_client.subscribe`, or a name imported from there."""
    alias: cst.ImportAlias
    """The import that it goes by."""


@dataclass
class Source:
    """A file, and answers to questions about it.

    Args:
        text: The file's bytes.
        foreign: The names that other files of the tree use: what they import, and the attributes they read.

    Raises:
        libcst.ParserSyntaxError: if it is no Python.
    """

    text: bytes
    foreign: frozenset[str] = frozenset()
    references: list[Reference] = field(default_factory=list["Reference"])
    imports: list[cst.ImportAlias] = field(default_factory=list["cst.ImportAlias"])
    """The imports of `fal_client` and of names from it."""

    def __post_init__(self) -> None:
        wrapper = MetadataWrapper(cst.parse_module(self.text))
        self.module = wrapper.module
        self._parents = wrapper.resolve(ParentNodeProvider)
        self._positions = wrapper.resolve(PositionProvider)
        scopes = wrapper.resolve(ScopeProvider)
        self._assignments: dict[cst.CSTNode, Assignment] = {}
        self._read: dict[cst.CSTNode, Assignment] = {}
        self.names: set[str] = set()
        self.attributes: dict[str, list[cst.Attribute]] = {}
        found: list[ImportAssignment] = []
        for scope in dict.fromkeys(scope for scope in scopes.values() if scope is not None):
            for assignment in scope.assignments:
                self.names.add(assignment.name)
                if isinstance(assignment, ImportAssignment):
                    found.append(assignment)
                elif isinstance(assignment, Assignment):
                    self._assignments[assignment.node] = assignment
                    self._read |= {access.node: assignment for access in assignment.references}
        for node in self._parents:
            if isinstance(node, cst.Name):
                self.names.add(node.value)
            elif isinstance(node, cst.Attribute):
                self.attributes.setdefault(node.attr.value, []).append(node)
            elif isinstance(node, cst.ImportFrom) and isinstance(node.names, cst.ImportStar) and self._module(node):
                raise Unsure(node, f"it imports everything from {OLD}; name what you import, then migrate")
        found.sort(key=lambda assignment: self.line(assignment.node))
        for assignment in found:
            self._read_import(assignment)
        self.references.sort(key=lambda reference: self.position(reference.node))

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """What a node stands in."""
        return self._parents[node]

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """What a node stands in, and what that stands in, outwards."""
        while node in self._parents:
            node = self._parents[node]
            yield node

    def position(self, node: cst.CSTNode) -> tuple[int, int]:
        """The line, from 1, and the column of a node's start."""
        start = self._positions[node].start
        return start.line, start.column

    def line(self, node: cst.CSTNode) -> int:
        """The line of a node's start, from 1."""
        return self.position(node)[0]

    def code(self, node: cst.CSTNode) -> str:
        """The text of a node."""
        return self.module.code_for_node(node).strip()

    def assignment(self, node: cst.CSTNode) -> Assignment | None:
        """The assignment that a name, a parameter or a definition makes."""
        return self._assignments.get(node)

    def definition(self, name: cst.Name) -> Assignment | None:
        """The one assignment that a read name comes from; `None` if there is not exactly one."""
        assignment = self._read.get(name)
        return assignment if assignment is not None and len(self.all_of(assignment)) == 1 else None

    def all_of(self, assignment: Assignment) -> list[BaseAssignment]:
        """All assignments to the same variable."""
        return list(assignment.scope[assignment.name])

    def uses(self, assignment: Assignment) -> list[cst.CSTNode]:
        """Where a variable is read, whichever assignment gave it its value."""
        accesses = {access.node for each in self.all_of(assignment) for access in each.references}
        return sorted(accesses, key=self.position)

    def is_shared(self, assignment: BaseAssignment) -> bool:
        """Whether another file of the tree may read the variable."""
        return isinstance(assignment.scope, GlobalScope) and assignment.name in self.foreign

    def attributes_of(self, name: str) -> list[cst.Attribute]:
        """Where an attribute of something of this name is read."""
        every = [node for nodes in self.attributes.values() for node in nodes]
        return [node for node in every if isinstance(node.value, cst.Name) and node.value.value == name]

    def is_global(self, alias: cst.ImportAlias) -> bool:
        """Whether an import is one of the whole file."""
        inner = cst.FunctionDef | cst.ClassDef | cst.Lambda
        return not any(isinstance(node, inner) for node in self.ancestors(alias))

    def constant(self, node: cst.BaseExpression) -> str | None:
        """The text that an expression always is: a literal, or a name that is given one, once."""
        if isinstance(node, cst.Name):
            assignment = self.definition(node)
            target = self.parent(assignment.node) if assignment is not None else None
            holder = self.parent(target) if isinstance(target, cst.AssignTarget) else target
            if isinstance(holder, cst.Assign | cst.AnnAssign) and holder.value is not None:
                return literal_text(holder.value)
            return None
        return literal_text(node)

    def _read_import(self, assignment: ImportAssignment) -> None:
        statement = assignment.node
        if not isinstance(statement, cst.Import | cst.ImportFrom):
            return
        names = statement.names
        if isinstance(names, cst.ImportStar):
            return
        for alias in names:
            bound = alias.evaluated_alias or alias.evaluated_name.partition(".")[0]
            if bound != assignment.name:
                continue
            if isinstance(statement, cst.ImportFrom):
                module = self._module(statement)
                name = None if module is None else f"{module}.{alias.evaluated_name}"
            else:
                name = alias.evaluated_name
                if not alias.asname and name.partition(".")[0] == OLD:
                    name = OLD
            if name is None or name.partition(".")[0] != OLD:
                continue
            others = [each for each in assignment.scope[assignment.name] if not isinstance(each, ImportAssignment)]
            if others:
                raise Unsure(statement, f"{assignment.name!r} stands for other things as well in this file")
            self.imports.append(alias)
            for access in assignment.references:
                self._read_reference(access.node, name, alias)

    def _module(self, statement: cst.ImportFrom) -> str | None:
        if statement.module is None or statement.relative:
            return None
        name = self.code(statement.module)
        return name if name.partition(".")[0] == OLD else None

    def _read_reference(self, node: cst.CSTNode, name: str, alias: cst.ImportAlias) -> None:
        if isinstance(node, cst.BaseString):
            self.references.append(Reference("'" + name, node, alias))
            return
        while isinstance(node, cst.Attribute) and name == OLD:  # `import fal_client.client` gives the whole attribute
            inner = node.value
            if isinstance(inner, cst.Name):
                node = inner
        while _api(name) in ("", "client", "auth"):
            parent = self.parent(node)
            if not isinstance(parent, cst.Attribute) or parent.value is not node:
                break
            node, name = parent, f"{name}.{parent.attr.value}"
        if isinstance(node, cst.BaseExpression):
            self.references.append(Reference(_api(name), node, alias))


def _api(name: str) -> str:
    """The name in the public module of something in one of its modules."""
    for prefix in (f"{OLD}.client.", f"{OLD}.auth.", f"{OLD}.", OLD):
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def literal_text(node: cst.BaseExpression) -> str | None:
    """The text of a string literal."""
    value = node.evaluated_value if isinstance(node, cst.SimpleString | cst.ConcatenatedString) else None
    return value if isinstance(value, str) else None
