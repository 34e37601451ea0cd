"""The realtime loop: the picture follows the prompts, also over a connection that breaks off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fal_endpoints.fal_ai import fast_lcm_diffusion as lcm
from fal_sandbox import Sandbox
from support import PROJECTS, program_environment, run_program

PROGRAM = "realtime/paint.py"
WORDS = [f"a cat{' purring' * i}" for i in range(6)]


def test_the_last_prompt_is_what_is_seen(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run_program(PROGRAM, folder=tmp_path, input="\n".join([*WORDS, "", ""]))
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert shown[-1] == f"canvas.jpg: {WORDS[-1]}"
    assert 1 <= len(shown) <= len(WORDS)
    assert f"{len(shown)} pictures" in done.stderr
    with Image.open(tmp_path / "canvas.jpg") as picture:
        picture.load()


@pytest.mark.parametrize("fault", ["websocket-reset", "websocket-1011", "websocket-timeout"])
def test_it_survives_a_connection_that_ends(fault: str, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fail(fault, lcm)
    command = [sys.executable, str(PROJECTS / PROGRAM)]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=program_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write("a cat\n")
        program.stdin.flush()
        assert program.stdout.readline() == "canvas.jpg: a cat\n"  # after this one, the connection ends
        out, told = program.communicate("a dog\n", timeout=120)
    assert program.returncode == 0, told
    assert out.splitlines()[-1] == "canvas.jpg: a dog"
    opened = [request for request in sandbox.requests if request.path.startswith("/realtime/")]
    assert len(opened) == 2, told


def test_a_connection_that_cannot_be_had_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fail("websocket-error", lcm, after_frames=0)
    done = run_program(PROGRAM, folder=tmp_path, input="a cat\n")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the application has failed" in done.stderr
