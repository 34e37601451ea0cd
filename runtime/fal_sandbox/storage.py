"""What clients have uploaded: files whole or in parts, how long they live, and who may read them."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from fal_sandbox.blobs import Blob, BlobStore

Decision = Literal["allow", "forbid", "hide"]

_ID_SPACE = uuid.UUID("0f2b52a4-8a11-5d2b-9c4f-6f6a0e6a7a55")
_DECISIONS = frozenset({"allow", "forbid", "hide"})
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_PARTS = 10_000


class BadUpload(Exception):
    """Something about an upload that the platform would refuse."""


@dataclass(slots=True, eq=False)
class StoredFile:
    """One uploaded file, or one that is about to be."""

    key: str
    """Its path at the CDN."""
    url: str
    file_name: str
    """As the client calls it."""
    content_type: str
    created_at: float
    """On the sandbox's clock, in seconds."""
    lifecycle: dict[str, Any]
    """The lifecycle preference that it was uploaded with. Source: fal docs, media expiration and access control."""
    acl: dict[str, Any] = field(default_factory=dict[str, Any])
    """Who may read it: `default` and `rules`, each with the decision `allow`, `forbid` or `hide`."""
    blob: Blob | None = None
    """Its content, once that has come."""

    @property
    def complete(self) -> bool:
        """Whether its content has come."""
        return self.blob is not None

    @property
    def size(self) -> int:
        """The content's length in bytes."""
        return self.blob.size if self.blob is not None else 0

    def read(self) -> bytes:
        """The content.

        Raises:
            ValueError: if it has not come.
        """
        if self.blob is None:
            raise ValueError(f"{self.file_name} has not been uploaded to its end")
        return self.blob.read()

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        seconds = self.lifecycle.get("expiration_duration_seconds")
        return seconds is not None and now >= self.created_at + seconds

    @property
    def public(self) -> Decision:
        """What is decided about everyone without a rule of his own."""
        return cast("Decision", self.acl.get("default", "allow"))


@dataclass(slots=True, eq=False)
class MultipartUpload:
    """A file that comes in parts."""

    upload_id: str
    file: StoredFile
    parts: dict[int, tuple[str, Blob]] = field(default_factory=dict[int, "tuple[str, Blob]"])
    """By number: ETag without quotes, and content."""


class Storage:
    """All uploads of one sandbox.

    Args:
        blobs: where contents are kept.
        url: makes the public URL of a file's key.
        now: tells the time.
    """

    def __init__(self, blobs: BlobStore, url: Callable[[str], str], now: Callable[[], float]) -> None:
        self._blobs = blobs
        self._url = url
        self._now = now
        self._numbers = itertools.count(1)
        self._files: dict[str, StoredFile] = {}
        self._uploads: dict[str, MultipartUpload] = {}
        self.default_lifecycle: dict[str, Any] = {}
        """The account's own, for files that come without one."""

    def create(
        self, file_name: str, content_type: str, lifecycle: dict[str, Any] | None, folder: str = "files/b"
    ) -> StoredFile:
        """A place for a file."""
        token = uuid.uuid5(_ID_SPACE, str(next(self._numbers))).hex
        name = _ODD.sub("_", file_name)[-100:].lstrip(".") or "upload.bin"
        key = f"{folder}/{token[:8]}/{token[8:]}_{name}"
        lifecycle = self.default_lifecycle if lifecycle is None else lifecycle
        file = StoredFile(key, self._url(key), file_name, content_type, self._now(), lifecycle)
        file.acl = dict(lifecycle.get("initial_acl") or {"default": "allow"})
        self._files[key] = file
        return file

    def fill(self, file: StoredFile, blob: Blob, content_type: str | None) -> None:
        """Give a file its content; what it had before is gone."""
        if file.blob is not None:
            self._blobs.drop(file.blob)
        file.blob = blob
        file.content_type = content_type or file.content_type

    def find(self, key: str) -> StoredFile | None:
        """The file at this path, if its time is not over."""
        file = self._files.get(key)
        return file if file is not None and not file.expired(self._now()) else None

    def begin(self, file: StoredFile) -> MultipartUpload:
        """Begin to take a file in parts."""
        upload = MultipartUpload(uuid.uuid5(_ID_SPACE, file.key).hex, file)
        self._uploads[upload.upload_id] = upload
        return upload

    def upload(self, upload_id: str, key: str | None = None) -> MultipartUpload | None:
        """The upload with this id, of this file if it is named."""
        upload = self._uploads.get(upload_id)
        return upload if upload is not None and key in (None, upload.file.key) else None

    def put_part(self, upload: MultipartUpload, number: int, etag: str, blob: Blob) -> None:
        """Take a part; one that has the number of an earlier one replaces it.

        Raises:
            BadUpload: for a number that is none.
        """
        if not 1 <= number <= _MAX_PARTS:
            raise BadUpload(f"The number of a part is from 1 to {_MAX_PARTS}")
        if (before := upload.parts.get(number)) is not None:
            self._blobs.drop(before[1])
        upload.parts[number] = (etag, blob)

    def complete(self, upload: MultipartUpload, listed: object) -> None:
        """Make a file of the listed parts, in the order of their numbers.

        Raises:
            BadUpload: if there are none, or one was not uploaded or has another ETag.
        """
        numbers = sorted(_checked_parts(upload, listed))
        self.fill(upload.file, Blob.joined(upload.parts[number][1] for number in numbers), None)
        del self._uploads[upload.upload_id]

    def files(self) -> list[StoredFile]:
        """Every file whose upload has begun, oldest first."""
        return list(self._files.values())

    def clear(self) -> None:
        """Forget every file."""
        self._files.clear()
        self._uploads.clear()
        self.default_lifecycle = {}


def lifecycle_of(headers: Mapping[str, str]) -> dict[str, Any] | None:
    """The lifecycle preference in a request's headers; None if there is none, so that the account's own holds.

    Raises:
        BadUpload: if it is not of the documented form.
    """
    text = headers.get("x-fal-object-lifecycle", headers.get("x-fal-object-lifecycle-preference"))
    if text is None:
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadUpload("The lifecycle preference is not JSON") from error
    return checked_lifecycle(value)


def checked_lifecycle(value: object) -> dict[str, Any]:
    """The value, if it is a lifecycle preference.

    Raises:
        BadUpload: if it is none.
    """
    if not isinstance(value, dict):
        raise BadUpload("The lifecycle preference is not an object")
    members = cast("dict[str, Any]", value)
    seconds = members.get("expiration_duration_seconds")
    if seconds is not None and (type(seconds) is not int or seconds <= 0):
        raise BadUpload("expiration_duration_seconds is not a positive integer")
    if (acl := members.get("initial_acl")) is not None:
        checked_acl(acl)
    return members


def checked_acl(value: object) -> dict[str, Any]:
    """The value, if it is an access control list.

    Raises:
        BadUpload: if it is none.
    """
    members = cast("dict[str, Any]", value) if isinstance(value, dict) else {"default": None}
    rules: object = members.get("rules") or []
    if not _decides(members.get("default", "allow")) or not isinstance(rules, list):
        raise BadUpload("An access control list has a default decision and a list of rules")
    for rule in cast("list[object]", rules):
        if not isinstance(rule, dict) or not _decides(cast("dict[str, Any]", rule).get("decision")):
            raise BadUpload("A rule has a user and a decision: allow, forbid or hide")
    return members


def _decides(value: object) -> bool:
    return isinstance(value, str) and value in _DECISIONS


def _checked_parts(upload: MultipartUpload, listed: object) -> list[int]:
    parts: object = cast("dict[str, object]", listed).get("parts") if isinstance(listed, dict) else None
    if not isinstance(parts, list) or not parts:
        raise BadUpload("An upload is completed with a list of at least one part")
    numbers: list[int] = []
    for part in cast("list[object]", parts):
        members = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
        # The CDN's own way and that of its Google variant. Source: the `fal` package.
        number, etag = members.get("partNumber", members.get("part_number")), members.get("etag")
        known = upload.parts.get(number) if isinstance(number, int) else None
        if known is None or not isinstance(etag, str) or etag.strip('"') != known[0]:
            raise BadUpload(f"Part {number} was not uploaded, or has another ETag")
        numbers.append(cast("int", number))
    if len(set(numbers)) < len(numbers):
        raise BadUpload("A part is listed twice")
    return numbers
