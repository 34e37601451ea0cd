"""What the endpoint modules of this installation are called, and what is in them, read without importing any of them."""

from __future__ import annotations

import ast
import json
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "fal_endpoints"
"""The package of the endpoint modules, as the distribution ships it."""


class Bindings:
    """The endpoint modules of this installation; none if their package is not installed."""

    def __init__(self, package: str = PACKAGE) -> None:
        spec = find_spec(package)
        self._folders = [Path(folder) for folder in (spec.submodule_search_locations or () if spec else ())]

    @cached_property
    def modules(self) -> dict[str, str]:
        """By endpoint id: the module's name inside the package, `fal_ai.flux_dev`."""
        for folder in self._folders:
            try:
                index: dict[str, Any] = json.loads((folder / "index.json").read_bytes())
            except (OSError, ValueError):
                continue
            return {entry["id"]: entry["module"] for entry in index["endpoints"] if entry.get("module")}
        return {}

    def describe(self, endpoint_id: str) -> dict[str, Any] | None:
        """What a page needs to know of an endpoint's module; None if there is none.

        `docs` holds the meaning of each field by class and attribute, and `files` the outputs that can be saved, as
        expressions: `images[0]`, `video`.
        """
        name = self.modules.get(endpoint_id)
        for folder in self._folders if name is not None else ():
            path = folder.joinpath(*str(name).split(".")).with_suffix(".py")
            try:
                tree = ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError):
                continue
            classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
            docs = {name: _docs(node) for name, node in classes.items()}
            return {"package": PACKAGE, "name": name, "docs": docs, "files": list(_files(classes))}
        return None


def _docs(node: ast.ClassDef) -> dict[str, str]:
    """What the class says of each of its attributes."""
    docs: dict[str, str] = {}
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            said = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
            docs[statement.target.id] = said
    return docs


def _files(classes: dict[str, ast.ClassDef]) -> list[str]:
    """The attributes of the output that are files or lists of them, without those that may be absent."""
    media = {name for name, node in classes.items() if "MediaFile" in [ast.unparse(base) for base in node.bases]}
    found: list[str] = []
    for statement in classes["Output"].body if "Output" in classes else ():
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = ast.unparse(statement.annotation)
            if annotation in media:
                found.append(statement.target.id)
            elif annotation.removeprefix("list[").removesuffix("]") in media:
                found.append(f"{statement.target.id}[0]")
    return found
