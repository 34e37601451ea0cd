"""Every endpoint from end to end: its own input, over a socket, to its own output with files that download.

A few endpoints are taken; `--every-endpoint` takes all.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import httpx
import msgspec
import pytest

from fal_runtime import Client
from fal_runtime.values import mapping, sequence
from fal_sandbox import Sandbox
from support import endpoint_modules

EVERY = 25
DOWNLOADS = 3
"""How many files of one answer are fetched."""


def links(value: Any) -> list[str]:
    """The files that an answer consists of."""
    if sequence(value):
        return [link for each in sequence(value) for link in links(each)]
    own = [str(link) for name, link in mapping(value).items() if name == "url" and link]
    return own + [link for each in mapping(value).values() for link in links(each)]


def test_every_endpoint_answers_its_own_input_with_its_own_output(
    sandbox: Sandbox, pytestconfig: pytest.Config
) -> None:
    wrong: list[str] = []
    names = endpoint_modules(pytestconfig, EVERY)
    with Client(strict=True) as strict, httpx.Client(trust_env=False, timeout=60) as http:
        for name in names:
            module: Any = import_module(f"fal_endpoints.{name}")
            sandbox.respond(module, queue_seconds=0, run_seconds=0)
            result = module.with_result.subscribe(sandbox.example(module.Input), client=strict)
            wrong += [f"{name}: {warning}" for warning in result.warnings]
            for link in links(msgspec.to_builtins(result.data))[:DOWNLOADS]:
                answer = http.get(link)
                if answer.status_code != 200 or not answer.content:
                    wrong.append(f"{name}: {link} has status {answer.status_code}")
    assert wrong == []
    assert len(sandbox.admitted) == len(names)
