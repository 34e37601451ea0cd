"""Webhooks: tell the platform's deliveries from forged ones, and read them. Source: fal docs, "Webhooks" page.

A delivery is a POST with four `X-Fal-Webhook-*` headers. Its signature is ED25519 over four lines (`signed_message`),
by a key of the platform's key set, which a client fetches and keeps. What checks it is `cryptography`, from the extra
`webhooks`.

The platform repeats a delivery until it is answered with 2xx, each time with a new timestamp and signature, so the same
result can arrive more than once: treat it by its `request_id`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypedDict, TypeVar, Unpack

import msgspec

from fal_runtime.client import Channel, Client, blocking, running, successful
from fal_runtime.errors import FalError, FieldError, OutputError, WebhookSignatureError, error_from_response
from fal_runtime.options import check
from fal_runtime.result import build_output
from fal_runtime.retry import Deadline
from fal_runtime.transport import Response, drive
from fal_runtime.values import json_or_none, mapping, sequence

__all__ = [
    "Headers",
    "KeySet",
    "RecentSignatures",
    "ReplayGuard",
    "WebhookEvent",
    "WebhookOptions",
    "receive",
    "signed_message",
    "verify",
    "verify_async",
]

O_co = TypeVar("O_co", covariant=True)

logger = logging.getLogger("fal_runtime")

Headers: TypeAlias = Mapping[Any, Any] | Iterable[tuple[Any, Any]]
"""A request's headers as any framework has them: a mapping or pairs, of strings or bytes, in any case."""

KeySet: TypeAlias = Mapping[str, Any]
"""A JWKS document: `{"keys": [{"x": "<public key, base64url>", ...}, ...]}`."""

TOLERANCE = 300.0
"""Seconds by which a delivery's timestamp may differ from this machine's clock."""


class WebhookEvent(msgspec.Struct, Generic[O_co], frozen=True, kw_only=True):
    """What the platform says about a request that has ended."""

    request_id: str
    """The queue's id of the request. The same one can be delivered more than once."""
    gateway_request_id: str | None = None
    """The id of the last attempt to run it."""
    status: Literal["OK", "ERROR"]
    output: O_co | None = None
    """The request's output; `None` if it failed, or could not be delivered (`payload_error`)."""
    error: FalError | None = None
    """What went wrong, ready to be raised; `None` if nothing did."""
    payload_error: str | None = None
    """Why the output could not be put into the delivery. It is still there: `endpoint.handle(request_id).result()`."""
    warnings: tuple[FieldError, ...] = ()
    """Where the output departs from the schema."""
    raw: bytes
    """The body as it came."""


class ReplayGuard(Protocol):
    """Remembers deliveries, so that one that was overheard cannot be sent again while its timestamp is still valid.

    For many processes, let them share it; with Redis: `redis.set("fal:" + signature, 1, nx=True, ex=ceil(seconds))`.
    """

    def first(self, signature: str, seconds: float) -> bool | Awaitable[bool]:
        """Whether a signature is new; if so, remember it for some seconds. An async one is for `_async` calls."""
        ...


class RecentSignatures:
    """A `ReplayGuard` in this process's memory. It holds what arrived within the tolerated time, and no more."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        self._lock = threading.Lock()

    def first(self, signature: str, seconds: float) -> bool:
        now = time.monotonic()
        with self._lock:
            self._ends = {known: end for known, end in self._ends.items() if end > now}
            if signature in self._ends:
                return False
            self._ends[signature] = now + seconds
            return True


class WebhookOptions(TypedDict, total=False):
    """The options of `verify` and of an endpoint's `parse_webhook`."""

    client: Client
    """What fetches the platform's keys and keeps them. Default: the one of `configure`. No API key is needed."""
    jwks: KeySet
    """The platform's keys, in place of those that the client fetches."""
    tolerance: float
    """Seconds by which the delivery's timestamp may differ from this machine's clock. Default: 300."""
    replay_guard: ReplayGuard
    """Remembers deliveries and refuses a copy of one. Default: none."""


def verify(headers: Headers, body: bytes, **options: Unpack[WebhookOptions]) -> WebhookEvent[Any]:
    """Check that a delivery comes from the platform, and read it; its output is plain JSON.

    Args:
        headers: The request's headers, as any framework has them.
        body: The request's body, byte by byte as it came.
        options: See `WebhookOptions`.

    Raises:
        WebhookSignatureError: if it is not to be trusted; answer 401.
        NoConnectionError, TimeoutExpired, ServiceError: if the platform's keys cannot be had; answer 503.
        OutputError: if it was signed but makes no sense.
        TypeError: if the body is not the raw one.
        ModuleNotFoundError: if `cryptography` is not installed.
    """
    return drive(receive(blocking(options.get("client")), headers, body, options))


async def verify_async(headers: Headers, body: bytes, **options: Unpack[WebhookOptions]) -> WebhookEvent[Any]:
    """Check that a delivery comes from the platform, and read it, as `verify` does."""
    return await receive(running(options.get("client")), headers, body, options)


def signed_message(request_id: str, user_id: str, timestamp: str, body: bytes) -> bytes:
    """What a delivery's signature is made over: three headers as they came, and the SHA-256 of the body."""
    return "\n".join((request_id, user_id, timestamp, hashlib.sha256(body).hexdigest())).encode()


async def receive(
    channel: Channel,
    headers: Headers,
    body: object,
    options: WebhookOptions,
    *,
    endpoint_id: str | None = None,
    output: Any = Any,
) -> WebhookEvent[Any]:
    """Check and read a delivery. Raises what `verify` does."""
    check(options, WebhookOptions, endpoint_id=endpoint_id)
    if not isinstance(body, bytes | bytearray):
        text = f"body is the request's raw bytes, such as `await request.body()`, not {type(body).__name__}"
        raise TypeError(f"{text}: JSON that was read and written again has another signature")
    raw = bytes(body)
    await _check(channel, headers, raw, options)
    return _read(channel, raw, endpoint_id, output)


async def _check(channel: Channel, headers: Headers, body: bytes, options: WebhookOptions) -> None:
    found = _of_webhook(headers)
    names = ("request-id", "user-id", "timestamp", "signature")
    request_id, user_id, timestamp, signature = (_required(found, name) for name in names)
    tolerance = options.get("tolerance", TOLERANCE)

    def refused(reason: str, message: str) -> WebhookSignatureError:
        return WebhookSignatureError(message, reason=reason, request_id=request_id)

    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise refused("malformed", "the timestamp is not a number of seconds")
    off = time.time() - int(timestamp)
    if abs(off) > tolerance:
        when = "ago" if off > 0 else "from now"
        raise refused("stale", f"it was signed {abs(off):.0f} s {when}, and {tolerance:g} s are tolerated")
    try:
        signed = binascii.unhexlify(signature)
    except (binascii.Error, ValueError):
        signed = b""
    if len(signed) != 64:
        raise refused("malformed", "the signature is not 64 bytes in hexadecimal")

    message = signed_message(request_id, user_id, timestamp, body)
    jwks = options.get("jwks")
    if jwks is not None:
        trusted = _signed_by(_public_keys(jwks), signed, message)
    else:
        keys, asked = _PlatformKeys.of(channel.client), time.monotonic()
        trusted = _signed_by(await keys.current(channel), signed, message)
        trusted = trusted or _signed_by(await keys.rotated(channel, asked), signed, message)
    if not trusted:
        raise refused("signature", "no key of the platform made the signature; is the body the raw one?")
    guard = options.get("replay_guard")
    if guard is not None and not await channel.io.invoke(guard.first, signed.hex(), 2 * tolerance):
        raise refused("replay", "this very delivery has been received before")


def _of_webhook(headers: Headers) -> dict[str, str]:
    """The four headers by the rest of their names; those of a WSGI environment are found too."""
    given: Any = headers
    try:
        pairs = [(name, value) for name, value in (given.items() if hasattr(given, "items") else given)]
    except (TypeError, ValueError) as error:
        raise TypeError("headers is a mapping, or a list of pairs of a name and a value") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        plain = _text(name).lower().replace("_", "-").removeprefix("http-")
        if plain.startswith("x-fal-webhook-"):
            found[plain.removeprefix("x-fal-webhook-")] = _text(value).strip()
    return found


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):  # some frameworks keep a list of values for each name
        value = value[0] if value else ""  # pyright: ignore[reportUnknownVariableType]
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)  # pyright: ignore


def _required(found: Mapping[str, str], name: str) -> str:
    if not found.get(name):
        header = "-".join(part.capitalize() for part in f"x-fal-webhook-{name}".split("-"))
        raise WebhookSignatureError(f"the header {header} is missing", reason="missing", request_id=None)
    return found[name]


def _public_keys(jwks: object) -> tuple[Any, ...]:
    """The ED25519 keys of a key set; keys of other kinds are passed over."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError as error:
        text = "webhooks need cryptography; run: pip install 'fal-bindings[webhooks]'"
        raise ModuleNotFoundError(text, name=error.name) from error

    keys: list[Ed25519PublicKey] = []
    for entry in sequence(mapping(jwks).get("keys")):
        x = mapping(entry).get("x")
        if not isinstance(x, str) or mapping(entry).get("crv", "Ed25519") != "Ed25519":
            continue
        try:
            keys.append(Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4))))
        except ValueError:
            continue
    return tuple(keys)


def _signed_by(keys: Sequence[Any], signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    for key in keys:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False


class _PlatformKeys:
    """The platform's public keys, as one client keeps them.

    They may be kept for 24 hours. They are fetched anew after 12, so that there is time if the platform cannot be
    reached then; and at once if a signature fits none of them, but not for every forged one.
    """

    FRESH = 12 * 3600.0
    KEPT = 24 * 3600.0
    FETCHES = 10
    """How many fetches a minute at most, once there are keys."""

    def __init__(self) -> None:
        self._keys: tuple[Any, ...] = ()
        self._fetched = 0.0
        self._tries: deque[float] = deque(maxlen=self.FETCHES)

    @classmethod
    def of(cls, client: Client) -> _PlatformKeys:
        keys: _PlatformKeys = client.cache.setdefault("webhook keys", cls())
        return keys

    async def current(self, channel: Channel) -> tuple[Any, ...]:
        """The keys; those of earlier if there are some and new ones cannot be had."""
        age = time.monotonic() - self._fetched
        if not self._keys or age > self.KEPT:
            await self._fetch(channel)
        elif age > self.FRESH:
            await self.rotated(channel, time.monotonic())
        return self._keys

    async def rotated(self, channel: Channel, asked: float) -> tuple[Any, ...]:
        """The keys as they were after a moment, if they can be had and have not been asked for too often."""
        allowed = len(self._tries) < self.FETCHES or time.monotonic() - self._tries[0] > 60.0
        if self._fetched < asked and allowed:
            try:
                await self._fetch(channel)
            except FalError as error:
                logger.warning("the platform's keys for webhooks could not be renewed: %s", error.message)
        return self._keys

    async def _fetch(self, channel: Channel) -> None:
        self._tries.append(time.monotonic())
        # The platform waits 15 seconds for an answer to its first delivery.
        url, deadline = channel.client.urls["jwks"], Deadline(10.0)
        response = successful(await channel.call("read", "GET", url, key=False, deadline=deadline))
        keys = _public_keys(json_or_none(response.body))
        if not keys:
            raise OutputError("the platform's key set for webhooks holds no ED25519 key", body=response.body)
        self._keys, self._fetched = keys, time.monotonic()


def _read(channel: Channel, body: bytes, endpoint_id: str | None, output: Any) -> WebhookEvent[Any]:
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise OutputError("the webhook's body is not a JSON object", endpoint_id=endpoint_id, body=body) from cause

    def text(name: str) -> str | None:
        value = json_or_none(bytes(fields.get(name, b"")))
        return value if isinstance(value, str) and value else None

    request_id = text("request_id") or text("gateway_request_id")
    if request_id is None:
        raise OutputError("the webhook's body names no request_id", endpoint_id=endpoint_id, body=body)
    payload = bytes(fields["payload"]) if "payload" in fields else b"null"
    trouble, payload_error = text("error"), text("payload_error")
    status = text("status")
    failed = status == "ERROR" or (status != "OK" and trouble is not None)
    data: Any = None
    warnings: tuple[FieldError, ...] = ()
    error: FalError | None = None
    if failed:
        error = _error(trouble, payload, endpoint_id, request_id)
    elif payload_error is None:
        response, strict = Response(status=200, headers={}, body=payload), channel.client.strict
        data, warnings = build_output(
            output, response, endpoint_id=endpoint_id or "", request_id=request_id, strict=strict
        )
    return WebhookEvent(
        request_id=request_id,
        gateway_request_id=text("gateway_request_id"),
        status="ERROR" if failed else "OK",
        output=data,
        error=error,
        payload_error=payload_error,
        warnings=warnings,
        raw=body,
    )


def _error(trouble: str | None, payload: bytes, endpoint_id: str | None, request_id: str) -> FalError:
    """The error that a failed request's delivery stands for; its status is part of a sentence."""
    status = re.search(r"\b([45][0-9]{2})\b", trouble or "")
    fields = mapping(json_or_none(payload))
    explained = any(fields.get(name) for name in ("detail", "error", "error_type"))
    body = payload if explained else msgspec.json.encode({"detail": trouble or "the request ended with an error"})
    about = {"endpoint_id": endpoint_id, "request_id": request_id}
    error = error_from_response(int(status[1]) if status else 500, {}, body, **about)
    error.body = payload
    if not status:
        error.status_code = None
    return error
