"""Downloading files: what the files of outputs do, loaded when it is first asked for."""

from __future__ import annotations

import base64
import binascii
import io
import os
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from fal_runtime.client import Channel, blocking
from fal_runtime.errors import ConfigurationError, FalError, NoConnectionError, OutputError
from fal_runtime.media import File, MediaFile
from fal_runtime.retry import Retry
from fal_runtime.settings import Timeouts
from fal_runtime.sources import extension, kind_by_name
from fal_runtime.transport import Unanswered, drive
from fal_runtime.values import mapping

if TYPE_CHECKING:
    from PIL import Image

    from fal_runtime.result import Result

__all__ = ["download", "files_in", "picture", "read", "save", "shown", "target_of"]

FILES_AT_ONCE = 8
SHOWN_BYTES = 8 * 2**20
"""The largest picture that is put into a notebook; a larger one is only referred to."""
_SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_PATIENCE = Timeouts(connect=3.0, attempt=5.0)
"""How long a notebook may be held up for a picture."""


def files_in(value: Any) -> list[MediaFile]:
    """Every file in an output, at any depth, each URL once. In what has no type, an object with a URL counts as one."""
    found: dict[str, MediaFile] = {}
    for file in _files(value):
        found.setdefault(_location(file), file)
    return list(found.values())


def _files(value: Any) -> Iterator[MediaFile]:
    if isinstance(value, MediaFile):
        if getattr(value, "url", None):
            yield value
    elif isinstance(value, dict):
        fields = mapping(value)
        url = fields.get("url")
        if isinstance(url, str) and url.startswith(("https://", "http://", "data:")):
            known = {"content_type": str, "file_name": str, "file_size": int}
            yield File(url=url, **{k: fields[k] for k, kind in known.items() if isinstance(fields.get(k), kind)})
            return
        for item in fields.values():
            yield from _files(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _files(item)
    else:
        for name in _field_names(value):
            yield from _files(getattr(value, name))


def _field_names(value: object) -> Iterable[str]:
    """The fields of a struct or of a Pydantic model."""
    names: Any = getattr(type(value), "__struct_fields__", None) or getattr(type(value), "model_fields", ())
    return cast("Iterable[str]", names)


async def download(channel: Channel, result: Result[Any], folder: Path, template: str) -> list[Path]:
    """Save every file of a result into a folder, several at a time; return where they lie, in their order."""
    files = files_in(result.data)
    paths: list[Path] = []
    for index, file in enumerate(files):
        own = Path(_name(file))
        words = {
            "request_id": result.request_id or "result",
            "endpoint": result.endpoint_id.replace("/", "-"),
            "i": index,
            "name": own.name,
            "stem": own.stem,
            "ext": own.suffix[1:],
        }
        try:
            paths.append(folder / template.format(**words))
        except (LookupError, ValueError, AttributeError) as error:
            text = f"name is a text with {', '.join(f'{{{word}}}' for word in words)} in it, not {template!r}"
            raise ConfigurationError(text) from error
    if len(set(paths)) < len(paths):
        raise ConfigurationError(f"{template!r} gives several files the same name; put {{i}} into it")
    operations = [partial(save, channel, file, path) for file, path in zip(files, paths, strict=True)]
    return await channel.io.gather(operations, FILES_AT_ONCE)


def _location(file: MediaFile) -> str:
    url: Any = getattr(file, "url", None)
    if not isinstance(url, str) or not url:
        raise OutputError(f"this {type(file).__name__} has no URL, so there is nothing to download")
    return url


def _kind(file: MediaFile) -> str | None:
    """The MIME type: what the platform said, or else what the name says."""
    url, stated = _location(file), getattr(file, "content_type", None)
    if url.startswith("data:"):
        return url[5:].partition(",")[0].partition(";")[0] or "text/plain"
    if isinstance(stated, str) and "/" in stated:
        return stated.partition(";")[0].strip()
    return kind_by_name(str(getattr(file, "file_name", None) or urlsplit(url).path))


def _name(file: MediaFile) -> str:
    """A name for the file, with an extension, that no folder can hide in."""
    url, stated = _location(file), getattr(file, "file_name", None)
    path = "" if url.startswith("data:") else unquote(urlsplit(url).path)
    name = str(stated or path).replace("\\", "/").rpartition("/")[2]
    name = "".join(sign if sign.isprintable() and sign not in ':*?"<>|' else "_" for sign in name).strip(". ") or "file"
    return name if Path(name).suffix else name + extension(_kind(file) or "")


def target_of(file: MediaFile, path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    folder = Path(text).is_dir() or text.endswith(("/", os.sep))
    return Path(text, _name(file)) if folder else Path(text)


async def _fetch(channel: Channel, url: str, target: IO[bytes], limit: int | None = None) -> None:
    """Write a file's content to `target`, which may be larger than `limit` bytes at no time."""
    if url.startswith("data:"):
        _write(target, _inline(url), limit)
        return
    for attempt in count(1):
        target.seek(0)
        target.truncate()
        try:
            await _receive(channel, url, target, limit)
            return
        except Unanswered as error:
            if attempt >= channel.client.retry.attempts:
                raise NoConnectionError(f"the download from {urlsplit(url).netloc} broke off ({error})") from error
            await channel.io.sleep(channel.client.retry.wait(attempt, {}))


async def _receive(channel: Channel, url: str, target: IO[bytes], limit: int | None) -> None:
    stream = await channel.download(url)
    try:
        while (chunk := await stream.read()) is not None:
            _write(target, chunk, limit)
    finally:
        await stream.close()
    announced = stream.headers.get("content-length", "")
    if announced.isdecimal() and "content-encoding" not in stream.headers and target.tell() != int(announced):
        raise Unanswered(f"{target.tell()} of {announced} bytes came")


def _write(target: IO[bytes], data: bytes, limit: int | None) -> None:
    if limit is not None and target.tell() + len(data) > limit:
        raise OutputError(f"the file has more than {limit} bytes")
    target.write(data)


def _inline(url: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(unquote_to_bytes(data), validate=True)
    except binascii.Error as error:
        raise OutputError("the file's data: URI is not valid base64") from error


async def read(channel: Channel, file: MediaFile, limit: int | None = None) -> bytes:
    content = io.BytesIO()
    await _fetch(channel, _location(file), content, limit)
    return content.getvalue()


async def save(channel: Channel, file: MediaFile, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as target:
            await _fetch(channel, _location(file), target)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def picture(data: bytes) -> Image.Image:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        text = "to_pil needs Pillow; run: pip install 'fal-bindings[images]'"
        raise ModuleNotFoundError(text, name=error.name) from error
    return Image.open(io.BytesIO(data))


def shown(file: MediaFile) -> dict[str, Any]:
    """What a notebook shows of a file beside its text."""
    from html import escape

    kind, url = _kind(file) or "", _location(file)
    if kind in _SHOWN and (file.size or 0) <= SHOWN_BYTES:
        channel = blocking(None).client.with_options(timeouts=_PATIENCE, retry=Retry(attempts=1)).blocking()
        try:
            return {kind: base64.b64encode(drive(read(channel, file, SHOWN_BYTES))).decode()}
        except FalError:
            pass
    if len(url) > SHOWN_BYTES:
        return {}
    source = f'src="{escape(url)}"'
    elements = {"image": f"<img {source}>", "video": f"<video controls {source}></video>"}
    elements["audio"] = f"<audio controls {source}></audio>"
    element = elements.get(kind.partition("/")[0])
    return {"text/html": element} if element else {}
