"""A notebook that became a script: tries models, keeps the outcome in a folder, prints a table.

Usage: python tool.py FOLDER [--model ID]
"""

# %% What we need
import argparse
import json
import os
import time
from pathlib import Path

import fal_client
import fal_runtime
from fal_endpoints.fal_ai import florence_2_large_caption, flux_dev, flux_lora, flux_schnell, kokoro_hindi


def say(*words):
    print(*words)


# %% Watching a request
seen = []


def watch(update):
    """Print what is new about a request."""
    if isinstance(update, fal_runtime.Queued):
        seen.append(f"number {update.position}")
    if isinstance(update, (fal_runtime.InProgress, fal_runtime.Completed)):
        for log in update.logs or []:
            if log.message.strip():
                seen.append(log.message)


def dump(status):
    """Keep a status as text, whatever it is."""
    return repr(status)


# %% One picture, step by step
def lighthouse(steps):
    result = flux_dev.subscribe(
        flux_dev.Input(
            prompt="a lighthouse in a storm",
            num_inference_steps=steps,
            seed=42,
        ),
        logs=True,
        on_queue_update=watch,
    )
    picture = result.images[0]
    return {"url": picture.url, "kind": picture.content_type, "seed": result.seed}


def largest(result):
    """The picture with the most pixels."""
    return max((image.width * image.height, image.url) for image in result.images)


def paint(prompt, seed):
    """Several pictures at once."""
    return flux_dev.run(flux_dev.Input(prompt=prompt, seed=seed, num_images=2))


# %% The same in several sizes
SIZES = [("small", 256, 256), ("wide", 768, 256)]


def sizes(prompt):
    rows = []
    for name, width, height in SIZES:
        result = None
        for attempt in range(3):
            try:
                result = flux_schnell.run(
                    flux_schnell.Input(prompt=prompt, image_size=flux_schnell.ImageSize(width=width, height=height), seed=attempt),
                )
                break
            except (fal_client.FalClientError, fal_runtime.FalError) as e:
                say("trying again:", e)
                time.sleep(0.1)
        if result is None:
            continue
        rows.append((name, [image.url for image in result.images], result.prompt))
    return rows


# %% Styles
def styled(prompt, strength=0.8):
    """A picture with two styles on top."""
    handle = flux_lora.submit(
        flux_lora.Input(
            prompt=prompt,
            loras=[
                flux_lora.LoraWeight(path="https://example.com/ink.safetensors", scale=strength),
                flux_lora.LoraWeight(path="https://example.com/grain.safetensors"),
            ],
            num_images=2,
        ),
        extra={"sharpness": 3},
    )
    say("waiting for the styles")
    states = []
    for event in handle.events(logs=True):
        if isinstance(event, fal_runtime.InProgress):
            states.append("running")
    result = handle.result()
    return {"pictures": len(result.images), "first": result.images[0].url, "ran": bool(states or True)}


# %% A voice
class Speaker:
    """Speaks with one voice."""

    def __init__(self, voice):
        self.voice = voice
        self._fal = fal_runtime.Client(key=os.environ["FAL_KEY"])

    def say(self, text, speed=None):
        arguments = {"prompt": text, "voice": self.voice}
        if speed is not None:
            arguments["speed"] = speed
        result = kokoro_hindi.subscribe(arguments, client=self._fal)
        return result.audio.url

    def later(self, text):
        handle = kokoro_hindi.submit(kokoro_hindi.Input(prompt=text, voice=self.voice), client=self._fal)
        return handle.request_id

    def fetch(self, request_id):
        result = kokoro_hindi.handle(request_id, client=self._fal).result()
        audio = result.audio
        return audio.url, audio.content_type


# %% Things that are kept as they came
def keep(folder, name, prompt):
    """Keep the whole answer as a file."""
    result = fal_runtime.endpoint("fal-ai/flux/schnell").run({"prompt": prompt, "seed": 5})
    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps(result["images"], indent=1, sort_keys=True))
    return path


def count_lines(prompt):
    """How many lines a request logs."""
    handle = fal_client.submit("fal-ai/flux/schnell", arguments={"prompt": prompt})
    total = 0
    for event in handle.iter_events(with_logs=True):
        if isinstance(event, fal_client.InProgress):
            total = max(total, len(event.logs))
    return total > 0


def peek(prompt):
    handle = fal_client.submit("fal-ai/flux/schnell", arguments={"prompt": prompt, "seed": 9})
    first = dump(handle.status())
    url = handle.get()["images"][0]["url"]
    return first.partition("(")[0], url


def any_model(model, arguments):
    """For the model of the day."""
    return fal_client.run(model, arguments=arguments)


def draft(prompt):
    """A model that has left the catalogue, kept for old notebooks."""
    return fal_client.run("fal-ai/no-such-model", arguments={"prompt": prompt})


def thumbnail(path):
    """A picture that travels inside of the request."""
    return fal_runtime.data_uri(path)


def described(path):
    """What is to be seen on a picture of ours."""
    answer = florence_2_large_caption.subscribe(
        florence_2_large_caption.Input(image_url=fal_runtime.upload(path)),
    )
    return answer.results


def note(text):
    """Put a note beside the pictures."""
    return fal_runtime.upload(text.encode(), content_type="text/plain", file_name="note.txt")


# %% All of it
PIXEL = (
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060"
    "000000040001f61738550000000049454e44ae426082"
)


def main(folder, model):
    table = {}
    table["lighthouse"] = lighthouse(steps=8)
    table["watched"] = "Done" in seen
    table["largest"] = largest(paint("a pier", 8))
    table["sizes"] = sizes("a boat, seen from above")
    table["styled"] = styled("a fox in the snow")
    speaker = Speaker("hf_beta")
    table["voice"] = speaker.say("namaste", speed=1.2)
    table["fetched"] = speaker.fetch(speaker.later("phir milenge"))
    kept = keep(folder, "kept", "a map of an island")
    table["kept"] = json.loads(kept.read_text())
    table["lines"] = count_lines("a bell")
    table["peek"] = peek("a drum")
    table["any"] = any_model(model, {"prompt": "a kite", "seed": 3})["images"][0]["url"]
    picture = Path(folder) / "pixel.png"
    picture.write_bytes(bytes.fromhex(PIXEL))
    table["described"] = len(described(picture).split()) > 1
    table["note"] = note("for later").rpartition(".")[2]
    table["thumbnail"] = thumbnail(kept)[:5]
    try:
        draft("a ghost")
    except (fal_client.FalClientHTTPError, fal_runtime.errors.InputError, fal_runtime.errors.ServiceError) as error:
        table["draft"] = error.status_code
    print(json.dumps(table, indent=1, sort_keys=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--model", default="fal-ai/flux/schnell")
    options = parser.parse_args()
    main(options.folder, options.model)
