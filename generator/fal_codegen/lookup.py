"""Finding an endpoint, and reading what its module offers: from a package's index and its source, without importing it."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fal_codegen.catalog import CatalogError
from fal_codegen.generate import INDEX_NAME, Row, read_index

__all__ = ["Catalogue", "Member", "Module", "find", "read_catalogue", "read_module", "search", "shipped"]

_WORDS = re.compile(r"[a-z]+|[0-9]+")  # so that 2.5 finds v2.5


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A package's index, and where the package is."""

    package: str
    root: Path
    rows: tuple[Row, ...]


def read_catalogue(package: str, root: Path) -> Catalogue | None:
    """Read a package's index; `None` if there is none."""
    index = read_index(root)
    return Catalogue(package, root, index.endpoints) if index is not None else None


def shipped() -> Catalogue:
    """The catalogue of this distribution.

    Raises:
        CatalogError: if it is not installed.
    """
    spec = importlib.util.find_spec("fal_endpoints")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (catalogue := read_catalogue("fal_endpoints", Path(folder))) is not None:
            return catalogue
    raise CatalogError(f"the package fal_endpoints with its {INDEX_NAME} is not installed; install fal-bindings again")


# --- Searching --------------------------------------------------------------------------------------------------------


def search(rows: Iterable[Row], query: str) -> list[Row]:
    """The endpoints whose id, title or category has all words of a query, or else some, the best first."""
    words = _WORDS.findall(query.lower())
    if not words:
        return []
    scored = [(_score(row, words), row) for row in rows]
    every = [(score, row) for (found, score), row in scored if found == len(words)]
    best = every or [(score, row) for (found, score), row in scored if found]
    return [row for _, row in sorted(best, key=lambda pair: (-pair[0], len(pair[1].id), pair[1].id))]


def _score(row: Row, words: Sequence[str]) -> tuple[int, int]:
    """How many of the words an endpoint has, and how well they fit."""
    texts = ((row.id, 3), (row.title, 2), (row.category, 2))
    fields = [(_WORDS.findall(text.lower()), weight) for text, weight in texts]
    found = total = 0
    for word in words:
        best = max(weight * _fit(word, have) for have, weight in fields)
        found += best > 0
        total += best
    phrase = " ".join(words)
    total += sum(16 for have, _ in fields if phrase and f" {phrase} " in f" {' '.join(have)} ")
    return found, total


def _fit(word: str, have: Sequence[str]) -> int:
    if word in have:
        return 4
    if any(each.startswith(word) for each in have):
        return 2
    return int(len(word) > 2 and any(word in each for each in have))


def find(catalogues: Sequence[Catalogue], name: str) -> tuple[Catalogue, Row]:
    """Find an endpoint by its id, or by its module's name, with or without its packages.

    Raises:
        CatalogError: if there is none, or a short name means several.
    """
    name = name.strip("/")
    for catalogue in catalogues:
        short = name.removeprefix(f"{catalogue.package}.")
        for matches in (
            [row for row in catalogue.rows if row.id == name],
            [row for row in catalogue.rows if row.module == short],
            [row for row in catalogue.rows if row.module.rpartition(".")[2] == short],
        ):
            if len(matches) > 1:
                raise CatalogError(f"{name!r} means several: {', '.join(row.id for row in matches)}")
            if matches:
                return catalogue, matches[0]
    ids = [row.id for catalogue in catalogues for row in catalogue.rows]
    near = difflib.get_close_matches(name, ids, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "fal-bindings search finds endpoints by words"
    raise CatalogError(f"no endpoint is called {name!r}; {hint}")


# --- Reading a module -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a class."""

    name: str
    type: str
    default: str | None
    """What it is if it is not given, in Python; `None` if it must be given."""
    doc: str


@dataclass(frozen=True, slots=True)
class Module:
    """What a generated module offers."""

    doc: str
    classes: dict[str, tuple[Member, ...]]
    """In the order of a reader: the input, what it is made of, the output, what that is made of."""
    aliases: dict[str, str]
    """`Input` or `Output`, where they are no classes."""
    verbs: tuple[str, ...]
    docs: dict[str, str]
    """What the classes are, in a sentence each."""


def read_module(catalogue: Catalogue, row: Row) -> Module:
    """Read the source of an endpoint's module.

    Raises:
        CatalogError: if it cannot be read.
    """
    path = catalogue.root.joinpath(*row.module.split(".")).with_suffix(".py")
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise CatalogError(f"{path}: {error}; run fal-bindings generate") from error
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    aliases = {
        node.target.id: _type(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_alias(node) and node.value
    }
    members = {name: tuple(_members(node)) for name, node in classes.items()}
    order = dict.fromkeys(name for root in ("Input", "Output") for name in _reached(root, members, aliases))
    return Module(
        doc=ast.get_docstring(tree) or "",
        classes={name: members[name] for name in order if name in members},
        aliases={name: text for name, text in aliases.items() if name in ("Input", "Output")},
        verbs=tuple(
            node.targets[0].id
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Attribute)
        ),
        docs={name: (ast.get_docstring(node) or "").partition("\n")[0] for name, node in classes.items()},
    )


def _is_alias(node: ast.AnnAssign) -> bool:
    return isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias"


def _reached(root: str, members: dict[str, tuple[Member, ...]], aliases: dict[str, str]) -> list[str]:
    """A class and those that it is made of, nearest first."""
    found: dict[str, None] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found[name] = None
        texts = [member.type for member in members.get(name, ())] + [aliases.get(name, "")]
        named = [word for text in texts for word in re.findall(r"\w+", re.sub(r"'[^']*'|\"[^\"]*\"", "", text))]
        waiting += [word for word in named if word in members or word in aliases]
    return list(found)


def _members(node: ast.ClassDef) -> Iterable[Member]:
    for number, item in enumerate(node.body):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        below = node.body[number + 1] if number + 1 < len(node.body) else None
        text = below.value if isinstance(below, ast.Expr) else None
        doc = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
        yield Member(item.target.id, _type(item.annotation), _default(item.value), " ".join(doc.split()))


def _default(value: ast.expr | None) -> str | None:
    """What stands behind a field, without the function that marks it as a default."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
        return None if value is None else _plain(value)
    named = {keyword.arg: keyword.value for keyword in value.keywords}
    if value.func.id in ("default", "field", "Field"):
        given = value.args[0] if value.args else named.get("default", named.get("default_factory"))
        if isinstance(given, ast.Lambda):
            given = given.body
        if given is None:
            return "…" if value.func.id == "default" else None
        return _plain(given)
    return _plain(value)


def _type(node: ast.expr) -> str:
    """A type without the constraints, which its field's text tells, and enums as their values."""
    if isinstance(node, ast.Subscript):
        name = ast.unparse(node.value)
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name in ("Annotated", "ClassVar", "Required"):
            return _type(inner[0])
        if name == "Literal":
            return " | ".join(map(_plain, inner))
        return f"{name}[{', '.join(map(_type, inner))}]"
    if isinstance(node, ast.BinOp):
        return f"{_type(node.left)} | {_type(node.right)}"
    return ast.unparse(node)


def _plain(node: ast.expr) -> str:
    """A value as Python writes it, texts in double quotes as in the modules."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = repr(node.value)
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    return ast.unparse(node)
