"""An application made with the `fal` package, served on this machine. Run by that package's own Python.

It takes the path that the gateway gives the application, and prints its port once it listens.
"""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
from __future__ import annotations

import asyncio
import socket
import sys

import fal
import uvicorn
from fastapi.responses import StreamingResponse
from pydantic import BaseModel


class Input(BaseModel):
    prompt: str
    count: int = 1


class Output(BaseModel):
    text: str


class Story(fal.App):
    @fal.endpoint("/")
    def tell(self, input: Input) -> Output:
        return Output(text=input.prompt * input.count)

    @fal.endpoint("/stream")
    async def tell_slowly(self, input: Input) -> StreamingResponse:
        async def parts():
            for number in range(1, input.count + 1):
                yield f"data: {Output(text=input.prompt * number).model_dump_json()}\n\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    @fal.realtime("/realtime", session_timeout=0.5)
    def tell_now(self, input: Input) -> Output:
        return Output(text=input.prompt * input.count)


def under(prefix, app):
    """The application, found under the path that the gateway strips."""

    async def routed(scope, receive, send):
        if "path" in scope:
            scope = {**scope, "path": scope["path"].removeprefix(prefix) or "/"}
        await app(scope, receive, send)

    return routed


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    app = under(sys.argv[1], Story(_allow_init=True)._build_app())
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="websockets-sansio"))
    asyncio.run(server.serve([listener]))


main()
