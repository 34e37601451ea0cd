"""How long things take in the sandbox, and what it logs meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from fal_sandbox.latency import Latency
from fal_sandbox.logs import log_lines
from fal_sandbox.wishes import Wishes


def times(scale: str | float, category: str = "text-to-image", **input: Any) -> tuple[float, float]:
    return Latency(scale).times("acme/studio", category, Wishes(input, {}))


def test_fast_is_the_same_for_all() -> None:
    assert times("fast") == times("fast", "training", steps=4000) == (0.05, 0.15)


def test_zero_is_zero_for_all() -> None:
    assert times("zero", "text-to-video", duration="10") == (0, 0)


def test_realistic_follows_what_is_made_and_how_much() -> None:
    image, images = times("realistic"), times("realistic", num_images=4)
    video, longer = times("realistic", "text-to-video", duration=5), times("realistic", "text-to-video", duration="10")
    assert image[1] < images[1] < video[1] < longer[1]
    assert times("realistic", num_inference_steps=50)[1] > image[1]
    assert times("realistic", "training", steps=4000)[1] > times("realistic", "training", steps=1000)[1]


def test_a_factor_scales_what_is_realistic() -> None:
    assert times(0.5) == pytest.approx([each / 2 for each in times("realistic")])


def test_endpoints_differ_from_each_other_and_not_from_themselves() -> None:
    every = {Latency("realistic").times(f"acme/{n}", "text-to-image", Wishes({}, {})) for n in range(20)}
    assert len(every) == 20
    assert times("realistic") == times("realistic")


def test_fixed_times_count_whatever_the_scale() -> None:
    assert Latency("realistic", queue_seconds=2, run_seconds=0).times("acme/x", "training", Wishes({}, {})) == (2, 0)


@pytest.mark.parametrize("scale", ["slow", "", -0.1, float("nan"), float("inf")])
def test_any_other_scale_is_refused(scale: str | float) -> None:
    with pytest.raises(ValueError, match="latency is 'zero', 'fast', 'realistic' or a factor"):
        Latency(scale)


def test_a_run_logs_its_progress_and_what_it_makes() -> None:
    lines = log_lines("acme/studio", "text-to-image", Wishes({"num_inference_steps": 28, "num_images": 2}, {}), 70.0)
    assert lines == [
        "Running acme/studio",
        " 25%|██        | 7/28 [00:17<00:52, 0.40it/s]",
        " 50%|█████     | 14/28 [00:35<00:35, 0.40it/s]",
        " 75%|████████  | 21/28 [00:52<00:17, 0.40it/s]",
        "100%|██████████| 28/28 [01:10<00:00, 0.40it/s]",
        "Uploading 2 images",
        "Done",
    ]


def test_what_has_no_steps_logs_none() -> None:
    assert log_lines("acme/asr", "speech-to-text", Wishes({}, {}), 0.0) == ["Running acme/asr", "Done"]
