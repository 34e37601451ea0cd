"""A service that submits and returns at once, and is told by webhook what became of it. Any ASGI framework does it so.

Run it with: uvicorn app:app

It needs `pip install 'fal-bindings[webhooks]' fastapi uvicorn`. The platform must be able to reach it, so to run it live, put
it on a public address (a tunnel will do) and set FAL_KEY. Against `fal-bindings sandbox`, which posts the same signed
deliveries to this machine, it runs as it is. PICTURES_DB names its database.
"""

import json
import os
import sqlite3
from typing import Literal

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

from fal_endpoints.fal_ai import flux_dev
from fal_runtime import FalError
from fal_runtime.errors import OutputError, RateLimitError, WebhookSignatureError
from fal_runtime.webhooks import RecentSignatures

app = FastAPI(title="Pictures, later")
overheard = RecentSignatures()


class Picture(BaseModel):
    """How an order stands."""

    request_id: str
    state: Literal["waiting", "done", "failed"] = "waiting"
    urls: list[str] = []
    error: str | None = None


class Store:
    """The orders, by request. A result is written once, however often and however early it is delivered."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS pictures (request_id TEXT PRIMARY KEY, state TEXT, urls TEXT, error TEXT)"
        )

    def get(self, request_id: str) -> Picture | None:
        """How an order stands, if there is such an order."""
        row = self._database.execute("SELECT * FROM pictures WHERE request_id = ?", (request_id,)).fetchone()
        if row is None:
            return None
        return Picture(request_id=row[0], state=row[1], urls=json.loads(row[2]), error=row[3])

    def expect(self, request_id: str) -> None:
        """Note an order, unless its result is here already: a delivery may overtake the answer to the submission."""
        values = (request_id, "waiting", "[]", None)
        self._database.execute("INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?)", values)

    def finish(self, picture: Picture) -> bool:
        """Write a result; whether it is the first one. What must be done once, such as a mail, is done then."""
        values = (picture.request_id, picture.state, json.dumps(picture.urls), picture.error)
        changed = self._database.execute(
            "INSERT INTO pictures VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET state = excluded.state, urls = excluded.urls, error = excluded.error WHERE state = 'waiting'",
            values,
        )
        return changed.rowcount > 0


store = Store(os.environ.get("PICTURES_DB", "pictures.sqlite"))


@app.post("/pictures", status_code=202)
async def order(body: flux_dev.Input, request: Request) -> Picture:
    """Submit, and tell the platform where to send the result."""
    try:
        handle = await flux_dev.submit_async(body, webhook_url=str(request.url_for("receive")), max_queue_length=100)
    except RateLimitError as error:
        raise HTTPException(503, "too many orders; try again later") from error
    store.expect(handle.request_id)
    return Picture(request_id=handle.request_id)


@app.get("/pictures/{request_id}")
async def look(request_id: str) -> Picture:
    """How an order stands."""
    picture = store.get(request_id)
    if picture is None:
        raise HTTPException(404, "there is no such order")
    return picture


@app.post("/fal-webhook")
async def receive(request: Request) -> Response:
    """Take a result. Everything but 2xx has the platform deliver it again, so nothing is lost by an error here."""
    body = await request.body()
    try:
        event = await flux_dev.parse_webhook_async(request.headers, body, replay_guard=overheard)
    except WebhookSignatureError as error:
        return Response(error.reason, status_code=401)
    except OutputError:
        return Response("not understood", status_code=422)
    except FalError:
        return Response("the platform's keys cannot be had", status_code=503)
    output = event.output
    if event.error is not None:
        picture = Picture(request_id=event.request_id, state="failed", error=str(event.error))
    else:
        if output is None:  # the platform could not put it into the delivery, so it has to be fetched
            output = await flux_dev.handle(event.request_id).result_async()
        picture = Picture(request_id=event.request_id, state="done", urls=[image.url for image in output.images])
    first = store.finish(picture)
    return Response("stored" if first else "known", status_code=200)
