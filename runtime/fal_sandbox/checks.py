"""What a test may tell the sandbox to answer: only what HTTP can carry, since a mistake shows best where it is made."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_BODILESS = frozenset({204, 304})


def check_status(name: str, status: int, *, body: bool = True) -> None:
    """Check a status.

    Args:
        name: what the status is called where it was given.
        status: the number.
        body: whether a body goes with it.

    Raises:
        ValueError: if no answer can have it.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"{name} is {status}; a status is from 200 to 599")
    if body and status in _BODILESS:
        raise ValueError(f"{name} is {status}, and no body goes with that")


def check_headers(headers: Mapping[str, str]) -> None:
    """Check headers.

    Raises:
        ValueError: for a name or a value that no header can have.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name} cannot be {value!r}: line breaks and what is not Latin-1 do not fit")
