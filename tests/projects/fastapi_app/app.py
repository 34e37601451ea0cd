"""A picture service: the endpoint's own types are the body and the answer, checked and documented by FastAPI.

Run it with: uvicorn app:app
"""

from fastapi import FastAPI
from pydantic import BaseModel

from fal_endpoints.fal_ai import flux_dev, flux_general

app = FastAPI(title="Pictures")


class Order(BaseModel):
    """A picture and who wants it: a generated type as a field of a pydantic model."""

    customer: str
    picture: flux_dev.Input
    loras: list[flux_general.LoraWeight] = []


class Delivery(BaseModel):
    """What became of an order."""

    customer: str
    images: list[flux_dev.Image]


@app.post("/pictures")
async def make(body: flux_dev.Input) -> flux_dev.Output:
    """Make pictures."""
    return await flux_dev.subscribe_async(body)


@app.post("/orders")
async def order(body: Order) -> Delivery:
    """Make the pictures of an order."""
    output = await flux_dev.subscribe_async(body.picture)
    return Delivery(customer=body.customer, images=output.images)


@app.post("/echo")
async def echo(body: flux_dev.Input | None = None) -> object:
    """Give back what was understood."""
    return body
