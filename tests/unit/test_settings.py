"""Keys, addresses, retry rules: what a client is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fal_runtime import Client, Retry
from fal_runtime.errors import ConfigurationError, MissingCredentialsError
from fal_runtime.queue import EndpointId
from fal_runtime.retry import RULES, retry_after
from fal_runtime.transport import Response


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", "FAL_QUEUE_URL", "FAL_RUN_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_key_is_looked_for_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingCredentialsError, match="set FAL_KEY"):
        Client().authorization()
    monkeypatch.setenv("FAL_KEY_ID", "id")
    with pytest.raises(MissingCredentialsError):
        Client().authorization()
    monkeypatch.setenv("FAL_KEY_SECRET", "secret")
    assert Client().authorization() == "Key id:secret"
    monkeypatch.setenv("FAL_KEY", "one:two\n")
    assert Client().authorization() == "Key one:two"
    assert Client(key="mine").authorization() == "Key mine"
    assert Client(key=lambda: "asked").authorization() == "Key asked"


def test_a_key_that_no_header_carries_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Client(key="se\ncret").authorization()
    assert "cret" not in str(caught.value).replace("secret", "")


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client().urls["queue"] == "https://queue.fal.run"
    monkeypatch.setenv("FAL_QUEUE_URL", "http://127.0.0.1:1/queue/")
    assert Client().urls["queue"] == "http://127.0.0.1:1/queue"
    assert Client(urls={"queue": "http://other"}).urls["queue"] == "http://other"
    with pytest.raises(ConfigurationError, match="no service 'que'"):
        Client(urls={"que": "http://x"})
    with pytest.raises(ConfigurationError, match="not an absolute URL"):
        Client(urls={"queue": "localhost:80"})


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://queue.fal.run/fal-ai/flux/requests/1", True),
        ("http://queue.fal.run/fal-ai/flux/requests/1", False),
        ("https://queue.fal.run.evil.test/fal-ai/flux", False),
        ("https://queue.fal.run:8443/x", False),
        ("https://user@queue.fal.run/x", False),
        ("//queue.fal.run/x", False),
    ],
)
def test_the_key_goes_only_to_the_configured_origin(url: str, trusted: bool) -> None:
    assert Client().trusts(url, "queue") is trusted


@pytest.mark.parametrize(
    ("text", "app"),
    [
        ("fal-ai/flux/dev", "fal-ai/flux"),
        ("fal-ai/flux", "fal-ai/flux"),
        ("workflows/me/flow", "workflows/me/flow"),
        ("comfy/me/flow/deep/er", "comfy/me/flow"),
    ],
)
def test_status_and_result_go_by_the_app(text: str, app: str) -> None:
    assert EndpointId(text).app == app


@pytest.mark.parametrize("text", ["", "flux", "a//b", "../a/b", "a/../b", "workflows/me", "a/b\n"])
def test_what_is_not_an_id_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not an endpoint id"):
        EndpointId(text)


def test_retry_after_in_both_forms() -> None:
    assert retry_after({}) is None
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after": "-1"}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    later = retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)})
    assert later is not None
    assert 50 < later <= 60


def test_waits_are_jittered_below_a_doubling_bound() -> None:
    retry = Retry(base=1.0, cap=4.0)
    for attempt, bound in ((1, 1.0), (2, 2.0), (3, 4.0), (9, 4.0)):
        waits = {retry.wait(attempt, {}) for _ in range(50)}
        assert max(waits) <= bound
        assert len(waits) > 40
    assert retry.wait(1, {"retry-after": "3"}) == 3.0
    assert retry.wait(1, {"retry-after": "900"}) == 4.0


@pytest.mark.parametrize(
    ("verb", "status", "headers", "again", "unknown"),
    [
        ("submit", 429, {}, True, False),
        ("submit", 503, {}, True, False),
        ("submit", 503, {"x-fal-request-id": "1"}, False, False),
        ("submit", 502, {}, False, True),
        ("submit", 502, {"x-fal-request-id": "1"}, False, False),
        ("run", 504, {}, False, True),
        ("run", 504, {"x-fal-request-timeout-type": "user"}, False, False),
        ("status", 503, {"x-fal-request-id": "1"}, True, False),
        ("status", 404, {}, False, False),
        ("result", 500, {"x-fal-request-id": "1"}, False, False),
        ("result", 502, {}, True, False),
        ("cancel", 500, {}, True, False),
        ("cancel", 400, {}, False, False),
    ],
)
def test_when_a_verb_may_be_sent_again(
    verb: str, status: int, headers: dict[str, str], again: bool, unknown: bool
) -> None:
    response = Response(status=status, headers=headers)
    assert (RULES[verb].again(response), RULES[verb].unknown(response)) == (again, unknown)
