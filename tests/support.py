"""What tests share beside fixtures: a small typed endpoint, and each verb called both ways."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from fal_runtime import InputModel, OutputModel, default


class Input(InputModel, kw_only=True):
    prompt: str
    count: int = default(1)


class Output(OutputModel, kw_only=True):
    text: str
    note: str | None = None


ECHO = "tests/echo/deep"
"""An endpoint that is in no catalogue; the sandbox answers as each test says."""


def endpoint_modules(config: pytest.Config, every: int) -> list[str]:
    """The modules of some endpoints, one of so many; with `--every-endpoint`, of all."""
    index: dict[str, Any] = json.loads(files("fal_endpoints").joinpath("index.json").read_bytes())
    names = [entry["module"] for entry in index["endpoints"] if entry.get("module")]
    return names if config.getoption("--every-endpoint") else names[::every]


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


@contextmanager
def nothing_left_open() -> Generator[None]:
    """Hold that no socket, thread or task outlives what is done inside."""

    def open_sockets() -> int:
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        found = 0
        for link in links:
            try:
                found += str(os.readlink(link)).startswith("socket:")
            except OSError:
                continue
        return found

    linux = Path("/proc/self/fd").exists()
    before = open_sockets() if linux else 0
    threads = _own_threads()
    yield
    gc.collect()
    end = time.monotonic() + 10
    while linux and open_sockets() > before and time.monotonic() < end:
        time.sleep(0.02)
    assert not linux or open_sockets() <= before
    while _own_threads() - threads and time.monotonic() < end:
        time.sleep(0.02)
    assert _own_threads() - threads == set()


def _own_threads() -> set[threading.Thread]:
    """The threads that live, without those in which the sandbox does its slow work."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith(("asyncio_", "uvloop_"))}


PROJECTS = Path(__file__).resolve().parent / "projects"


def run_program(
    program: str, *arguments: object, folder: Path, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of the examples in a folder as its user would, in a pipe; the environment points to the sandbox."""
    return subprocess.run(
        [sys.executable, str(PROJECTS / program), *map(str, arguments)],
        cwd=folder,
        env=program_environment(),
        input=input,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def program_environment() -> dict[str, str]:
    """This process's environment, in which a program imports what this process does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"}
