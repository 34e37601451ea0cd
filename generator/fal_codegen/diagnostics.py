"""What the generator has to say about a document: errors and repairs, as values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Diagnostic"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong with one document, what was done about it, and what a person can do."""

    code: str
    """Names the kind of finding, `dangling-ref`. Stable, so that a report can be filtered by it."""
    endpoint_id: str
    """The endpoint whose document it is."""
    pointer: str
    """The JSON pointer of the place inside the document; empty for the whole document."""
    message: str
    """What is wrong, and what the generator did."""
    remedy: str
    """What to do about it."""
    fatal: bool = False
    """Whether the endpoint has no module because of it."""

    def __str__(self) -> str:
        place = f"{self.endpoint_id}{'#' if self.pointer else ''}{self.pointer}"
        return f"{place}: {self.message} [{self.code}]; {self.remedy}"
