"""Files in outputs: what a generated file type can do beside naming its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fal_runtime.models import OutputModel

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from PIL import Image

    from fal_runtime import client as clients
    from fal_runtime import downloads, transport
    from fal_runtime.client import Client
else:  # loaded by the first download
    from fal_runtime.packages import LazyModule

    clients = LazyModule("fal_runtime.client")
    downloads = LazyModule("fal_runtime.downloads")
    transport = LazyModule("fal_runtime.transport")

__all__ = ["File", "MediaFile"]


class MediaFile:
    """A file that a request produced. Downloads need no key; `data:` URIs are read in place."""

    __slots__ = ()

    @property
    def size(self) -> int | None:
        """The size in bytes, if the platform said."""
        size: Any = getattr(self, "file_size", None)
        return size if isinstance(size, int) else None

    def read(self, *, client: Client | None = None) -> bytes:
        """Download the file and return its bytes. A download that breaks off is begun again, as `Client.retry` says.

        Raises:
            NoConnectionError: if the server could not be reached, or the download broke off each time.
            ServiceError: if the file is not there (any more).
        """
        return transport.drive(downloads.read(clients.blocking(client), self))

    async def read_async(self, *, client: Client | None = None) -> bytes:
        """Download the file and return its bytes; raises as `read` does."""
        return await downloads.read(clients.running(client), self)

    def save(self, path: str | os.PathLike[str], *, client: Client | None = None) -> Path:
        """Download the file to `path`, or into it under the file's own name if it is a folder; return where it lies.

        The file appears only when it is complete; an interrupted download leaves nothing behind. Raises as `read` does.
        """
        return transport.drive(downloads.save(clients.blocking(client), self, downloads.target_of(self, path)))

    async def save_async(self, path: str | os.PathLike[str], *, client: Client | None = None) -> Path:
        """Download the file to `path`; the same as `save`."""
        return await downloads.save(clients.running(client), self, downloads.target_of(self, path))

    def to_pil(self, *, client: Client | None = None) -> Image.Image:
        """Download a picture and open it with Pillow, from the extra `images`.

        Raises:
            ModuleNotFoundError: if Pillow is not installed; and as `read` does.
        """
        return downloads.picture(self.read(client=client))

    async def to_pil_async(self, *, client: Client | None = None) -> Image.Image:
        """Download a picture and open it with Pillow, as `to_pil` does."""
        return downloads.picture(await self.read_async(client=client))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: the picture itself, or a player. Whatever goes wrong, the text is shown."""
        text = repr(self)
        bundle = {"text/plain": text if len(text) <= 500 else f"{text[:499]}…"}
        try:
            return {**bundle, **downloads.shown(self)}
        except Exception:  # a notebook must not fail because something cannot be shown
            return bundle


class File(OutputModel, MediaFile, kw_only=True):
    """A file in the output of an endpoint that has no types."""

    url: str
    """Where to download the file."""
    content_type: str | None = None
    """The MIME type."""
    file_name: str | None = None
    file_size: int | None = None
    """In bytes."""
