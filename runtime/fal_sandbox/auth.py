"""Keys: who may call what."""

from __future__ import annotations

import hmac
from typing import Literal

from starlette.requests import Request


def credentials(request: Request, key: str) -> Literal["valid", "invalid", "absent"]:
    """Judge the `Authorization: Key ...` header. Source: fal docs, key-based authentication."""
    header = request.headers.get("authorization")
    if header is None:
        return "absent"
    scheme, _, given = header.partition(" ")
    # Compared as bytes: a header may hold any Latin-1 sign, and text would have to be ASCII.
    matches = hmac.compare_digest(given.strip().encode(), key.encode())
    return "valid" if scheme.lower() == "key" and matches else "invalid"
