"""Which endpoints a code base uses, and, where it can be seen, which of their fields: read from its syntax trees.

Nothing is imported or run. What cannot be seen counts as used: a result that is handed to another function may have any
of its fields read there, and an input that is built from somebody's dict may set any field.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from fal_codegen.catalog import CatalogError
from fal_codegen.diff import Change
from fal_codegen.render import GENERATED_MARK

__all__ = ["Usage", "Use", "affects", "find_usage"]

VERBS = frozenset({"run", "submit", "subscribe", "stream", "realtime"})
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})


@dataclass(slots=True)
class Use:
    """How a code base uses one endpoint."""

    places: list[str] = field(default_factory=list[str])
    """Where it is named, `src/app.py:12`."""
    inputs: list[frozenset[str]] = field(default_factory=list[frozenset[str]])
    """For each input that is built, the fields that it sets."""
    opaque_inputs: bool = False
    """Whether an input is built in a way that does not show its fields."""
    reads: set[str] = field(default_factory=set[str])
    """What is read of outputs, as paths without indices: `images.url`."""
    opaque_outputs: bool = False
    """Whether an output goes where its reading cannot be seen."""


@dataclass(slots=True)
class Usage:
    """How a code base uses the catalogue."""

    uses: dict[str, Use] = field(default_factory=dict[str, Use])
    """By endpoint id."""
    files: int = 0
    """How many files were read."""
    unreadable: list[str] = field(default_factory=list[str])
    """Files that are no Python, with the reason. What they use is not known."""


def affects(change: Change, usage: Usage) -> bool:
    """Whether a change concerns what a code base does, as far as it can be seen."""
    use = usage.uses.get(change.endpoint)
    if use is None:
        return False
    if not change.path or change.side is None:
        return True
    names = {_steps(change.path)[0], _steps(change.attribute)[0]}
    if change.side == "output":
        if use.opaque_outputs or change.kind == "field-added":
            return True
        paths = (".".join(_steps(change.path)), ".".join(_steps(change.attribute)))
        return any(_overlap(read, path) for read in use.reads for path in paths)
    if use.opaque_inputs or not use.inputs:
        return True
    top = len(_steps(change.path)) == 1
    if top and change.kind == "field-added":
        return change.severity != "breaking" or any(names.isdisjoint(given) for given in use.inputs)
    if top and change.kind in ("default", "required"):
        return any(names.isdisjoint(given) for given in use.inputs)
    return any(not names.isdisjoint(given) for given in use.inputs)


def _steps(path: str) -> list[str]:
    """The fields of a path, without the steps into lists and maps."""
    return [step.partition("[")[0] for step in path.split(".") if step != "*"]


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def find_usage(paths: Sequence[Path], ids: Iterable[str], packages: Mapping[str, Mapping[str, str]]) -> Usage:
    """Read the Python files below some paths.

    Args:
        paths: Folders or files.
        ids: All endpoint ids, for those that are named as they are.
        packages: For each package of generated modules, its modules' names and the ids of their endpoints.

    Raises:
        CatalogError: if a path is not there, or no Python is.
    """
    usage = Usage()
    modules: dict[str, list[tuple[str, str]]] = {}
    for package, rows in packages.items():
        for module, id_ in rows.items():
            modules.setdefault(module, []).append((f"{package}.{module}", id_))
    known = _Known(frozenset(ids), modules)
    for path in paths:
        if not path.exists():
            raise CatalogError(f"{path}: no such file or folder; --used-by takes the folder of your code")
        for file in _python_files(path):
            _read(file, known, usage)
    if not usage.files:
        raise CatalogError(f"{', '.join(map(str, paths))}: no Python files in there")
    for use in usage.uses.values():
        use.places.sort(key=_file_and_line)
    return usage


def _file_and_line(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return file, int(line)


def _python_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED and name[0] != "." and not (Path(folder) / name / "pyvenv.cfg").exists()
        )
        yield from (Path(folder) / name for name in sorted(files) if name.endswith((".py", ".pyi")))


def _read(file: Path, known: _Known, usage: Usage) -> None:
    data = file.read_bytes()
    if GENERATED_MARK.encode() in data.partition(b"\n")[0]:
        return
    usage.files += 1
    try:
        tree = ast.parse(data, str(file))
        _Reader(file, known, usage).read(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        usage.unreadable.append(f"{file.as_posix()}: {error}")


# --- One file ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    ids: frozenset[str]
    modules: Mapping[str, Sequence[tuple[str, str]]]
    """By a module's name inside its package: its full name and its endpoint, for each package that has it."""

    def endpoint(self, module: str, *, exact: bool = False) -> str | None:
        """The endpoint of a module.

        A package of one's own may be imported relatively, so a longer name is taken for it too, unless `exact`.
        """
        for full, id_ in self.modules.get(".".join(module.rsplit(".", 2)[-2:]), ()):
            if module == full or (not exact and module.endswith(f".{full}")):
                return id_
        return None


Role: TypeAlias = Literal["module", "member", "verb", "input", "result", "wrapped", "handle"]


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an expression is: a module of an endpoint, one of its types, the result of one of its verbs, ..."""

    role: Role
    endpoint: str
    name: str = ""
    """A member's name, such as `Input`; for what a verb of `with_result` gives, `with_result`."""


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(slots=True)
class _Reader:
    """Reads one file."""

    file: Path
    known: _Known
    usage: Usage
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict[ast.AST, ast.AST])
    imported: dict[str, str] = field(default_factory=dict[str, str])
    """What names stand for, by their full names."""
    stars: list[str] = field(default_factory=list[str])
    """The packages that all names were imported from."""
    variables: dict[tuple[ast.AST, str], _Meaning] = field(default_factory=dict[tuple[ast.AST, str], _Meaning])
    """What variables hold, by scope."""
    annotations: set[ast.AST] = field(default_factory=set[ast.AST])
    meanings: dict[ast.AST, _Meaning | None] = field(default_factory=dict[ast.AST, "_Meaning | None"])
    """What expressions were found to be, as long as no variable is found to hold something else."""

    def read(self, tree: ast.Module) -> None:
        nodes: list[ast.AST] = []
        waiting: list[ast.AST] = [tree]
        while waiting:
            node = waiting.pop()
            nodes.append(node)
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
                waiting.append(child)
        for node in nodes:
            self._import(node)
        for node in nodes:
            self._annotation(node)
        # Twice, for a variable may hold what another one gave.
        for _ in range(2):
            for node in nodes:
                self._assignment(node)
        for node in nodes:
            self._expression(node)

    # --- Names

    def _import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    self.imported[alias.asname] = alias.name
                else:
                    top = alias.name.partition(".")[0]
                    self.imported[top] = top
                self._named(alias.name, node)
        elif isinstance(node, ast.ImportFrom):
            base = self._base(node)
            for alias in node.names:
                if alias.name == "*":
                    self.stars.append(base)
                    self._named(base, node)
                else:
                    self.imported[alias.asname or alias.name] = f"{base}.{alias.name}"
                    self._named(f"{base}.{alias.name}", node)

    def _base(self, node: ast.ImportFrom) -> str:
        """The full name of what is imported from; a relative one begins with the file's own folders."""
        if not node.level:
            return node.module or ""
        folders = self.file.resolve().parent.parts
        above = folders[1 : len(folders) - node.level + 1]
        return ".".join((*above, node.module) if node.module else above)

    def _module(self, full: str) -> tuple[str, str] | None:
        """The endpoint of a full name, and what follows the module's name."""
        steps = full.split(".")
        for end in range(len(steps), 1, -1):
            found = self.known.endpoint(".".join(steps[:end]))
            if found is not None:
                return found, ".".join(steps[end:])
        return None

    def _named(self, full: str, node: ast.stmt) -> None:
        found = self._module(full)
        if found is not None:
            self._use(found[0], node)

    def _use(self, endpoint: str, node: ast.AST) -> Use:
        use = self.usage.uses.setdefault(endpoint, Use())
        place = f"{self.file.as_posix()}:{getattr(node, 'lineno', 1)}"
        if place not in use.places:
            use.places.append(place)
        return use

    def _full(self, node: ast.AST) -> str | None:
        """The full name that an expression of names and dots stands for."""
        if isinstance(node, ast.Name):
            if node.id in self.imported:
                return self.imported[node.id]
            return next((f"{star}.{node.id}" for star in self.stars if self._module(f"{star}.{node.id}")), None)
        if isinstance(node, ast.Attribute):
            base = self._full(node.value)
            return f"{base}.{node.attr}" if base is not None else None
        return None

    def _scopes(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, (*_FUNCTIONS, ast.Module)):
                yield node

    def _meaning(self, node: ast.AST) -> _Meaning | None:
        """What an expression is, if it has to do with an endpoint."""
        if node not in self.meanings:
            self.meanings[node] = self._find_meaning(node)
        return self.meanings[node]

    def _find_meaning(self, node: ast.AST) -> _Meaning | None:
        if isinstance(node, ast.Await | ast.NamedExpr):
            return self._meaning(node.value)
        if isinstance(node, ast.Name):
            held = (self.variables.get((scope, node.id)) for scope in self._scopes(node))
            found = next((each for each in held if each is not None), None)
            if found is not None:
                return found
        if isinstance(node, ast.Call):
            return self._call(node)
        full = self._full(node)
        found_module = self._module(full) if full is not None else None
        if found_module is not None:
            return self._member(*found_module)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        return None

    def _member(self, endpoint: str, rest: str) -> _Meaning:
        if not rest:
            return _Meaning("module", endpoint)
        steps = rest.split(".")
        wrapped = "with_result" in steps[:-1]
        if len(steps) <= 2 and _verb(steps[-1]) and steps[:-1] in ([], ["with_result"], ["endpoint"]):
            return _Meaning("verb", endpoint, f"with_result.{steps[-1]}" if wrapped else steps[-1])
        return _Meaning("member", endpoint, rest)

    def _attribute(self, node: ast.Attribute) -> _Meaning | None:
        base = self._meaning(node.value)
        if base is None:
            return None
        if base.role == "module":
            return self._member(base.endpoint, node.attr)
        if base.role == "member":
            return self._member(base.endpoint, f"{base.name}.{node.attr}")
        if base.role == "wrapped" and node.attr == "data":
            return _Meaning("result", base.endpoint)
        if base.role == "input" and node.attr == "replace":
            return _Meaning("member", base.endpoint, "Input.replace")
        return None

    def _call(self, node: ast.Call) -> _Meaning | None:
        if (id_ := self._endpoint_call(node)) is not None:
            return _Meaning("module", id_)
        function = self._meaning(node.func)
        if function is None:
            return self._handle_call(node)
        if function.role == "member" and function.name.partition(".")[0] == "Input":
            return _Meaning("input", function.endpoint)
        if function.role == "member" and function.name in ("handle", "with_result.handle"):
            return _Meaning("handle", function.endpoint, function.name)
        if function.role != "verb":
            return None
        wrapped = function.name.startswith("with_result.")
        if "submit" in function.name:
            return _Meaning("handle", function.endpoint, "with_result" if wrapped else "")
        if "stream" in function.name or "realtime" in function.name:
            return None
        return _Meaning("wrapped" if wrapped else "result", function.endpoint)

    def _handle_call(self, node: ast.Call) -> _Meaning | None:
        """`handle.result()`."""
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("result", "result_async"):
            handle = self._meaning(node.func.value)
            if handle is not None and handle.role == "handle":
                return _Meaning("wrapped" if "with_result" in handle.name else "result", handle.endpoint)
        return None

    def _endpoint_call(self, node: ast.Call) -> str | None:
        """`fal_runtime.endpoint("fal-ai/flux/dev")`."""
        name = self._full(node.func)
        if name not in ("fal_runtime.endpoint", "fal_runtime.Endpoint") or not node.args:
            return None
        first = node.args[0]
        return first.value if isinstance(first, ast.Constant) and first.value in self.known.ids else None

    # --- Variables

    def _annotation(self, node: ast.AST) -> None:
        """A variable or parameter that is said to hold an `Output` holds one; an `Input` may come from anywhere."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            self.annotations.update(ast.walk(node.returns))
        if not isinstance(node, ast.AnnAssign | ast.arg) or node.annotation is None:
            return
        self.annotations.update(ast.walk(node.annotation))
        meaning, scope = self._meaning(node.annotation), next(self._scopes(node), None)
        if meaning is None or scope is None:
            return
        if isinstance(node, ast.arg) and meaning.name == "Input":
            self._use(meaning.endpoint, node).opaque_inputs = True
        name = node.arg if isinstance(node, ast.arg) else node.target.id if isinstance(node.target, ast.Name) else None
        if name is not None and meaning.name == "Output":
            self._hold(scope, name, _Meaning("result", meaning.endpoint))

    def _hold(self, scope: ast.AST, name: str, meaning: _Meaning) -> None:
        if self.variables.get((scope, name)) != meaning:
            self.variables[scope, name] = meaning
            self.meanings.clear()

    def _assignment(self, node: ast.AST) -> None:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets, value = [node.optional_vars], node.context_expr
        meaning = self._meaning(value) if value is not None else None
        scope = next(self._scopes(node), None)
        if meaning is None or scope is None:
            return
        for target in targets:
            if isinstance(target, ast.Name):
                self._hold(scope, target.id, meaning)

    # --- Uses

    def _expression(self, node: ast.AST) -> None:
        if node in self.annotations:
            if (meaning := self._meaning(node) if isinstance(node, ast.Attribute | ast.Name) else None) is not None:
                self._use(meaning.endpoint, node)
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self._text(node, node.value)
        elif isinstance(node, ast.Call):
            self._inputs_of(node)
        if isinstance(
            node, ast.Name | ast.Attribute | ast.Call | ast.Await | ast.NamedExpr
        ) and not self._is_inside_name(node):
            self._place(node)

    def _text(self, node: ast.Constant, text: str) -> None:
        """An id or a module named as a text, for another client or an import at run time."""
        parent = self.parents.get(node)
        id_ = text if text in self.known.ids else self.known.endpoint(text, exact=True)
        if id_ is None or isinstance(parent, ast.Expr):
            return
        use = self._use(id_, node)
        if not (isinstance(parent, ast.Call) and self._endpoint_call(parent) == text):
            use.opaque_inputs = use.opaque_outputs = True

    def _is_inside_name(self, node: ast.AST) -> bool:
        """Whether a longer expression of the same names means more."""
        parent = self.parents.get(node)
        return isinstance(parent, ast.Await) or (
            isinstance(parent, ast.Attribute) and self._meaning(parent) is not None
        )

    def _place(self, node: ast.expr) -> None:
        """An expression that is something, in the place where it stands."""
        meaning = self._meaning(node)
        if meaning is None or isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            return
        use = self._use(meaning.endpoint, node)
        parent = self.parents.get(node)
        called = isinstance(parent, ast.Call) and parent.func is node
        assigned = isinstance(parent, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.withitem) and self._held(parent)
        if meaning.role == "result":
            self._reads(node, use, assigned=assigned)
        elif meaning.role in ("wrapped", "handle"):
            use.opaque_outputs |= not (assigned or isinstance(parent, ast.Attribute | ast.Expr))
        elif meaning.role == "input":
            self._input(parent, use, assigned=assigned)
        elif meaning.role == "verb":
            use.opaque_outputs |= not called or "stream" in meaning.name or "realtime" in meaning.name
            use.opaque_inputs |= not called
        elif meaning.role == "module" and not assigned:
            # What has no generated member of that name, or is handed on, may do anything.
            use.opaque_inputs = use.opaque_outputs = True
        elif meaning.role == "member" and not called and not assigned:
            use.opaque_inputs |= meaning.name != "Output"
            use.opaque_outputs |= meaning.name != "Input"
        elif meaning.role == "member" and called and meaning.name.removesuffix("_async") == "parse_webhook":
            use.opaque_outputs = True

    def _held(self, statement: ast.AST) -> bool:
        """Whether all targets are plain variables, whose every use is seen."""
        if isinstance(statement, ast.Assign):
            return all(isinstance(target, ast.Name) for target in statement.targets)
        target = getattr(statement, "target", None) or getattr(statement, "optional_vars", None)
        return target is None or isinstance(target, ast.Name)

    def _reads(self, node: ast.expr, use: Use, *, assigned: bool) -> None:
        """Follow what is read of an output: `.images[0].url`. What is not read by name may be read in full."""
        path: list[str] = []
        current: ast.AST = node
        while True:
            parent = self.parents.get(current)
            if isinstance(parent, ast.Attribute):
                path.append(parent.attr)
            elif not (isinstance(parent, ast.Subscript) and parent.value is current):
                break
            elif isinstance(parent.slice, ast.Constant) and isinstance(parent.slice.value, str):
                path.append(parent.slice.value)
            elif not path:
                break
            current = parent
        if path:
            use.reads.add(".".join(path))
        elif not assigned and not isinstance(self.parents.get(node), ast.Expr):
            use.opaque_outputs = True

    def _input(self, parent: ast.AST | None, use: Use, *, assigned: bool) -> None:
        """An input that is there: changed, sent, or handed to somebody who may change it."""
        if isinstance(parent, ast.Attribute):
            if isinstance(parent.ctx, ast.Store):
                use.inputs.append(frozenset({parent.attr}))
        elif (
            not assigned
            and not isinstance(parent, ast.Expr)
            and not (isinstance(parent, ast.Call | ast.keyword) and self._is_sent(parent))
        ):
            use.opaque_inputs = True

    def _is_sent(self, node: ast.AST | None) -> bool:
        call = self.parents.get(node) if isinstance(node, ast.keyword) else node
        function = self._meaning(call.func) if isinstance(call, ast.Call) else None
        return function is not None and function.role == "verb"

    def _inputs_of(self, node: ast.Call) -> None:
        function = self._meaning(node.func)
        if function is None:
            return
        if function.role == "member" and function.name in ("Input", "Input.replace"):
            self._given(function.endpoint, node)
        elif function.role == "member" and function.name == "Input.from_dict":
            self._given_dict(function.endpoint, node, node.args[0] if node.args else None)
        elif function.role == "verb":
            self._sent(function, node)

    def _sent(self, verb: _Meaning, node: ast.Call) -> None:
        endpoint, use = verb.endpoint, self._use(verb.endpoint, node)
        first = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "input"), None)
        if isinstance(first, ast.Dict):
            self._given_dict(endpoint, node, first)
        elif first is None and "realtime" not in verb.name:
            self._given(endpoint, node)  # the fields by keyword, beside which there are no options
            return
        elif first is None or (meaning := self._meaning(first)) is None or meaning.role != "input":
            use.opaque_inputs = True
        # `extra` may hold any field.
        use.opaque_inputs |= any(keyword.arg in ("extra", None) for keyword in node.keywords)

    def _given(self, endpoint: str, node: ast.Call) -> None:
        use = self._use(endpoint, node)
        names: set[str] = set()
        for keyword in node.keywords:
            if keyword.arg is not None:
                names.add(keyword.arg)
            elif (spread := _dict_keys(keyword.value)) is not None:
                names |= spread
            else:
                use.opaque_inputs = True
        use.inputs.append(frozenset(names))
        use.opaque_inputs |= bool(node.args)

    def _given_dict(self, endpoint: str, call: ast.Call, given: ast.AST | None) -> None:
        use = self._use(endpoint, call)
        keys = _dict_keys(given)
        use.opaque_inputs |= keys is None
        use.inputs.append(keys or frozenset())


def _verb(name: str) -> bool:
    return name.removesuffix("_async") in VERBS


def _dict_keys(node: ast.AST | None) -> frozenset[str] | None:
    """The keys of a dict that is written down in full; `None` for any other expression."""
    if not isinstance(node, ast.Dict):
        return None
    keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
    return frozenset(key for key in keys if isinstance(key, str)) if all(isinstance(k, str) for k in keys) else None
