"""The CDN: generated files, made when they are fetched. It asks for no key. Source: fal docs, fal CDN."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.bodies import json_response
from fal_sandbox.files import FileSpec
from fal_sandbox.state import State

_THUMBNAIL = (512, 288)
_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}


class CdnService:
    """`/cdn`, in place of v3.fal.media."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        return [
            Route("/files/{name}", self._file, methods=["GET"]),
            Route("/thumbnails/{endpoint_id:path}.png", self._thumbnail, methods=["GET"]),
        ]

    async def _file(self, request: Request) -> Response:
        return await self._serve(self._state.files.get(request.path_params["name"]))

    async def _thumbnail(self, request: Request) -> Response:
        entry = self._state.catalog.get(request.path_params["endpoint_id"])
        if entry is None:
            return await self._serve(None)
        return await self._serve(FileSpec("png", 0, str(entry.metadata.get("display_name")), *_THUMBNAIL))

    async def _serve(self, spec: FileSpec | None) -> Response:
        if spec is None:
            return json_response({"detail": "Not Found"}, 404)
        content = await asyncio.to_thread(self._state.files.content, spec)
        return Response(content, media_type=spec.content_type, headers=_FOREVER)
