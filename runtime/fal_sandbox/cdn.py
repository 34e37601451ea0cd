"""The CDN: generated files, made when they are fetched, and uploads. A download asks for no key.

Source: fal docs, fal CDN; the official Python client; the `fal` package.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from fal_sandbox.auth import bears_cdn_token
from fal_sandbox.blobs import Blob
from fal_sandbox.bodies import Handler, guarded, json_response, read_json
from fal_sandbox.files import FileSpec
from fal_sandbox.state import State
from fal_sandbox.storage import StoredFile, lifecycle_of

_THUMBNAIL = (512, 288)
_FOREVER = {"cache-control": "public, max-age=31536000, immutable", "accept-ranges": "bytes"}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SIGNED_SECONDS = 3600.0


def signed(state: State, url: str, seconds: float = _SIGNED_SECONDS) -> str:
    """The URL of something at the CDN with a signature that lets anyone use it for a while."""
    expires = str(state.pulse.now() + seconds)
    path = url.removeprefix(state.service_url("cdn"))
    query = {"X-Fal-Expires": expires, "X-Fal-Signature": state.tokens.sign(f"{path} {expires}")}
    return f"{url}?{urlencode(query)}"


class CdnService:
    """`/cdn`, in place of v3.fal.media."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        routes: list[BaseRoute] = [
            Route("/files/upload", self._checked(self._upload), methods=["POST"]),
            Route("/files/upload/multipart", self._checked(self._begin), methods=["POST"]),
        ]
        for folder in ("files/b", "gcs"):
            file = f"/{folder}/{{token}}/{{name}}"
            upload = f"{file}/multipart/{{upload_id}}"
            routes += [
                Route(file, self._stored, methods=["GET"]),
                Route(file, self._checked(self._put), methods=["PUT"]),
                Route(f"{upload}/complete", self._checked(self._complete), methods=["POST"]),
                Route(f"{upload}/{{number:int}}", self._checked(self._put_part), methods=["PUT"]),
            ]
        return [
            *routes,
            Route("/files/{name}", self._generated, methods=["GET"]),
            Route("/thumbnails/{endpoint_id:path}.png", self._thumbnail, methods=["GET"]),
        ]

    def _checked(self, handler: Handler) -> Handler:
        def admitted(request: Request) -> bool:
            return bears_cdn_token(self._state, request) or self._is_signed(request)

        return guarded(handler, admitted, "The token or the signature is not valid, or no longer")

    def _is_signed(self, request: Request) -> bool:
        """Whether the URL, or the beginning of its path, has been signed for use now."""
        expires, signature = (request.query_params.get(name, "") for name in ("X-Fal-Expires", "X-Fal-Signature"))
        path = _path(request)
        # The parts of an upload are under its signed URL. Source: the official JS client.
        paths = {path, path.rpartition("/")[0]}
        if not any(self._state.tokens.sign(f"{one} {expires}") == signature for one in paths):
            return False
        return self._state.pulse.now() < float(expires)

    async def _upload(self, request: Request) -> Response:
        file = self._created(request)
        self._fill(request, file)
        return json_response({"access_url": file.url})

    async def _begin(self, request: Request) -> Response:
        upload = self._state.storage.begin(self._created(request))
        return json_response({"access_url": upload.file.url, "uploadId": upload.upload_id})

    def _created(self, request: Request) -> StoredFile:
        name = request.headers.get("x-fal-file-name", "upload.bin")
        content_type = request.headers.get("content-type", "application/octet-stream")
        return self._state.storage.create(name, content_type, lifecycle_of(request.headers))

    async def _put(self, request: Request) -> Response:
        file = self._state.storage.find(_key(request))
        if file is None:
            return _not_found()
        self._fill(request, file)
        return json_response({"access_url": file.url})

    def _fill(self, request: Request, file: StoredFile) -> None:
        self._state.storage.fill(file, _kept(request), request.headers.get("content-type"))

    async def _put_part(self, request: Request) -> Response:
        upload = self._state.storage.upload(request.path_params["upload_id"], _key(request))
        if upload is None:
            return _not_found()
        number: int = request.path_params["number"]
        blob: Blob = request.state.blob
        etag = await asyncio.to_thread(blob.digest)
        self._state.storage.put_part(upload, number, etag, _kept(request))
        # An answer that may be compressed on its way loses its ETag. Source: the official Python client.
        plain = request.headers.get("accept-encoding", "").strip().lower() == "identity"
        headers = {"etag": f'"{etag}"'} if plain or upload.file.key.startswith("gcs/") else {}
        return json_response({"partNumber": number, "etag": etag}, headers=headers)

    async def _complete(self, request: Request) -> Response:
        upload = self._state.storage.upload(request.path_params["upload_id"], _key(request))
        if upload is None:
            return _not_found()
        self._state.storage.complete(upload, await read_json(request))
        return json_response({"access_url": upload.file.url})

    async def _stored(self, request: Request) -> Response:
        file = self._state.storage.find(_key(request))
        if file is None or file.blob is None:
            return _not_found()
        if file.public != "allow" and not self._is_signed(request):
            # Hidden means to seem not to exist. Source: fal docs, media expiration and access control.
            return _not_found() if file.public == "hide" else json_response({"detail": "Access denied"}, 403)
        return _download(request, file.blob, file.content_type)

    async def _generated(self, request: Request) -> Response:
        return await self._made(request, self._state.files.get(request.path_params["name"]))

    async def _thumbnail(self, request: Request) -> Response:
        entry = self._state.catalog.get(request.path_params["endpoint_id"])
        if entry is None:
            return _not_found()
        spec = FileSpec("png", 0, str(entry.metadata.get("display_name")), *_THUMBNAIL)
        return await self._made(request, spec)

    async def _made(self, request: Request, spec: FileSpec | None) -> Response:
        if spec is None:
            return _not_found()
        content = await asyncio.to_thread(self._state.files.content, spec)
        return _download(request, Blob((content,)), spec.content_type)


def _path(request: Request) -> str:
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


def _key(request: Request) -> str:
    """The file's path at the CDN."""
    folder = "gcs" if _path(request).startswith("/gcs/") else "files/b"
    return f"{folder}/{request.path_params['token']}/{request.path_params['name']}"


def _kept(request: Request) -> Blob:
    """The request's body, to be kept when the request is over."""
    blob: Blob = request.state.blob
    request.state.kept = blob
    return blob


def _download(request: Request, blob: Blob, content_type: str) -> Response:
    """A file, or the part of it that is asked for. Source: RFC 9110, range requests."""
    size = blob.size
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    first, last, status, headers = 0, size, 200, dict(_FOREVER)
    if wanted is not None and any(wanted.groups()):
        first = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
        last = min(size, int(wanted[2]) + 1) if wanted[1] and wanted[2] else size
        if first >= last:
            return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
        status, headers["content-range"] = 206, f"bytes {first}-{last - 1}/{size}"
    headers |= {"content-type": content_type, "content-length": str(last - first)}
    if last - first <= 2**20:
        return Response(blob.read(first, last), status, headers)
    return StreamingResponse(_unhurried(blob.chunks(first, last)), status, headers)


async def _unhurried(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    # Here and not in a thread for each piece, which would take longer than reading it does.
    for chunk in chunks:
        yield chunk


def _not_found() -> Response:
    return json_response({"detail": "Not Found"}, 404)
