"""The reference: HTML made from the docstrings by pdoc, where a warning or a reference that leads nowhere is a failure.

Called by `scripts/docs`, and by the tests: python scripts/reference.py FOLDER [MODULE ...]
"""

import ast
import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator

import pdoc
import pdoc.extract
import pdoc.render

PACKAGES = ("fal_runtime", "fal_sandbox", "fal_codegen")
SAMPLE = "fal_endpoints.fal_ai.flux_dev"
"""An endpoint's module, for all of them look alike."""

_HARMLESS = r"Cannot determine where fal_runtime\.\w+\.\w+Options\.\w+ is taken from"
"""A typed dictionary has no bases at run time, so pdoc cannot tell which one an option is from."""
_REFERENCE = re.compile(r"<code>([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(\))?</code>")
"""A name with dots in backticks that pdoc has made no link of."""


def modules() -> list[str]:
    """All modules of the packages, and the sample, each once: pdoc finds some of them through their packages."""
    found = set(pdoc.extract.walk_specs(PACKAGES))
    more: set[str] = set()
    for name in PACKAGES:
        package = importlib.import_module(name)
        more |= {each.name for each in pkgutil.walk_packages(package.__path__, f"{name}.")}
    more = {name for name in more if not name.endswith("__main__")}
    return [*PACKAGES, *sorted(more - found), SAMPLE]


def build(folder: pathlib.Path, specs: Iterable[str]) -> list[str]:
    """Write the pages into a folder; return what is wrong with the docstrings."""
    specs = list(specs)
    # A default that some variable of the environment happens to have as its value is no secret: it stands in the code.
    os.environ["PDOC_DISPLAY_ENV_VARS"] = "1"
    pdoc.render.configure(docformat="google", show_source=False, footer_text="fal-bindings")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", _HARMLESS)
        pdoc.pdoc(*specs, output_directory=folder)
        names = list(pdoc.extract.walk_specs(specs))
    return [*(str(each.message) for each in seen), *_broken(folder, names)]


def _broken(folder: pathlib.Path, names: list[str]) -> Iterator[str]:
    """References to our own code that lead nowhere."""
    members = _members(names)
    for page in sorted(folder.rglob("*.html")):
        for reference in dict.fromkeys(_REFERENCE.findall(page.read_text(encoding="utf-8"))):
            owner, _, name = reference.rpartition(".")
            ours = reference.partition(".")[0] in PACKAGES
            if ours or (owner in members and name not in members[owner]):
                yield f"{page.relative_to(folder)}: `{reference}` leads nowhere"


def _members(names: list[str]) -> dict[str, set[str]]:
    """What the classes of some modules have, by the classes' names."""
    found: dict[str, set[str]] = {}
    for name in names:
        module = importlib.import_module(name)
        for class_name, value in inspect.getmembers(module, inspect.isclass):
            if value.__module__ in names:
                assigned = _assigned(inspect.getsource(value)) | set(getattr(value, "__annotations__", ()))
                found.setdefault(class_name, set()).update(dir(value), assigned)
    return found


def _assigned(source: str) -> set[str]:
    """The attributes that a class's methods set on `self`."""
    nodes = ast.walk(ast.parse(textwrap.dedent(source)))
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


if __name__ == "__main__":
    problems = build(pathlib.Path(sys.argv[1]), sys.argv[2:] or modules())
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))
