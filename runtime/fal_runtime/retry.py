"""Which failures may be tried again, and what goes a few at a time, as data, one rule for each verb.

A queue submission and a direct run cost money, and the platform has no idempotency key, so they are sent again only
when the first attempt certainly did nothing: the server was not reached, or it refused before it admitted the request.
Reads and cancellations do no harm twice and are tried again freely. Source: fal docs, "Retries and Error Handling".
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import msgspec

from fal_runtime.errors import ConfigurationError
from fal_runtime.options import check
from fal_runtime.transport import Response

__all__ = ["RULES", "Deadline", "Retry", "Rule", "retry_after"]


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how fast to try again.

    Args:
        attempts: How many times at most a request is sent, the first one included.
        base: The longest wait before the second attempt, in seconds; it doubles with each one after.
        cap: The longest wait of all, in seconds, a server's `Retry-After` included.
        resubmit_unknown: Send a submission again although the first may have been admitted. This can pay twice.

    Raises:
        ConfigurationError: if something of it is no such number.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 30.0
    resubmit_unknown: bool = False

    def __post_init__(self) -> None:
        check(msgspec.structs.asdict(self))

    def wait(self, attempt: int, headers: Mapping[str, str]) -> float:
        """Seconds to wait after an attempt: what the server asked for, or full jitter below a doubling bound."""
        asked = retry_after(headers)
        if asked is not None:
            return min(asked, self.cap)
        return random.uniform(0.0, min(self.cap, self.base * 2 ** (attempt - 1)))  # noqa: S311


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When one verb may be sent again."""

    unanswered: bool
    """Also when the answer never came, and so the server may have acted on it."""
    statuses: frozenset[int]
    """HTTP statuses after which it may be sent again, whoever answered."""
    gateway_statuses: frozenset[int] = frozenset()
    """The same, but only if a gateway answered in the platform's place: then there is no `x-fal-request-id`."""
    unknown_statuses: frozenset[int] = frozenset()
    """HTTP statuses of a gateway after which nobody knows whether the request was admitted."""
    attempts: int | None = None
    """How often at most, if that is not the client's to say."""
    quick: bool = False
    """Whether the platform answers at once. A thousand of such, begun together, take turns, and so share connections."""

    def again(self, response: Response) -> bool:
        """Whether this answer allows another attempt."""
        if _start_timeout(response):
            return False
        return response.status in self.statuses or (response.status in self.gateway_statuses and from_gateway(response))

    def unknown(self, response: Response) -> bool:
        """Whether this answer leaves open if the request was admitted."""
        return response.status in self.unknown_statuses and from_gateway(response) and not _start_timeout(response)


def _start_timeout(response: Response) -> bool:
    """Whether the caller's own start timeout ran out: final, whoever says so."""
    return response.headers.get("x-fal-request-timeout-type") == "user"


def from_gateway(response: Response) -> bool:
    """Whether something in front of the platform answered."""
    return "x-fal-request-id" not in response.headers


_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_PAID = Rule(
    unanswered=False,
    statuses=frozenset({429}),
    gateway_statuses=frozenset({503}),
    unknown_statuses=frozenset({408, 500, 502, 504}),
)
_FREE = Rule(unanswered=True, statuses=_TRANSIENT)
_FREE_AND_QUICK = msgspec.structs.replace(_FREE, quick=True)

RULES: dict[str, Rule] = {
    "submit": msgspec.structs.replace(_PAID, quick=True),
    "run": _PAID,
    "stream": _PAID,
    "status": _FREE_AND_QUICK,
    # The status stream is tried once: polling, which is what follows its failure, asks the same and tries again.
    "watch": Rule(unanswered=True, statuses=frozenset(), attempts=1),
    "cancel": _FREE,  # quick as well, but whoever leaves may have no time to wait for a turn
    "read": _FREE_AND_QUICK,
    "upload": _FREE,
    # The result endpoint replays the model's own status, which asking again does not change. A result may be large, and
    # then is not quick.
    "result": Rule(unanswered=True, statuses=frozenset(), gateway_statuses=_TRANSIENT),
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` (seconds or a date) as seconds from now; `None` if absent or unreadable. Source: RFC 9110."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


class Deadline:
    """A clock that runs out after some seconds, or never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        try:
            self._end = None if seconds is None else time.monotonic() + seconds
        except TypeError:
            raise ConfigurationError(f"a timeout is a number of seconds, not {seconds!r}") from None

    def left(self) -> float | None:
        """Seconds left, never below zero; `None` if it never runs out."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def within(self, seconds: float | None) -> float | None:
        """The shorter of `seconds` and what is left."""
        left = self.left()
        return seconds if left is None else left if seconds is None else min(seconds, left)
