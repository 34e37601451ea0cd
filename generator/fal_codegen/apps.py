"""An app's own OpenAPI document, as FastAPI writes it: each path that can be called becomes an endpoint.

A catalogue has one document an endpoint; an app has one for all of its paths. `POST /` of the app `acme/upscaler` is
the endpoint `acme/upscaler`, and `POST /fast/x2` is `acme/upscaler/fast/x2`. Source: fal docs, "Endpoints" of serverless
apps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fal_codegen.catalog import Entry
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.names import check_id
from fal_runtime.values import mapping, sequence

__all__ = ["app_entries", "is_openapi", "queue_endpoint"]

_RESULT = "/requests/{request_id}"


def is_openapi(document: Mapping[str, Any]) -> bool:
    """Whether it is an OpenAPI document, and not a catalogue's page or entry."""
    return "paths" in document and "endpoint_id" not in document and "models" not in document


def queue_endpoint(document: Mapping[str, Any]) -> str | None:
    """The endpoint of a document that the platform wrote for one; `None` if it is an app's own."""
    paths = mapping(document.get("paths"))
    for path in paths:
        if path.endswith(_RESULT) and path.removesuffix(_RESULT) in paths:
            return path.removesuffix(_RESULT).removeprefix("/")
    return None


def app_entries(app: str, document: Mapping[str, Any], source: str) -> Iterator[Entry | Diagnostic]:
    """The endpoints of an app, each with a document of its own; and why the other paths are none.

    Args:
        app: The app's id, `owner/name`.
        document: Its OpenAPI document.
        source: Where that is from, for messages.
    """
    paths = mapping(document.get("paths"))
    callable_paths = {path for path, item in paths.items() if "post" in mapping(item)}
    title = mapping(document.get("info")).get("title")
    if (bad := check_id(app)) is not None:
        yield bad
        return
    for path in sorted(paths):
        item = mapping(paths[path])
        post = mapping(item.get("post"))
        endpoint_id = f"{app}/{path.strip('/')}".rstrip("/")
        if problem := _problem(path, item, post):
            if "post" in item:
                yield _skipped(endpoint_id, path, problem, source)
            continue
        if (bad := check_id(endpoint_id)) is not None:
            yield bad
            continue
        operation = _operation(post)
        stream = f"{path.rstrip('/')}/stream"
        metadata = {
            "display_name": post.get("summary") if path != "/" else title or post.get("summary"),
            "description": post.get("description"),
            "stream_url": f"https://fal.run/{endpoint_id}/stream" if stream in callable_paths else None,
            "status": "deprecated" if post.get("deprecated") is True else None,
        }
        yield Entry(
            endpoint_id=endpoint_id,
            metadata={name: value for name, value in metadata.items() if isinstance(value, str) and value},
            openapi={
                "openapi": document.get("openapi", "3.1.0"),
                "info": {"title": str(title or app), "version": "1.0.0"},
                "paths": {f"/{endpoint_id}": {"post": operation}},
                "components": {
                    "schemas": _reachable(operation, mapping(mapping(document.get("components")).get("schemas")))
                },
            },
        )


def _problem(path: str, item: Mapping[str, Any], post: Mapping[str, Any]) -> str | None:
    """Why a path cannot be called as an endpoint."""
    if "post" not in item:
        return "it has no POST operation"
    if "{" in path:
        return "its address has parameters, and an endpoint's has none"
    parameters = [*sequence(item.get("parameters")), *sequence(post.get("parameters"))]
    needed = [str(each.get("name")) for each in map(mapping, parameters) if each.get("required")]
    if needed:
        return f"it needs {', '.join(needed)} beside its input"
    content = mapping(mapping(post.get("requestBody")).get("content"))
    if content and "application/json" not in content:
        return f"it takes {', '.join(content)}, and an endpoint takes JSON"
    return None


def _skipped(endpoint_id: str, path: str, problem: str, source: str) -> Diagnostic:
    return Diagnostic(
        code="not-callable",
        endpoint_id=endpoint_id,
        pointer=f"/paths/{path.replace('~', '~0').replace('/', '~1')}",
        message=f"{source}: {problem}, so it is no endpoint",
        remedy="nothing to do, unless it should be one",
    )


def _operation(post: Mapping[str, Any]) -> dict[str, Any]:
    """What an operation takes and gives. An input that may be left out is an input."""
    kept = {name: post[name] for name in ("requestBody", "responses") if name in post}
    body = mapping(mapping(mapping(kept.get("requestBody")).get("content")).get("application/json"))
    branches = [branch for branch in sequence(mapping(body.get("schema")).get("anyOf")) if branch != {"type": "null"}]
    if len(branches) == 1:
        content = {"application/json": {"schema": branches[0]}}
        kept["requestBody"] = {**mapping(kept["requestBody"]), "content": content}
    if "responses" in kept:
        kept["responses"] = {status: each for status, each in mapping(kept["responses"]).items() if status == "200"}
    return kept


def _reachable(node: Any, components: Mapping[str, Any]) -> dict[str, Any]:
    """The components that a part of the document refers to, and those that they refer to."""
    found: dict[str, Any] = {}
    waiting: list[Any] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += sequence(each)
        elif isinstance(each, dict):
            members = mapping(each)
            waiting += members.values()
            reference = members.get("$ref")
            name = str(reference).rpartition("/schemas/")[2].replace("~1", "/").replace("~0", "~")
            if isinstance(reference, str) and name in components and name not in found:
                found[name] = components[name]
                waiting.append(components[name])
    return {name: found[name] for name in sorted(found)}
