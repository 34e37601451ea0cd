"""The application's own tests: they need no account and no network."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import urllib.request

import posters
import pytest
from PIL import Image

from fal_endpoints.fal_ai import flux_dev
from fal_runtime import errors
from fal_sandbox import NetworkBlockedError, Sandbox, example


def test_a_poster_is_a_picture(fal_sandbox: Sandbox) -> None:
    with Image.open(io.BytesIO(posters.make_poster("a cat"))) as picture:
        assert picture.size == (768, 1024)
    (job,) = fal_sandbox.admitted
    assert job.input == {"prompt": "a cat", "image_size": "portrait_4_3"}


def test_an_answer_can_be_told(fal_sandbox: Sandbox) -> None:
    output = example(flux_dev.Output).replace(seed=7, prompt="a dog")
    fal_sandbox.respond(flux_dev, output)
    assert asyncio.run(posters.describe("a dog")) == f"{len(output.images)} picture(s) of a dog, seed 7"


def test_nothing_is_left_of_the_test_before(fal_sandbox: Sandbox) -> None:
    assert fal_sandbox.admitted == []
    assert fal_sandbox.requests == []
    assert asyncio.run(posters.describe("a cat")).startswith("1 picture(s) of a cat")


def test_a_refused_prompt_gives_a_plain_poster(fal_sandbox: Sandbox) -> None:
    detail = [{"loc": ["body", "prompt"], "msg": "not allowed", "type": "content_policy_violation"}]
    fal_sandbox.fail_next("/queue/*/requests/*", method="GET", times=2, status=422, body={"detail": detail})
    posters.make_poster("something bad")
    assert [job.input["prompt"] for job in fal_sandbox.admitted] == ["something bad", "a plain poster"]


def test_a_webhook_is_believed_only_with_its_signature(fal_sandbox: Sandbox) -> None:
    output = fal_sandbox.example(flux_dev.Output)
    webhook = fal_sandbox.webhook_request(output)
    assert posters.on_webhook(webhook.headers, webhook.body) == output.images[0].url
    with pytest.raises(errors.WebhookSignatureError):
        posters.on_webhook(webhook.headers, webhook.body.replace(b"http", b"evil"))


@pytest.mark.fal_cassette
def test_a_poster_as_the_platform_once_made_it(fal_sandbox: Sandbox) -> None:
    with Image.open(io.BytesIO(posters.make_poster("a lighthouse"))) as picture:
        assert picture.size == (768, 1024)
    assert fal_sandbox.admitted == []


def test_the_platform_is_out_of_reach(fal_sandbox: Sandbox) -> None:
    with pytest.raises(NetworkBlockedError, match=r"reached for fal\.run"):
        posters.ask_elsewhere()


def test_so_is_everything_else(fal_sandbox: Sandbox) -> None:
    with pytest.raises(NetworkBlockedError, match=r'@pytest.mark.fal_network\("www.example.com"\)'):
        urllib.request.urlopen("http://www.example.com", timeout=5)
    with socket.socket() as tcp, pytest.raises(NetworkBlockedError, match=r"203\.0\.113\.1"):
        tcp.connect(("203.0.113.1", 80))

    async def knock() -> None:
        await asyncio.open_connection("203.0.113.1", 80)

    with pytest.raises(NetworkBlockedError, match=r"203\.0\.113\.1"):
        asyncio.run(knock())


@pytest.mark.fal_network("localhost.invalid")
def test_a_mark_opens_one_door(fal_sandbox: Sandbox) -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("localhost.invalid", 80)
    with pytest.raises(NetworkBlockedError):
        socket.getaddrinfo("www.example.invalid", 80)


@pytest.mark.fal_network
def test_a_mark_opens_all_doors(fal_sandbox: Sandbox) -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("www.example.invalid", 80)


def test_without_the_fixture_all_is_as_ever() -> None:
    assert "FAL_QUEUE_URL" not in os.environ
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("www.example.invalid", 80)
