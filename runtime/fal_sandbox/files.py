"""Generated files: what kinds there are, how one is named, and its bytes, which are made when someone asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache, partial
from typing import Literal

from fal_sandbox import clips, media, pictures

MAX_SIDE = 4096
"""The longest side of a picture in pixels: a larger one would only cost memory."""
MAX_CLIP_SIDE = 1920
"""The longest side of a video in pixels."""
MAX_ANIMATION_SIDE = 320
"""The longest side of an animated GIF in pixels: this format is slow to write."""
MAX_SECONDS = 10.0
"""The length of the longest video or sound: one that was asked to be longer is as long as this."""
FRAME_RATE = 12
"""Of a video, in frames per second."""
SAMPLE_RATE = media.SAMPLE_RATE

Medium = Literal["picture", "video", "sound", "document"]

_CONTENT_KEPT = 64


@dataclass(frozen=True, slots=True)
class FileSpec:
    """All that a file's bytes follow from."""

    kind: str
    """A key of `KINDS`."""
    seed: int
    caption: str = ""
    width: int = 0
    """In pixels, of a picture or a video, like `height`."""
    height: int = 0
    seconds: float = 0.0
    """The length of a video or a sound."""
    progress: float = 1.0
    """Below 1, a preview of what is being made."""

    @property
    def content_type(self) -> str:
        """The media type, as served."""
        return KINDS[self.kind].content_type

    @property
    def medium(self) -> Medium:
        """What sort of file it is."""
        return KINDS[self.kind].medium

    @property
    def frame_count(self) -> int:
        """How many frames a video has."""
        return max(1, round(self.seconds * FRAME_RATE))

    @property
    def name(self) -> str:
        """A name that differs whenever the content may, with the extension of its kind."""
        digest = hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()
        return f"{digest[:24]}.{KINDS[self.kind].extension}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of file and how it is made."""

    extension: str
    content_type: str
    render: Callable[[FileSpec], bytes]
    medium: Medium = "document"
    slow: bool = False
    """Whether making it takes tens of milliseconds, so that its size is not stated unless it must be."""


def _still(format: str, spec: FileSpec) -> bytes:
    return pictures.still(spec.seed, spec.caption, (spec.width, spec.height), format, spec.progress)


def _animation(spec: FileSpec) -> bytes:
    return pictures.animation(spec.seed, spec.caption, (spec.width, spec.height), spec.frame_count, spec.seconds)


def _video(format: str, spec: FileSpec) -> bytes:
    return clips.video(spec.seed, spec.caption, (spec.width, spec.height), format, FRAME_RATE, spec.seconds)


def _sound(format: str, spec: FileSpec) -> bytes:
    return clips.sound(spec.seed, format, SAMPLE_RATE, spec.seconds)


KINDS = {
    "png": Kind("png", "image/png", partial(_still, "PNG"), "picture", slow=True),
    "jpeg": Kind("jpg", "image/jpeg", partial(_still, "JPEG"), "picture", slow=True),
    "webp": Kind("webp", "image/webp", partial(_still, "WEBP"), "picture", slow=True),
    "svg": Kind(
        "svg", "image/svg+xml", lambda spec: media.svg(spec.seed, spec.caption, spec.width, spec.height), "picture"
    ),
    "gif": Kind("gif", "image/gif", _animation, "video", slow=True),
    "mp4": Kind("mp4", "video/mp4", partial(_video, "mp4"), "video", slow=True),
    "mov": Kind("mov", "video/quicktime", partial(_video, "mov"), "video", slow=True),
    "mkv": Kind("mkv", "video/x-matroska", partial(_video, "mkv"), "video", slow=True),
    "webm": Kind("webm", "video/webm", partial(_video, "webm"), "video", slow=True),
    "wav": Kind("wav", "audio/wav", lambda spec: media.wav(spec.seed, SAMPLE_RATE, spec.seconds), "sound"),
    "mp3": Kind("mp3", "audio/mpeg", partial(_sound, "mp3"), "sound", slow=True),
    "flac": Kind("flac", "audio/flac", partial(_sound, "flac"), "sound", slow=True),
    "ogg": Kind("ogg", "audio/ogg", partial(_sound, "ogg"), "sound", slow=True),
    "opus": Kind("opus", "audio/ogg", partial(_sound, "opus"), "sound", slow=True),
    "m4a": Kind("m4a", "audio/mp4", partial(_sound, "m4a"), "sound", slow=True),
    "aac": Kind("aac", "audio/aac", partial(_sound, "aac"), "sound", slow=True),
    "glb": Kind("glb", "model/gltf-binary", lambda spec: media.glb(spec.seed)),
    "obj": Kind("obj", "model/obj", lambda spec: media.obj(spec.seed)),
    "stl": Kind("stl", "model/stl", lambda spec: media.stl(spec.seed)),
    "ply": Kind("ply", "application/ply", lambda spec: media.ply(spec.seed)),
    "zip": Kind("zip", "application/zip", lambda spec: media.archive(spec.seed, spec.caption)),
    "json": Kind("json", "application/json", lambda spec: media.document(spec.seed, spec.caption)),
    "txt": Kind("txt", "text/plain; charset=utf-8", lambda spec: media.text(spec.seed, spec.caption)),
    "safetensors": Kind("safetensors", "application/octet-stream", lambda spec: media.safetensors(spec.seed)),
    "bin": Kind("bin", "application/octet-stream", lambda spec: media.text(spec.seed, spec.caption)),
}


class FileStore:
    """The files that answers speak of, by name. A file is rendered when it is first read and kept for a while."""

    def __init__(self) -> None:
        self._specs: dict[str, FileSpec] = {}
        self.content: Callable[[FileSpec], bytes] = lru_cache(_CONTENT_KEPT)(_render)
        """The bytes of a file; takes milliseconds for a picture."""

    def add(self, spec: FileSpec) -> str:
        """Make a file available; its name is returned."""
        self._specs[spec.name] = spec
        return spec.name

    def get(self, name: str) -> FileSpec | None:
        """The file with this name."""
        return self._specs.get(name)

    def clear(self) -> None:
        """Forget every file."""
        self._specs.clear()


def _render(spec: FileSpec) -> bytes:
    return KINDS[spec.kind].render(spec)
