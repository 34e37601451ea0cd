"""What a client is told: where the services are, and how long to wait."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from fal_runtime.errors import ConfigurationError
from fal_runtime.options import RULES, check, is_url

__all__ = ["BACKUPS", "SERVICES", "Timeouts", "service_urls"]

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

BACKUPS = {"https://queue.fal.run": "https://queue.falrun.com", "https://fal.run": "https://falrun.com"}
"""Where to try once more if a service cannot be reached at all. Source: fal docs, "Inference API" reference."""

BACKUP_CONNECT_TIMEOUT = 5.0
"""Seconds after which a service that has a backup counts as out of reach; the official Python client's value."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait, in seconds. `None` waits for ever, but for `connect`.

    | clock | counts | default |
    |---|---|---|
    | `connect` | one attempt to reach a server | 10 s |
    | `attempt` | one HTTP exchange, `run` and streams excepted; a download's longest silence | 60 s |
    | `start` | from the submission until the request runs | 1 h |
    | `run` | from then until it is done; the whole of a direct `run` or `stream` | 2 h |
    | `total` | the whole of a `subscribe` or `result` | 3 h |

    Raises:
        ConfigurationError: for what is no number of seconds above 0.
    """

    connect: float = 10.0
    attempt: float | None = 60.0
    start: float | None = 3600.0
    run: float | None = 7200.0
    total: float | None = 10800.0

    def __post_init__(self) -> None:
        check(msgspec.structs.asdict(self))
        if wrong := RULES["connect"](self.connect):  # to which `None` is no answer
            raise ConfigurationError(f"connect {wrong}")


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
        if not is_url(url, "https", "http", *(("wss", "ws") if name == "realtime" else ())):
            source = f"urls[{name!r}]" if given.get(name) else variable
            raise ConfigurationError(f"{source} is not an absolute URL; it looks like {standard}")
        urls[name] = url.rstrip("/")
    return urls
