"""The stream of a language model: printed as it grows, and honest where it breaks off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fal_endpoints.openrouter import router
from fal_sandbox import Sandbox
from support import run_program

PROGRAM = "chat/chat.py"
GROWING: list[dict[str, Any]] = [
    {"output": text, "partial": True} for text in ("The sky", "The sky is", "The sky is blue")
]
WHOLE: dict[str, Any] = {"output": "The sky is blue.", "usage": {"total_tokens": 12, "cost": 0.25}}


def test_the_answer_is_printed_once_as_it_grows(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.respond(router, WHOLE, stream=GROWING)
    done = run_program(PROGRAM, "Which colour has the sky?", "--model", "acme/tiny", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The sky is blue.\n"
    assert "12 tokens, cost 0.25" in done.stderr
    (job,) = sandbox.admitted
    assert job.input == {"prompt": "Which colour has the sky?", "model": "acme/tiny"}


def test_it_runs_as_the_sandbox_answers_by_itself(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run_program(PROGRAM, "Which colour has the sky?", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_an_answer_that_is_put_differently_begins_anew(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.respond(router, {"output": "It is grey."}, stream=GROWING[:1])
    assert run_program(PROGRAM, "?", folder=tmp_path).stdout == "The sky\nIt is grey.\n"


def test_a_stream_that_breaks_off_keeps_what_came(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.respond(router, WHOLE, stream=GROWING)
    sandbox.fail("event-cut", router)
    done = run_program(PROGRAM, "?", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "The sky"
    assert "broke off" in done.stderr
    assert len(sandbox.admitted) == 1


def test_the_models_own_error_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.respond(router, {"output": "", "error": "the model is busy"}, stream=[])
    done = run_program(PROGRAM, "?", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == "the model is busy"
