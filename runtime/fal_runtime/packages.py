"""Lazy packages: `fal_endpoints.fal_ai.flux_dev` works after `import fal_endpoints.fal_ai`, and loads nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

__all__ = ["LazyModule", "lazy_names", "lazy_package"]


def lazy_package(name: str, path: Iterable[str]) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package whose modules are imported when they are first named.

    Args:
        name: The package's `__name__`.
        path: The package's `__path__`.
    """
    folders = list(path)

    # A program that names its modules right needs neither of the two that are imported in here.
    def modules() -> list[str]:
        import pkgutil

        return sorted(info.name for info in pkgutil.iter_modules(folders))

    def getattr_(attribute: str) -> ModuleType:
        if not attribute.startswith("_"):
            try:
                return importlib.import_module(f"{name}.{attribute}")
            except ModuleNotFoundError as error:
                if error.name != f"{name}.{attribute}":
                    raise
        import difflib

        near = difflib.get_close_matches(attribute, modules(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"package {name!r} has no module {attribute!r}{hint}", name=attribute)

    return getattr_, modules


def lazy_names(name: str, sources: Mapping[str, Iterable[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package whose names are imported when they are first used.

    Args:
        name: The package's `__name__`.
        sources: For each of its modules, the names that come from it; its own name stands for itself.
    """
    modules = {each: module for module, names in sources.items() for each in names}

    def getattr_(attribute: str) -> Any:
        if attribute not in modules:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}", name=attribute)
        module = importlib.import_module(f"{name}.{modules[attribute]}")
        value = module if attribute == modules[attribute] else getattr(module, attribute)
        setattr(sys.modules[name], attribute, value)
        return value

    return getattr_, lambda: sorted({*vars(sys.modules[name]), *modules})


class LazyModule:
    """Stands for a module that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(sys.modules.get(self._name) or importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # the next call finds it without coming here
        return value
