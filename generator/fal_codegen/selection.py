"""Which endpoints are meant: globs over ids, and what is left out of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fal_codegen.catalog import CatalogError

__all__ = ["Selection"]

_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice of endpoints."""

    endpoints: tuple[str, ...] = ()
    """Globs, `*` crossing slashes: `fal-ai/flux/*`. None at all means every endpoint."""
    exclude: tuple[str, ...] = ()
    """Globs of what is left out again."""
    apps: tuple[str, ...] = ()
    """Apps whose endpoints are meant as well, whatever the globs say."""

    def __contains__(self, endpoint_id: str) -> bool:
        if any(fnmatchcase(endpoint_id, pattern) for pattern in self.exclude):
            return False
        if any(endpoint_id == app or endpoint_id.startswith(f"{app}/") for app in self.apps):
            return True
        return not self.endpoints or any(fnmatchcase(endpoint_id, pattern) for pattern in self.endpoints)

    @property
    def ids(self) -> tuple[str, ...] | None:
        """The endpoints' ids if they are all spelled out; `None` if there is a glob or no choice at all."""
        if not self.endpoints or any(map(is_glob, self.endpoints)):
            return None
        return tuple(sorted(id_ for id_ in set(self.endpoints) if id_ in self))

    def of(self, ids: Iterable[str]) -> list[str]:
        """Those that are meant, in order.

        Raises:
            CatalogError: for a pattern that matches nothing.
        """
        known = sorted(set(ids))
        for pattern in self.endpoints:
            if not any(fnmatchcase(id_, pattern) for id_ in known):
                near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
                hint = f"; did you mean {', '.join(near)}?" if near else "; a glob looks like 'fal-ai/flux/*'"
                raise CatalogError(f"no endpoint matches {pattern!r}{hint}")
        return [id_ for id_ in known if id_ in self]


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match more than the id that it spells."""
    return not _GLOB.isdisjoint(pattern)
