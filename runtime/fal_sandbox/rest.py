"""The REST service: tokens, and where to upload. Source: both official clients; fal docs, real-time models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.auth import credentials
from fal_sandbox.bodies import BadBody, Handler, guarded, json_response, read_json
from fal_sandbox.cdn import signed
from fal_sandbox.state import State
from fal_sandbox.storage import BadUpload, StoredFile, lifecycle_of
from fal_sandbox.validation import field_error

_CDN, _GCS = "fal-cdn-v3", "gcs"
_MAX_TOKEN_SECONDS = 86_400.0
_TOKEN_SECONDS = 120.0


class RestService:
    """`/rest`, in place of rest.fal.ai."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        part = "/storage/upload/multipart/{upload_id}"
        return [
            Route("/.well-known/jwks.json", self._jwks, methods=["GET"]),
            Route("/tokens", self._moved, methods=["POST"]),
            Route("/tokens/", self._keyed(self._token), methods=["POST"]),
            Route("/tokens/realtime", self._keyed(self._realtime_token), methods=["POST"]),
            Route("/storage/auth/token", self._keyed(self._cdn_token), methods=["POST"]),
            Route("/storage/upload/initiate", self._keyed(self._initiate), methods=["POST"]),
            Route("/storage/upload/initiate-multipart", self._keyed(self._initiate_multipart), methods=["POST"]),
            Route(f"{part}/complete", self._keyed(self._complete), methods=["POST"]),
            Route(f"{part}/{{number:int}}", self._keyed(self._part_url), methods=["POST"]),
        ]

    def _keyed(self, handler: Handler) -> Handler:
        def admitted(request: Request) -> bool:
            return credentials(request, self._state.key) == "valid"

        return guarded(handler, admitted, "Authentication is required to access this endpoint.")

    async def _jwks(self, request: Request) -> Response:
        return json_response(self._state.webhook_keys.jwks(), headers={"cache-control": "public, max-age=86400"})

    async def _moved(self, request: Request) -> Response:
        return RedirectResponse(f"{self._state.service_url('rest')}/tokens/", 307)

    async def _token(self, request: Request) -> Response:
        body = await _object(request)
        apps, seconds = body.get("allowed_apps"), body.get("token_expiration", _TOKEN_SECONDS)
        return self._minted(apps, seconds, "token_expiration", bare=True)

    async def _realtime_token(self, request: Request) -> Response:
        body = await _object(request)
        # Several public programs name one application as `app`, and are answered.
        apps = body.get("allowed_apps", [body["app"]] if "app" in body else None)
        return self._minted(apps, body.get("duration", _TOKEN_SECONDS), "duration", bare=False)

    def _minted(self, apps: object, seconds: object, name: str, *, bare: bool) -> Response:
        errors: list[dict[str, Any]] = []
        given = cast("list[object]", apps) if isinstance(apps, list) else []
        names = [app for app in given if isinstance(app, str)]
        if not names or len(names) < len(given):
            errors.append(field_error("list_type", "Input should be a list of applications", ("allowed_apps",), given))
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _MAX_TOKEN_SECONDS:
            errors.append(field_error("value_error", "Input should be a number of seconds", (name,), seconds))
        if errors:
            return json_response({"detail": errors}, 422)
        token = self._state.tokens.mint(cast("float", seconds), names)
        return json_response(token if bare else {"token": token})

    async def _cdn_token(self, request: Request) -> Response:
        token = self._state.tokens.mint(self._state.settings.cdn_token_seconds, use="cdn")
        expires_at = datetime.fromtimestamp(self._state.tokens.expires_at(token), UTC)
        return json_response(
            {
                "token": token,
                "token_type": "Bearer",
                "base_url": self._state.service_url("cdn"),
                "expires_at": expires_at.isoformat(),
            }
        )

    async def _initiate(self, request: Request) -> Response:
        file, _ = await self._begun(request)
        return json_response({"upload_url": signed(self._state, file.url), "file_url": file.url})

    async def _initiate_multipart(self, request: Request) -> Response:
        file, kind = await self._begun(request)
        upload = self._state.storage.begin(file)
        if kind == _GCS:
            url = f"{self._state.service_url('rest')}/storage/upload/multipart/{upload.upload_id}"
        else:
            url = signed(self._state, f"{file.url}/multipart/{upload.upload_id}")
        return json_response({"upload_url": url, "file_url": file.url})

    async def _begun(self, request: Request) -> tuple[StoredFile, str]:
        kind = request.query_params.get("storage_type", _GCS)
        if kind not in (_CDN, _GCS):
            raise BadUpload(f"There is no storage of the type {kind}")
        body = await _object(request)
        name, content_type = body.get("file_name"), body.get("content_type")
        if not isinstance(name, str) or not isinstance(content_type, str):
            raise BadUpload("An upload is begun with a file_name and a content_type")
        folder = "gcs" if kind == _GCS else "files/b"
        return self._state.storage.create(name, content_type, lifecycle_of(request.headers), folder), kind

    async def _part_url(self, request: Request) -> Response:
        """With Google's storage each part has an address of its own. Source: the `fal` package."""
        upload = self._state.storage.upload(request.path_params["upload_id"])
        if upload is None:
            return json_response({"detail": "Not Found"}, 404)
        number = request.path_params["number"]
        return json_response(
            {"upload_url": signed(self._state, f"{upload.file.url}/multipart/{upload.upload_id}/{number}")}
        )

    async def _complete(self, request: Request) -> Response:
        upload = self._state.storage.upload(request.path_params["upload_id"])
        if upload is None:
            return json_response({"detail": "Not Found"}, 404)
        self._state.storage.complete(upload, await read_json(request))
        return json_response({"file_url": upload.file.url})


async def _object(request: Request) -> dict[str, Any]:
    value = await read_json(request)
    if not isinstance(value, dict):
        raise BadBody(0, "An object is expected")
    return cast("dict[str, Any]", value)
