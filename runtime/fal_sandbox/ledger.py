"""What came in: every request that was received and every job that was admitted, for tests to look at."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One HTTP request as it arrived."""

    method: str
    path: str
    """With the service's prefix, percent-decoded: `/queue/fal-ai/flux/dev`."""
    query: dict[str, list[str]]
    headers: dict[str, str]
    """With lower-case names; of a repeated header, the values joined with a comma."""
    body: bytes
    """All of a small body; of one above 256 KiB, the first 4 KiB."""
    size: int = 0
    """How many bytes the body had."""

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: if it is not, or is too large to have been kept.
        """
        if self.size > len(self.body):
            raise ValueError(f"of this body of {self.size} bytes only the first {len(self.body)} have been kept")
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class AdmittedJob:
    """One job that was accepted for execution: what the platform would have charged for."""

    request_id: str
    endpoint_id: str
    input: Any
    service: Literal["queue", "run", "realtime"]


class Ledger:
    """The last ten thousand requests and jobs, oldest first."""

    def __init__(self) -> None:
        self.requests: deque[ReceivedRequest] = deque(maxlen=_KEPT)
        self.admitted: deque[AdmittedJob] = deque(maxlen=_KEPT)

    def clear(self) -> None:
        """Forget everything."""
        self.requests.clear()
        self.admitted.clear()
