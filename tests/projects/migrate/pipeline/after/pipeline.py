"""Paints a storyboard: all takes at once, a caption for the best, a picture of every scene in a large size.

Usage: python pipeline.py [--limit N] > storyboard.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass, field

import fal_runtime
from fal_endpoints.fal_ai import florence_2_large_caption, flux_dev, flux_schnell
from storyboard import SCENES, Scene

PAINTER = "fal-ai/flux/dev"
READER = "fal-ai/florence-2-large/caption"


@dataclass
class Take:
    """One painting of a scene."""

    seed: int
    url: str
    safe: bool


@dataclass
class Painted:
    """A scene with all that was made for it."""

    scene: Scene
    takes: list[Take] = field(default_factory=list)
    caption: str = ""
    poster: str = ""

    def as_row(self) -> dict[str, object]:
        return {
            "scene": self.scene.name,
            "takes": [[take.seed, take.url] for take in self.takes],
            "caption": self.caption,
            "poster": self.poster,
        }


class Progress:
    """Says on the standard error what goes on."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.lines = 0

    def on_enqueue(self, request_id: str) -> None:
        print(f"{self.scene.name}: queued", file=sys.stderr)

    def on_update(self, update: fal_runtime.Status) -> None:
        if isinstance(update, fal_runtime.Queued):
            print(f"{self.scene.name}: number {update.position}", file=sys.stderr)
        elif isinstance(update, fal_runtime.InProgress) and update.logs:
            for entry in update.logs:
                self.lines += 1
                print(f"{self.scene.name}: {entry.message}", file=sys.stderr)


async def paint(client: fal_runtime.Client, scene: Scene, take: int, limit: asyncio.Semaphore) -> Take:
    """Paint one take, with what the scene asks for."""
    seed = 1000 + take
    async with limit:
        result = await flux_dev.run_async(scene.arguments(seed), client=client)
    image = result.images[0]
    return Take(seed=result.seed, url=image.url, safe=not result.has_nsfw_concepts[0])


async def caption(client: fal_runtime.Client, take: Take) -> str:
    """Describe a picture in words."""
    answer = await florence_2_large_caption.subscribe_async(florence_2_large_caption.Input(image_url=take.url), client=client)
    return answer.results.strip()


async def poster(client: fal_runtime.Client, scene: Scene, text: str) -> str:
    """Paint the scene once more, large, with its caption as an addition."""
    progress = Progress(scene)
    result = await flux_dev.subscribe_async(
        flux_dev.Input(
            prompt=f"{scene.prompt}. {text}",
            image_size=flux_dev.ImageSize(
                width=1024,  # the printer's own
                height=768,
            ),
            enable_safety_checker=True,
            acceleration="regular",
        ),
        logs=True,
        on_enqueue=progress.on_enqueue,
        on_queue_update=lambda update: progress.on_update(update),
        client=client,
    )
    return result.images[0].url


async def paint_scene(client: fal_runtime.Client, scene: Scene, limit: asyncio.Semaphore) -> Painted:
    """All of one scene."""
    painted = Painted(scene)
    painted.takes = await asyncio.gather(*(paint(client, scene, take, limit) for take in range(scene.takes)))
    best = next((take for take in painted.takes if take.safe), painted.takes[0])
    painted.caption = await caption(client, best)
    painted.poster = await poster(client, scene, painted.caption)
    return painted


async def contact_sheet(client: fal_runtime.Client, prompts: list[str]) -> list[str]:
    """Small versions of several prompts: all submitted first, then collected in order."""
    handles = []
    for prompt in prompts:
        handle = await flux_schnell.submit_async(
            flux_schnell.Input(prompt=prompt, image_size="square", num_inference_steps=1),
            priority="low",
            client=client,
        )
        handles.append(handle)
    sheet: list[str] = []
    for prompt, handle in zip(prompts, handles, strict=True):
        async for event in handle.events_async(logs=False):
            match event:
                case fal_runtime.Completed():
                    print(f"{prompt}: done", file=sys.stderr)
                case _:
                    pass
        small = await handle.result_async()
        sheet.append(small.images[0].url)
    return sheet


def log_totals(painted: list[Painted]) -> None:
    """Say how much was made."""
    takes = sum(len(each.takes) for each in painted)
    print(f"{takes} takes of {len(painted)} scenes", file=sys.stderr)


async def swatches(client: fal_runtime.Client, names: list[str]) -> list[dict[str, object]]:
    """A swatch of every colour, all at once."""
    tasks = [
        asyncio.create_task(flux_schnell.run_async(flux_schnell.Input(prompt=f"the colour {name}", seed=7), client=client))
        for name in names
    ]
    results = await asyncio.gather(*tasks)
    rows: list[dict[str, object]] = []
    for name, swatch in zip(names, results, strict=True):
        first = swatch.images[0] if swatch.images else None
        if first is not None:
            rows.append({"name": name, "url": first.url, "pixels": first.width * first.height})
    return rows


async def main(count: int) -> None:
    client = fal_runtime.Client(timeouts=fal_runtime.Timeouts(attempt=60.0))
    limit = asyncio.Semaphore(count)
    painted = await asyncio.gather(*(paint_scene(client, scene, limit) for scene in SCENES))
    log_totals(painted)
    sheet = await contact_sheet(client, [scene.prompt for scene in SCENES])
    colours = await swatches(client, ["ochre", "teal"])
    report = {"scenes": [each.as_row() for each in painted], "sheet": sheet, "swatches": colours}
    json.dump(report, sys.stdout, indent=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=4, help="how many takes are painted at once")
    asyncio.run(main(parser.parse_args().limit))
