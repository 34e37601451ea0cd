"""What the sandbox carries: jobs at the same time, and requests a second, with the client on the same machine."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

__all__ = ["sandbox"]

ENDPOINT = "fal-ai/flux/dev"
JOBS = 500
CONNECTIONS = 32
SECONDS = 8.0
RUN_SECONDS = 2.0
QUEUE_SECONDS = 0.5

# The server has a process of its own, as it has in use; it ends when its input does.
_SERVER = f"""
from fal_sandbox import Sandbox
with Sandbox(queue_seconds={QUEUE_SECONDS}, run_seconds={RUN_SECONDS}) as running:
    print(running.url, running.key, flush=True)
    input()
"""


def sandbox() -> None:
    """Print how many jobs and requests it carries, and how many went wrong, which must be none."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _SERVER]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    try:
        url, key = server.stdout.readline().split()
        asyncio.run(_measure(_Http(url, key)))
    finally:
        server.communicate("\n", timeout=60)


class _Http:
    """The least HTTP client that will do, so that the server is what takes the time."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 0
        self._head = f"host: {self._host}\r\nauthorization: Key {key}\r\ncontent-type: application/json\r\n"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

    async def ask(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], method: str, path: str, body: bytes = b""
    ) -> tuple[int, bytes]:
        """The status and the body of an answer that states its length."""
        reader, writer = connection
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, length = await self._answer(reader)
        return status, await reader.readexactly(length)

    async def follow(self, path: str) -> dict[str, Any]:
        """The last event of a stream."""
        reader, writer = await self.connect()
        writer.write(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())
        status, _ = await self._answer(reader)
        last: dict[str, Any] = {"status": status}
        while last["status"] != "COMPLETED" and (line := await reader.readline()):
            if line.startswith(b"data: "):
                last = json.loads(line[6:])
        writer.close()
        return last

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, int]:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, after = head.partition(b"content-length: ")
        return int(head.split(b" ", 2)[1]), int(after.partition(b"\r\n")[0] or b"0")


async def _measure(http: _Http) -> None:
    print(f"\nThe sandbox, {JOBS} jobs of {RUN_SECONDS:g} s at the same time, each followed by its status stream")
    late, wrong, seconds = await _jobs(http)
    print(f"  done after              {seconds:8.2f} s")
    median, most = 1000 * statistics.median(late), 1000 * max(late)
    print(f"  beyond its own time     {median:8.1f} ms at the median, {most:.1f} ms at most")
    print(f"  gone wrong              {wrong:8d}")
    print(f"\nThe sandbox, {CONNECTIONS} connections as fast as they can")
    body = json.dumps({"prompt": "a cat"}).encode()
    submitted: dict[str, str] = json.loads(
        (await http.ask(await http.connect(), "POST", f"/queue/{ENDPOINT}", body))[1]
    )
    status = urlsplit(submitted["status_url"]).path
    await asyncio.sleep(3)
    kinds: dict[str, tuple[str, str, bytes]] = {
        "status of a job": ("GET", status, b""),
        "result of a job": ("GET", status.removesuffix("/status"), b""),
        "submission": ("POST", f"/queue/{ENDPOINT}", body),
        "refused input, direct": ("POST", f"/run/{ENDPOINT}", b"{}"),
    }
    for name, request in kinds.items():
        rate, slowest, wrong = await _rate(http, *request)
        print(f"  {name:<23} {rate:8.0f} a second, 99 of 100 within {1000 * slowest:.0f} ms, gone wrong: {wrong}")


async def _jobs(http: _Http) -> tuple[list[float], int, float]:
    late: list[float] = []
    wrong = 0
    begun = time.perf_counter()

    async def one(number: int) -> None:
        nonlocal wrong
        connection = await http.connect()
        submitted = time.perf_counter()
        body = json.dumps({"prompt": f"cat {number}"}).encode()
        status, answer = await http.ask(connection, "POST", f"/queue/{ENDPOINT}", body)
        job: dict[str, str] = json.loads(answer)
        last = await http.follow(urlsplit(job["status_url"]).path + "/stream?logs=1")
        late.append(time.perf_counter() - submitted - QUEUE_SECONDS - RUN_SECONDS)
        result, _ = await http.ask(connection, "GET", urlsplit(job["response_url"]).path)
        wrong += (status, last["status"], "error" in last, result) != (200, "COMPLETED", False, 200)
        connection[1].close()

    await asyncio.gather(*(one(number) for number in range(JOBS)))
    return late, wrong, time.perf_counter() - begun


async def _rate(http: _Http, method: str, path: str, body: bytes) -> tuple[float, float, int]:
    durations: list[float] = []
    wrong = 0
    end = time.perf_counter() + SECONDS / 4

    async def ask() -> None:
        nonlocal wrong
        connection = await http.connect()
        while (begun := time.perf_counter()) < end:
            status, _ = await http.ask(connection, method, path, body)
            durations.append(time.perf_counter() - begun)
            wrong += status not in (200, 422)
        connection[1].close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return len(durations) / (SECONDS / 4), statistics.quantiles(durations, n=100)[98], wrong
