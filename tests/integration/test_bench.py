"""The programs that `scripts/bench` compares do what they are timed for. How long it takes is of no interest here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pages import ROOT

TASKS: dict[str, dict[str, Any]] = {
    "run": {"in_flight": 2, "calls": 4},
    "run_async": {"in_flight": 2, "calls": 4},
    "subscribe_async": {"milliseconds": 1, "calls": 2},
    "many_async": {"milliseconds": 1, "calls": 2},
    "stream": {"calls": 1},
    "realtime_async": {"size": 2000, "calls": 2},
    "upload": {"size": 2**20},
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports one of its modules."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("task", TASKS)
def test_every_client_does_the_task(module: Callable[[str], Any], tmp_path: Path, task: str) -> None:
    harness, options = module("harness"), TASKS[task]
    if task == "upload":
        file = tmp_path / "file"
        file.write_bytes(bytes(options["size"]))
        options = {**options, "file": str(file)}
    with harness.serving() as server:
        for peer in (harness.FAST, harness.PLAIN, harness.FAL_CLIENT, harness.HTTPX, harness.FLOOR):
            outcome = harness.work(server, peer, task, **options)
            assert isinstance(outcome, dict), f"{peer.name}: {outcome}"
            assert outcome["calls"] > 0
            assert outcome["wall"] > 0


def test_the_giant_module_holds_every_endpoint(module: Callable[[str], Any]) -> None:
    giant: str = module("editor").giant()
    compile(giant, "giant", "exec")
    assert 'FalAiFluxDev_endpoint = Endpoint("fal-ai/flux/dev", FalAiFluxDevInput, FalAiFluxDevOutput)' in giant
