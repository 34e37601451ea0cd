"""How long things take: nothing, the same short while for all, or about as long as they would on the platform."""

from __future__ import annotations

from dataclasses import dataclass

from fal_sandbox.seeds import Seed
from fal_sandbox.wishes import Wishes

_FAST = (0.05, 0.15)
_SPREAD = 0.6


@dataclass(frozen=True, slots=True)
class _Profile:
    """What a kind of endpoint takes, in seconds. The orders of magnitude are what users see; nobody publishes them."""

    queue: float
    base: float
    per_image_step: float = 0.0
    per_second: float = 0.0
    """For each second of the video or sound."""
    per_training_step: float = 0.0


_PROFILES = {
    "image": _Profile(queue=0.4, base=0.6, per_image_step=0.06),
    "video": _Profile(queue=1.5, base=5.0, per_second=9.0),
    "audio": _Profile(queue=0.3, base=0.8, per_second=0.3),
    "speech": _Profile(queue=0.3, base=0.8, per_second=0.3),
    "3d": _Profile(queue=1.0, base=40.0),
    "training": _Profile(queue=3.0, base=30.0, per_training_step=0.12),
}
"""By what an endpoint makes: the last word of its category."""
_OTHER = _Profile(queue=0.2, base=1.2)


class Latency:
    """How long each job waits and runs.

    Args:
        scale: `"zero"`; `"fast"`, a fifth of a second for everything; `"realistic"`, by what an endpoint makes, how much
            of it and in how many steps; or a factor of `"realistic"`.
        queue_seconds: how long every job waits instead.
        run_seconds: how long every job runs instead.

    Raises:
        ValueError: for any other scale.
    """

    def __init__(
        self, scale: str | float = "fast", queue_seconds: float | None = None, run_seconds: float | None = None
    ) -> None:
        factor = {"zero": 0.0, "fast": None, "realistic": 1.0}.get(scale, -1.0) if isinstance(scale, str) else scale
        if factor is not None and not 0 <= factor < float("inf"):
            raise ValueError(f"latency is 'zero', 'fast', 'realistic' or a factor from 0 up, not {scale!r}")
        self._factor = factor
        self._queue_seconds = queue_seconds
        self._run_seconds = run_seconds

    def times(self, endpoint_id: str, category: str, wishes: Wishes) -> tuple[float, float]:
        """How long a job waits, and how long it then runs, in seconds."""
        waits, runs = _FAST if self._factor is None else _typical(endpoint_id, category, wishes, self._factor)
        return (
            waits if self._queue_seconds is None else self._queue_seconds,
            runs if self._run_seconds is None else self._run_seconds,
        )


def _typical(endpoint_id: str, category: str, wishes: Wishes, factor: float) -> tuple[float, float]:
    profile = _PROFILES.get(category.rpartition("-to-")[2], _OTHER)
    runs = (
        profile.base
        + profile.per_image_step * wishes.steps * wishes.count
        + profile.per_second * wishes.seconds
        + profile.per_training_step * wishes.steps
    )
    # Some endpoints are quicker than others of their kind, and always the same ones.
    pace = factor * (1 - _SPREAD / 2 + _SPREAD * Seed(endpoint_id).fraction("pace"))
    return profile.queue * pace, runs * pace
