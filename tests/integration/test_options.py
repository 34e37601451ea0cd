"""Options that are not what they should be: refused by name before anything is sent, whatever the call."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import fal_runtime
from fal_runtime import Client, Endpoint, Lifecycle, Retry, Timeouts, endpoint, errors, webhooks
from fal_runtime.endpoint import RunOptions, StreamOptions, SubscribeOptions
from fal_runtime.options import RULES
from fal_runtime.session import RealtimeOptions
from fal_runtime.storage import UploadOptions
from fal_runtime.webhooks import WebhookOptions
from fal_sandbox import Sandbox
from support import ECHO, Caller, Input, Output

NAN = float("nan")
NUMBER: Any = lambda: 5  # noqa: E731
FLUX = endpoint("fal-ai/flux")
SECRET = "a-secret-that-no-message-tells"

CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("subscribe", {"timeout": "5"}, "timeout is a number of seconds, not '5'"),
    ("subscribe", {"timeout": NAN}, "timeout is a number of seconds, not nan"),
    ("subscribe", {"run_timeout": True}, "run_timeout is a number of seconds, not True"),
    ("subscribe", {"start_timeout": 0.1}, "start_timeout is a number of seconds above 0.1, not 0.1"),
    ("subscribe", {"priority": "high"}, "priority is 'normal' or 'low', not 'high'"),
    ("subscribe", {"max_queue_length": -1}, "max_queue_length is a number of requests, not -1"),
    ("subscribe", {"webhook_url": "/hook"}, "webhook_url is an absolute URL, not '/hook'"),
    ("subscribe", {"webhook_url": f"ftp://x/?key={SECRET}"}, "webhook_url is an absolute URL, not a value of type str"),
    ("subscribe", {"webhook_url": "https://[::1"}, "webhook_url is an absolute URL"),
    ("subscribe", {"on_enqueue": "print"}, "on_enqueue is a function, not 'print'"),
    ("subscribe", {"on_queue_update": 5}, "on_queue_update is a function, not 5"),
    ("subscribe", {"logs": "yes"}, "logs is True or False, not 'yes'"),
    ("run", {"validate": "off"}, "validate is True or False, not 'off'"),
    ("run", {"hint": "a\nb"}, r"hint is a text in printable ASCII, which a header can carry, not 'a\nb'"),
    ("run", {"storage": "1h"}, "storage is of type fal_runtime.Lifecycle, not '1h'"),
    ("run", {"headers": {"x-a": f"{SECRET}\r\nx-b: 1"}}, "headers holds a value for 'x-a' that no header can carry"),
    ("run", {"headers": {"x-a": 5}}, "headers holds a value for 'x-a' that no header can carry"),
    ("run", {"headers": {"x a": "b"}}, "headers holds 'x a', which cannot be the name of a header"),
    ("run", {"headers": [("x-a", "b")]}, "headers is a mapping of names to values, not a value of type list"),
    ("run", {"extra": [1]}, "extra is a mapping, not a value of type list"),
    ("run", {"method": "FETCH"}, "method is one of POST, GET, PUT, PATCH, DELETE, not 'FETCH'"),
    ("run", {"path": 5}, "path is a text, not 5"),
    ("run", {"path": "variant?x=1"}, "'tests/echo/deep/variant?x=1' is not an endpoint id"),
    ("run", {"client": "mine"}, "client is of type fal_runtime.Client, not 'mine'"),
    ("submit", {"client": 5}, "client is of type fal_runtime.Client, not 5"),
]


@pytest.mark.parametrize(("verb", "options", "message"), CALLS)
def test_calls(call: Caller, sandbox: Sandbox, verb: str, options: Any, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=re.escape(message)) as caught:
        call(Endpoint(ECHO, Input, Output), verb, Input(prompt="x"), **options)
    assert SECRET not in str(caught.value)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("subscribe", {"tiemout": 5}, "no option 'tiemout' here; did you mean 'timeout'?"),
        ("run", {"frobnicate": 5}, "no option 'frobnicate' here"),
        ("run", {"logs": True}, "logs"),
    ],
)
def test_options_that_a_call_does_not_have(
    call: Caller, sandbox: Sandbox, verb: str, options: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        call(Endpoint(ECHO, Input, Output), verb, Input(prompt="x"), **options)
    assert sandbox.requests == []


def test_none_is_as_good_as_nothing(call: Caller, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0)
    echo: Any = Endpoint(ECHO, Input, Output)
    nothing: dict[str, Any] = dict.fromkeys(SubscribeOptions.__annotations__)
    assert call(echo, "subscribe", Input(prompt="x"), **nothing) == Output(text="hello")
    assert call(echo, "run", Input(prompt="x"), **dict.fromkeys(RunOptions.__annotations__)) == Output(text="hello")
    wrong: Any = 5
    with pytest.raises(errors.InputError):
        call(echo, "run", Input(prompt=wrong), validate=None)
    assert call(fal_runtime, "upload", b"x", **dict.fromkeys(UploadOptions.__annotations__))
    with echo.realtime(**dict.fromkeys(RealtimeOptions.__annotations__)) as connection:
        connection.send(Input(prompt="x"))
        assert connection.recv(5) == Output(text="hello")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_type": "a\nb"}, "content_type is a text in printable ASCII"),
        ({"file_name": 5}, "file_name is a text, not 5"),
        ({"on_progress": 5}, "on_progress is a function, not 5"),
        ({"lifecycle": "1h"}, "lifecycle is of type fal_runtime.Lifecycle, not '1h'"),
        ({"resume": "x"}, "resume is of type fal_runtime.UploadState, not 'x'"),
        ({"timeout": "x"}, "timeout is a number of seconds, not 'x'"),
        ({"client": "x"}, "client is of type fal_runtime.Client, not 'x'"),
    ],
)
def test_uploads(call: Caller, sandbox: Sandbox, options: Any, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=re.escape(message)):
        call(fal_runtime, "upload", b"x", **options)
    with pytest.raises(TypeError, match="no option 'logs' here"):
        call(fal_runtime, "upload", b"x", logs=True)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"throttle": -1}, "throttle is 0 seconds or more, not -1"),
        ({"send_queue": "2"}, "send_queue is a number of inputs, not '2'"),
        ({"send_queue": 10**30}, "send_queue is a number of inputs"),
        ({"token_provider": "token"}, "token_provider is a function, not 'token'"),
        ({"on_result": 5}, "on_result is a function, not 5"),
        ({"on_error": 5}, "on_error is a function, not 5"),
        ({"connection_key": [1]}, "connection_key is a text, not a value of type list"),
    ],
)
def test_connections(sandbox: Sandbox, options: Any, message: str) -> None:
    echo: Any = Endpoint(ECHO, Input, Output)
    with pytest.raises(errors.ConfigurationError, match=re.escape(message)):
        echo.realtime(**options)
    with pytest.raises(TypeError, match="no option 'timeout' here"):
        echo.realtime(timeout=5)
    with pytest.raises(TypeError, match="no option 'send_queue' here"):
        echo.websocket(send_queue=5)
    assert sandbox.requests == []


def test_webhooks(sandbox: Sandbox) -> None:
    wrong: Any = "5"
    with pytest.raises(errors.ConfigurationError, match="tolerance is 0 seconds or more"):
        webhooks.verify({}, b"{}", tolerance=wrong)
    wrong = set[str]()
    with pytest.raises(errors.ConfigurationError, match="replay_guard is an object with a method `first`"):
        Endpoint(ECHO, Input, Output).parse_webhook({}, b"{}", replay_guard=wrong)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (Client, {"key": b"id:secret"}, "key is a text, or a function that gives one, not a value of type bytes"),
        (Client(key=NUMBER).authorization, {}, "the key is a text, not a value of type int"),
        (Client, {"urls": "http://x"}, "urls is a mapping, not 'http://x'"),
        (Client, {"urls": {"queue": 5}}, "urls['queue'] is not an absolute URL"),
        (Client, {"urls": {"queue": "http://"}}, "urls['queue'] is not an absolute URL"),
        (Client, {"urls": {"queue": "http://localhost:99999"}}, "urls['queue'] is not an absolute URL"),
        (Client, {"urls": {"queue": "http://a b/"}}, "urls['queue'] is not an absolute URL"),
        (Client, {"urls": {"queue": "wss://queue.fal.run"}}, "urls['queue'] is not an absolute URL"),
        (Client, {"timeouts": 5}, "timeouts is of type fal_runtime.Timeouts, not 5"),
        (Client, {"retry": 3}, "retry is of type fal_runtime.Retry, not 3"),
        (Client, {"headers": {"x-a": 5}}, "headers holds a value for 'x-a' that no header can carry"),
        (Client, {"proxy_url": "proxy"}, "proxy_url is an absolute URL, such as https://example.com/api/fal/proxy"),
        (Client, {"middleware": print}, "middleware is a list of functions"),
        (Client, {"middleware": [5]}, "middleware is a list of functions"),
        (Client, {"http_client": "httpx"}, "http_client is of type httpx.Client or httpx.AsyncClient, not 'httpx'"),
        (Client, {"transport": 5}, "transport is of type httpx.BaseTransport or httpx.AsyncBaseTransport, not 5"),
        (Client, {"strict": "no"}, "strict is True or False, not 'no'"),
        (Timeouts, {"connect": None}, "connect is a number of seconds above 0, not None"),
        (Timeouts, {"attempt": -1}, "attempt is a number of seconds above 0, not -1"),
        (Timeouts, {"total": "3h"}, "total is a number of seconds above 0, not '3h'"),
        (Retry, {"attempts": 0}, "attempts is a number above 0, not 0"),
        (Retry, {"cap": -1}, "cap is 0 seconds or more, not -1"),
        (Lifecycle, {"rules": ["me"]}, "rules is a mapping of users to accesses, not ['me']"),
        (endpoint, {"endpoint_id": 5}, "5 is not an endpoint id; one looks like 'fal-ai/flux/dev'"),
        (endpoint, {"endpoint_id": "fal-ai/flux?x=1"}, "'fal-ai/flux?x=1' is not an endpoint id"),
        (FLUX.handle, {"request_id": "../.."}, "'../..' is no request's id"),
        (FLUX.handle, {"request_id": None}, "None is no request's id"),
        (FLUX.handle("1").result, {"timeout": "5"}, "a timeout is a number of seconds, not '5'"),
    ],
)
def test_clients_and_their_parts(sandbox: Sandbox, make: Any, arguments: Any, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=re.escape(message)):
        make(**arguments)
    assert sandbox.requests == []


def test_each_option_has_its_rule_and_no_rule_is_left_over() -> None:
    calls = (RunOptions, StreamOptions, SubscribeOptions, UploadOptions, RealtimeOptions, WebhookOptions)
    names = {name for options in calls for name in options.__annotations__} | {"on_result"}
    names |= inspect.signature(Client).parameters.keys()
    names |= {*Timeouts.__struct_fields__, *Retry.__struct_fields__}
    assert names == RULES.keys()
