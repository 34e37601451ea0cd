"""Lazy packages: `fal_endpoints.fal_ai.flux_dev` works after `import fal_endpoints.fal_ai`, and loads nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from types import ModuleType

__all__ = ["lazy_package"]


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
