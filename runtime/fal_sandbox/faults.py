"""Faults: what goes wrong on purpose, and when."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How the next requests that match are answered instead of properly.

    The steps, each of which may be left out: wait `delay_seconds`; if `processed`, handle the request as usual and
    throw its answer away; answer `status`, `headers` and `body`; if `disconnect`, close the connection (before the
    answer if no status is given, or else in the middle of the body). With only a delay, the proper answer comes late.
    """

    path: str = "*"
    """A glob over the whole path, `*` crossing slashes: `/queue/*`, `*/status`."""
    method: str | None = None
    times: int = 1
    """How many requests it strikes."""
    delay_seconds: float = 0.0
    processed: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: object = b""
    """Bytes or text as they are, anything else as JSON."""
    disconnect: bool = False
    frame: str | None = None
    """For a websocket: a text frame to send."""
    close_code: int | None = None
    """For a websocket: the code to close it with after `frame`, when `after_frames` outputs have been sent."""
    after_frames: int = 0

    @property
    def replaces(self) -> bool:
        """Whether the proper answer is withheld."""
        return self.processed or self.disconnect or self.status is not None

    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()

    def content_type(self) -> str:
        """The content type that goes with the body unless `headers` has one."""
        return "text/plain; charset=utf-8" if isinstance(self.body, bytes | str) else "application/json"


class FaultPlan:
    """The faults still to strike; the oldest that matches goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Plan a fault."""
        with self._lock:
            self._pending.append((fault, fault.times))

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, used up by one."""
        with self._lock:
            for index, (fault, left) in enumerate(self._pending):
                if fault.method in (None, method) and fnmatchcase(path, fault.path):
                    self._pending[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                    return fault
        return None

    def clear(self) -> None:
        """Plan nothing."""
        with self._lock:
            self._pending.clear()
