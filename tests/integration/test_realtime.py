"""Realtime against a server that does what each test says, over real sockets; every case for threads and event loops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pydantic
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from fal_runtime import Client, Endpoint, Retry, errors
from fal_runtime.realtime import Reconnected
from fal_runtime.transport import drive
from fal_runtime.values import mapping
from fal_sandbox import Sandbox
from support import ECHO, Input, Output

KEY = "id:a-secret-key"
OTHERS = ("fal-runtime", "uvloop_", "asyncio_")
"""How the names of threads begin that belong to the client's HTTP and to the sandbox, and not to a connection."""
pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode

Session = Callable[[ServerConnection], None]
"""What the server does with one connection."""


def echo(socket: ServerConnection) -> None:
    """Answers every input."""
    for frame in socket:
        assert isinstance(frame, bytes)
        socket.send(pack({"text": str(unpack(frame).get("prompt")).upper()}))


def once(*frames: bytes | str, close: int | None = None, reason: str = "") -> Session:
    """Takes one input, says something, and then closes, or is cut off (0), or waits."""

    def session(socket: ServerConnection) -> None:
        socket.recv()
        for frame in frames:
            socket.send(frame)
        if close == 0:
            socket.socket.close()
        elif close is not None:
            socket.close(close, reason)
        else:
            for _ in socket:
                pass

    return session


class Server:
    """A realtime app with the platform in front of it: sockets, and tokens for them."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        """What is done with one connection after the other; the last one is repeated."""
        self.answers: list[Any] = ["a-token"]
        """What is answered to one request for a token after the other; an `int` is a status."""
        self.refuse: list[int] = []
        """HTTP statuses with which handshakes are refused, one after the other."""
        self.redirect: str | None = None
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.inputs: list[Any] = []
        self.asked: list[tuple[str, Any]] = []
        self.open = 0
        outer = self

        class Rest(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append((self.path, body))
                assert self.headers["authorization"] == f"Key {KEY}"
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                if isinstance(answer, int):
                    content = b'{"detail": "no"}'
                self.send_response(answer if isinstance(answer, int) else 200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._rest = ThreadingHTTPServer(("127.0.0.1", 0), Rest)
        self._sockets = serve(self._serve, "127.0.0.1", 0, process_request=self._admit, compression=None, max_size=None)
        self.urls = {
            "rest": f"http://127.0.0.1:{self._rest.server_port}",
            "realtime": f"ws://127.0.0.1:{self._sockets.socket.getsockname()[1]}",
        }
        self._threads = [
            threading.Thread(target=self._rest.serve_forever, args=(0.01,)),
            threading.Thread(target=self._sockets.serve_forever),
        ]
        for thread in self._threads:
            thread.start()

    def _admit(self, socket: ServerConnection, request: Any) -> Any:
        self.paths.append(request.path)
        self.keys.append(request.headers.get("authorization"))
        if self.redirect is not None:
            answer = socket.respond(302, "")
            answer.headers["location"] = self.redirect
            return answer
        if self.refuse:
            return socket.respond(self.refuse.pop(0), '{"detail": "no"}')
        return None

    def _serve(self, socket: ServerConnection) -> None:
        self.open += 1
        session = self.sessions.pop(0) if len(self.sessions) > 1 else self.sessions[0] if self.sessions else echo
        receive: Any = socket.recv

        def recv(*args: Any, **options: Any) -> Any:
            frame: Any = receive(*args, **options)
            self.inputs.append(unpack(frame) if isinstance(frame, bytes) else frame)
            return frame

        socket.recv = recv  # type: ignore[method-assign]
        try:
            session(socket)
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1

    def close(self) -> None:
        self._rest.shutdown()
        self._sockets.shutdown()
        for thread in self._threads:
            thread.join()
        self._rest.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class Both:
    """A connection of either kind, with the face of the async one."""

    def __init__(self, connection: Any, mode: str) -> None:
        self.connection = connection
        self._blocking = mode == "blocking"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    async def send(self, input: Any, **options: Any) -> None:
        outcome = self.connection.send(input, **options)
        if not self._blocking:
            await outcome

    async def recv(self, timeout: float | None = 10.0) -> Any:
        outcome = self.connection.recv(timeout)
        return outcome if self._blocking else await outcome

    async def connect(self) -> None:
        outcome = self.connection.connect()
        if not self._blocking:
            await outcome

    async def close(self) -> None:
        outcome = self.connection.close()
        if not self._blocking:
            await outcome

    async def all(self) -> list[Any]:
        """Iterate to the end."""
        if self._blocking:
            return list(self.connection)
        return [item async for item in self.connection]

    async def until(self, true: Callable[[], Any]) -> None:
        """Wait for something that happens beside."""
        for _ in range(1000):
            if true():
                return
            if self._blocking:
                threading.Event().wait(0.01)
            else:
                await asyncio.sleep(0.01)
        raise AssertionError("it did not happen")


Scenario = Callable[[Both], Awaitable[Any]]


class Talk:
    """Runs a scenario over a connection, and sees that nothing of it is left."""

    def __init__(self, mode: str, server: Server) -> None:
        self.mode = mode
        self.client = Client(key=KEY, urls=server.urls, retry=Retry(attempts=3, base=0.01, cap=0.02))

    def __call__(self, scenario: Scenario, *, endpoint: Any = None, **options: Any) -> Any:
        endpoint = endpoint or Endpoint[Any, Any]("tests/echo", Input, Output)
        before = set(threading.enumerate())
        if self.mode == "blocking":
            with endpoint.realtime(client=self.client, **options) as connection:
                outcome = drive(_run(scenario(Both(connection, self.mode))))
            assert connection.state == "closed"
        else:

            async def main() -> Any:
                connection: Any
                async with endpoint.realtime_async(client=self.client, **options) as connection:
                    outcome = await scenario(Both(connection, self.mode))
                assert connection.state == "closed"
                left = asyncio.all_tasks() - {asyncio.current_task()}
                assert not left, left
                return outcome

            outcome = asyncio.run(main())
        left: set[threading.Thread] = set()
        for _ in range(1000):
            left = {thread for thread in set(threading.enumerate()) - before if not thread.name.startswith(OTHERS)}
            if not left:
                break
            threading.Event().wait(0.01)
        assert not left
        return outcome


async def _run(outcome: Awaitable[Any]) -> Any:
    return await outcome


@pytest.fixture(params=["blocking", "async"])
def talk(request: pytest.FixtureRequest, server: Server) -> Iterator[Talk]:
    talk = Talk(request.param, server)
    yield talk
    talk.client.close()


def ignore(value: Any) -> None:
    """A callback that has nothing to say."""


async def ask(c: Both, prompt: str = "x") -> Any:
    await c.send(Input(prompt=prompt))
    return await c.recv()


def test_inputs_and_outputs_are_typed_and_msgpack(talk: Talk, server: Server) -> None:
    async def scenario(c: Both) -> None:
        assert c.state == "idle"
        assert server.paths == []
        assert await ask(c, "one") == Output(text="ONE")
        assert await ask(c, "two") == Output(text="TWO")
        assert (c.state, c.unanswered) == ("open", 0)
        await c.send({"prompt": "three", "count": 2}, extra={"picture": b"\x00\xff", "prompt": "four"})
        assert (await c.recv()).text == "FOUR"

    talk(scenario)
    assert server.inputs == [
        {"prompt": "one"},
        {"prompt": "two"},
        {"prompt": "four", "count": 2, "picture": b"\x00\xff"},
    ]
    assert len(server.paths) == 1


def test_a_wrong_input_is_refused_before_anything_is_opened(talk: Talk, server: Server) -> None:
    async def scenario(c: Both) -> None:
        for wrong in ({"prompt": 1, "count": "many"}, {"count": b"7"}):
            with pytest.raises(errors.InputError) as caught:
                await c.send(wrong)
            assert {error.path for error in caught.value.errors} == {"prompt", "count"}
        with pytest.raises(errors.InputError, match="another type"):
            await c.send("a cat")
        with pytest.raises(errors.InputError, match="cannot be written as msgpack"):
            await c.send({"prompt": object()})
        with pytest.raises(errors.InputError):
            await c.send({"prompt": b"x" * 100_000})
        assert server.paths == []
        await c.send({"prompt": "x", "count": 2.0})
        await c.recv()
        await c.send({"prompt": 1}, validate=False)
        await c.recv()

    talk(scenario)
    assert server.inputs == [{"prompt": "x", "count": 2}, {"prompt": 1}]


@pytest.mark.parametrize(
    ("id_", "options", "path", "scope", "allowed"),
    [
        ("fal-ai/lcm", {}, "/fal-ai/lcm/realtime?fal_jwt_token=a-token", "/tokens/", {"allowed_apps": ["lcm"]}),
        (
            "fal-ai/lcm/realtime",
            {},
            "/fal-ai/lcm/realtime?fal_jwt_token=a-token",
            "/tokens/",
            {"allowed_apps": ["lcm"]},
        ),
        (
            "fal-ai/lcm/x",
            {"path": "ws"},
            "/fal-ai/lcm/x/ws?fal_jwt_token=a-token",
            "/tokens/",
            {"allowed_apps": ["lcm"]},
        ),
        (
            "workflows/me/flow",
            {"path": ""},
            "/workflows/me/flow?fal_jwt_token=a-token",
            "/tokens/",
            {"allowed_apps": ["flow"]},
        ),
        (
            "fal-ai/lcm",
            {"max_buffering": 5, "token_expiration": 60},
            "/fal-ai/lcm/realtime?fal_jwt_token=a-token&max_buffering=5",
            "/tokens/",
            {"allowed_apps": ["lcm"], "token_expiration": 60},
        ),
        (
            "fal-ai/lcm",
            {"token_endpoint": "/tokens/realtime"},
            "/fal-ai/lcm/realtime?fal_jwt_token=a-token",
            "/tokens/realtime",
            {"allowed_apps": ["fal-ai/lcm/realtime"], "duration": 120},
        ),
        (
            "fal-ai/lcm",
            {"key_in_header": True, "max_buffering": 60},
            "/fal-ai/lcm/realtime?max_buffering=60",
            None,
            None,
        ),
    ],
)
def test_where_it_connects_and_with_what_right(
    talk: Talk, server: Server, id_: str, options: Any, path: str, scope: str | None, allowed: Any
) -> None:
    talk(ask, endpoint=Endpoint[Any, Any](id_, Input, Output), **options)
    assert server.paths == [path]
    if scope is None:
        assert (server.asked, server.keys) == ([], [f"Key {KEY}"])
    else:
        assert server.asked == [(scope, {**({} if "duration" in allowed else {"token_expiration": 120}), **allowed})]
        assert server.keys == [None]


@pytest.mark.parametrize("answer", ["a-token", {"token": "a-token"}, {"detail": "a-token"}])
def test_a_token_in_any_of_its_forms(talk: Talk, server: Server, answer: Any) -> None:
    server.answers = [answer]
    assert talk(ask) == Output(text="X")
    assert server.paths == ["/tests/echo/realtime?fal_jwt_token=a-token"]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"<html>", errors.OutputError),
        ({}, errors.OutputError),
        ([1], errors.OutputError),
        ("", errors.OutputError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
    ],
)
def test_no_token(talk: Talk, server: Server, answer: Any, cause: type[errors.FalError]) -> None:
    server.answers = [answer]

    async def scenario(c: Both) -> None:
        with pytest.raises(cause) as caught:
            await ask(c)
        assert caught.value.endpoint_id == "tests/echo"

    talk(scenario)
    assert (server.paths, len(server.asked)) == ([], 1)


def test_a_token_provider(talk: Talk, server: Server) -> None:
    asked: list[str] = []

    def provider(app: str) -> str:
        asked.append(app)
        return "mine"

    async def async_provider(app: str) -> str:
        await asyncio.sleep(0)
        return provider(app)

    assert talk(ask, token_provider=async_provider if talk.mode == "async" else provider) == Output(text="X")
    assert (asked, server.asked) == (["tests/echo/realtime"], [])
    assert server.paths == ["/tests/echo/realtime?fal_jwt_token=mine"]

    async def nothing(c: Both) -> None:
        with pytest.raises(errors.OutputError, match="token_provider gave no token"):
            await ask(c)

    talk(nothing, token_provider=ignore)


def test_a_token_is_kept_and_renewed_before_it_ends(talk: Talk, server: Server) -> None:
    server.answers = ["t-1", "t-2", "t-3"]

    async def scenario(c: Both) -> None:
        await ask(c)
        await c.until(lambda: len(server.asked) >= 2)
        assert len(server.paths) == 1, "the session goes on with the token that it began with"

    talk(scenario, token_expiration=0.2)


def test_a_kept_token_that_is_refused_is_replaced(talk: Talk, server: Server) -> None:
    server.answers = ["old", "new"]
    server.sessions = [once(pack({"text": "a"}), close=1000), echo]

    async def scenario(c: Both) -> None:
        assert await ask(c) == Output(text="a")
        assert await c.all() == []
        server.refuse = [401]
        assert await ask(c) == Output(text="X")

    talk(scenario)
    assert [path.partition("=")[2] for path in server.paths] == ["old", "old", "new"]


@pytest.mark.parametrize(
    ("refusals", "cause", "attempts"),
    [
        ([401], errors.AuthenticationError, 1),
        ([403], errors.PermissionDeniedError, 1),
        ([404], errors.NotFoundError, 1),
        ([503, 503, 503], errors.RunnerError, 3),
        ([429, 429, 429], errors.RateLimitError, 3),
        ([503, 429], None, 3),
    ],
)
def test_a_handshake_that_is_refused(
    talk: Talk, server: Server, refusals: list[int], cause: type[errors.FalError] | None, attempts: int
) -> None:
    server.refuse = list(refusals)

    async def scenario(c: Both) -> None:
        if cause is None:
            assert await ask(c) == Output(text="X")
            return
        with pytest.raises(cause) as caught:
            await ask(c)
        assert caught.value.status_code == refusals[-1]
        assert "a-token" not in str(caught.value)
        assert await ask(c) == Output(text="X"), "the next input tries again"

    talk(scenario)
    assert len(server.paths) == attempts + (cause is not None)


def test_the_key_does_not_follow_a_redirect_to_another_place(talk: Talk, server: Server) -> None:
    other = Server()
    server.redirect = f"{other.urls['realtime']}/elsewhere"
    assert talk(ask, key_in_header=True) == Output(text="X")
    other.close()
    assert server.keys == [f"Key {KEY}"]
    assert (other.paths, other.keys) == (["/elsewhere"], [None])


def test_nobody_is_there(talk: Talk, server: Server) -> None:
    nowhere = talk.client.with_options(urls={**server.urls, "realtime": "ws://127.0.0.1:9"})
    talk.client, kept = nowhere, talk.client

    async def scenario(c: Both) -> None:
        with pytest.raises(errors.NoConnectionError, match=r"no websocket could be opened at 127\.0\.0\.1:9"):
            await ask(c)

    talk(scenario)
    assert len(server.asked) == 1
    kept.close()


def test_what_the_platform_says_beside_outputs(talk: Talk, server: Server) -> None:
    meta = json.dumps({"type": "x-fal-message", "action": "timings", "timing": 0.1})
    server.sessions = [once(meta, pack({"text": "a"}), meta, json.dumps({"text": "b"}), "no JSON", pack({"text": "c"}))]

    async def scenario(c: Both) -> None:
        assert await ask(c) == Output(text="a")
        assert await c.recv() == Output(text="b")
        with pytest.raises(errors.OutputError) as caught:
            await c.recv()
        assert caught.value.body == b"no JSON"
        assert await c.recv() == Output(text="c")

    talk(scenario)


def test_an_error_of_the_app(talk: Talk, server: Server) -> None:
    report = json.dumps({"type": "x-fal-error", "error": "INTERNAL_ERROR", "reason": "it broke"})
    server.sessions = [once(pack({"text": "a"}), report, close=1011), echo]

    async def scenario(c: Both) -> None:
        assert await ask(c) == Output(text="a")
        with pytest.raises(errors.RealtimeError) as caught:
            await c.recv()
        assert (caught.value.code, caught.value.reason) == ("INTERNAL_ERROR", "it broke")
        assert c.state == "idle"
        assert await ask(c) == Output(text="X"), "the next input opens a new session"

    talk(scenario)
    assert len(server.paths) == 2


def test_an_idle_session_ends_quietly_and_the_next_input_opens_another(talk: Talk, server: Server) -> None:
    idle = json.dumps({"type": "x-fal-error", "error": "TIMEOUT", "reason": "no inputs"})
    server.sessions = [
        once(pack({"text": "a"}), idle, close=1000),
        once(pack({"text": "b"}), close=1000),
        once(idle),
        echo,
    ]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="x"))
        assert await c.all() == [Output(text="a")]
        await c.send(Input(prompt="x"))
        assert await c.recv() == Output(text="b")
        with pytest.raises(errors.RealtimeClosed):
            await c.recv()
        await c.send(Input(prompt="x"))
        assert await c.all() == [], "the server said that it ends, and left it open"
        assert await ask(c) == Output(text="X")

    talk(scenario)
    assert len(server.paths) == 4


def test_what_came_before_the_end_is_not_lost_when_it_is_found_by_sending(talk: Talk, server: Server) -> None:
    gone = threading.Event()

    def session(socket: ServerConnection) -> None:
        once(pack({"text": "a"}), pack({"text": "b"}), close=1000)(socket)
        gone.set()

    server.sessions = [session, echo]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="one"))
        await c.until(gone.is_set)
        await c.send(Input(prompt="two"))
        assert [await c.recv() for _ in range(3)] == [Output(text="a"), Output(text="b"), Output(text="TWO")]

    talk(scenario)


def test_unauthorized(talk: Talk, server: Server) -> None:
    server.answers = ["old", "new"]
    server.sessions = [once(json.dumps({"status": "error", "error": "Unauthorized"}), close=1008), echo]

    async def scenario(c: Both) -> None:
        with pytest.raises(errors.AuthenticationError):
            await ask(c)
        assert await ask(c) == Output(text="X")

    talk(scenario)
    assert [path.partition("=")[2] for path in server.paths] == ["old", "new"]


LOSSES = [(1001, 1001), (1008, 1008), (1011, 1011), (1012, 1012), (4000, 4000), (0, 1006)]


@pytest.mark.parametrize(("close", "code"), LOSSES)
def test_a_lost_connection_is_reported_with_what_was_lost(talk: Talk, server: Server, close: int, code: int) -> None:
    server.sessions = [once(close=close, reason="why" if close else ""), echo]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="lost"))
        with pytest.raises(errors.RealtimeError) as caught:
            await c.recv()
        error = caught.value
        assert not isinstance(error, errors.RealtimeClosed)
        assert (error.code, error.close_code, error.unanswered) == ("CONNECTION_LOST", code, 1)
        assert str(error) == (
            f"tests/echo: the connection was lost ({code} {error.reason}); "
            "up to 1 inputs were not answered, and were not sent again"
        )
        assert await ask(c) == Output(text="X")

    talk(scenario)
    assert server.inputs == [{"prompt": "lost"}, {"prompt": "x"}]
    assert len(server.paths) == 2


@pytest.mark.parametrize(("close", "code"), LOSSES)
def test_with_a_hook_it_is_open_again_at_once(talk: Talk, server: Server, close: int, code: int) -> None:
    server.sessions = [once(close=close), lambda socket: socket.send(pack({"text": "again"}))]
    told: list[Reconnected] = []

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="lost"))
        assert await c.recv() == Output(text="again")

    talk(scenario, on_reconnect=told.append)
    assert [(one.code, one.unanswered) for one in told] == [(code, 1)]
    assert server.inputs == [{"prompt": "lost"}]


def test_a_hook_may_send_again(talk: Talk, server: Server) -> None:
    server.sessions = [once(close=1011), echo]
    held: list[Both] = []

    async def again(event: Reconnected) -> None:
        await held[0].send(Input(prompt="again"))

    async def scenario(c: Both) -> None:
        held.append(c)
        await c.send(Input(prompt="lost"))
        assert await c.recv() == Output(text="AGAIN")

    if talk.mode == "blocking":

        def now(event: Reconnected) -> None:
            drive(again(event))

        talk(scenario, on_reconnect=now)
    else:
        talk(scenario, on_reconnect=again)


def test_a_connection_that_breaks_off_again_and_again_is_given_up(talk: Talk, server: Server) -> None:
    server.sessions = [once(close=1011), lambda socket: socket.close(1011)]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="x"))
        with pytest.raises(errors.NoConnectionError, match="again and again"):
            await c.recv()

    talk(scenario, on_reconnect=ignore)
    assert len(server.paths) == 3, "as often as Retry.attempts says"


def test_without_reconnect_a_loss_is_final(talk: Talk, server: Server) -> None:
    server.sessions = [once(close=1011)]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="x"))
        for _ in range(2):
            with pytest.raises(errors.RealtimeError):
                await c.recv()
            with pytest.raises(errors.RealtimeError):
                await c.send(Input(prompt="x"))

    talk(scenario, reconnect=False)
    assert len(server.paths) == 1


def test_results_and_errors_by_callback(talk: Talk, server: Server) -> None:
    server.sessions = [once(pack({"text": "a"}), close=1011), echo]
    results: list[Any] = []
    failures: list[Any] = []

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="x"))
        await c.until(lambda: failures)
        with pytest.raises(errors.ConfigurationError, match="results go to on_result"):
            await c.recv()
        await c.send(Input(prompt="y"))
        await c.send(Input(prompt="z"))

    talk(scenario, on_result=results.append, on_error=failures.append)
    assert results == [Output(text="a"), Output(text="Y"), Output(text="Z")], "leaving waits for what is owed"
    assert [error.close_code for error in failures] == [1011]


def test_an_error_that_nobody_took_is_raised(talk: Talk, server: Server) -> None:
    server.sessions = [once(close=1011)]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="x"))

    with pytest.raises(errors.RealtimeError, match="up to 1 inputs were not answered"):
        talk(scenario, on_result=ignore)


def test_a_callback_that_fails_is_reported_and_the_next_result_still_comes(talk: Talk, server: Server) -> None:
    results: list[Any] = []
    failures: list[Any] = []

    def on_result(result: Any) -> None:
        results.append(result)
        if len(results) == 1:
            raise ValueError("mine")

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="a"))
        await c.send(Input(prompt="b"))

    talk(scenario, on_result=on_result, on_error=failures.append)
    assert results == [Output(text="A"), Output(text="B")]
    assert [str(error) for error in failures] == ["mine"]


def test_async_callbacks() -> None:
    server = Server()
    client = Client(key=KEY, urls=server.urls)
    results: list[Any] = []

    async def on_result(result: Output) -> None:
        await asyncio.sleep(0.01)
        results.append(result)

    async def main() -> None:
        endpoint = Endpoint[Input, Output]("tests/echo", Input, Output)
        async with endpoint.realtime_async(client=client, on_result=on_result) as connection:
            await connection.send(Input(prompt="x"))

    asyncio.run(main())
    assert results == [Output(text="X")]
    endpoint = Endpoint[Input, Output]("tests/echo", Input, Output)
    with (
        pytest.raises(TypeError, match="on_result is a coroutine function"),
        endpoint.realtime(client=client, on_result=on_result) as connection,
    ):
        connection.send(Input(prompt="x"))
    client.close()
    server.close()


@pytest.mark.parametrize(
    ("options", "sent", "dropped"),
    [
        ({"send_policy": "latest"}, ["4"], 4),
        ({"send_policy": "drop_oldest", "send_queue": 2}, ["3", "4"], 3),
        ({"send_policy": "drop_oldest"}, ["0", "1", "2", "3", "4"], 0),
        ({"send_queue": 5}, ["0", "1", "2", "3", "4"], 0),
        ({}, ["0", "1", "2", "3", "4"], 0),
    ],
)
def test_what_happens_to_inputs_while_the_connection_is_busy(
    talk: Talk, server: Server, options: Any, sent: list[str], dropped: int
) -> None:
    ready = threading.Event()

    def provider(app: str) -> str:
        assert ready.wait(10)
        return "t"

    async def async_provider(app: str) -> str:
        while not ready.is_set():
            await asyncio.sleep(0.001)
        return "t"

    async def scenario(c: Both) -> None:
        if not options:
            ready.set()
        for number in range(5):
            await c.send(Input(prompt=str(number)))
        ready.set()
        for prompt in sent:
            assert await c.recv() == Output(text=prompt)
        assert c.dropped == dropped

    talk(scenario, token_provider=provider if talk.mode == "blocking" else async_provider, **options)
    assert [one["prompt"] for one in server.inputs] == sent


def test_a_queue_that_cannot_be_sent_is_reported(talk: Talk, server: Server) -> None:
    server.answers = [401]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="x"))
        with pytest.raises(errors.AuthenticationError):
            await c.recv()
        assert c.dropped == 1

    talk(scenario, send_policy="latest")


def test_throttled_inputs_give_way_to_the_latest(talk: Talk, server: Server) -> None:
    async def scenario(c: Both) -> None:
        await ask(c, "first")
        for number in range(20):
            await c.send(Input(prompt=str(number)))
        assert await c.recv() == Output(text="19")
        assert c.dropped == 19

    talk(scenario, throttle=0.5, send_policy="latest")
    assert server.inputs == [{"prompt": "first"}, {"prompt": "19"}]


def test_outputs_are_lenient_unless_strict(talk: Talk, server: Server) -> None:
    server.sessions = [once(pack({"text": None, "note": b"\x00"}), pack({"text": "b"}))]
    endpoint = Endpoint[Any, Any]("tests/echo", Input, Output)

    async def scenario(c: Both) -> None:
        result = await ask(c)
        assert [warning.path for warning in result.warnings] == ["text", "note"]
        assert unpack(result.raw) == {"text": None, "note": b"\x00"}
        assert result.data.note == b"\x00"
        assert (await c.recv()).warnings == ()

    talk(scenario, endpoint=endpoint.with_result)

    async def strictly(c: Both) -> None:
        with pytest.raises(errors.OutputError):
            await ask(c)
        assert await c.recv() == Output(text="b")

    talk.client = talk.client.with_options(strict=True)
    talk(strictly)


def test_an_endpoint_without_types(talk: Talk, server: Server) -> None:
    server.sessions = [once(pack({"image": b"\x89PNG", "n": [1, {"a": None}]}))]

    async def scenario(c: Both) -> None:
        await c.send({"image": b"x" * 200_000})
        assert await c.recv() == {"image": b"\x89PNG", "n": [1, {"a": None}]}

    talk(scenario, endpoint=Endpoint[Any, Any]("tests/echo", dict, Any))
    assert server.inputs == [{"image": b"x" * 200_000}]


def test_pydantic_models(talk: Talk, server: Server) -> None:
    class Asked(pydantic.BaseModel):
        prompt: str = pydantic.Field(min_length=1)
        count: int = 1

    class Answered(pydantic.BaseModel):
        text: str

    async def scenario(c: Both) -> None:
        await c.send(Asked(prompt="x"))
        assert await c.recv() == Answered(text="X")
        with pytest.raises(errors.InputError):
            await c.send({"prompt": ""})

    talk(scenario, endpoint=Endpoint[Any, Any]("tests/echo", Asked, Answered))
    assert server.inputs == [{"prompt": "x"}]


def test_large_messages_go_both_ways(talk: Talk) -> None:
    async def scenario(c: Both) -> None:
        assert (await ask(c, "x" * 3_000_000)).text == "X" * 3_000_000

    talk(scenario)


def test_codecs_of_ones_own(talk: Talk, server: Server) -> None:
    def session(socket: ServerConnection) -> None:
        for frame in socket:
            socket.send(json.dumps({"type": "x-fal-message"}))
            socket.send(f"answer to {frame!r}")

    server.sessions = [session]

    async def scenario(c: Both) -> None:
        await c.send(Input(prompt="x"))
        assert await c.recv() == ["answer", "to", '\'{"prompt":"x"}\'']

    def encode(plain: Any) -> str:
        return msgspec.json.encode(plain).decode()

    def decode(frame: bytes | str) -> list[str]:
        assert isinstance(frame, str)
        return frame.split()

    talk(scenario, encode=encode, decode=decode)


def test_waiting_has_an_end_and_loses_nothing(talk: Talk, server: Server) -> None:
    go = threading.Event()

    def session(socket: ServerConnection) -> None:
        socket.recv()
        go.wait(10)
        socket.send(pack({"text": "late"}))
        socket.recv()

    server.sessions = [session]

    async def scenario(c: Both) -> None:
        with pytest.raises(errors.TimeoutExpired):
            await c.recv(0.01)
        await c.send(Input(prompt="x"))
        for seconds in (0.0, 0.01):
            with pytest.raises(errors.TimeoutExpired):
                await c.recv(seconds)
        go.set()
        assert await c.recv() == Output(text="late")

    talk(scenario)


def test_closing_ends_whoever_waits(server: Server) -> None:
    server.sessions = [once()]
    client = Client(key=KEY, urls=server.urls)
    endpoint = Endpoint[Input, Output]("tests/echo", Input, Output)
    connection = endpoint.realtime(client=client)
    connection.send(Input(prompt="x"))
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.extend([*connection, "end"]))
    thread.start()
    connection.close()
    connection.close()
    thread.join()
    assert seen == ["end"]
    with pytest.raises(errors.ConfigurationError, match="was closed"):
        connection.send(Input(prompt="x"))
    with pytest.raises(errors.RealtimeClosed):
        connection.recv()

    async def main() -> None:
        connection = endpoint.realtime_async(client=client)
        await connection.send(Input(prompt="x"))
        waiting = asyncio.ensure_future(connection.recv())
        await asyncio.sleep(0.05)
        await connection.close()
        with pytest.raises(errors.RealtimeClosed):
            await waiting

    asyncio.run(main())
    client.close()


def test_two_halves_in_two_threads_or_tasks(talk: Talk, server: Server) -> None:
    """A producer that pauses, over sessions that end meanwhile, and a consumer that never looks away."""
    server.sessions = [once(pack({"text": str(number)}), close=1000) for number in range(3)]
    seen: list[str] = []

    async def scenario(c: Both) -> None:
        async def consume() -> None:
            while len(seen) < 3:
                seen.extend([result.text for result in await c.all()])

        def idle_after(count: int) -> Callable[[], bool]:
            return lambda: len(seen) == count and c.state == "idle"

        thread, task = threading.Thread(target=lambda: drive(consume())), None
        if talk.mode == "blocking":
            thread.start()
        else:
            task = asyncio.ensure_future(consume())
        for number in range(3):
            await c.until(idle_after(number))
            await c.send(Input(prompt=str(number)))
        if task is None:
            thread.join()
        else:
            await task

    talk(scenario)
    assert seen == ["0", "1", "2"]


def test_connections_are_shared_by_key(server: Server) -> None:
    client = Client(key=KEY, urls=server.urls)
    endpoint = Endpoint[Input, Output]("tests/echo", Input, Output)
    first = endpoint.realtime(client=client, connection_key="k", max_buffering=2)
    with endpoint.realtime(client=client, connection_key="k", max_buffering=2) as second:
        assert second is first
        second.send(Input(prompt="x"))
        assert first.recv() == Output(text="X")
    assert str(first) == "<RealtimeConnection tests/echo open>", "it closes with its last holder"
    with pytest.raises(errors.ConfigurationError, match="open with other options"):
        endpoint.realtime(client=client, connection_key="k")
    other = endpoint.realtime(client=client, connection_key="other")
    assert other is not first
    other.close()
    first.close()
    assert str(first) == "<RealtimeConnection tests/echo closed>"
    again = endpoint.realtime(client=client, connection_key="k")
    assert again is not first
    again.close()
    assert len(server.paths) == 1
    client.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_buffering": 0}, "max_buffering is 1 to 60"),
        ({"max_buffering": 61}, "max_buffering is 1 to 60"),
        ({"token_expiration": 0}, "token_expiration"),
        ({"token_endpoint": "/token"}, "token_endpoint"),
        ({"send_policy": "newest"}, "send_policy is one of block, drop_oldest, latest"),
        ({"send_policy": "latest", "send_queue": 2}, "send_queue cannot be 2"),
        ({"send_policy": "drop_oldest", "send_queue": 0}, "send_queue cannot be 0"),
        ({"send_queue": -1}, "send_queue cannot be -1"),
    ],
)
def test_options_that_make_no_sense(options: Any, message: str) -> None:
    endpoint = Endpoint[Input, Output]("tests/echo", Input, Output)
    with Client(key=KEY) as client, pytest.raises(errors.ConfigurationError, match=message):
        endpoint.realtime(client=client, **options)


def test_a_plain_websocket(server: Server) -> None:
    client = Client(key=KEY, urls=server.urls)
    endpoint = Endpoint[Input, Output]("tests/echo", Input, Output)
    with endpoint.websocket(client=client, path="/ws") as socket:
        socket.send(pack({"prompt": "raw"}))
        assert unpack(socket.recv(10, decode=False)) == {"text": "RAW"}

    async def main() -> None:
        async with await endpoint.websocket_async(client=client, key_in_header=True) as socket:
            await socket.send(pack({"prompt": "raw"}))
            assert unpack(await socket.recv(decode=False)) == {"text": "RAW"}

    asyncio.run(main())
    assert server.paths == ["/tests/echo/ws?fal_jwt_token=a-token", "/tests/echo"]
    server.refuse = [404]
    with pytest.raises(errors.NotFoundError):
        endpoint.websocket(client=client, path="/nothing")
    client.close()


def test_no_log_holds_a_secret(talk: Talk, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.sessions = [once(close=1011), echo]

    async def scenario(c: Both) -> None:
        with pytest.raises(errors.RealtimeError) as caught:
            await ask(c, "an input")
        assert "an input" not in str(caught.value)
        await ask(c, "an input")

    talk(scenario)
    talk(ask, key_in_header=True)
    text = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("websockets.server")
    )
    for secret in (KEY, "a-token", "an input"):
        assert secret not in text


def test_what_is_missing_without_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["websockets"] = None
from fal_runtime import Client, endpoint
try:
    endpoint("a/b").realtime(client=Client(key="k"), key_in_header=True).send({})
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "realtime needs websockets; run: pip install 'fal-bindings[realtime]'"


class OfSandbox(Talk):
    """The same over the sandbox, with the client that the environment describes."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.client = Client(retry=Retry(base=0.01, cap=0.02))


@pytest.fixture(params=["blocking", "async"])
def platform(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[OfSandbox]:
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0)
    talk = OfSandbox(request.param)
    yield talk
    talk.client.close()


@pytest.mark.parametrize(
    "options", [{}, {"token_endpoint": "/tokens/realtime"}, {"key_in_header": True}, {"path": "/ws"}]
)
def test_with_each_right_at_the_platform(platform: OfSandbox, sandbox: Sandbox, options: Any) -> None:
    assert platform(ask, endpoint=Endpoint[Any, Any](ECHO, Input, Output), **options) == Output(text="hello")
    assert [(job.service, job.input) for job in sandbox.admitted] == [("realtime", {"prompt": "x"})]
    paths = [request.path for request in sandbox.requests]
    token = [] if options.get("key_in_header") else ["/rest" + options.get("token_endpoint", "/tokens/")]
    assert paths == [*token, f"/realtime/{ECHO}{options.get('path', '/realtime')}"]


def test_a_wrong_key_at_the_platform(platform: OfSandbox, sandbox: Sandbox) -> None:
    platform.client = platform.client.with_options(key="wrong")

    async def scenario(c: Both) -> None:
        with pytest.raises(errors.AuthenticationError):
            await ask(c)

    platform(scenario, endpoint=Endpoint[Any, Any](ECHO, Input, Output))
    platform(scenario, endpoint=Endpoint[Any, Any](ECHO, Input, Output), key_in_header=True)
    assert sandbox.admitted == []


def test_idle_time_at_the_platform(platform: OfSandbox, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0, session_timeout=0.05)

    async def scenario(c: Both) -> None:
        for _ in range(2):
            await c.send(Input(prompt="x"))
            assert await c.all() == [Output(text="hello")]

    platform(scenario, endpoint=Endpoint[Any, Any](ECHO, Input, Output))
    assert len(sandbox.admitted) == 2


@pytest.mark.parametrize("fault", [{"disconnect": True}, {"close_code": 1008}, {"close_code": 1011}])
def test_no_fault_has_an_input_admitted_twice(platform: OfSandbox, sandbox: Sandbox, fault: Any) -> None:
    sandbox.fail_next("/realtime/*", after_frames=1, **fault)

    async def scenario(c: Both) -> None:
        assert await ask(c, "x") == Output(text="hello")
        # The connection ends about now: "y" goes into it and is lost, or finds it gone and goes into the next one.
        with contextlib.suppress(errors.RealtimeError):
            assert await ask(c, "y") == Output(text="hello")
        assert await ask(c, "z") == Output(text="hello")

    platform(scenario, endpoint=Endpoint[Any, Any](ECHO, Input, Output))
    prompts = [mapping(job.input)["prompt"] for job in sandbox.admitted]
    assert sorted(prompts) == sorted(set(prompts))
    assert {"x", "z"} <= set(prompts)


def test_many_connections_at_once(sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0)
    endpoint = Endpoint[Input, Output](ECHO, Input, Output)

    async def one(client: Client) -> list[Output]:
        async with endpoint.realtime_async(client=client) as connection:
            for _ in range(3):
                await connection.send(Input(prompt="x"))
            return [await connection.recv(20) for _ in range(3)]

    async def main() -> None:
        async with Client() as client:
            outcomes = await asyncio.gather(*(one(client) for _ in range(50)))
        assert outcomes == [[Output(text="hello")] * 3] * 50
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert len(sandbox.admitted) == 150


def test_http_over_a_plain_websocket(sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0)
    gateway = sandbox.url.replace("http", "ws", 1) + "/ws"
    client = Client(urls={"realtime": gateway})
    with Endpoint[Any, Any](ECHO, Input, Output).websocket(client=client, key_in_header=True) as socket:
        socket.send('{"prompt": "x"}')
        start, body, end = json.loads(socket.recv(10)), socket.recv(10, decode=False), json.loads(socket.recv(10))
    assert (start["type"], start["status"], end["type"]) == ("start", 200, "end")
    assert json.loads(body) == {"text": "hello"}
    assert [job.input for job in sandbox.admitted] == [{"prompt": "x"}]
    client.close()
