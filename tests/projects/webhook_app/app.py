"""A service that submits and returns at once, and is told by webhook what became of it. Any ASGI framework does it so.

Run it with: uvicorn app:app
"""

from fastapi import FastAPI, Request, Response

from fal_endpoints.fal_ai import flux_dev
from fal_runtime import FalError
from fal_runtime.errors import OutputError, WebhookSignatureError
from fal_runtime.webhooks import RecentSignatures

app = FastAPI(title="Pictures, later")
pictures: dict[str, list[str]] = {}
"""The URLs of the pictures, by request. A database, in a real service."""
failures: dict[str, FalError] = {}
overheard = RecentSignatures()


@app.post("/pictures")
async def order(prompt: str, request: Request) -> str:
    """Submit, and tell the platform where to send the result."""
    handle = await flux_dev.submit_async(
        flux_dev.Input(prompt=prompt), webhook_url=str(request.url_for("receive")), max_queue_length=100
    )
    return handle.request_id


@app.post("/fal-webhook")
async def receive(request: Request) -> Response:
    """Take a result. Everything but 2xx has the platform deliver it again, so nothing is lost by an error here."""
    body = await request.body()
    try:
        event = await flux_dev.endpoint.parse_webhook_async(request.headers, body, replay_guard=overheard)
    except WebhookSignatureError as error:
        return Response(error.reason, status_code=401)
    except OutputError:
        return Response("not understood", status_code=422)
    except FalError:
        return Response("the platform's keys cannot be had", status_code=503)
    if event.error is not None:
        failures[event.request_id] = event.error
    elif event.output is None:  # too strange for JSON, so it has to be fetched
        output = await flux_dev.handle(event.request_id).result_async()
        pictures[event.request_id] = [image.url for image in output.images]
    else:
        # The same result may be delivered twice, which the request's id makes harmless.
        pictures[event.request_id] = [image.url for image in event.output.images]
    return Response(status_code=204)
