"""Sounds and videos in the formats that endpoints offer. PyAV, with its own FFmpeg, is imported with the first one."""

from __future__ import annotations

import io
from array import array
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from fal_sandbox import media, pictures

_SOUNDS = {
    "mp3": ("mp3", "libmp3lame", 0),
    "flac": ("flac", "flac", 0),
    "ogg": ("ogg", "libopus", 48_000),
    "opus": ("ogg", "libopus", 48_000),
    "m4a": ("ipod", "aac", 0),
    "aac": ("adts", "aac", 0),
}
"""FFmpeg's container and codec of a sound, and the only sample rate that the codec takes, if there is one."""
_H264 = ("libx264", {"preset": "ultrafast", "crf": "28"})
_VP9 = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"})
_VIDEOS = {
    "mp4": ("mp4", *_H264, "aac", 0),
    "mov": ("mov", *_H264, "aac", 0),
    "mkv": ("matroska", *_H264, "aac", 0),
    "webm": ("webm", *_VP9, "libopus", 48_000),
}
"""FFmpeg's container of a video, its picture codec with options, its sound codec and that one's rate."""


def sound(seed: int, format: str, sample_rate: int, seconds: float) -> bytes:
    """A short melody, mono, as a file of one of the formats `mp3`, `flac`, `ogg`, `opus`, `m4a` and `aac`."""
    container, codec, rate = _SOUNDS[format]
    with _written(container) as (file, out):
        stream = file.add_stream(codec, rate=rate or sample_rate, layout="mono")
        _play(file, stream, media.melody(seed, sample_rate, seconds), sample_rate)
    return out.getvalue()


def video(seed: int, caption: str, size: tuple[int, int], format: str, frame_rate: int, seconds: float) -> bytes:
    """A moving picture with a melody, as a file of one of the formats `mp4`, `mov`, `mkv` and `webm`.

    Args:
        seed: for the picture and the melody.
        caption: drawn on the picture.
        size: width and height in pixels, both even, as the codecs want them.
        format: what it is written as.
        frame_rate: in frames per second.
        seconds: how long it is.
    """
    container, codec, options, sound_codec, rate = _VIDEOS[format]
    sample_rate = media.SAMPLE_RATE
    with _written(container) as (file, out):
        stream = file.add_stream(codec, rate=frame_rate, options=dict(options))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # With several threads the bytes would depend on how many processors there are.
        stream.codec_context.thread_count = 1
        music = file.add_stream(sound_codec, rate=rate or sample_rate, layout="mono")
        for frame in pictures.frames(seed, caption, size, round(frame_rate * seconds)):
            file.mux(stream.encode(_av().VideoFrame.from_image(frame)))
        file.mux(stream.encode())
        _play(file, music, media.melody(seed, sample_rate, seconds), sample_rate)
    return out.getvalue()


def _av() -> Any:
    # Its types have gaps, so it is kept behind this one untyped door.
    return import_module("av")


@contextmanager
def _written(container: str) -> Generator[tuple[Any, io.BytesIO], None, None]:
    out = io.BytesIO()
    # Bit-exact: without the names and the time that FFmpeg would write into the file.
    with _av().open(out, "w", format=container, options={"fflags": "+bitexact"}) as file:
        yield file, out


def _play(file: Any, stream: Any, samples: array[int], sample_rate: int) -> None:
    frame = _av().AudioFrame(format="s16", layout="mono", samples=len(samples))
    frame.planes[0].update(samples.tobytes())
    frame.sample_rate, frame.pts = sample_rate, 0
    file.mux(stream.encode(frame))
    file.mux(stream.encode())
