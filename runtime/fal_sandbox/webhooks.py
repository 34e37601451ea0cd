"""Webhooks: signed as the platform signs them, delivered again until they are taken, and to this machine only.

Source: fal docs, webhooks.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fal_sandbox.jobs import Job, JobBook
from fal_sandbox.models import Outcome
from fal_sandbox.pulse import Pulse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

USER_ID = "sandbox-user"
"""Whose webhooks these are, unless a test says otherwise."""

_ATTEMPTS = 31
_FIRST_TIMEOUT = 15.0
_TIMEOUT = 120.0
_LONGEST_DELAY = 120.0
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One webhook as it reaches a handler."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to hand over a webhook, and what came of it."""

    request_id: str
    url: str
    attempt: int
    """From 1."""
    request: WebhookRequest
    status_code: int | None
    """The handler's answer; None if there was none."""
    error: str | None = None
    """Why there was no answer, or no attempt."""


class WebhookKeys:
    """The keys that webhooks are signed with, the newest first. They are the same in every sandbox, and no secret."""

    def __init__(self) -> None:
        self._number = 0
        self._keys: list[Ed25519PrivateKey] = []

    def rotate(self, *, keep: bool = True) -> None:
        """Sign with a new key from now on; with `keep`, the old ones can still be verified."""
        self._number += 1
        if not keep:
            self._keys.clear()
        self._keys.insert(0, _key(self._number))

    def jwks(self) -> dict[str, Any]:
        """The public keys, as a JSON web key set."""
        return {"keys": [_public(key) for key in self._all()]}

    def sign(self, body: bytes, *, request_id: str, user_id: str, timestamp: int) -> dict[str, str]:
        """The headers that make a webhook of this body."""
        message = "\n".join([request_id, user_id, str(timestamp), hashlib.sha256(body).hexdigest()])
        return {
            "content-type": "application/json",
            "x-fal-webhook-request-id": request_id,
            "x-fal-webhook-user-id": user_id,
            "x-fal-webhook-timestamp": str(timestamp),
            "x-fal-webhook-signature": self._all()[0].sign(message.encode()).hex(),
        }

    def clear(self) -> None:
        """Go back to the first key."""
        self._number = 0
        self._keys.clear()

    def _all(self) -> list[Ed25519PrivateKey]:
        if not self._keys:
            self._keys.append(_key(self._number))
        return self._keys


def payload(request_id: str, outcome: Outcome) -> dict[str, Any]:
    """What a webhook tells of a request that came to this outcome."""
    told: dict[str, Any] = {"request_id": request_id, "gateway_request_id": request_id}
    told["status"] = "OK" if outcome.status < 400 else "ERROR"
    told["payload"] = outcome.body
    if outcome.status >= 400:
        told["error"] = outcome.error
    try:
        json.dumps(told, allow_nan=False)
    except (TypeError, ValueError) as error:
        told |= {"payload": None, "payload_error": f"The output is not JSON: {error}"}
    return told


class Deliverer:
    """Hands the webhooks of jobs over.

    Args:
        keys: what they are signed with.
        jobs: the jobs.
        pulse: tells the time.
        retry_seconds: how long to wait before the second attempt; twice as long before each one after it.
    """

    def __init__(self, keys: WebhookKeys, jobs: JobBook, pulse: Pulse, retry_seconds: float) -> None:
        self._keys = keys
        self._jobs = jobs
        self._pulse = pulse
        self._retry_seconds = retry_seconds
        self.deliveries: deque[Delivery] = deque(maxlen=_KEPT)
        """The last ten thousand attempts, oldest first."""

    async def follow(self, job: Job) -> None:
        """Wait for the end of a job, and then try until its webhook is taken or its result is no longer kept."""
        while self._jobs.holds(job) and self._pulse.now() < job.ends_at and not self._pulse.stopping:
            await self._pulse.change(job.ends_at)
        content = await self.content(job)
        delay = self._retry_seconds
        gives_up_at = self._jobs.kept_until(job, len(content))
        for attempt in range(1, _ATTEMPTS + 1):
            if not self._jobs.holds(job) or self._pulse.stopping or self._pulse.now() >= gives_up_at:
                return
            if await self.deliver(job, content, attempt):
                return
            await self._pulse.until(self._pulse.now() + delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    async def repeat(self, job: Job) -> None:
        """Deliver once more what may have been taken already."""
        await self.deliver(job, await self.content(job))

    async def content(self, job: Job) -> bytes:
        """The body of a job's webhook."""
        outcome = await asyncio.to_thread(self._jobs.outcome, job)
        return json.dumps(payload(job.request_id, outcome)).encode()

    async def deliver(self, job: Job, content: bytes, attempt: int = 1) -> bool:
        """Try once; whether there is no need to try again."""
        url = job.webhook_url or ""
        # By the real clock, however far the sandbox's has been moved on: that is what handlers compare it with.
        timestamp = int(time.time())
        headers = self._keys.sign(content, request_id=job.request_id, user_id=USER_ID, timestamp=timestamp)
        request = WebhookRequest(headers, content)
        if not _is_local(url):
            error = "a sandbox sends webhooks to this machine only"
            self.deliveries.append(Delivery(job.request_id, url, attempt, request, None, error))
            return True
        # Here, not above: no one should pay for it who has no webhook.
        import httpx

        status, problem = None, None
        try:
            timeout = _FIRST_TIMEOUT if attempt == 1 else _TIMEOUT
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=timeout) as client:  # noqa: S501
                status = (await client.post(url, content=content, headers=headers)).status_code
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        self.deliveries.append(Delivery(job.request_id, url, attempt, request, status, problem))
        # A redirect is an answer that no further attempt would change.
        return status is not None and 200 <= status < 400

    def clear(self) -> None:
        """Forget every attempt."""
        self.deliveries.clear()


def _is_local(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key(number: int) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"sandbox webhook key {number}".encode()).digest())


def _public(key: Ed25519PrivateKey) -> dict[str, str]:
    raw = key.public_key().public_bytes_raw()
    kid = hashlib.sha256(raw).hexdigest()[:16]
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x}
