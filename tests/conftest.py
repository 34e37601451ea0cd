"""What the tests share: one sandbox for a run, and each verb called both ways."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest

from fal_runtime import Client, Endpoint, Retry
from fal_sandbox import Sandbox
from support import ECHO, Caller, Input, Output

collect_ignore = ["projects/own_endpoints", "projects/plugin_user"]
# The plugin that users get with the distribution, also where these tests run without one.
pytest_plugins = () if entry_points(group="pytest11", name="fal_sandbox") else ("fal_sandbox.pytest_plugin",)


def pytest_configure() -> None:
    # A shell lets what it starts in the background ignore Ctrl-C, and the programs that tests interrupt would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-endpoint", action="store_true", help="look at all endpoints, where else a few are taken")


@pytest.fixture
def sandbox(fal_sandbox: Sandbox) -> Sandbox:
    """A sandbox without a past, to which the environment points."""
    return fal_sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    """A client of the sandbox that does not wait long between attempts."""
    with Client(retry=Retry(base=0.01, cap=0.05)) as client:
        yield client


@pytest.fixture
def echo(sandbox: Sandbox) -> Endpoint[Input, Output]:
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.15, run_seconds=0.15, logs=["one", "two"])
    return Endpoint(ECHO, Input, Output)


@pytest.fixture(params=["blocking-httpx", "async-httpx", "blocking-pyreqwest", "async-pyreqwest"])
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Calls a verb blocking or async, over either of the libraries that speak HTTP."""
    mode, _, http = request.param.partition("-")
    monkeypatch.setenv("FAL_HTTP", http)
    return Caller(mode)
