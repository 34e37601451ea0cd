"""What a client is told: where the services are, with which key, how long to wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from fal_runtime.errors import ConfigurationError, MissingCredentialsError

__all__ = ["SERVICES", "Credentials", "Timeouts", "authorization", "service_urls"]

SERVICES: dict[str, tuple[str, str]] = {
    "queue": ("FAL_QUEUE_URL", "https://queue.fal.run"),
    "run": ("FAL_RUN_URL", "https://fal.run"),
    "realtime": ("FAL_REALTIME_URL", "wss://fal.run"),
    "rest": ("FAL_REST_URL", "https://rest.fal.ai"),
    "cdn": ("FAL_CDN_URL", "https://v3.fal.media"),
    "api": ("FAL_API_URL", "https://api.fal.ai/v1"),
    "schema": ("FAL_SCHEMA_URL", "https://fal.ai/api/openapi/queue/openapi.json"),
    "jwks": ("FAL_JWKS_URL", "https://rest.fal.ai/.well-known/jwks.json"),
}
"""The platform's services: the environment variable that moves one, and where it is by default."""

Credentials: TypeAlias = "str | Callable[[], str]"
"""A key, or a function that is asked for one before each request."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait, in seconds. `None` waits for ever.

    | clock | counts | default |
    |---|---|---|
    | `connect` | one attempt to reach a server | 10 s |
    | `attempt` | one HTTP exchange, `run` excepted | 60 s |
    | `start` | from the submission until the request runs | 1 h |
    | `run` | from then until it is done; the whole of a direct `run` | 2 h |
    | `total` | the whole of a `subscribe` or `result` | 3 h |
    """

    connect: float = 10.0
    attempt: float | None = 60.0
    start: float | None = 3600.0
    run: float | None = 7200.0
    total: float | None = 10800.0


def service_urls(given: Mapping[str, str] | None) -> dict[str, str]:
    """Settle each service's base URL: what was given, or else the environment, or else the platform's own.

    Raises:
        ConfigurationError: for a service that does not exist or a URL that is not absolute.
    """
    given = given or {}
    for name in given:
        if name not in SERVICES:
            raise ConfigurationError(f"there is no service {name!r}; urls takes {', '.join(SERVICES)}")
    urls: dict[str, str] = {}
    for name, (variable, standard) in SERVICES.items():
        url = given.get(name) or os.environ.get(variable) or standard
        if not url.startswith(("https://", "http://", "wss://", "ws://")):
            source = f"urls[{name!r}]" if given.get(name) else variable
            raise ConfigurationError(f"{source} is not an absolute URL; it looks like {standard}")
        urls[name] = url.rstrip("/")
    return urls


def authorization(key: Credentials | None) -> str:
    """Find the key and write it as an `Authorization` header.

    Looked for in this order: `key`, `FAL_KEY`, `FAL_KEY_ID` with `FAL_KEY_SECRET`. Source: fal docs, "Authentication".

    Raises:
        MissingCredentialsError: if there is none.
        ConfigurationError: if it cannot be sent as a header.
    """
    found = key() if callable(key) else key
    found = found or os.environ.get("FAL_KEY")
    if not found:
        parts = os.environ.get("FAL_KEY_ID"), os.environ.get("FAL_KEY_SECRET")
        found = ":".join(part for part in parts if part) if all(parts) else None
    if not found or not found.strip():
        raise MissingCredentialsError(
            "no key was found; set FAL_KEY or pass fal_runtime.Client(key=...). "
            "To try without an account, run `fal-bindings sandbox` and export what it prints"
        )
    found = found.strip()
    if not found.isascii() or not found.isprintable():
        raise ConfigurationError("the key has characters that no header can carry; copy it again from the dashboard")
    return f"Key {found}"
