"""Answers that come bit by bit: server-sent events and raw bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import StreamingResponse

from fal_sandbox.models import EVENT_STREAM

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(data: Any) -> bytes:
    """One server-sent event with this JSON value; its text is UTF-8, as the platform's is."""
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8; as an escape it is still JSON.
        text = json.dumps(data, separators=(",", ":")).encode()
    return b"data: " + text + b"\n\n"


def streamed(
    parts: AsyncIterator[bytes], content_type: str = EVENT_STREAM, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """An answer that is sent as its parts come, and given up when the client leaves."""
    named = content_type if content_type != EVENT_STREAM else f"{EVENT_STREAM}; charset=utf-8"
    return StreamingResponse(parts, headers={**_HEADERS, **(headers or {}), "content-type": named})
