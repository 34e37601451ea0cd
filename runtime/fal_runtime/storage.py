"""Storage: files in, a URL out. Source of the wire facts: fal docs, "fal CDN" pages, and the official clients.

A file goes straight to the CDN with a short-lived token, above `MULTIPART_ABOVE` in parts. If the CDN fails, it goes
to the address that the platform hands out for one file: to the CDN once more, or else to a bucket.
"""

from __future__ import annotations

import base64
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

import msgspec

from fal_runtime.client import Channel, Client, blocking, running, successful
from fal_runtime.errors import (
    AuthenticationError,
    FalError,
    InputError,
    NotFoundError,
    OutputError,
    PermissionDeniedError,
    ServiceError,
    TimeoutExpired,
    UploadInterrupted,
    error_from_response,
)
from fal_runtime.lifecycle import Lifecycle
from fal_runtime.options import check
from fal_runtime.retry import Deadline
from fal_runtime.settings import SERVICES
from fal_runtime.sources import Content, Source, opened
from fal_runtime.transport import Response, drive
from fal_runtime.values import json_or_none, mapping

__all__ = ["Repository", "UploadOptions", "UploadState", "data_uri", "once", "send_content", "upload", "upload_async"]

T = TypeVar("T")

logger = logging.getLogger("fal_runtime")

MULTIPART_ABOVE = 90 * 2**20
"""Bytes above which a file goes up in parts."""
PART_SIZE = 10 * 2**20
PARTS_AT_ONCE = 8
READ_SIZE = 256 * 1024
"""Bytes that one part holds in memory at a time."""
LOOK_AGAIN = 0.02
"""Seconds after which a call looks whether another one has made what both want."""
WAIT_FOR_ANOTHER = 120.0
"""Seconds after which it makes it itself."""
TOKEN_LEEWAY = 300.0
"""Seconds before its end from which a token is not used any more, for what it begins must also end."""

Repository: TypeAlias = Literal["cdn", "rest", "gcs"]
"""Where a file goes: straight to the CDN, to the CDN by an address that the platform hands out, to a bucket likewise."""

REPOSITORIES: tuple[Repository, ...] = ("cdn", "rest", "gcs")
"""In the order in which they are tried. The official Python client has `cdn` and `gcs`, the JavaScript one `rest`."""


class UploadState(msgspec.Struct, kw_only=True):
    """How far an upload in parts came: what `upload(..., resume=...)` takes. msgspec writes it as JSON."""

    url: str
    """Where the file will be."""
    parts_url: str
    """Where its parts go. It may be signed, so keep it as you keep a key."""
    repository: Repository
    size: int
    """In bytes."""
    part_size: int
    modified: int | None = None
    """When the file on disk was last changed, in nanoseconds since the epoch."""
    etags: dict[int, str] = {}
    """What the server calls the parts that arrived, by their numbers from 1."""

    def __repr__(self) -> str:
        return f"<UploadState {len(self.etags)} of {self.parts} parts>"

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return max(1, -(-self.size // self.part_size))


class UploadOptions(TypedDict, total=False):
    """The options of `upload`."""

    content_type: str
    """The MIME type. Default: what the name or the first bytes say."""
    file_name: str
    """The name that the file gets. Default: its own."""
    lifecycle: Lifecycle
    """How long the file is kept, and who may read it. Default: as the account has it."""
    on_progress: Callable[[int, int], Any]
    """Called with the bytes that were sent and their total, never twice at once. It may be a coroutine function."""
    repository: Repository
    """Use this one only. Default: each after the other, if one fails."""
    resume: UploadState
    """The `state` of an `UploadInterrupted` of the same file: only the parts that are missing are sent."""
    timeout: float | None
    """Seconds for the whole upload. Default: without limit, as long as it goes on."""
    client: Client
    """The client to use. Default: the one of `configure`, or one made from the environment."""


def upload(source: Source, **options: Unpack[UploadOptions]) -> str:
    """Upload a file and return its URL, for an endpoint to fetch. No more than a few megabytes are held in memory.

    Args:
        source: A path, the file's bytes, a file open in mode `rb`, a Pillow image, or an array of `uint8`.
        options: See `UploadOptions`.

    Raises:
        UploadInterrupted: if an upload in parts broke off. Its `state` lets a later call send the rest.
        InputError: if it is nothing that can be uploaded.
        OSError: if the file cannot be opened.
        ConfigurationError: if an option is wrong.
        FalError: any other; see `fal_runtime.errors`.
    """
    return drive(_upload(blocking(options.get("client")), source, options))


async def upload_async(source: Source, **options: Unpack[UploadOptions]) -> str:
    """Upload a file and return its URL, as `upload` does."""
    return await _upload(running(options.get("client")), source, options)


def data_uri(source: Source, *, content_type: str | None = None) -> str:
    """Write a small file as a `data:` URI, which travels inside of the input. Endpoints take about 10 MiB.

    Raises:
        InputError: as `upload` does.
    """
    with opened(source, content_type=content_type) as content:
        data = base64.b64encode(content.read(0, content.size)).decode()
        return f"data:{content.content_type.replace(' ', '')};base64,{data}"


async def _upload(channel: Channel, source: Source, options: UploadOptions) -> str:
    check(options, UploadOptions)
    how: dict[str, Any] = {name: options.get(name) for name in ("lifecycle", "on_progress", "repository", "resume")}
    with opened(source, content_type=options.get("content_type"), file_name=options.get("file_name")) as content:
        try:
            return await send_content(channel, content, deadline=Deadline(options.get("timeout")), **how)
        except FalError as error:
            error.add_note(f"while {content.name} was uploaded")
            raise


async def send_content(
    channel: Channel,
    content: Content,
    *,
    deadline: Deadline,
    lifecycle: Lifecycle | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
    repository: Repository | None = None,
    resume: UploadState | None = None,
) -> str:
    """Upload what is open already, and return its URL."""
    transfer = _Transfer(channel, content, lifecycle, on_progress, deadline)
    if resume is not None:
        return await transfer.resume(resume)
    order = REPOSITORIES if repository is None else (repository,)
    for each, following in zip(order, (*order[1:], None), strict=True):
        try:
            return await transfer.send(each)
        except (AuthenticationError, PermissionDeniedError, InputError, TimeoutExpired, UploadInterrupted):
            raise  # no other repository would help
        except FalError as error:
            if following is None:
                raise
            logger.warning(
                "%s could not be uploaded to %r, so %r is next: %s", content.name, each, following, str(error)
            )
    raise AssertionError("unreachable")


class _Transfer:
    """One file on its way."""

    def __init__(
        self,
        channel: Channel,
        content: Content,
        lifecycle: Lifecycle | None,
        on_progress: Callable[[int, int], Any] | None,
        deadline: Deadline,
    ) -> None:
        self._channel = channel
        self._content = content
        self._lifecycle = lifecycle
        self._deadline = deadline
        self._progress = _Progress(channel, on_progress, content.size)

    async def send(self, repository: Repository) -> str:
        """Upload the file to one repository."""
        in_parts = self._content.size > MULTIPART_ABOVE and repository != "gcs"
        if in_parts:
            begin = self._begin_on_cdn if repository == "cdn" else self._begin_by_rest
            return await self.resume(await begin())
        url = await (self._send_to_cdn() if repository == "cdn" else self._send_by_rest(repository))
        await self._progress.finish()
        return url

    # --- whole --------------------------------------------------------------------------------------------------------

    async def _send_to_cdn(self) -> str:
        url = f"{self._channel.client.urls['cdn']}/files/upload"
        headers = self._headers({"x-fal-file-name": _ascii(self._content.name)})
        response = await self._exchange("POST", url, self._piece(1, self._content.size), headers, token=True)
        return _text(response, "access_url")

    async def _send_by_rest(self, repository: Repository) -> str:
        answer = await self._initiate("initiate", "fal-cdn-v3" if repository == "rest" else "gcs")
        url = _text(answer, "upload_url")
        await self._exchange("PUT", url, self._piece(1, self._content.size), {})
        return _text(answer, "file_url")

    async def _initiate(self, path: str, storage: str) -> Response:
        body = msgspec.json.encode({"file_name": self._content.name, "content_type": self._content.content_type})
        return successful(
            await self._channel.call(
                "upload",
                "POST",
                f"{self._channel.client.urls['rest']}/storage/upload/{path}",
                params={"storage_type": storage},
                headers=self._headers({}),
                body=body,
                deadline=self._deadline,
            )
        )

    # --- in parts -----------------------------------------------------------------------------------------------------

    async def _begin_on_cdn(self) -> UploadState:
        token = await _token(self._channel)
        cdn = self._channel.client.urls["cdn"]
        base = cdn if cdn != SERVICES["cdn"][1] else token.base_url.rstrip("/")
        headers = self._headers({"x-fal-file-name": _ascii(self._content.name)})
        response = await self._exchange("POST", f"{base}/files/upload/multipart", b"", headers, token=True)
        url = _text(response, "access_url")
        if urlsplit(url).scheme != "https" and urlsplit(url).netloc != urlsplit(base).netloc:
            raise OutputError("the CDN handed out an address that is not safe for a token", body=response.body)
        return self._state("cdn", url, f"{url}/multipart/{_text(response, 'uploadId')}")

    async def _begin_by_rest(self) -> UploadState:
        answer = await self._initiate("initiate-multipart", "fal-cdn-v3")
        return self._state("rest", _text(answer, "file_url"), _text(answer, "upload_url"))

    def _state(self, repository: Repository, url: str, parts_url: str) -> UploadState:
        size, modified = self._content.size, self._content.modified()
        return UploadState(
            url=url, parts_url=parts_url, repository=repository, size=size, part_size=PART_SIZE, modified=modified
        )

    async def resume(self, state: UploadState) -> str:
        """Send the parts that are missing, and put all of them together."""
        name = self._content.name
        if (state.size, state.modified) != (self._content.size, self._content.modified()):
            raise InputError(f"{name} is not the file whose upload broke off, or was changed; upload it without resume")
        missing = [number for number in range(1, state.parts + 1) if number not in state.etags]
        self._progress.begin_at(state.size - sum(self._part(state, number).size for number in missing))
        try:
            operations = [partial(self._send_part, state, number) for number in missing]
            await self._channel.io.gather(operations, PARTS_AT_ONCE)
            await self._complete(state)
        except InputError:
            raise
        except FalError as error:
            text = f"{name}: {len(state.etags)} of {state.parts} parts arrived; upload(..., resume=error.state) goes on"
            interrupted = UploadInterrupted(f"{text} ({error})", status_code=error.status_code, body=error.body)
            interrupted.retryable, interrupted.state = error.retryable, state
            raise interrupted from error
        await self._progress.finish()
        return state.url

    async def _complete(self, state: UploadState) -> None:
        parts = [{"partNumber": number, "etag": etag} for number, etag in sorted(state.etags.items())]
        body, url = msgspec.json.encode({"parts": parts}), _below(state.parts_url, "complete")
        headers = {"content-type": "application/json"}
        try:
            await self._exchange("POST", url, body, headers, token=state.repository == "cdn")
        except NotFoundError:
            # An attempt whose answer was lost may have done it: then there is nothing left to complete, but the file.
            there = await self._channel.call("read", "HEAD", state.url, key=False, deadline=self._deadline)
            if there.status != 200:
                raise

    def _part(self, state: UploadState, number: int) -> _Piece:
        at = (number - 1) * state.part_size
        return self._piece(number, min(state.part_size, state.size - at), at)

    async def _send_part(self, state: UploadState, number: int) -> None:
        url = _below(state.parts_url, str(number))
        # Compressed on its way, an answer may lose its ETag.
        response = await self._exchange(
            "PUT", url, self._part(state, number), {"accept-encoding": "identity"}, token=state.repository == "cdn"
        )
        etag = response.headers.get("etag") or _fields(response).get("etag")
        if not isinstance(etag, str) or not etag:
            text = (
                f"{urlsplit(url).netloc} took part {number} without giving it an ETag; does a proxy drop that header?"
            )
            raise OutputError(text, body=response.body)
        state.etags[number] = etag

    # --- both ---------------------------------------------------------------------------------------------------------

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Add the lifecycle, which the CDN reads by one name and the platform by the other."""
        if self._lifecycle is None:
            return headers
        text = self._lifecycle.to_json()
        return {**headers, "x-fal-object-lifecycle": text, "x-fal-object-lifecycle-preference": text}

    def _piece(self, number: int, size: int, at: int = 0) -> _Piece:
        return _Piece(self._content, at, size, partial(self._progress.report, number))

    async def _exchange(
        self, method: str, url: str, body: bytes | _Piece, headers: dict[str, str], *, token: bool = False
    ) -> Response:
        """Send some of the file, with the CDN's token or with no authorization at all; never with the key."""
        idle = self._channel.client.timeouts.attempt
        headers = {"content-type": self._content.content_type, **headers}
        send = partial(self._channel.call, "upload", method, url, body=body, key=False, idle=idle)
        if token:
            used = await _token(self._channel)
            response = await send(headers={**headers, "authorization": used.authorization}, deadline=self._deadline)
            if response.status == 401:
                used = await _token(self._channel, refused=used)
                response = await send(headers={**headers, "authorization": used.authorization}, deadline=self._deadline)
        else:
            response = await send(headers=headers, deadline=self._deadline)
        if response.status in (401, 403):  # this is not about the key, which was not sent
            error = error_from_response(response.status, response.headers, response.body)
            raise ServiceError(error.message, status_code=response.status, body=response.body)
        return successful(response)


class _Piece:
    """Some of a file as the body of a request: it is read while it is sent."""

    def __init__(self, content: Content, at: int, size: int, report: Callable[[int], Any]) -> None:
        self._content = content
        self._at = at
        self._report = report
        self.size = size

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        await self._report(0)
        for sent in range(0, self.size, READ_SIZE):
            chunk = self._content.read(self._at + sent, min(READ_SIZE, self.size - sent))
            yield chunk
            await self._report(sent + len(chunk))


class _Progress:
    """Counts the bytes that were sent, and tells the caller. A part that is sent again is not counted twice."""

    def __init__(self, channel: Channel, callback: Callable[[int, int], Any] | None, total: int) -> None:
        self._io = channel.io
        self._callback = callback
        self._total = total
        self._before = 0
        self._parts: dict[int, int] = {}
        self._told = -1
        self._telling = threading.Lock()

    def begin_at(self, sent: int) -> None:
        """Start from what an earlier call sent."""
        self._before, self._parts = sent, {}

    async def report(self, part: int, sent: int) -> None:
        """Note how much of a part was sent. Whoever finds the caller being told something goes on without."""
        if self._callback is None:
            return
        self._parts[part] = sent
        if self._telling.acquire(blocking=False):
            try:
                await self._tell(self._before + sum(self._parts.copy().values()))
            finally:
                self._telling.release()

    async def finish(self) -> None:
        """Tell the caller that everything has arrived."""
        await self._tell(self._total)

    async def _tell(self, sent: int) -> None:
        if self._callback is not None and sent > self._told:
            self._told = sent
            await self._io.invoke(self._callback, sent, self._total)


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    """Lets the CDN take files for a while. It is a secret, like the key that it was made with."""

    token: str
    token_type: str = "Bearer"  # noqa: S105
    base_url: str = SERVICES["cdn"][1]
    expires_at: datetime

    @property
    def authorization(self) -> str:
        return f"{self.token_type} {self.token}"


async def _token(channel: Channel, *, refused: _Token | None = None) -> _Token:
    """The client's token for the CDN; a new one if there is none, it will end soon, or it was refused."""
    cache = channel.client.cache

    def find() -> _Token | None:
        until, token = cache.get("cdn token", (0.0, None))
        return token if time.time() < until and token is not refused else None

    async def fetch() -> _Token:
        url = f"{channel.client.urls['rest']}/storage/auth/token"
        response = await channel.call("upload", "POST", url, params={"storage_type": "fal-cdn-v3"}, body=b"{}")
        try:
            token = msgspec.json.decode(successful(response).body, type=_Token)
        except ValueError:
            # Neither the answer nor what msgspec says about it is kept: there may be a token in it.
            raise OutputError("the answer of the storage service is no upload token") from None
        ends, now = token.expires_at.timestamp(), time.time()
        cache["cdn token"] = ends - min(TOKEN_LEEWAY, (ends - now) / 2), token
        return token

    return await once(channel, "cdn token", find, fetch)


async def once(
    channel: Channel,
    name: str,
    find: Callable[[], T | None],
    make: Callable[[], Awaitable[T]],
    deadline: Deadline | None = None,
) -> T:
    """Make what many calls of a client, in whatever thread or event loop, want at the same time only once.

    Args:
        channel: Whose client it is.
        name: What it is.
        find: Gives it if it is there. If the call that makes it fails, another one tries.
        make: Makes it, so that it can be found from then on.
        deadline: When to stop waiting for another call.

    Raises:
        TimeoutExpired: if the deadline passed.
    """
    # A forked process inherits what its parent is making, and must not wait for it.
    making: dict[tuple[int, str], object] = channel.client.cache.setdefault("making", {})
    place, mine = (os.getpid(), name), object()
    patience = Deadline(WAIT_FOR_ANOTHER)
    while (found := find()) is None:
        if making.setdefault(place, mine) is mine:
            try:
                found = find()  # another call may have ended since the first look
                return found if found is not None else await make()
            finally:
                del making[place]
        if deadline is not None and deadline.over():
            raise TimeoutExpired(f"not done within {deadline.seconds:g} s")
        if patience.over():  # it may be waiting for this very thread
            return await make()
        await channel.io.sleep(LOOK_AGAIN)
    return found


def _fields(response: Response) -> dict[str, Any]:
    return mapping(json_or_none(response.body))


def _text(response: Response, name: str) -> str:
    value = _fields(response).get(name)
    if not isinstance(value, str) or not value:
        raise OutputError(f"the answer to an upload names no {name}", status_code=response.status, body=response.body)
    return value


def _below(url: str, name: str) -> str:
    """The URL of something below another one, which may have a signature in its query."""
    path, mark, query = url.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _ascii(name: str) -> str:
    """A file's name as a header can carry it."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "_" for sign in name)
