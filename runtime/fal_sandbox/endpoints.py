"""Endpoint ids: which part names the application and which is a path inside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMESPACES = frozenset({"workflows", "comfy"})
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")
_LEGACY = re.compile(r"([0-9]+)-([a-zA-Z0-9-]+)")


@dataclass(frozen=True, slots=True)
class EndpointId:
    """An id of the form `[namespace/]owner/alias[/path]`.

    A request is submitted to the whole id; its status, result and cancellation live under `app`, without the path.
    Source: fal docs, queue reference; both official clients parse ids this way.
    """

    namespace: str
    owner: str
    alias: str
    path: str

    @classmethod
    def parse(cls, text: str) -> EndpointId | None:
        """Read an id, the old one-segment form `123456-alias` included; None if it is not one."""
        if legacy := _LEGACY.fullmatch(text):
            return cls("", legacy[1], legacy[2], "")
        segments = text.split("/")
        if not all(_SEGMENT.fullmatch(segment) for segment in segments):
            return None
        namespace = segments.pop(0) if segments[0] in _NAMESPACES else ""
        if len(segments) < 2:
            return None
        return cls(namespace, segments[0], segments[1], "/".join(segments[2:]))

    @property
    def app(self) -> str:
        """The id without the path inside the application."""
        return "/".join(part for part in (self.namespace, self.owner, self.alias) if part)

    def __str__(self) -> str:
        return f"{self.app}/{self.path}" if self.path else self.app
