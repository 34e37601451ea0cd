"""What an input asks of the media it is to get: how many, how large, how long, in which format, with which caption.

Endpoints say these things in a handful of ways, which are read here by the names of the fields; no endpoint is special.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

from fal_sandbox.files import (
    FRAME_RATE,
    KINDS,
    MAX_ANIMATION_SIDE,
    MAX_CLIP_SIDE,
    MAX_SECONDS,
    MAX_SIDE,
    FileSpec,
    Medium,
)

PRESETS = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
"""Width and height of the named image sizes. Source: fal docs, image size presets."""

_CAPTIONS = ("prompt", "text", "text_prompt", "gen_text", "lyrics", "query", "script", "input")
_COUNTS = ("num_images", "num_samples", "num_outputs", "num_videos", "num_songs", "batch_size")
_SIZES = ("image_size", "video_size", "size", "resolution", "video_resolution", "target_resolution")
_RATIOS = ("aspect_ratio", "ratio")
_SECONDS = ("duration", "duration_seconds", "seconds_total", "music_duration", "seconds", "music_length_ms")
_STEPS = ("num_inference_steps", "steps", "number_of_steps", "num_steps", "max_steps", "training_steps")
_FRAMES = ("num_frames", "number_of_frames")
_FRAME_RATES = ("fps", "frames_per_second", "frame_rate", "export_fps")
_FORMATS = (
    "output_format", "image_format", "audio_format", "video_output_type", "output_container_and_codec",
    "geometry_file_format", "output_codec", "format",
)  # fmt: skip
_SPELLINGS = {"jpg": "jpeg", "x264": "mp4", "h264": "mp4", "vp9": "webm", "prores": "mov"}
_USUAL: dict[Medium, str] = {"picture": "png", "video": "mp4", "sound": "wav"}
_STILL_SIDE = 1024
_CLIP_SIDE = 640
_CLIP_RATIO = (16.0, 9.0)
_MAX_COUNT = 64
_MAX_STEPS = 100_000
_DEFAULT_STEPS = 8
_DEFAULT_SECONDS = 1.0
_ASSUMED_FRAME_RATE = 24


class Wishes:
    """What one input asks for, with the endpoint's own defaults where it is silent.

    Args:
        input: what was sent.
        defaults: the fields' defaults by the input's schema.
    """

    def __init__(self, input: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._input = input
        self._defaults = defaults

    def asked(self, *names: str) -> Any:
        """The value of the first of these fields that has one."""
        values = (self._defaults.get(name) if self._input.get(name) is None else self._input[name] for name in names)
        return next((value for value in values if value is not None), None)

    @property
    def count(self) -> int:
        """How many media were asked for."""
        for name in _COUNTS:
            wanted = self.asked(name)
            if isinstance(wanted, int) and wanted > 0:
                return min(wanted, _MAX_COUNT)
        return 1

    @property
    def steps(self) -> int:
        """How many steps the work is to be done in."""
        wanted = self.asked(*_STEPS)
        return wanted if isinstance(wanted, int) and 0 < wanted <= _MAX_STEPS else _DEFAULT_STEPS

    @property
    def seconds(self) -> float:
        """How long a video or a sound is to be."""
        for name in _SECONDS:
            found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?) ?(?:s|sec|seconds)?", str(self.asked(name)).lower())
            if found is not None and float(found[1]) > 0:
                return min(float(found[1]) / (1000 if name.endswith("_ms") else 1), MAX_SECONDS)
        frames, rate = self.asked(*_FRAMES), self.asked(*_FRAME_RATES)
        if isinstance(frames, int) and frames > 0:
            rate = rate if isinstance(rate, int | float) and rate >= 1 else _ASSUMED_FRAME_RATE
            return min(max(1, round(frames / rate * FRAME_RATE)) / FRAME_RATE, MAX_SECONDS)
        return _DEFAULT_SECONDS

    @property
    def caption(self) -> str:
        """The words to draw on pictures; empty if there are none."""
        given = (self._input.get(name) for name in _CAPTIONS)
        return next((text for text in given if isinstance(text, str) and text), "")

    @property
    def inline(self) -> bool:
        """Whether media come back inside the answer. Source: fal docs, the common input field `sync_mode`."""
        return self._input.get("sync_mode") is True

    def file(self, kind: str, seed: int, caption: str, progress: float = 1.0) -> FileSpec:
        """The file of this kind that fulfils the wishes."""
        match KINDS[kind].medium:
            case "picture":
                return FileSpec(kind, seed, caption, *self._picture_size(), progress=progress)
            case "video":
                return FileSpec(kind, seed, caption, *self._clip_size(kind), seconds=self.seconds)
            case "sound":
                return FileSpec(kind, seed, caption, seconds=self.seconds)
            case "document":
                return FileSpec(kind, seed, caption)

    def kind(self, medium: Medium) -> str:
        """The format asked for, among those of this medium."""
        for name in _FORMATS:
            words: list[str] = re.findall(r"[a-z0-9]+", str(self.asked(name)).lower())
            for word in words:
                kind = _SPELLINGS.get(word, word)
                if kind in KINDS and KINDS[kind].medium == medium:
                    return kind
        return _USUAL[medium]

    def _picture_size(self) -> tuple[int, int]:
        width, height = self._size(_STILL_SIDE, (1.0, 1.0))
        return min(max(1, round(width)), MAX_SIDE), min(max(1, round(height)), MAX_SIDE)

    def _clip_size(self, kind: str) -> tuple[int, int]:
        width, height = self._size(_CLIP_SIDE, _CLIP_RATIO)
        largest = MAX_ANIMATION_SIDE if kind == "gif" else MAX_CLIP_SIDE
        scale = min(1.0, largest / max(width, height))
        # Codecs that halve the resolution of colours want even sides.
        return max(16, round(width * scale / 2) * 2), max(16, round(height * scale / 2) * 2)

    def _size(self, side: float, ratio: tuple[float, float]) -> tuple[float, float]:
        """Width and height in pixels: as numbers, a preset, or a ratio with a resolution."""
        wanted = [self.asked(name) for name in _SIZES]
        for value in wanted:
            if isinstance(value, dict) and (size := _sides(cast("dict[str, Any]", value))):
                return size
            if isinstance(value, str) and value in PRESETS:
                return PRESETS[value]
            if isinstance(value, str) and (sides := re.fullmatch(r"(\d{2,5}) ?[x*] ?(\d{2,5})", value)):
                return float(sides[1]), float(sides[2])
        if size := _sides({name: self.asked(name) for name in ("width", "height")}):
            return size
        across, down = self._ratio() or ratio
        for value in wanted:
            if (area := _area(str(value).lower(), across, down)) is not None:
                side = area * max(across, down)
                break
        scale = side / max(across, down)
        return across * scale, down * scale

    def _ratio(self) -> tuple[float, float] | None:
        found = re.fullmatch(r"(\d{1,4}(?:\.\d+)?):(\d{1,4}(?:\.\d+)?)", str(self.asked(*_RATIOS)))
        if found is None:
            return None
        across, down = float(found[1]), float(found[2])
        return (across, down) if min(across, down) > max(across, down) / 8 else None


def _sides(source: Mapping[str, Any]) -> tuple[float, float] | None:
    width, height = source.get("width"), source.get("height")
    if not isinstance(width, int | float) or not isinstance(height, int | float) or min(width, height) < 1:
        return None
    return width, height


def _area(resolution: str, across: float, down: float) -> float | None:
    """The pixels per unit of the ratio that a resolution stands for: `720p`, `2K`, `auto_4K`, `1.5 MP`."""
    if lines := re.fullmatch(r"(\d{3,4})p", resolution):
        return float(lines[1]) / min(across, down)
    if thousands := re.fullmatch(r"(?:auto_)?([1-9])k", resolution):
        return 1024 * float(thousands[1]) / max(across, down)
    if pixels := re.fullmatch(r"(\d{1,2}(?:\.\d+)?) ?mp", resolution):
        return math.sqrt(1e6 * float(pixels[1]) / (across * down))
    return None
