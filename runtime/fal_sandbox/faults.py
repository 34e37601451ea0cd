"""Faults: what goes wrong on purpose, and when. What there is by name stands in `fal_sandbox.fault_table`."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, TypedDict

from fal_sandbox.checks import check_headers, check_status

Cut = Literal["half", "event", "character"]
"""Where an answer is cut: after half of it, in the middle of its second event, or inside a character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with the next requests that match.

    The steps, each of which may be left out: wait `delay_seconds`; if `processed`, handle the request as usual and
    throw its answer away; answer `status`, `headers` and `body`; if `disconnect`, close the connection (before the
    answer if no status is given, or else in the middle of the body). With only a delay, the proper answer comes late.
    The other fields change the proper answer on its way out.
    """

    path: str | Sequence[str] = "*"
    """A glob over the whole path, `*` crossing slashes: `/queue/*`, `*/status`. Or several."""
    method: str | None = None
    times: int | None = 1
    """How many requests it strikes; None for all that come."""
    probability: float = 1.0
    """How likely it strikes a request that matches; the dice are the same in every sandbox."""
    delay_seconds: float = 0.0
    early: bool = False
    """Whether it strikes before the request's body has been read."""
    processed: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """`{later}` in a value becomes the date in one second, and `{elsewhere}` the same path on another origin."""
    body: object = b""
    """Bytes or text as they are, anything else as JSON."""
    disconnect: bool = False
    reset: bool = False
    """Whether a connection that is closed is reset instead, so that what is on its way is lost."""

    cut: Cut | None = None
    """Where the proper answer stops, and the connection with it."""
    truncate: bool = False
    """Whether the proper answer has only half of its body, and says that this is all."""
    piece_bytes: int | None = None
    """The size of the pieces in which the proper answer's body is sent."""
    pause_seconds: float = 0.0
    """How long to wait before each piece."""
    without: Sequence[str] = ()
    """Headers that the proper answer loses, by their lower-case names."""
    merge: Mapping[str, Any] | None = None
    """Fields that replace those of the proper answer's JSON, also in each event of a stream."""

    outcome_status: int | None = None
    """The HTTP status that the request comes to when it runs; it is admitted all the same."""
    outcome_body: object = None

    frame: str | None = None
    """For a websocket: a text frame to send."""
    close_code: int | None = None
    """For a websocket: the code to close it with after `frame`, when `after_frames` outputs have been sent."""
    after_frames: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a fault that cannot happen."""
        if self.status is not None:
            check_status("status", self.status, body=bool(self.body))
        if self.outcome_status is not None:
            check_status("outcome_status", self.outcome_status)
        check_headers(self.headers)
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times}; it counts requests, from 1")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; it is from 0 to 1")

    @property
    def replaces(self) -> bool:
        """Whether the proper answer is withheld."""
        return self.processed or self.disconnect or self.status is not None

    @property
    def alters(self) -> bool:
        """Whether the proper answer is changed on its way out."""
        return bool(self.cut or self.truncate or self.piece_bytes or self.pause_seconds or self.without or self.merge)

    def matches(self, method: str, path: str) -> bool:
        """Whether it is meant for such a request."""
        globs = (self.path,) if isinstance(self.path, str) else self.path
        return self.method in (None, method) and any(fnmatchcase(path, glob) for glob in globs)

    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()

    def content_type(self) -> str:
        """The content type that goes with the body unless `headers` has one."""
        return "text/plain; charset=utf-8" if isinstance(self.body, bytes | str) else "application/json"


class FaultOptions(TypedDict, total=False):
    """The fields of a `Fault` but for `path`, as arguments."""

    method: str | None
    times: int | None
    probability: float
    delay_seconds: float
    early: bool
    processed: bool
    status: int | None
    headers: Mapping[str, str]
    body: object
    disconnect: bool
    reset: bool
    cut: Cut | None
    truncate: bool
    piece_bytes: int | None
    pause_seconds: float
    without: Sequence[str]
    merge: Mapping[str, Any] | None
    outcome_status: int | None
    outcome_body: object
    frame: str | None
    close_code: int | None
    after_frames: int


class FaultPlan:
    """The faults still to strike; the oldest that matches goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[Fault, int | None]] = []
        self._dice = random.Random(0)  # noqa: S311

    def add(self, fault: Fault) -> None:
        """Plan a fault."""
        with self._lock:
            self._pending.append((fault, fault.times))

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, used up by one."""
        with self._lock:
            for index, (fault, left) in enumerate(self._pending):
                if not fault.matches(method, path) or self._dice.random() >= fault.probability:
                    continue
                if left is not None:
                    self._pending[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        return None

    def clear(self) -> None:
        """Plan nothing."""
        with self._lock:
            self._pending.clear()
            self._dice.seed(0)
