"""Where the key comes from.

Looked for in this order: what the client was given, `FAL_KEY`, `FAL_KEY_ID` with `FAL_KEY_SECRET`, a Colab secret named
`FAL_KEY`, the login that `fal auth login` saved. `FAL_FORCE_AUTH_BY_USER=1` takes the saved login alone.
Source: fal docs, "Authentication"; the files and addresses are those that the official Python client uses.
"""

from __future__ import annotations

import base64
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from fal_runtime.errors import ConfigurationError, MissingCredentialsError
from fal_runtime.values import mapping

__all__ = ["Credentials", "authorization", "required"]

Credentials: TypeAlias = str | Callable[[], str]
"""A key, or a function that is asked for one before each request."""

_LOGIN_URL = "https://auth.fal.ai/oauth/token"
_CLIENT_ID = "TwXR51Vz8JbY8GUUMy6EyuVR0fTO7N4N"
_LEEWAY = 300.0
"""Seconds before its end at which a saved login is renewed."""


def authorization(key: Credentials | None) -> str | None:
    """Find the key and write it as an `Authorization` header; `None` if there is none.

    Raises:
        ConfigurationError: if it cannot be sent as a header.
        MissingCredentialsError: if a saved login has expired and cannot be renewed.
    """
    found = key() if callable(key) else key
    if not found:
        if os.environ.get("FAL_FORCE_AUTH_BY_USER") != "1":
            found = os.environ.get("FAL_KEY") or _pair() or _colab()
        if not found:
            return _login()
    return _header(found)


def required(key: Credentials | None) -> str:
    """The same, for what cannot do without.

    Raises:
        MissingCredentialsError: if there is no key.
    """
    header = authorization(key)
    if header is None:
        raise MissingCredentialsError(
            "no key was found; set FAL_KEY, pass fal_runtime.Client(key=...), or run `fal auth login`. "
            "To try without an account, run `fal-bindings sandbox` and export what it prints"
        )
    return header


def _pair() -> str | None:
    key_id, secret = os.environ.get("FAL_KEY_ID"), os.environ.get("FAL_KEY_SECRET")
    return f"{key_id}:{secret}" if key_id and secret else None


@functools.lru_cache(maxsize=8)
def _header(key: object) -> str | None:
    if not isinstance(key, str):
        raise ConfigurationError(f"the key is a text, not a value of type {type(key).__name__}")
    key = key.strip()
    if not key:
        return None
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("the key has characters that no header can carry; copy it again from the dashboard")
    return f"Key {key}"


@functools.lru_cache(maxsize=1)
def _colab() -> str | None:
    """The notebook's secret; asked for once, for Colab shows the user a question."""
    if "google.colab" not in sys.modules:
        return None
    try:
        from google.colab import userdata  # type: ignore[import-not-found]  # pyright: ignore

        return str(userdata.get("FAL_KEY")).strip() or None  # pyright: ignore
    except Exception:  # Colab raises errors of its own for a secret that is missing or not granted
        return None


def _login() -> str | None:
    """The saved login: a file with the refresh token and, below it, the access token."""
    home = Path(os.environ.get("FAL_HOME_DIR") or "~/.fal").expanduser()
    file = home / "auth0_token"
    try:
        refresh, access = ([line.strip() for line in file.read_text().splitlines() if line.strip()] + ["", ""])[:2]
    except (OSError, UnicodeDecodeError):
        return None
    if not refresh:
        return None
    if _expires(access) < time.time() + _LEEWAY:
        refresh, access = _renew(refresh)
        part = file.with_name(f"{file.name}.{os.getpid()}")
        part.write_text(f"{refresh}\n{access}")
        part.chmod(0o600)
        part.replace(file)
    return f"Bearer {access}"


def _expires(token: str) -> float:
    """When a JWT ends, in seconds since the epoch; 0 if it cannot be read."""
    try:
        payload = token.split(".")[1]
        claims: Any = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(mapping(claims)["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0


def _renew(refresh: str) -> tuple[str, str]:
    import httpx

    form = {"grant_type": "refresh_token", "client_id": _CLIENT_ID, "refresh_token": refresh}
    try:
        answer = httpx.post(os.environ.get("FAL_AUTH_URL") or _LOGIN_URL, data=form, timeout=30.0)
        tokens = mapping(answer.json()) if answer.status_code == 200 else {}
    except (httpx.HTTPError, ValueError) as error:
        text = f"the login saved by `fal auth login` could not be renewed ({type(error).__name__}); try again"
        raise MissingCredentialsError(text) from error
    if not isinstance(tokens.get("access_token"), str):
        raise MissingCredentialsError("the login saved by `fal auth login` has ended; run `fal auth login` again")
    return str(tokens.get("refresh_token") or refresh), str(tokens["access_token"])
