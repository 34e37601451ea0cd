"""Pictures with a caption, still and moving. Pillow is imported with the first one."""

from __future__ import annotations

import colorsys
import io
import math
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fal_sandbox.seeds import Seed

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

_CAPTION_LENGTH = 400
_COLOURS = 64
_LIKENESS = str.maketrans({"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"'})


def still(seed: int, caption: str, size: tuple[int, int], format: str, progress: float = 1.0) -> bytes:
    """An image file of exactly this size, in one of Pillow's formats, with the caption drawn on it.

    Below a `progress` of 1 it is a preview, the coarser the less is done.
    """
    image = _background(Seed(seed), size)
    _disc(image, Seed(seed), 0.0)
    _write(image, caption)
    if progress < 1:
        image = _coarsened(image, progress)
    out = io.BytesIO()
    image.save(out, format, quality=85, compress_level=1)
    return out.getvalue()


def frames(seed: int, caption: str, size: tuple[int, int], count: int) -> Iterator[Image]:
    """The frames of a short film that ends where it begins."""
    scene = _background(Seed(seed), size)
    _write(scene, caption)
    for index in range(count):
        frame = scene.copy()
        _disc(frame, Seed(seed), index / count)
        yield frame


def animation(seed: int, caption: str, size: tuple[int, int], count: int, seconds: float) -> bytes:
    """An animated GIF of `count` frames that repeats for ever."""
    pictures: list[Image] = []
    for frame in frames(seed, caption, size, count):
        pictures.append(frame.quantize(_COLOURS, palette=pictures[0] if pictures else None))
    out = io.BytesIO()
    delay = round(1000 * seconds / count)
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=delay, loop=0)
    return out.getvalue()


def _coarsened(image: Image, progress: float) -> Image:
    from PIL import Image

    width, height = image.size
    scale = max(0.02, progress) / 4
    small = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    return small.resize(image.size, Image.Resampling.NEAREST)


def _background(seed: Seed, size: tuple[int, int]) -> Image:
    from PIL import Image, ImageOps

    hue = seed.fraction("hue")
    shape = seed.choice("shape", (Image.linear_gradient, Image.radial_gradient))
    gradient = shape("L").rotate(seed.choice("turn", (0, 90, 180, 270)))
    return ImageOps.colorize(ImageOps.fit(gradient, size), _colour(hue, 0.65, 0.95), _colour(hue + 0.12, 0.75, 0.45))


def _disc(image: Image, seed: Seed, phase: float) -> None:
    from PIL import ImageDraw

    width, height = image.size
    angle = 2 * math.pi * (phase + seed.fraction("angle"))
    radius = max(2.0, min(width, height) / 9)
    x, y = width * (0.5 + 0.36 * math.cos(angle)), height * (0.5 + 0.36 * math.sin(angle))
    fill = (*_colour(seed.fraction("hue") + 0.5, 0.35, 1.0), 150)
    ImageDraw.Draw(image, "RGBA").ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _write(image: Image, caption: str) -> None:
    from PIL import ImageDraw, ImageFont

    words = _drawable(caption)[:_CAPTION_LENGTH].split()
    width, height = image.size
    room = (0.84 * width, 0.7 * height)
    size = max(8, min(width, height) // 14)
    text, font = _wrapped(words, ImageFont.load_default(size), room[0])
    draw = ImageDraw.Draw(image, "RGBA")
    box = draw.multiline_textbbox((0, 0), text, font, align="center")
    while size > 8 and (box[3] - box[1] > room[1] or box[2] - box[0] > room[0]):
        size = max(8, size * 4 // 5)
        text, font = _wrapped(words, ImageFont.load_default(size), room[0])
        box = draw.multiline_textbbox((0, 0), text, font, align="center")
    if not text:
        return
    left, top = (width - box[2] - box[0]) / 2, (height - box[3] - box[1]) / 2
    panel = (left + box[0] - size, top + box[1] - size, left + box[2] + size, top + box[3] + size)
    draw.rounded_rectangle(panel, size, fill=(0, 0, 0, 130))
    draw.multiline_text((left, top), text, (255, 255, 255), font, align="center")


def _drawable(text: str) -> str:
    # Pillow's own font has ASCII only, so accents are dropped and what has no likeness becomes a question mark.
    letters = (sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return "".join(letters).translate(_LIKENESS).encode("ascii", "replace").decode()


def _wrapped(words: list[str], font: FreeTypeFont | ImageFont, room: float) -> tuple[str, FreeTypeFont | ImageFont]:
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines), font
