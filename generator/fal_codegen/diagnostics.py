"""What the generator has to say: about one document as a value, errors and repairs; about a whole catalogue as an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["CODES", "CatalogError", "Diagnostic"]

CODES: Final[Mapping[str, str]] = {
    # Documents of which no module can be made
    "bad-document": "the document is not an object",
    "bad-entry": "an entry of the catalogue cannot be read or kept",
    "bad-file": "a file of a folder is no page, entry or document",
    "bad-id": "the endpoint's id is none",
    "bad-module": "something in the document gives no module; a fault of the generator",
    "bad-types": "something in the document gives no types; a fault of the generator",
    "input-not-object": "the input has no fields",
    "no-paths": "the document has no paths",
    "no-post": "no operation of the document is the endpoint's",
    "no-schema": "the platform gave no schema",
    "not-callable": "a path of an app cannot be called like an endpoint",
    "not-pulled": "the schema did not come",
    "too-large": "the document unfolds into too many schemas",
    # Repairs that loosen a type
    "bad-enum": "a value of an enum cannot be listed in a type",
    "bad-schema": "a schema is none",
    "dangling-ref": "a reference leads nowhere",
    "empty-output": "the output has no schema",
    "endless-ref": "a component is made of itself alone",
    "missing-input": "the input has no schema",
    "too-deep": "a schema is nested too deeply",
    "undecodable-union": "nothing tells the branches of a union apart",
    "unusable-name": "a field cannot be named so",
    # Repairs that lose or change a detail
    "dropped-constraint": "a bound or pattern cannot be checked here",
    "dropped-default": "a default is against its own schema",
    "ignored-keyword": "a keyword has no counterpart in Python's types",
    "impossible-bounds": "no value is within the bounds",
    "merged-union": "branches of a union are alike",
    "required-default": "a required field has a default",
    "types-warning": "datamodel-code-generator has something to say",
    # What is no fault of a document
    "many-missing": "much is missing from a listing at once",
    "module-renamed": "two endpoints come to one name",
    "overridden": "an override corrected the document",
    "override-not-needed": "an override changes nothing any more",
    "override-outdated": "an override does not fit the document any more",
    "override-unused": "an override is for no endpoint",
}
"""What each code means. A code never changes its meaning, so that reports can be filtered by it."""


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


class CatalogError(Exception):
    """A catalogue cannot be read. The message names the source and the remedy."""
