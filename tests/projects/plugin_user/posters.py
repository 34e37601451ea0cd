"""A small application: it makes posters, and is told by webhook when a large one is done."""

from __future__ import annotations

from collections.abc import Mapping

import fal_runtime
from fal_endpoints.fal_ai import flux_dev
from fal_runtime import errors


def make_poster(words: str) -> bytes:
    """The picture of a poster; a plain one where the words are not allowed."""
    try:
        output = flux_dev.subscribe(flux_dev.Input(prompt=words, image_size="portrait_4_3"))
    except errors.ContentPolicyError:
        output = flux_dev.subscribe(flux_dev.Input(prompt="a plain poster", image_size="portrait_4_3"))
    return output.images[0].read()


async def describe(words: str) -> str:
    """What is on the poster."""
    output = await flux_dev.run_async(flux_dev.Input(prompt=words))
    return f"{len(output.images)} picture(s) of {output.prompt}, seed {output.seed}"


def ask_elsewhere() -> None:
    """A call that goes to the platform whatever the environment says."""
    with fal_runtime.Client(urls={"run": "https://fal.run"}) as client:
        flux_dev.run(flux_dev.Input(prompt="a cat"), client=client)


def on_webhook(headers: Mapping[str, str], body: bytes) -> str:
    """What the platform tells when a poster that was ordered is done: its link, or why there is none."""
    event = flux_dev.endpoint.parse_webhook(headers, body)
    return event.output.images[0].url if event.output is not None else f"no poster: {event.error}"
