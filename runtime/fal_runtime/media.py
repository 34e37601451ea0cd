"""Files in outputs: what a generated file type can do beside naming its URL."""

from __future__ import annotations

import base64
import binascii
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from fal_runtime.client import Channel, Client, blocking, running
from fal_runtime.errors import NoConnectionError, OutputError
from fal_runtime.transport import Unanswered, drive

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MediaFile"]


class MediaFile:
    """A file that a request produced. Downloads need no key; `data:` URIs are read in place."""

    __slots__ = ()

    @property
    def size(self) -> int | None:
        """The size in bytes, if the platform said."""
        size: Any = getattr(self, "file_size", None)
        return size if isinstance(size, int) else None

    def read(self, *, client: Client | None = None) -> bytes:
        """Download the file and return its bytes.

        Raises:
            NoConnectionError: if the server could not be reached.
            ServiceError: if the file is not there (any more).
        """
        return drive(_read(blocking(client), self))

    async def read_async(self, *, client: Client | None = None) -> bytes:
        """Download the file and return its bytes; raises as `read` does."""
        return await _read(running(client), self)

    def save(self, path: str | os.PathLike[str], *, client: Client | None = None) -> Path:
        """Download the file to `path`, or into it under the file's own name if it is a folder; return where it lies.

        The file appears only when it is complete; an interrupted download leaves nothing behind. Raises as `read` does.
        """
        return drive(_save(blocking(client), self, Path(path)))

    async def save_async(self, path: str | os.PathLike[str], *, client: Client | None = None) -> Path:
        """Download the file to `path`; the same as `save`."""
        return await _save(running(client), self, Path(path))

    def to_pil(self, *, client: Client | None = None) -> Image.Image:
        """Download a picture and open it with Pillow, from the extra `images`.

        Raises:
            ModuleNotFoundError: if Pillow is not installed; and as `read` does.
        """
        import io

        try:
            from PIL import Image
        except ModuleNotFoundError as error:
            text = "to_pil needs Pillow; run: pip install 'fal-bindings[images]'"
            raise ModuleNotFoundError(text, name=error.name) from error

        return Image.open(io.BytesIO(self.read(client=client)))


def _location(file: MediaFile) -> str:
    url: Any = getattr(file, "url", None)
    if not isinstance(url, str) or not url:
        raise OutputError(f"this {type(file).__name__} has no URL, so there is nothing to download")
    return url


async def _chunks(channel: Channel, url: str) -> AsyncIterator[bytes]:
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        try:
            yield base64.b64decode(data, validate=True) if head.endswith(";base64") else unquote_to_bytes(data)
        except binascii.Error as error:
            raise OutputError("the file's data: URI is not valid base64") from error
        return
    stream = await channel.download(url)
    try:
        async for chunk in stream.chunks():
            yield chunk
    except Unanswered as error:
        raise NoConnectionError(f"the download from {urlsplit(url).netloc} broke off ({error})") from error
    finally:
        await stream.close()


async def _read(channel: Channel, file: MediaFile) -> bytes:
    return b"".join([chunk async for chunk in _chunks(channel, _location(file))])


async def _save(channel: Channel, file: MediaFile, path: Path) -> Path:
    url = _location(file)
    if path.is_dir():
        name: Any = getattr(file, "file_name", None) or unquote(urlsplit(url).path)
        path /= Path(str(name)).name if not url.startswith("data:") else "file"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("xb") as target:
            async for chunk in _chunks(channel, url):
                target.write(chunk)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
