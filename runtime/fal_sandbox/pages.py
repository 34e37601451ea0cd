"""How the Platform API answers: its errors, and lists page by page. Source: fal docs, Platform API."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import Response

from fal_sandbox.bodies import json_response

_MAX_IDS = 50


class BadQuery(Exception):
    """A parameter or a body that makes no sense."""


def failure(status: int, type: str, message: str) -> Response:
    """An error in the Platform API's own shape."""
    return json_response({"error": {"type": type, "message": message}}, status)


def page(items: Sequence[Any], query: QueryParams, largest: int, usual: int | None = None) -> tuple[Sequence[Any], Any]:
    """The items that a query asks for, and what the answer says of the rest.

    Args:
        items: all of them.
        query: holds `limit` and `cursor`.
        largest: the most that fit on a page.
        usual: how many are on one by default.

    Raises:
        BadQuery: for a limit or a cursor that is none.
    """
    limit = min(positive(query.get("limit", str(usual or largest)), "limit"), largest)
    start = _offset(query.get("cursor"))
    more = len(items) > start + limit
    cursor = base64.urlsafe_b64encode(str(start + limit).encode()).decode() if more else None
    return items[start : start + limit], {"next_cursor": cursor, "has_more": more}


def several(query: QueryParams, name: str) -> list[str]:
    """The values of a filter that may be repeated, or hold several with commas between.

    Raises:
        BadQuery: for more than fifty.
    """
    values = [value for given in query.getlist(name) for value in given.split(",") if value]
    if len(values) > _MAX_IDS:
        raise BadQuery(f"{name} takes at most {_MAX_IDS} values")
    return values


def positive(text: str, name: str) -> int:
    """A positive integer.

    Raises:
        BadQuery: if the text is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise BadQuery(f"{name} must be a positive integer")
    return int(text)


def _offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        text = base64.b64decode(cursor, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise BadQuery("cursor is not one that was handed out") from error
    return positive(text, "cursor")
