"""The sandbox in a browser: the catalogue with a form for each endpoint, and what has been going on.

The page is a few files in `page/` that are served as they are, and nothing that it needs comes from anywhere else. It lies under
`/sandbox` with all that it reads, so that it leaves no trace among the requests that tests look at; its calls do. It is
told the sandbox's key, as anyone is who asks at `/sandbox/environment`: the key protects nothing.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import Iterator
from importlib.resources import files
from pathlib import PurePath
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.bindings import Bindings
from fal_sandbox.bodies import cacheable, json_response
from fal_sandbox.catalog import Entry
from fal_sandbox.jobs import Job
from fal_sandbox.state import State
from fal_sandbox.tapes import Recorder

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""The browser is to ask whether what it has still holds, and to load nothing from other hosts."""
_SHOWN_JOBS = 24
_SHOWN_REQUESTS = 40
_SHOWN_PICTURES = 4
_EXCERPT = 160


class WebPage:
    """`/`, and `/sandbox/page`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._bindings = Bindings()
        self._names = {file.name for file in files("fal_sandbox").joinpath("page").iterdir()}

    async def front_page(self, request: Request) -> Response:
        """The page itself."""
        return _file(request, "index.html")

    def routes(self) -> list[BaseRoute]:
        """What the page consists of and reads, below the prefix of what is said to the sandbox itself."""
        return [
            Route("/page/index.json", self._index, methods=["GET"]),
            Route("/page/activity.json", self._activity, methods=["GET"]),
            Route("/page/endpoints/{endpoint_id:path}", self._endpoint, methods=["GET"]),
            Route("/page/{name}", self._asset, methods=["GET"]),
        ]

    async def _asset(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        return _file(request, name) if name in self._names else json_response({"detail": "Not Found"}, 404)

    async def _index(self, request: Request) -> Response:
        return _json(
            request,
            {
                "key": self._state.key,
                "url": self._state.url,
                "cdn": self._state.service_url("cdn"),
                "endpoints": [_listed(entry) for entry in self._state.catalog],
            },
        )

    async def _endpoint(self, request: Request) -> Response:
        endpoint_id: str = request.path_params["endpoint_id"]
        entry = self._state.catalog.get(endpoint_id)
        if entry is None:
            return json_response({"detail": f"There is no endpoint {endpoint_id}"}, 404)
        contract = self._state.catalog.contract(endpoint_id)
        return _json(
            request,
            {
                "id": endpoint_id,
                "metadata": entry.metadata,
                "input": contract.input if contract else None,
                "output": contract.output if contract else None,
                "definitions": contract.definitions if contract else {},
                "module": await asyncio.to_thread(self._bindings.describe, endpoint_id),
                "cassette": self._cassette(),
            },
        )

    async def _activity(self, request: Request) -> Response:
        jobs = self._state.jobs.all()[-_SHOWN_JOBS:]
        received = list(self._state.ledger.requests)[-_SHOWN_REQUESTS:]
        return _json(
            request,
            {
                "cassette": self._cassette(),
                "jobs": [self._job(job) for job in reversed(jobs)],
                "requests": [{"method": one.method, "path": one.path, "size": one.size} for one in reversed(received)],
            },
        )

    def _cassette(self) -> Literal["recorded", "replayed"] | None:
        """What is done with a cassette that stands in the services' place, if one does."""
        if self._state.tape is None:
            return None
        return "recorded" if isinstance(self._state.tape, Recorder) else "replayed"

    def _job(self, job: Job) -> dict[str, Any]:
        now = self._state.pulse.now()
        state: str = job.state(now)
        outcome = job.forced or job.outcome
        if state == "COMPLETED" and outcome is not None and outcome.status >= 400:
            state = "FAILED"
        done = state in ("COMPLETED", "FAILED") and outcome is not None
        return {
            "request_id": job.request_id,
            "endpoint_id": str(job.endpoint),
            "service": "run" if job.direct else "queue",
            "state": state,
            "sent_at": job.sent_at,
            "seconds": round(max(0.0, min(now, job.ends_at) - job.sent_at), 3),
            "input": _excerpt(job.input),
            "files": list(_urls(outcome.body))[:_SHOWN_PICTURES] if done and outcome is not None else [],
            "error": outcome.error if done and outcome is not None else None,
        }


def _listed(entry: Entry) -> list[Any]:
    """An endpoint as the list of all shows it: id, name, category, and what is special about it."""
    metadata = entry.metadata
    notes = [
        note
        for note, holds in (
            ("deprecated", metadata.get("status") == "deprecated"),
            ("streams", bool(metadata.get("stream_url"))),
            ("training", metadata.get("kind") == "training"),
            ("no schema", not entry.callable),
        )
        if holds
    ]
    name = metadata.get("display_name") or entry.endpoint_id
    return [entry.endpoint_id, name, metadata.get("category") or "unknown", notes, metadata.get("tags") or []]


def _urls(value: object) -> Iterator[list[str]]:
    """The links to files in an output, each with the content type that it tells of."""
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        url = members.get("url")
        if isinstance(url, str) and urlsplit(url).scheme in ("http", "https"):
            kind = members.get("content_type") or mimetypes.guess_type(urlsplit(url).path)[0]
            yield [url, str(kind or "")]
        for member in members.values():
            yield from _urls(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            yield from _urls(member)


def _excerpt(value: object) -> str:
    """What an input says first of all."""
    if isinstance(value, dict):
        texts = [text for text in cast("dict[str, object]", value).values() if isinstance(text, str)]
        return texts[0][:_EXCERPT] if texts else ""
    return ""


def _file(request: Request, name: str) -> Response:
    content = files("fal_sandbox").joinpath("page", name).read_bytes()
    return cacheable(request, Response(content, headers=_HEADERS, media_type=_TYPES[PurePath(name).suffix]))


def _json(request: Request, value: object) -> Response:
    # Not ASCII only, as the services' answers are: names are short, and half a surrogate pair is written as an escape.
    try:
        content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        content = json.dumps(value, separators=(",", ":")).encode()
    return cacheable(request, Response(content, headers=_HEADERS, media_type="application/json"))
