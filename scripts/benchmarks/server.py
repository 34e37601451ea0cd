"""The server that the benchmarks talk to: python server.py

It does as little as a server can, so that it is not what is measured: answers are made beforehand, headers are searched
and not parsed, uploads are counted and thrown away, and websocket messages are skipped and answered with a prepared one
of about the same size. It speaks only what the clients here say. It prints its port, and ends with its standard input.

An input's `prompt` that is a number says for how many milliseconds its job runs. The result's `seed` is the time of the
job's end, in microseconds since the epoch.
"""

import asyncio
import base64
import hashlib
import json
import re
import resource
import sys
import time
from itertools import count
from typing import Any, cast

import msgspec
import uvloop

IMAGE = {"url": "https://files.invalid/cat.png", "width": 1024, "height": 768, "content_type": "image/png"}
OUTPUT = {"images": [IMAGE], "timings": {"inference": 0.2}, "seed": 7, "has_nsfw_concepts": [False], "prompt": "a cat"}
EVENTS = 500
"""How many events a stream has."""
SMALL, LARGE = 2_000, 512 * 1024
"""Bytes in a realtime message."""
KEPT = 65_536
"""Bytes from which on a body is thrown away while it arrives."""
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def answer(body: Any, status: str = "200 OK", more: str = "") -> bytes:
    """A whole answer."""
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n{more}\r\n"
    return head.encode() + text


def event(value: Any) -> bytes:
    """A server-sent event as a chunk."""
    text = b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(text), text)


def message(size: int) -> bytes:
    """A websocket message: a map in msgpack."""
    data = msgspec.msgpack.encode({"seed": 7, "image": b"\x55" * size})
    return (b"\x82\x7e" + len(data).to_bytes(2) if size < KEPT else b"\x82\x7f" + len(data).to_bytes(8)) + data


REQUEST_ID = "x-fal-request-id: 764cabcf-b745-4b3e-ae38-1200304cf45b\r\n"
RUN = answer(OUTPUT, more=REQUEST_ID)
BUSY = answer("busy", "503 Service Unavailable")
EVENT_STREAM = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n{REQUEST_ID}\r\n"
STREAM_HEAD = EVENT_STREAM.encode()
STREAM_END = b"0\r\n\r\n"
STREAM = STREAM_HEAD + event(OUTPUT) * EVENTS + STREAM_END
MESSAGES = {size: message(size) for size in (SMALL, LARGE)}
PART = answer({"etag": "part"}, more='etag: "part"\r\n')

numbers = count(1)
ends: dict[str, float] = {}
"""When each job ends, in seconds since the epoch."""
totals = {"requests": 0, "busy": 0}


class Connection(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.base = f"http://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
        self.buffer = b""
        self.skip = 0
        self.after = b""
        self.websocket = False

    def data_received(self, data: bytes) -> None:
        if self.skip:
            taken = min(self.skip, len(data))
            self.skip -= taken
            if self.skip:
                return
            data = data[taken:]
            self.transport.write(self.after)
        self.buffer = self.buffer + data if self.buffer else data
        while self.buffer and (self.message() if self.websocket else self.request()):
            pass

    def drop(self, size: int, after: bytes) -> None:
        """Throw away so many bytes, those that are still to come included; then answer."""
        rest = size - len(self.buffer)
        if rest > 0:
            self.buffer, self.skip, self.after = b"", rest, after
        else:
            self.buffer = self.buffer[size:]
            self.transport.write(after)

    def message(self) -> bool:
        """Take one websocket message from the buffer, if its head is there."""
        if self.buffer[0] & 0x0F == 8:
            self.transport.write(b"\x88\x02\x03\xe8")
            self.transport.close()
            return False
        if len(self.buffer) < 14:
            return False
        short = self.buffer[1] & 0x7F
        if short == 127:
            size = 14 + int.from_bytes(self.buffer[2:10])
        else:
            size = 6 + short if short < 126 else 8 + int.from_bytes(self.buffer[2:4])
        self.drop(size, MESSAGES[SMALL if size < KEPT else LARGE])
        return True

    def request(self) -> bool:
        """Take one request from the buffer, if it is there."""
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        head = self.buffer[:end]
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(found[1]) if found else 0
        if size < KEPT and len(self.buffer) < end + size:
            return False
        method, path, _ = head.decode().split(" ", 2)
        totals["requests"] += 1
        service = path[1:].partition("/")[0]
        body = self.buffer[end : end + size] if size < KEPT else b""
        if service == "run":
            written = self.run(path)
        elif service == "queue":
            written = self.queue(method, path, body)
        elif service == "realtime":
            written = self.handshake(head)
        else:
            written = self.other(service, method, path)
        self.drop(end + size, written)
        return True

    def run(self, path: str) -> bytes:
        if path.endswith("/stream"):
            return STREAM
        if path.endswith("/flaky"):
            totals["busy"] += 1
            return BUSY if totals["busy"] % 2 else RUN
        return RUN

    def queue(self, method: str, path: str, body: bytes) -> bytes:
        """Take a job, tell its status, once or until its end, or give its result."""
        if method == "POST":
            number, prompt = str(next(numbers)), json.loads(body)["prompt"]
            ends[number] = time.time() + (int(prompt) / 1000 if prompt.isdigit() else 0.0)
            url = f"{self.base}{'/'.join(path.split('/')[:4])}/requests/{number}"
            urls = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
            return answer({"status": "IN_QUEUE", "request_id": number, "queue_position": 0, **urls}, more=REQUEST_ID)
        number, _, rest = path.partition("?")[0].partition("/requests/")[2].partition("/")
        left = ends[number] - time.time()
        status = {"status": "IN_PROGRESS" if left > 0 else "COMPLETED", "request_id": number, "logs": None}
        if rest == "status/stream":
            asyncio.get_running_loop().call_later(max(0.0, left), self.completed, number)
            return STREAM_HEAD + event({**status, "status": "IN_PROGRESS"})
        if rest == "status":
            return answer(status, "200 OK" if left <= 0 else "202 Accepted", REQUEST_ID)
        return answer({**OUTPUT, "seed": int(ends[number] * 1e6)}, more=REQUEST_ID)

    def completed(self, number: str) -> None:
        """Say the last word on a status stream."""
        ends[number] = time.time()  # a timer may come late, and that is not the client's doing
        self.transport.write(event({"status": "COMPLETED", "request_id": number, "metrics": {}}) + STREAM_END)

    def handshake(self, head: bytes) -> bytes:
        found = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)
        digest = hashlib.sha1((found[1] if found else b"") + GUID, usedforsecurity=False).digest()
        accept = base64.b64encode(digest).decode()
        self.websocket = True
        upgrade = f"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        return f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}".encode()

    def other(self, service: str, method: str, path: str) -> bytes:
        """Tokens, storage, and what the benchmark itself asks."""
        file = f"{self.base}/cdn/files/cat.png"
        if service == "count":
            counted, totals["requests"] = totals["requests"] - 1, 0
            return answer({"requests": counted})
        if path.startswith("/rest/tokens"):
            return answer("token")
        if path.startswith("/rest/storage/auth/token"):
            token = {"token": "token", "token_type": "Bearer", "base_url": f"{self.base}/cdn"}
            return answer({**token, "expires_at": "2099-01-01T00:00:00+00:00"})
        if path.startswith("/rest/storage/upload"):
            return answer({"file_url": file, "upload_url": f"{file}/multipart/1?signed"})
        if method == "POST" and path.endswith("/files/upload/multipart"):
            return answer({"access_url": file, "uploadId": "1"})
        return PART if method == "PUT" else answer({"access_url": file})


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    uvloop.run(main())
