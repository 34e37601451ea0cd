"""Direct runs: one request, one answer, no queue. Source of the wire facts: fal docs, "Synchronous requests"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from fal_runtime.client import Channel, successful
from fal_runtime.queue import address, make_result, paid_headers
from fal_runtime.result import Result
from fal_runtime.retry import Deadline

if TYPE_CHECKING:
    from fal_runtime.lifecycle import Lifecycle

__all__ = ["run"]


async def run(
    channel: Channel,
    endpoint_id: str,
    output: Any,
    body: bytes,
    *,
    path: str = "",
    method: str = "POST",
    hint: str | None = None,
    start_timeout: float | None = None,
    timeout: float | None = None,
    storage: Lifecycle | None = None,
    headers: Mapping[str, str] | None = None,
) -> Result[Any]:
    """Run an endpoint on one connection. Raises what `Channel.call` raises, and the error the answer stands for.

    With GET the input becomes a query, as in the official JavaScript client; what is no text there is written as JSON.
    """
    seconds = timeout if timeout is not None else channel.client.timeouts.run
    response = await channel.call(
        "run",
        method,
        address(channel, "run", endpoint_id, path),
        headers=paid_headers(start_timeout, hint, storage, headers),
        params=_query(body) if method == "GET" else None,
        body=None if method == "GET" else body,
        deadline=Deadline(seconds),
        timeout=seconds,
        endpoint_id=endpoint_id,
    )
    successful(response, endpoint_id=endpoint_id)
    request_id = response.headers.get("x-fal-request-id")
    return make_result(channel, response, output, endpoint_id=endpoint_id, request_id=request_id)


def _query(body: bytes) -> dict[str, str]:
    fields: dict[str, Any] = msgspec.json.decode(body)
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in fields.items()
        if value is not None
    }
