"""An app of one's own with every kind of path, and its document as FastAPI writes it."""

from typing import Any

import pydantic
from fastapi import FastAPI


class Size(pydantic.BaseModel):
    width: int = pydantic.Field(512, gt=0, le=4096)
    height: int = 512


class In(pydantic.BaseModel):
    prompt: str = pydantic.Field(description="What to make.", examples=["a cat"])
    size: Size | None = None
    tags: list[str] = []


class Out(pydantic.BaseModel):
    url: str


class Frame(pydantic.BaseModel):
    image: str


api = FastAPI(title="Upscaler")


@api.post("/")
def main(body: In) -> Out:
    """Make a picture."""
    raise NotImplementedError


@api.post("/stream")
def stream(body: In) -> Any:
    raise NotImplementedError


@api.post("/realtime")
def realtime(body: Frame) -> Frame:
    raise NotImplementedError


@api.post("/fast/x2", deprecated=True)
def fast(body: In | None = None) -> Out:
    raise NotImplementedError


@api.get("/health")
def health() -> str:
    raise NotImplementedError


@api.post("/jobs/{job}")
def job(job: str, body: In) -> Out:
    raise NotImplementedError


@api.post("/asked")
def asked(size: int, body: In) -> Out:
    raise NotImplementedError


DOCUMENT: dict[str, Any] = api.openapi()
DOCUMENT["paths"]["/upload"] = {"post": {"requestBody": {"content": {"multipart/form-data": {"schema": {}}}}}}
