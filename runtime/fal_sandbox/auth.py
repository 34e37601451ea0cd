"""Keys and tokens: who may call what."""

from __future__ import annotations

import hmac
from typing import Literal

from starlette.requests import HTTPConnection

from fal_sandbox.state import State

Judgement = Literal["valid", "invalid", "absent"]


def credentials(request: HTTPConnection, key: str) -> Judgement:
    """Judge the `Authorization: Key ...` header. Source: fal docs, key-based authentication."""
    header = request.headers.get("authorization")
    if header is None:
        return "absent"
    scheme, _, given = header.partition(" ")
    # Compared as bytes: a header may hold any Latin-1 sign, and text would have to be ASCII.
    matches = hmac.compare_digest(given.strip().encode(), key.encode())
    return "valid" if scheme.lower() == "key" and matches else "invalid"


def admits(state: State, request: HTTPConnection, app: str) -> bool:
    """Whether the key, or a token in the query, lets one call this application.

    Source: fal docs, real-time models; the official JS client's `connectionMode: "client"` for streams.
    """
    token = request.query_params.get("fal_jwt_token")
    if token is not None:
        return state.tokens.judge(token, app) == "valid"
    return credentials(request, state.key) == "valid"


def bears_cdn_token(state: State, request: HTTPConnection) -> bool:
    """Whether the request has a token of the CDN's own. Source: the official Python client."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and state.tokens.judge(token.strip(), use="cdn") == "valid"
