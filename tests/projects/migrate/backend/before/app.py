"""A small studio's backend: pictures and voices on order, finished ones announced by webhook.

POST /pictures        orders pictures and answers at once with a job
GET  /jobs/{id}       how the job stands
POST /hooks/fal       where the platform says that a job is done
POST /previews        makes one quick picture and waits for it
POST /voices          speaks a sentence and waits for it
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import Any, Literal

import fal_client
from fal_client import FalClientHTTPError, FalClientTimeoutError
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

logger = logging.getLogger("studio")

PICTURES = "fal-ai/flux/dev"
PREVIEWS = "fal-ai/flux/schnell"

PUBLIC_URL = os.environ.get("STUDIO_URL", "https://studio.example.com")

app = FastAPI(title="Studio")


# --- What comes in and goes out ---------------------------------------------------------------------------------------


class PictureOrder(BaseModel):
    """What a customer orders."""

    prompt: str
    format: Literal["square_hd", "portrait_4_3", "landscape_16_9"] = "landscape_16_9"
    count: int = Field(default=1, ge=1, le=4)
    seed: int | None = None


class PreviewOrder(BaseModel):
    prompt: str
    width: int = 512
    height: int = 512


class VoiceOrder(BaseModel):
    text: str
    voice: str = "hf_alpha"


class JobView(BaseModel):
    id: str
    state: str
    position: int | None = None
    pictures: list[str] = []
    error: str | None = None


@dataclass
class Job:
    """A job as we remember it."""

    id: str
    request_id: str
    prompt: str
    state: str = "waiting"
    pictures: list[str] = field(default_factory=list)
    error: str | None = None


jobs: dict[str, Job] = {}


# --- Pictures ---------------------------------------------------------------------------------------------------------


@app.post("/pictures", status_code=202)
async def order_pictures(order: PictureOrder) -> JobView:
    """Put the order into the queue; the webhook tells when it is done."""
    try:
        handle = await fal_client.submit_async(
            PICTURES,
            arguments={
                "prompt": order.prompt,
                "image_size": order.format,
                "num_images": order.count,
                "output_format": "png",  # customers print them
                # a fixed seed makes an order repeatable
                "seed": order.seed,
            },
            webhook_url=f"{PUBLIC_URL}/hooks/fal",
            priority="normal",
        )
    except FalClientHTTPError as error:
        logger.warning("the order was refused: %s", error.status_code)
        raise HTTPException(status_code=502, detail="the picture service refused the order") from error
    job = Job(id=f"job-{len(jobs) + 1}", request_id=handle.request_id, prompt=order.prompt)
    jobs[job.id] = job
    return view(job)


@app.get("/jobs/{job_id}")
async def show_job(job_id: str) -> JobView:
    """Tell how a job stands, and ask the platform if we do not know it yet."""
    job = jobs.get(job_id)
    if job is None:
        raise HTTPException(status_code=404, detail="no such job")
    position = None
    if job.state == "waiting":
        status = await fal_client.status_async(PICTURES, job.request_id, with_logs=True)
        if isinstance(status, fal_client.Queued):
            position = status.position
        elif isinstance(status, fal_client.InProgress):
            job.state = "painting"
            for line in status.logs or []:
                logger.info("%s: %s", job.id, line["message"])
        elif isinstance(status, fal_client.Completed):
            await collect(job)
    return view(job, position)


@app.delete("/jobs/{job_id}", status_code=204)
async def drop_job(job_id: str) -> None:
    """Stop a job that nobody wants any more."""
    job = jobs.pop(job_id, None)
    if job is not None and job.state == "waiting":
        try:
            await fal_client.cancel_async(PICTURES, job.request_id)
        except FalClientHTTPError:
            logger.info("%s was done already", job_id)


@app.post("/hooks/fal")
async def on_webhook(request: Request) -> dict[str, str]:
    """The platform says that a request is done. What it sends is not trusted: the result is fetched."""
    payload = await request.json()
    for job in jobs.values():
        if job.request_id == payload["request_id"]:
            await collect(job)
            return {"status": "ok"}
    return {"status": "unknown"}


async def collect(job: Job) -> None:
    """Fetch what a job made."""
    try:
        result = await fal_client.result_async(PICTURES, job.request_id)
    except FalClientHTTPError as error:
        job.state, job.error = "failed", f"the service answered {error.status_code}"
        return
    for image, is_unsafe in zip(result["images"], result["has_nsfw_concepts"]):
        if not is_unsafe:
            job.pictures.append(image["url"])
    job.state = "done" if job.pictures else "withheld"
    logger.info("%s used the seed %d", job.id, result["seed"])


# --- What is made while the customer waits ----------------------------------------------------------------------------


@app.post("/previews")
async def preview(order: PreviewOrder) -> dict[str, Any]:
    """One quick picture."""
    try:
        result = await fal_client.run_async(
            PREVIEWS,
            arguments={
                "prompt": order.prompt,
                "image_size": {"width": order.width, "height": order.height},
                "num_inference_steps": 2,
            },
            timeout=60,
        )
    except FalClientTimeoutError as error:
        raise HTTPException(status_code=504, detail="the preview took too long") from error
    image = result["images"][0]
    return {"url": image["url"], "size": [image["width"], image["height"]], "seconds": sum(result["timings"].values())}


@app.post("/voices")
async def speak(order: VoiceOrder) -> dict[str, Any]:
    """Speak a sentence. What the service says goes to the customer as it is."""
    return await fal_client.subscribe_async(
        "fal-ai/kokoro/hindi",
        arguments={"prompt": order.text, "voice": order.voice},
        client_timeout=120,
    )


@app.post("/remix")
async def remix(request: Request) -> dict[str, Any]:
    """Whatever model a customer of the laboratory names, with whatever it takes."""
    wish = await request.json()
    return await fal_client.subscribe_async(wish["model"], arguments=wish["input"])


# --- Helpers ----------------------------------------------------------------------------------------------------------


def view(job: Job, position: int | None = None) -> JobView:
    return JobView(id=job.id, state=job.state, position=position, pictures=job.pictures, error=job.error)
