"""What a storyboard is made of: scenes with a prompt, a mood and a number of takes."""

from __future__ import annotations

from dataclasses import dataclass

MOODS = {
    "calm": {"guidance_scale": 2.5, "num_inference_steps": 12},
    "tense": {"guidance_scale": 6.0, "num_inference_steps": 20},
}


@dataclass(frozen=True)
class Scene:
    """One scene of a storyboard."""

    name: str
    prompt: str
    mood: str = "calm"
    takes: int = 1

    def arguments(self, seed: int) -> dict[str, object]:
        """What the picture model gets for a take."""
        return {"prompt": self.prompt, "seed": seed, "image_size": "square", **MOODS[self.mood]}


SCENES = [
    Scene("harbour", "a harbour at dawn, wide shot", takes=2),
    Scene("chase", "two cyclists in the rain, seen from a bridge", mood="tense"),
    Scene("letter", "a letter on a wooden table, close-up", takes=2),
]
