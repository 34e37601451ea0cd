"""One client at work: python clients.py KIND TASK OPTIONS

It prints what the task came to as JSON: `calls` done, seconds of `wall` and `cpu` time (of all threads), and what else
the section asks for. Every kind of client has the same methods, and only what the kind needs is imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import ssl
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

FLUX = "fal-ai/flux/dev"
LIVE = "acme/live/fast"
ARGUMENTS = {"prompt": "a cat"}
SERVICES = {name: os.environ.get(f"FAL_{name.upper()}_URL", "") for name in ("queue", "run", "rest", "cdn", "realtime")}
READ_SIZE, PART_SIZE, PARTS_AT_ONCE = 256 * 1024, 10 * 2**20, 8
ENOUGH = 1.5
"""Seconds after which no further call is begun, so that a slow client does not hold up all."""


def address() -> tuple[str, int]:
    """The server's."""
    host, port = SERVICES["run"].split("/")[2].split(":")
    return host, int(port)


class Ours:
    """fal-bindings, over the HTTP library that `FAL_HTTP` names."""

    def __init__(self) -> None:
        from fal_endpoints.fal_ai import flux_dev
        from fal_runtime import Client, Endpoint, InputModel, OutputModel

        # As in `namespace: class Input(InputModel, kw_only=True)`, but imported here, where it is needed.
        text = "class Input(InputModel, kw_only=True):\n prompt: str\n image: bytes\nclass Output(OutputModel):\n seed: int\n image: bytes"
        models: dict[str, Any] = {"InputModel": InputModel, "OutputModel": OutputModel, "__name__": "live"}
        exec(text, models)  # noqa: S102
        self.client = Client()
        self.flux: Any = flux_dev
        self.live_input = models["Input"]
        self.live = Endpoint(LIVE, models["Input"], models["Output"])

    def check(self) -> None:
        """See that nothing is switched off in what is measured: input checked, retries armed, output typed."""
        from fal_runtime import endpoint, errors

        flux = self.flux
        try:
            flux.run(flux.Input(prompt="a cat", num_images=99), client=self.client)
            problems: list[str] = []
        except errors.InputError as error:
            problems = [each.path for each in error.errors]
        assert problems == ["num_images"]
        endpoint("acme/flaky").run(ARGUMENTS, client=self.client)  # it answers 503 first
        output = flux.run(flux.Input(prompt="a cat"), client=self.client)
        assert type(output) is flux.Output
        assert type(output.images[0]) is flux.Image
        assert output.images[0].width == 1024

    def run(self) -> Any:
        return self.flux.run(self.flux.Input(prompt="a cat"), client=self.client)

    async def run_async(self) -> Any:
        return await self.flux.run_async(self.flux.Input(prompt="a cat"), client=self.client)

    def subscribe(self, milliseconds: int) -> float:
        output = self.flux.subscribe(self.flux.Input(prompt=str(milliseconds)), client=self.client)
        return float(output.seed) / 1e6

    async def subscribe_async(self, milliseconds: int) -> float:
        output = await self.flux.subscribe_async(self.flux.Input(prompt=str(milliseconds)), client=self.client)
        return float(output.seed) / 1e6

    def stream(self) -> int:
        events = self.flux.endpoint.stream(self.flux.Input(prompt="a cat"), client=self.client)
        return sum(len(output.images) for output in events)

    async def stream_async(self) -> int:
        events = self.flux.endpoint.stream_async(self.flux.Input(prompt="a cat"), client=self.client)
        return sum([len(output.images) async for output in events])

    @contextmanager
    def realtime(self, size: int) -> Generator[Callable[[], Any], None, None]:
        made, image = self.live_input, b"\x55" * size
        with self.live.realtime(client=self.client) as connection:

            def trip() -> Any:
                connection.send(made(prompt="a cat", image=image))
                return connection.recv()

            yield trip

    @asynccontextmanager
    async def realtime_async(self, size: int) -> AsyncGenerator[Callable[[], Awaitable[Any]], None]:
        made, image = self.live_input, b"\x55" * size
        async with self.live.realtime_async(client=self.client) as connection:

            async def trip() -> Any:
                await connection.send(made(prompt="a cat", image=image))
                return await connection.recv()

            yield trip

    def upload(self, file: Path) -> None:
        from fal_runtime import upload

        upload(file, client=self.client)

    async def upload_async(self, file: Path) -> None:
        from fal_runtime import upload_async

        await upload_async(file, client=self.client)


class FalClient:
    """The official Python client, with nothing changed but its addresses."""

    def __init__(self) -> None:
        import fal_client
        import fal_client.client as module

        constants: Any = module
        constants.RUN_URL_FORMAT = SERVICES["run"] + "/"
        constants.QUEUE_URL_FORMAT = SERVICES["queue"] + "/"
        constants.REALTIME_URL_FORMAT = SERVICES["realtime"] + "/"
        constants.REST_URL, constants.CDN_URL = SERVICES["rest"], SERVICES["cdn"]
        self.blocking: Any = fal_client.SyncClient(key="id:secret")
        self.asynchronous: Any = fal_client.AsyncClient(key="id:secret")

    def run(self) -> Any:
        return self.blocking.run(FLUX, ARGUMENTS)

    async def run_async(self) -> Any:
        return await self.asynchronous.run(FLUX, ARGUMENTS)

    def subscribe(self, milliseconds: int) -> float:
        return float(self.blocking.subscribe(FLUX, {"prompt": str(milliseconds)})["seed"]) / 1e6

    async def subscribe_async(self, milliseconds: int) -> float:
        return float((await self.asynchronous.subscribe(FLUX, {"prompt": str(milliseconds)}))["seed"]) / 1e6

    def stream(self) -> int:
        return sum(len(output["images"]) for output in self.blocking.stream(FLUX, ARGUMENTS))

    async def stream_async(self) -> int:
        return sum([len(output["images"]) async for output in self.asynchronous.stream(FLUX, ARGUMENTS)])

    @contextmanager
    def realtime(self, size: int) -> Generator[Callable[[], Any], None, None]:
        message = {"prompt": "a cat", "image": b"\x55" * size}
        with self.blocking.realtime(LIVE) as connection:

            def trip() -> Any:
                connection.send(message)
                return connection.recv()

            yield trip

    @asynccontextmanager
    async def realtime_async(self, size: int) -> AsyncGenerator[Callable[[], Awaitable[Any]], None]:
        message = {"prompt": "a cat", "image": b"\x55" * size}
        async with self.asynchronous.realtime(LIVE) as connection:

            async def trip() -> Any:
                await connection.send(message)
                return await connection.recv()

            yield trip

    def upload(self, file: Path) -> None:
        self.blocking.upload_file(file)

    async def upload_async(self, file: Path) -> None:
        await self.asynchronous.upload_file(file)


class RawHttpx:
    """`httpx`, used as one would by hand: one client, the default pool without its limit. Sockets: `websockets`."""

    def __init__(self) -> None:
        import httpx
        import msgspec

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        headers = {"authorization": "Key id:secret"}
        self.httpx = httpx
        self.blocking = httpx.Client(limits=limits, headers=headers, timeout=60.0)
        self.asynchronous = httpx.AsyncClient(limits=limits, headers=headers, timeout=60.0)
        live = msgspec.defstruct("Live", [("prompt", str), ("image", bytes)])
        made = msgspec.defstruct("Made", [("seed", int), ("image", bytes)])
        self.message, self.encode = live, msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder(made).decode

    def run(self) -> Any:
        return self.blocking.post(f"{SERVICES['run']}/{FLUX}", json=ARGUMENTS).json()

    async def run_async(self) -> Any:
        return (await self.asynchronous.post(f"{SERVICES['run']}/{FLUX}", json=ARGUMENTS)).json()

    def subscribe(self, milliseconds: int) -> float:
        job = self.blocking.post(f"{SERVICES['queue']}/{FLUX}", json={"prompt": str(milliseconds)}).json()
        with self.blocking.stream("GET", f"{job['status_url']}/stream") as response:
            for line in response.iter_lines():
                if line.startswith("data:") and json.loads(line[5:])["status"] == "COMPLETED":
                    break
        return float(self.blocking.get(job["response_url"]).json()["seed"]) / 1e6

    async def subscribe_async(self, milliseconds: int) -> float:
        client = self.asynchronous
        job = (await client.post(f"{SERVICES['queue']}/{FLUX}", json={"prompt": str(milliseconds)})).json()
        async with client.stream("GET", f"{job['status_url']}/stream") as response:
            async for line in response.aiter_lines():
                if line.startswith("data:") and json.loads(line[5:])["status"] == "COMPLETED":
                    break
        return float((await client.get(job["response_url"])).json()["seed"]) / 1e6

    def stream(self) -> int:
        with self.blocking.stream("POST", f"{SERVICES['run']}/{FLUX}/stream", json=ARGUMENTS) as response:
            lines = (line for line in response.iter_lines() if line.startswith("data:"))
            return sum(len(json.loads(line[5:])["images"]) for line in lines)

    async def stream_async(self) -> int:
        count = 0
        url = f"{SERVICES['run']}/{FLUX}/stream"
        async with self.asynchronous.stream("POST", url, json=ARGUMENTS) as response:
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    count += len(json.loads(line[5:])["images"])
        return count

    @contextmanager
    def realtime(self, size: int) -> Generator[Callable[[], Any], None, None]:
        from websockets.sync.client import connect

        image = b"\x55" * size
        with connect(f"{SERVICES['realtime']}/{LIVE}/realtime", compression=None, max_size=None) as connection:

            def trip() -> Any:
                connection.send(self.encode(self.message("a cat", image)))
                return self.decode(cast("bytes", connection.recv()))

            yield trip

    @asynccontextmanager
    async def realtime_async(self, size: int) -> AsyncGenerator[Callable[[], Awaitable[Any]], None]:
        from websockets.asyncio.client import connect

        image = b"\x55" * size
        async with connect(f"{SERVICES['realtime']}/{LIVE}/realtime", compression=None, max_size=None) as connection:

            async def trip() -> Any:
                await connection.send(self.encode(self.message("a cat", image)))
                return self.decode(cast("bytes", await connection.recv()))

            yield trip

    def _sent(self, size: int) -> dict[str, str]:
        return {"content-length": str(size), "content-type": "application/octet-stream"}

    def _parts(self, file: Path) -> list[tuple[int, int, int]]:
        """The number of each part, where it begins, and its size."""
        size = file.stat().st_size
        return [(1 + at // PART_SIZE, at, min(PART_SIZE, size - at)) for at in range(0, size, PART_SIZE)]

    def upload(self, file: Path, parts: bool = False) -> None:
        url = f"{SERVICES['cdn']}/files/upload"

        def send(method: str, url: str, at: int, size: int) -> Any:
            with file.open("rb") as opened:
                opened.seek(at)
                content = (opened.read(min(READ_SIZE, at + size - opened.tell())) for _ in range(0, size, READ_SIZE))
                return self.blocking.request(method, url, content=content, headers=self._sent(size))

        def send_part(part: tuple[int, int, int]) -> dict[str, Any]:
            number, at, size = part
            return {"partNumber": number, "etag": send("PUT", f"{parts_url}/{number}", at, size).headers["etag"]}

        if not parts:
            send("POST", url, 0, file.stat().st_size)
            return
        begun = self.blocking.post(f"{url}/multipart").json()
        parts_url = f"{begun['access_url']}/multipart/{begun['uploadId']}"
        with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
            etags = list(pool.map(send_part, self._parts(file)))
        self.blocking.post(f"{parts_url}/complete", json={"parts": etags})

    async def upload_async(self, file: Path, parts: bool = False) -> None:
        url = f"{SERVICES['cdn']}/files/upload"

        async def read(at: int, size: int) -> AsyncGenerator[bytes, None]:
            with file.open("rb") as opened:
                opened.seek(at)
                for _ in range(0, size, READ_SIZE):
                    yield opened.read(min(READ_SIZE, at + size - opened.tell()))

        async def send(method: str, url: str, at: int, size: int) -> Any:
            return await self.asynchronous.request(method, url, content=read(at, size), headers=self._sent(size))

        async def send_part(part: tuple[int, int, int]) -> dict[str, Any]:
            number, at, size = part
            async with places:
                answer = await send("PUT", f"{parts_url}/{number}", at, size)
            return {"partNumber": number, "etag": answer.headers["etag"]}

        if not parts:
            await send("POST", url, 0, file.stat().st_size)
            return
        begun = (await self.asynchronous.post(f"{url}/multipart")).json()
        parts_url = f"{begun['access_url']}/multipart/{begun['uploadId']}"
        places = asyncio.Semaphore(PARTS_AT_ONCE)
        etags = await asyncio.gather(*map(send_part, self._parts(file)))
        await self.asynchronous.post(f"{parts_url}/complete", json={"parts": etags})


class Floor:
    """What cannot be undercut: prepared bytes over plain sockets or asyncio's streams; JSON is read only if it must be."""

    def __init__(self) -> None:
        body = json.dumps(ARGUMENTS).encode()
        self.posted = self.post("/run/" + FLUX, body)
        self.pool: list[Any] = []
        self.streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.context = ssl.create_default_context() if SERVICES["run"].startswith("https") else None

    def post(self, path: str, body: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Key id:secret\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def get(self, url: str) -> bytes:
        return (
            f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Key id:secret\r\n\r\n".encode()
        )

    def size(self, head: bytes) -> int:
        at = head.find(b"content-length:") + 15
        return int(head[at : head.find(b"\r", at)])

    def connected(self) -> socket.socket:
        made = socket.create_connection(address())
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def exchange(self, request: bytes) -> bytes:
        connection = self.pool.pop() if self.pool else self.connected()
        connection.sendall(request)
        data = connection.recv(65536)
        while (end := data.find(b"\r\n\r\n") + 4) < 4 or len(data) < end + self.size(data[:end]):
            data += connection.recv(65536)
        self.pool.append(connection)
        return data[end:]

    async def connected_async(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.streams:
            return self.streams.pop()
        return await asyncio.open_connection(*address(), limit=2**20, ssl=self.context)

    async def exchange_async(self, request: bytes) -> bytes:
        reader, writer = await self.connected_async()
        writer.write(request)
        body = await reader.readexactly(self.size(await reader.readuntil(b"\r\n\r\n")))
        self.streams.append((reader, writer))
        return body

    def run(self) -> bytes:
        return self.exchange(self.posted)

    async def run_async(self) -> bytes:
        return await self.exchange_async(self.posted)

    def subscribe(self, milliseconds: int) -> float:
        submitted = self.post("/queue/" + FLUX, b'{"prompt": "%d"}' % milliseconds)
        job = json.loads(self.exchange(submitted))
        connection, data = self.pool.pop(), b""
        connection.sendall(self.get(f"{job['status_url']}/stream"))
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += connection.recv(65536)
        self.pool.append(connection)
        return float(json.loads(self.exchange(self.get(job["response_url"])))["seed"]) / 1e6

    async def subscribe_async(self, milliseconds: int) -> float:
        submitted = self.post("/queue/" + FLUX, b'{"prompt": "%d"}' % milliseconds)
        job = json.loads(await self.exchange_async(submitted))
        reader, writer = await self.connected_async()
        writer.write(self.get(f"{job['status_url']}/stream"))
        await reader.readuntil(b"\r\n0\r\n\r\n")
        self.streams.append((reader, writer))
        return float(json.loads(await self.exchange_async(self.get(job["response_url"])))["seed"]) / 1e6

    def streamed(self) -> bytes:
        return self.post(f"/run/{FLUX}/stream", json.dumps(ARGUMENTS).encode())

    def stream(self) -> int:
        connection, data = self.connected(), b""
        connection.sendall(self.streamed())
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += connection.recv(65536)
        connection.close()
        return data.count(b"\ndata: ")

    async def stream_async(self) -> int:
        reader, writer = await self.connected_async()
        writer.write(self.streamed())
        data = await reader.readuntil(b"\r\n0\r\n\r\n")
        self.streams.append((reader, writer))
        return data.count(b"\ndata: ")

    def shaken(self) -> bytes:
        head = f"GET /realtime/{LIVE}/realtime HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        return (head + "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode()

    def frame(self, size: int) -> bytes:
        """A message whose mask is zero, so that there is nothing to be masked."""
        length = b"\xfe" + size.to_bytes(2) if size < 65536 else b"\xff" + size.to_bytes(8)
        return b"\x82" + length + bytes(4) + b"\x55" * size

    def rest(self, head: bytes) -> int:
        return 4 + int.from_bytes(head[2:4]) - 10 if head[1] == 126 else 10 + int.from_bytes(head[2:10]) - 10

    @contextmanager
    def realtime(self, size: int) -> Generator[Callable[[], Any], None, None]:
        frame, connection = self.frame(size), self.connected()
        connection.sendall(self.shaken())
        connection.recv(65536)
        space = memoryview(bytearray(2**20))

        def trip() -> None:
            connection.sendall(frame)
            got = connection.recv_into(space[:10], 10, socket.MSG_WAITALL)
            assert got == 10
            connection.recv_into(space, self.rest(bytes(space[:10])), socket.MSG_WAITALL)

        with connection:
            yield trip

    @asynccontextmanager
    async def realtime_async(self, size: int) -> AsyncGenerator[Callable[[], Awaitable[Any]], None]:
        frame, (reader, writer) = self.frame(size), await self.connected_async()
        writer.write(self.shaken())
        await reader.readuntil(b"\r\n\r\n")

        async def trip() -> None:
            writer.write(frame)
            await reader.readexactly(self.rest(await reader.readexactly(10)))

        yield trip
        writer.close()

    def upload(self, file: Path) -> None:
        head = f"POST /cdn/files/upload HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {file.stat().st_size}\r\n\r\n"
        with self.connected() as connection, file.open("rb") as opened:
            connection.sendall(head.encode())
            connection.sendfile(opened)
            connection.recv(65536)

    async def upload_async(self, file: Path) -> None:
        head = f"POST /cdn/files/upload HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {file.stat().st_size}\r\n\r\n"
        reader, writer = await asyncio.open_connection(*address())
        writer.write(head.encode())
        with file.open("rb") as opened:
            await asyncio.get_running_loop().sendfile(writer.transport, opened)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()


KINDS: dict[str, Any] = {"ours": Ours, "fal-client": FalClient, "httpx": RawHttpx, "floor": Floor}


class Meter:
    """Takes the time of a `with` block, and what it adds to the most memory that the process has had."""

    def __enter__(self) -> Meter:
        self._memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self.memory = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._memory)

    def outcome(self, calls: int, **more: Any) -> dict[str, Any]:
        return {"calls": calls, "wall": self.wall, "cpu": self.cpu, "memory": self.memory, **more}


def counted() -> int:
    """How many requests the server has had since this was asked last."""
    with urllib.request.urlopen("http://{}:{}/count".format(*address())) as answer:  # noqa: S310
        requests: int = json.load(answer)["requests"]
        return requests


def run(kind: Any, in_flight: int, calls: int) -> dict[str, Any]:
    """Calls from so many threads; the first of each is not counted."""
    each = max(1, calls // in_flight)
    done: list[int] = []
    ready = threading.Barrier(in_flight + 1)

    def loop() -> int:
        end = time.perf_counter() + ENOUGH
        for number in range(each):
            kind.run()
            if time.perf_counter() > end:
                return number + 1
        return each

    def thread() -> None:
        kind.run()
        ready.wait()
        done.append(loop())
        ready.wait()

    if in_flight == 1:  # in the main thread, which is not like the others
        for _ in range(20):
            kind.run()
        with Meter() as meter:
            done.append(loop())
        return meter.outcome(sum(done))
    for _ in range(in_flight):
        threading.Thread(target=thread, daemon=True).start()
    ready.wait()
    with Meter() as meter:
        ready.wait()
    return meter.outcome(sum(done))


async def run_async(kind: Any, in_flight: int, calls: int) -> dict[str, Any]:
    each = max(1, calls // in_flight)

    async def loop() -> int:
        end = time.perf_counter() + ENOUGH
        for number in range(each):
            await kind.run_async()
            if time.perf_counter() > end:
                return number + 1
        return each

    await asyncio.gather(*(kind.run_async() for _ in range(in_flight)))
    with Meter() as meter:
        done = await asyncio.gather(*(loop() for _ in range(in_flight)))
    return meter.outcome(sum(done))


def subscribe(kind: Any, milliseconds: int, calls: int) -> dict[str, Any]:
    """One job after the other; `late` is when each result was there, in seconds after the job's end."""
    kind.subscribe(1)
    counted()
    with Meter() as meter:
        late = [-kind.subscribe(milliseconds + 5 * number) + time.time() for number in range(calls)]
    return meter.outcome(calls, late=late, requests=counted())


async def subscribe_async(kind: Any, milliseconds: int, calls: int) -> dict[str, Any]:
    await kind.subscribe_async(1)
    counted()
    with Meter() as meter:
        late = [-(await kind.subscribe_async(milliseconds + 5 * number)) + time.time() for number in range(calls)]
    return meter.outcome(calls, late=late, requests=counted())


async def many_async(kind: Any, milliseconds: int, calls: int) -> dict[str, Any]:
    """Many jobs at once."""
    await kind.subscribe_async(1)
    with Meter() as meter:
        await asyncio.gather(*(kind.subscribe_async(milliseconds) for _ in range(calls)))
    return meter.outcome(calls)


def stream(kind: Any, calls: int) -> dict[str, Any]:
    """Streams, one after the other; `calls` are their events."""
    kind.stream()
    with Meter() as meter:
        events = sum(kind.stream() for _ in range(calls))
    return meter.outcome(events)


async def stream_async(kind: Any, calls: int) -> dict[str, Any]:
    await kind.stream_async()
    with Meter() as meter:
        events = sum([await kind.stream_async() for _ in range(calls)])
    return meter.outcome(events)


def realtime(kind: Any, size: int, calls: int) -> dict[str, Any]:
    """Messages there and back, one after the other."""
    with kind.realtime(size) as trip:
        for _ in range(5):
            trip()
        with Meter() as meter:
            for _ in range(calls):
                trip()
    return meter.outcome(calls)


async def realtime_async(kind: Any, size: int, calls: int) -> dict[str, Any]:
    async with kind.realtime_async(size) as trip:
        for _ in range(5):
            await trip()
        with Meter() as meter:
            for _ in range(calls):
                await trip()
    return meter.outcome(calls)


def upload(kind: Any, file: str, size: int, **how: Any) -> dict[str, Any]:
    """A file; `calls` are its bytes."""
    with tempfile.NamedTemporaryFile() as small:
        small.write(b"a")
        small.flush()
        kind.upload(Path(small.name))
    with Meter() as meter:
        kind.upload(Path(file), **how)
    return meter.outcome(size)


async def upload_async(kind: Any, file: str, size: int, **how: Any) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile() as small:
        small.write(b"a")
        small.flush()
        await kind.upload_async(Path(small.name))
    with Meter() as meter:
        await kind.upload_async(Path(file), **how)
    return meter.outcome(size)


TASKS: dict[str, Any] = {
    task.__name__: task
    for task in (
        run,
        run_async,
        subscribe,
        subscribe_async,
        many_async,
        stream,
        stream_async,
        realtime,
        realtime_async,
        upload,
        upload_async,
    )
}


def main(name: str, task: str, options: dict[str, Any]) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    kind = KINDS[name]()
    if isinstance(kind, Ours):
        kind.check()
    outcome = TASKS[task](kind, **options)
    print(json.dumps(asyncio.run(outcome) if task.endswith("_async") else outcome), flush=True)
    os._exit(0)  # nobody waits for what each client does to close


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
