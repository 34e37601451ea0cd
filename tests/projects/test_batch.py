"""The batch: hundreds of prompts, each paid once, however often it is started, stopped, killed or disturbed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from fal_sandbox import Sandbox
from support import PROJECTS, program_environment, run_program

PROGRAM = "batch/batch.py"
FLUX = "fal-ai/flux/dev"


def prompts(folder: Path, number: int) -> list[str]:
    made = [f"a cat with {i} stripes" for i in range(number)]
    (folder / "prompts.txt").write_text("\n".join([*made, "", made[0], ""]))
    return made


def states(folder: Path) -> Counter[str]:
    with closing(sqlite3.connect(folder / "pictures/journal.sqlite")) as database:
        return Counter(state for (state,) in database.execute("SELECT state FROM jobs"))


def test_hundreds_are_made_some_at_a_time_and_never_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.respond(FLUX, after=0.02)
    made = prompts(tmp_path, 200)
    done = run_program(PROGRAM, "prompts.txt", "--at-once", 20, folder=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [f"{i}/200" for i in range(1, 201)]
    assert {line.split("\t")[2] for line in lines} == set(made)
    assert "200 done" in done.stderr
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 200
    assert sorted(job.input["prompt"] for job in sandbox.admitted) == sorted(made)

    again = run_program(PROGRAM, "prompts.txt", folder=tmp_path)
    assert again.returncode == 0
    assert "200 done" in again.stderr
    assert len(sandbox.admitted) == 200


def test_a_failure_costs_the_others_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    prompts(tmp_path, 6)
    sandbox.fail("runner-disconnected", FLUX, on="submit", times=1)
    sandbox.fail("locked", FLUX, on="submit", times=1)
    sandbox.fail("close-processed", FLUX, on="submit", times=1)
    done = run_program(PROGRAM, "prompts.txt", "--at-once", 1, folder=tmp_path)
    assert done.returncode == 1
    ends = Counter(line.split("\t")[1] for line in done.stdout.splitlines())
    assert ends == {"done": 3, "failed": 1, "not sent": 1, "unknown": 1}, done.stdout
    assert states(tmp_path) == {"done": 3, "failed": 1, "sending": 1}

    # What was not sent is sent now; what nobody can know, and what failed, is left alone until somebody says so.
    done = run_program(PROGRAM, "prompts.txt", folder=tmp_path)
    assert done.returncode == 1
    assert states(tmp_path) == {"done": 4, "failed": 1, "sending": 1}
    assert len(sandbox.admitted) == 6
    done = run_program(PROGRAM, "prompts.txt", "--again", "failed", "--again", "unknown", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert states(tmp_path) == {"done": 6}
    assert len(sandbox.admitted) == 8


def test_a_result_that_cannot_be_had_now_is_fetched_later(sandbox: Sandbox, tmp_path: Path) -> None:
    prompts(tmp_path, 3)
    sandbox.fail("unauthorized", FLUX, on="result", times=1)
    sandbox.fail_next("/cdn/files/*", method="GET", status=404, times=1)
    done = run_program(PROGRAM, "prompts.txt", "--at-once", 1, folder=tmp_path)
    assert done.returncode == 1
    assert states(tmp_path) == {"done": 1, "submitted": 2}, done.stdout
    done = run_program(PROGRAM, "prompts.txt", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert states(tmp_path) == {"done": 3}
    assert len(sandbox.admitted) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on(how: signal.Signals, sandbox: Sandbox, tmp_path: Path) -> None:
    made = prompts(tmp_path, 40)
    sandbox.respond(FLUX, queue_seconds=600, run_seconds=1)
    first = subprocess.Popen(
        [sys.executable, str(PROJECTS / PROGRAM), "prompts.txt", "--at-once", "10"],
        cwd=tmp_path,
        env=program_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(sandbox.admitted) < 10 and first.poll() is None:
        time.sleep(0.01)
    os.kill(first.pid, how)
    told = first.communicate()[1]
    assert how != signal.SIGINT or (first.returncode, "run this again" in told) == (130, True)
    assert 10 <= len(sandbox.admitted) < 40

    sandbox.respond(FLUX, after=0)
    sandbox.advance(700)
    done = run_program(PROGRAM, "prompts.txt", folder=tmp_path)
    ends = Counter(line.split("\t")[1] for line in done.stdout.splitlines())
    # A prompt whose answer was on its way when the run ended may be unknown; none is paid twice.
    assert set(ends) <= {"done", "unknown"}, done.stdout
    assert ends["unknown"] <= 10
    paid = Counter(job.input["prompt"] for job in sandbox.admitted)
    assert set(paid.values()) == {1}
    assert len(paid) + ends["unknown"] >= 40
    assert set(paid) <= set(made)
    assert states(tmp_path)["done"] == ends["done"] >= 30


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_there_is_a_bar(sandbox: Sandbox, tmp_path: Path) -> None:
    import pty

    prompts(tmp_path, 4)
    main, side = pty.openpty()
    environment = {**program_environment(), "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, str(PROJECTS / PROGRAM), "prompts.txt"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=side, stderr=side)
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(main)
    assert running.wait() == 0
    text = seen.decode()
    assert "4/4" in text
    assert "━" in text
    assert "\t" not in text
