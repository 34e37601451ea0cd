"""The Platform API and the public schema URL. Source: fal docs, Platform API, model search."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.account import AccountService
from fal_sandbox.auth import credentials
from fal_sandbox.bodies import cacheable, json_response
from fal_sandbox.catalog import Entry
from fal_sandbox.pages import BadQuery, failure, page, several
from fal_sandbox.state import State

_EXPANSION = "openapi-3.0"
_MAX_PAGE = 200
_MAX_EXPANDED_PAGE = 50
_STATUSES = frozenset({"active", "deprecated"})
_DEFAULT_DATE = "2025-01-01T00:00:00.000Z"


class PlatformService:
    """`/api/v1`, in place of api.fal.ai/v1."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes; everything else under it fails in the Platform API's own shape."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return [
            Route("/models", self._models, methods=["GET"]),
            *AccountService(self._state).routes(),
            Route("/{path:path}", self._nothing, methods=methods),
        ]

    async def _models(self, request: Request) -> Response:
        if credentials(request, self._state.key) == "invalid":
            return failure(401, "authorization_error", "The key is not valid")
        try:
            return self._page(request)
        except BadQuery as error:
            return failure(400, "validation_error", str(error))

    def _page(self, request: Request) -> Response:
        query = request.query_params
        expand = query.getlist("expand")
        if any(name not in (_EXPANSION, "enterprise_status") for name in expand):
            raise BadQuery(f"expand takes {_EXPANSION}")
        expanded = _EXPANSION in expand
        largest = _MAX_EXPANDED_PAGE if expanded else _MAX_PAGE
        if ids := several(query, "endpoint_id"):
            named = {endpoint_id: self._state.catalog.get(endpoint_id) for endpoint_id in ids}
            if missing := [endpoint_id for endpoint_id, entry in named.items() if entry is None]:
                return failure(404, "not_found", f"No such endpoint: {', '.join(missing)}")
            found = [entry for entry in named.values() if entry is not None]
        else:
            found = list(self._state.catalog)
        if (status := query.get("status")) is not None and status not in _STATUSES:
            raise BadQuery("status is active or deprecated")
        found = [entry for entry in found if _matches(entry, query.get("category"), status, query.get("q"))]
        shown, rest = page(found, query, largest)
        body = {"models": [self._model(entry, expanded) for entry in shown], **rest}
        return cacheable(request, json_response(body))

    def _model(self, entry: Entry, expanded: bool) -> dict[str, Any]:
        # The catalogue keeps facts only: what the API always sends besides is filled in.
        metadata: dict[str, Any] = {
            "display_name": entry.endpoint_id,
            "category": "unknown",
            "description": "",
            "status": "active",
            "tags": [],
            "date": _DEFAULT_DATE,
            "updated_at": entry.metadata.get("date", _DEFAULT_DATE),
            "is_favorited": None,
            "thumbnail_url": self._state.cdn_url(f"thumbnails/{entry.endpoint_id}.png"),
            "model_url": f"https://fal.run/{entry.endpoint_id}",
            "highlighted": False,
            "pinned": False,
            **entry.metadata,
        }
        model = {"endpoint_id": entry.endpoint_id, "metadata": metadata}
        return {**model, "openapi": entry.openapi} if expanded else model

    async def _nothing(self, request: Request) -> Response:
        return failure(404, "not_found", "There is no such operation")


class SchemaService:
    """`/schema/openapi.json`, in place of fal.ai/api/openapi/queue/openapi.json."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        return [Route("/openapi.json", self._schema, methods=["GET"])]

    async def _schema(self, request: Request) -> Response:
        entry = self._state.catalog.get(request.query_params.get("endpoint_id", ""))
        if entry is None or not entry.callable:
            return json_response(None, 404)
        return cacheable(request, json_response(entry.openapi))


def _matches(entry: Entry, category: str | None, status: str | None, words: str | None) -> bool:
    metadata = entry.metadata
    if category is not None and metadata.get("category") != category:
        return False
    if status is not None and metadata.get("status", "active") != status:
        return False
    haystack = " ".join([entry.endpoint_id, str(metadata.get("display_name", "")), *map(str, metadata.get("tags", []))])
    return all(word in haystack.lower() for word in (words or "").lower().split())
