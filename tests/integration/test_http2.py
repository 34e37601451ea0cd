"""Calls over TLS, where async ones of `pyreqwest` speak HTTP/2: to the sandbox by way of an edge in node (`edge.mjs`).

Over HTTP/2 many calls share a connection, so each of its troubles strikes many calls, and an edge can end a single one as
HTTP/1.1 has no word for. As in `test_faults.py`, what costs money is admitted once at most.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

import fal_runtime
from fal_runtime import Client, Completed, Endpoint, InProgress, Retry, errors
from fal_runtime.media import File
from fal_runtime.transport import whole
from fal_sandbox import Sandbox
from support import ECHO, Caller, Input, Output, nothing_left_open

PROGRAM = Path(__file__).with_name("edge.mjs")
SLOW, QUICK = Endpoint(ECHO, Input, Output), Endpoint("tests/quick", Input, Output)
X, LATE, NOW = Input(prompt="x"), Output(text="late"), Output(text="now")
WATCH = "/status/stream"
JOB_SECONDS = 600.0
"""How long a job of `SLOW` runs: until a test moves the sandbox's clock on."""
FEW = 6
"""Connections, where there are many calls."""


class Counts(msgspec.Struct, frozen=True):
    """What the edge has counted: connections, those that are open, and requests by version."""

    connections: int
    open: int
    http1: int
    http2: int


class Edge:
    """A server that speaks TLS before a sandbox, in a process of its own. `edge.mjs` says what it can be told."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._where = [sandbox.url, str(folder)]
        self._port = "0"
        self._start("h2")

    def _start(self, protocol: str) -> None:
        command = ["node", str(PROGRAM), *self._where, protocol, self._port]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._port = self._answer().strip()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def tell(self, what: str, path: str = "") -> Counts:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {path}\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._answer(), type=Counts)

    @property
    def counts(self) -> Counts:
        return self.tell("")

    def restart(self, protocol: str) -> None:
        """End everything, and serve at the same port again."""
        self.stop()
        self._start(protocol)

    def stop(self) -> None:
        self._process.communicate("")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a server's certificate and key, and the authority behind them."""
    folder, authority = tmp_path_factory.mktemp("papers"), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "authority"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "certificate"))
    issued.private_key_pem.write_to_path(str(folder / "key"))
    return folder


@pytest.fixture
def edge(sandbox: Sandbox, papers: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    """An edge to which the environment points."""
    if shutil.which("node") is None:
        pytest.skip("node is needed for a server that speaks HTTP/2")
    sandbox.respond(SLOW, {"text": "late"}, after=JOB_SECONDS)
    sandbox.respond(QUICK, {"text": "now"}, after=0.0)
    edge = Edge(sandbox, papers)
    monkeypatch.setenv("SSL_CERT_FILE", str(papers / "authority"))
    for service in ("queue", "run", "cdn"):
        monkeypatch.setenv(f"FAL_{service.upper()}_URL", f"{edge.url}/{service}")
    yield edge
    edge.stop()


Do = Callable[[Callable[[Client], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def do(edge: Edge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Do:
    """Does something on an event loop, with a client; nothing may be left open after it, whoever keeps what is logged."""
    caplog.set_level(logging.INFO, "fal_runtime")
    monkeypatch.setenv("FAL_HTTP", "pyreqwest")

    async def doing(act: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.timeout(60), Client(retry=Retry(base=0.01, cap=0.05)) as client:
            await act(client)

    def do(act: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        with nothing_left_open():
            asyncio.run(doing(act))

    return do


async def _until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.01)


def _watched(sandbox: Sandbox) -> int:
    """How many status streams were asked for."""
    return sum(request.path.endswith(WATCH) for request in sandbox.requests)


def _admitted(sandbox: Sandbox) -> int:
    """How many jobs of `SLOW` there are."""
    return sum(job.endpoint_id == ECHO for job in sandbox.admitted)


async def _watching(client: Client, sandbox: Sandbox, count: int) -> list[asyncio.Task[Output]]:
    """So many jobs that are waited for."""
    jobs = [asyncio.create_task(SLOW.subscribe_async(X, client=client)) for _ in range(count)]
    await _until(lambda: _watched(sandbox) >= count)
    return jobs


async def _ended(jobs: list[asyncio.Task[Output]], sandbox: Sandbox) -> list[Output]:
    """What the jobs gave, of which none had ended before."""
    assert not any(job.done() for job in jobs)
    sandbox.advance(JOB_SECONDS)
    return await asyncio.gather(*jobs)


async def _paid(verb: str, endpoint: Endpoint[Input, Output], client: Client, given: Input = X) -> Any:
    """Call a verb that costs money."""
    return await getattr(endpoint, f"{verb}_async")(given, client=client)


VERBS = ["submit", "run"]


def test_many_jobs_share_few_connections_and_hold_up_no_call(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        assert await QUICK.run_async(X, client=client) == NOW
        jobs = await _watching(client, sandbox, 150)
        assert await QUICK.run_async(X, client=client) == NOW
        assert await _ended(jobs, sandbox) == [LATE] * 150
        counts = edge.counts
        assert counts.connections <= FEW
        assert (counts.http1, counts.http2) == (0, 2 + 3 * 150)

    do(act)
    assert _admitted(sandbox) == 150


def test_many_calls_before_anything_is_known_end_up_on_few_connections(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        calls = (QUICK.run_async(X, client=client) for _ in range(150))
        assert await asyncio.gather(*calls) == [NOW] * 150
        await _until(lambda: edge.counts.open <= FEW)

    do(act)
    assert len(sandbox.admitted) == 150
    assert edge.counts.http1 == 0


def test_many_jobs_before_anything_is_known_do_not_open_a_connection_each(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        jobs = await _watching(client, sandbox, 300)
        assert await _ended(jobs, sandbox) == [LATE] * 300
        counts = edge.counts
        assert counts.connections <= 64 + FEW
        assert (counts.http1, counts.http2) == (0, 3 * 300)

    do(act)
    assert _admitted(sandbox) == 300


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["destroy", "leave", "reset"])
def test_a_lost_answer_is_not_asked_for_again(do: Do, edge: Edge, sandbox: Sandbox, verb: str, how: str) -> None:
    sandbox.respond(SLOW, {"text": "late"}, stream=[{"text": "la"}], after=0.0)

    async def act(client: Client) -> None:
        for admitted in (1, 2):
            if how == "reset":  # the edge passes on what the sandbox does
                sandbox.fail_next(f"*/{ECHO}*", processed=True, disconnect=True)
            else:
                edge.tell(how, ECHO)
            with pytest.raises(errors.SubmissionUnknownError, match="was not sent again"):
                await _paid(verb, SLOW, client)
            assert _admitted(sandbox) == admitted
            # From here on, the edge is known to speak HTTP/2.
            assert await QUICK.run_async(X, client=client) == NOW

    do(act)
    assert edge.counts.http1 == 0


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["cut", "end"])
def test_half_an_answer_is_not_asked_for_again(do: Do, edge: Edge, sandbox: Sandbox, verb: str, how: str) -> None:
    sandbox.respond(SLOW, {"text": "late"}, after=0.0)

    async def act(client: Client) -> None:
        edge.tell(how, ECHO)
        with pytest.raises(errors.SubmissionUnknownError, match="did not answer"):
            await _paid(verb, SLOW, client)

    do(act)
    assert _admitted(sandbox) == 1


@pytest.mark.parametrize("how", ["cut", "end"])
def test_a_stream_that_is_reset_is_not_whole(do: Do, edge: Edge, sandbox: Sandbox, how: str) -> None:
    sandbox.respond(SLOW, {"text": "late"}, stream=[{"text": "h"}], after=0.3)

    async def act(client: Client) -> None:
        await QUICK.run_async(X, client=client)
        edge.tell(how, ECHO)
        with pytest.raises(errors.StreamTruncated, match="broke off"):
            await SLOW.stream_async(X, client=client).done()

    do(act)
    assert _admitted(sandbox) == 1


@pytest.mark.parametrize("verb", VERBS)
def test_a_refused_stream_is_asked_for_again(do: Do, edge: Edge, sandbox: Sandbox, verb: str) -> None:
    async def act(client: Client) -> None:
        for _ in range(2):
            edge.tell("refuse", "quick")
            assert await _paid(verb, QUICK, client)

    do(act)
    assert len(sandbox.admitted) == 2
    assert edge.counts.http2 == 4


def test_a_goodbye_strikes_no_call(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        jobs = await _watching(client, sandbox, 5)
        for _ in range(3):
            edge.tell("goaway")
            assert await QUICK.run_async(X, client=client) == NOW
            assert await QUICK.subscribe_async(X, client=client) == NOW
        assert _watched(sandbox) == 5 + 3
        assert await _ended(jobs, sandbox) == [LATE] * 5

    do(act)
    assert (_admitted(sandbox), len(sandbox.admitted)) == (5, 5 + 6)
    assert edge.counts.http1 == 0


@pytest.mark.parametrize("how", ["cut", "end"])
def test_a_status_stream_that_is_reset_costs_no_result(do: Do, edge: Edge, sandbox: Sandbox, how: str) -> None:
    events: list[Any] = []

    async def act(client: Client) -> None:
        edge.tell(how, WATCH)
        job = asyncio.create_task(SLOW.subscribe_async(X, client=client, on_queue_update=events.append))
        await _until(lambda: _watched(sandbox) == 2 or any(r.path.endswith("/status") for r in sandbox.requests))
        assert await _ended([job], sandbox) == [LATE]

    do(act)
    assert sum(isinstance(event, InProgress) for event in events) == 1
    assert _admitted(sandbox) == 1


@pytest.mark.parametrize("how", ["cut", "end"])
def test_what_is_read_is_read_again(do: Do, edge: Edge, sandbox: Sandbox, how: str) -> None:
    async def act(client: Client) -> None:
        handle = await SLOW.submit_async(X, client=client)
        sandbox.advance(JOB_SECONDS)
        events = [event async for event in handle.events_async()]
        assert isinstance(events[-1], Completed)
        edge.tell(how, f"/requests/{handle.request_id}")
        assert await handle.result_async() == LATE
        url = await fal_runtime.upload_async(b"content", client=client)
        edge.tell(how, "/cdn/")
        assert await File(url=url.replace(sandbox.url, edge.url)).read_async(client=client) == b"content"

    do(act)
    assert _admitted(sandbox) == 1


def test_an_answer_without_its_content_is_not_cut_off(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        await QUICK.run_async(X, client=client)
        url = await fal_runtime.upload_async(b"content", client=client)
        url = url.replace(sandbox.url, edge.url)
        answer = await client.running().call("read", "HEAD", url, key=False)
        assert (answer.status, answer.headers["content-length"], answer.body) == (200, "7", b"")

    do(act)


def test_a_connection_is_lost_with_all_that_go_over_it(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        await QUICK.run_async(X, client=client)
        jobs = await _watching(client, sandbox, 20)
        edge.tell("destroy", "/run/")
        with pytest.raises(errors.SubmissionUnknownError):
            await QUICK.run_async(X, client=client)
        await _until(lambda: _watched(sandbox) == 40)
        assert await _ended(jobs, sandbox) == [LATE] * 20

    do(act)
    assert (_admitted(sandbox), len(sandbox.admitted)) == (20, 22)
    assert edge.counts.connections <= FEW


def test_a_cancelled_task_cancels_its_request_and_not_the_connection(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        await QUICK.run_async(X, client=client)
        left, *jobs = await _watching(client, sandbox, 2)
        before = edge.counts.connections
        left.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await left
        assert "cancelling it answered CANCELLATION_REQUESTED" in caught.value.__notes__[0]
        assert await QUICK.run_async(X, client=client) == NOW
        assert await _ended(jobs, sandbox) == [LATE]
        assert edge.counts.connections == before

    do(act)
    assert [request.method for request in sandbox.requests if request.path.endswith("/cancel")] == ["PUT"]
    assert _watched(sandbox) == 2


@pytest.mark.parametrize("first", ["free", "paid"])
@pytest.mark.parametrize("protocol", ["http/1.1", "none"])
def test_an_edge_may_unlearn_it(do: Do, edge: Edge, sandbox: Sandbox, protocol: str, first: str) -> None:
    async def act(client: Client) -> None:
        handle = await QUICK.submit_async(X, client=client)
        assert await QUICK.run_async(X, client=client) == NOW
        edge.restart(protocol)
        if first == "free":
            assert await handle.result_async() == NOW
        elif protocol == "none":  # HTTP/2 was spoken to it, and what it made of that is unknown
            with pytest.raises(errors.SubmissionUnknownError):
                await QUICK.run_async(X, client=client)
            assert len(sandbox.admitted) == 2
        assert await QUICK.run_async(X, client=client) == NOW
        assert await QUICK.subscribe_async(X, client=client) == NOW
        counts = edge.counts
        assert counts.http1 > 0
        assert counts.http2 == 0
        edge.restart("h2")
        for _ in range(3):
            assert await QUICK.run_async(X, client=client) == NOW
        assert (edge.counts.http1, edge.counts.http2) == (0, 3)

    do(act)
    assert len(sandbox.admitted) == 7


@pytest.mark.parametrize("protocol", ["http/1.1", "none"])
def test_an_edge_may_not_speak_it_at_all(do: Do, edge: Edge, sandbox: Sandbox, protocol: str) -> None:
    edge.restart(protocol)

    async def act(client: Client) -> None:
        once = client.with_options(retry=Retry(attempts=1))
        for _ in range(2):
            assert await QUICK.run_async(X, client=once) == NOW
            assert await QUICK.subscribe_async(X, client=once) == NOW
            assert await QUICK.stream_async(X, client=once).done() == NOW
        jobs = await _watching(once, sandbox, 20)
        assert await _ended(jobs, sandbox) == [LATE] * 20

    do(act)
    assert edge.counts.http2 == 0
    assert edge.counts.open == 0


def test_streams_use_a_connection_again_whatever_their_timeouts(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    async def act(client: Client) -> None:
        await QUICK.run_async(X, client=client)
        for number in range(10):
            assert await QUICK.stream_async(X, client=client, timeout=20 + number).done() == NOW
        streams = [QUICK.stream_async(X, client=client, timeout=20.5 + number) for number in range(20)]
        assert [await anext(stream) for stream in streams] == [NOW] * 20
        for stream in streams:
            await stream.aclose()

    do(act)
    assert edge.counts.connections <= FEW


def test_what_is_not_read_holds_up_nothing_else(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    content = bytes(range(256)) * 16384

    async def act(client: Client) -> None:
        large, small = [
            (await fal_runtime.upload_async(each, client=client)).replace(sandbox.url, edge.url)
            for each in (content, b"content")
        ]
        files = [await client.running().download(large) for _ in range(8)]
        begun = [await file.read() or b"" for file in files]
        assert await File(url=small).read_async(client=client) == b"content"  # over the same connection
        for start, file in zip(begun, files, strict=True):
            assert start + (await whole(file)).body == content
        assert edge.counts.connections <= FEW

    do(act)


def test_what_is_large_arrives_whole(do: Do, edge: Edge, sandbox: Sandbox) -> None:
    def again(given: dict[str, Any]) -> dict[str, Any]:
        return {"text": given["prompt"]}

    sandbox.respond(SLOW, again, after=0.0)
    prompt = "a long one " * 300_000

    async def act(client: Client) -> None:
        for verb in ("run", "subscribe"):
            assert await _paid(verb, SLOW, client, Input(prompt=prompt)) == Output(text=prompt)

    do(act)
    assert edge.counts.http1 == 0


@pytest.mark.parametrize("mode", ["async-pyreqwest", "async-httpx", "blocking-pyreqwest", "blocking-httpx"])
def test_every_kind_of_call_goes_over_tls(
    edge: Edge, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    kind, _, http = mode.partition("-")
    monkeypatch.setenv("FAL_HTTP", http)
    call = Caller(kind)
    parts: list[Any] = [{"text": "n"}, {"text": "no"}]
    sandbox.respond(QUICK, {"text": "now"}, stream=parts, after=0.0)
    with nothing_left_open():
        client = Client()
        assert call(QUICK, "run", X, client=client) == NOW
        assert call(QUICK, "subscribe", X, client=client) == NOW
        assert [event.text for event in call(QUICK, "stream", X, client=client)] == ["n", "no", "now"]
        url = call(fal_runtime, "upload", b"content", client=client).replace(sandbox.url, edge.url)
        path = call(File(url=url), "save", tmp_path / "file", client=client)
        assert path.read_bytes() == b"content"
        call.close(client)
    counts = edge.counts  # what is read while it is sent goes by httpx, and a stream of outputs alone
    assert (counts.http1, counts.http2) == ((2, 5) if mode == "async-pyreqwest" else (7, 0))
