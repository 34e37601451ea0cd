"""The pytest plugin: the sandbox as a fixture, with nothing of a test leaving this machine.

    def test_a_poster(fal_sandbox):
        fal_sandbox.respond(flux_dev, example(flux_dev.Output).replace(seed=7))
        assert my_app.make_poster("a cat").seed == 7

pytest loads this module in every project where the distribution is installed, so it imports nothing but pytest until a
fixture is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fal_sandbox import Sandbox

_FORCED_LOGIN = "FAL_FORCE_AUTH_BY_USER"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings of the plugin."""
    parser.getgroup("fal").addoption(
        "--fal-record",
        action="store_true",
        help="run tests that have a cassette against the live platform, with the key in FAL_KEY, and write their "
        "cassettes anew; this costs money (FAL_RECORD=1 does the same)",
    )
    parser.addini("fal_catalog", "folder or file with the endpoints that the sandbox serves", type="paths")
    parser.addini("fal_network_hosts", "hosts that tests with the sandbox may reach", type="args")
    parser.addini("fal_block_network", "keep all tests on this machine, with or without the sandbox", type="bool")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the plugin's markers."""
    for marker in (
        "fal_network(*hosts): let the test reach these hosts (with * as a wildcard), or without any: all",
        "fal_cassette(name): answer the test from a recording of the live platform; see --fal-record",
    ):
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep a test on this machine, if all are to stay there."""
    with ExitStack() as stack:
        if item.config.getini("fal_block_network"):
            stack.enter_context(_network(item))
        return (yield)


@pytest.fixture(scope="session")
def fal_sandbox_server(pytestconfig: pytest.Config) -> Iterator[Sandbox]:
    """The running sandbox, one for each process of the session. Tests want `fal_sandbox`, which gives it back clean."""
    from fal_sandbox import Sandbox

    paths = pytestconfig.getini("fal_catalog")
    if len(paths) > 1:
        raise pytest.UsageError("fal_catalog takes one folder or file")
    with Sandbox(paths[0] if paths else None) as sandbox:
        yield sandbox


@pytest.fixture
def fal_sandbox(request: pytest.FixtureRequest, fal_sandbox_server: Sandbox) -> Iterator[Sandbox]:
    """A sandbox without a past, to which the environment and the default client point. Other machines are out of reach.

    For a test that is marked `fal_cassette`, it answers what the live platform once answered.
    Everything is as it was after the test. The default client does not wait long between attempts.
    """
    import fal_runtime

    node: pytest.Item = request.node
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        fal_sandbox_server.reset()
        cassette = _cassette(node)
        if cassette is not None and _recording(node.config):
            # Before the environment leads to the sandbox: it says where the platform is, and has its key.
            stack.enter_context(fal_sandbox_server.record(cassette))
        else:
            stack.enter_context(_network(node))
        if cassette is not None and not _recording(node.config):
            stack.enter_context(fal_sandbox_server.replay(cassette))
        for name, value in fal_sandbox_server.environment().items():
            patch.setenv(name, value)
        patch.delenv(_FORCED_LOGIN, raising=False)
        # A client that the project configured is put aside, not closed.
        patch.setattr("fal_runtime.client._default", None)
        retry = fal_runtime.Retry(base=0.01, cap=0.05)
        fal_runtime.configure(retry=retry)
        yield fal_sandbox_server
        fal_runtime.configure(retry=retry)


def _recording(config: pytest.Config) -> bool:
    return bool(config.getoption("--fal-record")) or os.environ.get("FAL_RECORD", "0") not in ("", "0")


def _cassette(node: pytest.Item) -> Path | None:
    """Where the cassette of a test lies, if it has one: in `cassettes` beside the test's file."""
    marker = node.get_closest_marker("fal_cassette")
    if marker is None:
        return None
    own = re.sub(r"[^\w.-]+", "-", node.name)
    name = str(marker.args[0]) if marker.args else f"{node.path.stem}/{own}"
    return node.path.parent / "cassettes" / f"{name}.json"


@contextmanager
def _network(item: pytest.Item) -> Generator[None, None, None]:
    from fal_sandbox.network import stay_here

    marker = item.get_closest_marker("fal_network")
    if marker is not None and not marker.args:
        yield
        return
    allowed: Sequence[str] = [*item.config.getini("fal_network_hosts"), *(marker.args if marker else ())]
    with stay_here(allowed):
        yield
