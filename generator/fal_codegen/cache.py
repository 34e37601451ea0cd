"""What was read over HTTP before, so that asking again costs an answer without a body (RFC 9110, conditional requests)."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fal_runtime.client import Channel
from fal_runtime.errors import error_from_response
from fal_runtime.values import mapping

__all__ = ["Cache", "default_folder"]

_UNUSED_DAYS = 30
_VALIDATORS = (("etag", "if-none-match"), ("last-modified", "if-modified-since"))


def default_folder() -> Path:
    """Where answers are kept: `FAL_BINDINGS_CACHE`, or else the user's folder for such things."""
    import platformdirs

    return Path(os.environ.get("FAL_BINDINGS_CACHE") or platformdirs.user_cache_path("fal-bindings"))


class Cache:
    """A folder of answers, each with what its server needs to know to say that it is still the same.

    Args:
        folder: The folder, which may not exist yet. `None` keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def read(self, channel: Channel, url: str, params: Mapping[str, Any] | None = None, *, key: bool) -> bytes:
        """Read a URL.

        Raises:
            FalError: for every answer that is not a success, and if there is none.
        """
        query = urlencode(sorted((params or {}).items()), doseq=True)
        whole = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
        file = self._file(whole, str(channel.client.authorization()) if key else "")
        kept = _kept(file)
        conditions = {header: kept[0][name] for name, header in _VALIDATORS if kept and kept[0].get(name)}
        response = await channel.call("read", "GET", whole, headers=conditions, key=key)
        if response.status == 304 and kept is not None and file is not None:
            os.utime(file)
            return kept[1]
        if not 200 <= response.status < 300:
            raise error_from_response(response.status, response.headers, response.body)
        validators = {name: response.headers[name] for name, _ in _VALIDATORS if name in response.headers}
        if file is not None and validators:
            _keep(file, validators, response.body)
        return response.body

    def prune(self) -> None:
        """Forget what was not used for a month."""
        oldest = time.time() - _UNUSED_DAYS * 86400
        for file in self._folder.glob("*") if self._folder is not None else ():
            if file.is_file() and file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)

    def _file(self, url: str, authorization: str) -> Path | None:
        # What one key may see is not for another, so both make the name; neither can be read from it.
        name = hashlib.sha256(f"{authorization}\n{url}".encode()).hexdigest()
        return self._folder / name if self._folder is not None else None


def _kept(file: Path | None) -> tuple[dict[str, str], bytes] | None:
    """An answer that was kept, and its validators; `None` if there is none that can be read."""
    if file is None:
        return None
    try:
        head, _, body = file.read_bytes().partition(b"\n")
        found = mapping(json.loads(head))
    except (OSError, ValueError):
        return None
    return (found, body) if found.get("sha256") == hashlib.sha256(body).hexdigest() else None


def _keep(file: Path, validators: Mapping[str, str], body: bytes) -> None:
    head = json.dumps({**validators, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{os.getpid()}")
        part.write_bytes(head + b"\n" + body)
        part.replace(file)
    except OSError:
        pass  # a full or read-only disk costs the next pull some time, and this one nothing
