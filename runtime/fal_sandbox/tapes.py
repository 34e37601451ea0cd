"""Recording and replaying: what stands in the services' place while a cassette is made or used.

Both work for every client that can be pointed at the sandbox, since both are seen only as its services are.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mimetypes
import ssl
from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fal_sandbox.addresses import ELSEWHERE, Addresses, without_signature
from fal_sandbox.blobs import Blob
from fal_sandbox.bodies import json_response
from fal_sandbox.cassettes import Cassette, Exchange, answered_text, differences, sent_body
from fal_sandbox.files import KINDS, FileSpec, FileStore

if TYPE_CHECKING:
    import httpx

MISMATCH = "cassette_mismatch"
"""The `error_type` of the answer to a request that a cassette does not know."""

_KEPT_HEADERS = frozenset(
    {
        "content-type", "content-disposition", "etag", "location", "retry-after", "x-fal-billable-units",
        "x-fal-error-type", "x-fal-needs-retry", "x-fal-request-id", "x-fal-request-timeout-type", "x-fal-retryable",
        "x-fal-runner-hints", "x-fal-served-from",
    }
)  # fmt: skip
"""Of a recorded answer. What else there is concerns one connection, or is nobody's business."""
_HOP = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})
_NOT_SENT = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})
_SIDE = 512
_SECONDS = 1.0


class Recorder:
    """Passes every request on to the live platform, and writes down what it answers.

    Args:
        cassette: where it is written.
        addresses: translates between here and there.
        here_key: the key that clients of the sandbox use.
        authorization: the header that the platform is sent in its place.
    """

    def __init__(self, cassette: Cassette, addresses: Addresses, here_key: str, authorization: str) -> None:
        self._cassette = cassette
        self._addresses = addresses
        self._keys = {f"Key {here_key}": authorization, f"Bearer {here_key}": authorization}
        self.problems: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            return await _refuse_socket(self.problems, "recorded", receive, send)
        request = Request(scope, receive)
        blob: Blob = scope["state"]["blob"]
        content, written = await _request_body(request, blob, self._addresses)
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_SENT}
        if (given := headers.get("authorization")) in self._keys:
            headers["authorization"] = self._keys[given]
            if scope["path"].startswith(ELSEWHERE):
                # The platform's key is for the platform alone.
                del headers["authorization"]
        # What is compressed could neither be translated nor read in the cassette.
        headers["accept-encoding"] = "identity"
        url = self._addresses.url + _path(scope)
        exchange = Exchange(request.method, without_signature(self._addresses.from_here(url, "written")), written)
        import httpx

        body = content if content is not None else _chunks(blob)
        if content is None:
            headers["content-length"] = str(blob.size)
        target = self._addresses.from_here(url, "live")
        try:
            # One for each request: it must live on the loop that serves, and nobody would close a common one there.
            # How long to wait is the recorded program's own decision.
            async with (
                httpx.AsyncClient(verify=self._trust, timeout=httpx.Timeout(None)) as client,
                client.stream(request.method, target, headers=headers, content=body) as answer,
            ):
                await self._pass_on(answer, exchange, scope, receive, send)
        except httpx.TransportError as error:
            self._cassette.exchanges = [each for each in self._cassette.exchanges if each is not exchange]
            self.problems.append(f"{request.method} {target.partition('?')[0]} was not answered ({error!r})")
            # As it would be without a recorder in between: the connection ends.
            transport: asyncio.Transport = scope["state"]["transport"]
            transport.close()
            while (await receive())["type"] != "http.disconnect":
                pass
        return None

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    async def _pass_on(
        self, answer: httpx.Response, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        exchange.status = answer.status_code
        kind = answer.headers.get("content-type", "")
        exchange.headers = {name: answer.headers[name] for name in sorted(_KEPT_HEADERS) if name in answer.headers}
        headers = {name: value for name, value in answer.headers.items() if name not in _HOP}
        for name, value in headers.items():
            if name == "location":
                exchange.headers[name] = without_signature(self._addresses.written(value))
                headers[name] = self._addresses.to_here(value, "live")
        response = StreamingResponse(self._body(answer, exchange, kind), answer.status_code, headers)
        if not _is_text(kind) and "content-length" in answer.headers:
            response.headers["content-length"] = answer.headers["content-length"]
        await response(scope, receive, send)

    async def _body(self, answer: httpx.Response, exchange: Exchange, kind: str) -> AsyncIterator[bytes]:
        """The body for the client: text with addresses of here, of a stream event by event; files as they are.

        The last of it goes out when all is written down, so that a client that has its answer finds it recorded.
        """
        seen: list[bytes] = []
        rest = b""
        async for chunk in answer.aiter_bytes():
            seen.append(chunk)
            if not _is_text(kind):
                if rest:
                    yield rest
                rest = chunk
                continue
            rest += chunk
            ready, mark, late = rest.rpartition(b"\n\n")
            if mark and "event-stream" in kind:
                # Clients leave as soon as they have read what they wait for.
                self._write(exchange, kind, b"".join(seen).rpartition(b"\n\n")[0] + mark)
                yield self._here(ready + mark)
                rest = late
        self._write(exchange, kind, b"".join(seen))
        if rest:
            yield self._here(rest) if _is_text(kind) else rest

    def _write(self, exchange: Exchange, kind: str, content: bytes) -> None:
        if content and not _is_text(kind):
            extension = (mimetypes.guess_extension(kind.partition(";")[0]) or ".bin").removeprefix(".")
            exchange.file = self._cassette.keep(content, extension)
        else:
            text = answered_text(exchange.url, self._addresses.written(content.decode("utf-8", "replace")))
            _write_text(exchange, kind, text)
        last = next((each for each in reversed(self._cassette.exchanges) if each.place == exchange.place), None)
        # While a job waits, the same is asked and answered many times.
        again = exchange.method == "GET" and last == exchange and "event-stream" not in kind
        if not again and all(each is not exchange for each in self._cassette.exchanges):
            self._cassette.exchanges.append(exchange)

    def _here(self, content: bytes) -> bytes:
        return self._addresses.to_here(content.decode("utf-8", "replace"), "live").encode()


class Replayer:
    """Answers from a cassette.

    Args:
        cassette: what was recorded.
        addresses: translates its addresses to those of here.
    """

    def __init__(self, cassette: Cassette, addresses: Addresses) -> None:
        self._cassette = cassette
        self._addresses = addresses
        self._used: set[int] = set()
        self.problems: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            return await _refuse_socket(self.problems, "replayed", receive, send)
        request = Request(scope, receive)
        _, sent = await _request_body(request, scope["state"]["blob"], self._addresses)
        url = without_signature(self._addresses.from_here(self._addresses.url + _path(scope), "written"))
        exchange = self._find(request.method, url, sent)
        response = self._answer(exchange) if exchange is not None else self._unknown(request.method, url, sent)
        return await response(scope, receive, send)

    def _find(self, method: str, url: str, sent: Any) -> Exchange | None:
        """The next exchange that fits; what does not cost anything may be asked again and again."""
        last: Exchange | None = None
        for number, exchange in enumerate(self._cassette.exchanges):
            if exchange.place != (method, url) or exchange.sent != sent:
                continue
            last = exchange
            if number not in self._used:
                self._used.add(number)
                return exchange
        return last if last is not None and not _billable(method, url) else None

    def _answer(self, exchange: Exchange) -> Response:
        headers = {**exchange.headers}
        if "location" in headers:
            headers["location"] = self._addresses.to_here(headers["location"], "written")
        if exchange.file is not None:
            content = self._cassette.read(exchange.file)
            if content is None:
                content = _stand_in(headers.get("content-type", ""), exchange.url)
                headers["x-fal-sandbox"] = "stand-in"
            return Response(content, exchange.status, headers)
        text = exchange.text if exchange.text is not None else json.dumps(exchange.json)
        return Response(self._addresses.to_here(text, "written"), exchange.status, headers)

    def _unknown(self, method: str, url: str, sent: Any) -> Response:
        same = [each for each in self._cassette.exchanges if each.place == (method, url)]
        text = f"{self._cassette.path} has no answer to {method} {url}"
        if same and all(each.sent != sent for each in same):
            changed = "; ".join(list(differences(same[-1].sent, sent))[:5])
            text += f" with this input: {changed}"
        elif same:
            text += f" for the {_ordinal(len([each for each in same if each.sent == sent]) + 1)} time"
        self.problems.append(f"{text}. Record it again")
        return json_response({"detail": self.problems[-1], "error_type": MISMATCH}, 400)


def _billable(method: str, url: str) -> bool:
    return method == "POST" and url.startswith(("https://queue.fal.run/", "https://fal.run/"))


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _path(scope: Scope) -> str:
    """The path and query that were asked for."""
    query = scope["query_string"].decode("latin-1")
    return quote(scope["path"], safe="/:@!$&'()*+,;=~-._") + (f"?{query}" if query else "")


async def _request_body(request: Request, blob: Blob, addresses: Addresses) -> tuple[bytes | None, Any]:
    """What is sent to the platform, and how that is written down; None for a file, which is sent as it is."""
    kind = request.headers.get("content-type", "")
    if not _is_text(kind):
        return (None if blob.size else b""), (sent_body(b"", "") if not blob.size else _told(blob))
    text = blob.read().decode("utf-8", "replace")
    return addresses.from_here(text, "live").encode(), sent_body(addresses.from_here(text, "written").encode(), kind)


def _told(blob: Blob) -> dict[str, Any]:
    digest = hashlib.sha256()
    for chunk in blob.chunks():
        digest.update(chunk)
    return {"sha256": digest.hexdigest(), "size": blob.size}


async def _chunks(blob: Blob) -> AsyncIterator[bytes]:
    for chunk in blob.chunks():
        yield chunk


def _write_text(exchange: Exchange, kind: str, text: str) -> None:
    if "json" in kind:
        try:
            exchange.json = json.loads(text)
        except ValueError:
            pass
        else:
            return
    exchange.text = text


def _is_text(content_type: str) -> bool:
    return content_type.startswith("text/") or "json" in content_type


def _stand_in(content_type: str, url: str) -> bytes:
    """A small file of the same type, for one that was too large to keep."""
    plain = content_type.partition(";")[0]
    kind = next((name for name, kind in KINDS.items() if kind.content_type == plain), "bin")
    return FileStore().content(FileSpec(kind, 0, url.rpartition("/")[2], _SIDE, _SIDE, _SECONDS))


async def _refuse_socket(problems: list[str], what: str, receive: Receive, send: Send) -> None:
    problems.append(f"realtime connections cannot be {what}; test them against the sandbox itself")
    await receive()
    await send({"type": "websocket.close", "code": 1011, "reason": problems[-1][:120]})
