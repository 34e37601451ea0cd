"""Make a poster, then enlarge it in an app of our own."""

from __future__ import annotations

from acme.fal.acme import upscaler
from acme.fal.fal_ai import flux_dev


def poster(subject: str) -> flux_dev.Image:
    """Make a picture of a subject."""
    output = flux_dev.subscribe(flux_dev.Input(prompt=f"a poster of {subject}", num_images=2))
    return output.images[0]


def enlarged(picture: flux_dev.Image) -> str:
    """Enlarge a picture; return its address."""
    size = upscaler.Size(width=2 * picture.width)
    return upscaler.run(upscaler.Input(prompt=picture.url, size=size)).url


def first_tag(value: upscaler.Input) -> str | None:
    """The first tag of an input, which may have none."""
    return value.tags[0] if value.tags else None


if __name__ == "__main__":
    print(poster("the sea").url)
