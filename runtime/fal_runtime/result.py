"""A finished request with everything the platform said about it."""

from __future__ import annotations

import functools
import logging
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args, get_origin

import msgspec

from fal_runtime.errors import FieldError, OutputError, billable_units
from fal_runtime.transport import Response
from fal_runtime.values import mapping

if TYPE_CHECKING:
    from fal_runtime.client import Client
    from fal_runtime.media import MediaFile

__all__ = ["LogEntry", "Result", "decoder"]

O_co = TypeVar("O_co", covariant=True)

logger = logging.getLogger("fal_runtime")


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line that the endpoint's program printed. Source: fal docs, queue status reference."""

    message: str = ""
    timestamp: str = ""
    """When, as the server wrote it (ISO 8601)."""
    level: str | None = None
    source: str | None = None

    @classmethod
    def read(cls, line: dict[str, Any]) -> LogEntry:
        """Read a line as it came, whatever is missing in it; an older form keeps the level among `labels`."""
        words = {name: line.get(name) for name in ("message", "timestamp", "level", "source")}
        words["level"] = words["level"] or mapping(line.get("labels")).get("level")
        return cls(**{name: str(word) for name, word in words.items() if word is not None})


class Result(msgspec.Struct, Generic[O_co], frozen=True, kw_only=True):
    """A finished request: its output, and what else the platform said."""

    data: O_co
    """The output."""
    request_id: str | None
    """The platform's id of the request, to quote to support and to find it again."""
    endpoint_id: str
    headers: dict[str, str]
    """The answer's HTTP headers, with lower-case names."""
    raw: bytes
    """The answer as it came."""
    metrics: dict[str, Any] = {}
    """What the platform measured, such as `inference_time` in seconds. Empty for a direct `run`."""
    logs: tuple[LogEntry, ...] = ()
    """The lines printed, if they were asked for."""
    warnings: tuple[FieldError, ...] = ()
    """Where the answer departs from the schema."""

    @property
    def billable_units(self) -> float | None:
        """What was billed, in the endpoint's own unit; `None` if the platform did not say (never 0 for unknown)."""
        return billable_units(self.headers)

    def files(self) -> list[MediaFile]:
        """Every file in the output, at any depth. Without types, each object that names a URL is one."""
        from fal_runtime.downloads import files_in

        return files_in(self.data)

    def download(
        self, folder: str | PathLike[str], *, name: str = "{request_id}-{i}.{ext}", client: Client | None = None
    ) -> list[Path]:
        """Save every file of the output into a folder, several at a time; return where they lie, in their order.

        Each file appears only when it is complete.

        Args:
            folder: Where to. It is made if it is not there.
            name: What to call them: `{request_id}`, `{endpoint}`, `{i}` (the file's number from 0), `{name}` (its own
                name), `{stem}` and `{ext}` (the parts of that) are filled in. With a `/` in it, folders are made.
            client: The client to use.

        Raises:
            ConfigurationError: if two files would get the same name.
            FalError: as `MediaFile.read` does.
        """
        from fal_runtime.client import blocking
        from fal_runtime.downloads import download
        from fal_runtime.transport import drive

        return drive(download(blocking(client), self, Path(folder), name))

    async def download_async(
        self, folder: str | PathLike[str], *, name: str = "{request_id}-{i}.{ext}", client: Client | None = None
    ) -> list[Path]:
        """Save every file of the output into a folder, as `download` does."""
        from fal_runtime.client import running
        from fal_runtime.downloads import download

        return await download(running(client), self, Path(folder), name)


@functools.lru_cache(maxsize=256)
def decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type, built on its first use."""
    return msgspec.json.Decoder(type_)


@functools.lru_cache(maxsize=256)
def of_pydantic(type_: Any) -> bool:
    """Whether a type is made of Pydantic models, without importing Pydantic to find out."""
    if hasattr(type_, "__metadata__"):
        return of_pydantic(type_.__origin__)
    parts: tuple[Any, ...] = get_args(type_) if get_origin(type_) is not Literal else ()
    return hasattr(type_, "__pydantic_validator__") or any(map(of_pydantic, parts))


_reported: set[tuple[str, str, str]] = set()


def build_output(
    type_: Any, response: Response, *, endpoint_id: str, request_id: str | None, strict: bool
) -> tuple[Any, tuple[FieldError, ...]]:
    """Build an endpoint's output from an answer, leniently unless `strict`.

    Raises:
        OutputError: if the answer is not JSON although the type wants it, or departs from the schema and `strict`.
    """
    content_type = response.headers.get("content-type", "application/json").partition(";")[0].strip()
    packed = content_type.endswith("msgpack")  # a realtime message
    if type_ is Any and not content_type.endswith(("json", "msgpack")):
        return (response.body.decode(errors="replace") if content_type.startswith("text/") else response.body), ()
    try:
        data, warnings = _read(type_, response.body, packed)
    except (ValueError, RecursionError) as error:
        message = f"the answer ({content_type}) cannot be read; it is kept as `body` of this error"
        raise OutputError(message, body=response.body, endpoint_id=endpoint_id, request_id=request_id) from error
    if warnings and strict:
        text = "the answer departs from its schema"
        raise OutputError(text, errors=warnings, body=response.body, endpoint_id=endpoint_id, request_id=request_id)
    for warning in warnings:
        seen = (endpoint_id, warning.path, warning.rule)
        if seen not in _reported:
            _reported.add(seen)
            logger.warning("%s: the answer departs from its schema at %s", endpoint_id, warning)
    return data, warnings


def _read(type_: Any, body: bytes, packed: bool) -> tuple[Any, tuple[FieldError, ...]]:
    """Build a type from JSON or msgpack as well as it can be built, and list where that departs from it."""
    if of_pydantic(type_):
        from fal_runtime.pydantic_models import read_output

        return read_output(msgspec.json.encode(msgspec.msgpack.decode(body)) if packed else body, type_)
    try:
        return msgspec.msgpack.decode(body, type=type_) if packed else decoder(type_).decode(body), ()
    except msgspec.ValidationError as error:
        from fal_runtime.conform import conform

        data, warnings = conform((msgspec.msgpack if packed else msgspec.json).decode(body), type_)
        return data, warnings or (FieldError(path="", rule="schema", message=str(error)),)
