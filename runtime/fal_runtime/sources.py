"""What can be uploaded: bytes, paths, open files, pictures. Each is opened as content that is read piece by piece."""

from __future__ import annotations

import functools
import io
import os
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from fal_runtime.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Content", "Picture", "Source", "extension", "is_source", "kind_by_name", "opened", "trouble"]


class Picture(Protocol):
    """A Pillow image, or a NumPy array of `uint8` that Pillow can make one of."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


Source: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Picture
"""What `upload` takes: a file's path, its bytes, a file open for reading in binary mode, or a picture."""

_IN_MEMORY = 8 * 2**20
"""Bytes of a pipe that are kept before the rest goes to a temporary file."""

_UNKNOWN = "application/octet-stream"
_BY_NAME = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".heic": "image/heic",
    ".m4a": "audio/mp4",
    ".mkv": "video/x-matroska",
    ".ogg": "audio/ogg",
    ".safetensors": _UNKNOWN,
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}
"""MIME types that Python's own table lacks or names differently from version to version."""

_BY_START = (
    (0, b"\x89PNG\r\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"%PDF", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
)
"""How files of a kind start: at which byte, with which bytes."""

_PNG_MODES = frozenset({"1", "I", "I;16", "L", "LA", "P", "RGB", "RGBA"})


class Content:
    """Something to upload, open for reading from any place, also by many threads at once."""

    def __init__(self, handle: IO[bytes], *, start: int, size: int, name: str, content_type: str) -> None:
        self._handle = handle
        self._start = start
        self._lock = threading.Lock()
        self.size = size
        self.name = name
        self.content_type = content_type

    def read(self, at: int, count: int) -> bytes:
        """Read `count` bytes from byte `at` on.

        Raises:
            InputError: if they are not there, because someone changes the file meanwhile.
        """
        with self._lock:
            self._handle.seek(self._start + at)
            data = self._handle.read(count)
            while len(data) < count:  # an unbuffered file may give less than there is
                more = self._handle.read(count - len(data))
                if not more:
                    raise InputError(f"{self.name} became shorter while it was read; upload it when it is complete")
                data += more
        return data

    def modified(self) -> int | None:
        """When a file on disk was last changed, in nanoseconds since the epoch; `None` for what is not on disk."""
        stamp = self.stamp()
        return stamp[0] if stamp else None

    def stamp(self) -> tuple[int, ...] | None:
        """What says which file on disk this is, and differs after it was changed; `None` for what is not on disk."""
        try:
            stat = os.fstat(self._handle.fileno())
        except (OSError, AttributeError):
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_dev, stat.st_ino, self._start


def is_source(value: object) -> bool:
    """Whether a value stands for a file's content: anything that `upload` takes, but text."""
    if isinstance(value, bytes | bytearray | memoryview | os.PathLike):
        return True
    return hasattr(value, "read") or hasattr(type(value), "__array_interface__")


def trouble(source: Any) -> str | None:
    """Why a source cannot be uploaded, as far as a glance at it tells; `None` if nothing speaks against it."""
    if isinstance(source, os.PathLike):
        path = _path(cast("os.PathLike[str]", source))
        if path.is_dir():
            return f"{str(path)!r} is a folder; give a file"
        return None if path.exists() else f"there is no file {str(path)!r}"
    if hasattr(source, "read"):
        return _unreadable(source)
    dtype = getattr(source, "dtype", None)
    if dtype is not None and str(dtype) != "uint8":
        return f"an array of {dtype} is no picture; give one of uint8, with values from 0 to 255"
    return None


@contextmanager
def opened(
    source: Source, *, content_type: str | None = None, file_name: str | None = None
) -> Generator[Content, None, None]:
    """Open a source. A file that the caller opened is read from where it stands, and left standing there.

    Args:
        source: What to open.
        content_type: Its MIME type. Default: what its name or its first bytes say.
        file_name: Its name. Default: the file's own.

    Raises:
        InputError: if it is nothing that can be uploaded.
        OSError: if the file cannot be opened.
    """
    with ExitStack() as stack:
        handle, name, kind = _handle(source, stack)
        start = handle.tell()
        size = max(0, handle.seek(0, os.SEEK_END) - start)
        handle.seek(start)
        stack.callback(_rewind, handle, start)
        content_type = content_type or kind or kind_by_name(file_name or name)
        if content_type is None:
            content_type = _kind_by_start(handle.read(16))
        name = file_name or name or f"upload{extension(content_type)}"
        yield Content(handle, start=start, size=size, name=name, content_type=content_type)


@functools.lru_cache(maxsize=128)
def kind_by_name(name: str) -> str | None:
    """The MIME type that a file's name speaks of."""
    import mimetypes

    suffix = Path(name).suffix.lower()
    return _BY_NAME.get(suffix) or mimetypes.MimeTypes().guess_type(f"x{suffix}", strict=False)[0]


def _kind_by_start(start: bytes) -> str:
    kinds = (kind for at, mark, kind in _BY_START if start.startswith(mark, at))
    return next(kinds, _UNKNOWN)


@functools.lru_cache(maxsize=128)
def extension(content_type: str) -> str:
    """What the name of a file of this MIME type ends with."""
    import mimetypes

    for suffix, kind in _BY_NAME.items():
        if kind == content_type != _UNKNOWN:
            return suffix
    return mimetypes.MimeTypes().guess_extension(content_type, strict=False) or ".bin"


def _handle(source: Any, stack: ExitStack) -> tuple[IO[bytes], str, str | None]:
    """A seekable file with the source's content, its name, and its MIME type if that is certain."""
    if isinstance(source, str) and ("://" in source[:12] or source.startswith("data:")):
        raise InputError("this is a URL already, so there is nothing to upload; give it to the endpoint as it is")
    if isinstance(source, str | os.PathLike):
        path = _path(cast("str | os.PathLike[str]", source))
        return stack.enter_context(path.open("rb")), path.name, None
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source if isinstance(source, bytes) else bytes(cast(bytearray, source))), "", None
    if hasattr(source, "read"):
        text = _unreadable(source)
        if text:
            raise InputError(text)
        name: Any = getattr(source, "name", None)
        name = os.path.basename(name) if isinstance(name, str) else ""
        seekable = getattr(source, "seekable", None)
        return (source if seekable and seekable() else stack.enter_context(_spooled(source))), name, None
    if is_source(source):
        text = trouble(source)
        if text:
            raise InputError(text)
        return *_encoded(source), None
    kind = type(source).__name__
    raise InputError(f"takes a path, bytes, a file open in mode 'rb', or a picture, not a value of type {kind}")


def _path(source: str | os.PathLike[str]) -> Path:
    return Path(os.fsdecode(source)).expanduser()


def _unreadable(file: Any) -> str | None:
    """Why bytes cannot be read from a file."""
    if getattr(file, "closed", False):
        return "the file is closed; open it again, or give its path"
    if isinstance(getattr(file, "url", None), str):
        return "this is an output with a URL already; give it to the endpoint as it is"
    with suppress(AttributeError, TypeError):
        nothing = file.read(0)
        if isinstance(nothing, bytes):
            return None
        nothing.close()  # a coroutine: the file is read with await
    return "the file does not give bytes; open it with mode 'rb', or give its path"


def _spooled(file: IO[bytes]) -> IO[bytes]:
    """What cannot be read twice, such as a pipe, copied to where it can."""
    import tempfile

    copy = cast(IO[bytes], tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115
    while chunk := file.read(2**16):
        copy.write(chunk)
    copy.seek(0)
    return copy


def _rewind(handle: IO[bytes], start: int) -> None:
    with suppress(ValueError):  # the caller may have closed it
        handle.seek(start)


def _encoded(source: Any) -> tuple[IO[bytes], str]:
    """A picture as a file: JPEG if it was read from one, or else PNG."""
    picture: Image.Image = source
    if not hasattr(source, "save"):
        try:
            from PIL import Image
        except ModuleNotFoundError as error:
            text = "to upload an array as a picture needs Pillow; run: pip install 'fal-bindings[images]'"
            raise ModuleNotFoundError(text, name=error.name) from error
        picture = Image.fromarray(source)
    options: dict[str, Any] = {"exif": exif} if (exif := picture.getexif()) else {}  # it may say which side is up
    file = io.BytesIO()
    if picture.format in ("JPEG", "MPO") and picture.mode in ("CMYK", "L", "RGB"):
        picture.save(file, "JPEG", quality=95, **options)
        name = "upload.jpg"
    else:
        (picture if picture.mode in _PNG_MODES else picture.convert("RGB")).save(file, "PNG", **options)
        name = "upload.png"
    file.seek(0)
    return file, name
