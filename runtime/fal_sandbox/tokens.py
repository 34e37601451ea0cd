"""Short-lived tokens: for realtime connections and streams (of one application), and for uploads to the CDN.

They have the form of JSON web tokens, as the platform's have, and run out by the sandbox's clock.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

TokenState = Literal["valid", "expired", "invalid"]


class Tokens:
    """Hands out tokens and judges them.

    Args:
        secret: what they are signed with.
        now: tells the time.
    """

    def __init__(self, secret: str, now: Callable[[], float]) -> None:
        self._secret = hashlib.sha256(f"tokens {secret}".encode()).digest()
        self._now = now
        self._numbers = itertools.count(1)

    def mint(self, seconds: float, apps: Sequence[str] = (), *, use: str = "app") -> str:
        """A token that is good for so many seconds, for these applications or for another `use`."""
        claims = {"exp": self._now() + seconds, "apps": list(apps), "use": use, "jti": next(self._numbers)}
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def judge(self, token: str, app: str | None = None, *, use: str = "app") -> TokenState:
        """Whether a token is good for this application or use now."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return "invalid"
        claims = _decoded(signed.partition(".")[2])
        if claims["use"] != use or (app is not None and not any(_covers(scope, app) for scope in claims["apps"])):
            return "invalid"
        return "valid" if self._now() < claims["exp"] else "expired"

    def expires_at(self, token: str) -> float:
        """When a token of ours runs out."""
        return float(_decoded(token.split(".")[1])["exp"])

    def sign(self, text: str) -> str:
        """A signature for a URL."""
        return self._signature(text)

    def _signature(self, text: str) -> str:
        digest = hmac.digest(self._secret, text.encode("utf-8", "replace"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _covers(scope: str, app: str) -> bool:
    """Whether a token for `scope` lets one use `app`, a whole id with its path.

    The clients ask for tokens by alias, the documentation's examples by the whole id with `/realtime`.
    Source: both official clients; fal docs, real-time models.
    """
    return scope in app.split("/") if "/" not in scope else app == scope or app.startswith(f"{scope}/")


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _decoded(text: str) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
