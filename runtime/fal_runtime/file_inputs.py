"""Files in inputs: paths, bytes, open files and pictures are uploaded before a request is sent, and become URLs.

An input is first checked with a stand-in for each file, so that one that is wrong costs no upload. The caller's own
objects are not changed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import inspect

from fal_runtime.client import Channel
from fal_runtime.errors import FalError, FieldError
from fal_runtime.media import MediaFile
from fal_runtime.retry import Deadline
from fal_runtime.shapes import inside, reached
from fal_runtime.sources import Content, is_source, opened, trouble
from fal_runtime.storage import once, send_content
from fal_runtime.values import mapping, sequence

__all__ = ["Files"]

FILES_AT_ONCE = 8
REUSE_FOR = 1800.0
"""Seconds for which the URL of what was uploaded is used again: an account may let its files expire."""
REMEMBERED = 1024
"""How many uploads a client keeps in mind, and how many files on disk are known by their hash."""
HASHED_AT_ONCE = 2**20

_LOCAL = re.compile(r"file:|~|\.{0,2}[/\\]|[A-Za-z]:[/\\]")
"""How a path starts that cannot be anything else."""
_NAME = re.compile(r"[^:?#]{1,250}\.[A-Za-z][A-Za-z0-9]{1,4}")
"""A name with an extension, with no scheme before it."""


_BYTES = frozenset({bytes, bytearray, memoryview})
_PLAIN = frozenset({bool, int, float, type(None), msgspec.UnsetType})


class _Place(NamedTuple):
    """What may be found where a value of some type is; what is in a list or map counts as being where that is."""

    file: bool
    """A file, or the URL of one."""
    anything: bool
    """Whatever the caller puts there."""
    models: tuple[Any, ...]
    """Objects of these types."""


_ANYTHING = _Place(file=False, anything=True, models=())
_NOTHING = _Place(file=False, anything=False, models=())


def _is_file(info: inspect.Type) -> bool:
    return "file" in mapping(getattr(info, "extra", None))


@functools.lru_cache(maxsize=512)
def _may_hold_files(type_: Any) -> bool:
    return any(_is_file(info) or isinstance(info, inspect.AnyType) for info in reached(type_))


def _place(info: inspect.Type) -> _Place:
    file, anything, models = False, False, dict[Any, None]()
    waiting = [info]
    while waiting:
        each = waiting.pop()
        if isinstance(each, inspect.StructType):
            if _may_hold_files(each.cls):
                models[each.cls] = None
            continue
        file = file or _is_file(each)
        anything = anything or isinstance(each, inspect.AnyType)
        waiting += inside(each)
    return _Place(file, anything, tuple(models))


@functools.lru_cache(maxsize=512)
def _root(type_: Any) -> _Place:
    return _place(inspect.type_info(type_))


@functools.lru_cache(maxsize=512)
def _fields(model: type[Any]) -> dict[str, tuple[str, _Place]]:
    """The fields in which there may be files: by their names on the wire, their own names and what they may hold."""
    info = inspect.type_info(model)
    if not isinstance(info, inspect.StructType):
        return {}
    places = {field.encode_name: (field.name, _place(field.type)) for field in info.fields}
    return {wire: found for wire, found in places.items() if found[1] != _NOTHING}


class Files:
    """The files of one input. `take` finds them, `upload_into` uploads them and writes their URLs.

    Attributes:
        sources: What was found.
        problems: What is wrong with it.
    """

    def __init__(self) -> None:
        self.sources: list[Any] = []
        self.problems: list[FieldError] = []
        self._paths: list[str] = []
        self._strict = True
        self._mark = ""

    def take(self, value: Any, type_: Any, *, validate: bool = True) -> Any:
        """A copy of an input with a stand-in, which is a URL, for each file; or the input itself if there is none.

        Args:
            value: The input, or a dict of its fields.
            type_: Its type.
            validate: Whether to look for strings that are paths where there should be URLs.
        """
        self._strict = validate
        if isinstance(value, msgspec.Struct) and not _may_hold_files(type_):
            self._refuse_files(value, (), "")
            return value
        try:
            return self._walk(value, _root(type_), "")
        except RecursionError:  # writing it fails, too, and says so
            return value

    def put_back(self, value: Any) -> Any:
        """A value, built from a copy that `take` made, with the files in it again. It is changed in place."""
        if isinstance(value, str) and self._mark and value.startswith(self._mark):
            return self.sources[int(value[len(self._mark) :])]
        if isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                setattr(value, name, self.put_back(getattr(value, name)))
        elif isinstance(value, dict):
            return {key: self.put_back(item) for key, item in mapping(value).items()}
        elif isinstance(value, list):
            return [self.put_back(item) for item in sequence(value)]
        return value

    async def upload_into(self, channel: Channel, body: bytes, deadline: Deadline) -> bytes:
        """Upload the files, several at a time and none twice, and put their URLs into the JSON of the input.

        Raises:
            FalError: if a file cannot be uploaded. Notes say which field it is for.
        """
        digests: list[str] = []
        contents: dict[str, tuple[Content, str]] = {}
        with ExitStack() as stack:
            for source, path in zip(self.sources, self._paths, strict=True):
                content = stack.enter_context(opened(source))
                digests.append(f"{content.content_type} {await _hash(channel, content)}")
                contents.setdefault(digests[-1], (content, path))
            operations = [
                partial(_uploaded, channel, content, digest, path, deadline)
                for digest, (content, path) in contents.items()
            ]
            urls = dict(zip(contents, await channel.io.gather(operations, FILES_AT_ONCE), strict=True))
        stand_in = re.compile(rb'"' + re.escape(self._mark.encode()) + rb'(\d+)"')
        return stand_in.sub(lambda match: msgspec.json.encode(urls[digests[int(match[1])]]), body)

    def _walk(self, value: Any, place: _Place, path: str) -> Any:
        if isinstance(value, str):
            if place.file and self._strict and is_local(value):
                name = value if len(value) <= 80 else f"...{value[-77:]}"
                message = f"{name!r} looks like a path, and a URL is wanted: to upload a file, give pathlib.Path(...)"
                self.problems.append(FieldError(path=path, rule="url_parsing", message=message, given=value))
            return value
        if isinstance(value, msgspec.Struct):
            return self._model(value, place, path)
        if isinstance(value, dict):
            return self._mapping(cast("dict[str, Any]", value), place, path)
        if isinstance(value, list | tuple):
            return self._list(cast("list[Any]", value), place, path)
        if (place.file or place.anything) and is_source(value):
            return self._stand_in(value, path)
        if type(value) in _BYTES:
            self._refuse(value, path)
        return value

    def _model(self, value: msgspec.Struct, place: _Place, path: str) -> Any:
        if place.file and isinstance(value, MediaFile) and type(value) not in place.models:
            return getattr(value, "url", value)  # an output of one endpoint as the input of the next
        fields = _fields(type(value))
        self._refuse_files(value, fields, path)
        parts = ((wire, getattr(value, name), inner) for wire, (name, inner) in fields.items())
        changes = {fields[wire][0]: after for wire, after in self._changed(parts, path).items()}
        return msgspec.structs.replace(value, **changes) if changes else value

    def _refuse_files(self, value: msgspec.Struct, fields: Collection[str], path: str) -> None:
        """Find files where there is no place for one: msgspec would write bytes as text."""
        if not _BYTES.isdisjoint(map(type, msgspec.structs.astuple(value))):
            for name, wire in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
                if wire not in fields and type(getattr(value, name)) in _BYTES:
                    self._refuse(getattr(value, name), f"{path}.{wire}" if path else wire)

    def _refuse(self, source: Any, path: str) -> None:
        message = f"takes no file, so it cannot be a value of type {type(source).__name__}"
        self.problems.append(FieldError(path=path, rule="file_not_taken", message=message, given=source))

    def _list(self, value: list[Any], place: _Place, path: str) -> Any:
        changes = self._changed(((index, item, place) for index, item in enumerate(value)), path)
        return [changes.get(index, item) for index, item in enumerate(value)] if changes else value

    def _mapping(self, value: Mapping[str, Any], place: _Place, path: str) -> Any:
        fields = {wire: inner for model in place.models for wire, (_, inner) in _fields(model).items()}
        other = place if not place.models else _ANYTHING if place.anything else _NOTHING
        changes = self._changed(((key, item, fields.get(key, other)) for key, item in value.items()), path)
        return {**value, **changes} if changes else value

    def _changed(self, parts: Iterable[tuple[Any, Any, _Place]], path: str) -> dict[Any, Any]:
        """Walk through the parts of a value; return those that had files in them, by their names or numbers."""
        changes: dict[Any, Any] = {}
        for step, item, place in parts:
            if type(item) in _PLAIN or (type(item) is str and not place.file):
                continue
            where = f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}" if path else str(step)
            after = self._walk(item, place, where)
            if after is not item:
                changes[step] = after
        return changes

    def _stand_in(self, source: Any, path: str) -> str:
        text = trouble(source)
        if text is not None:
            self.problems.append(FieldError(path=path, rule="file_not_readable", message=text, given=source))
        self._mark = self._mark or f"https://file.invalid/{os.urandom(12).hex()}/"
        self.sources.append(source)
        self._paths.append(path)
        return f"{self._mark}{len(self.sources) - 1}"


def is_local(text: str) -> bool:
    """Whether a string that should be a URL is the path of a file here."""
    if text.startswith(("https://", "http://", "data:")) or not 0 < len(text) < 1024:
        return False
    return _LOCAL.match(text) is not None or _NAME.fullmatch(text) is not None or os.path.isfile(text)


_hashes: dict[tuple[int, ...], str] = {}


def _remember(cache: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep a value, and forget the oldest one if there are too many."""
    cache[key] = value
    for oldest in list(cache)[:-REMEMBERED]:
        cache.pop(oldest, None)


async def _hash(channel: Channel, content: Content) -> str:
    """The SHA-256 of a content; of a file on disk, it is made again only after a change."""
    stamp = content.stamp()
    if stamp is not None and stamp in _hashes:
        return _hashes[stamp]
    digest = hashlib.sha256()
    for at in range(0, content.size, HASHED_AT_ONCE):
        digest.update(content.read(at, min(HASHED_AT_ONCE, content.size - at)))
        await channel.io.sleep(0)  # let an event loop do something else in between
    if stamp is not None and stamp == content.stamp():
        _remember(_hashes, stamp, digest.hexdigest())
    return digest.hexdigest()


async def _uploaded(channel: Channel, content: Content, digest: str, path: str, deadline: Deadline) -> str:
    """The URL of a content, which is uploaded unless the client did that a short while ago."""
    known: dict[str, tuple[float, str]] = channel.client.cache.setdefault("uploaded", {})
    stamp = content.stamp()

    def find() -> str | None:
        since, url = known.get(digest, (0.0, None))
        return url if time.time() - since < REUSE_FOR else None

    async def make() -> str:
        url = await send_content(channel, content, deadline=deadline)
        if stamp == content.stamp():
            _remember(known, digest, (time.time(), url))
        return url

    try:
        return await once(channel, digest, find, make, deadline)
    except FalError as error:
        error.add_note(f"while {content.name} was uploaded for the field {path}; nothing was submitted")
        raise
