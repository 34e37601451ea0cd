"""Generated files: what kinds there are, how one is named, and its bytes, which are made when someone asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache

from fal_sandbox import media, pictures

MAX_SIDE = 4096
"""The longest side of a picture in pixels: a larger one would only cost memory."""
CLIP_SECONDS = 1.0
"""The length of an animation or a sound."""
CLIP_FRAMES = 10
SAMPLE_RATE = 16_000
"""Of a sound, in hertz; it is mono with 16 bits."""

_CONTENT_KEPT = 64


@dataclass(frozen=True, slots=True)
class FileSpec:
    """All that a file's bytes follow from. `width` and `height` are in pixels, for pictures."""

    kind: str
    """A key of `KINDS`."""
    seed: int
    caption: str = ""
    width: int = 0
    height: int = 0

    @property
    def content_type(self) -> str:
        """The media type, as served."""
        return KINDS[self.kind].content_type

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
    slow: bool = False
    """Whether making it takes tens of milliseconds, so that its size is not stated unless it must be."""


def _picture(format: str) -> Callable[[FileSpec], bytes]:
    return lambda spec: pictures.still(spec.seed, spec.caption, (spec.width, spec.height), format)


def _animation(spec: FileSpec) -> bytes:
    return pictures.animation(spec.seed, spec.caption, (spec.width, spec.height), CLIP_FRAMES, CLIP_SECONDS)


KINDS = {
    "png": Kind("png", "image/png", _picture("PNG"), slow=True),
    "jpeg": Kind("jpg", "image/jpeg", _picture("JPEG"), slow=True),
    "webp": Kind("webp", "image/webp", _picture("WEBP"), slow=True),
    "gif": Kind("gif", "image/gif", _animation, slow=True),
    "svg": Kind("svg", "image/svg+xml", lambda spec: media.svg(spec.seed, spec.caption, spec.width, spec.height)),
    "wav": Kind("wav", "audio/wav", lambda spec: media.wav(spec.seed, SAMPLE_RATE, CLIP_SECONDS)),
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
