"""What tests share beside fixtures: a small typed endpoint, and each verb called both ways."""

from __future__ import annotations

import asyncio
from typing import Any

from fal_runtime import InputModel, OutputModel, default


class Input(InputModel, kw_only=True):
    prompt: str
    count: int = default(1)


class Output(OutputModel, kw_only=True):
    text: str
    note: str | None = None


ECHO = "tests/echo/deep"
"""An endpoint that is in no catalogue; the sandbox answers as each test says."""


class Caller:
    """Calls a verb either in this thread or on an event loop, so that one test holds for both."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def __call__(self, owner: Any, verb: str, *args: Any, **options: Any) -> Any:
        if self.mode == "blocking":
            return getattr(owner, verb)(*args, **options)

        async def call() -> Any:
            outcome = getattr(owner, verb + "_async")(*args, **options)
            if hasattr(outcome, "__aiter__"):
                return [item async for item in outcome]
            return await outcome

        return asyncio.run(call())

    def done(self, owner: Any, verb: str, *args: Any, **options: Any) -> Any:
        """The last of what a stream gives."""
        if self.mode == "blocking":
            return getattr(owner, verb)(*args, **options).done()

        async def call() -> Any:
            return await getattr(owner, verb + "_async")(*args, **options).done()

        return asyncio.run(call())

    def close(self, client: Any) -> None:
        """Close a client's connections. Those of an event loop have ended with it."""
        client.close()

    def list(self, owner: Any, verb: str, **options: Any) -> list[Any]:
        """All that an iterating verb gives."""
        return list(self(owner, verb, **options))
