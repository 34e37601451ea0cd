"""What a run writes while it works: lines as the usual libraries write them."""

from __future__ import annotations

from collections.abc import Sequence

from fal_sandbox.wishes import Wishes

_MARKS = 4
_BAR = 10
_STEPPED = ("image", "video", "training", "audio", "3d")
_MAKES = {"3d": "a mesh", "training": "the weights", "audio": "the sound", "speech": "the sound", "video": "the video"}


def log_lines(endpoint_id: str, category: str, wishes: Wishes, run_seconds: float) -> Sequence[str]:
    """The lines of one run, in order: what it starts, how far it is in its steps, what it hands over.

    Args:
        endpoint_id: which endpoint runs.
        category: its category in the catalogue.
        wishes: what was asked for.
        run_seconds: how long the run takes; the progress lines tell a speed that agrees with it.
    """
    product = category.rpartition("-to-")[2] if category else "image"
    lines = [f"Running {endpoint_id}"]
    if product in _STEPPED:
        lines += _progress(wishes.steps, run_seconds)
    made = _MAKES.get(product)
    if product == "image":
        made = "1 image" if wishes.count == 1 else f"{wishes.count} images"
    if made is not None:
        lines.append(f"Uploading {made}")
    return [*lines, "Done"]


def _progress(steps: int, seconds: float) -> list[str]:
    """A progress bar at some points of its way, as tqdm draws it."""
    speed = steps / seconds if seconds > 0 else 0.0
    lines: list[str] = []
    for step in sorted({round(steps * mark / _MARKS) for mark in range(1, _MARKS + 1)} - {0}):
        done = step / steps
        bar = "█" * round(_BAR * done)
        clocks = f"{_clock(seconds * done)}<{_clock(seconds * (1 - done))}"
        lines.append(f"{round(100 * done):3d}%|{bar:<{_BAR}}| {step}/{steps} [{clocks}, {speed:.2f}it/s]")
    return lines


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
