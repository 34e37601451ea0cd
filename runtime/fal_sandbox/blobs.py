"""Bodies of any size: a small one is kept in memory, a large one in a file, and both are read the same way."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HELD_BYTES = 256 * 1024
"""The largest body that is kept in memory, and the size of the pieces in which a larger one is read."""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes, wherever they lie."""

    pieces: tuple[bytes | _File, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in self.pieces)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces of a bearable size."""
        stop = self.size if stop is None else min(stop, self.size)
        offset = 0
        for piece in self.pieces:
            size = len(piece) if isinstance(piece, bytes) else piece.size
            first, last = max(start - offset, 0), min(stop - offset, size)
            offset += size
            if first >= last:
                continue
            if isinstance(piece, bytes):
                yield piece[first:last]
                continue
            with piece.path.open("rb") as file:
                file.seek(first)
                while first < last and (chunk := file.read(min(HELD_BYTES, last - first))):
                    first += len(chunk)
                    yield chunk

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` up to `stop` at once."""
        return b"".join(self.chunks(start, stop))

    def digest(self) -> str:
        """The content's MD5, in hexadecimal digits: what object stores give as ETag."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    @classmethod
    def joined(cls, blobs: Iterable[Blob]) -> Blob:
        """One after the other, without copying."""
        return cls(tuple(itertools.chain.from_iterable(blob.pieces for blob in blobs)))


class BlobStore:
    """Takes in what comes in pieces. Its folder is made for the first large body and goes when the store does."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._numbers = itertools.count(1)

    async def take(self, chunks: AsyncIterator[bytes]) -> Blob:
        """Keep all of these; what has been kept of an iteration that fails is deleted."""
        held: list[bytes] = []
        size = 0
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size > HELD_BYTES:
                return await self._spill(held, chunks)
        return Blob((b"".join(held),) if size else ())

    async def _spill(self, held: list[bytes], chunks: AsyncIterator[bytes]) -> Blob:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="fal-sandbox-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / str(next(self._numbers))
        size = 0
        try:
            # The pieces are as small as the network hands them on, and go to the system's cache, not to the disk.
            with path.open("wb") as file:
                for chunk in held:
                    size += file.write(chunk)
                held.clear()
                async for chunk in chunks:
                    size += file.write(chunk)
        except BaseException:
            path.unlink()
            raise
        return Blob((_File(path, size),))

    def drop(self, blob: Blob) -> None:
        """Delete the file of a blob that is not needed any more."""
        for piece in blob.pieces:
            if isinstance(piece, _File):
                piece.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete every file."""
        if self._folder is not None:
            for path in self._folder.iterdir():
                path.unlink(missing_ok=True)
